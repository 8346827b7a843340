//! AWS KMS (API version 2014-11-01, JSON 1.1): keys live in a partition of hsmd and never leave it, records about them in
//! hsmd's `Records`. `table` says which operations are answered; `input` is a checked request; `key` the record of a key and
//! its states; `keys` makes, finds and changes keys; `crypt`, `sign`, `data_key` use them.

mod agree;
mod alias;
mod backing;
mod crypt;
mod describe;
mod envelope;
mod grant;
mod import;
mod input;
mod key;
mod keys;
mod lifecycle;
mod material;
mod object;
mod pair;
mod policy;
mod private_key;
mod rotate;
mod sign;
mod states;
mod store;
mod table;
mod tags;
mod unwrap;
mod usage;

pub(crate) use lifecycle::keep_time;
pub(crate) use store::{Stores, open as open_stores};

use crate::fault::{Common, Fault};
use crate::model::{Model, Problem};
use crate::module::{Module, ModuleError};
use crate::protocol::{self, Protocol};
use crate::records::{RecordError, Records};
use grant::Grants;
use input::Input;
use keys::Keys;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{Mutex, OnceCell};
use usage::Usages;

/// Operations, shapes, patterns and errors of KMS.
pub(crate) const MODEL: &str = include_str!("../../model/kms.json");

/// Errors that AWS gives although no operation's model names them.
const BEYOND_THE_MODEL: [&str; 6] = [
    "NotAuthorizedException",
    "ServiceUnavailableException",
    "ThrottlingException",
    "UnsupportedOperationException",
    "ValidationException",
    "InvalidCiphertextException",
];

/// The operations for the documentation.
///
/// # Errors
/// None: the table is in the code.
pub(crate) fn operations() -> Result<String, String> {
    Ok(table::markdown())
}

/// What an operation answers.
type Answer = Result<Map<String, Value>, Fault>;

/// What KMS works with.
pub(crate) struct Parts {
    /// The pool of the token of `[kms]`.
    pub(crate) module: Module,
    pub(crate) records: Records,
    pub(crate) stores: Stores,
}

/// The front of KMS.
pub(crate) struct Kms {
    model: Model,
    module: Arc<Module>,
    records: Records,
    keys: OnceCell<Keys>,
    stores: Stores,
    region: String,
    account: String,
    grants: OnceCell<Grants>,
    usages: Usages,
    /// Held while a key's materials change.
    materials: Mutex<()>,
    /// How long a day is: shorter in tests.
    day_ms: u64,
}

impl Kms {
    /// A front that reads its records when it is first asked.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn new(parts: Parts, region: &str, account: &str, day_ms: u64) -> Result<Self, String> {
        Ok(Self {
            model: Model::parse(MODEL)?,
            module: Arc::new(parts.module),
            records: parts.records,
            keys: OnceCell::new(),
            stores: parts.stores,
            region: region.to_owned(),
            account: account.to_owned(),
            grants: OnceCell::new(),
            usages: Usages::new(),
            materials: Mutex::new(()),
            day_ms,
        })
    }

    /// Performs an operation.
    ///
    /// # Errors
    /// The modelled ones, and the common ones.
    pub(crate) async fn call(&self, operation: &str, body: &[u8], request: &str) -> Answer {
        let row = table::find(operation).ok_or_else(|| {
            Fault::common(
                Protocol::Json,
                Common::UnknownOperation,
                format!("there is no operation {operation}"),
            )
        })?;
        let malformed = |message: String| Fault::common(Protocol::Json, Common::Malformed, message);
        let members = protocol::members(body).map_err(malformed)?;
        self.model.check(operation, &members).map_err(|problem| match problem {
            Problem::Type(message) => malformed(message),
            Problem::Constraint(message) => Fault::new(400, "ValidationException", message),
        })?;
        if self.model.error(operation, "InvalidGrantTokenException").is_some() {
            grant::check_tokens(self, &members).await?;
        }
        let answer = table::run(self, row, Input(members, row.name)).await;
        let answer = answer.map_err(|fault| self.modelled(operation, fault))?;
        self.usages.note(row.name, &answer, request);
        Ok(answer)
    }

    /// An error that the operation's model does not have would be one that no SDK knows.
    fn modelled(&self, operation: &str, fault: Fault) -> Fault {
        if fault.status.is_server_error() {
            tracing::warn!(operation, code = %fault.code, message = fault.message, "failed");
        }
        let known =
            self.model.error(operation, &fault.code).is_some() || BEYOND_THE_MODEL.contains(&fault.code.as_ref());
        if !known {
            tracing::error!(operation, code = %fault.code, "an error that the model does not have");
        }
        fault
    }

    /// The keys; read when first needed.
    async fn keys(&self) -> Result<&Keys, Fault> {
        self.keys
            .get_or_try_init(|| Keys::load(self))
            .await
            .map_err(|error| record_fault(&error))
    }

    /// The grants; read when first needed.
    async fn grants(&self) -> Result<&Grants, Fault> {
        self.grants
            .get_or_try_init(|| Grants::load(self))
            .await
            .map_err(|error| record_fault(&error))
    }

    fn arn(&self, resource: &str) -> String {
        format!("arn:aws:kms:{}:{}:{resource}", self.region, self.account)
    }
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// What a client hears when the records cannot be used.
fn record_fault(error: &RecordError) -> Fault {
    if error.is_passing() {
        Fault::common(
            Protocol::Json,
            Common::Unavailable,
            "hsmd does not answer, or the record changed meanwhile; try again",
        )
    } else {
        tracing::error!(%error, "records");
        internal()
    }
}

/// What a client hears when the key cannot be used for a reason of ours.
fn module_fault(error: &ModuleError, arn: &str) -> Fault {
    tracing::warn!(%error, key = arn, "the module");
    match error {
        ModuleError::Busy => Fault::new(400, "ThrottlingException", "too many requests wait for the HSM"),
        _ => Fault::new(
            500,
            "KeyUnavailableException",
            format!("{arn} is not available: the HSM that holds it cannot be used now"),
        ),
    }
}

fn internal() -> Fault {
    Fault::new(500, "KMSInternalException", "the request failed inside the service")
}

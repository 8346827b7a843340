//! Amazon Redshift's way to HSMs (API version 2012-12-01, query protocol): client certificates, configurations, and clusters
//! whose key is made in a partition of hsmd, reached as Redshift would reach it. There is no database behind a cluster.
//!
//! `table` says which operations are answered; `input` is a checked request; `record` what is kept, `store` how; `clusters`
//! answers and records what shall be, `work` does it; `agent` is the process that speaks to the HSM for one cluster.

pub(crate) mod agent;
mod certificates;
mod clusters;
mod configurations;
mod input;
mod probe;
mod record;
mod settings;
mod store;
mod table;
mod tags;
mod work;

pub(crate) use work::tend;

use crate::fault::{Common, Fault};
use crate::model::Model;
use crate::protocol::Protocol;
use crate::query::Form;
use crate::records::{RecordError, Records};
use crate::xml;
use input::Input;
use record::Tags;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Operations and shapes that are served.
pub(crate) const MODEL: &str = include_str!("../../model/redshift.json");

/// Errors that every operation may give, besides those of [`Common`].
const BEYOND_THE_MODEL: [&str; 5] = [
    "InvalidParameterValue",
    "InvalidParameterCombination",
    "MissingParameter",
    "UnsupportedOperation",
    "ValidationError",
];

/// What an operation answers.
type Answer = Result<Map<String, Value>, Fault>;

/// What the front may be told.
pub(crate) struct Settings {
    /// The PKCS#11 module.
    pub(crate) module: PathBuf,
    /// The port of the data plane: configurations name none.
    pub(crate) port: u16,
    /// Where an HSM is found instead of its address and the port.
    pub(crate) addresses: BTreeMap<IpAddr, SocketAddr>,
    /// How long one job with an HSM may take.
    pub(crate) patience: Duration,
    /// The most of each.
    pub(crate) certificates: usize,
    pub(crate) configurations: usize,
    pub(crate) clusters: usize,
}

/// The front of Redshift.
pub(crate) struct Redshift {
    model: Model,
    records: Records,
    settings: Settings,
    region: String,
    account: String,
    /// Held over what reads records and writes others.
    changes: tokio::sync::Mutex<()>,
    work: work::Work,
}

impl Redshift {
    /// A front; nothing is read yet.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn new(records: Records, settings: Settings, region: &str, account: &str) -> Result<Self, String> {
        Ok(Self {
            model: Model::parse(MODEL)?,
            records,
            settings,
            region: region.to_owned(),
            account: account.to_owned(),
            changes: tokio::sync::Mutex::default(),
            work: work::Work::default(),
        })
    }

    /// Performs an operation; the answer is XML.
    ///
    /// # Errors
    /// The modelled ones, and the common ones.
    pub(crate) async fn call(self: &Arc<Self>, operation: &str, form: &Form, id: &str) -> Result<Vec<u8>, Fault> {
        let row = table::find(operation).ok_or_else(|| {
            let operation = operation.get(..128).unwrap_or(operation);
            let message = format!("there is no operation {operation}");
            Fault::common(Protocol::Query, Common::UnknownOperation, message)
        })?;
        let version = form.get("Version").unwrap_or(VERSION);
        if version != VERSION {
            return Err(invalid("Version", &format!("must be {VERSION}")));
        }
        let members = form.members(&self.model, operation)?;
        let answer = table::run(self, row, Input(members)).await;
        let members = answer.map_err(|fault| self.modelled(operation, fault))?;
        xml::answer(&self.model, operation, &members, id).map_err(|_| internal())
    }

    /// Errors are named by their shapes inside; outside they have the codes of the model, which differ for some.
    fn modelled(&self, operation: &str, mut fault: Fault) -> Fault {
        if fault.status.is_server_error() {
            tracing::warn!(operation, code = %fault.code, message = fault.message, "failed");
        } else if let Some(report) = self.model.report(operation, &fault.code) {
            let status = report
                .http_status_code
                .and_then(|status| http::StatusCode::from_u16(status).ok());
            fault.status = status.unwrap_or(fault.status);
            if let Some(code) = &report.code {
                fault.code = code.clone().into();
            }
        } else if !BEYOND_THE_MODEL.contains(&fault.code.as_ref()) {
            tracing::error!(operation, code = %fault.code, "an error that the model does not have");
        }
        fault
    }

    fn arn(&self, kind: record::Kind, id: &str) -> String {
        let (region, account) = (&self.region, &self.account);
        format!("arn:aws:redshift:{region}:{account}:{}:{id}", kind.words().arn)
    }
}

const VERSION: &str = "2012-12-01";

/// One of the model's errors, by the name of its shape.
fn fault(shape: &'static str, message: &str) -> Fault {
    Fault::new(400, shape, message)
}

fn invalid(parameter: &str, rule: &str) -> Fault {
    Fault::new(400, "InvalidParameterValue", format!("{parameter} {rule}."))
}

fn combination(message: &str) -> Fault {
    Fault::new(400, "InvalidParameterCombination", message)
}

fn internal() -> Fault {
    Fault::common(
        Protocol::Query,
        Common::Internal,
        "the request failed inside the service",
    )
}

/// What a client hears when the records cannot be used.
fn record_fault(error: &RecordError) -> Fault {
    if error.is_passing() {
        let message = "hsmd does not answer, or the record changed meanwhile; try again";
        return Fault::common(Protocol::Query, Common::Unavailable, message);
    }
    tracing::error!(%error, "records");
    internal()
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Tags as the API shows them.
fn tag_list(tags: &Tags) -> Value {
    tags.iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect()
}

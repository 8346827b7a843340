//! CreateGrant, ListGrants, ListRetirableGrants, RetireGrant, RevokeGrant, and grant tokens. Grants are checked, kept, listed and
//! ended as AWS does. They give no right here: whoever holds an access key of the configuration may do everything, and so
//! constraints never refuse a request.

use super::describe::seconds;
use super::input::{Input, truncated};
use super::key::{Kind, Usage};
use super::keys::Found;
use super::{Answer, Kms, internal, material, now_ms, record_fault};
use crate::fault::Fault;
use crate::records::{RecordError, Versioned, Write};
use crate::uuid;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The record of a grant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct GrantRecord {
    id: String,
    /// The key's UUID.
    key: String,
    created_ms: u64,
    name: Option<String>,
    /// `GranteePrincipal`, `RetiringPrincipal` and the service principals, by the names of the API.
    principals: BTreeMap<String, String>,
    /// In the order of the request, each once.
    operations: Vec<String>,
    /// As in the request.
    constraints: Option<Value>,
    /// What its tokens hold, hexadecimal: nobody makes up a token.
    secret: String,
}

/// What the records of grants begin with; the key and the grant follow.
const PREFIX: &str = "kms/grant/";
/// The most grants of a key (the API's quota).
const MAX_OF_A_KEY: usize = 50_000;
/// How many a list shows when the request does not say, and at most (the API's limits).
const PAGE: usize = 50;
const MAX_PAGE: usize = 100;
/// Deletions in one batch of records.
const BATCH: usize = 40;
/// The form of a token: this byte, the key's UUID, the grant's id, its secret, random bytes that make each token another.
const TOKEN: u8 = 1;
const SECRET: usize = 16;
const TOKEN_LENGTH: usize = 1 + uuid::LENGTH + material::ID + SECRET + uuid::LENGTH;

/// The principals of a grant, by the names of the API.
const PRINCIPALS: [&str; 4] = [
    "GranteePrincipal",
    "GranteeServicePrincipal",
    "RetiringPrincipal",
    "RetiringServicePrincipal",
];

/// All grants by id.
pub(super) struct Grants {
    table: RwLock<BTreeMap<String, Arc<Versioned<GrantRecord>>>>,
}

type Grant = Arc<Versioned<GrantRecord>>;

impl Grants {
    /// Reads all grants.
    pub(super) async fn load(kms: &Kms) -> Result<Self, RecordError> {
        let grants = kms.records.list::<GrantRecord>(PREFIX).await?;
        let by_id = |(_, grant): (String, Versioned<GrantRecord>)| (grant.record.id.clone(), Arc::new(grant));
        Ok(Self {
            table: RwLock::new(grants.into_iter().map(by_id).collect()),
        })
    }

    fn get(&self, id: &str) -> Option<Grant> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(id).cloned()
    }

    /// Those that fit, the oldest first.
    fn select(&self, fits: impl Fn(&GrantRecord) -> bool) -> Vec<Grant> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<_> = table.values().filter(|grant| fits(&grant.record)).cloned().collect();
        drop(table);
        found.sort_by(|a, b| (a.record.created_ms, &a.record.id).cmp(&(b.record.created_ms, &b.record.id)));
        found
    }

    async fn insert(&self, kms: &Kms, record: GrantRecord) -> Result<(), RecordError> {
        let versions = kms.records.commit(vec![Write::put(record.path(), 0, &record)]).await?;
        let version = versions.first().copied().unwrap_or_default();
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.insert(record.id.clone(), Arc::new(Versioned { version, record }));
        Ok(())
    }

    async fn remove(&self, kms: &Kms, grants: &[Grant]) -> Result<(), RecordError> {
        for some in grants.chunks(BATCH) {
            let deletions = some
                .iter()
                .map(|grant| Write::delete(grant.record.path(), grant.version));
            kms.records.commit(deletions.collect()).await?;
            let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
            some.iter().for_each(|grant| drop(table.remove(&grant.record.id)));
        }
        Ok(())
    }
}

impl GrantRecord {
    fn path(&self) -> String {
        format!("{PREFIX}{}/{}", self.key, self.id)
    }

    /// Whether a request for this one would be for that one: the same in all that a request says.
    fn is_like(&self, other: &Self) -> bool {
        (&self.key, &self.name, &self.principals, &self.constraints)
            == (&other.key, &other.name, &other.principals, &other.constraints)
            && self.operations.len() == other.operations.len()
            && self.operations.iter().all(|name| other.operations.contains(name))
    }

    fn token(&self) -> Option<String> {
        let mut token = vec![TOKEN];
        token.extend(uuid::parse(&self.key)?);
        token.extend(material::bytes(&self.id));
        token.extend(material::bytes(&self.secret));
        token.extend(uuid::random()?);
        Some(STANDARD.encode(token))
    }

    fn shown(&self, kms: &Kms) -> Value {
        let mut out = json!({
            "KeyId": kms.arn(&format!("key/{}", self.key)),
            "GrantId": self.id,
            "CreationDate": seconds(self.created_ms),
            "IssuingAccount": format!("arn:aws:iam::{}:root", kms.account),
            "Operations": self.operations,
        });
        if let Some(name) = &self.name {
            out["Name"] = name.as_str().into();
        }
        for (member, principal) in &self.principals {
            out[member] = principal.as_str().into();
        }
        if let Some(constraints) = &self.constraints {
            out["Constraints"] = constraints.clone();
        }
        out
    }
}

/// CreateGrant. The same request with the same name gives the grant that is there.
pub(super) async fn create(kms: &Kms, input: Input) -> Answer {
    let found = kms.allowed(&input, "KeyId").await?;
    let record = wanted(&found, &input)?;
    let grants = kms.grants().await?;
    let of_key = grants.select(|grant| grant.key == record.key);
    if of_key.len() >= MAX_OF_A_KEY {
        let message = "a key has at most 50,000 grants";
        return Err(Fault::new(400, "LimitExceededException", message));
    }
    input.dry_run()?;
    let twin = of_key
        .into_iter()
        .find(|grant| record.name.is_some() && grant.record.is_like(&record));
    let record = match twin {
        Some(twin) => twin.record.clone(),
        None => {
            let inserted = grants.insert(kms, record.clone()).await;
            inserted.map_err(|error| record_fault(&error))?;
            record
        }
    };
    Ok(Map::from_iter([
        ("GrantToken".to_owned(), record.token().ok_or_else(internal)?.into()),
        ("GrantId".to_owned(), record.id.into()),
    ]))
}

/// The grant that a request describes.
fn wanted(found: &Found, input: &Input) -> Result<GrantRecord, Fault> {
    let invalid = |message: String| Err(Fault::new(400, "ValidationException", message));
    let mut principals = BTreeMap::new();
    for member in PRINCIPALS {
        let Some(principal) = input.text(member) else { continue };
        if !member.contains("Service") {
            check_principal(member, principal)?;
        }
        principals.insert(member.to_owned(), principal.to_owned());
    }
    match (
        principals.contains_key("GranteePrincipal"),
        principals.contains_key("GranteeServicePrincipal"),
    ) {
        (true, false) | (false, true) => {}
        _ => return invalid("exactly one of GranteePrincipal and GranteeServicePrincipal must be given".into()),
    }
    if principals.contains_key("RetiringPrincipal") && principals.contains_key("RetiringServicePrincipal") {
        return invalid("at most one of RetiringPrincipal and RetiringServicePrincipal may be given".into());
    }
    let mut operations: Vec<String> = Vec::new();
    for name in input.texts("Operations") {
        if !fits(found, name) {
            return invalid(format!("Operation {name} is not supported by {}", found.arn));
        }
        if !operations.iter().any(|known| known == name) {
            operations.push(name.to_owned());
        }
    }
    if operations.is_empty() {
        return invalid("Operations must name at least one operation".into());
    }
    let constraints = input.0.get("Constraints").filter(|given| !given.is_null()).cloned();
    if let Some(constraints) = &constraints {
        check_constraints(found, constraints)?;
    }
    let mut secret = [0; SECRET];
    getrandom::fill(&mut secret).map_err(|_| internal())?;
    Ok(GrantRecord {
        id: material::random_id().ok_or_else(internal)?,
        key: found.record().id.clone(),
        created_ms: now_ms(),
        name: input.text("Name").map(str::to_owned),
        principals,
        operations,
        constraints,
        secret: material::hex(&secret),
    })
}

/// A principal is an ARN of IAM or STS with an account.
fn check_principal(member: &str, principal: &str) -> Result<(), Fault> {
    let parts: Vec<_> = principal.splitn(6, ':').collect();
    let good = match parts.as_slice() {
        ["arn", partition, "iam" | "sts", "", account, resource] => {
            partition.starts_with("aws")
                && account.len() == 12
                && account.bytes().all(|digit| digit.is_ascii_digit())
                && !resource.is_empty()
        }
        _ => false,
    };
    if good {
        return Ok(());
    }
    let message = format!("{member} must be the ARN of a principal of IAM or STS");
    Err(Fault::new(400, "InvalidArnException", message))
}

/// Whether an operation can be done with a key of this kind.
fn fits(found: &Found, operation: &str) -> bool {
    let record = found.record();
    let symmetric = record.spec.row().is_some_and(|row| row.kind == Kind::Aes);
    match operation {
        "CreateGrant" | "DescribeKey" | "RetireGrant" => true,
        "Encrypt" | "Decrypt" | "ReEncryptFrom" | "ReEncryptTo" => record.usage == Usage::EncryptDecrypt,
        "GenerateDataKey"
        | "GenerateDataKeyPair"
        | "GenerateDataKeyPairWithoutPlaintext"
        | "GenerateDataKeyWithoutPlaintext" => symmetric,
        "Sign" | "Verify" => record.usage == Usage::SignVerify,
        "GenerateMac" | "VerifyMac" => record.usage == Usage::GenerateVerifyMac,
        "DeriveSharedSecret" => record.usage == Usage::KeyAgreement,
        "GetPublicKey" => record.usage != Usage::GenerateVerifyMac && !symmetric,
        _ => false,
    }
}

/// An encryption context stands for itself on symmetric keys only, and a constraint names one.
fn check_constraints(found: &Found, constraints: &Value) -> Result<(), Fault> {
    let invalid = |message: &str| Err(Fault::new(400, "ValidationException", message));
    let given = |name: &str| constraints.get(name).is_some_and(|context| !context.is_null());
    if !found.record().spec.row().is_some_and(|row| row.kind == Kind::Aes) {
        return invalid("grant constraints are for symmetric encryption keys only");
    }
    if given("EncryptionContextSubset") && given("EncryptionContextEquals") {
        return invalid("Constraints must have one of EncryptionContextSubset and EncryptionContextEquals");
    }
    Ok(())
}

/// ListGrants.
pub(super) async fn list(kms: &Kms, input: Input) -> Answer {
    let found = kms.allowed(&input, "KeyId").await?;
    let (id, wanted) = (input.text("GrantId"), &found.record().id);
    if id.is_some_and(|id| id.len() != 2 * material::ID || !id.bytes().all(|digit| digit.is_ascii_hexdigit())) {
        return Err(no_grant_id());
    }
    let fits = |grant: &GrantRecord| {
        let grantee = |member: &str| {
            let wanted = input.text(member);
            wanted.is_none() || grant.principals.get(member).map(String::as_str) == wanted
        };
        grant.key == *wanted
            && id.is_none_or(|id| grant.id == id)
            && grantee("GranteePrincipal")
            && grantee("GranteeServicePrincipal")
    };
    page(kms, &input, kms.grants().await?.select(fits))
}

/// ListRetirableGrants.
pub(super) async fn list_retirable(kms: &Kms, input: Input) -> Answer {
    let (person, service) = (input.text("RetiringPrincipal"), input.text("RetiringServicePrincipal"));
    let (member, principal) = match (person, service) {
        (Some(person), None) => ("RetiringPrincipal", person),
        (None, Some(service)) => ("RetiringServicePrincipal", service),
        _ => {
            let message = "exactly one of RetiringPrincipal and RetiringServicePrincipal must be given";
            return Err(Fault::new(400, "ValidationException", message));
        }
    };
    if person.is_some() {
        check_principal(member, principal)?;
    }
    let fits = |grant: &GrantRecord| grant.principals.get(member).is_some_and(|known| known == principal);
    page(kms, &input, kms.grants().await?.select(fits))
}

fn page(kms: &Kms, input: &Input, grants: Vec<Grant>) -> Answer {
    input.limit(MAX_PAGE)?;
    let (page, more) = input.page(grants, PAGE)?;
    let rows = page.iter().map(|grant| grant.record.shown(kms)).collect();
    let mut answer = Map::from_iter([("Grants".to_owned(), rows)]);
    truncated(&mut answer, more);
    Ok(answer)
}

/// RetireGrant: by token, or by key and id.
pub(super) async fn retire(kms: &Kms, input: Input) -> Answer {
    let grants = kms.grants().await?;
    let grant = match (input.text("GrantToken"), input.text("KeyId"), input.text("GrantId")) {
        (Some(token), None, None) => grants.of_token(token).ok_or_else(bad_token)?,
        (None, Some(_), Some(id)) => of_key(kms, &input, grants, id).await?,
        _ => {
            let message = "either GrantToken, or KeyId and GrantId, must be given";
            return Err(Fault::new(400, "ValidationException", message));
        }
    };
    end(kms, &input, grants, grant).await
}

/// RevokeGrant.
pub(super) async fn revoke(kms: &Kms, input: Input) -> Answer {
    let grants = kms.grants().await?;
    let grant = of_key(kms, &input, grants, input.must("GrantId")).await?;
    end(kms, &input, grants, grant).await
}

async fn of_key(kms: &Kms, input: &Input, grants: &Grants, id: &str) -> Result<Grant, Fault> {
    let found = kms.allowed(input, "KeyId").await?;
    let grant = grants.get(id).filter(|grant| grant.record.key == found.record().id);
    grant.ok_or_else(|| {
        let message = format!("Grant ID {} not found", id.get(..64).unwrap_or(id));
        Fault::new(400, "NotFoundException", message)
    })
}

async fn end(kms: &Kms, input: &Input, grants: &Grants, grant: Grant) -> Answer {
    input.dry_run()?;
    let removed = grants.remove(kms, &[grant]).await;
    removed.map_err(|error| record_fault(&error))?;
    Ok(Map::new())
}

impl Grants {
    /// The grant that a token is of.
    fn of_token(&self, token: &str) -> Option<Grant> {
        let token = STANDARD
            .decode(token)
            .ok()
            .filter(|token| token.len() == TOKEN_LENGTH)?;
        let (head, rest) = token.split_at(1 + uuid::LENGTH);
        let (id, rest) = rest.split_at(material::ID);
        let grant = self.get(&material::hex(id))?;
        let key = uuid::parse(&grant.record.key)?;
        // The secret only tells tokens from texts: it protects nothing that an access key does not give anyway.
        let ours = head.first() == Some(&TOKEN)
            && head.get(1..) == Some(key.as_slice())
            && rest.get(..SECRET) == Some(material::bytes(&grant.record.secret).as_slice());
        ours.then_some(grant)
    }
}

/// Checks the grant tokens of a request: each must be of a grant that is there.
///
/// # Errors
/// InvalidGrantTokenException.
pub(super) async fn check_tokens(kms: &Kms, members: &Map<String, Value>) -> Result<(), Fault> {
    let tokens = members.get("GrantTokens").and_then(Value::as_array);
    let Some(tokens) = tokens.filter(|tokens| !tokens.is_empty()) else {
        return Ok(());
    };
    let grants = kms.grants().await?;
    let known = |token: &Value| token.as_str().is_some_and(|token| grants.of_token(token).is_some());
    if tokens.iter().all(known) {
        Ok(())
    } else {
        Err(bad_token())
    }
}

/// Ends all grants of a key that goes.
pub(super) async fn forget(kms: &Kms, key: &str) -> Result<(), RecordError> {
    // Read from the records: the table may not be there yet.
    let stored = kms.records.list::<GrantRecord>(&format!("{PREFIX}{key}/")).await?;
    let stored: Vec<_> = stored.into_iter().map(|(_, grant)| Arc::new(grant)).collect();
    if stored.is_empty() {
        return Ok(());
    }
    let grants = kms.grants.get_or_try_init(|| Grants::load(kms)).await?;
    grants.remove(kms, &stored).await
}

fn bad_token() -> Fault {
    Fault::new(
        400,
        "InvalidGrantTokenException",
        "a grant token is not one that CreateGrant gave, or its grant has ended",
    )
}

fn no_grant_id() -> Fault {
    Fault::new(400, "InvalidGrantIdException", "GrantId must be 64 hexadecimal digits")
}

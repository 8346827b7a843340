//! GetParametersForImport, ImportKeyMaterial, DeleteImportedKeyMaterial, and the end of material that expires. The wrapping key is
//! a pair of the token, and what it wraps is opened there: brought material is never in this process.

use super::describe::seconds;
use super::input::{Input, blob};
use super::key::{KeyRecord, Kind, Origin, State};
use super::keys::{Found, Keys};
use super::material::{self, Import, Material, Stage};
use super::unwrap::{self, Algorithm, Wrapped};
use super::{Answer, Kms, internal, lifecycle, module_fault, now_ms, object, record_fault};
use crate::fault::Fault;
use crate::module::ModuleError;
use crate::records::{RecordError, Versioned, Write};
use crate::uuid;
use cryptoki::error::RvError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The record of a wrapping key, for which an import token stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Parameters {
    /// A UUID; `CKA_ID` of the pair is its bytes.
    id: String,
    key: String,
    algorithm: Algorithm,
    valid_ms: u64,
    /// What the token holds, hexadecimal: nobody makes up a token.
    secret: String,
}

/// What the records of wrapping keys begin with; the key and the UUID follow.
const PREFIX: &str = "kms/import/";
/// The most wrapping keys of a key at a time; the oldest goes.
const MOST: usize = 8;
/// The form of an import token: this byte, the UUID, the secret.
const TOKEN: u8 = 1;
const SECRET: usize = 16;
/// The most days that material may be valid for (the API's limit).
const MOST_DAYS: u64 = 365;

impl Parameters {
    fn path(&self) -> String {
        format!("{PREFIX}{}/{}", self.key, self.id)
    }

    /// `CKA_ID` of the pair.
    fn object(&self) -> Vec<u8> {
        uuid::parse(&self.id).map(Vec::from).unwrap_or_default()
    }

    fn token(&self) -> Vec<u8> {
        [vec![TOKEN], self.object(), material::bytes(&self.secret)].concat()
    }
}

/// GetParametersForImport.
pub(super) async fn parameters(kms: &Kms, input: Input) -> Answer {
    let found = importable(kms, &input).await?;
    let algorithm = Algorithm::named(input.must("WrappingAlgorithm"));
    let bits = match input.must("WrappingKeySpec") {
        "RSA_2048" => Some(2048),
        "RSA_3072" => Some(3072),
        "RSA_4096" => Some(4096),
        _ => None,
    };
    let (Some(algorithm), Some(bits)) = (algorithm, bits) else {
        let message = "WrappingAlgorithm must be one of RSAES_OAEP and RSA_AES_KEY_WRAP, WrappingKeySpec an RSA key";
        return Err(Fault::new(400, "UnsupportedOperationException", message));
    };
    let mut secret = [0; SECRET];
    getrandom::fill(&mut secret).map_err(|_| internal())?;
    let record = Parameters {
        id: uuid::text(&uuid::random().ok_or_else(internal)?),
        key: found.record().id.clone(),
        algorithm,
        valid_ms: now_ms() + kms.day_ms,
        secret: material::hex(&secret),
    };
    make_room(kms, &record.key).await?;
    // The record first: what a kill leaves in the token goes when the record expires.
    let written = kms.records.commit(vec![Write::put(record.path(), 0, &record)]).await;
    written.map_err(|error| record_fault(&error))?;
    let (id, label) = (record.object(), format!("{} import", found.arn));
    let made = kms
        .module
        .run(move |worker| unwrap::make_pair(worker, bits, &id, &label))
        .await;
    let public = made.map_err(|error| module_fault(&error, &found.arn))?;
    Ok(Map::from_iter([
        ("KeyId".to_owned(), Value::from(found.arn)),
        ("ImportToken".to_owned(), blob(&record.token())),
        ("PublicKey".to_owned(), blob(&public)),
        ("ParametersValidTo".to_owned(), seconds(record.valid_ms)),
    ]))
}

/// The key of a request, if its material is the customer's.
async fn importable(kms: &Kms, input: &Input) -> Result<Found, Fault> {
    let found = kms.find(input.must("KeyId")).await?;
    found.is_outside_of_stores()?;
    if found.record().origin != Origin::External {
        let message = format!(
            "{} origin is {} which is not valid for this operation.",
            found.arn,
            found.record().origin.name()
        );
        return Err(Fault::new(400, "UnsupportedOperationException", message));
    }
    found.allows(input)?;
    Ok(found)
}

async fn make_room(kms: &Kms, key: &str) -> Result<(), Fault> {
    let mut all = of_key(kms, key).await.map_err(|error| record_fault(&error))?;
    all.sort_by_key(|parameters| parameters.record.valid_ms);
    let surplus = (all.len() + 1).saturating_sub(MOST);
    for old in all.iter().take(surplus) {
        end(kms, old).await.map_err(|error| record_fault(&error))?;
    }
    Ok(())
}

/// The wrapping keys of a key.
pub(super) async fn of_key(kms: &Kms, key: &str) -> Result<Vec<Versioned<Parameters>>, RecordError> {
    let found = kms.records.list(&format!("{PREFIX}{key}/")).await?;
    Ok(found.into_iter().map(|(_, parameters)| parameters).collect())
}

/// Destroys wrapping keys, then removes their records.
///
/// # Errors
/// Those of the records; the module's are for later.
pub(super) async fn end(kms: &Kms, parameters: &Versioned<Parameters>) -> Result<(), RecordError> {
    let ids = vec![parameters.record.object()];
    match kms.module.run(move |worker| object::destroy(worker, &ids)).await {
        Ok(()) => {
            let path = parameters.record.path();
            kms.records
                .commit(vec![Write::delete(path, parameters.version)])
                .await
                .map(drop)
        }
        Err(error) => {
            tracing::warn!(%error, "a wrapping key is not destroyed yet; it is tried again");
            Ok(())
        }
    }
}

/// ImportKeyMaterial.
pub(super) async fn import(kms: &Kms, input: Input) -> Answer {
    let _alone = kms.materials.lock().await;
    let found = material::settled(kms, importable(kms, &input).await?).await?;
    let expires_ms = expiry(kms, &input)?;
    let parameters = presented(kms, &found, &input).await?;
    let kind = found.record().spec.row().map(|row| row.kind).ok_or_else(internal)?;
    let wrapped = Wrapped {
        pair: parameters.object(),
        algorithm: parameters.algorithm,
        bytes: input.bytes("EncryptedKeyMaterial").to_vec(),
        kind,
        usage: found.record().usage,
    };
    let tried = wrapped.clone();
    let id = kms.module.run(move |worker| unwrap::name(worker, &tried)).await;
    let id = material::hex(&id.map_err(|error| unwrap_fault(&error, &found))?);
    let (target, object) = destination(&found, &input, kind, &id)?;
    let brought = Import {
        present: true,
        expires_ms,
        description: input.text("KeyMaterialDescription").map(str::to_owned),
    };
    let found = match target {
        Target::There => found,
        Target::Gone => put(kms, &found, &wrapped, &object).await?,
        Target::Fresh => fresh(kms, &found, &wrapped, &object, &id, &brought).await?,
    };
    let done = lifecycle::write(kms, &found, |record| take_in(record, &id, &brought)).await?;
    Ok(Map::from_iter([
        ("KeyId".to_owned(), Value::from(done.arn)),
        ("KeyMaterialId".to_owned(), id.into()),
    ]))
}

/// When the material that a request brings goes; 0: never.
fn expiry(kms: &Kms, input: &Input) -> Result<u64, Fault> {
    let invalid = |message: &str| Err(Fault::new(400, "ValidationException", message));
    let until = input.0.get("ValidTo").and_then(Value::as_f64);
    let stays = input.text("ExpirationModel") == Some("KEY_MATERIAL_DOES_NOT_EXPIRE");
    match (stays, until) {
        (true, None) => Ok(0),
        (true, Some(_)) => invalid("ValidTo must not be given for KEY_MATERIAL_DOES_NOT_EXPIRE"),
        (false, None) => invalid("ValidTo must be given for KEY_MATERIAL_EXPIRES"),
        (false, Some(until)) => {
            let (until_ms, now) = ((until * 1000.0) as u64, now_ms());
            // A time in seconds may be today's second that has begun.
            if (now..=now + (MOST_DAYS + 1) * kms.day_ms.max(1)).contains(&until_ms) {
                Ok(until_ms)
            } else {
                invalid("ValidTo must be in the future, at most 365 days")
            }
        }
    }
}

/// The wrapping key for which the request's import token stands.
async fn presented(kms: &Kms, found: &Found, input: &Input) -> Result<Parameters, Fault> {
    let invalid = || {
        let message = "ImportToken is not one that GetParametersForImport gave for this key";
        Fault::new(400, "InvalidImportTokenException", message)
    };
    let token = input.bytes("ImportToken");
    let all = of_key(kms, &found.record().id).await;
    let all = all.map_err(|error| record_fault(&error))?;
    let known = all.into_iter().find(|parameters| parameters.record.token() == *token);
    let parameters = known.ok_or_else(invalid)?.record;
    if parameters.valid_ms <= now_ms() {
        let message = "ImportToken has expired: get new parameters";
        return Err(Fault::new(400, "ExpiredImportTokenException", message));
    }
    Ok(parameters)
}

/// Where brought material goes.
enum Target {
    /// It is in the token already: only what is said of it changes.
    There,
    /// It was there before.
    Gone,
    /// It is new to the key.
    Fresh,
}

/// Where material of this name goes, and `CKA_ID` of its object.
fn destination(found: &Found, input: &Input, kind: Kind, id: &str) -> Result<(Target, String), Fault> {
    let record = found.record();
    let incorrect = |message: &str| Err(Fault::new(400, "IncorrectKeyMaterialException", message));
    if input.text("KeyMaterialId").is_some_and(|named| named != id) {
        return incorrect("the key material is not that of KeyMaterialId");
    }
    let known = record
        .materials
        .iter()
        .find(|known| known.id == id && known.stage != Stage::Making);
    let new = match input.text("ImportType") {
        Some(kind) => kind == "NEW_KEY_MATERIAL",
        None => record.materials.is_empty(),
    };
    match known {
        Some(_) if new => incorrect("the key material is already one of the key's"),
        Some(known) if known.is_present() => Ok((Target::There, known.object.clone())),
        Some(known) => Ok((Target::Gone, known.object.clone())),
        None if !new => incorrect("the key material is not the one that was imported before"),
        None if !record.materials.is_empty() && kind != Kind::Aes => {
            let message = "only symmetric encryption keys may have more than one key material";
            Err(Fault::new(400, "UnsupportedOperationException", message))
        }
        None if record.materials.iter().any(|other| other.stage == Stage::Waiting) => {
            let message = format!("{} has key material that is pending rotation.", found.arn);
            Err(Fault::new(400, "KMSInvalidStateException", message))
        }
        None => Ok((Target::Fresh, material::hex(&uuid::random().ok_or_else(internal)?))),
    }
}

/// Puts material that is recorded into the token.
async fn put(kms: &Kms, found: &Found, wrapped: &Wrapped, object: &str) -> Result<Found, Fault> {
    let (wrapped, id, label) = (wrapped.clone(), material::bytes(object), found.arn.clone());
    let made = kms
        .module
        .run(move |worker| unwrap::put(worker, &wrapped, &id, &label))
        .await;
    made.map_err(|error| unwrap_fault(&error, found))?;
    Ok(found.clone())
}

/// Records material that is new to the key, and puts it into the token.
async fn fresh(
    kms: &Kms,
    found: &Found,
    wrapped: &Wrapped,
    object: &str,
    id: &str,
    brought: &Import,
) -> Result<Found, Fault> {
    let making = Material {
        id: id.to_owned(),
        object: object.to_owned(),
        stage: Stage::Making,
        rotated: None,
        import: Some(brought.clone()),
    };
    let recorded = lifecycle::write(kms, found, |record| record.materials.push(making)).await?;
    match put(kms, &recorded, wrapped, object).await {
        Ok(recorded) => Ok(recorded),
        Err(fault) => {
            let undone = material::finish(kms, kms.keys().await?, &recorded.key).await;
            undone.map_err(|error| record_fault(&error))?;
            Err(fault)
        }
    }
}

/// Says in a key's record that brought material is in the token.
fn take_in(record: &mut KeyRecord, id: &str, brought: &Import) {
    let first = record.material.is_empty();
    if let Some(known) = record.materials.iter_mut().find(|known| known.id == id) {
        let description = brought.description.clone();
        let before = known.import.take().and_then(|before| before.description);
        known.import = Some(Import {
            description: description.or(before),
            ..brought.clone()
        });
        if known.stage == Stage::Making {
            known.stage = if first { Stage::InUse } else { Stage::Waiting };
        }
        if first {
            record.material = known.object.clone();
        }
    }
    if record.state == State::PendingImport && record.is_complete() {
        record.state = State::Enabled;
    }
}

/// DeleteImportedKeyMaterial. What is not there is no error.
pub(super) async fn delete(kms: &Kms, input: Input) -> Answer {
    let _alone = kms.materials.lock().await;
    let found = importable(kms, &input).await?;
    let record = found.record();
    let known = match input.text("KeyMaterialId") {
        Some(id) => {
            let known = record.materials.iter().find(|known| known.id == id);
            let message = "KeyMaterialId is not one of the key's";
            Some(known.ok_or_else(|| Fault::new(400, "NotFoundException", message))?)
        }
        None => record.materials.iter().find(|known| known.object == record.material),
    };
    let mut answer = Map::from_iter([("KeyId".to_owned(), Value::from(found.arn.as_str()))]);
    if let Some(known) = known {
        answer.insert("KeyMaterialId".to_owned(), known.id.clone().into());
        if known.is_present() {
            let (keys, object) = (kms.keys().await?, known.object.clone());
            let removed = remove(kms, keys, &found.key, &[object]).await;
            removed.map_err(|error| record_fault(&error))?;
        }
    }
    Ok(answer)
}

/// Records that materials are gone, then destroys them in the token: a kill between is put right at the next start.
async fn remove(kms: &Kms, keys: &Keys, key: &Versioned<KeyRecord>, objects: &[String]) -> Result<(), RecordError> {
    let gone = |record: &mut KeyRecord| {
        for known in record
            .materials
            .iter_mut()
            .filter(|known| objects.contains(&known.object))
        {
            if let Some(import) = &mut known.import {
                import.present = false;
            }
        }
        if matches!(record.state, State::Enabled | State::Disabled) && !record.is_complete() {
            record.state = State::PendingImport;
        }
    };
    let recorded = keys.change(kms, key, gone).await?;
    material::finish(kms, keys, &recorded).await
}

/// Removes material whose time is over, and wrapping keys whose tokens have expired.
pub(super) async fn expire_due(kms: &Kms, keys: &Keys, now: u64) -> Result<(), RecordError> {
    let is_over = |known: &&Material| {
        let import = known.import.as_ref();
        known.is_present() && import.is_some_and(|import| (1..=now).contains(&import.expires_ms))
    };
    for key in keys.all() {
        if !key.record.materials.iter().any(|known| is_over(&known)) {
            continue;
        }
        let _alone = kms.materials.lock().await;
        // It may have changed while we waited.
        let Some(key) = keys.get(&key.record.id) else { continue };
        let over = key.record.materials.iter().filter(is_over);
        let objects: Vec<_> = over.map(|known| known.object.clone()).collect();
        remove(kms, keys, &key, &objects).await?;
    }
    for (_, parameters) in kms.records.list::<Parameters>(PREFIX).await? {
        // A day longer than valid, so that a late import hears that its token has expired.
        if parameters.record.valid_ms + kms.day_ms <= now {
            end(kms, &parameters).await?;
        }
    }
    Ok(())
}

/// What a client hears when what it brought cannot be opened.
fn unwrap_fault(error: &ModuleError, found: &Found) -> Fault {
    match (error, error.rv()) {
        (ModuleError::Unfit, _) => {
            let message = format!("the key material is not that of a {} key", found.record().spec.0);
            Fault::new(400, "IncorrectKeyMaterialException", message)
        }
        (ModuleError::NotWrapped, _)
        | (
            _,
            Some(
                RvError::WrappedKeyInvalid
                | RvError::WrappedKeyLenRange
                | RvError::EncryptedDataInvalid
                | RvError::EncryptedDataLenRange
                | RvError::TemplateInconsistent
                | RvError::AttributeValueInvalid
                | RvError::KeySizeRange,
            ),
        ) => Fault::new(400, "InvalidCiphertextException", ""),
        _ => module_fault(error, &found.arn),
    }
}

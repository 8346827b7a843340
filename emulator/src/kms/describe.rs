//! DescribeKey, ListKeys, and `KeyMetadata`.

use super::input::{Input, truncated};
use super::key::{KeyRecord, Kind, Origin, Row, State, Usage};
use super::keys::Found;
use super::{Answer, Kms, material};
use serde_json::{Map, Value, json};

/// DescribeKey.
pub(super) async fn key(kms: &Kms, input: Input) -> Answer {
    let found = kms.find(input.must("KeyId")).await?;
    Ok(Map::from_iter([("KeyMetadata".to_owned(), metadata(kms, &found))]))
}

/// ListKeys.
pub(super) async fn list(kms: &Kms, input: Input) -> Answer {
    let mut keys = kms.keys().await?.all();
    keys.retain(|key| key.record.state.is_shown());
    let (page, more) = input.page(keys, 100)?;
    let rows = page.iter().map(|key| {
        let id = &key.record.id;
        json!({"KeyId": id, "KeyArn": kms.arn(&format!("key/{id}"))})
    });
    let mut answer = Map::from_iter([("Keys".to_owned(), rows.collect())]);
    truncated(&mut answer, more);
    Ok(answer)
}

/// `KeyMetadata`.
pub(super) fn metadata(kms: &Kms, found: &Found) -> Value {
    let record = found.record();
    let mut out = json!({
        "AWSAccountId": kms.account,
        "KeyId": record.id,
        "Arn": found.arn,
        "CreationDate": seconds(record.created_ms),
        "Enabled": record.state == State::Enabled && found.is_available(),
        "Description": record.description,
        "KeyUsage": record.usage.name(),
        "KeyState": found.state(),
        "Origin": record.origin.name(),
        "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": record.spec.0,
        "KeySpec": record.spec.0,
        "MultiRegion": false,
    });
    found.describe_backing(&mut out);
    if matches!(record.state, State::PendingDeletion | State::Deleting) {
        out["DeletionDate"] = seconds(record.deletion_ms);
    }
    if record.origin == Origin::External && record.state != State::PendingImport {
        imported(record, &mut out);
    }
    let shows_material = record.spec.row().is_some_and(|row| row.kind == Kind::Aes) && !record.materials.is_empty();
    if shows_material && !record.material.is_empty() {
        out["CurrentKeyMaterialId"] = material::hex(&record.material_id()).into();
    }
    if let Some(row) = record.spec.row() {
        let (name, algorithms) = algorithms(record.usage, row);
        out[name] = json!(algorithms);
    }
    out
}

/// What `KeyMetadata` says of brought material: the time when the first of it goes.
fn imported(record: &KeyRecord, out: &mut Value) {
    let imports = record.materials.iter().filter_map(|material| material.import.as_ref());
    let present = imports.filter(|import| import.present);
    match present
        .map(|import| import.expires_ms)
        .filter(|expires| *expires > 0)
        .min()
    {
        Some(expires) => {
            out["ExpirationModel"] = "KEY_MATERIAL_EXPIRES".into();
            out["ValidTo"] = seconds(expires);
        }
        None => out["ExpirationModel"] = "KEY_MATERIAL_DOES_NOT_EXPIRE".into(),
    }
}

/// The algorithms of a key of this usage, and the member that lists them.
pub(super) const fn algorithms(usage: Usage, row: &Row) -> (&'static str, &'static [&'static str]) {
    match usage {
        Usage::EncryptDecrypt => ("EncryptionAlgorithms", row.encryption),
        Usage::SignVerify => ("SigningAlgorithms", row.signing),
        Usage::GenerateVerifyMac => ("MacAlgorithms", row.mac),
        Usage::KeyAgreement => ("KeyAgreementAlgorithms", &["ECDH"]),
    }
}

/// A time as the protocol writes it: seconds since 1970.
pub(super) fn seconds(ms: u64) -> Value {
    json!(ms as f64 / 1000.0)
}

//! DescribeKey, ListKeys, GetKeyPolicy, PutKeyPolicy, ListKeyPolicies, GetKeyRotationStatus.

use super::input::{Input, truncated};
use super::key::{State, Usage};
use super::keys::Found;
use super::{Answer, Kms, lifecycle};
use crate::fault::Fault;
use serde_json::{Map, Value, json};

/// The most bytes of a policy (the API's limit is 32 KiB).
const MAX_POLICY: usize = 32 << 10;

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
        "Origin": "AWS_KMS",
        "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": record.spec.0,
        "KeySpec": record.spec.0,
        "MultiRegion": false,
    });
    found.describe_backing(&mut out);
    if matches!(record.state, State::PendingDeletion | State::Deleting) {
        out["DeletionDate"] = seconds(record.deletion_ms);
    }
    if let Some(row) = record.spec.row() {
        let (name, algorithms) = match record.usage {
            Usage::EncryptDecrypt => ("EncryptionAlgorithms", row.encryption),
            Usage::SignVerify => ("SigningAlgorithms", row.signing),
            Usage::GenerateVerifyMac => ("MacAlgorithms", row.mac),
        };
        out[name] = json!(algorithms);
    }
    out
}

/// A time as the protocol writes it: seconds since 1970.
pub(super) fn seconds(ms: u64) -> Value {
    json!(ms as f64 / 1000.0)
}

/// The policy that a request names, or the usual one.
///
/// # Errors
/// MalformedPolicyDocumentException.
pub(super) fn policy(kms: &Kms, input: &Input) -> Result<String, Fault> {
    let Some(text) = input.text("Policy") else {
        let root = format!("arn:aws:iam::{}:root", kms.account);
        let policy = json!({"Version": "2012-10-17", "Id": "key-default-1", "Statement": [{
            "Sid": "Enable IAM User Permissions", "Effect": "Allow", "Principal": {"AWS": root},
            "Action": "kms:*", "Resource": "*"}]});
        return Ok(policy.to_string());
    };
    let good = text.len() <= MAX_POLICY
        && serde_json::from_str::<Map<String, Value>>(text).is_ok_and(|policy| policy.contains_key("Statement"));
    if good {
        Ok(text.to_owned())
    } else {
        let message = "the policy must be a JSON object with a Statement, of at most 32 KiB";
        Err(Fault::new(400, "MalformedPolicyDocumentException", message))
    }
}

/// GetKeyPolicy.
pub(super) async fn get_policy(kms: &Kms, input: Input) -> Answer {
    let found = kms.find(input.must("KeyId")).await?;
    default_policy_only(&input)?;
    Ok(Map::from_iter([
        ("Policy".to_owned(), found.record().policy.as_str().into()),
        ("PolicyName".to_owned(), "default".into()),
    ]))
}

/// PutKeyPolicy. Policies are kept and shown; who may call is decided by the access keys of the configuration.
pub(super) async fn put_policy(kms: &Kms, input: Input) -> Answer {
    default_policy_only(&input)?;
    let policy = policy(kms, &input)?;
    lifecycle::change(kms, input.must("KeyId"), |record| record.policy = policy).await?;
    Ok(Map::new())
}

/// ListKeyPolicies.
pub(super) async fn list_policies(kms: &Kms, input: Input) -> Answer {
    kms.find(input.must("KeyId")).await?;
    let mut answer = Map::from_iter([("PolicyNames".to_owned(), json!(["default"]))]);
    truncated(&mut answer, None);
    Ok(answer)
}

fn default_policy_only(input: &Input) -> Result<(), Fault> {
    match input.text("PolicyName") {
        None | Some("default") => Ok(()),
        Some(_) => Err(Fault::new(400, "NotFoundException", "No such policy exists")),
    }
}

/// GetKeyRotationStatus: keys are not rotated yet.
pub(super) async fn rotation_status(kms: &Kms, input: Input) -> Answer {
    let found = kms.find(input.must("KeyId")).await?;
    found.is_outside_of_stores()?;
    found.record().changeable(&found.arn)?;
    Ok(Map::from_iter([
        ("KeyRotationEnabled".to_owned(), false.into()),
        ("KeyId".to_owned(), found.arn.into()),
    ]))
}

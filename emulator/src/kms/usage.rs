//! GetKeyLastUsage: when a key was last used for what, since this process began. It is not recorded: a write for each use would
//! cost more than the use.

use super::describe::seconds;
use super::input::Input;
use super::{Answer, Kms, now_ms};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The last uses, by key.
pub(super) struct Usages {
    began_ms: u64,
    last: Mutex<HashMap<String, Last>>,
}

struct Last {
    operation: &'static str,
    at_ms: u64,
    request: String,
}

/// The operations that are a use.
const TRACKED: [&str; 12] = [
    "Decrypt",
    "DeriveSharedSecret",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "ReEncrypt",
    "Sign",
    "Verify",
    "VerifyMac",
];

impl Usages {
    pub(super) fn new() -> Self {
        Self {
            began_ms: now_ms(),
            last: Mutex::default(),
        }
    }

    /// Takes note of an answered request.
    pub(super) fn note(&self, operation: &'static str, answer: &Map<String, Value>, request: &str) {
        if !TRACKED.contains(&operation) {
            return;
        }
        for member in ["KeyId", "SourceKeyId"] {
            let arn = answer.get(member).and_then(Value::as_str);
            let Some((_, id)) = arn.and_then(|arn| arn.rsplit_once('/')) else {
                continue;
            };
            let last = Last {
                operation,
                at_ms: now_ms(),
                request: request.to_owned(),
            };
            let mut all = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            match all.get_mut(id) {
                Some(known) => *known = last,
                None => drop(all.insert(id.to_owned(), last)),
            }
        }
    }
}

/// GetKeyLastUsage.
pub(super) async fn last(kms: &Kms, input: Input) -> Answer {
    let found = kms.allowed(&input, "KeyId").await?;
    let created_ms = found.record().created_ms;
    let mut answer = Map::from_iter([
        (
            "TrackingStartDate".to_owned(),
            seconds(kms.usages.began_ms.max(created_ms)),
        ),
        ("KeyCreationDate".to_owned(), seconds(created_ms)),
    ]);
    let all = kms.usages.last.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(last) = all.get(&found.record().id) {
        let usage = json!({
            "Operation": last.operation,
            "Timestamp": seconds(last.at_ms),
            "KmsRequestId": last.request,
        });
        answer.insert("KeyLastUsage".to_owned(), usage);
    }
    drop(all);
    answer.insert("KeyId".to_owned(), found.arn.into());
    Ok(answer)
}

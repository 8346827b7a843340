//! What the proxy reads of a caller's, for the fuzz targets (docs/fuzzing.md).

use super::super::wire;
use super::auth::Verifier;
use super::request::{self, Call, Target};
use crate::config::Credential;
use chrono::DateTime;
use http::{HeaderMap, HeaderValue};

/// A path behind the prefix.
pub(in super::super) fn path(text: &str) {
    if let Some(target) = Target::find(text) {
        let key = target.key();
        assert!(target == Target::Health || super::super::is_key_id(key), "{key}");
    }
}

/// An Authorization header. No credential is known, so nothing may pass.
pub(in super::super) fn authorization(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let credential = Credential {
        access_key_id: "ABCDEFGHIJKLMNOPQR27".into(),
        secret_access_key: "nobody can know this one, nor guess it at all".into(),
    };
    let verifier = Verifier::new("r".into(), vec![credential]);
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("h"));
    headers.insert("x-amz-date", HeaderValue::from_static("20300131T235959Z"));
    headers.insert("authorization", value);
    let now = DateTime::from_timestamp(1_896_134_399, 0).unwrap_or_default();
    assert!(verifier.verify("/kms/xks/v1/health", &headers, b"{}", now).is_err());
}

/// The body of a request for the first, second, third or fourth operation.
pub(in super::super) fn body(operation: u8, bytes: &[u8]) {
    let targets = [
        Target::Health,
        Target::Metadata("k"),
        Target::Encrypt("k"),
        Target::Decrypt("k"),
    ];
    let Some(target) = targets.get(usize::from(operation)) else {
        return;
    };
    match request::parse(*target, bytes) {
        Ok((_, Call::Encrypt(wanted))) => {
            assert!(
                request::authenticated(&wanted.aad, &[1]).is_ok(),
                "what was read can be used"
            );
        }
        Ok((_, Call::Decrypt(wanted))) => {
            assert!(wire::VECTORS.contains(&wanted.iv.len()) && wanted.sealed.len() >= wire::TAG);
        }
        Ok(_) => {}
        Err(refusal) => {
            let _ = request::at_least_who(bytes);
            assert!(refusal.message.len() < 512);
        }
    }
}

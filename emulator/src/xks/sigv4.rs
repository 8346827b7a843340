//! Signature Version 4 as far as the XKS proxy API needs it: a POST without a query, a path of characters that no encoding
//! changes, the signature in a header. The verifier of the other front ends cannot be used here: it takes secrets of exactly 40
//! characters, these have 43 to 64.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign, sign_to_buffer};
use chrono::{DateTime, Utc};
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

/// The service in a signature's scope.
pub(super) const SERVICE: &str = "kms-xks-proxy";
/// The one algorithm.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The end of a scope.
pub(super) const TERMINATOR: &str = "aws4_request";
/// `chrono`'s form of a request's time.
pub(super) const TIME: &str = "%Y%m%dT%H%M%SZ";

/// A request, as far as it is signed.
pub(super) struct Signed<'a> {
    pub(super) path: &'a str,
    /// The signed headers in the order of their names, which are in small letters.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
}

/// The key of one secret, day, region and service.
///
/// `None`: the engine failed, for want of memory.
pub(super) fn signing_key(secret: &str, date: &str, region: &str) -> Option<Key> {
    let start = Zeroizing::new(format!("AWS4{secret}"));
    let mut value = Zeroizing::new([0; 32]);
    sign_to_buffer(&Key::new(HMAC_SHA256, start.as_bytes()), date.as_bytes(), &mut *value).ok()?;
    for part in [region, SERVICE, TERMINATOR] {
        let key = Key::new(HMAC_SHA256, &*value);
        sign_to_buffer(&key, part.as_bytes(), &mut *value).ok()?;
    }
    Some(Key::new(HMAC_SHA256, &*value))
}

/// The names of signed headers as a request states them.
pub(super) fn names(headers: &[(&str, &str)]) -> String {
    headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";")
}

/// A scope without the access key: day, region, service.
pub(super) fn scope(date: &str, region: &str) -> String {
    format!("{date}/{region}/{SERVICE}/{TERMINATOR}")
}

/// The signature, in hexadecimal, of a request at a time (`20300131T235959Z`).
pub(super) fn signature(key: &Key, request: &Signed<'_>, time: &str, scope: &str) -> String {
    let mut canonical = format!("POST\n{}\n\n", request.path);
    for (name, value) in request.headers {
        canonical.push_str(name);
        canonical.push(':');
        folded(value, &mut canonical);
        canonical.push('\n');
    }
    canonical.push('\n');
    canonical.push_str(&names(request.headers));
    canonical.push('\n');
    canonical.push_str(&hex(digest(&SHA256, request.body).as_ref()));
    let hashed = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
    hex(sign(key, format!("{ALGORITHM}\n{time}\n{scope}\n{hashed}").as_bytes()).as_ref())
}

/// A header's value: no space around it, and one where there are several.
fn folded(value: &str, out: &mut String) {
    for (index, word) in value.split(' ').filter(|word| !word.is_empty()).enumerate() {
        if index > 0 {
            out.push(' ');
        }
        out.push_str(word);
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Who signs requests to a proxy.
pub(super) struct Signer {
    access_key_id: String,
    secret: Zeroizing<String>,
    region: String,
    /// The day's key.
    today: Mutex<Option<(String, Key)>>,
}

/// What a signed request says of its signature.
pub(super) struct Stamp {
    /// `x-amz-date`
    pub(super) time: String,
    /// `authorization`
    pub(super) authorization: String,
}

impl Signer {
    pub(super) fn new(access_key_id: String, secret: Zeroizing<String>, region: String) -> Self {
        Self {
            access_key_id,
            secret,
            region,
            today: Mutex::default(),
        }
    }

    /// Signs host, time and body. `None`: the engine failed, for want of memory.
    pub(super) fn sign(&self, host: &str, path: &str, body: &[u8], now: DateTime<Utc>) -> Option<Stamp> {
        let time = now.format(TIME).to_string();
        let date = time.get(..8).unwrap_or_default();
        let key = self.key(date)?;
        let headers = [("host", host), ("x-amz-date", time.as_str())];
        let request = Signed {
            path,
            headers: &headers,
            body,
        };
        let scope = scope(date, &self.region);
        let signature = signature(&key, &request, &time, &scope);
        let (id, names) = (&self.access_key_id, names(&headers));
        let authorization =
            format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
        Some(Stamp { time, authorization })
    }

    fn key(&self, date: &str) -> Option<Key> {
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((day, key)) = &*today
            && day == date
        {
            return Some(key.clone());
        }
        let key = signing_key(&self.secret, date, &self.region)?;
        *today = Some((date.to_owned(), key.clone()));
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone as _;

    /// The values come from botocore 1.44 (`botocore.auth.SigV4Auth`) for the same request.
    #[test]
    fn a_signature_is_the_one_that_botocore_makes() {
        let secret = Zeroizing::new("PleaseReplaceThisWithSomeSecretOfLength43To64".to_owned());
        let signer = Signer::new("BETWEEN2TENAND3TENCHARACTERS".into(), secret, "us-east-1".into());
        let now = Utc.with_ymd_and_hms(2030, 1, 31, 23, 59, 59).unwrap();
        let stamp = signer
            .sign("xks.example.com", "/example/kms/xks/v1/health", b"{\"a\": 1}", now)
            .unwrap();
        assert_eq!(stamp.time, "20300131T235959Z");
        assert_eq!(stamp.authorization, include_str!("botocore-signature.txt").trim());
    }

    #[test]
    fn spaces_of_a_header_are_folded() {
        let mut out = String::new();
        folded("  a   b c ", &mut out);
        assert_eq!(out, "a b c");
    }
}

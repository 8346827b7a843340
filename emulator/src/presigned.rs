//! Signatures in the query of an address (presigned requests, SigV4). The verifier of signatures in headers cannot be used: it
//! reads `X-Amz-Credential` with its slashes still encoded, and so knows no such request
//! (`scratchstack-aws-signature` 0.11.4, `canonical.rs`).

use crate::fault::Common;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use bytes::Bytes;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use http::Request;
use std::fmt::Write as _;
use zeroize::Zeroizing;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
const TIME: &str = "%Y%m%dT%H%M%SZ";
/// How far clocks may differ.
const SKEW: TimeDelta = TimeDelta::minutes(15);
/// The longest that a request may be good for, in seconds (the reference's limit).
const LONGEST: i64 = 604_800;

/// What is wrong with a signature.
type Wrong = (Common, String);

/// A signature in a query.
pub(crate) struct Presigned {
    /// Names and values, decoded, but for the signature.
    pairs: Vec<(String, String)>,
    credential: String,
    time: String,
    headers: String,
    signature: String,
    expires: Option<String>,
}

impl Presigned {
    /// The signature in a request's query; `None` when there is none.
    ///
    /// # Errors
    /// A part that is missing.
    pub(crate) fn of(request: &Request<Bytes>) -> Result<Option<Self>, Wrong> {
        let Some(query) = request.uri().query().filter(|query| query.contains("X-Amz-Algorithm=")) else {
            return Ok(None);
        };
        let mut pairs: Vec<_> = query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
        let take = |name: &str| {
            let found = pairs.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        };
        let incomplete = |name: &str| {
            let message = format!("AWS query-string parameters must include {name}.");
            (Common::IncompleteSignature, message)
        };
        let must = |name: &str| take(name).ok_or_else(|| incomplete(name));
        if must("X-Amz-Algorithm")? != ALGORITHM {
            let message = format!("X-Amz-Algorithm must be {ALGORITHM}.");
            return Err((Common::IncompleteSignature, message));
        }
        let (credential, time) = (must("X-Amz-Credential")?, must("X-Amz-Date")?);
        let (headers, signature) = (must("X-Amz-SignedHeaders")?, must("X-Amz-Signature")?);
        let expires = take("X-Amz-Expires");
        pairs.retain(|(name, _)| name != "X-Amz-Signature");
        Ok(Some(Self {
            pairs,
            credential,
            time,
            headers,
            signature,
            expires,
        }))
    }

    /// Checks it against a region, a service, a time and the secret of the access key that it names.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn verify<'a>(
        &self,
        request: &Request<Bytes>,
        (region, service): (&str, &str),
        now: DateTime<Utc>,
        secret: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<(), Wrong> {
        let (id, scope) = self.credential.split_once('/').unwrap_or_default();
        let date = self.time.get(..8).unwrap_or_default();
        if scope != format!("{date}/{region}/{service}/{TERMINATOR}") {
            let message = format!("Credential should be scoped to {date}/{region}/{service}/{TERMINATOR}.");
            return Err((Common::WrongSignature, message));
        }
        let unknown = "The security token included in the request is invalid.";
        let secret = secret(id).ok_or_else(|| (Common::UnknownAccessKey, unknown.to_owned()))?;
        let canonical = self.canonical(request)?;
        let hashed = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
        let text = format!("{ALGORITHM}\n{}\n{scope}\n{hashed}", self.time);
        let start = Zeroizing::new(format!("AWS4{secret}"));
        let mut key = Key::new(HMAC_SHA256, start.as_bytes());
        for part in scope.split('/') {
            key = Key::new(HMAC_SHA256, sign(&key, part.as_bytes()).as_ref());
        }
        let expected = hex(sign(&key, text.as_bytes()).as_ref());
        verify_slices_are_equal(expected.as_bytes(), self.signature.as_bytes())
            .map_err(|_| (Common::WrongSignature, String::new()))?;
        self.in_time(now)
    }

    fn in_time(&self, now: DateTime<Utc>) -> Result<(), Wrong> {
        let expired = |message: &str| (Common::Expired, message.to_owned());
        let time = NaiveDateTime::parse_from_str(&self.time, TIME);
        let time = time
            .map_err(|_| expired("X-Amz-Date must be like 20190825T160000Z."))?
            .and_utc();
        let good = match &self.expires {
            None => SKEW,
            Some(seconds) => {
                let seconds = seconds
                    .parse::<i64>()
                    .ok()
                    .filter(|seconds| (1..=LONGEST).contains(seconds));
                TimeDelta::seconds(seconds.ok_or_else(|| expired("X-Amz-Expires must be between 1 and 604800."))?)
            }
        };
        if time > now + SKEW {
            return Err(expired("Signature not yet current."));
        }
        if now > time + good {
            return Err(expired("Signature expired."));
        }
        Ok(())
    }

    /// The canonical request: method, path, query in order, signed headers, the hash of the body.
    fn canonical(&self, request: &Request<Bytes>) -> Result<String, Wrong> {
        let encoded = self.pairs.iter().map(|(name, value)| (encode(name), encode(value)));
        let mut query: Vec<_> = encoded.collect();
        query.sort_unstable();
        let query: Vec<_> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut out = format!("{}\n{}\n{}\n", request.method(), request.uri().path(), query.join("&"));
        let mut host = false;
        for name in self.headers.split(';') {
            let values = request.headers().get_all(name).iter();
            let values: Vec<_> = values
                .map(|value| folded(&String::from_utf8_lossy(value.as_bytes())))
                .collect();
            if values.is_empty() {
                let message = format!(
                    "The signed header {} is not in the request.",
                    name.get(..64).unwrap_or(name)
                );
                return Err((Common::WrongSignature, message));
            }
            host |= name == "host";
            let _ = writeln!(out, "{name}:{}", values.join(","));
        }
        if !host {
            return Err((Common::WrongSignature, "The header host must be signed.".into()));
        }
        let body = hex(digest(&SHA256, request.body()).as_ref());
        let _ = write!(out, "\n{}\n{body}", self.headers);
        Ok(out)
    }
}

/// Name and value of a pair, decoded as far as they can be: what is odd does not fit the signature.
fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (decode(name), decode(value))
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escaped = bytes
            .get(at + 1..at + 3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, escaped) {
            (b'%', Some(escaped)) => {
                out.push(escaped);
                at += 3;
                continue;
            }
            // A plus sign is a space for forms, and so for what is signed.
            (b'+', _) => out.push(b' '),
            (other, _) => out.push(*other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// RFC 3986: all but letters, digits and `-._~` in hexadecimal.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A header's value: no space around it, and one where there are several.
fn folded(value: &str) -> String {
    value
        .split(' ')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn request(query: &str) -> Request<Bytes> {
        let uri = format!("https://example.com/?{query}");
        Request::builder()
            .uri(uri)
            .header("host", "example.com")
            .body(Bytes::new())
            .unwrap()
    }

    fn checked(query: &str, now: &str) -> Result<(), Common> {
        let request = request(query);
        let now = NaiveDateTime::parse_from_str(now, TIME).unwrap().and_utc();
        let presigned = Presigned::of(&request).map_err(|wrong| wrong.0)?.unwrap();
        let secret = |id: &str| (id == "AKIDEXAMPLE").then_some(SECRET);
        let checked = presigned.verify(&request, ("us-east-1", "redshift"), now, secret);
        checked.map_err(|wrong| wrong.0)
    }

    fn signed(query: &str) -> String {
        let open = format!("{query}&X-Amz-Signature=0");
        let request = request(&open);
        let presigned = Presigned::of(&request).unwrap().unwrap();
        let hashed = hex(digest(&SHA256, presigned.canonical(&request).unwrap().as_bytes()).as_ref());
        let (_, scope) = presigned.credential.split_once('/').unwrap();
        let mut key = Key::new(HMAC_SHA256, format!("AWS4{SECRET}").as_bytes());
        for part in scope.split('/') {
            key = Key::new(HMAC_SHA256, sign(&key, part.as_bytes()).as_ref());
        }
        let text = format!("{ALGORITHM}\n{}\n{scope}\n{hashed}", presigned.time);
        format!("{query}&X-Amz-Signature={}", hex(sign(&key, text.as_bytes()).as_ref()))
    }

    #[test]
    fn a_signature_holds_for_its_request_and_its_time_alone() {
        let query = signed(
            "Action=DescribeTags&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20190825T160000Z&X-Amz-Expires=60&\
             X-Amz-Credential=AKIDEXAMPLE%2F20190825%2Fus-east-1%2Fredshift%2Faws4_request&X-Amz-SignedHeaders=host",
        );
        assert_eq!(checked(&query, "20190825T160030Z"), Ok(()));
        assert_eq!(checked(&query, "20190825T160101Z"), Err(Common::Expired));
        assert_eq!(checked(&query, "20190825T154000Z"), Err(Common::Expired));
        let changed = query.replace("DescribeTags", "DeleteTags");
        assert_eq!(checked(&changed, "20190825T160030Z"), Err(Common::WrongSignature));
        let other = query.replace("AKIDEXAMPLE", "AKIDOTHER");
        assert_eq!(checked(&other, "20190825T160030Z"), Err(Common::UnknownAccessKey));
        let elsewhere = query.replace("us-east-1", "us-east-2");
        assert_eq!(checked(&elsewhere, "20190825T160030Z"), Err(Common::WrongSignature));
        let short = query.replace("X-Amz-Date", "X-Amz-Datum");
        assert_eq!(checked(&short, "20190825T160030Z"), Err(Common::IncompleteSignature));
    }

    #[test]
    fn a_request_without_a_signature_in_its_query_is_none_of_ours() {
        assert!(Presigned::of(&request("Action=DescribeTags")).unwrap().is_none());
    }
}

//! Who signed a request: Signature Version 4 in a header, by one of the credentials that are live, for this region, at most five
//! minutes ago or ahead.

use super::super::sigv4::{self, ALGORITHM, SERVICE, Signed, TERMINATOR, TIME};
use crate::config::Credential;
use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::Key;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use http::{HeaderMap, header};
use std::sync::{Arc, Mutex, PoisonError};

/// How far a request's time may be off.
const SKEW: TimeDelta = TimeDelta::minutes(5);
/// More signed headers than KMS will ever sign.
const MOST_HEADERS: usize = 32;

/// Verifies requests.
pub(super) struct Verifier {
    region: String,
    known: ArcSwap<Vec<Known>>,
    /// Takes the place of an access key that does not exist, so that the work is the same.
    decoy: Known,
}

struct Known {
    credential: Credential,
    /// The day's key.
    today: Mutex<Option<(String, Key)>>,
}

/// Why a request is not taken for authentic. An unknown access key and a wrong signature are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// No signature, two of them, or one of another form.
    Form,
    /// A header that must be signed is not, or is not there.
    Headers,
    /// Another region or service, or a day that is not the time's.
    Scope,
    /// Too old, or too far ahead.
    Time,
    /// Made with another secret, of another request, or by an access key that is not known.
    Signature,
}

impl Denied {
    pub(super) const fn message(self) -> &'static str {
        match self {
            Self::Form => "the Authorization header is missing or is no AWS4-HMAC-SHA256 signature",
            Self::Headers => "the headers host and x-amz-date must be there and signed",
            Self::Scope => "the signature is for another day, region or service",
            Self::Time => "the request's time is more than five minutes off",
            Self::Signature => "the signature is not that of this request, or the access key is not known",
        }
    }
}

/// An Authorization header in its parts.
struct Claim<'a> {
    access_key_id: &'a str,
    date: &'a str,
    region: &'a str,
    names: &'a str,
    signature: &'a str,
}

impl Verifier {
    /// A verifier for one or more credentials.
    pub(super) fn new(region: String, credentials: Vec<Credential>) -> Self {
        let decoy = Credential {
            access_key_id: String::new(),
            secret_access_key: "a".repeat(43),
        };
        let verifier = Self {
            region,
            known: ArcSwap::default(),
            decoy: Known::new(decoy),
        };
        verifier.replace(credentials);
        verifier
    }

    /// From now on these.
    pub(super) fn replace(&self, credentials: Vec<Credential>) {
        let known = credentials.into_iter().map(Known::new).collect();
        self.known.store(Arc::new(known));
    }

    /// Checks a request at a time; the access key that signed it.
    pub(super) fn verify(
        &self,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<String, Denied> {
        let claim = claim(headers)?;
        let signed = signed_headers(claim.names, headers)?;
        let time = signed.iter().find(|(name, _)| *name == "x-amz-date");
        let time = time.map(|(_, value)| value.as_str()).ok_or(Denied::Headers)?;
        let at = NaiveDateTime::parse_from_str(time, TIME)
            .map_err(|_| Denied::Time)?
            .and_utc();
        if (now - at).abs() > SKEW {
            return Err(Denied::Time);
        }
        if time.get(..8) != Some(claim.date) || claim.region != self.region {
            return Err(Denied::Scope);
        }
        let known = self.known.load();
        let found = known
            .iter()
            .find(|known| known.credential.access_key_id == claim.access_key_id);
        let key = found
            .unwrap_or(&self.decoy)
            .key(claim.date, &self.region)
            .ok_or(Denied::Signature)?;
        let pairs: Vec<_> = signed.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let request = Signed {
            path,
            headers: &pairs,
            body,
        };
        let scope = sigv4::scope(claim.date, &self.region);
        let expected = sigv4::signature(&key, &request, time, &scope);
        let good = verify_slices_are_equal(expected.as_bytes(), claim.signature.as_bytes()).is_ok();
        if good && found.is_some() {
            Ok(claim.access_key_id.to_owned())
        } else {
            Err(Denied::Signature)
        }
    }
}

impl Known {
    const fn new(credential: Credential) -> Self {
        Self {
            credential,
            today: Mutex::new(None),
        }
    }

    fn key(&self, date: &str, region: &str) -> Option<Key> {
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((day, key)) = &*today
            && day == date
        {
            return Some(key.clone());
        }
        let key = sigv4::signing_key(&self.credential.secret_access_key, date, region)?;
        *today = Some((date.to_owned(), key.clone()));
        Some(key)
    }
}

fn claim(headers: &HeaderMap) -> Result<Claim<'_>, Denied> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return Err(Denied::Form);
    };
    let value = value.to_str().map_err(|_| Denied::Form)?;
    let parts = value
        .strip_prefix(ALGORITHM)
        .filter(|rest| rest.starts_with(' '))
        .ok_or(Denied::Form)?;
    let (mut credential, mut names, mut signature) = (None, None, None);
    for part in parts.split(',') {
        let (name, value) = part.trim().split_once('=').ok_or(Denied::Form)?;
        let place = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut names,
            "Signature" => &mut signature,
            _ => return Err(Denied::Form),
        };
        if place.replace(value).is_some() {
            return Err(Denied::Form);
        }
    }
    let (Some(credential), Some(names), Some(signature)) = (credential, names, signature) else {
        return Err(Denied::Form);
    };
    let parts: Vec<_> = credential.split('/').collect();
    let [access_key_id, date, region, service, terminator] = parts[..] else {
        return Err(Denied::Form);
    };
    if service != SERVICE || terminator != TERMINATOR {
        return Err(Denied::Scope);
    }
    Ok(Claim {
        access_key_id,
        date,
        region,
        names,
        signature,
    })
}

/// The signed headers with their values. Names are in small letters and ascend, so that none is there twice.
fn signed_headers<'a>(names: &'a str, headers: &HeaderMap) -> Result<Vec<(&'a str, String)>, Denied> {
    let mut found: Vec<(&str, String)> = Vec::new();
    for name in names.split(';') {
        let ascends = found.last().is_none_or(|(last, _)| *last < name);
        if !ascends || found.len() == MOST_HEADERS || name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(Denied::Form);
        }
        // HTTP/2 has the host under this name; it was put where HTTP/1.1 has it.
        let looked_up = if name == ":authority" { "host" } else { name };
        let values: Result<Vec<_>, _> = headers.get_all(looked_up).iter().map(|value| value.to_str()).collect();
        let values = values.map_err(|_| Denied::Headers)?;
        if values.is_empty() || (looked_up == "x-amz-date" && values.len() > 1) {
            return Err(Denied::Headers);
        }
        found.push((name, values.join(",")));
    }
    let has = |wanted: &str| found.iter().any(|(name, _)| *name == wanted);
    if !has("x-amz-date") || !(has("host") || has(":authority")) {
        return Err(Denied::Headers);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::super::sigv4::Signer;
    use super::*;
    use zeroize::Zeroizing;

    const PATH: &str = "/a/kms/xks/v1/health";
    const BODY: &[u8] = b"{}";

    fn credential(letter: &str) -> Credential {
        Credential {
            access_key_id: letter.repeat(20),
            secret_access_key: letter.repeat(43),
        }
    }

    fn verifier(letters: &[&str]) -> Verifier {
        Verifier::new("r-1".into(), letters.iter().map(|letter| credential(letter)).collect())
    }

    fn signed(letter: &str, now: DateTime<Utc>) -> HeaderMap {
        let credential = credential(letter);
        let secret = Zeroizing::new(credential.secret_access_key.clone());
        let signer = Signer::new(credential.access_key_id.clone(), secret, "r-1".into());
        let stamp = signer.sign("h.example", PATH, BODY, now).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("host", "h.example".parse().unwrap());
        headers.insert("x-amz-date", stamp.time.parse().unwrap());
        headers.insert("authorization", stamp.authorization.parse().unwrap());
        headers
    }

    #[test]
    fn each_live_credential_signs_and_no_other() {
        let now = Utc::now();
        let verifier = verifier(&["A", "B"]);
        for letter in ["A", "B"] {
            assert_eq!(
                verifier.verify(PATH, &signed(letter, now), BODY, now),
                Ok(letter.repeat(20))
            );
        }
        assert_eq!(
            verifier.verify(PATH, &signed("C", now), BODY, now),
            Err(Denied::Signature)
        );
        verifier.replace(vec![credential("C")]);
        assert_eq!(
            verifier.verify(PATH, &signed("A", now), BODY, now),
            Err(Denied::Signature)
        );
        assert!(verifier.verify(PATH, &signed("C", now), BODY, now).is_ok());
    }

    #[test]
    fn five_minutes_are_the_most() {
        let now = Utc::now();
        let verifier = verifier(&["A"]);
        for (minutes, expected) in [(-4, true), (4, true), (-6, false), (6, false), (-60 * 24, false)] {
            let at = now + TimeDelta::minutes(minutes);
            let outcome = verifier.verify(PATH, &signed("A", at), BODY, now);
            assert_eq!(outcome.is_ok(), expected, "{minutes}");
            assert!(expected || outcome == Err(Denied::Time), "{minutes}");
        }
    }

    #[test]
    fn what_was_changed_after_signing_is_refused() {
        let now = Utc::now();
        let verifier = verifier(&["A"]);
        let headers = signed("A", now);
        assert_eq!(
            verifier.verify("/b/kms/xks/v1/health", &headers, BODY, now),
            Err(Denied::Signature)
        );
        assert_eq!(verifier.verify(PATH, &headers, b"{ }", now), Err(Denied::Signature));
        let mut other = headers.clone();
        other.insert("host", "other.example".parse().unwrap());
        assert_eq!(verifier.verify(PATH, &other, BODY, now), Err(Denied::Signature));
    }

    #[test]
    fn headers_of_another_form_are_told_apart() {
        let now = Utc::now();
        let verifier = verifier(&["A"]);
        let good = signed("A", now);
        let text = good["authorization"].to_str().unwrap().to_owned();
        for (from, to, expected) in [
            ("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA1 ", Denied::Form),
            ("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256", Denied::Form),
            (", Signature=", ", Other=", Denied::Form),
            (", SignedHeaders=", ", Signature=a, SignedHeaders=", Denied::Form),
            ("host;x-amz-date", "host;Host;x-amz-date", Denied::Form),
            ("host;x-amz-date", "x-amz-date;host", Denied::Form),
            ("host;x-amz-date", "host;host;x-amz-date", Denied::Form),
            ("host;x-amz-date", "host", Denied::Headers),
            ("host;x-amz-date", "x-amz-date", Denied::Headers),
            ("host;x-amz-date", "host;x-amz-date;x-other", Denied::Headers),
            ("/kms-xks-proxy/", "/kms/", Denied::Scope),
            ("/r-1/", "/r-2/", Denied::Scope),
            ("/r-1/", "/", Denied::Form),
            ("Signature=", "Signature=0", Denied::Signature),
        ] {
            assert!(text.contains(from));
            let mut headers = good.clone();
            headers.insert("authorization", text.replacen(from, to, 1).parse().unwrap());
            assert_eq!(
                verifier.verify(PATH, &headers, BODY, now),
                Err(expected),
                "{from} -> {to}"
            );
        }
        let mut headers = good.clone();
        headers.remove("authorization");
        assert_eq!(verifier.verify(PATH, &headers, BODY, now), Err(Denied::Form));
        let mut headers = good.clone();
        headers.append("authorization", text.parse().unwrap());
        assert_eq!(verifier.verify(PATH, &headers, BODY, now), Err(Denied::Form));
        let spread = text
            .replace(", ", ",   ")
            .replace("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256   ");
        let mut headers = good;
        headers.insert("authorization", spread.parse().unwrap());
        assert!(verifier.verify(PATH, &headers, BODY, now).is_ok());
    }
}

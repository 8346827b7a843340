//! Requests: which operation a path is for, and bodies as checked values.

use super::super::error::ErrorName;
use super::super::wire::{self, AES_GCM, Decrypt, Encrypt, Plain, RequestMetadata, SHA_256};
use super::refusal::Refusal;
use std::borrow::Cow;
use zeroize::Zeroizing;

/// The longest plaintext and the most additional authenticated data, in bytes. KMS sends at most 4,300 and 8,192.
const LONGEST: usize = 8_192;

/// An operation, and the key in its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    Health,
    Metadata(&'a str),
    Encrypt(&'a str),
    Decrypt(&'a str),
}

impl<'a> Target<'a> {
    /// The operation of a path behind the prefix.
    pub(super) fn find(rest: &'a str) -> Option<Self> {
        if rest == "/health" {
            return Some(Self::Health);
        }
        let (key, operation) = rest.strip_prefix("/keys/")?.split_once('/')?;
        if !super::super::is_key_id(key) {
            return None;
        }
        match operation {
            "metadata" => Some(Self::Metadata(key)),
            "encrypt" => Some(Self::Encrypt(key)),
            "decrypt" => Some(Self::Decrypt(key)),
            _ => None,
        }
    }

    /// The API's name of the operation.
    pub(super) const fn operation(self) -> &'static str {
        match self {
            Self::Health => "GetHealthStatus",
            Self::Metadata(_) => "GetKeyMetadata",
            Self::Encrypt(_) => "Encrypt",
            Self::Decrypt(_) => "Decrypt",
        }
    }

    /// The external key's name.
    pub(super) const fn key(self) -> &'a str {
        match self {
            Self::Health => "",
            Self::Metadata(key) | Self::Encrypt(key) | Self::Decrypt(key) => key,
        }
    }
}

/// Who asks KMS for what, as the request says: for the audit line, never for a decision.
#[derive(Clone, Debug, Default)]
pub(super) struct Who {
    pub(super) principal: String,
    pub(super) kms_key: String,
    pub(super) kms_operation: String,
    pub(super) kms_request_id: String,
    pub(super) via: String,
}

/// A checked body.
#[derive(Debug)]
pub(super) enum Call {
    Health,
    Metadata,
    Encrypt(Plaintext),
    Decrypt(Ciphertext),
}

/// What is to be encrypted.
#[derive(Clone, Debug)]
pub(super) struct Plaintext {
    pub(super) plaintext: Zeroizing<Vec<u8>>,
    pub(super) aad: Vec<u8>,
    /// Whether the integrity value is wanted.
    pub(super) integrity: bool,
}

/// What is to be decrypted.
#[derive(Clone, Debug)]
pub(super) struct Ciphertext {
    /// The ciphertext with its tag behind it.
    pub(super) sealed: Vec<u8>,
    pub(super) iv: Vec<u8>,
    /// What the key manager authenticates.
    pub(super) authenticated: Vec<u8>,
}

/// Reads the body of a request.
pub(super) fn parse(target: Target<'_>, body: &[u8]) -> Result<(Who, Call), Refusal> {
    match target {
        Target::Health => {
            let body: Plain<'_> = read(body)?;
            Ok((who(&body.request_metadata), Call::Health))
        }
        Target::Metadata(_) => {
            let body: Plain<'_> = read(body)?;
            principal(&body.request_metadata)?;
            Ok((who(&body.request_metadata), Call::Metadata))
        }
        Target::Encrypt(_) => {
            let body: Encrypt<'_> = read(body)?;
            Ok((who(&body.request_metadata), Call::Encrypt(plaintext(&body)?)))
        }
        Target::Decrypt(_) => {
            let body: Decrypt<'_> = read(body)?;
            Ok((who(&body.request_metadata), Call::Decrypt(ciphertext(&body)?)))
        }
    }
}

/// Who asked, of a body that is not good otherwise.
pub(super) fn at_least_who(body: &[u8]) -> Who {
    let body: Option<Plain<'_>> = serde_json::from_slice(body).ok();
    body.map(|body| who(&body.request_metadata)).unwrap_or_default()
}

fn read<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|_| {
        Refusal::validation("the body is not JSON, or a required member is missing, twice there or not a string")
    })
}

fn who(metadata: &RequestMetadata<'_>) -> Who {
    /// Longer than any ARN.
    const SHOWN: usize = 2_048;
    let shown = |text: &str| text.chars().take(SHOWN).collect::<String>();
    let perhaps = |text: &Option<Cow<'_, str>>| text.as_deref().map(shown).unwrap_or_default();
    Who {
        principal: perhaps(&metadata.aws_principal_arn),
        kms_key: perhaps(&metadata.kms_key_arn),
        kms_operation: shown(&metadata.kms_operation),
        kms_request_id: shown(&metadata.kms_request_id),
        via: perhaps(&metadata.kms_via_service),
    }
}

fn principal(metadata: &RequestMetadata<'_>) -> Result<(), Refusal> {
    match metadata.aws_principal_arn {
        Some(_) => Ok(()),
        None => Err(Refusal::validation("requestMetadata.awsPrincipalArn is missing")),
    }
}

/// What Encrypt and Decrypt have in common.
fn common(metadata: &RequestMetadata<'_>, algorithm: &str) -> Result<(), Refusal> {
    principal(metadata)?;
    if metadata.kms_key_arn.is_none() {
        return Err(Refusal::validation("requestMetadata.kmsKeyArn is missing"));
    }
    if algorithm != AES_GCM {
        return Err(Refusal::validation("encryptionAlgorithm must be AES_GCM"));
    }
    Ok(())
}

fn plaintext(body: &Encrypt<'_>) -> Result<Plaintext, Refusal> {
    common(&body.request_metadata, &body.encryption_algorithm)?;
    let hash = body.ciphertext_data_integrity_value_algorithm.as_deref();
    if hash.is_some_and(|hash| hash != SHA_256) {
        return Err(Refusal::validation(
            "ciphertextDataIntegrityValueAlgorithm must be SHA_256",
        ));
    }
    Ok(Plaintext {
        plaintext: field(&body.plaintext, "plaintext is not standard base64")?,
        aad: aad(body.additional_authenticated_data.as_deref())?,
        integrity: hash.is_some(),
    })
}

fn ciphertext(body: &Decrypt<'_>) -> Result<Ciphertext, Refusal> {
    common(&body.request_metadata, &body.encryption_algorithm)?;
    let aad = aad(body.additional_authenticated_data.as_deref())?;
    let ciphertext = field(&body.ciphertext, "ciphertext is not standard base64")?;
    let iv = field(
        &body.initialization_vector,
        "initializationVector is not standard base64",
    )?;
    let tag = field(&body.authentication_tag, "authenticationTag is not standard base64")?;
    let metadata = body.ciphertext_metadata.as_deref().unwrap_or_default();
    let metadata = field(metadata, "ciphertextMetadata is not standard base64")?;
    if !wire::VECTORS.contains(&iv.len()) {
        return Err(Refusal::ciphertext("initializationVector must have 12 or 16 bytes"));
    }
    if tag.len() != wire::TAG {
        return Err(Refusal::ciphertext("authenticationTag must have 16 bytes"));
    }
    if metadata.len() > wire::MOST_METADATA {
        return Err(Refusal::ciphertext("ciphertextMetadata has at most 20 bytes"));
    }
    Ok(Ciphertext {
        sealed: [ciphertext.as_slice(), tag.as_slice()].concat(),
        iv: iv.to_vec(),
        authenticated: authenticated(&aad, &metadata)?,
    })
}

/// What the key manager authenticates.
pub(super) fn authenticated(aad: &[u8], metadata: &[u8]) -> Result<Vec<u8>, Refusal> {
    wire::authenticated(aad, metadata).ok_or(TOO_LONG)
}

const TOO_LONG: Refusal = Refusal::new(
    ErrorName::UnsupportedOperation,
    "plaintext, ciphertext and additionalAuthenticatedData have at most 8192 bytes each",
);

fn aad(text: Option<&str>) -> Result<Vec<u8>, Refusal> {
    let bytes = field(
        text.unwrap_or_default(),
        "additionalAuthenticatedData is not standard base64",
    )?;
    Ok(bytes.to_vec())
}

fn field(text: &str, problem: &'static str) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    if text.len() > LONGEST.div_ceil(3) * 4 {
        return Err(TOO_LONG);
    }
    let bytes = wire::bytes(text).ok_or(Refusal::validation(problem))?;
    if bytes.len() > LONGEST {
        Err(TOO_LONG)
    } else {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn metadata() -> Value {
        json!({"awsPrincipalArn": "p", "kmsKeyArn": "k", "kmsOperation": "BulkEncrypt", "kmsRequestId": "r", "new": [1]})
    }

    fn encrypt(changes: Value) -> Result<(Who, Call), Refusal> {
        changed(
            Target::Encrypt("k"),
            json!({"requestMetadata": metadata(), "plaintext": "AQID", "encryptionAlgorithm": "AES_GCM",
                   "additionalAuthenticatedData": "BAU=", "ciphertextDataIntegrityValueAlgorithm": "SHA_256"}),
            changes,
        )
    }

    fn decrypt(changes: Value) -> Result<(Who, Call), Refusal> {
        changed(
            Target::Decrypt("k"),
            json!({"requestMetadata": metadata(), "ciphertext": "AQID", "encryptionAlgorithm": "AES_GCM",
                   "initializationVector": "AAAAAAAAAAAAAAAA", "authenticationTag": "AAAAAAAAAAAAAAAAAAAAAA==",
                   "ciphertextMetadata": "AQ=="}),
            changes,
        )
    }

    fn changed(target: Target<'_>, mut body: Value, changes: Value) -> Result<(Who, Call), Refusal> {
        for (name, value) in changes.as_object().unwrap() {
            body[name] = value.clone();
        }
        parse(target, body.to_string().as_bytes())
    }

    #[test]
    fn good_requests_are_read() {
        let (who, call) = encrypt(json!({})).unwrap();
        assert_eq!(
            (who.principal.as_str(), who.kms_operation.as_str()),
            ("p", "BulkEncrypt")
        );
        let Call::Encrypt(wanted) = call else {
            panic!("another call")
        };
        assert_eq!(
            (wanted.plaintext.as_slice(), wanted.aad.as_slice()),
            (&[1, 2, 3][..], &[4, 5][..])
        );
        assert!(wanted.integrity);
        let Call::Decrypt(wanted) = decrypt(json!({})).unwrap().1 else {
            panic!("another call")
        };
        assert_eq!((wanted.sealed.len(), wanted.iv.len()), (19, 12));
        assert_eq!(wanted.authenticated, [0, 0, 1, 1]);
        let escaped = encrypt(json!({})).is_ok()
            && parse(
                Target::Health,
                br#"{"requestMetadata": {"kmsOperation": "a\/b", "kmsRequestId": "\u0041"}}"#,
            )
            .is_ok();
        assert!(escaped);
    }

    #[test]
    fn what_breaks_a_rule_is_named() {
        use ErrorName::{InvalidCiphertext, UnsupportedOperation, Validation};
        let long = wire::text(&[0; LONGEST + 1]).to_string();
        for (changes, name) in [
            (json!({"plaintext": null}), Validation),
            (json!({"plaintext": 5}), Validation),
            (json!({"plaintext": "AQI"}), Validation),
            (json!({"plaintext": long}), UnsupportedOperation),
            (json!({"additionalAuthenticatedData": long}), UnsupportedOperation),
            (json!({"additionalAuthenticatedData": "-_=="}), Validation),
            (json!({"encryptionAlgorithm": "AES_CBC"}), Validation),
            (json!({"ciphertextDataIntegrityValueAlgorithm": "MD5"}), Validation),
            (json!({"requestMetadata": {}}), Validation),
            (
                json!({"requestMetadata": {"kmsOperation": "a", "kmsRequestId": "b", "kmsKeyArn": "k"}}),
                Validation,
            ),
            (
                json!({"requestMetadata": {"kmsOperation": "a", "kmsRequestId": "b", "awsPrincipalArn": "p"}}),
                Validation,
            ),
        ] {
            assert_eq!(encrypt(changes.clone()).unwrap_err().name, name, "{changes}");
        }
        for (changes, name) in [
            (json!({"ciphertext": null}), Validation),
            (
                json!({"initializationVector": wire::text(&[0; 13]).to_string()}),
                InvalidCiphertext,
            ),
            (
                json!({"authenticationTag": wire::text(&[0; 15]).to_string()}),
                InvalidCiphertext,
            ),
            (
                json!({"ciphertextMetadata": wire::text(&[0; 21]).to_string()}),
                InvalidCiphertext,
            ),
            (json!({"initializationVector": "?"}), Validation),
            (json!({"encryptionAlgorithm": null}), Validation),
        ] {
            assert_eq!(decrypt(changes.clone()).unwrap_err().name, name, "{changes}");
        }
        for body in [
            "",
            "{",
            "[]",
            "{}",
            "null",
            "{\"requestMetadata\": {}}",
            "{\"requestMetadata\": {\"kmsOperation\": \"a\", \"kmsOperation\": \"a\", \"kmsRequestId\": \"b\"}}",
        ] {
            assert_eq!(
                parse(Target::Health, body.as_bytes()).unwrap_err().name,
                Validation,
                "{body}"
            );
        }
    }

    #[test]
    fn paths_lead_to_operations_or_nowhere() {
        assert_eq!(Target::find("/health"), Some(Target::Health));
        assert_eq!(
            Target::find("/keys/a.b-c_d/metadata"),
            Some(Target::Metadata("a.b-c_d"))
        );
        assert_eq!(Target::find("/keys/a/encrypt"), Some(Target::Encrypt("a")));
        let long = format!("/keys/{}/encrypt", "a".repeat(129));
        for path in [
            "",
            "/",
            "/health/",
            "/keys/a",
            "/keys//encrypt",
            "/keys/../encrypt",
            "/keys/a b/encrypt",
            "/keys/a/sign",
            "/keys/a/encrypt/",
            &long,
        ] {
            assert_eq!(Target::find(path), None, "{path}");
        }
    }
}

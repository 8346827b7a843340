//! Certificate requests (PKCS #10, RFC 2986): made by `hsmctl` beside the private key, which never leaves its host; read by
//! the daemon, which takes the key over and nothing else: names, extensions and attributes of a request are the asker's word.

use super::authority::AuthorityKey;
use hsmd_keystore::Secret;
use rcgen::{CertificateParams, DistinguishedName, DnType, PublicKeyData, SignatureAlgorithm};
use rustls::crypto::WebPkiSupportedAlgorithms;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::pem::decode_vec;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::request::CertReq;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
#[cfg(feature = "aws-lc")]
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
/// The shortest RSAPublicKey of 2048 bits in bytes.
const RSA_2048: usize = 266;
/// What stands in the first line of its PEM form (RFC 7468, 7).
const LABEL: &str = "CERTIFICATE REQUEST";
/// The longest request in PEM, in bytes.
pub(crate) const MAX_REQUEST: usize = 16 << 10;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not PEM, not DER, not PKCS #10.
    #[error("this is not one certificate request (PKCS #10) in PEM")]
    Form,
    /// A key that TLS 1.3 will not take.
    #[error("the key must be EC on P-256, P-384 or P-521, or RSA of 2048 bits or more")]
    Key,
    /// The signature is not of this key.
    #[error("the request is not signed with its own key")]
    Signature,
    /// Nobody could use the certificate.
    #[error("{}", super::NO_TLS)]
    NoTls,
}

/// The key of a request that was checked: whoever made the request has its private half.
#[derive(Debug)]
pub(crate) struct Subject {
    key: Vec<u8>,
    algorithm: &'static SignatureAlgorithm,
}

impl PublicKeyData for Subject {
    fn der_bytes(&self) -> &[u8] {
        &self.key
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

/// Reads and checks a request.
///
/// # Errors
/// See [`RequestError`].
pub(crate) fn read(pem: &str) -> Result<Subject, RequestError> {
    if !super::TLS {
        return Err(RequestError::NoTls);
    }
    if pem.len() > MAX_REQUEST {
        return Err(RequestError::Form);
    }
    let (label, der) = decode_vec(pem.trim().as_bytes()).map_err(|_| RequestError::Form)?;
    let request = CertReq::from_der(&der).map_err(|_| RequestError::Form)?;
    // What is verified below is encoded anew: only the one encoding that this gives is a request.
    if label != LABEL || request.to_der().as_ref() != Ok(&der) {
        return Err(RequestError::Form);
    }
    let info = &request.info.public_key;
    let key = info.subject_public_key.as_bytes().ok_or(RequestError::Form)?;
    let curve = info.algorithm.parameters.as_ref();
    let curve = curve.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    let algorithm = match (info.algorithm.oid, curve) {
        (EC, Some(P256)) => &rcgen::PKCS_ECDSA_P256_SHA256,
        (EC, Some(P384)) => &rcgen::PKCS_ECDSA_P384_SHA384,
        // rcgen knows it with aws-lc alone; without TLS nobody comes so far.
        #[cfg(feature = "aws-lc")]
        (EC, Some(P521)) => &rcgen::PKCS_ECDSA_P521_SHA512,
        (RSA, _) if key.len() >= RSA_2048 => &rcgen::PKCS_RSA_SHA256,
        _ => return Err(RequestError::Key),
    };
    let encoded = |value: &dyn EncodeDer| value.der().ok_or(RequestError::Form);
    let signature = request.signature.as_bytes().ok_or(RequestError::Form)?;
    verify(
        &super::provider().signature_verification_algorithms,
        &encoded(&info.algorithm)?,
        &encoded(&request.algorithm)?,
        (key, &encoded(&request.info)?, signature),
    )?;
    Ok(Subject {
        key: key.to_vec(),
        algorithm,
    })
}

/// What has a DER form.
trait EncodeDer {
    fn der(&self) -> Option<Vec<u8>>;
}

impl<T: x509_cert::der::Encode> EncodeDer for T {
    fn der(&self) -> Option<Vec<u8>> {
        self.to_der().ok()
    }
}

/// Any algorithm that fits both identifiers; those are the contents of their SEQUENCE.
fn verify(
    algorithms: &WebPkiSupportedAlgorithms,
    key_id: &[u8],
    signature_id: &[u8],
    (key, message, signature): (&[u8], &[u8], &[u8]),
) -> Result<(), RequestError> {
    let (key_id, signature_id) = (contents(key_id), contents(signature_id));
    let fits = algorithms.all.iter().filter(|algorithm| {
        algorithm.public_key_alg_id().as_ref() == key_id && algorithm.signature_alg_id().as_ref() == signature_id
    });
    for algorithm in fits {
        if algorithm.verify_signature(key, message, signature).is_ok() {
            return Ok(());
        }
    }
    Err(RequestError::Signature)
}

/// What is inside of a short SEQUENCE (X.690, 8.1.3.4).
fn contents(der: &[u8]) -> &[u8] {
    der.get(2..).unwrap_or_default()
}

/// Makes a key pair: the private half in PKCS #8, and a request for it in PEM.
pub(crate) fn make(common_name: &str) -> Result<(Secret, String), super::AuthorityError> {
    let damaged = || super::AuthorityError::Key(hsmd_crypto::OpError::Failed);
    let pkcs8 = super::authority::key_pair()?;
    let key = AuthorityKey::open(pkcs8.expose()).ok_or_else(damaged)?;
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    let request = params.serialize_request(&key)?.pem()?;
    Ok((pkcs8, request))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519};

    fn request(key: &KeyPair) -> String {
        CertificateParams::default()
            .serialize_request(key)
            .unwrap()
            .pem()
            .unwrap()
    }

    #[test]
    fn a_request_of_ones_own_is_read_and_its_key_taken_over() {
        let (pkcs8, pem) = make("alice").unwrap();
        let subject = read(&pem).unwrap();
        let key = AuthorityKey::open(pkcs8.expose()).unwrap();
        assert_eq!(subject.subject_public_key_info(), key.subject_public_key_info());
    }

    #[test]
    fn keys_that_tls_takes_are_taken() {
        for (algorithm, good) in [
            (&PKCS_ECDSA_P256_SHA256, true),
            (&PKCS_ECDSA_P384_SHA384, true),
            (&PKCS_ECDSA_P521_SHA512, true),
            (&PKCS_ED25519, false),
        ] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let found = read(&request(&key));
            match found {
                Ok(subject) => assert!(good && subject.subject_public_key_info() == key.subject_public_key_info()),
                Err(error) => assert!(!good && error == RequestError::Key, "{algorithm:?}: {error}"),
            }
        }
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        assert_eq!(
            read(&request(&key)).unwrap().subject_public_key_info(),
            key.subject_public_key_info()
        );
    }

    #[test]
    fn a_request_that_was_changed_anywhere_is_refused() {
        use x509_cert::der::pem::{LineEnding, encode_string};
        let (_, pem) = make("alice").unwrap();
        let (_, der) = decode_vec(pem.as_bytes()).unwrap();
        for at in 0..der.len() {
            for bit in [0x01, 0x80] {
                let mut der = der.clone();
                der[at] ^= bit;
                let pem = encode_string("CERTIFICATE REQUEST", LineEnding::LF, &der).unwrap();
                assert!(read(&pem).is_err(), "byte {at}");
            }
            let pem = encode_string("CERTIFICATE REQUEST", LineEnding::LF, &der[..at]).unwrap();
            assert_eq!(read(&pem).unwrap_err(), RequestError::Form);
        }
        let huge = "-".repeat(MAX_REQUEST + 1);
        for text in [
            "",
            "x",
            "-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n",
            &huge,
        ] {
            assert_eq!(read(text).unwrap_err(), RequestError::Form);
        }
    }
}

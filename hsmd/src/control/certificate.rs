//! A client's certificate as CreateLunaClient takes it: one X.509 certificate in PEM with an RSA or EC key, not expired. It
//! is pinned, not chained: who signed it does not matter.

use md5::{Digest as _, Md5};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::ParsedCertificate;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{DecodePem as _, Encode as _};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const CURVES: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
    ObjectIdentifier::new_unwrap("1.3.132.0.34"),
    ObjectIdentifier::new_unwrap("1.3.132.0.35"),
];
/// The shortest SubjectPublicKeyInfo of an RSA-2048 key in bytes: 256 of modulus and what surrounds it.
const RSA_2048: usize = 290;

/// Why a certificate is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not PEM, not DER, not X.509, or more than one.
    #[error("this is not one X.509 certificate in PEM")]
    Form,
    /// A key that mutual TLS will not take.
    #[error("the key must be RSA of 2048 bits or more, or EC on P-256, P-384 or P-521")]
    Key,
    /// TLS 1.3 does not take it.
    #[error("the certificate is not of version 3, or has critical extensions that are unknown here")]
    Tls,
    /// Past its end.
    #[error("the certificate has expired")]
    Expired,
}

/// The fingerprints of a certificate that was checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fingerprints {
    /// 16 pairs of lower-case hexadecimal digits with colons.
    pub(super) md5: String,
    /// 64 lower-case hexadecimal digits.
    pub(super) sha256: String,
}

/// As [`check`], for certificates that are of use on TLS connections only: also version 3, and no critical extension that is
/// unknown here.
///
/// # Errors
/// See [`CertificateError`].
pub(super) fn check_for_tls(pem: &str) -> Result<Fingerprints, CertificateError> {
    let prints = check(pem)?;
    let der = CertificateDer::from_pem_slice(pem.trim().as_bytes()).map_err(|_| CertificateError::Form)?;
    ParsedCertificate::try_from(&der).map_err(|_| CertificateError::Tls)?;
    Ok(prints)
}

/// Parses and checks a certificate.
///
/// # Errors
/// See [`CertificateError`].
pub(super) fn check(pem: &str) -> Result<Fingerprints, CertificateError> {
    let certificate = Certificate::from_pem(pem.trim().as_bytes()).map_err(|_| CertificateError::Form)?;
    let der = certificate.to_der().map_err(|_| CertificateError::Form)?;
    let body = certificate.tbs_certificate();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if body.validity().not_after.to_unix_duration() < now {
        return Err(CertificateError::Expired);
    }
    let key = body.subject_public_key_info();
    let curve = key
        .algorithm
        .parameters
        .as_ref()
        .and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    let good = match key.algorithm.oid {
        RSA => key.to_der().is_ok_and(|der| der.len() >= RSA_2048),
        EC => curve.is_some_and(|curve| CURVES.contains(&curve)),
        _ => false,
    };
    if !good {
        return Err(CertificateError::Key);
    }
    let md5: Vec<_> = Md5::digest(&der).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut sha256 = String::with_capacity(64);
    for byte in hsmd_crypto::seal::sha256(&[&der]) {
        // Writing to a String cannot fail.
        let _ = write!(sha256, "{byte:02x}");
    }
    Ok(Fingerprints {
        md5: md5.join(":"),
        sha256,
    })
}

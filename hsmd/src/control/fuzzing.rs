//! A door for the fuzz target of certificates (docs/fuzzing.md): what CreateLunaClient, RegisterCertificate and
//! IssueCertificate do with text of the caller's. Not part of the crate's interface.

use super::certificate;
use crate::pki;
use x509_cert::der::pem::{LineEnding, encode_string};

/// Reads bytes as PEM, and as the DER of a certificate and of a request.
pub fn certificates(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        read(text);
    }
    for label in ["CERTIFICATE", "CERTIFICATE REQUEST"] {
        if let Ok(text) = encode_string(label, LineEnding::LF, data) {
            read(&text);
        }
    }
}

fn read(text: &str) {
    let registered = certificate::check_for_tls(text);
    assert!(
        registered.is_err() || certificate::check(text).is_ok(),
        "what TLS takes is a certificate"
    );
    // A request that was read has a signature that fits: nothing to assert beyond that it ends.
    let _ = pki::read_request(text);
}

/// A certificate in PEM, and a request in PEM and in DER.
#[must_use]
pub fn certificate_seeds() -> Vec<Vec<u8>> {
    let request = pki::make_request("seed")
        .map(|(_, request)| request)
        .unwrap_or_default();
    let der = x509_cert::der::pem::decode_vec(request.as_bytes()).map(|(_, der)| der);
    vec![
        include_bytes!("tests/a.pem").to_vec(),
        include_bytes!("tests/ed.pem").to_vec(),
        request.into_bytes(),
        der.unwrap_or_default(),
    ]
}

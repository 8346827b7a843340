//! The certificate of the XKS proxy of `hsmd dev`: KMS speaks TLS with proxies only. Self-signed, for names of this machine, made
//! at the first start.

use crate::cli::Failure;
use crate::files;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Names by which it is valid.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The two files, PEM.
#[derive(Serialize)]
pub(super) struct Certificate {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Certificate {
    /// Finds or makes it.
    pub(super) fn of(folder: &Path) -> Result<Self, Failure> {
        let found = Self {
            certificate: folder.join("xks.pem"),
            key: folder.join("xks.key"),
        };
        // The certificate is written last: with it both are there.
        if !found.certificate.exists() {
            let explain = |error: rcgen::Error| Failure::Other(format!("the certificate of the XKS proxy: {error}"));
            let mut params = CertificateParams::new(NAMES.map(str::to_owned)).map_err(explain)?;
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, "hsmd dev XKS proxy");
            let key = KeyPair::generate().map_err(explain)?;
            let certificate = params.self_signed(&key).map_err(explain)?;
            files::write_private(&found.key, &key.serialize_pem())?;
            files::write_private(&found.certificate, &certificate.pem())?;
        }
        Ok(found)
    }
}

//! The certificate of the XKS proxy of `hsmd dev`: KMS speaks TLS with proxies only. Self-signed, for names of this machine, made
//! at the first start.

use crate::cli::Failure;
use crate::files;
use crate::pki::{AuthorityError, self_signed};
use rcgen::{CertificateParams, DistinguishedName, DnType};
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
            let explain = |error: AuthorityError| Failure::Other(format!("the certificate of the XKS proxy: {error}"));
            let mut params = CertificateParams::new(NAMES.map(str::to_owned)).map_err(|error| explain(error.into()))?;
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, "hsmd dev XKS proxy");
            let made = self_signed(params, 0, |_| ()).map_err(explain)?;
            files::write_private(&found.key, &made.key)?;
            files::write_private(&found.certificate, &made.certificate)?;
        }
        Ok(found)
    }
}

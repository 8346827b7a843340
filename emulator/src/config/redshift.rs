//! The part of the configuration about Redshift: `[redshift]`.

use super::Config;
use crate::redshift;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// `[redshift]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Redshift {
    /// The PKCS#11 module of hsmd; that of `[kms]`, or where packages put it.
    module: Option<PathBuf>,
    /// The port of HSMs: a configuration names an address only.
    port: u16,
    /// Where the HSM of an address really is.
    addresses: BTreeMap<IpAddr, SocketAddr>,
    /// How long one job with an HSM may take, in milliseconds.
    time_limit_ms: u64,
    /// The most client certificates, configurations, clusters.
    max_certificates: usize,
    max_configurations: usize,
    max_clusters: usize,
}

impl Default for Redshift {
    fn default() -> Self {
        Self {
            module: None,
            port: 1792,
            addresses: BTreeMap::new(),
            time_limit_ms: 20_000,
            max_certificates: 50,
            max_configurations: 50,
            max_clusters: 50,
        }
    }
}

impl Config {
    /// What `[redshift]` says, if it is there.
    ///
    /// # Errors
    /// A sentence with key and rule.
    pub(crate) fn redshift_settings(&self) -> Result<Option<redshift::Settings>, String> {
        let Some(said) = &self.redshift else { return Ok(None) };
        let shared = self.kms.as_ref().map(|kms| kms.module.clone());
        let module = said.module.clone().or(shared);
        let module = module.unwrap_or_else(|| PathBuf::from("/usr/lib/hsmd/libhsmd_pkcs11.so"));
        if !module.exists() {
            let shown = module.display();
            return Err(format!(
                "redshift.module = {shown}: there is no such file\n  remedy: name libhsmd_pkcs11.so"
            ));
        }
        if !(1_000..=600_000).contains(&said.time_limit_ms) {
            return Err("redshift.time_limit_ms: must be between 1000 and 600000".into());
        }
        Ok(Some(redshift::Settings {
            module,
            port: said.port,
            addresses: said.addresses.clone(),
            patience: Duration::from_millis(said.time_limit_ms),
            certificates: said.max_certificates,
            configurations: said.max_configurations,
            clusters: said.max_clusters,
        }))
    }
}

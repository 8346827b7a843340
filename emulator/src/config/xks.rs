//! The parts of the configuration about TLS and external key stores: `[tls]`, `[xks]`, `[xks_client]`.

use serde::Deserialize;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// `[tls]` and `[xks.tls]`: what a listener shows, and whom it asks to show something.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    /// The server's certificate and those above it, PEM.
    pub(crate) certificate: PathBuf,
    /// Its private key, PEM, mode 0400 or 0600.
    pub(crate) key: PathBuf,
    /// Clients must show a certificate of these authorities, PEM.
    pub(crate) client_authority: Option<PathBuf>,
    /// And its subject's common name must be this one.
    pub(crate) client_name: Option<String>,
}

/// `[xks_client]`: how KMS here reaches proxies of external key stores.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct XksClient {
    /// Authorities of proxies, PEM; without it those of the system.
    pub(crate) authorities: Option<PathBuf>,
    /// Host names, and where they really are: an endpoint of a key store can name no port. For tests.
    #[serde(default)]
    pub(crate) connect: HashMap<String, SocketAddr>,
    /// What is shown to a proxy that asks for a certificate.
    pub(crate) identity: Option<Identity>,
}

/// A certificate and its key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// The certificate and those above it, PEM.
    pub(crate) certificate: PathBuf,
    /// Its private key, PEM, mode 0400 or 0600.
    pub(crate) key: PathBuf,
}

impl Tls {
    /// What the types do not say.
    ///
    /// # Errors
    /// A sentence with key and rule.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.client_name.is_some() && self.client_authority.is_none() {
            return Err("tls.client_name: means something only with client_authority".into());
        }
        Ok(())
    }
}

/// `[xks]`: hsmd as a proxy of external key stores.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Xks {
    /// Where to listen; AWS connects to port 443.
    pub(crate) listen: SocketAddr,
    /// What stands before `/kms/xks/v1` in paths: empty, or `/` and letters, digits, `/`, `-`, `_`.
    #[serde(default)]
    pub(crate) uri_prefix: String,
    /// The region of the KMS that calls.
    pub(crate) region: String,
    /// The PKCS#11 module of hsmd.
    pub(crate) module: PathBuf,
    /// Label or serial number of the token whose keys are served.
    pub(crate) token: String,
    /// A file with the user's PIN in its first line, mode 0400 or 0600.
    pub(crate) pin_file: PathBuf,
    /// Threads, and so sessions, that call the module.
    #[serde(default = "super::threads")]
    pub(crate) threads: usize,
    /// Requests a second; as many may come at once.
    #[serde(default = "rate")]
    pub(crate) rate: u32,
    /// How long hsmd may take for a request, in milliseconds. KMS waits 250 in all.
    #[serde(default = "timeout")]
    pub(crate) timeout_ms: u64,
    /// Who may sign requests: one pair, or two while they are being changed.
    pub(crate) credentials: Vec<Credential>,
    /// Instead of `[tls]`.
    pub(crate) tls: Option<Tls>,
}

const fn rate() -> u32 {
    2_000
}

const fn timeout() -> u64 {
    200
}

/// A pair that signs requests to the proxy.
#[derive(Clone, Deserialize, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credential {
    /// 20 to 30 letters A to Z and digits 2 to 7.
    pub(crate) access_key_id: String,
    /// 43 to 64 characters of base64.
    pub(crate) secret_access_key: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

impl Xks {
    /// The path before operations.
    pub(crate) fn path(&self) -> String {
        format!("{}/kms/xks/v1", self.uri_prefix)
    }

    /// What the types do not say.
    ///
    /// # Errors
    /// A sentence with key and rule.
    pub(super) fn check(&self, tls: Option<&Tls>) -> Result<(), String> {
        let plain = self.tls.as_ref().or(tls).is_none();
        if plain && !self.listen.ip().is_loopback() {
            let listen = self.listen;
            return Err(format!(
                "xks.listen = {listen}: without TLS only a loopback address may be used"
            ));
        }
        self.tls.as_ref().map_or(Ok(()), Tls::check)?;
        let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let mut parts = self.uri_prefix.split('/');
        let first_is_empty = parts.next().is_some_and(str::is_empty);
        let good = parts.all(|part| !part.is_empty() && part.bytes().all(word));
        if !first_is_empty || !good || self.path().len() > 128 {
            return Err(format!(
                "xks.uri_prefix = {:?}: must be empty or /part/part of letters, digits, - and _; 128 characters with /kms/xks/v1",
                self.uri_prefix
            ));
        }
        if self.region.is_empty() || !self.region.bytes().all(word) {
            return Err(format!(
                "xks.region = {:?}: must be the region of the KMS that calls",
                self.region
            ));
        }
        if !(1..=256).contains(&self.threads) {
            return Err("xks.threads: must be between 1 and 256".into());
        }
        if self.rate == 0 {
            return Err("xks.rate: must be 1 or more".into());
        }
        if !(10..=60_000).contains(&self.timeout_ms) {
            return Err("xks.timeout_ms: must be between 10 and 60000".into());
        }
        self.check_credentials()
    }

    fn check_credentials(&self) -> Result<(), String> {
        if !(1..=2).contains(&self.credentials.len()) {
            return Err("xks.credentials: must be one, or two while they are being changed".into());
        }
        for credential in &self.credentials {
            let (id, secret) = (&credential.access_key_id, &credential.secret_access_key);
            let good = |byte: u8| matches!(byte, b'A'..=b'Z' | b'2'..=b'7');
            if !(20..=30).contains(&id.len()) || !id.bytes().all(good) {
                return Err(format!(
                    "xks.credentials: access_key_id {id:?} must have 20 to 30 letters A to Z and digits 2 to 7"
                ));
            }
            let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+' | b'=');
            if !(43..=64).contains(&secret.len()) || !secret.bytes().all(good) {
                return Err(format!(
                    "xks.credentials: the secret of {id} must have 43 to 64 letters, digits, /, + and ="
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "listen = \"127.0.0.1:1\"\nuri_prefix = \"/a/b\"\nregion = \"eu-west-1\"\nmodule = \"m\"\ntoken = \"t\"\n\
                        pin_file = \"p\"\n[[credentials]]\naccess_key_id = \"ABCDEFGHIJKLMNOPQR27\"\n\
                        secret_access_key = \"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP123456\"\n";

    fn check(from: &str, to: &str) -> Result<(), String> {
        assert!(GOOD.contains(from));
        let xks: Xks = toml::from_str(&GOOD.replace(from, to)).map_err(|error| error.to_string())?;
        xks.check(None)
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        check("/a/b", "").unwrap();
        check("/a/b", "/a/b").unwrap();
        for (from, to, word) in [
            ("/a/b", "/a//b", "uri_prefix"),
            ("/a/b", "a", "uri_prefix"),
            ("/a/b", "/a.b", "uri_prefix"),
            ("/a/b", &format!("/{}", "a".repeat(120)), "uri_prefix"),
            ("eu-west-1", "", "region"),
            ("R27\"", "R28\"", "access_key_id"),
            ("R27\"", "\"", "access_key_id"),
            ("P123456\"", "\"", "secret"),
            ("P123456\"", "P12345-\"", "secret"),
            ("127.0.0.1", "0.0.0.0", "loopback"),
            ("[[credentials]]", "rate = 0\n[[credentials]]", "rate"),
            ("[[credentials]]", "threads = 0\n[[credentials]]", "threads"),
            ("[[credentials]]", "timeout_ms = 1\n[[credentials]]", "timeout_ms"),
        ] {
            let error = check(from, to).unwrap_err();
            assert!(error.contains(word) && !error.contains("abcdef"), "{error}");
        }
    }

    #[test]
    fn the_secret_is_not_in_debug_output() {
        let xks: Xks = toml::from_str(GOOD).unwrap();
        assert!(!format!("{xks:?}").contains("abcdef"));
    }
}

//! The configuration, `hsmd-aws.toml`. Unknown keys are errors; the file holds secret access keys and must be readable by
//! its owner only.

mod redshift;
mod xks;

pub(crate) use redshift::Redshift;
pub(crate) use xks::{Credential, Tls, Xks, XksClient};

use crate::control::{Endpoints, Files};
use crate::listen::Limits;
use serde::Deserialize;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Everything that `hsmd-aws` can be told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where to listen. Without TLS on loopback addresses only.
    pub(crate) listen: SocketAddr,
    /// The control plane of hsmd: `unix:///path/to/control.sock`, `https://host[:port]`, or a list: the nodes of a fleet.
    pub(crate) endpoint: Endpoints,
    /// How `https` endpoints are reached.
    pub(crate) control: Option<Files>,
    /// The region of which signatures must speak, and ARNs.
    pub(crate) region: String,
    /// The account in ARNs of KMS: 12 digits. Those of CloudHSM are the daemon's own.
    pub(crate) account: String,
    /// Host names, besides the address and localhost, by which clients may call.
    pub(crate) hosts: Vec<String>,
    /// Accept requests whatever their signature. For tests only.
    pub(crate) verify_signatures: bool,
    /// The largest body in bytes.
    pub(crate) max_body: usize,
    /// The most connections.
    pub(crate) max_connections: usize,
    /// How long a client may take to send a request, in milliseconds.
    pub(crate) request_timeout_ms: u64,
    /// Who may sign requests.
    pub(crate) access_keys: Vec<AccessKey>,
    /// Where the keys of KMS live; without it KMS is not served.
    pub(crate) kms: Option<Kms>,
    /// TLS of all listeners; without it they must be on loopback addresses.
    pub(crate) tls: Option<Tls>,
    /// The proxy of external key stores; without it there is none.
    pub(crate) xks: Option<Xks>,
    /// How other proxies of external key stores are reached.
    pub(crate) xks_client: XksClient,
    /// How clusters reach their HSMs; without it Redshift is not served.
    pub(crate) redshift: Option<Redshift>,
}

/// `[kms]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kms {
    /// The PKCS#11 module of hsmd.
    pub(crate) module: PathBuf,
    /// Label or serial number of the token.
    pub(crate) token: String,
    /// A file with the user's PIN in its first line, mode 0400 or 0600.
    pub(crate) pin_file: PathBuf,
    /// Threads, and so sessions, that call the module.
    #[serde(default = "threads")]
    pub(crate) threads: usize,
    /// How long a day is, in milliseconds: a shorter one lets a test see deletions, rotations and expiries.
    #[serde(default = "day_ms")]
    pub(crate) day_ms: u64,
}

const fn day_ms() -> u64 {
    86_400_000
}

const fn threads() -> usize {
    8
}

impl Kms {
    /// The PIN.
    ///
    /// # Errors
    /// A sentence, when the file cannot be read or others can.
    pub(crate) fn pin(&self) -> Result<Zeroizing<String>, String> {
        pin(&self.pin_file)
    }
}

/// The first line of a file that only its owner may read.
///
/// # Errors
/// A sentence, when the file cannot be read or others can.
pub(crate) fn pin(path: &Path) -> Result<Zeroizing<String>, String> {
    private(path)?;
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

/// Refuses a file that others may read.
///
/// # Errors
/// A sentence with the file and the remedy.
pub(crate) fn private(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let found = std::fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?;
    if found.mode() & 0o077 != 0 {
        return Err(format!(
            "{shown}: others may read the secrets in it\n  remedy: chmod 0600 {shown}"
        ));
    }
    Ok(())
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 4599)),
            endpoint: Endpoints::One("unix:///run/hsmd/control.sock".into()),
            control: None,
            region: "local-1".into(),
            account: "000000000000".into(),
            kms: None,
            tls: None,
            xks: None,
            xks_client: XksClient::default(),
            redshift: None,
            hosts: Vec::new(),
            verify_signatures: true,
            max_body: 1 << 20,
            max_connections: 4_096,
            request_timeout_ms: 30_000,
            access_keys: Vec::new(),
        }
    }
}

/// A pair that signs requests.
#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessKey {
    /// `AKIA...`; names the pair.
    pub(crate) id: String,
    /// 40 characters.
    pub(crate) secret: String,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The length of a secret access key (SigV4 has no other).
pub(crate) const SECRET_LENGTH: usize = 40;

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// A sentence that names the file, what is wrong and what to do.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        private(path)?;
        let mut text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
        // The parser's full message would show the line, and with it a key.
        let config = toml::from_str::<Self>(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
            format!("{shown}: line {line}: {}", error.message())
        });
        text.zeroize();
        let config = config?;
        config.check().map_err(|error| format!("{shown}: {error}"))?;
        Ok(config)
    }

    /// What clients of a listener may take.
    pub(crate) const fn limits(&self) -> Limits {
        Limits {
            connections: self.max_connections,
            patience: Duration::from_millis(self.request_timeout_ms),
        }
    }

    /// What the types do not say.
    ///
    /// # Errors
    /// A sentence with key and rule.
    pub(crate) fn check(&self) -> Result<(), String> {
        let secrets = self.access_keys.iter().find(|key| key.secret.len() != SECRET_LENGTH);
        if let Some(key) = secrets {
            return Err(format!(
                "access key {}: a secret has {SECRET_LENGTH} characters",
                key.id
            ));
        }
        let form = |key: &&AccessKey| {
            !(16..=128).contains(&key.id.len()) || !key.id.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        if let Some(key) = self.access_keys.iter().find(form) {
            return Err(format!("access key {}: an id has 16 to 128 letters and digits", key.id));
        }
        // A proxy of external key stores has credentials of its own, and may be all that is wanted.
        if self.verify_signatures && self.access_keys.is_empty() && self.xks.is_none() {
            return Err("access_keys is empty, so nobody could sign a request\n  remedy: add one, or say verify_signatures = false".into());
        }
        self.endpoint.check(self.control.as_ref())?;
        self.tls.as_ref().map_or(Ok(()), Tls::check)?;
        self.xks.as_ref().map_or(Ok(()), |xks| xks.check(self.tls.as_ref()))?;
        if self.tls.is_none() && !self.listen.ip().is_loopback() {
            return Err(format!(
                "listen = {}: without TLS only a loopback address may be used",
                self.listen
            ));
        }
        if self.account.len() != 12 || !self.account.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("account = {:?}: must be 12 digits", self.account));
        }
        if self.kms.as_ref().is_some_and(|kms| !(1..=256).contains(&kms.threads)) {
            return Err("kms.threads: must be between 1 and 256".into());
        }
        if self
            .kms
            .as_ref()
            .is_some_and(|kms| !(1..=day_ms()).contains(&kms.day_ms))
        {
            return Err("kms.day_ms: must be between 1 and 86400000".into());
        }
        if !(1 << 10..=1 << 30).contains(&self.max_body) {
            return Err(format!(
                "max_body = {}: must be between 1024 and 1073741824",
                self.max_body
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn read(text: &str, mode: u32) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), PermissionsExt::from_mode(mode)).unwrap();
        Config::read(file.path())
    }

    const KEY: &str =
        "[[access_keys]]\nid = \"AKIDEXAMPLE000000000\"\nsecret = \"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\"\n";

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        assert!(read(KEY, 0o600).is_ok());
        assert!(read(KEY, 0o640).unwrap_err().contains("chmod"));
    }

    #[test]
    fn no_error_and_no_debug_output_shows_a_secret() {
        let error = read(&KEY.replace("secret =", "secret : "), 0o600).unwrap_err();
        assert!(error.contains("line 3") && !error.contains("wJalr"), "{error}");
        let error = read(&KEY.replace("EXAMPLEKEY", ""), 0o600).unwrap_err();
        assert!(error.contains("40 characters") && !error.contains("wJalr"), "{error}");
        assert!(!format!("{:?}", read(KEY, 0o600).unwrap()).contains("wJalr"));
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        assert!(read("", 0o600).unwrap_err().contains("verify_signatures"));
        let open = format!("listen = \"0.0.0.0:80\"\n{KEY}");
        assert!(read(&open, 0o600).unwrap_err().contains("loopback"));
        assert!(read("lisen = 1\n", 0o600).unwrap_err().contains("lisen"));
    }
}

//! What the AWS side of `hsmd dev` keeps (`aws.toml`): passwords and access keys, random, made at the first start; and the
//! configuration that `hsmd-aws` reads (`hsmd-aws.toml`). Both mode 0600.

use super::Variables;
use super::stage::{KMS, REDSHIFT, Stage};
use crate::cli::Failure;
use crate::dev::place::Place;
use crate::files;
use crate::node::Node;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Letters and digits of which random names and secrets are made.
const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const MIXED: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What is kept.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) so_pin: String,
    /// Of the partitions for KMS and Redshift.
    pub(super) partition_password: String,
    /// Of the group's crypto officer, until a custom key store is connected: KMS changes it.
    pub(super) kmsuser_password: String,
    pub(super) xks_access_key_id: String,
    pub(super) xks_secret_access_key: String,
}

impl Kept {
    /// What an earlier start has made, or new, on disk before it is used. The PIN of the development token serves as password
    /// where it can, so that programs which try one PIN on every token do not lock any.
    pub(super) fn of(folder: &Path, pin: &str) -> Result<Self, Failure> {
        let path = folder.join("aws.toml");
        match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text)
                .map_err(|error| Failure::Other(format!("{}: {}", path.display(), error.message()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let kept = Self::random(pin);
                let text = toml::to_string(&kept).map_err(|error| Failure::Other(error.to_string()))?;
                files::write_private(&path, &text)?;
                Ok(kept)
            }
            Err(error) => Err(Failure::io(&path, &error)),
        }
    }

    fn random(pin: &str) -> Self {
        // What KMS takes as the password of kmsuser.
        let fits = (7..=32).contains(&pin.len()) && pin.bytes().all(|byte| byte.is_ascii_alphanumeric());
        Self {
            access_key_id: format!("AKIA{}", letters::<16>(UPPER)),
            secret_access_key: letters::<40>(MIXED),
            so_pin: letters::<16>(UPPER),
            partition_password: pin.to_owned(),
            kmsuser_password: if fits { pin.to_owned() } else { letters::<16>(UPPER) },
            xks_access_key_id: letters::<20>(UPPER),
            xks_secret_access_key: letters::<43>(MIXED),
        }
    }
}

fn letters<const N: usize>(of: &[u8]) -> String {
    let bytes: [u8; N] = hsmd_crypto::random::array();
    let letter = |byte: &u8| char::from(of[usize::from(*byte) % of.len()]);
    bytes.iter().map(letter).collect()
}

/// What goes into the configuration.
pub(super) struct Settings<'a> {
    pub(super) node: &'a Node,
    pub(super) place: &'a Place,
    pub(super) module: &'a Path,
    pub(super) stage: &'a Stage,
    pub(super) listen: SocketAddr,
}

impl Settings<'_> {
    /// What the clients of the AWS side are told, but for the endpoint.
    pub(super) fn variables(&self) -> Variables {
        let kept = &self.stage.kept;
        let hsm = &self.node.config.hsm;
        let authority = self.authority().display().to_string();
        let address = self
            .node
            .config
            .data
            .listen
            .first()
            .map(|address| address.ip().to_string());
        vec![
            ("AWS_ACCESS_KEY_ID", kept.access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", kept.secret_access_key.clone()),
            ("AWS_DEFAULT_REGION", hsm.region.clone()),
            ("HSMD_SUBNET_ID", self.stage.subnet.clone()),
            ("HSMD_HAPG_ARN", self.stage.group.clone()),
            ("HSMD_HSM_IP", address.unwrap_or_default()),
            ("HSMD_PARTITION_NAME", REDSHIFT.to_owned()),
            ("HSMD_PARTITION_PASSWORD", kept.partition_password.clone()),
            ("HSMD_SERVER_CERT", authority.clone()),
            ("HSMD_TRUST_ANCHOR", authority),
            ("HSMD_KMSUSER_PASSWORD", kept.kmsuser_password.clone()),
            ("HSMD_XKS_ACCESS_KEY_ID", kept.xks_access_key_id.clone()),
            ("HSMD_XKS_SECRET_ACCESS_KEY", kept.xks_secret_access_key.clone()),
        ]
    }

    /// The file with the authority of the daemon's certificates.
    fn authority(&self) -> PathBuf {
        self.place.folder.join("server.pem")
    }

    /// Writes `hsmd-aws.toml` and the files that it names.
    pub(super) fn write(&self) -> Result<PathBuf, Failure> {
        let folder = &self.place.folder;
        let kept = &self.stage.kept;
        let pin_file = folder.join("aws.pin");
        files::write_private(&pin_file, &format!("{}\n", kept.partition_password))?;
        files::write_private(&self.authority(), &self.node.pki.bundle())?;
        let hsm = &self.node.config.hsm;
        let control = self.place.socket("control.sock")?;
        let table = Table::from_iter([
            row("listen", self.listen.to_string()),
            row("endpoint", format!("unix://{}", control.display())),
            row("region", hsm.region.clone()),
            row("account", hsm.account.clone()),
            (
                "access_keys".to_owned(),
                Value::Array(vec![pair(&kept.access_key_id, &kept.secret_access_key)]),
            ),
            section(
                "kms",
                [
                    row("module", self.module.display().to_string()),
                    row("token", KMS.to_owned()),
                    row("pin_file", pin_file.display().to_string()),
                ],
            ),
        ]);
        let text = toml::to_string(&table).map_err(|error| Failure::Other(error.to_string()))?;
        let path = folder.join("hsmd-aws.toml");
        files::write_private(&path, &text)?;
        Ok(path)
    }
}

fn row(name: &str, value: String) -> (String, Value) {
    (name.to_owned(), Value::String(value))
}

fn section<const N: usize>(name: &str, rows: [(String, Value); N]) -> (String, Value) {
    (name.to_owned(), Value::Table(Table::from_iter(rows)))
}

fn pair(id: &str, secret: &str) -> Value {
    Value::Table(Table::from_iter([
        row("id", id.to_owned()),
        row("secret", secret.to_owned()),
    ]))
}

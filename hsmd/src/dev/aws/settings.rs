//! What the AWS side of `hsmd dev` keeps (`aws.toml`): passwords and access keys, random, made at the first start; and the
//! configuration that `hsmd-aws` reads (`hsmd-aws.toml`). Both mode 0600.

use super::Variables;
use super::certificate::Certificate;
use super::stage::{KMS, REDSHIFT, Stage};
use crate::cli::Failure;
use crate::dev::place::Place;
use crate::dev::token::Token;
use crate::files;
use crate::node::Node;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Letters and digits of which random names and secrets are made.
const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const MIXED: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The XKS proxy's host: KMS takes no port in an endpoint, and is told where this one really is.
const XKS_HOST: &str = "localhost";
const XKS_PATH: &str = "/kms/xks/v1";

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
    /// The token of `hsmd dev`, whose AES keys the XKS proxy serves.
    pub(super) token: &'a Token,
    pub(super) certificate: Certificate,
    pub(super) listen: SocketAddr,
    pub(super) xks: SocketAddr,
}

impl Settings<'_> {
    /// What the clients of the AWS side are told, but for the endpoint.
    pub(super) fn variables(&self) -> Variables {
        let kept = &self.stage.kept;
        let authority = self.authority().display().to_string();
        let address = self.node.config.data.listen.first();
        vec![
            ("AWS_ACCESS_KEY_ID", kept.access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", kept.secret_access_key.clone()),
            ("AWS_DEFAULT_REGION", self.node.config.hsm.region.clone()),
            ("HSMD_SUBNET_ID", self.stage.subnet.clone()),
            ("HSMD_HAPG_ARN", self.stage.group.clone()),
            (
                "HSMD_HSM_IP",
                address.map(|address| address.ip().to_string()).unwrap_or_default(),
            ),
            ("HSMD_PARTITION_NAME", REDSHIFT.to_owned()),
            ("HSMD_PARTITION_PASSWORD", kept.partition_password.clone()),
            ("HSMD_SERVER_CERT", authority.clone()),
            ("HSMD_CLUSTER_ID", self.cluster()),
            ("HSMD_TRUST_ANCHOR", authority),
            ("HSMD_KMSUSER_PASSWORD", kept.kmsuser_password.clone()),
            (
                "HSMD_XKS_URI",
                format!("https://{XKS_HOST}:{}{XKS_PATH}", self.xks.port()),
            ),
            ("HSMD_XKS_CERT", self.certificate.certificate.display().to_string()),
            ("HSMD_XKS_ACCESS_KEY_ID", kept.xks_access_key_id.clone()),
            ("HSMD_XKS_SECRET_ACCESS_KEY", kept.xks_secret_access_key.clone()),
        ]
    }

    /// What the group is called as a cluster.
    fn cluster(&self) -> String {
        let id = self.stage.group.rsplit(':').next().unwrap_or_default();
        hsmd_control::cluster_of_group(id).unwrap_or_default()
    }

    /// The file with the authority of the daemon's certificates.
    fn authority(&self) -> PathBuf {
        self.place.folder.join("server.pem")
    }

    /// Writes `hsmd-aws.toml` and the files that it names.
    pub(super) fn write(&self) -> Result<PathBuf, Failure> {
        let folder = &self.place.folder;
        let kept = &self.stage.kept;
        files::write_private(&self.authority(), &self.node.pki.bundle())?;
        let pin_file = |name: &str, pin: &str| {
            let path = folder.join(name);
            files::write_private(&path, &format!("{pin}\n")).map(|()| path)
        };
        let hsm = &self.node.config.hsm;
        let file = File {
            listen: self.listen,
            endpoint: format!("unix://{}", self.place.socket("control.sock")?.display()),
            region: &hsm.region,
            account: &hsm.account,
            access_keys: [AccessKey {
                id: &kept.access_key_id,
                secret: &kept.secret_access_key,
            }],
            kms: Keys {
                module: self.module,
                token: KMS,
                pin_file: pin_file("aws.pin", &kept.partition_password)?,
            },
            xks: Proxy {
                listen: self.xks,
                region: &hsm.region,
                keys: Keys {
                    module: self.module,
                    token: &self.token.label,
                    pin_file: pin_file("xks.pin", &self.token.pin)?,
                },
                credentials: [Credential {
                    access_key_id: &kept.xks_access_key_id,
                    secret_access_key: &kept.xks_secret_access_key,
                }],
                tls: &self.certificate,
            },
            xks_client: ProxyClient {
                authorities: &self.certificate.certificate,
                connect: [(XKS_HOST, self.xks)].into(),
            },
            redshift: Clusters {
                port: self.node.config.data.listen.first().map_or(0, SocketAddr::port),
            },
        };
        let text = toml::to_string(&file).map_err(|error| Failure::Other(error.to_string()))?;
        let path = folder.join("hsmd-aws.toml");
        files::write_private(&path, &text)?;
        Ok(path)
    }
}

/// `hsmd-aws.toml`, as far as it is not as by default.
#[derive(Serialize)]
struct File<'a> {
    listen: SocketAddr,
    endpoint: String,
    region: &'a str,
    account: &'a str,
    access_keys: [AccessKey<'a>; 1],
    kms: Keys<'a>,
    xks: Proxy<'a>,
    xks_client: ProxyClient<'a>,
    redshift: Clusters,
}

/// Where clusters of Redshift reach the HSMs.
#[derive(Serialize)]
struct Clusters {
    port: u16,
}

#[derive(Serialize)]
struct AccessKey<'a> {
    id: &'a str,
    secret: &'a str,
}

#[derive(Serialize)]
struct Keys<'a> {
    module: &'a Path,
    token: &'a str,
    pin_file: PathBuf,
}

#[derive(Serialize)]
struct Proxy<'a> {
    listen: SocketAddr,
    region: &'a str,
    #[serde(flatten)]
    keys: Keys<'a>,
    credentials: [Credential<'a>; 1],
    tls: &'a Certificate,
}

#[derive(Serialize)]
struct Credential<'a> {
    access_key_id: &'a str,
    secret_access_key: &'a str,
}

#[derive(Serialize)]
struct ProxyClient<'a> {
    authorities: &'a Path,
    connect: BTreeMap<&'a str, SocketAddr>,
}

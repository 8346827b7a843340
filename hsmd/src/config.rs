//! The daemon's configuration file, `hsmd.toml`: every limit has a name, a default and a range. Unknown keys are errors.
//!
//! Client configuration (where the module finds the daemon) is another file: `docs/client-file.md`.

mod check;
pub(crate) mod etcd;
mod subnet;

use hsmd_proto::policy::Policy;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
pub use subnet::Subnet;

/// Everything that `hsmd serve` can be told. The defaults are those of a system service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where keys live.
    pub store: Store,
    /// The data plane: applications.
    pub data: Data,
    /// The control plane: administrators.
    pub control: Control,
    /// The servers' certificate.
    pub tls: Tls,
    /// Threads that do the work.
    pub work: Work,
    /// PIN rules.
    pub pin: Pin,
    /// What new HSMs and partitions are like.
    pub hsm: Hsm,
    /// Records of trusted front ends.
    pub records: Records,
    /// Figures for Prometheus.
    pub metrics: Metrics,
    /// What is logged.
    pub log: Log,
    /// The audit log.
    pub audit: Audit,
    /// How the daemon stops.
    pub stop: Stop,
    /// Where HSMs may stand; none: anywhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subnet: Vec<Subnet>,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// The folder of the store; one daemon serves it.
    pub data_dir: PathBuf,
    /// The master key file (mode 0400 or 0600). Keep it apart from backups of the store.
    pub master_key: PathBuf,
    /// Size of a journal segment in bytes, preallocated.
    pub segment_bytes: u64,
    /// An etcd that holds the records, as etcd://host:port,host:port/prefix; empty: files in data_dir.
    pub url: String,
    /// The authorities of etcd's certificates, in PEM; empty: no TLS, for an etcd on this host only.
    pub etcd_ca: PathBuf,
    /// The certificate by which etcd knows this daemon, in PEM; empty: none.
    pub etcd_cert: PathBuf,
    /// Its key.
    pub etcd_key: PathBuf,
    /// The daemon has etcd forget history that is older than twice this many revisions; 0: never. It is the whole etcd's history.
    pub etcd_keep_revisions: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            data_dir: "/var/lib/hsmd".into(),
            master_key: "/etc/hsmd/master.key".into(),
            segment_bytes: 64 << 20,
            url: String::new(),
            etcd_ca: PathBuf::new(),
            etcd_cert: PathBuf::new(),
            etcd_key: PathBuf::new(),
            etcd_keep_revisions: 10_000,
        }
    }
}

/// `[data]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// The Unix socket of the PKCS#11 module.
    pub socket: PathBuf,
    /// Addresses for applications on other hosts, over mutual TLS, such as "0.0.0.0:1792"; empty: none.
    pub listen: Vec<SocketAddr>,
    /// Host or host:port under which those hosts reach this one, for GetConfig; empty: the EniIp of each HSM.
    pub advertise: String,
    /// The group that may connect; empty: the daemon's own.
    pub socket_group: String,
    /// Mode of the socket: "0660", or "0600" for the daemon's user alone.
    pub socket_mode: String,
    /// What a local user sees: "all" slots, or what is "assigned" to it with `hsmctl client assign user-<uid>`.
    pub local: Locals,
    /// The most TLS handshakes at the same time; one address may have a quarter of them.
    pub max_handshakes: usize,
    /// How long a TLS handshake may take, in milliseconds.
    pub handshake_timeout_ms: u64,
    /// The most data of one request, in bytes.
    pub max_data: u64,
    /// The most data that one client (a local user) may have in requests at the same time, in bytes.
    pub max_inflight: u64,
    /// The most connections.
    pub max_connections: usize,
    /// The most connections of one client.
    pub max_connections_per_client: usize,
    /// How long a frame may take from its first byte to its last, and a reply to be taken, in milliseconds.
    pub frame_timeout_ms: u64,
    /// When a waiting client gets a sign of life, in milliseconds.
    pub heartbeat_ms: u64,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            socket: "/run/hsmd/hsmd.sock".into(),
            listen: Vec::new(),
            advertise: String::new(),
            socket_group: String::new(),
            socket_mode: "0660".into(),
            local: Locals::All,
            max_handshakes: 256,
            handshake_timeout_ms: 10_000,
            max_data: 64 << 20,
            max_inflight: 256 << 20,
            max_connections: 16_384,
            max_connections_per_client: 8_192,
            frame_timeout_ms: 30_000,
            heartbeat_ms: 250,
        }
    }
}

/// What local users see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Locals {
    /// Every slot: whoever may open the socket may use it.
    #[default]
    All,
    /// What is assigned to the user, as with clients of other hosts.
    Assigned,
}

/// `[control]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    /// The Unix socket of the gRPC services. Root and the daemon's own user are administrators there.
    pub socket: PathBuf,
    /// Ids of further users who are operators on the socket.
    pub operators: Vec<u32>,
    /// Ids of further users who are auditors on the socket.
    pub auditors: Vec<u32>,
    /// Addresses of the same services for administrators on other hosts, over mutual TLS, such as "0.0.0.0:1793"; empty:
    /// none.
    pub listen: Vec<SocketAddr>,
    /// The most connections over TLS.
    pub max_connections: usize,
    /// How long a TLS handshake may take, in milliseconds.
    pub handshake_timeout_ms: u64,
    /// The most requests at the same time on one connection.
    pub max_streams: u32,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            socket: "/run/hsmd/control.sock".into(),
            operators: Vec::new(),
            auditors: Vec::new(),
            listen: Vec::new(),
            max_connections: 1_024,
            handshake_timeout_ms: 10_000,
            max_streams: 64,
        }
    }
}

/// `[tls]`: the operator's own certificate in place of those that the daemon makes for itself.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The server's certificate in PEM, and its chain; empty: the daemon makes one at each start.
    pub certificate: PathBuf,
    /// Its private key in PEM, mode 0600 or 0400.
    pub key: PathBuf,
    /// The authority's certificates in PEM, which clients are to trust: what GetConfig hands out.
    pub ca: PathBuf,
}

/// `[work]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Work {
    /// Threads for RSA private keys and key generation; 0: as many as cores.
    pub cpu_threads: usize,
    /// Threads that wait for durable writes: so many writes share one flush.
    pub write_threads: usize,
    /// Threads that check PINs (Argon2).
    pub pin_threads: usize,
    /// The most requests that wait for one of these kinds of threads.
    pub queue: usize,
    /// The most of them that one client may have.
    pub queue_per_client: usize,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            cpu_threads: 0,
            write_threads: 32,
            pin_threads: 2,
            queue: 16_384,
            queue_per_client: 8_192,
        }
    }
}

/// `[pin]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pin {
    /// The shortest PIN in bytes.
    pub min_length: usize,
    /// The longest PIN in bytes.
    pub max_length: usize,
    /// Wrong tries until a role is locked.
    pub tries: u32,
    /// Argon2id memory in KiB; 0: the keystore's default.
    pub memory_kib: u32,
    /// Argon2id passes; 0: the keystore's default.
    pub passes: u32,
    /// Seconds without a request after which the opened keys of a partition are wiped.
    pub idle_wipe_s: u64,
    /// Logins of one client on one partition: with more, those that were unused longest end. A program that ends without
    /// C_Logout or C_Finalize leaves its login behind.
    pub max_logins: usize,
}

impl Default for Pin {
    fn default() -> Self {
        Self {
            min_length: 4,
            max_length: 255,
            tries: 10,
            memory_kib: 0,
            passes: 0,
            idle_wipe_s: 3_600,
            max_logins: 4_096,
        }
    }
}

/// `[hsm]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hsm {
    /// The region in ARNs.
    pub region: String,
    /// The account in ARNs: 12 digits.
    pub account: String,
    /// This node's availability zone.
    pub availability_zone: String,
    /// With `[[subnet]]`: take subnets that are not among them as well; they lie in this node's availability zone.
    pub other_subnets: bool,
    /// Offer exactly one uninitialised partition after all others.
    pub free_slot: bool,
    /// Policy of new partitions: standard, strict, fips or legacy.
    pub policy: String,
    /// The most partitions of an HSM.
    pub max_partitions: u32,
    /// The most token objects of a new partition; 0: no limit.
    pub max_objects: u64,
    /// The most bytes of them as stored; 0: no limit.
    pub max_bytes: u64,
    /// Partitions are made, changed and deleted with the PIN of the HSM's security officer only.
    pub require_so: bool,
    /// Wrong PINs of the HSM's security officer until its lock-out.
    pub so_tries: u32,
    /// What its lock-out does: "lock" its administration, or "zeroize" the HSM, as Luna does.
    pub so_lockout: Lockout,
}

/// What the lock-out of an HSM's security officer does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lockout {
    /// Nothing but ZeroizeHsm is left to administrators; applications go on.
    #[default]
    Lock,
    /// Everything in the HSM is destroyed.
    Zeroize,
}

impl Default for Hsm {
    fn default() -> Self {
        Self {
            region: "local-1".into(),
            account: "000000000000".into(),
            availability_zone: "local-1a".into(),
            other_subnets: false,
            free_slot: false,
            policy: Policy::Standard.name().into(),
            max_partitions: 100,
            max_objects: 0,
            max_bytes: 0,
            require_so: false,
            so_tries: 3,
            so_lockout: Lockout::Lock,
        }
    }
}

/// `[records]`. Records are kept in memory, twice: sealed and open.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Records {
    /// The most namespaces that hold records.
    pub max_namespaces: u64,
    /// The most records of one namespace.
    pub max_records: u64,
    /// The most bytes of keys and values of one namespace.
    pub max_bytes: u64,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            max_namespaces: 16,
            max_records: 100_000,
            max_bytes: 64 << 20,
        }
    }
}

/// `[metrics]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Address and port of `/metrics`, `/health` and `/ready` over HTTP, such as "127.0.0.1:9793"; empty: none. Whoever can
    /// connect may read.
    pub listen: String,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// "text" or "json", on standard error.
    pub format: String,
    /// error, warn, info, debug or trace; or directives as `info,hsmd::data=debug`. Labels appear at debug only.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: "text".into(),
            level: "info".into(),
        }
    }
}

/// `[audit]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// The most bytes of entries that are kept; the oldest go.
    pub max_bytes: u64,
    /// How many days entries are kept; 0: as long as `max_bytes` allows.
    pub keep_days: u32,
    /// Whether entries tell the labels of objects.
    pub labels: bool,
    /// How entries go to the `SyslogIp` of an HSM: "udp" or "tcp".
    pub syslog: String,
    /// The port there.
    pub syslog_port: u16,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            keep_days: 0,
            labels: false,
            syslog: "udp".into(),
            syslog_port: 514,
        }
    }
}

/// `[stop]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stop {
    /// How long running requests may take after SIGTERM, in milliseconds.
    pub grace_ms: u64,
}

impl Default for Stop {
    fn default() -> Self {
        Self { grace_ms: 10_000 }
    }
}

/// Why a configuration is refused: what is wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {error}\n  remedy: run `hsmd init --config {path}` to make one, or name another with --config")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's word.
        error: std::io::Error,
    },
    /// The file is not TOML of this form; the parser names line and key.
    #[error("{path}: {error}\n  remedy: correct or remove that line; `hsmd config` prints every key with its default")]
    Form {
        /// The file.
        path: PathBuf,
        /// The parser's word.
        error: Box<toml::de::Error>,
    },
    /// A value outside its range.
    #[error("{key} = {value}: must be {rule}")]
    Value {
        /// Table and key.
        key: &'static str,
        /// What stands there.
        value: String,
        /// What may stand there.
        rule: &'static str,
    },
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// All of [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read {
            path: path.into(),
            error,
        })?;
        let config: Self = toml::from_str(&text).map_err(|error| ConfigError::Form {
            path: path.into(),
            error: Box::new(error),
        })?;
        config.check()?;
        Ok(config)
    }

    /// The file with every key, as `hsmd init` and `hsmd config` write it.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // A struct of numbers and strings always serialises; an empty file would mean the defaults.
        toml::to_string(self).unwrap_or_default()
    }
}

impl Data {
    /// The socket's mode, if it is one of the two that are allowed.
    #[must_use]
    pub fn mode(&self) -> Option<u32> {
        match self.socket_mode.as_str() {
            "0660" => Some(0o660),
            "0600" => Some(0o600),
            _ => None,
        }
    }
}

impl Control {
    /// Whether others than root and the daemon's own user may use the socket.
    #[must_use]
    pub const fn has_users(&self) -> bool {
        !self.operators.is_empty() || !self.auditors.is_empty()
    }
}

impl Hsm {
    /// The policy of new partitions.
    #[must_use]
    pub fn policy(&self) -> Option<Policy> {
        Policy::from_name(&self.policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        match toml::from_str::<Config>(text) {
            Err(error) => error.to_string(),
            Ok(config) => config.check().unwrap_err().to_string(),
        }
    }

    #[test]
    fn the_defaults_are_good_and_read_back() {
        let config = Config::default();
        config.check().unwrap();
        assert_eq!(toml::from_str::<Config>(&config.to_toml()).unwrap(), config);
        assert_eq!(toml::from_str::<Config>("").unwrap(), config);
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = refused("[data]\nmax_dta = 5\n");
        assert!(error.contains("max_dta"), "{error}");
        assert!(error.contains("max_data"), "{error}");
        assert!(refused("[dta]\n").contains("dta"));
    }

    #[test]
    fn a_value_outside_its_range_names_key_value_and_rule() {
        assert_eq!(
            refused("[work]\nwrite_threads = 0\n"),
            "work.write_threads = 0: must be between 1 and 1024"
        );
        assert_eq!(
            refused("[hsm]\npolicy = \"lax\"\n"),
            "hsm.policy = \"lax\": must be standard, strict, fips or legacy"
        );
        assert!(refused("[data]\nsocket_mode = \"0666\"\n").contains("0660"));
        assert!(refused("[pin]\nmin_length = 9\nmax_length = 8\n").starts_with("pin.max_length = 8"));
        assert!(refused("[store]\ndata_dir = \"here\"\n").contains("absolute"));
    }

    #[test]
    fn a_missing_file_says_how_to_make_one() {
        let error = Config::read(Path::new("/nonexistent/hsmd.toml"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("hsmd init"), "{error}");
    }
}

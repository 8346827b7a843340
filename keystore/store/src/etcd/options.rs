//! Where the etcd is, and how it is used: `etcd://host:port,host:port/prefix` and what stands beside it. No I/O.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::Limits;
use crate::faults::Faults;
use crate::report::Fatal;

/// etcd's port for clients.
const PORT: u16 = 2379;
/// etcd's own limit of compares and of operations in a transaction (`--max-txn-ops`).
pub(crate) const TRANSACTION: usize = 128;

/// Who writes: the id of a node. Each writer has its own part of the heads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriterId(pub [u8; 16]);

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `etcd://host:port,host:port/prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdUrl {
    /// Host and port of each member that may be asked, in this order.
    pub endpoints: Vec<(String, u16)>,
    /// The prefix of all keys: starts with a slash and does not end with one.
    pub prefix: String,
}

/// Why a text is no [`EtcdUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EtcdUrlError {
    /// Another scheme.
    #[error("it does not begin with etcd://")]
    Scheme,
    /// No host, or an empty one.
    #[error("a host is missing")]
    Host,
    /// No number, or one that is no port.
    #[error("a port is no number from 1 to 65535")]
    Port,
    /// No prefix: a store never takes all of an etcd.
    #[error("the prefix is missing: etcd://host:2379/hsmd")]
    Prefix,
    /// The prefix has an empty part, a control character, or more than 128 bytes.
    #[error("the prefix has an empty part, a control character or more than 128 bytes")]
    BadPrefix,
}

impl FromStr for EtcdUrl {
    type Err = EtcdUrlError;

    fn from_str(text: &str) -> Result<Self, EtcdUrlError> {
        let rest = text.strip_prefix("etcd://").ok_or(EtcdUrlError::Scheme)?;
        let (hosts, prefix) = rest.split_once('/').ok_or(EtcdUrlError::Prefix)?;
        let prefix = prefix.trim_end_matches('/');
        if prefix.is_empty() {
            return Err(EtcdUrlError::Prefix);
        }
        if prefix.len() > 128 || prefix.chars().any(char::is_control) || prefix.split('/').any(str::is_empty) {
            return Err(EtcdUrlError::BadPrefix);
        }
        let endpoints: Result<_, _> = hosts.split(',').map(endpoint).collect();
        Ok(Self {
            endpoints: endpoints?,
            prefix: format!("/{prefix}"),
        })
    }
}

fn endpoint(text: &str) -> Result<(String, u16), EtcdUrlError> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or(EtcdUrlError::Port)?)),
        None => text
            .rsplit_once(':')
            .map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    if host.is_empty() || !host.bytes().all(allowed) {
        return Err(EtcdUrlError::Host);
    }
    let port = port.map_or(Ok(PORT), |port| port.parse().map_err(|_| EtcdUrlError::Port))?;
    if port == 0 {
        return Err(EtcdUrlError::Port);
    }
    Ok((host.to_owned(), port))
}

impl fmt::Display for EtcdUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("etcd://")?;
        for (at, (host, port)) in self.endpoints.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            if host.contains(':') {
                write!(f, "{comma}[{host}]:{port}")?;
            } else {
                write!(f, "{comma}{host}:{port}")?;
            }
        }
        f.write_str(&self.prefix)
    }
}

/// Files of the connection to etcd, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdTls {
    /// The authorities of etcd's certificates.
    pub ca: PathBuf,
    /// The daemon's own certificate and its key, by which etcd knows it; `None`: etcd asks for none.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How [`crate::Store::open_etcd`] opens.
#[derive(Clone)]
pub struct EtcdOptions {
    /// Where.
    pub url: EtcdUrl,
    /// TLS; `None`: none, for an etcd on the same host only.
    pub tls: Option<EtcdTls>,
    /// This node.
    pub writer: WriterId,
    /// The folder of the anchor file, which must exist and be this node's own.
    pub dir: PathBuf,
    /// No other node may have the store open.
    pub alone: bool,
    /// A store that is not there is made.
    pub create: bool,
    /// A store whose history went backwards is taken as it is, with a new timeline: the operator's decision.
    pub accept_rollback: bool,
    /// Limits of batches.
    pub limits: Limits,
    /// How long one call may take before the next member is asked.
    pub call: Duration,
    /// How long a commit tries before its outcome is told to be unknown.
    pub patience: Duration,
    /// How often the node shows that it lives.
    pub beat: Duration,
    /// The node may answer requests for this long after it sent its last beat that etcd took.
    pub serve: Duration,
    /// A node that was silent for this long counts as dead.
    pub dead: Duration,
    /// Revisions that are kept when the store compacts etcd's history; 0: it never does.
    pub keep_revisions: u64,
    /// A reload waits for a random part of this first, so that nodes do not all reload at once.
    pub jitter: Duration,
    /// Called once when the store stops for good: another process took over this node, or history went backwards. The default
    /// ends the process by `abort`.
    pub on_fatal: Arc<dyn Fn(Fatal) + Send + Sync>,
    /// Planned faults of the anchor file, for tests.
    pub faults: Faults,
}

impl EtcdOptions {
    /// Defaults for a node that has the store for itself.
    #[must_use]
    pub fn new(url: EtcdUrl, writer: WriterId, dir: PathBuf) -> Self {
        Self {
            url,
            tls: None,
            writer,
            dir,
            alone: true,
            create: false,
            accept_rollback: false,
            limits: Self::limits(),
            call: Duration::from_secs(1),
            patience: Duration::from_secs(10),
            beat: Duration::from_secs(1),
            serve: Duration::from_secs(5),
            dead: Duration::from_secs(6),
            keep_revisions: 10_000,
            jitter: Duration::from_secs(2),
            on_fatal: Arc::new(|_| std::process::abort()),
            faults: Faults::default(),
        }
    }

    /// What fits into one transaction: the batch's writes, a head for each of its groups, the writer's record.
    #[must_use]
    pub fn limits() -> Limits {
        Limits {
            writes_and_groups: TRANSACTION - 2,
            ..Limits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed_and_shown() {
        for text in ["etcd://a:1/hsmd", "etcd://a:1,10.0.0.1:2379,[::1]:3/hsmd/prod"] {
            assert_eq!(text.parse::<EtcdUrl>().unwrap().to_string(), text);
        }
        assert_eq!("etcd://a/b/".parse::<EtcdUrl>().unwrap().to_string(), "etcd://a:2379/b");
        let error = |text: &str| text.parse::<EtcdUrl>().unwrap_err();
        assert_eq!(error("http://a:1/b"), EtcdUrlError::Scheme);
        assert_eq!(error("etcd://a:1"), EtcdUrlError::Prefix);
        assert_eq!(error("etcd://a:1/"), EtcdUrlError::Prefix);
        assert_eq!(error("etcd:///b"), EtcdUrlError::Host);
        assert_eq!(error("etcd://a:1,/b"), EtcdUrlError::Host);
        assert_eq!(error("etcd://a:0/b"), EtcdUrlError::Port);
        assert_eq!(error("etcd://a:x/b"), EtcdUrlError::Port);
        assert_eq!(error("etcd://a:1/b//c"), EtcdUrlError::BadPrefix);
    }
}

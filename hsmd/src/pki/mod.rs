//! Who is who: the daemon's own authorities, the certificates that servers show, and the check of the certificates that
//! clients show. TLS 1.3 only, on both planes, with a client certificate, without resumption: what was revoked cannot come
//! back on a ticket.
//!
//! Client certificates are pinned, not chained ([`pins`], [`verifier`]): a signature of an authority opens nothing. What a
//! known peer may do is not decided here but in [`crate::control`] and [`crate::slots`].

mod authority;
mod leaf;
mod pins;
#[cfg_attr(not(feature = "aws-lc"), path = "no_provider.rs")]
mod provider;
mod refusals;
mod request;
#[cfg(test)]
mod tests;
mod verifier;

pub(crate) use authority::AuthorityError;
use authority::Kind;
pub(crate) use authority::{Authority, SelfSigned, days, pem, self_signed};
pub(crate) use leaf::host_of;
pub(crate) use pins::{Pins, Validity, from_hex};
pub(crate) use provider::provider;
pub(crate) use refusals::Refusals;
pub(crate) use request::RequestError;
pub(crate) use request::{make as make_request, read as read_request};

use crate::config::Config;
use hsmd_keystore::Keystore;
use leaf::Leaf;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::NoServerSessionStorage;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use verifier::Verifier;

/// Whether this build has TLS: one with the feature `portable` alone has none (docs/providers.md).
pub(crate) const TLS: bool = cfg!(feature = "aws-lc");
/// What to say where it is missed.
pub(crate) const NO_TLS: &str = "this build (portable) has no TLS: use the Unix sockets, or install the default build";

/// The application protocol of the data plane (RFC 7301).
pub(crate) const DATA_PROTOCOL: &[u8] = b"hsmd/1";
/// The application protocol of the control plane: gRPC.
pub(crate) const CONTROL_PROTOCOL: &[u8] = b"h2";

/// Why the daemon has no identity.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// An authority cannot be read or made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A file of `[tls]`.
    #[error("{path}: {what}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what it should be.
        what: String,
    },
    /// The certificate and the key of `[tls]` do not serve TLS.
    #[error("tls.certificate and tls.key: {0}")]
    Tls(#[from] rustls::Error),
}

/// The daemon's identity and its view of others'.
pub(crate) struct Pki {
    administrators: Authority,
    bundle: String,
    /// `None` without [`TLS`].
    servers: Option<Servers>,
    refusals: Refusals,
}

/// What the daemon shows and speaks to those who come by TLS.
struct Servers {
    leaf: Arc<Leaf>,
    data: Arc<ServerConfig>,
    control: Arc<ServerConfig>,
}

impl Pki {
    /// Loads the authorities, or makes those that are missing; makes the server's certificate. `data` and `control` are the
    /// certificates that may connect to each plane.
    ///
    /// # Errors
    /// See [`PkiError`].
    pub(crate) fn open(
        keystore: &Keystore,
        config: &Config,
        data: Arc<Pins>,
        control: Arc<Pins>,
    ) -> Result<Self, PkiError> {
        let servers = Authority::open(keystore, Kind::Servers)?;
        let administrators = Authority::open(keystore, Kind::Administrators)?;
        let refusals = Refusals::new(keystore.clone());
        if !TLS {
            return Ok(Self {
                administrators,
                bundle: servers.pem(),
                servers: None,
                refusals,
            });
        }
        let own = leaf::own(&config.tls)?;
        let bundle = own.as_ref().map_or_else(|| servers.pem(), |own| own.bundle.clone());
        let leaf = Arc::new(Leaf::new(servers, own, leaf::names(config))?);
        let server = |pins, protocol: &[u8]| server_config(&leaf, pins, protocol);
        Ok(Self {
            administrators,
            bundle,
            servers: Some(Servers {
                data: server(data, DATA_PROTOCOL)?,
                control: server(control, CONTROL_PROTOCOL)?,
                leaf,
            }),
            refusals,
        })
    }

    /// What the data plane's listeners speak; `None` without [`TLS`].
    pub(crate) fn data_server(&self) -> Option<Arc<ServerConfig>> {
        self.servers.as_ref().map(|servers| servers.data.clone())
    }

    /// What the control plane's listeners speak; `None` without [`TLS`].
    pub(crate) fn control_server(&self) -> Option<Arc<ServerConfig>> {
        self.servers.as_ref().map(|servers| servers.control.clone())
    }

    /// What clients are to trust, in PEM: the servers' authority, or the operator's.
    pub(crate) fn bundle(&self) -> String {
        self.bundle.clone()
    }

    /// The authority of the control plane's users.
    pub(crate) const fn administrators(&self) -> &Authority {
        &self.administrators
    }

    /// Makes the server's certificate valid for these names and addresses as well.
    ///
    /// # Errors
    /// When the certificate cannot be made; the one in use stays.
    pub(crate) fn cover(&self, names: impl IntoIterator<Item = String>) -> Result<(), PkiError> {
        match &self.servers {
            Some(servers) => servers.leaf.cover(names),
            None => Ok(()),
        }
    }

    /// To be called with the local address of each accepted connection, before its handshake: a listener on 0.0.0.0 learns in
    /// this way under which addresses it is reached.
    pub(crate) fn arrived_at(&self, address: IpAddr) {
        if let Some(Err(error)) = self.servers.as_ref().map(|servers| servers.leaf.arrived_at(address)) {
            tracing::error!(%address, %error, "the server's certificate cannot be extended");
        }
    }

    /// To be called now and then: makes a new server's certificate when the one in use is old, or reads the operator's again
    /// when its files have changed.
    pub(crate) fn keep_fresh(&self) {
        if let Some(Err(error)) = self.servers.as_ref().map(|servers| servers.leaf.keep_fresh()) {
            tracing::error!(%error, "the server's certificate cannot be renewed; the one in use stays");
        }
    }

    /// Where refused handshakes are counted and logged.
    pub(crate) const fn refusals(&self) -> &Refusals {
        &self.refusals
    }
}

/// The SHA-256 of a certificate: what it is pinned by.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    hsmd_crypto::seal::sha256(&[certificate])
}

/// 64 hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn server_config(leaf: &Arc<Leaf>, pins: Arc<Pins>, protocol: &[u8]) -> Result<Arc<ServerConfig>, PkiError> {
    let provider = provider();
    let verifier = Arc::new(Verifier::new(pins, provider.signature_verification_algorithms));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(leaf.clone());
    config.alpn_protocols = vec![protocol.to_vec()];
    // No resumption: a certificate that was revoked must not come back on a ticket.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

//! Connections to XKS proxies: where to, with which authorities, and why none came about.

use crate::config;
use crate::tls::{self, Stream};
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower::Service;

/// KMS dials this port; an endpoint of a key store cannot name another.
const PORT: u16 = 443;

/// How proxies are reached; one for all of them.
#[derive(Clone)]
pub(crate) struct Outbound {
    tls: Arc<ClientConfig>,
    /// Addresses of hosts that are not to be looked up, nor dialled at port 443.
    connect: Arc<HashMap<String, SocketAddr>>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectProblem {
    /// No address, or nobody there.
    #[error("no connection: {0}")]
    Tcp(std::io::Error),
    /// A handshake that failed, or a certificate that is not good for the host.
    #[error("TLS: {0}")]
    Tls(std::io::Error),
}

impl Outbound {
    /// Reads the authorities: those of the configuration, or the system's.
    ///
    /// # Errors
    /// A sentence with the file and what is wrong.
    pub(crate) fn new(config: &config::XksClient) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match &config.authorities {
            Some(path) => {
                for certificate in tls::certificates(path)? {
                    let added = roots.add(certificate);
                    added.map_err(|error| format!("{}: {error}", path.display()))?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                for error in found.errors {
                    tracing::warn!(%error, "an authority of the system cannot be read");
                }
                roots.add_parsable_certificates(found.certs);
            }
        }
        let builder = ClientConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(tls::VERSIONS)
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let mut client = match &config.identity {
            Some(identity) => {
                let (chain, key) = tls::identity(&identity.certificate, &identity.key)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| format!("{}: {error}", identity.certificate.display()))?
            }
            None => builder.with_no_client_auth(),
        };
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: Arc::new(client),
            connect: Arc::new(config.connect.clone()),
        })
    }

    /// Whether the configuration says where this host is.
    pub(crate) fn knows(&self, host: &str) -> bool {
        self.connect.contains_key(host)
    }

    async fn open(self, host: String) -> Result<TokioIo<Stream>, ConnectProblem> {
        let name = ServerName::try_from(host.clone());
        let name = name.map_err(|error| ConnectProblem::Tcp(std::io::Error::other(error)))?;
        let tcp = match self.connect.get(&host) {
            Some(address) => TcpStream::connect(address).await,
            None => TcpStream::connect((host.as_str(), PORT)).await,
        };
        let tcp = tcp.map_err(ConnectProblem::Tcp)?;
        // A request is one small packet.
        let _ = tcp.set_nodelay(true);
        let tls = TlsConnector::from(self.tls).connect(name, tcp).await;
        let tls = tls.map_err(ConnectProblem::Tls)?;
        Ok(TokioIo::new(Stream::Tls(Box::new(tls.into()))))
    }
}

impl Service<Uri> for Outbound {
    type Response = TokioIo<Stream>;
    type Error = ConnectProblem;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let host = address.host().unwrap_or_default().to_owned();
        Box::pin(self.clone().open(host))
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

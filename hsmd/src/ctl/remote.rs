//! The connection to a daemon on another host: mutual TLS 1.3 with the files that `hsmctl certificate issue` has written. What
//! goes wrong on the way is told apart: nobody there, another authority, a refused certificate.

use super::exit::{Error, Exit};
use super::expiry;
use crate::pki::{CONTROL_PROTOCOL, NO_TLS, TLS, provider};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use zeroize::Zeroizing;

/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The port of the control plane, when the endpoint names none.
const PORT: u16 = 1793;

/// The files of a remote connection.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) ca: PathBuf,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

type Connection = BufReader<TlsStream<TcpStream>>;

/// What a connection needs.
struct Dialer {
    uri: String,
    host: String,
    port: u16,
    files: Files,
    config: Arc<ClientConfig>,
}

/// Connects to `https://host[:port]`.
pub(super) async fn connect(uri: &str, files: Files, deadline: Duration) -> Result<Channel, Error> {
    let (host, port) = address(uri)?;
    let dialer = Arc::new(Dialer {
        uri: uri.to_owned(),
        config: Arc::new(config(&files)?),
        host,
        port,
        files,
    });
    let authority = if dialer.host.contains(':') {
        format!("[{}]:{port}", dialer.host)
    } else {
        format!("{}:{port}", dialer.host)
    };
    // The connector below speaks TLS; tonic is to add none of its own.
    let endpoint = Endpoint::from_shared(format!("http://{authority}"))
        .map_err(|error| Error::new(Exit::Usage, format!("{uri}: {error}")))?
        .timeout(deadline);
    let failed: Arc<Mutex<Option<Error>>> = Arc::default();
    let last = failed.clone();
    let connector = tower::service_fn(move |_: http::Uri| {
        let (dialer, last) = (dialer.clone(), last.clone());
        async move {
            dialer.dial().await.map(TokioIo::new).map_err(|error| {
                let text = error.to_string();
                *last.lock() = Some(error);
                io::Error::other(text)
            })
        }
    });
    let connected = endpoint.connect_with_connector(connector).await;
    connected.map_err(|error| failed.lock().take().unwrap_or_else(|| Error::failed(&error)))
}

/// Host and port of `https://host[:port]`.
fn address(uri: &str) -> Result<(String, u16), Error> {
    let wrong = || {
        let message = format!("{uri}: an endpoint is https://HOST[:PORT] or unix:///path/to/control.sock");
        Error::new(Exit::Usage, message)
    };
    let parsed: http::Uri = uri.parse().map_err(|_| wrong())?;
    let bare = matches!(parsed.path_and_query().map(|path| path.as_str()), None | Some("/" | ""));
    let host = parsed.host().filter(|_| bare).ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), parsed.port_u16().unwrap_or(PORT)))
}

fn config(files: &Files) -> Result<ClientConfig, Error> {
    if !TLS {
        return Err(Error::new(Exit::Usage, NO_TLS.to_owned()));
    }
    let bad =
        |path: &Path, what: &dyn std::fmt::Display| Error::new(Exit::Usage, format!("{}: {what}", path.display()));
    let read = |path: &Path| {
        std::fs::read(path)
            .map(Zeroizing::new)
            .map_err(|error| bad(path, &error))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&read(&files.ca)?) {
        let certificate = certificate.map_err(|error| bad(&files.ca, &error))?;
        roots.add(certificate).map_err(|error| bad(&files.ca, &error))?;
    }
    if roots.is_empty() {
        return Err(bad(&files.ca, &"there is no certificate in PEM here"));
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(&files.cert)?).collect();
    let chain = chain.map_err(|error| bad(&files.cert, &error))?;
    if chain.is_empty() {
        return Err(bad(&files.cert, &"there is no certificate in PEM here"));
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|error| bad(&files.key, &error))?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Error::failed(&error))?;
    let config = builder.with_root_certificates(roots).with_client_auth_cert(chain, key);
    let mut config = config.map_err(|error| {
        let message = format!("{} and {}: {error}", files.cert.display(), files.key.display());
        Error::new(Exit::Usage, message)
    })?;
    config.alpn_protocols = vec![CONTROL_PROTOCOL.to_vec()];
    Ok(config)
}

impl Dialer {
    async fn dial(&self) -> Result<Connection, Error> {
        let dialled = tokio::time::timeout(PATIENCE, self.shake()).await;
        dialled.unwrap_or_else(|_| Err(self.nobody(&"no answer in 10 seconds")))
    }

    async fn shake(&self) -> Result<Connection, Error> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|error| self.nobody(&error))?;
        stream.set_nodelay(true).map_err(|error| self.nobody(&error))?;
        let name = ServerName::try_from(self.host.clone());
        let name = name.map_err(|error| Error::new(Exit::Usage, format!("{}: {error}", self.uri)))?;
        let stream = TlsConnector::from(self.config.clone()).connect(name, stream).await;
        let mut stream = BufReader::new(stream.map_err(|error| self.explain(&error))?);
        // In TLS 1.3 the daemon judges our certificate after our side is done: its first word, or its refusal, is waited for.
        match stream.fill_buf().await {
            Ok([]) => Err(self.refused()),
            Ok(_) => Ok(stream),
            Err(error) => Err(self.explain(&error)),
        }
    }

    fn nobody(&self, error: &dyn std::fmt::Display) -> Error {
        let message = format!(
            "{}: no daemon answers ({error})\n  remedy: see that `hsmd serve` runs there, that its [control] listen names this \
             port, and that no firewall is between",
            self.uri
        );
        Error::new(Exit::Unavailable, message)
    }

    fn refused(&self) -> Error {
        let cert = self.files.cert.display();
        let expired = std::fs::read_to_string(&self.files.cert)
            .ok()
            .and_then(|pem| expiry::end(&pem));
        let why = match expired {
            Some(end) if end.days < 0 => format!("it ended on {}", end.date),
            _ => "it is not registered there, or was revoked".to_owned(),
        };
        let message = format!(
            "{}: the daemon refused the certificate {cert}: {why}\n  remedy: an administrator of that daemon runs `hsmctl \
             certificate list`, and `hsmctl certificate issue NAME --role ROLE` for a new one",
            self.uri
        );
        Error::new(Exit::Refused, message)
    }

    fn explain(&self, error: &io::Error) -> Error {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let remedy = match inner {
            Some(rustls::Error::AlertReceived(_)) => return self.refused(),
            Some(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => {
                "use an address that the daemon's certificate covers: those of [control] listen, [data] advertise, its host \
                 name"
            }
            Some(rustls::Error::InvalidCertificate(_)) => {
                "name the authority of that daemon with --ca: the ca.pem that `hsmctl certificate issue` wrote there; if that \
                 is the one in use, somebody else answers at this address"
            }
            Some(_) => "see that this is the port of hsmd's control plane",
            None => return self.nobody(error),
        };
        let what = inner.map_or_else(|| error.to_string(), ToString::to_string);
        let message = format!("{}: {what}\n  remedy: {remedy}", self.uri);
        Error::new(Exit::Refused, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_perhaps_a_port() {
        let good = |uri| address(uri).unwrap();
        assert_eq!(good("https://hsm.example.org"), ("hsm.example.org".into(), 1793));
        assert_eq!(good("https://192.0.2.1:5"), ("192.0.2.1".into(), 5));
        assert_eq!(good("https://[2001:db8::1]:5"), ("2001:db8::1".into(), 5));
        for uri in ["https://", "https://host/path", "https://a b"] {
            assert_eq!(address(uri).unwrap_err().exit(), Exit::Usage, "{uri}");
        }
    }
}

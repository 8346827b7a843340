//! Why an HSM shows no partition: a connection with the cluster's identity, as far as it comes. For people, in the log; the
//! module itself never says.

use super::agent::{Failure, Request};
use super::record::Trouble;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, Error, RootCertStore, StreamOwned};
use std::io::{self, Read as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a refusal of the client certificate may take: with TLS 1.3 it comes after the handshake.
const REFUSAL: Duration = Duration::from_millis(700);
/// The application protocol of the data plane.
const PROTOCOL: &[u8] = b"hsmd/1";

/// Connects, and says what is wrong.
pub(super) fn why(request: &Request) -> Failure {
    let stream = match TcpStream::connect_timeout(&request.server, CONNECT) {
        Ok(stream) => stream,
        Err(error) => return Failure::new(Trouble::Unreachable, format!("{}: {error}", request.server)),
    };
    let config = match configuration(request) {
        Ok(config) => config,
        Err(error) => return Failure::new(Trouble::Failed, format!("certificates: {error}")),
    };
    let name = ServerName::from(request.server.ip());
    let connection = match ClientConnection::new(config, name) {
        Ok(connection) => connection,
        Err(error) => return Failure::new(Trouble::Failed, error.to_string()),
    };
    let timed = stream
        .set_read_timeout(Some(CONNECT))
        .and(stream.set_write_timeout(Some(CONNECT)));
    let mut stream = StreamOwned::new(connection, stream);
    let shaken = timed.and_then(|()| {
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        stream.sock.set_read_timeout(Some(REFUSAL))
    });
    if let Err(error) = shaken {
        return refused(&error);
    }
    match stream.read(&mut [0; 64]) {
        // It waits for us to speak: it has taken us in.
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Failure::new(Trouble::Partition, "no partition is assigned to the client certificate")
        }
        Err(error) => refused(&error),
        Ok(_) => Failure::new(Trouble::ClientCertificate, "the HSM ended the connection"),
    }
}

fn configuration(request: &Request) -> Result<Arc<ClientConfig>, String> {
    let text = |error: rustls::pki_types::pem::Error| error.to_string();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(request.authority.as_bytes()) {
        roots
            .add(certificate.map_err(text)?)
            .map_err(|error| error.to_string())?;
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(request.certificate.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(request.key.expose().as_bytes()).map_err(text)?;
    let config = ClientConfig::builder_with_provider(crate::tls::provider())
        .with_protocol_versions(&[&TLS13])
        .and_then(|builder| {
            builder
                .with_root_certificates(roots)
                .with_client_auth_cert(chain.unwrap_or_default(), key)
        });
    let mut config = config.map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

fn refused(error: &io::Error) -> Failure {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let trouble = match tls {
        Some(Error::InvalidCertificate(_)) => Trouble::ServerCertificate,
        Some(Error::AlertReceived(_)) => Trouble::ClientCertificate,
        // Something listens there, but it is no HSM, or a busy one.
        _ => Trouble::Unreachable,
    };
    let why = match trouble {
        Trouble::ServerCertificate => format!("the HSM's certificate is not believed: {error}"),
        Trouble::ClientCertificate => format!("the HSM does not take the client certificate: {error}"),
        _ => error.to_string(),
    };
    Failure::new(trouble, why)
}

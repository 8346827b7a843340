//! Calls of any method by its path, over TLS connections of the test's own making.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hsmd_control::DENIAL_KEY;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::appliance::Files;

/// A TLS connection after the daemon's first word, or the refusal.
pub(super) type Connection = BufReader<TlsStream<TcpStream>>;

/// What a client has to show.
pub(super) fn config(ca: &Path, files: Option<&Files>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for one in CertificateDer::pem_slice_iter(&fs::read(ca).expect("an authority")) {
        roots.add(one.expect("PEM")).expect("an authority");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots);
    let mut config = match files {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let chain = CertificateDer::pem_slice_iter(&fs::read(&files.cert).expect("a certificate"))
                .collect::<Result<Vec<_>, _>>()
                .expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(&fs::read(&files.key).expect("a key")).expect("PEM");
            builder
                .with_client_auth_cert(chain, key)
                .expect("a certificate and its key")
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// Connects and waits for the daemon's first word, as the daemon judges a certificate after the client's side is done.
pub(super) async fn dial(address: &str, config: Arc<ClientConfig>) -> io::Result<Connection> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    let stream = TlsConnector::from(config).connect(name, stream).await?;
    let mut stream = BufReader::new(stream);
    match stream.fill_buf().await? {
        [] => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(stream),
    }
}

/// A channel over one such connection, made anew when it breaks.
pub(super) async fn channel(address: &str, config: Arc<ClientConfig>) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    let address = address.to_owned();
    let connector = tower::service_fn(move |_: tonic::codegen::http::Uri| {
        let (address, config) = (address.clone(), config.clone());
        async move { dial(&address, config).await.map(TokioIo::new) }
    });
    let endpoint = endpoint.timeout(Duration::from_secs(30));
    endpoint.connect_with_connector(connector).await
}

/// Bytes that are no message of any kind: a call with them gets past the gate and changes nothing.
const GARBAGE: &[u8] = &[0xff; 11];

/// Sends [`GARBAGE`], drops what comes back.
struct Raw;

impl Codec for Raw {
    type Encode = ();
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        use bytes::BufMut as _;
        buffer.put_slice(GARBAGE);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        use bytes::Buf as _;
        buffer.advance(buffer.remaining());
        Ok(Some(()))
    }
}

/// Calls a method, whatever its kind, with a message that no method can read. What the daemon says in the end.
pub(super) async fn call(channel: Channel, path: &str) -> Result<(), Status> {
    let mut client = Grpc::new(channel);
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::try_from(path).expect("a path");
    let mut answers = client.server_streaming(Request::new(()), path, Raw).await?.into_inner();
    answers.message().await.map(drop)
}

/// The id of a denial, and the message without it; nothing for any other answer.
pub(super) fn denial(answer: &Result<(), Status>) -> Option<(String, String)> {
    let status = answer.as_ref().err()?;
    let id = status.metadata().get(DENIAL_KEY)?.to_str().expect("ASCII").to_owned();
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    assert!(status.details().is_empty());
    Some((id.clone(), status.message().replace(&id, "ID")))
}

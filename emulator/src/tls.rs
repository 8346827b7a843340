//! TLS for every listener, and for the way out: versions, cryptography, files of certificates and keys, and the names that
//! clients' certificates must have. Files are read once, at the start.

use crate::config;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use zeroize::Zeroizing;

/// Clients of AWS may still speak TLS 1.2 and no newer.
pub(crate) const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// The cryptography: aws-lc.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(hsmd_tls::with_groups(rustls::crypto::aws_lc_rs::default_provider()))
}

/// What takes handshakes on a listener.
///
/// # Errors
/// A sentence with the file and what is wrong with it.
pub(crate) fn acceptor(files: &config::Tls) -> Result<TlsAcceptor, String> {
    let (chain, key) = identity(&files.certificate, &files.key)?;
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(VERSIONS);
    let builder = builder.map_err(|error| error.to_string())?;
    let builder = match &files.client_authority {
        Some(path) => builder.with_client_cert_verifier(verifier(path, files.client_name.as_deref())?),
        None => builder.with_no_client_auth(),
    };
    let config = builder.with_single_cert(chain, key);
    let mut config = config.map_err(|error| format!("{}: {error}", files.certificate.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// All certificates of a file in PEM.
///
/// # Errors
/// A sentence with the file.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let text = std::fs::read(path).map_err(|error| format!("{shown}: {error}"))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| format!("{shown}: {error}"))?;
    if found.is_empty() {
        return Err(format!("{shown}: there is no certificate in PEM here"));
    }
    Ok(found)
}

/// A chain of certificates and its private key, which only the owner may read.
///
/// # Errors
/// A sentence with the file.
pub(crate) fn identity(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain = certificates(certificate)?;
    config::private(key)?;
    let shown = key.display();
    let text = std::fs::read(key).map(Zeroizing::new);
    let text = text.map_err(|error| format!("{shown}: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| format!("{shown}: {error}"))?;
    Ok((chain, key))
}

fn verifier(authority: &Path, name: Option<&str>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let shown = authority.display();
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority)? {
        roots.add(certificate).map_err(|error| format!("{shown}: {error}"))?;
    }
    let chained = WebPkiClientVerifier::builder_with_provider(roots.into(), provider()).build();
    let chained = chained.map_err(|error| format!("{shown}: {error}"))?;
    Ok(match name {
        Some(name) => Arc::new(Named {
            chained,
            name: name.to_owned(),
        }),
        None => chained,
    })
}

/// Takes a certificate of an authority only if its subject has one name.
#[derive(Debug)]
struct Named {
    chained: Arc<dyn ClientCertVerifier>,
    /// The only common name.
    name: String,
}

impl ClientCertVerifier for Named {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chained.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.chained.verify_client_cert(certificate, intermediates, now)?;
        if common_names(certificate) == [self.name.as_bytes()] {
            Ok(verified)
        } else {
            tracing::warn!("a client's certificate has another name than client_name");
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chained.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chained.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chained.supported_verify_schemes()
    }
}

/// The common names of a certificate's subject: usually one.
fn common_names(certificate: &[u8]) -> Vec<Vec<u8>> {
    const COMMON_NAME: der::asn1::ObjectIdentifier = der::asn1::ObjectIdentifier::new_unwrap("2.5.4.3");
    let Ok(certificate) = Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let subject = certificate.tbs_certificate().subject();
    let names = subject.iter().filter(|part| part.oid == COMMON_NAME);
    names.map(|part| part.value.value().to_vec()).collect()
}

/// A connection, with TLS or without.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, from),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, from),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

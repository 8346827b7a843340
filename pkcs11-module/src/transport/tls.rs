//! Who this client is and whom it believes: the files that the client file names, as a configuration of rustls. TLS 1.3 only;
//! a server must show a certificate for its name or address that one of the authorities signed for servers.

use crate::config::{ConfigError, Remote};
use crate::pem::{self, Block};
use hsmd_proto::wipe::WipingVec;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// Certificates and keys are short; a bundle of many authorities is not long either.
const LONGEST_FILE: u64 = 1 << 20;
/// The application protocol (RFC 7301): a server of another kind refuses before a PIN is sent.
const PROTOCOL: &[u8] = b"hsmd/1";
/// Reading and writing for anybody but the owner.
const OTHERS: u32 = 0o077;

/// Reads the three files.
///
/// # Errors
/// [`ConfigError::Certificate`], [`ConfigError::Key`], [`ConfigError::KeyExposed`].
pub(crate) fn load(remote: &Remote) -> Result<Arc<ClientConfig>, ConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&remote.ca)? {
        roots.add(certificate).map_err(|_| ConfigError::Certificate)?;
    }
    let chain = certificates(&remote.certificate)?;
    let text = read(&remote.key, ConfigError::Key, OTHERS)?;
    let blocks = pem::blocks(&text).ok_or(ConfigError::Key)?;
    // rustls copies the key into aws-lc, which wipes its own.
    let key = blocks.iter().find_map(private_key).ok_or(ConfigError::Key)?;
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|_| ConfigError::Key)?;
    let identity = CertifiedKey::new(chain, key);
    identity.keys_match().map_err(|_| ConfigError::Key)?;
    let provider = Arc::new(hsmd_tls::with_groups(aws_lc_rs::default_provider()));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|_| ConfigError::Certificate)?;
    let mut config = builder
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    // Every connection shows the certificate: one that was revoked has no ticket to come back with.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let text = read(file, ConfigError::Certificate, 0)?;
    let blocks = pem::blocks(&text).ok_or(ConfigError::Certificate)?;
    let found = blocks.iter().filter(|block| block.label == b"CERTIFICATE");
    let found: Vec<_> = found.map(|block| CertificateDer::from(block.der.to_vec())).collect();
    if found.is_empty() {
        Err(ConfigError::Certificate)
    } else {
        Ok(found)
    }
}

fn private_key<'a>(block: &'a Block<'_>) -> Option<PrivateKeyDer<'a>> {
    let der = block.der.as_slice();
    match block.label {
        b"PRIVATE KEY" => Some(PrivatePkcs8KeyDer::from(der).into()),
        b"RSA PRIVATE KEY" => Some(PrivatePkcs1KeyDer::from(der).into()),
        b"EC PRIVATE KEY" => Some(PrivateSec1KeyDer::from(der).into()),
        _ => None,
    }
}

/// Reads a file into memory that is wiped; none of the `refused` mode bits may be set.
fn read(file: &Path, error: ConfigError, refused: u32) -> Result<WipingVec, ConfigError> {
    let Ok(mut file) = File::open(file) else {
        return Err(error);
    };
    let Ok(found) = file.metadata() else { return Err(error) };
    if !found.is_file() || found.len() > LONGEST_FILE {
        return Err(error);
    }
    if found.mode() & refused != 0 {
        return Err(ConfigError::KeyExposed);
    }
    // Room for one byte more, so that reading to the end does not grow it.
    let mut text = WipingVec::from(vec![0; found.len() as usize + 1]);
    let mut filled = 0;
    while filled < text.len() {
        match file.read(&mut text[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(interrupted) if interrupted.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return Err(error),
        }
    }
    text.truncate(filled);
    Ok(text)
}

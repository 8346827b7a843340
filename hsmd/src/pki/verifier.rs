//! The check of a client's certificate: first that the client has its key, then that it is registered and valid now. All
//! refusals are one: the same alert, at the same point, after the same work, so that nobody learns which certificates are
//! registered by showing them.

use super::pins::Pins;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible, SignatureScheme,
};
use std::fmt;
use std::sync::Arc;

/// Why a certificate was refused: for the log, never for the peer.
#[derive(Debug, thiserror::Error)]
#[error("{why}; certificate {sha256}")]
pub(crate) struct Refused {
    why: &'static str,
    sha256: String,
}

pub(super) struct Verifier {
    pins: Arc<Pins>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) const fn new(pins: Arc<Pins>, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { pins, algorithms }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(..)")
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    /// Nothing yet. A refusal here would come before the proof of possession, and so tell anybody who shows somebody else's
    /// certificate whether it is registered; [`Self::verify_tls13_signature`] follows in every handshake.
    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let sha256 = super::fingerprint(cert);
        let signed = verify_tls13_signature(message, cert, dss, &self.algorithms);
        let registered = self.pins.get(&sha256).is_some();
        let why = match signed {
            Ok(valid) if registered => return Ok(valid),
            Ok(_) if self.pins.knows(&sha256) => "not valid now",
            Ok(_) => "not registered",
            Err(_) => "no proof of its key",
        };
        let refused = Refused {
            why,
            sha256: super::hex(&sha256),
        };
        Err(CertificateError::Other(OtherError(Arc::new(refused))).into())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

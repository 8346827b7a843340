//! The parameters of TLS 1.2's pseudo-random function (RFC 5246, 5; PKCS#11 3.2, 6.40): what it is asked for, and which labels belong to
//! whom. A key that exports under a label of the handshake would export the handshake's own keys (RFC 5705, 4;
//! docs/decisions/0017).

use crate::ck::MechanismType;
use crate::mechanism::{ParamKind, is_sha};
use crate::params::MAX_SHARED_DATA;

/// The length in bytes of a master secret.
pub const MASTER: usize = 48;

/// What the function derives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsSecret {
    /// The master secret of an agreed one (RFC 5246, 8.1).
    Master,
    /// The same, bound to the handshake (RFC 7627, 4).
    ExtendedMaster,
    /// Keying material for others (RFC 5705).
    Exported,
}

/// CK_TLS12_MASTER_KEY_DERIVE_PARAMS, CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS, CK_TLS_KDF_PARAMS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsParams {
    /// The hash of HMAC, as a digest mechanism.
    pub hash: MechanismType,
    /// The label.
    pub label: Vec<u8>,
    /// What follows the label: the randoms of both sides with the context behind them, or the hash of the session.
    pub seed: Vec<u8>,
}

/// CK_TLS_MAC_PARAMS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsMacParams {
    /// The hash of HMAC, as a digest mechanism.
    pub hash: MechanismType,
    /// The MAC's length in bytes.
    pub length: u64,
    /// The server's message, not the client's.
    pub server: bool,
}

impl TlsSecret {
    /// The label of a secret of the handshake.
    #[must_use]
    pub const fn label(self) -> Option<&'static [u8]> {
        match self {
            Self::Master => Some(b"master secret"),
            Self::ExtendedMaster => Some(b"extended master secret"),
            Self::Exported => None,
        }
    }

    /// The secret that a parameter of this kind is for.
    #[must_use]
    pub const fn of(kind: ParamKind) -> Option<Self> {
        match kind {
            ParamKind::Tls(secret) => Some(secret),
            _ => None,
        }
    }
}

/// TLS 1.2 has no function of SHA-1 (RFC 5246, 5).
fn has_hash(hash: MechanismType) -> bool {
    hash != MechanismType::SHA_1 && is_sha(hash)
}

impl TlsParams {
    /// The labels that nobody exports under.
    const RESERVED: [&[u8]; 5] = [
        b"client finished",
        b"server finished",
        b"master secret",
        b"extended master secret",
        b"key expansion",
    ];

    pub(crate) fn fits(&self, secret: TlsSecret) -> bool {
        let label = match secret.label() {
            Some(label) => self.label == label,
            None => {
                // The function joins label and seed: one that goes on where a reserved label ends would be that label with another seed.
                let reserved = |label: &&[u8]| self.label.starts_with(label) || label.starts_with(&self.label);
                (1..=255).contains(&self.label.len()) && !Self::RESERVED.iter().any(reserved)
            }
        };
        label && has_hash(self.hash) && (1..=MAX_SHARED_DATA).contains(&self.seed.len())
    }
}

impl TlsMacParams {
    /// The label of the message that the MAC ends the handshake with (RFC 5246, 7.4.9).
    #[must_use]
    pub const fn label(&self) -> &'static [u8] {
        if self.server {
            b"server finished"
        } else {
            b"client finished"
        }
    }

    pub(crate) fn fits(&self) -> bool {
        has_hash(self.hash) && (12..=64).contains(&self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_exports_what_belongs_to_the_handshake() {
        let exported = |label: &[u8]| {
            let params = TlsParams {
                hash: MechanismType::SHA256,
                label: label.to_vec(),
                seed: vec![7; 64],
            };
            params.fits(TlsSecret::Exported)
        };
        assert!(exported(b"EXPORTER_DTLS_OVER_SCTP") && exported(b"test label"));
        for label in TlsParams::RESERVED {
            assert!(!exported(label) && !exported(&[label, b"x"].concat()));
            assert!(!exported(&label[..label.len() - 1]));
        }
        assert!(!exported(b"") && !exported(&[b'x'; 256]));
        let master = TlsParams {
            hash: MechanismType::SHA256,
            label: b"master secret".to_vec(),
            seed: vec![7; 64],
        };
        assert!(master.fits(TlsSecret::Master) && !master.fits(TlsSecret::ExtendedMaster));
    }
}

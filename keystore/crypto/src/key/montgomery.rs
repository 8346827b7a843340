//! X25519 (RFC 7748).

use crate::engine;
use crate::error::KeyError;
use crate::secret::{Secret, SecretArray};

/// A private key with its public value.
pub(crate) struct Montgomery {
    scalar: SecretArray<32>,
    point: [u8; 32],
}

impl Montgomery {
    pub(crate) const fn point(&self) -> &[u8; 32] {
        &self.point
    }

    /// The shared secret; `None` for a value of another length than 32 bytes, and for one of small order, with which
    /// every key has the same secret: all zeros (RFC 7748, 6.1; PKCS#11 leaves the check to us).
    pub(crate) fn agree(&self, point: &[u8; 32]) -> Option<Secret> {
        engine::x25519(self.scalar.expose(), point).map(|shared| Secret::from_slice(shared.expose()))
    }
}

pub(crate) fn open_private(scalar: &Secret) -> Result<Montgomery, KeyError> {
    let scalar = SecretArray::from_slice(scalar.expose()).ok_or(KeyError::Invalid)?;
    let point = engine::x25519_public(scalar.expose());
    Ok(Montgomery { scalar, point })
}

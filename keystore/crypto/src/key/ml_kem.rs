//! ML-KEM (FIPS 203).

use crate::digest;
use crate::engine::Lattice;
use crate::error::{KeyError, OpError};
use crate::secret::Secret;
use hsmd_proto::ck::MechanismType;
use hsmd_proto::parameter_set::ParameterSet;

/// A private key from its seed, its expanded form, or both, which then must be of one key.
pub(crate) fn open_private(set: ParameterSet, seed: Option<&Secret>, value: &Secret) -> Result<Lattice, KeyError> {
    if value.len() != set.private_bytes() {
        return Err(KeyError::Invalid);
    }
    let Some(seed) = seed else {
        return from_expanded(set, value);
    };
    let key = from_seed(set, seed)?;
    if key.private().as_ref() == Some(value) {
        Ok(key)
    } else {
        Err(KeyError::Invalid)
    }
}

/// A private key from its seed, d || z (FIPS 203, 7.1).
pub(crate) fn from_seed(set: ParameterSet, seed: &Secret) -> Result<Lattice, KeyError> {
    if seed.len() != set.seed_bytes() {
        return Err(KeyError::Invalid);
    }
    Lattice::from_kem_seed(set, seed).ok_or(KeyError::Invalid)
}

/// dk is dkPKE || ek || H(ek) || z: the hash must fit (FIPS 203, 7.3), and the halves each other.
fn from_expanded(set: ParameterSet, value: &Secret) -> Result<Lattice, KeyError> {
    let rest = set.public_bytes() + 64;
    let start = value.len().checked_sub(rest).ok_or(KeyError::Invalid)?;
    let (public, rest) = value.expose()[start..].split_at(set.public_bytes());
    let hash = digest::hash(MechanismType::SHA3_256, public).ok_or(KeyError::Invalid)?;
    if rest.get(..32) != Some(hash.as_slice()) {
        return Err(KeyError::Invalid);
    }
    Lattice::from_kem_pair(set, public, value.expose()).ok_or(KeyError::Invalid)
}

/// A public key, whose coefficients are in range (FIPS 203, 7.2).
pub(crate) fn open_public(set: ParameterSet, value: &[u8]) -> Result<Lattice, KeyError> {
    Lattice::from_kem_public(set, value).ok_or(KeyError::Invalid)
}

/// The shared secret; of a ciphertext that was not made for this key a pseudo-random one, always the same (FIPS 203, 6.3).
pub(crate) fn decapsulate(key: &Lattice, ciphertext: &[u8]) -> Result<Secret, OpError> {
    if ciphertext.len() != key.set().output_bytes() {
        return Err(OpError::EncryptedLength);
    }
    key.decapsulate(ciphertext).ok_or(OpError::Failed)
}

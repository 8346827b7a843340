//! A secret key and what was made ready for it: AES key schedules, the GCM context, one HMAC state per hash. Each is made
//! at its first use, because a generic secret may never see AES, and then read without a lock.

use crate::engine::{Aead, AeadKind, Aes, Hmac};
use crate::error::{KeyError, OpError};
use crate::secret::Secret;
use hsmd_proto::ck::MechanismType;
use std::sync::OnceLock;

/// The hashes that HMAC has.
const HASHES: [MechanismType; 11] = [
    MechanismType::SHA_1,
    MechanismType::SHA224,
    MechanismType::SHA256,
    MechanismType::SHA384,
    MechanismType::SHA512,
    MechanismType::SHA512_224,
    MechanismType::SHA512_256,
    MechanismType::SHA3_224,
    MechanismType::SHA3_256,
    MechanismType::SHA3_384,
    MechanismType::SHA3_512,
];

/// A secret key.
pub(crate) struct Symmetric {
    value: Secret,
    aes: OnceLock<Option<Aes>>,
    gcm: OnceLock<Option<Aead>>,
    hmac: [OnceLock<Option<Hmac>>; HASHES.len()],
}

impl Symmetric {
    pub(crate) fn new(value: &Secret) -> Result<Self, KeyError> {
        if value.is_empty() {
            return Err(KeyError::Size);
        }
        Ok(Self {
            value: value.duplicate(),
            aes: OnceLock::new(),
            gcm: OnceLock::new(),
            hmac: [const { OnceLock::new() }; HASHES.len()],
        })
    }

    pub(crate) const fn value(&self) -> &Secret {
        &self.value
    }

    /// The AES key schedules.
    pub(crate) fn aes(&self) -> Result<&Aes, OpError> {
        self.aes
            .get_or_init(|| Aes::new(self.value.expose()))
            .as_ref()
            .ok_or(OpError::KeySize)
    }

    /// GCM with the usual tag of 16 bytes.
    pub(crate) fn gcm(&self) -> Result<&Aead, OpError> {
        self.gcm
            .get_or_init(|| Aead::new(AeadKind::Gcm, self.value.expose(), 16))
            .as_ref()
            .ok_or(OpError::KeySize)
    }

    /// GCM with a shorter tag; made for one operation.
    pub(crate) fn gcm_with_tag(&self, tag: usize) -> Result<Aead, OpError> {
        Aead::new(AeadKind::Gcm, self.value.expose(), tag).ok_or(OpError::KeySize)
    }

    /// The HMAC key for a hash.
    pub(crate) fn hmac(&self, hash: MechanismType) -> Result<&Hmac, OpError> {
        let index = HASHES
            .iter()
            .position(|known| *known == hash)
            .ok_or(OpError::Mechanism)?;
        self.hmac[index]
            .get_or_init(|| Hmac::new(hash, self.value.expose()))
            .as_ref()
            .ok_or(OpError::Failed)
    }
}

//! AES-256-GCM for the store's own files. Each file has its own key, derived from the journal key and a random salt, so neither
//! random nor counted nonces come near their limits. Records are sealed by the caller already; this hides paths and binds order.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::codec::Malformed;
use crate::keys::StoreKeys;

pub(crate) const NONCE_BYTES: usize = NONCE_LEN;
pub(crate) const TAG_BYTES: usize = 16;
pub(crate) const SALT_BYTES: usize = 32;

/// The random source or the cipher failed, which they do not on valid input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SealFailed;

/// The key of one file.
pub(crate) struct FileKey(LessSafeKey);

impl FileKey {
    pub(crate) fn derive(keys: &StoreKeys, label: &[u8], salt: &[u8; SALT_BYTES]) -> Result<Self, SealFailed> {
        Self::new(&keys.derive(label, salt))
    }

    /// Of these 32 bytes, which no other file has.
    pub(crate) fn new(key: &[u8; 32]) -> Result<Self, SealFailed> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| SealFailed)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Encrypts `body` in place and returns the tag.
    pub(crate) fn seal(
        &self,
        nonce: [u8; NONCE_BYTES],
        aad: &[u8],
        body: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], SealFailed> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), body)
            .map_err(|_| SealFailed)?;
        let mut bytes = [0; TAG_BYTES];
        bytes.copy_from_slice(tag.as_ref());
        Ok(bytes)
    }

    /// Opens a body followed by its tag, in place.
    pub(crate) fn open<'a>(
        &self,
        nonce: [u8; NONCE_BYTES],
        aad: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], Malformed> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0
            .open_in_place(nonce, Aad::from(aad), sealed)
            .map_err(|_| Malformed)
    }
}

/// Random bytes from the operating system's generator through aws-lc.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], SealFailed> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SealFailed)?;
    Ok(bytes)
}

impl From<SealFailed> for std::io::Error {
    fn from(_: SealFailed) -> Self {
        Self::other("sealing failed")
    }
}

//! AES-256-GCM for the store's own files. Each file has its own key, derived from the journal key and a random salt, so neither
//! random nor counted nonces come near their limits. Records are sealed by the caller already; this hides paths and binds order.

use crate::codec::Malformed;
use crate::keys::StoreKeys;
use crate::primitive::{self, Gcm};

pub(crate) use crate::primitive::{NONCE_BYTES, TAG_BYTES};
pub(crate) const SALT_BYTES: usize = 32;

/// The random source or the cipher failed, which they do not on valid input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SealFailed;

/// The key of one file.
pub(crate) struct FileKey(Gcm);

impl FileKey {
    pub(crate) fn derive(keys: &StoreKeys, label: &[u8], salt: &[u8; SALT_BYTES]) -> Result<Self, SealFailed> {
        Self::new(&keys.derive(label, salt))
    }

    /// Of these 32 bytes, which no other file has.
    pub(crate) fn new(key: &[u8; 32]) -> Result<Self, SealFailed> {
        Gcm::new(key).map(Self).ok_or(SealFailed)
    }

    /// Encrypts `body` in place and returns the tag.
    pub(crate) fn seal(
        &self,
        nonce: [u8; NONCE_BYTES],
        aad: &[u8],
        body: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], SealFailed> {
        self.0.seal(nonce, aad, body).ok_or(SealFailed)
    }

    /// Opens a body followed by its tag, in place.
    pub(crate) fn open<'a>(
        &self,
        nonce: [u8; NONCE_BYTES],
        aad: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], Malformed> {
        self.0.open(nonce, aad, sealed).ok_or(Malformed)
    }
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], SealFailed> {
    let mut bytes = [0; N];
    primitive::random(&mut bytes).ok_or(SealFailed)?;
    Ok(bytes)
}

impl From<SealFailed> for std::io::Error {
    fn from(_: SealFailed) -> Self {
        Self::other("sealing failed")
    }
}

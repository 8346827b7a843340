//! RustCrypto.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use hmac::{Hmac, Mac};
use sha2::Digest;
use subtle::ConstantTimeEq;

use super::{NONCE_BYTES, TAG_BYTES};

/// A running SHA-256.
#[derive(Clone)]
pub(crate) struct Sha256(sha2::Sha256);

impl Sha256 {
    pub(crate) fn new() -> Self {
        Self(sha2::Sha256::new())
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        Digest::update(&mut self.0, data);
    }

    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// A key of HMAC-SHA-256, ready to use.
#[derive(Clone)]
pub(crate) struct MacKey(Box<Hmac<sha2::Sha256>>);

impl MacKey {
    pub(crate) fn new(key: &[u8]) -> Self {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104)")]
        let key = <Hmac<sha2::Sha256> as KeyInit>::new_from_slice(key).expect("a key of any length");
        Self(Box::new(key))
    }

    /// The MAC of the parts, one after the other.
    pub(crate) fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut running = Hmac::clone(&self.0);
        parts.iter().for_each(|part| running.update(part));
        running.finalize().into_bytes().into()
    }
}

/// A key of AES-256-GCM.
pub(crate) struct Gcm(Box<Aes256Gcm>);

impl Gcm {
    #[expect(clippy::unnecessary_wraps, reason = "the other engine may fail")]
    pub(crate) fn new(key: &[u8; 32]) -> Option<Self> {
        Some(Self(Box::new(Aes256Gcm::new(key.into()))))
    }

    /// Encrypts `body` in place and gives the tag.
    pub(crate) fn seal(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], body: &mut [u8]) -> Option<[u8; TAG_BYTES]> {
        let tag = self.0.encrypt_inout_detached(&nonce.into(), aad, body.into()).ok()?;
        Some(tag.into())
    }

    /// Opens a body followed by its tag, in place.
    pub(crate) fn open<'a>(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], sealed: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let (body, tag) = sealed.split_at_mut_checked(sealed.len().checked_sub(TAG_BYTES)?)?;
        let tag = <[u8; TAG_BYTES]>::try_from(&*tag).ok()?;
        let opened = self
            .0
            .decrypt_inout_detached(&nonce.into(), aad, (&mut *body).into(), &tag.into());
        opened.is_ok().then_some(body)
    }
}

/// Compares in constant time (but for the lengths).
pub(crate) fn equal(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// Random bytes of the operating system.
pub(crate) fn random(out: &mut [u8]) -> Option<()> {
    getrandom::fill(out).ok()
}

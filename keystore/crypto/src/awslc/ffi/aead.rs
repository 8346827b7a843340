//! Authenticated encryption: GCM and GCM-SIV.

use super::super::{AeadKind, Way};
use super::{Flat, check, sys, target, view};
use std::ptr;

/// A key for authenticated encryption.
pub(crate) struct Aead(Flat<sys::EVP_AEAD_CTX>);

impl Aead {
    /// Expands a key; see [`AeadKind`] for the lengths.
    pub(crate) fn new(kind: AeadKind, key: &[u8], tag: usize) -> Option<Self> {
        // SAFETY: these return pointers to constants.
        let aead = unsafe {
            match (kind, key.len()) {
                (AeadKind::Gcm, 16) => sys::EVP_aead_aes_128_gcm(),
                (AeadKind::Gcm, 24) => sys::EVP_aead_aes_192_gcm(),
                (AeadKind::Gcm, 32) => sys::EVP_aead_aes_256_gcm(),
                (AeadKind::GcmSiv, 32) if tag == 16 => sys::EVP_aead_aes_256_gcm_siv(),
                _ => return None,
            }
        };
        if !(1..=16).contains(&tag) {
            return None;
        }
        let (mut key, (k, length)) = (Self(Flat::zeroed()), view(key));
        // SAFETY: the context is zeroed, at its final address (aws-lc aligns the state inside by it); reads `length`
        // bytes. Should it fail, the zeroed context may be cleaned up.
        check(unsafe { sys::EVP_AEAD_CTX_init(key.0.0.as_mut_ptr(), aead, k, length, tag, ptr::null_mut()) })?;
        Some(key)
    }

    /// To encrypt, `out` is as long as `input` and the tag; to decrypt, as `input` without it, and zero if the tag is
    /// wrong.
    pub(crate) fn run(&self, way: Way, nonce: &[u8], aad: &[u8], input: &[u8], out: &mut [u8]) -> Option<()> {
        let ((o, room), (n, nonce), (a, aad), (i, input)) = (target(out), view(nonce), view(aad), view(input));
        let (key, mut written) = (self.0.0.as_ptr(), 0);
        let w = &raw mut written;
        // SAFETY: both write at most `room` bytes and read as many as each length says; `out` overlaps nothing.
        check(unsafe {
            match way {
                Way::Encrypt => sys::EVP_AEAD_CTX_seal(key, o, w, room, n, nonce, i, input, a, aad),
                Way::Decrypt => sys::EVP_AEAD_CTX_open(key, o, w, room, n, nonce, i, input, a, aad),
            }
        })?;
        (written == room).then_some(())
    }
}

impl Drop for Aead {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, or zero; not used afterwards, but for being wiped.
        unsafe { sys::EVP_AEAD_CTX_cleanup(self.0.0.as_mut_ptr()) }
    }
}

//! Authenticated encryption: GCM, GCM-SIV, ChaCha20 with Poly1305, CCM.

use super::{Flat, Owned, check, sys, target, view};
use crate::engine::{AeadKind, Way};
use std::ffi::c_int;
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
                (AeadKind::ChaCha, 32) if tag == 16 => sys::EVP_aead_chacha20_poly1305(),
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

/// A CCM context that knows key, nonce, the length of the text, and the additional data. `tag` is that of a text to be opened; of
/// one to be sealed its length counts.
fn ccm(
    seal: bool,
    key: &[u8],
    nonce: &[u8],
    tag: &[u8],
    (aad, text): (&[u8], usize),
) -> Option<Owned<sys::EVP_CIPHER_CTX>> {
    let (nonce_length, tag_length) = (c_int::try_from(nonce.len()).ok()?, c_int::try_from(tag.len()).ok()?);
    let (aad_length, text) = (c_int::try_from(aad.len()).ok()?, c_int::try_from(text).ok()?);
    let (encrypt, mut written) = (c_int::from(seal), 0);
    let at = if seal {
        ptr::null_mut()
    } else {
        tag.as_ptr().cast_mut().cast()
    };
    // SAFETY: the ciphers are constants; the context is new, and ours or null. Init reads as many bytes of the key as the cipher was
    // chosen for and of the nonce as the context was told; the tag is copied. NULL texts announce the length.
    unsafe {
        let cipher = match key.len() {
            16 => sys::EVP_aes_128_ccm(),
            24 => sys::EVP_aes_192_ccm(),
            32 => sys::EVP_aes_256_ccm(),
            _ => return None,
        };
        let context = Owned::take(sys::EVP_CIPHER_CTX_new())?;
        let (c, null) = (context.get(), ptr::null_mut());
        check(sys::EVP_CipherInit_ex(
            c,
            cipher,
            null,
            ptr::null(),
            ptr::null(),
            encrypt,
        ))?;
        check(sys::EVP_CIPHER_CTX_ctrl(
            c,
            sys::EVP_CTRL_AEAD_SET_IVLEN,
            nonce_length,
            ptr::null_mut(),
        ))?;
        check(sys::EVP_CIPHER_CTX_ctrl(c, sys::EVP_CTRL_AEAD_SET_TAG, tag_length, at))?;
        check(sys::EVP_CipherInit_ex(
            c,
            ptr::null(),
            null,
            key.as_ptr(),
            nonce.as_ptr(),
            encrypt,
        ))?;
        check(sys::EVP_CipherUpdate(
            c,
            ptr::null_mut(),
            &raw mut written,
            ptr::null(),
            text,
        ))?;
        if aad_length > 0 {
            check(sys::EVP_CipherUpdate(
                c,
                ptr::null_mut(),
                &raw mut written,
                aad.as_ptr(),
                aad_length,
            ))?;
        }
        Some(context)
    }
}

/// Encrypts by CCM; `out` is as long as the text.
pub(crate) fn ccm_seal(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    text: &[u8],
    out: &mut [u8],
    tag: &mut [u8],
) -> Option<()> {
    if out.len() != text.len() {
        return None;
    }
    let context = ccm(true, key, nonce, tag, (aad, text.len()))?;
    let (length, tag_length) = (c_int::try_from(text.len()).ok()?, c_int::try_from(tag.len()).ok()?);
    let (to, at, mut written) = (out.as_mut_ptr(), tag.as_mut_ptr().cast(), 0);
    // SAFETY: reads and writes `length` bytes, then writes the tag, whose length the context was told.
    unsafe {
        check(sys::EVP_CipherUpdate(
            context.get(),
            to,
            &raw mut written,
            text.as_ptr(),
            length,
        ))?;
        check(sys::EVP_CIPHER_CTX_ctrl(
            context.get(),
            sys::EVP_CTRL_AEAD_GET_TAG,
            tag_length,
            at,
        ))
    }
}

/// Decrypts by CCM; `out` is as long as the text. `None`: the tag is wrong; what was written is wiped by the caller.
pub(crate) fn ccm_open(key: &[u8], nonce: &[u8], aad: &[u8], data: &[u8], tag: &[u8], out: &mut [u8]) -> Option<()> {
    if out.len() != data.len() {
        return None;
    }
    let context = ccm(false, key, nonce, tag, (aad, data.len()))?;
    let (length, mut written) = (c_int::try_from(data.len()).ok()?, 0);
    // SAFETY: reads and writes `length` bytes; the tag is compared here.
    check(unsafe { sys::EVP_CipherUpdate(context.get(), out.as_mut_ptr(), &raw mut written, data.as_ptr(), length) })
}

//! The AES block cipher and the modes that aws-lc offers for a bare key schedule.

use super::{Flat, Owned, check, cleanse, sys, target, view};
use crate::engine::{Block, Way};
use std::ffi::c_int;
use std::ptr;

/// Both key schedules of an AES key: to encrypt, to decrypt.
pub(crate) struct Aes(Flat<[sys::AES_KEY; 2]>);

impl Aes {
    /// Expands a key of 16, 24 or 32 bytes.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        if !matches!(key.len(), 16 | 24 | 32) {
            return None;
        }
        let (i, bits) = (key.as_ptr(), key.len() as u32 * 8);
        let mut aes = Self(Flat::zeroed());
        // SAFETY: a schedule is numbers only, so zeros are one; reads `bits / 8` bytes, writes one schedule each.
        let failed = unsafe {
            let [encrypt, decrypt] = aes.0.0.assume_init_mut();
            sys::AES_set_encrypt_key(i, bits, encrypt) | sys::AES_set_decrypt_key(i, bits, decrypt)
        };
        // Unlike everywhere else, 0 is success.
        (failed == 0).then_some(aes)
    }

    fn key(&self, way: Way) -> *const sys::AES_KEY {
        // SAFETY: `new` filled both.
        let [encrypt, decrypt] = unsafe { self.0.0.assume_init_ref() };
        match way {
            Way::Encrypt => encrypt,
            Way::Decrypt => decrypt,
        }
    }

    /// One block, in place.
    pub(crate) fn block(&self, way: Way, block: &mut Block) {
        let (key, data) = (self.key(way), block.as_mut_ptr());
        // SAFETY: reads and writes 16 bytes, in place as aes.h allows.
        unsafe {
            match way {
                Way::Encrypt => sys::AES_encrypt(data, data, key),
                Way::Decrypt => sys::AES_decrypt(data, data, key),
            }
        }
    }

    /// CBC over whole blocks into as many bytes; `iv` becomes the next chaining value.
    pub(crate) fn cbc(&self, way: Way, iv: &mut Block, data: &[u8], out: &mut [u8]) -> Option<()> {
        if !data.len().is_multiple_of(16) || data.len() != out.len() {
            return None;
        }
        let ((i, length), (o, _), key) = (view(data), target(out), self.key(way));
        let way = if way == Way::Encrypt {
            sys::AES_ENCRYPT
        } else {
            sys::AES_DECRYPT
        };
        // SAFETY: reads and writes `length` bytes, whole blocks, which overlap nothing; `iv` has 16.
        unsafe { sys::AES_cbc_encrypt(i, o, length, key, iv.as_mut_ptr(), way) }
        Some(())
    }

    /// CTR with a 128-bit counter into as many bytes.
    pub(crate) fn ctr(&self, counter: &mut Block, data: &[u8], out: &mut [u8]) -> Option<()> {
        if data.len() != out.len() {
            return None;
        }
        let (mut spare, mut used) = ([0_u8; 16], 0);
        let ((i, length), (o, _), key) = (view(data), target(out), self.key(Way::Encrypt));
        let (counter, rest) = (counter.as_mut_ptr(), spare.as_mut_ptr());
        // SAFETY: reads and writes `length` bytes, which overlap nothing; `counter` and `rest` have 16.
        unsafe { sys::AES_ctr128_encrypt(i, o, length, key, counter, rest, &raw mut used) }
        cleanse(&mut spare);
        Some(())
    }
}

/// ECB over whole blocks in place, many at once: for as much data as fills the processor's pipeline this is ten times as fast as
/// [`Aes::block`] on each, though it expands the key again.
pub(crate) fn ecb(key: &[u8], way: Way, data: &mut [u8]) -> Option<()> {
    let length = c_int::try_from(data.len()).ok().filter(|length| length % 16 == 0)?;
    let encrypts = c_int::from(way == Way::Encrypt);
    let ((o, _), mut written) = (target(data), 0);
    // SAFETY: a new context, which is ours or null; the cipher is a constant whose key has the length that `key` has, and it has no IV.
    // Without padding as many bytes are written as are read, in place, which EVP_CipherUpdate allows when both begin together.
    unsafe {
        let cipher = match key.len() {
            16 => sys::EVP_aes_128_ecb(),
            24 => sys::EVP_aes_192_ecb(),
            32 => sys::EVP_aes_256_ecb(),
            _ => return None,
        };
        let owned = Owned::take(sys::EVP_CIPHER_CTX_new())?;
        let (context, key) = (owned.get(), key.as_ptr());
        check(sys::EVP_CipherInit_ex(
            context,
            cipher,
            ptr::null_mut(),
            key,
            ptr::null(),
            encrypts,
        ))?;
        check(sys::EVP_CIPHER_CTX_set_padding(context, 0))?;
        check(sys::EVP_CipherUpdate(context, o, &raw mut written, o, length))?;
    }
    (written == length).then_some(())
}

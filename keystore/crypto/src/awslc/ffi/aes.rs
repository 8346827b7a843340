//! The AES block cipher and the modes that aws-lc offers for a bare key schedule.

use super::{Flat, cleanse, sys, target, view};
use crate::engine::{Block, Way};

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

//! Triple DES in CBC mode, of which one block under zeros is the block cipher.

use super::{Owned, check, sys, target, view};
use crate::engine::{Block8, Way};
use crate::secret::SecretArray;
use std::ffi::c_int;
use std::ptr;

/// A key of 24 bytes; the bits of parity do not matter.
pub(crate) struct Des3(SecretArray<24>);

impl Des3 {
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        SecretArray::from_slice(key).map(Self)
    }

    /// One block, in place.
    pub(crate) fn block(&self, way: Way, block: &mut Block8) -> Option<()> {
        let input = *block;
        self.cbc(way, &mut Block8::default(), &input, block)
    }

    /// CBC over whole blocks into as many bytes; `iv` becomes the next chaining value.
    pub(crate) fn cbc(&self, way: Way, iv: &mut Block8, data: &[u8], out: &mut [u8]) -> Option<()> {
        let whole = data.len().is_multiple_of(8) && data.len() == out.len();
        let length = c_int::try_from(data.len()).ok().filter(|_| whole)?;
        let encrypts = c_int::from(way == Way::Encrypt);
        let ((i, _), (o, _), mut written) = (view(data), target(out), 0);
        // SAFETY: a new context, which is ours or null; the cipher is a constant or null, which is refused; its key has 24 bytes and
        // its IV eight. Without padding as many bytes are written as are read: `length`, which both slices have; they overlap nothing.
        unsafe {
            let context = Owned::take(sys::EVP_CIPHER_CTX_new())?;
            let cipher = sys::EVP_get_cipherbynid(sys::NID_des_ede3_cbc);
            check(c_int::from(!cipher.is_null()))?;
            let (key, iv) = (self.0.expose().as_ptr(), iv.as_ptr());
            check(sys::EVP_CipherInit_ex(
                context.get(),
                cipher,
                ptr::null_mut(),
                key,
                iv,
                encrypts,
            ))?;
            check(sys::EVP_CIPHER_CTX_set_padding(context.get(), 0))?;
            check(sys::EVP_CipherUpdate(context.get(), o, &raw mut written, i, length))?;
        }
        let sealed = if way == Way::Encrypt { &*out } else { data };
        if let Some(last) = sealed.last_chunk() {
            *iv = *last;
        }
        (written == length).then_some(())
    }
}

//! HMAC with every hash of the table, and the digests that aws-lc-rs lacks.

use super::{Flat, Owned, check, cleanse, message_digest, sys, target, view};
use hsmd_proto::ck::MechanismType;
use std::mem::MaybeUninit;
use std::ptr;

/// An HMAC key with the hash states after both pads.
pub(crate) struct Hmac(Flat<sys::HMAC_CTX>);

impl Hmac {
    /// A key of any length.
    pub(crate) fn new(hash: MechanismType, key: &[u8]) -> Option<Self> {
        let (hash, (k, length)) = (message_digest(hash)?, view(key));
        let mut hmac = Self(Flat::zeroed());
        let context = hmac.0.0.as_mut_ptr();
        // SAFETY: `init` makes the context valid; reads `length` bytes.
        unsafe {
            sys::HMAC_CTX_init(context);
            check(sys::HMAC_Init_ex(context, k.cast(), length, hash, ptr::null_mut()))?;
        }
        Some(hmac)
    }

    /// The MAC of the parts, one after the other, into the front of `out`; gives its length.
    pub(crate) fn compute(&self, parts: &[&[u8]], out: &mut [u8; 64]) -> Option<usize> {
        let mut context = MaybeUninit::<sys::HMAC_CTX>::zeroed();
        let (running, mut written) = (context.as_mut_ptr(), 0);
        // SAFETY: the copy of an initialised context is one; reads each part's length. No hash here writes more than
        // 64 bytes.
        let done = unsafe {
            let update = |part: &&[u8]| check(sys::HMAC_Update(running, part.as_ptr(), part.len()));
            check(sys::HMAC_CTX_copy(running, self.0.0.as_ptr()))
                .and_then(|()| parts.iter().try_for_each(update))
                .and_then(|()| check(sys::HMAC_Final(running, out.as_mut_ptr(), &raw mut written)))
        };
        cleanse(&mut context);
        done.map(|()| written as usize)
    }
}

/// PBKDF2 (RFC 8018, 5.2) with HMAC.
pub(crate) fn pbkdf2(hash: MechanismType, password: &[u8], salt: &[u8], iterations: u32, out: &mut [u8]) -> Option<()> {
    let (hash, (password, length), (salt, salt_length)) = (message_digest(hash)?, view(password), view(salt));
    let (out, wanted) = target(out);
    // SAFETY: reads `length` bytes of the password and `salt_length` of the salt, writes `wanted`, which overlap nothing; the hash
    // is a constant.
    check(unsafe {
        sys::PKCS5_PBKDF2_HMAC(
            password.cast(),
            length,
            salt,
            salt_length,
            iterations,
            hash,
            wanted,
            out,
        )
    })
}

/// A running digest.
pub(crate) struct Hasher(Owned<sys::EVP_MD_CTX>);

impl Hasher {
    pub(crate) fn new(hash: MechanismType) -> Option<Self> {
        let hash = message_digest(hash)?;
        // SAFETY: a new context, which is ours or null; the hash is a constant.
        unsafe {
            let context = Owned::take(sys::EVP_MD_CTX_new())?;
            check(sys::EVP_DigestInit_ex(context.get(), hash, ptr::null_mut()))?;
            Some(Self(context))
        }
    }

    pub(crate) fn update(&mut self, data: &[u8]) -> Option<()> {
        let (data, length) = view(data);
        // SAFETY: initialised, borrowed alone; reads `length` bytes.
        check(unsafe { sys::EVP_DigestUpdate(self.0.get(), data.cast(), length) })
    }

    /// The digest into the front of `out`; gives its length.
    pub(crate) fn finish(self, out: &mut [u8; 64]) -> Option<usize> {
        let mut written = 0;
        // SAFETY: initialised; no hash here writes more than 64 bytes.
        check(unsafe { sys::EVP_DigestFinal_ex(self.0.get(), out.as_mut_ptr(), &raw mut written) })?;
        Some(written as usize)
    }
}

/// The digest of data into the front of `out`; gives its length.
pub(crate) fn digest(hash: MechanismType, data: &[u8], out: &mut [u8; 64]) -> Option<usize> {
    let (hash, (data, length), mut written) = (message_digest(hash)?, view(data), 0);
    let (o, w) = (out.as_mut_ptr(), &raw mut written);
    // SAFETY: reads `length` bytes; no hash here writes more than 64.
    check(unsafe { sys::EVP_Digest(data.cast(), length, o, w, hash, ptr::null_mut()) })?;
    Some(written as usize)
}

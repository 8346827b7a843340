//! Keys of ML-DSA (FIPS 204) in the form that EVP has for them, and SHAKE256, of which ML-DSA makes its message
//! representative.

use super::{Owned, check, sys, target, view};
use crate::secret::Secret;
use hsmd_proto::parameter_set::ParameterSet;
use std::ffi::c_int;
use std::ptr;

/// A key of a parameter set, public or private.
pub(crate) struct Lattice {
    key: Owned<sys::EVP_PKEY>,
    set: ParameterSet,
}

/// The number by which aws-lc knows a set of ML-DSA.
const fn signing(set: ParameterSet) -> Option<c_int> {
    match set {
        ParameterSet::MlDsa44 => Some(sys::NID_MLDSA44),
        ParameterSet::MlDsa65 => Some(sys::NID_MLDSA65),
        ParameterSet::MlDsa87 => Some(sys::NID_MLDSA87),
        ParameterSet::MlKem512 | ParameterSet::MlKem768 | ParameterSet::MlKem1024 => None,
    }
}

impl Lattice {
    /// A private key from its seed or from its expanded form, which is told by the length. Of an expanded one the public half is
    /// computed; it must fit the hash of it that the private one holds.
    pub(crate) fn from_private(set: ParameterSet, bytes: &[u8]) -> Option<Self> {
        let (number, (i, length)) = (signing(set)?, view(bytes));
        // SAFETY: reads `length` bytes, and none if that is neither length of the set; the result is ours or null.
        let key = unsafe { Owned::take(sys::EVP_PKEY_pqdsa_new_raw_private_key(number, i, length)) }?;
        Some(Self { key, set })
    }

    /// A public key.
    pub(crate) fn from_public(set: ParameterSet, bytes: &[u8]) -> Option<Self> {
        let (number, (i, length)) = (signing(set)?, view(bytes));
        // SAFETY: reads `length` bytes, and none if that is not the length of the set; the result is ours or null.
        let key = unsafe { Owned::take(sys::EVP_PKEY_pqdsa_new_raw_public_key(number, i, length)) }?;
        Some(Self { key, set })
    }

    pub(crate) const fn set(&self) -> ParameterSet {
        self.set
    }

    /// The public key, which a private one has as well.
    pub(crate) fn public(&self) -> Option<Vec<u8>> {
        let mut out = vec![0; self.set.public_bytes()];
        let (o, mut length) = target(&mut out);
        // SAFETY: writes at most `length` bytes, and tells how many.
        check(unsafe { sys::EVP_PKEY_get_raw_public_key(self.key.get(), o, &raw mut length) })?;
        (length == out.len()).then_some(out)
    }

    /// The expanded private key.
    pub(crate) fn private(&self) -> Option<Secret> {
        let mut out = Secret::zeroed(self.set.private_bytes());
        let (o, mut length) = target(out.expose_mut());
        // SAFETY: writes at most `length` bytes, and tells how many; a public key is refused.
        check(unsafe { sys::EVP_PKEY_get_raw_private_key(self.key.get(), o, &raw mut length) })?;
        (length == out.len()).then_some(out)
    }

    fn context(&self) -> Option<Owned<sys::EVP_PKEY_CTX>> {
        // SAFETY: a new context, which takes a reference of its own to the key; ours or null.
        unsafe { Owned::take(sys::EVP_PKEY_CTX_new(self.key.get(), ptr::null_mut())) }
    }

    /// A hedged signature of a message representative (FIPS 204, 6.2, from step 7 on).
    pub(crate) fn sign(&self, mu: &[u8; 64], out: &mut [u8]) -> Option<()> {
        let context = self.context()?;
        let ((i, read), (o, room)) = (view(mu), target(out));
        let mut length = room;
        // SAFETY: reads `read` bytes and writes at most `length`; a public key is refused.
        unsafe {
            check(sys::EVP_PKEY_sign_init(context.get()))?;
            check(sys::EVP_PKEY_sign(context.get(), o, &raw mut length, i, read))?;
        }
        (length == room).then_some(())
    }

    /// Whether it is a signature of the message representative.
    pub(crate) fn verify(&self, mu: &[u8; 64], signature: &[u8]) -> Option<()> {
        let context = self.context()?;
        let ((i, read), (s, length)) = (view(mu), view(signature));
        // SAFETY: reads `read` and `length` bytes.
        unsafe {
            check(sys::EVP_PKEY_verify_init(context.get()))?;
            check(sys::EVP_PKEY_verify(context.get(), s, length, i, read))
        }
    }
}

/// SHAKE256 (FIPS 202, 6.2) of the parts, one after the other.
pub(crate) fn shake256(parts: &[&[u8]]) -> Option<[u8; 64]> {
    let mut out = [0; 64];
    // SAFETY: a new context, which is ours or null; the function is a constant; reads each part's length, writes 64 bytes.
    unsafe {
        let context = Owned::take(sys::EVP_MD_CTX_new())?;
        check(sys::EVP_DigestInit_ex(
            context.get(),
            sys::EVP_shake256(),
            ptr::null_mut(),
        ))?;
        for part in parts {
            let (data, length) = view(part);
            check(sys::EVP_DigestUpdate(context.get(), data.cast(), length))?;
        }
        check(sys::EVP_DigestFinalXOF(context.get(), out.as_mut_ptr(), out.len()))?;
    }
    Some(out)
}

//! X25519 (RFC 7748). Ed25519 is used through aws-lc-rs.

use super::{check, sys};
use crate::secret::SecretArray;

/// The public value of a private one.
pub(crate) fn x25519_public(private: &[u8; 32]) -> [u8; 32] {
    let mut out = [0; 32];
    // SAFETY: writes and reads 32 bytes.
    unsafe { sys::X25519_public_from_private(out.as_mut_ptr(), private.as_ptr()) }
    out
}

/// The shared secret; `None` if it is all zeros: the other side's value has a small order (RFC 7748, 6.1).
pub(crate) fn x25519(private: &[u8; 32], public: &[u8; 32]) -> Option<SecretArray<32>> {
    let mut good = None;
    let out = SecretArray::filled(|target| {
        // SAFETY: writes 32 bytes and reads 32 of each input; 0 says that the result is all zeros.
        good = check(unsafe { sys::X25519(target.as_mut_ptr(), private.as_ptr(), public.as_ptr()) });
    });
    good.map(|()| out)
}

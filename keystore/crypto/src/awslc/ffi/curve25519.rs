//! X25519 (RFC 7748), and of Ed25519 what aws-lc-rs lacks: Ed25519ctx and Ed25519ph (RFC 8032, 5.1).

use super::{ScrubbedStack, check, sys, view};
use crate::secret::{Secret, SecretArray};

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

/// A signature under a context of at most 255 bytes, of the message's SHA-512 (`prehash`: Ed25519ph) or of the message itself
/// (Ed25519ctx). The key is the seed with the public key after it.
pub(crate) fn ed25519_sign(prehash: bool, key: &Secret, context: &[u8], message: &[u8]) -> Option<[u8; 64]> {
    if key.len() != 64 {
        return None;
    }
    let _scrubbed = ScrubbedStack;
    let (mut out, (m, message), (c, context)) = ([0; 64], view(message), view(context));
    let (to, key) = (out.as_mut_ptr(), key.expose().as_ptr());
    // SAFETY: writes 64 bytes; reads 64 of the key and as many as each length says.
    check(unsafe {
        if prehash {
            sys::ED25519ph_sign(to, m, message, key, c, context)
        } else {
            sys::ED25519ctx_sign(to, m, message, key, c, context)
        }
    })?;
    Some(out)
}

/// Whether it is such a signature.
pub(crate) fn ed25519_verify(
    prehash: bool,
    public: &[u8; 32],
    context: &[u8],
    message: &[u8],
    signature: &[u8; 64],
) -> Option<()> {
    let ((m, message), (c, context)) = (view(message), view(context));
    let (signature, public) = (signature.as_ptr(), public.as_ptr());
    // SAFETY: reads 64 bytes of the signature, 32 of the key and as many as each length says.
    check(unsafe {
        if prehash {
            sys::ED25519ph_verify(m, message, signature, public, c, context)
        } else {
            sys::ED25519ctx_verify(m, message, signature, public, c, context)
        }
    })
}

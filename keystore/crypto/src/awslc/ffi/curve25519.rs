//! X25519 (RFC 7748) and Ed25519 (RFC 8032, 5.1); of the latter Ed25519ctx and Ed25519ph, which aws-lc-rs lacks, through aws-lc-sys.

use super::{ScrubbedStack, check, sys, view};
use crate::engine::EdInstance;
use crate::secret::{Secret, SecretArray};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, ParsedPublicKey};

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

/// A private key of Ed25519.
pub(crate) struct EdPrivate {
    pair: Ed25519KeyPair,
    public: EdPublic,
    /// The seed with the public key after it, as the instances with a context take it.
    whole: Secret,
}

impl EdPrivate {
    /// A key from its seed (RFC 8032, 5.1.5), of 32 bytes.
    pub(crate) fn from_seed(seed: &Secret) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).ok()?;
        let public = EdPublic::from_point(pair.public_key().as_ref().try_into().ok()?)?;
        let mut whole = Secret::zeroed(64);
        let (left, right) = whole.expose_mut().split_at_mut(32);
        left.copy_from_slice(seed.expose());
        right.copy_from_slice(pair.public_key().as_ref());
        Some(Self { pair, public, whole })
    }

    pub(crate) const fn public(&self) -> &EdPublic {
        &self.public
    }

    /// A signature by Ed25519 (`None`), or by an instance with a context.
    pub(crate) fn sign(&self, instance: Option<EdInstance<'_>>, message: &[u8]) -> Option<[u8; 64]> {
        // The hash over the message is on the stack there.
        let _scrubbed = ScrubbedStack;
        let Some(EdInstance { prehash, context }) = instance else {
            return self.pair.try_sign(message).ok()?.as_ref().try_into().ok();
        };
        let (mut out, (m, message), (c, context)) = ([0; 64], view(message), view(context));
        let (to, key) = (out.as_mut_ptr(), self.whole.expose().as_ptr());
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
}

/// A public key of Ed25519.
pub(crate) struct EdPublic {
    key: ParsedPublicKey,
    point: [u8; 32],
}

impl EdPublic {
    pub(crate) fn from_point(point: &[u8; 32]) -> Option<Self> {
        let key = ParsedPublicKey::new(&ED25519, point).ok()?;
        Some(Self { key, point: *point })
    }

    pub(crate) const fn point(&self) -> &[u8; 32] {
        &self.point
    }

    /// Whether it is such a signature.
    pub(crate) fn verify(&self, instance: Option<EdInstance<'_>>, message: &[u8], signature: &[u8; 64]) -> Option<()> {
        let Some(EdInstance { prehash, context }) = instance else {
            return self.key.verify_sig(message, signature).ok();
        };
        let ((m, message), (c, context)) = (view(message), view(context));
        let (signature, public) = (signature.as_ptr(), self.point.as_ptr());
        // SAFETY: reads 64 bytes of the signature, 32 of the key and as many as each length says.
        check(unsafe {
            if prehash {
                sys::ED25519ph_verify(m, message, signature, public, c, context)
            } else {
                sys::ED25519ctx_verify(m, message, signature, public, c, context)
            }
        })
    }
}

//! Keys on Weierstrass curves: points, ECDSA, ECDH.

use super::{Owned, ScrubbedStack, check, number, sys, target, view};
use crate::secret::Secret;
use hsmd_proto::meta::Curve;
use std::ffi::c_int;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

/// A key on a Weierstrass curve, public or private.
pub(crate) struct Ec {
    key: Owned<sys::EC_KEY>,
    curve: Curve,
    /// The public point, uncompressed: aws-lc keeps it in a form from which each reading costs an inversion.
    point: OnceLock<Option<Box<[u8]>>>,
}

impl Ec {
    fn empty(curve: Curve) -> Option<Self> {
        let name = match curve {
            Curve::P224 => sys::NID_secp224r1,
            Curve::P256 => sys::NID_X9_62_prime256v1,
            Curve::P384 => sys::NID_secp384r1,
            Curve::P521 => sys::NID_secp521r1,
            Curve::Secp256k1 => sys::NID_secp256k1,
            Curve::Ed25519 | Curve::X25519 => return None,
        };
        // SAFETY: the result is ours or null.
        let key = unsafe { Owned::take(sys::EC_KEY_new_by_curve_name(name)) }?;
        let point = OnceLock::new();
        Some(Self { key, curve, point })
    }

    fn group(&self) -> *const sys::EC_GROUP {
        // SAFETY: every constructor sets a group; it lives as long as the key.
        unsafe { sys::EC_KEY_get0_group(self.key.get()) }
    }

    /// Reads a point: uncompressed or compressed, on the curve, not infinity.
    fn read_point(&self, octets: &[u8]) -> Option<Owned<sys::EC_POINT>> {
        if !matches!(octets.first(), Some(2..=4)) {
            return None;
        }
        let (group, (i, length)) = (self.group(), view(octets));
        // SAFETY: a new point of this group; reads `length` bytes and checks that the point is on the curve.
        unsafe {
            let point = Owned::take(sys::EC_POINT_new(group))?;
            check(sys::EC_POINT_oct2point(group, point.get(), i, length, ptr::null_mut()))?;
            (sys::EC_POINT_is_at_infinity(group, point.get()) == 0).then_some(point)
        }
    }

    /// A public key from its point.
    pub(crate) fn from_point(curve: Curve, octets: &[u8]) -> Option<Self> {
        let key = Self::empty(curve)?;
        let point = key.read_point(octets)?;
        // SAFETY: both live; the point is copied.
        check(unsafe { sys::EC_KEY_set_public_key(key.key.get(), point.get()) })?;
        Some(key)
    }

    /// A private key from its scalar, 1 to the group's order - 1; the public half is computed.
    pub(crate) fn from_scalar(curve: Curve, scalar: &[u8]) -> Option<Self> {
        let _scrubbed = ScrubbedStack;
        let (key, scalar) = (Self::empty(curve)?, number(scalar)?);
        let (group, none, context) = (key.group(), ptr::null(), ptr::null_mut());
        // SAFETY: all live; `mul` with a null `q` computes scalar * generator in constant time.
        unsafe {
            check(sys::EC_KEY_set_private_key(key.key.get(), scalar.get()))?;
            let point = Owned::take(sys::EC_POINT_new(group))?;
            check(sys::EC_POINT_mul(
                group,
                point.get(),
                scalar.get(),
                none,
                ptr::null(),
                context,
            ))?;
            check(sys::EC_KEY_set_public_key(key.key.get(), point.get()))?;
            check(sys::EC_KEY_check_key(key.key.get()))?;
        }
        Some(key)
    }

    /// A new private key. Its public point is on the curve and, computed once more, the same (SP 800-56A r3, 5.6.2.1.4 b).
    pub(crate) fn generate(curve: Curve) -> Option<Self> {
        let _scrubbed = ScrubbedStack;
        let key = Self::empty(curve)?;
        // SAFETY: the key has a group and is ours alone.
        unsafe {
            check(sys::EC_KEY_generate_key(key.key.get()))?;
            check(sys::EC_KEY_check_key(key.key.get()))?;
        }
        Some(key)
    }

    pub(crate) const fn curve(&self) -> Curve {
        self.curve
    }

    /// The public point, uncompressed.
    pub(crate) fn point(&self) -> Option<&[u8]> {
        self.point.get_or_init(|| self.write_point()).as_deref()
    }

    fn write_point(&self) -> Option<Box<[u8]>> {
        let mut out = vec![0; 1 + 2 * self.curve.field_bytes()];
        let form = sys::point_conversion_form_t::POINT_CONVERSION_UNCOMPRESSED;
        let (group, (o, room)) = (self.group(), target(&mut out));
        // SAFETY: writes at most `room` bytes; the point lives as long as the key.
        let written = unsafe {
            let point = sys::EC_KEY_get0_public_key(self.key.get());
            sys::EC_POINT_point2oct(group, point, form, o, room, ptr::null_mut())
        };
        (written == room).then(|| out.into_boxed_slice())
    }

    /// The private scalar, as long as a field element.
    pub(crate) fn scalar(&self) -> Option<Secret> {
        let mut out = Secret::zeroed(self.curve.field_bytes());
        let (o, room) = target(out.expose_mut());
        // SAFETY: the number lives as long as the key; writes exactly `room` bytes.
        unsafe {
            let scalar = NonNull::new(sys::EC_KEY_get0_private_key(self.key.get()).cast_mut())?;
            check(sys::BN_bn2bin_padded(o, room, scalar.as_ptr()))?;
        }
        Some(out)
    }

    /// ECDSA over a digest of any length (left-truncated: FIPS 186-5, 6.4.1); `out` is r || s.
    pub(crate) fn sign(&self, digest: &[u8], out: &mut [u8]) -> Option<()> {
        let _scrubbed = ScrubbedStack;
        let half = self.curve.field_bytes();
        let (left, right) = out
            .split_at_mut_checked(half)
            .filter(|(_, right)| right.len() == half)?;
        let ((i, length), mut r, mut s) = (view(digest), ptr::null(), ptr::null());
        // SAFETY: reads `length` bytes; r and s live as long as the signature; both halves have `half` bytes.
        unsafe {
            let signature = Owned::take(sys::ECDSA_do_sign(i, length, self.key.get()))?;
            sys::ECDSA_SIG_get0(signature.get(), &raw mut r, &raw mut s);
            check(sys::BN_bn2bin_padded(left.as_mut_ptr(), half, r))?;
            check(sys::BN_bn2bin_padded(right.as_mut_ptr(), half, s))
        }
    }

    /// Whether r || s is a signature of the digest.
    pub(crate) fn verify(&self, digest: &[u8], signature: &[u8]) -> Option<()> {
        let (r, s) = signature.split_at_checked(self.curve.field_bytes())?;
        let (r, s, (i, length)) = (number(r)?, number(s)?, view(digest));
        // SAFETY: `set0` takes both numbers over when it succeeds; reads `length` bytes; everything is live.
        unsafe {
            let parsed = Owned::take(sys::ECDSA_SIG_new())?;
            check(sys::ECDSA_SIG_set0(parsed.get(), r.get(), s.get()))?;
            std::mem::forget((r, s));
            check(sys::ECDSA_do_verify(i, length, parsed.get(), self.key.get()))
        }
    }

    /// ECDH with a checked point; the result is the shared point's x coordinate.
    pub(crate) fn agree(&self, octets: &[u8]) -> Option<Secret> {
        let _scrubbed = ScrubbedStack;
        let point = self.read_point(octets)?;
        let mut out = Secret::zeroed(self.curve.field_bytes());
        let (o, room) = target(out.expose_mut());
        // SAFETY: writes at most `room` bytes; all live; no derivation function.
        let written = unsafe { sys::ECDH_compute_key(o.cast(), room, point.get(), self.key.get(), None) };
        check(c_int::from(usize::try_from(written) == Ok(room)))?;
        Some(out)
    }
}

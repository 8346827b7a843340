//! Keys on Weierstrass curves: points, ECDSA, ECDH. The same code over five curves.

use super::{ScrubbedStack, draw};
use crate::secret::Secret;
use ecdsa::elliptic_curve::array::ArraySize;
use ecdsa::elliptic_curve::group::Curve as _;
use ecdsa::elliptic_curve::point::AffineCoordinates;
use ecdsa::elliptic_curve::sec1::{FromSec1Point, ModulusSize, ToSec1Point};
use ecdsa::elliptic_curve::{AffinePoint, CurveArithmetic, FieldBytes, FieldBytesSize, PublicKey, SecretKey};
use ecdsa::hazmat::{sign_prehashed_rfc6979, verify_prehashed};
use ecdsa::{EcdsaCurve, Signature, SignatureSize};
use hsmd_proto::meta::Curve;
use k256::Secp256k1;
use p224::NistP224;
use p256::NistP256;
use p384::NistP384;
use p521::NistP521;
use sha2::Sha512;
use zeroize::{Zeroize, Zeroizing};

/// A key on a Weierstrass curve, public or private.
pub(crate) struct Ec {
    key: Box<dyn Operations>,
    curve: Curve,
    /// The public point, uncompressed.
    point: Box<[u8]>,
}

/// What a key of any curve does, with digests that are cut.
trait Operations: Send + Sync {
    fn scalar(&self) -> Option<Secret>;
    fn sign(&self, digest: &[u8], out: &mut [u8]) -> Option<()>;
    fn verify(&self, digest: &[u8], signature: &[u8]) -> Option<()>;
    fn agree(&self, octets: &[u8]) -> Option<Secret>;
}

/// The curve's type in place of its name.
macro_rules! on {
    ($curve:expr, $function:ident($($argument:expr),*)) => {
        match $curve {
            Curve::P224 => $function::<NistP224>($($argument),*),
            Curve::P256 => $function::<NistP256>($($argument),*),
            Curve::P384 => $function::<NistP384>($($argument),*),
            Curve::P521 => $function::<NistP521>($($argument),*),
            Curve::Secp256k1 => $function::<Secp256k1>($($argument),*),
            Curve::Ed25519 | Curve::X25519 => None,
        }
    };
}

impl Ec {
    /// A public key from its point: uncompressed or compressed, on the curve, not infinity.
    pub(crate) fn from_point(curve: Curve, octets: &[u8]) -> Option<Self> {
        on!(curve, public(curve, octets))
    }

    /// A private key from its scalar, 1 to the group's order - 1; the public half is computed.
    pub(crate) fn from_scalar(curve: Curve, scalar: &[u8]) -> Option<Self> {
        let _scrubbed = ScrubbedStack;
        on!(curve, private(curve, scalar))
    }

    /// A new private key, by rejection (FIPS 186-5, A.2.2). Its public point is on the curve and, computed once more, the same
    /// (SP 800-56A r3, 5.6.2.1.4 b).
    pub(crate) fn generate(curve: Curve) -> Option<Self> {
        let _scrubbed = ScrubbedStack;
        if matches!(curve, Curve::Ed25519 | Curve::X25519) {
            return None;
        }
        let mut scalar = Secret::zeroed(curve.field_bytes());
        // P-521's field has seven bits to spare, so that most candidates would be refused.
        let spare = scalar.len() as u64 * 8 - curve.bits();
        loop {
            let bytes = scalar.expose_mut();
            draw(bytes);
            *bytes.first_mut()? >>= spare;
            let Some(key) = Self::from_scalar(curve, scalar.expose()) else {
                continue;
            };
            let again = Self::from_scalar(curve, scalar.expose())?;
            return (again.point == key.point).then_some(key);
        }
    }

    pub(crate) const fn curve(&self) -> Curve {
        self.curve
    }

    /// The public point, uncompressed.
    #[expect(clippy::unnecessary_wraps, reason = "the other engine may fail")]
    pub(crate) fn point(&self) -> Option<&[u8]> {
        Some(&self.point)
    }

    /// The private scalar, as long as a field element.
    pub(crate) fn scalar(&self) -> Option<Secret> {
        self.key.scalar()
    }

    /// ECDSA over a digest of any length (left-truncated: FIPS 186-5, 6.4.1); `out` is r || s.
    pub(crate) fn sign(&self, digest: &[u8], out: &mut [u8]) -> Option<()> {
        let _scrubbed = ScrubbedStack;
        self.key.sign(&leftmost(self.curve, digest), out)
    }

    /// Whether r || s is a signature of the digest.
    pub(crate) fn verify(&self, digest: &[u8], signature: &[u8]) -> Option<()> {
        self.key.verify(&leftmost(self.curve, digest), signature)
    }

    /// ECDH with a checked point; the result is the shared point's x coordinate.
    pub(crate) fn agree(&self, octets: &[u8]) -> Option<Secret> {
        let _scrubbed = ScrubbedStack;
        self.key.agree(octets)
    }
}

/// A key of one curve.
struct Half<C: CurveArithmetic> {
    public: PublicKey<C>,
    private: Option<Box<SecretKey<C>>>,
}

fn public<C>(curve: Curve, octets: &[u8]) -> Option<Ec>
where
    C: EcdsaCurve + CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
    SignatureSize<C>: ArraySize,
{
    let private = None;
    Some(whole(
        curve,
        Half::<C> {
            public: point(octets)?,
            private,
        },
    ))
}

fn private<C>(curve: Curve, scalar: &[u8]) -> Option<Ec>
where
    C: EcdsaCurve + CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
    SignatureSize<C>: ArraySize,
{
    let mut bytes = Zeroizing::new(FieldBytes::<C>::default());
    let start = bytes.len().checked_sub(scalar.len())?;
    bytes[start..].copy_from_slice(scalar);
    let private = Box::new(SecretKey::<C>::from_bytes(&bytes).ok()?);
    let public = private.public_key();
    Some(whole(
        curve,
        Half {
            public,
            private: Some(private),
        },
    ))
}

fn whole<C>(curve: Curve, half: Half<C>) -> Ec
where
    C: EcdsaCurve + CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
    SignatureSize<C>: ArraySize,
{
    let point = half.public.to_sec1_point(false).as_bytes().into();
    let key = Box::new(half);
    Ec { key, curve, point }
}

/// The leftmost bits of a digest, as many as the group's order has (FIPS 186-5, 6.4.1). The crate takes the rightmost of them, which
/// differ for P-521, and panics without a byte.
fn leftmost(curve: Curve, digest: &[u8]) -> Vec<u8> {
    let bytes = curve.field_bytes();
    let mut number = digest[..digest.len().min(bytes)].to_vec();
    let spare = bytes as u64 * 8 - curve.bits();
    if number.len() == bytes && spare > 0 {
        let mut above = 0;
        for byte in &mut number {
            (above, *byte) = (*byte << (8 - spare), *byte >> spare | above);
        }
    }
    if number.is_empty() {
        number.push(0);
    }
    number
}

/// Reads a point.
fn point<C>(octets: &[u8]) -> Option<PublicKey<C>>
where
    C: CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
{
    if !matches!(octets.first(), Some(2..=4)) {
        return None;
    }
    PublicKey::from_sec1_bytes(octets).ok()
}

impl<C> Operations for Half<C>
where
    C: EcdsaCurve + CurveArithmetic,
    AffinePoint<C>: FromSec1Point<C> + ToSec1Point<C>,
    FieldBytesSize<C>: ModulusSize,
    SignatureSize<C>: ArraySize,
{
    fn scalar(&self) -> Option<Secret> {
        let mut bytes = self.private.as_ref()?.to_bytes();
        let scalar = Secret::from_slice(&bytes);
        bytes.zeroize();
        Some(scalar)
    }

    fn sign(&self, digest: &[u8], out: &mut [u8]) -> Option<()> {
        // The nonce is a hash of key and digest (RFC 6979, 3.6) and of fresh bytes: neither a weak generator nor a fault shows the key.
        let mut fresh = Zeroizing::new([0; 32]);
        draw(&mut *fresh);
        let scalar = Zeroizing::new(self.private.as_ref()?.to_nonzero_scalar());
        let (signature, _) = sign_prehashed_rfc6979::<C, Sha512>(&scalar, digest, &*fresh);
        let bytes = signature.to_bytes();
        (bytes.len() == out.len()).then(|| out.copy_from_slice(&bytes))
    }

    fn verify(&self, digest: &[u8], signature: &[u8]) -> Option<()> {
        let signature = Signature::<C>::from_slice(signature).ok()?;
        // For secp256k1 the crate takes the lower of the two possible values of s alone, which is Bitcoin's rule and not PKCS#11's.
        let signature = if C::NORMALIZE_S {
            signature.normalize_s()
        } else {
            signature
        };
        verify_prehashed(&self.public.to_projective(), digest, &signature).ok()
    }

    fn agree(&self, octets: &[u8]) -> Option<Secret> {
        let other = point::<C>(octets)?;
        let scalar = Zeroizing::new(self.private.as_ref()?.to_nonzero_scalar());
        let mut shared = Zeroizing::new((other.to_projective() * **scalar).to_affine().x());
        let secret = Secret::from_slice(&shared);
        shared.zeroize();
        Some(secret)
    }
}

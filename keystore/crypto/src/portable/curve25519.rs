//! X25519 (RFC 7748) and Ed25519 with its instances (RFC 8032, 5.1). Of the latter the curve and the scalars are the crate's, the
//! scheme around them is here: no released crate has Ed25519ctx.

use super::ScrubbedStack;
use crate::engine::EdInstance;
use crate::secret::{Secret, SecretArray};
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::{EdwardsPoint, MontgomeryPoint, Scalar};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

/// The public value of a private one.
pub(crate) fn x25519_public(private: &[u8; 32]) -> [u8; 32] {
    let _scrubbed = ScrubbedStack;
    MontgomeryPoint::mul_base_clamped(*private).to_bytes()
}

/// The shared secret; `None` if it is all zeros: the other side's value has a small order (RFC 7748, 6.1).
pub(crate) fn x25519(private: &[u8; 32], public: &[u8; 32]) -> Option<SecretArray<32>> {
    let _scrubbed = ScrubbedStack;
    let shared = SecretArray::new(MontgomeryPoint(*public).mul_clamped(*private).to_bytes());
    (shared != SecretArray::new([0; 32])).then_some(shared)
}

/// A private key of Ed25519.
pub(crate) struct EdPrivate {
    /// The clamped scalar, modulo the group's order.
    scalar: Box<Zeroizing<Scalar>>,
    /// The right half of the seed's hash.
    prefix: SecretArray<32>,
    public: EdPublic,
}

impl EdPrivate {
    /// A key from its seed (RFC 8032, 5.1.5), of 32 bytes.
    pub(crate) fn from_seed(seed: &Secret) -> Option<Self> {
        let _scrubbed = ScrubbedStack;
        if seed.len() != 32 {
            return None;
        }
        let hash: Zeroizing<[u8; 64]> = Zeroizing::new(Sha512::digest(seed.expose()).into());
        let (left, prefix) = (hash.first_chunk::<32>()?, SecretArray::from_slice(&hash[32..])?);
        let clamped = Zeroizing::new(curve25519_dalek::scalar::clamp_integer(*left));
        let scalar = Box::new(Zeroizing::new(Scalar::from_bytes_mod_order(*clamped)));
        let public = EdPublic::from_point(&EdwardsPoint::mul_base(&scalar).compress().to_bytes())?;
        Some(Self { scalar, prefix, public })
    }

    pub(crate) const fn public(&self) -> &EdPublic {
        &self.public
    }

    /// A signature by Ed25519 (`None`), or by an instance with a context (5.1.6).
    pub(crate) fn sign(&self, instance: Option<EdInstance<'_>>, message: &[u8]) -> Option<[u8; 64]> {
        let _scrubbed = ScrubbedStack;
        let message = Message::new(instance, message)?;
        let nonce = Zeroizing::new(message.hash(&[self.prefix.expose()]));
        let commitment = EdwardsPoint::mul_base(&nonce).compress().to_bytes();
        let challenge = message.hash(&[&commitment, self.public.point()]);
        let response = Zeroizing::new(challenge * **self.scalar + *nonce);
        let mut out = [0; 64];
        out[..32].copy_from_slice(&commitment);
        out[32..].copy_from_slice(response.as_bytes());
        Some(out)
    }
}

/// A public key of Ed25519.
pub(crate) struct EdPublic {
    point: [u8; 32],
    /// `None`: the bytes are no point, and nothing verifies. As with aws-lc such a key may be stored.
    negated: Option<EdwardsPoint>,
}

impl EdPublic {
    pub(crate) fn from_point(point: &[u8; 32]) -> Option<Self> {
        let parsed = CompressedEdwardsY(*point).decompress();
        // 5.1.3: there is one encoding of each point.
        let parsed = parsed.filter(|parsed| parsed.compress().as_bytes() == point);
        let negated = parsed.map(|parsed| -parsed);
        Some(Self { point: *point, negated })
    }

    pub(crate) const fn point(&self) -> &[u8; 32] {
        &self.point
    }

    /// Whether it is such a signature (5.1.7, without the cofactor).
    pub(crate) fn verify(&self, instance: Option<EdInstance<'_>>, message: &[u8], signature: &[u8; 64]) -> Option<()> {
        let (commitment, response) = (signature.first_chunk::<32>()?, signature.last_chunk::<32>()?);
        let response = Scalar::from_canonical_bytes(*response).into_option()?;
        let challenge = Message::new(instance, message)?.hash(&[commitment, &self.point]);
        let point = EdwardsPoint::vartime_double_scalar_mul_basepoint(&challenge, &self.negated?, &response);
        (point.compress().as_bytes() == commitment).then_some(())
    }
}

/// What an instance hashes: its label with the context (5.1, dom2), and the message or its hash.
struct Message<'a> {
    label: Vec<u8>,
    text: &'a [u8],
    hashed: Option<[u8; 64]>,
}

impl<'a> Message<'a> {
    fn new(instance: Option<EdInstance<'_>>, text: &'a [u8]) -> Option<Self> {
        let (mut label, mut hashed) = (Vec::new(), None);
        if let Some(EdInstance { prehash, context }) = instance {
            let length = u8::try_from(context.len()).ok()?;
            label = [
                b"SigEd25519 no Ed25519 collisions",
                &[u8::from(prehash), length][..],
                context,
            ]
            .concat();
            hashed = prehash.then(|| Sha512::digest(text).into());
        }
        Some(Self { label, text, hashed })
    }

    /// The hash of the label, the parts and the message as a scalar.
    fn hash(&self, parts: &[&[u8; 32]]) -> Scalar {
        let mut hash = Sha512::new_with_prefix(&self.label);
        parts.iter().for_each(|part| hash.update(part));
        hash.update(self.hashed.as_ref().map_or(self.text, |hash| hash));
        let wide: Zeroizing<[u8; 64]> = Zeroizing::new(hash.finalize().into());
        Scalar::from_bytes_mod_order_wide(&wide)
    }
}

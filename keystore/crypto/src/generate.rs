//! Key generation. Keys are made in the daemon only (DESIGN 5, "Random").

use crate::awslc::ffi::{Ec, Rsa};
use crate::error::OpError;
use crate::key::rsa;
use crate::material::Material;
use crate::secret::Secret;
use hsmd_proto::ck::KeyType;
use hsmd_proto::meta::{Curve, modulus_bits};

/// What to generate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Generate {
    /// An RSA key pair.
    Rsa {
        /// The modulus' length: 1,024 to 4,096, a multiple of 128.
        bits: u32,
        /// The public exponent, big-endian: odd, 65,537 to 2^32 - 1.
        exponent: Vec<u8>,
    },
    /// A key pair on a Weierstrass curve.
    Ec(Curve),
    /// An Ed25519 key pair.
    Ed25519,
    /// An X25519 key pair.
    X25519,
    /// Random bytes.
    Secret {
        /// How many, at least 1.
        bytes: usize,
    },
}

/// Generates a key; of a pair it is the private half, whose public half is [`crate::Key::public`].
///
/// # Errors
/// `KeySize` for sizes that this build does not make, `Parameter` for a public exponent out of range, `Failed` if the
/// engine could not, or if the new pair did not verify its own signature.
pub fn generate(what: &Generate) -> Result<Material, OpError> {
    match what {
        Generate::Rsa { bits, exponent } => generate_rsa(*bits, exponent),
        Generate::Ec(curve) => generate_ec(*curve),
        Generate::Ed25519 => Ok(Material::EdPrivate {
            seed: Secret::random(32),
        }),
        Generate::X25519 => Ok(Material::MontgomeryPrivate {
            scalar: Secret::random(32),
        }),
        Generate::Secret { bytes: 0 } => Err(OpError::KeySize),
        Generate::Secret { bytes } => Ok(Material::Secret(Secret::random(*bytes))),
    }
}

fn generate_rsa(bits: u32, exponent: &[u8]) -> Result<Material, OpError> {
    if !(1024..=4096).contains(&bits) || !bits.is_multiple_of(128) {
        return Err(OpError::KeySize);
    }
    let odd = exponent.last().is_some_and(|byte| byte % 2 == 1);
    if !odd || !(17..=32).contains(&modulus_bits(exponent)) {
        return Err(OpError::Parameter);
    }
    let key = Rsa::generate(bits, exponent).ok_or(OpError::Failed)?;
    if !rsa::is_pair(&key) {
        return Err(OpError::Failed);
    }
    rsa::private_material(&key).ok_or(OpError::Failed)
}

fn generate_ec(curve: Curve) -> Result<Material, OpError> {
    if curve.key_type() != KeyType::EC {
        return Err(OpError::Parameter);
    }
    let key = Ec::generate(curve).ok_or(OpError::Failed)?;
    let mut signature = [0; 2 * 66];
    let signature = &mut signature[..2 * curve.field_bytes()];
    key.sign(PAIRWISE, signature)
        .and_then(|()| key.verify(PAIRWISE, signature))
        .and_then(|()| key.scalar())
        .map(|scalar| Material::EcPrivate { curve, scalar })
        .ok_or(OpError::Failed)
}

/// What a new pair signs and verifies before it is handed out (FIPS 140-3 IG 10.3.A).
const PAIRWISE: &[u8] = b"hsmd pairwise consistency check";

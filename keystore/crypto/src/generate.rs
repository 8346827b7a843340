//! Key generation. Keys are made in the daemon only (DESIGN 5, "Random").

use crate::engine::{Ec, Rsa};
use crate::error::OpError;
use crate::key::{Key, des3, dh, ml_dsa, ml_kem, rsa, slh_dsa};
use crate::material::{Input, Material};
use crate::secret::Secret;
use hsmd_proto::ck::{KeyType, MechanismType};
use hsmd_proto::dh::DhGroup;
use hsmd_proto::meta::{Curve, modulus_bits};
use hsmd_proto::parameter_set::ParameterSet;
use hsmd_proto::params::Mechanism;

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
    /// A key pair of finite-field Diffie-Hellman.
    Dh {
        /// The group.
        group: DhGroup,
        /// The private value's length: one of [`DhGroup::exponent_range`].
        bits: usize,
    },
    /// A key pair of ML-DSA, ML-KEM or SLH-DSA.
    Pq(ParameterSet),
    /// A key of Triple DES, with odd parity.
    Des3,
    /// Random bytes.
    Secret {
        /// How many, at least 1.
        bytes: usize,
    },
}

/// How a new key pair on a Weierstrass curve is checked before it is handed out. RSA pairs always sign and verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairCheck {
    /// The public point is computed a second time and compared (SP 800-56A r3, 5.6.2.1.4 b).
    Recompute,
    /// Also a signature is made and verified (FIPS 140-3 IG 10.3.A): four times the cost of making the pair.
    /// For a KEM a secret is encapsulated and opened.
    Sign,
}

/// Generates a key; of a pair it is the private half, whose public half is [`crate::Key::public`].
///
/// # Errors
/// As [`generate_open`], with [`PairCheck::Sign`].
pub fn generate(what: &Generate) -> Result<Material, OpError> {
    make(what, PairCheck::Sign).map(|(material, _)| material)
}

/// As [`generate`]; also the key ready to use, which costs less than to open the material.
///
/// # Errors
/// `KeySize` for sizes that this build does not make, `Parameter` for a public exponent out of range, `Failed` if the
/// engine could not, or if the new pair did not pass its check.
pub fn generate_open(what: &Generate, check: PairCheck) -> Result<(Material, Key), OpError> {
    let (material, key) = make(what, check)?;
    let key = match key {
        Some(key) => key,
        None => Key::open(&material).map_err(|_| OpError::Failed)?,
    };
    Ok((material, key))
}

fn make(what: &Generate, check: PairCheck) -> Result<(Material, Option<Key>), OpError> {
    let material = match what {
        Generate::Rsa { bits, exponent } => generate_rsa(*bits, exponent)?,
        Generate::Ec(curve) => {
            let key = generate_ec(*curve, check)?;
            let scalar = key.scalar().ok_or(OpError::Failed)?;
            return Ok((Material::EcPrivate { curve: *curve, scalar }, Some(Key::of_curve(key))));
        }
        Generate::Ed25519 => Material::EdPrivate {
            seed: Secret::random(32),
        },
        Generate::X25519 => Material::MontgomeryPrivate {
            scalar: Secret::random(32),
        },
        Generate::Dh { group, bits } => Material::DhPrivate {
            group: *group,
            value: dh::generate(*group, *bits).ok_or(OpError::KeySize)?,
        },
        Generate::Pq(set) => return generate_pq(*set, check).map(|(material, key)| (material, Some(key))),
        Generate::Des3 => Material::Secret(des3::generate()),
        Generate::Secret { bytes: 0 } => return Err(OpError::KeySize),
        Generate::Secret { bytes } => Material::Secret(Secret::random(*bytes)),
    };
    Ok((material, None))
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

fn generate_ec(curve: Curve, check: PairCheck) -> Result<Ec, OpError> {
    if curve.key_type() != KeyType::EC {
        return Err(OpError::Parameter);
    }
    let key = Ec::generate(curve).ok_or(OpError::Failed)?;
    if check == PairCheck::Sign {
        let mut signature = [0; 2 * 66];
        let signature = &mut signature[..2 * curve.field_bytes()];
        key.sign(PAIRWISE, signature)
            .and_then(|()| key.verify(PAIRWISE, signature))
            .ok_or(OpError::Failed)?;
    }
    Ok(key)
}

/// A pair from a new seed (FIPS 204, 5.1; FIPS 203, 7.1). With [`PairCheck::Recompute`] nothing is left to compare: the public half is made
/// with the private one, out of the seed alone.
fn generate_pq(set: ParameterSet, check: PairCheck) -> Result<(Material, Key), OpError> {
    let seed = Secret::random(set.seed_bytes());
    if set.key_type() == KeyType::SLH_DSA {
        // Signatures are verified when they are made, so there is no pair that signs for nobody.
        let key = slh_dsa::from_seeds(set, &seed).map_err(|_| OpError::Failed)?;
        let (seed, value) = (None, key.bytes());
        return Ok((Material::PqPrivate { set, seed, value }, Key::of_slh_dsa(key)));
    }
    if set.key_type() == KeyType::ML_KEM {
        let key = ml_kem::from_seed(set, &seed).map_err(|_| OpError::Failed)?;
        let value = key.private().ok_or(OpError::Failed)?;
        let key = Key::of_ml_kem(key);
        if check == PairCheck::Sign {
            let (ciphertext, secret) = key.encapsulate()?;
            if key.decapsulate(&ciphertext)? != secret {
                return Err(OpError::Failed);
            }
        }
        let seed = Some(seed);
        return Ok((Material::PqPrivate { set, seed, value }, key));
    }
    let key = ml_dsa::from_seed(set, &seed).map_err(|_| OpError::Failed)?;
    let value = key.private().ok_or(OpError::Failed)?;
    let key = Key::of_ml_dsa(key);
    if check == PairCheck::Sign {
        let (mechanism, mut signature) = (Mechanism::plain(MechanismType::ML_DSA), Vec::new());
        key.sign(&mechanism, Input::Message(PAIRWISE), &mut signature)
            .and_then(|()| key.verify(&mechanism, Input::Message(PAIRWISE), &signature))
            .map_err(|_| OpError::Failed)?;
    }
    let seed = Some(seed);
    Ok((Material::PqPrivate { set, seed, value }, key))
}

/// What a new pair signs and verifies before it is handed out (FIPS 140-3 IG 10.3.A).
const PAIRWISE: &[u8] = b"hsmd pairwise consistency check";

#[cfg(test)]
mod tests {
    use super::*;
    use hsmd_proto::params::Params;

    /// The key that comes with the material is the material's, and both halves fit.
    #[test]
    fn a_new_pair_comes_open_and_signs_for_its_public_half() {
        let mechanism = Mechanism {
            kind: MechanismType::ECDSA,
            params: Params::None,
        };
        for curve in [Curve::P224, Curve::P256, Curve::P384, Curve::P521, Curve::Secp256k1] {
            for check in [PairCheck::Recompute, PairCheck::Sign] {
                let (material, key) = generate_open(&Generate::Ec(curve), check).unwrap();
                let again = Key::open(&material).unwrap();
                assert_eq!(key.public_der(), again.public_der());
                let mut signature = Vec::new();
                key.sign(&mechanism, Input::Message(&[7; 32]), &mut signature).unwrap();
                let public = Key::open(&again.public().unwrap()).unwrap();
                assert_eq!(public.verify(&mechanism, Input::Message(&[7; 32]), &signature), Ok(()));
            }
        }
        let (secret, _) = generate_open(&Generate::Secret { bytes: 32 }, PairCheck::Recompute).unwrap();
        assert!(matches!(secret, Material::Secret(value) if value.len() == 32));
    }
}

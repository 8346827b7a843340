//! A key's value as data: what the keystore seals, and what [`crate::Key`] is opened from.

use crate::error::KeyError;
use crate::key::{ml_dsa, ml_kem};
use crate::secret::Secret;
use hsmd_proto::ck::KeyType;
use hsmd_proto::dh::DhGroup;
use hsmd_proto::meta::Curve;
use hsmd_proto::parameter_set::ParameterSet;

/// The value of a key. Numbers are unsigned and big-endian; leading zeros are allowed on the way in and never made here.
#[derive(Debug, PartialEq, Eq)]
pub enum Material {
    /// A secret key: AES, HMAC, generic.
    Secret(Secret),
    /// An RSA private key.
    RsaPrivate(RsaPrivate),
    /// An RSA public key.
    RsaPublic {
        /// The modulus.
        n: Vec<u8>,
        /// The public exponent.
        e: Vec<u8>,
    },
    /// A private key on a Weierstrass curve.
    EcPrivate {
        /// `P224`, `P256`, `P384`, `P521` or `Secp256k1`.
        curve: Curve,
        /// The scalar, as long as a field element.
        scalar: Secret,
    },
    /// A public key on a Weierstrass curve.
    EcPublic {
        /// As of the private key.
        curve: Curve,
        /// The point, uncompressed (SEC 1, 2.3.3).
        point: Vec<u8>,
    },
    /// An Ed25519 private key.
    EdPrivate {
        /// The 32-byte seed (RFC 8032, 5.1.5).
        seed: Secret,
    },
    /// An Ed25519 public key.
    EdPublic {
        /// The encoded point.
        point: [u8; 32],
    },
    /// An X25519 private key.
    MontgomeryPrivate {
        /// 32 bytes, as they were chosen: their use masks them (RFC 7748, 5).
        scalar: Secret,
    },
    /// An X25519 public key.
    MontgomeryPublic {
        /// The u coordinate, little-endian.
        point: [u8; 32],
    },
    /// A private key of finite-field Diffie-Hellman.
    DhPrivate {
        /// The group.
        group: DhGroup,
        /// The private value.
        value: Secret,
    },
    /// A public key of finite-field Diffie-Hellman.
    DhPublic {
        /// The group.
        group: DhGroup,
        /// The public value.
        value: Vec<u8>,
    },
    /// A private key of ML-DSA, ML-KEM or SLH-DSA.
    PqPrivate {
        /// The parameter set.
        set: ParameterSet,
        /// What the key was made of, if that is known; never of SLH-DSA.
        seed: Option<Secret>,
        /// The expanded key.
        value: Secret,
    },
    /// A public key of ML-DSA, ML-KEM or SLH-DSA.
    PqPublic {
        /// The parameter set.
        set: ParameterSet,
        /// The encoded key.
        value: Vec<u8>,
    },
    /// A public key of HSS, XMSS or XMSS^MT.
    StatefulPublic {
        /// `CKK_HSS`, `CKK_XMSS` or `CKK_XMSSMT`.
        key_type: KeyType,
        /// The key as PKCS#11 3.2 has it in `CKA_VALUE` (6.65.2, 6.66.2, 6.66.3).
        value: Vec<u8>,
    },
}

/// An RSA private key (RFC 8017, 3.2).
#[derive(Debug, PartialEq, Eq)]
pub struct RsaPrivate {
    /// The modulus.
    pub n: Vec<u8>,
    /// The public exponent.
    pub e: Vec<u8>,
    /// The private exponent.
    pub d: Secret,
    /// Primes and what follows from them; without them each operation is about four times slower.
    pub crt: Option<RsaCrt>,
}

/// The primes of an RSA key and the values of the Chinese remainder theorem.
#[derive(Debug, PartialEq, Eq)]
pub struct RsaCrt {
    /// `CKA_PRIME_1`.
    pub p: Secret,
    /// `CKA_PRIME_2`.
    pub q: Secret,
    /// `CKA_EXPONENT_1`: d mod (p - 1).
    pub dp: Secret,
    /// `CKA_EXPONENT_2`: d mod (q - 1).
    pub dq: Secret,
    /// `CKA_COEFFICIENT`: the inverse of q mod p.
    pub qi: Secret,
}

/// What is signed or verified.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The message; for mechanisms that do not hash, the data as it is.
    Message(&'a [u8]),
    /// The digest of the message, made by the module: hash-and-sign mechanisms only. Mechanisms that do not hash take
    /// it as their data.
    Digest(&'a [u8]),
}

impl Material {
    /// A second copy. Not `Clone`, so that copies of secrets are found by name.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        match self {
            Self::Secret(value) => Self::Secret(value.duplicate()),
            Self::RsaPrivate(key) => Self::RsaPrivate(key.duplicate()),
            Self::RsaPublic { n, e } => Self::RsaPublic {
                n: n.clone(),
                e: e.clone(),
            },
            Self::EcPrivate { curve, scalar } => Self::EcPrivate {
                curve: *curve,
                scalar: scalar.duplicate(),
            },
            Self::EcPublic { curve, point } => Self::EcPublic {
                curve: *curve,
                point: point.clone(),
            },
            Self::EdPrivate { seed } => Self::EdPrivate { seed: seed.duplicate() },
            Self::EdPublic { point } => Self::EdPublic { point: *point },
            Self::MontgomeryPrivate { scalar } => Self::MontgomeryPrivate {
                scalar: scalar.duplicate(),
            },
            Self::MontgomeryPublic { point } => Self::MontgomeryPublic { point: *point },
            Self::DhPrivate { group, value } => Self::DhPrivate {
                group: *group,
                value: value.duplicate(),
            },
            Self::DhPublic { group, value } => Self::DhPublic {
                group: *group,
                value: value.clone(),
            },
            Self::PqPrivate { set, seed, value } => Self::PqPrivate {
                set: *set,
                seed: seed.as_ref().map(Secret::duplicate),
                value: value.duplicate(),
            },
            Self::PqPublic { set, value } => Self::PqPublic {
                set: *set,
                value: value.clone(),
            },
            Self::StatefulPublic { key_type, value } => Self::StatefulPublic {
                key_type: *key_type,
                value: value.clone(),
            },
        }
    }

    /// A private key of ML-DSA or ML-KEM from its seed.
    ///
    /// # Errors
    /// `Invalid` for a seed of another length than the set's.
    pub fn from_seed(set: ParameterSet, seed: Secret) -> Result<Self, KeyError> {
        let value = match set.key_type() {
            KeyType::SLH_DSA => return Err(KeyError::Invalid),
            KeyType::ML_KEM => ml_kem::from_seed(set, &seed)?.private(),
            _ => ml_dsa::from_seed(set, &seed)?.private(),
        };
        let value = value.ok_or(KeyError::Invalid)?;
        let seed = Some(seed);
        Ok(Self::PqPrivate { set, seed, value })
    }

    /// Whether it is a public key: nothing in it is secret.
    #[must_use]
    pub const fn is_public(&self) -> bool {
        matches!(
            self,
            Self::RsaPublic { .. }
                | Self::EcPublic { .. }
                | Self::EdPublic { .. }
                | Self::MontgomeryPublic { .. }
                | Self::DhPublic { .. }
                | Self::PqPublic { .. }
                | Self::StatefulPublic { .. }
        )
    }
}

impl RsaPrivate {
    fn duplicate(&self) -> Self {
        Self {
            n: self.n.clone(),
            e: self.e.clone(),
            d: self.d.duplicate(),
            crt: self.crt.as_ref().map(|crt| RsaCrt {
                p: crt.p.duplicate(),
                q: crt.q.duplicate(),
                dp: crt.dp.duplicate(),
                dq: crt.dq.duplicate(),
                qi: crt.qi.duplicate(),
            }),
        }
    }
}

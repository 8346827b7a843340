//! A key, parsed once and ready to use, and the binding of each mechanism family to code.
//!
//! Results are appended to `out`, and only after whatever had to be verified was; when an operation fails, `out` is as it
//! was before.

pub(crate) mod cipher;
pub(crate) mod curve;
pub(crate) mod keywrap;
pub(crate) mod mac;
pub(crate) mod rsa;
pub(crate) mod symmetric;

use crate::awslc::Way;
use crate::awslc::ffi::{Ec, Rsa};
use crate::encoding;
use crate::error::{KeyError, OpError};
use crate::material::{Input, Material};
use crate::secret::Secret;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, ParsedPublicKey};
use hsmd_proto::mechanism::{self, Family, Row};
use hsmd_proto::meta::Curve;
use hsmd_proto::params::{EcdhParams, Mechanism};
use symmetric::Symmetric;

/// A key ready to use, by many threads at once. Wiped when dropped.
///
/// It does what the mathematics allow; who may do it is the keystore's to say. Parameters are expected to have passed
/// `Mechanism::check`; what is checked here keeps every input safe.
pub struct Key(Inner);

enum Inner {
    Symmetric(Symmetric),
    RsaPrivate(Rsa),
    RsaPublic(Rsa),
    EcPrivate(Ec),
    EcPublic(Ec),
    EdPrivate(Ed25519KeyPair, ParsedPublicKey),
    EdPublic(ParsedPublicKey),
}

impl Key {
    /// Parses and checks a key.
    ///
    /// # Errors
    /// `Size` for RSA moduli outside 1,024 to 4,096 bits and for empty secrets, `Invalid` for numbers that make no key.
    pub fn open(material: &Material) -> Result<Self, KeyError> {
        Ok(Self(match material {
            Material::Secret(value) => Inner::Symmetric(Symmetric::new(value)?),
            Material::RsaPrivate(key) => Inner::RsaPrivate(rsa::open_private(key)?),
            Material::RsaPublic { n, e } => Inner::RsaPublic(rsa::open_public(n, e)?),
            Material::EcPrivate { curve, scalar } => Inner::EcPrivate(curve::open_private(*curve, scalar)?),
            Material::EcPublic { curve, point } => Inner::EcPublic(curve::open_public(*curve, point)?),
            Material::EdPrivate { seed } => {
                let key = curve::open_edwards_private(seed)?;
                let public = curve::open_edwards_public(&point_of(key.public_key().as_ref()))?;
                Inner::EdPrivate(key, public)
            }
            Material::EdPublic { point } => Inner::EdPublic(curve::open_edwards_public(point)?),
        }))
    }

    /// Signs, or makes a MAC: C_Sign.
    ///
    /// # Errors
    /// The code for C_Sign in [`OpError::rv`].
    pub fn sign(&self, mechanism: &Mechanism, input: Input<'_>, out: &mut Vec<u8>) -> Result<(), OpError> {
        let row = row(mechanism)?;
        match (&self.0, row.family) {
            (Inner::RsaPrivate(key), Family::RsaPkcs1) => rsa::sign_pkcs1(key, row.hash, input, out),
            (Inner::RsaPrivate(key), Family::RsaPss) => rsa::sign_pss(key, row.hash, &mechanism.params, input, out),
            (Inner::EcPrivate(key), Family::Ecdsa) => curve::sign_ecdsa(key, row.hash, input, out),
            (Inner::EdPrivate(key, _), Family::Eddsa) => curve::sign_eddsa(key, input, out),
            (Inner::Symmetric(key), Family::Hmac) => mac::sign(key, row.hash, input, out),
            (_, Family::RsaPkcs1 | Family::RsaPss | Family::Ecdsa | Family::Eddsa | Family::Hmac) => {
                Err(OpError::KeyType)
            }
            _ => Err(OpError::Mechanism),
        }
    }

    /// Verifies a signature or a MAC: C_Verify. A private key verifies with its public half.
    ///
    /// # Errors
    /// The code for C_Verify in [`OpError::rv`].
    pub fn verify(&self, mechanism: &Mechanism, input: Input<'_>, signature: &[u8]) -> Result<(), OpError> {
        let row = row(mechanism)?;
        match (&self.0, row.family) {
            (Inner::RsaPrivate(key) | Inner::RsaPublic(key), Family::RsaPkcs1) => {
                rsa::verify_pkcs1(key, row.hash, input, signature)
            }
            (Inner::RsaPrivate(key) | Inner::RsaPublic(key), Family::RsaPss) => {
                rsa::verify_pss(key, row.hash, &mechanism.params, input, signature)
            }
            (Inner::EcPrivate(key) | Inner::EcPublic(key), Family::Ecdsa) => {
                curve::verify_ecdsa(key, row.hash, input, signature)
            }
            (Inner::EdPrivate(_, key) | Inner::EdPublic(key), Family::Eddsa) => {
                curve::verify_eddsa(key, input, signature)
            }
            (Inner::Symmetric(key), Family::Hmac) => mac::verify(key, row.hash, input, signature),
            (_, Family::RsaPkcs1 | Family::RsaPss | Family::Ecdsa | Family::Eddsa | Family::Hmac) => {
                Err(OpError::KeyType)
            }
            _ => Err(OpError::Mechanism),
        }
    }

    /// Encrypts: C_Encrypt, and the encrypting part of C_WrapKey.
    ///
    /// # Errors
    /// The code for C_Encrypt in [`OpError::rv`].
    pub fn encrypt(&self, mechanism: &Mechanism, data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
        self.crypt(Way::Encrypt, mechanism, data, out)
    }

    /// Decrypts: C_Decrypt, and the decrypting part of C_UnwrapKey.
    ///
    /// # Errors
    /// The code for C_Decrypt in [`OpError::rv`]; all failures of one ciphertext look alike.
    pub fn decrypt(&self, mechanism: &Mechanism, data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
        self.crypt(Way::Decrypt, mechanism, data, out)
    }

    fn crypt(&self, way: Way, mechanism: &Mechanism, data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
        let family = row(mechanism)?.family;
        match (&self.0, family) {
            (Inner::RsaPrivate(key), Family::RsaOaep) => rsa::oaep(key, way, &mechanism.params, data, out),
            (Inner::RsaPublic(key), Family::RsaOaep) if way == Way::Encrypt => {
                rsa::oaep(key, way, &mechanism.params, data, out)
            }
            (Inner::Symmetric(key), _) => cipher::crypt(key, family, way, &mechanism.params, data, out),
            (_, Family::RsaOaep) => Err(OpError::KeyType),
            (_, family) if cipher::is_cipher(family) => Err(OpError::KeyType),
            _ => Err(OpError::Mechanism),
        }
    }

    /// ECDH: the x coordinate of the shared point, as long as a field element (PKCS#11 3.2, 6.3.19, CKD_NULL).
    ///
    /// # Errors
    /// `Parameter` for a point that is not on this key's curve or a derivation function other than CKD_NULL.
    pub fn agree(&self, params: &EcdhParams) -> Result<Secret, OpError> {
        match &self.0 {
            Inner::EcPrivate(key) => curve::agree(key, params),
            _ => Err(OpError::KeyType),
        }
    }

    /// The public half; `None` for a secret key.
    #[must_use]
    pub fn public(&self) -> Option<Material> {
        match &self.0 {
            Inner::RsaPrivate(key) | Inner::RsaPublic(key) => rsa::public_material(key),
            Inner::EcPrivate(key) | Inner::EcPublic(key) => Some(Material::EcPublic {
                curve: key.curve(),
                point: key.point()?,
            }),
            Inner::EdPrivate(_, key) | Inner::EdPublic(key) => Some(Material::EdPublic {
                point: point_of(key.as_ref()),
            }),
            Inner::Symmetric(_) => None,
        }
    }

    /// The public half as DER of SubjectPublicKeyInfo (RFC 5280, 4.1): `CKA_PUBLIC_KEY_INFO`.
    #[must_use]
    pub fn public_der(&self) -> Option<Vec<u8>> {
        encoding::public_key_info(&self.public()?)
    }

    /// The size in the mechanism table's unit: bits of a modulus or a curve, bytes of a secret.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.0 {
            Inner::Symmetric(key) => key.value().len() as u64,
            Inner::RsaPrivate(key) | Inner::RsaPublic(key) => u64::from(key.bits()),
            Inner::EcPrivate(key) | Inner::EcPublic(key) => key.curve().bits(),
            Inner::EdPrivate(..) | Inner::EdPublic(_) => Curve::Ed25519.bits(),
        }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            Inner::Symmetric(_) => "Key(secret)",
            Inner::RsaPrivate(_) => "Key(RSA private)",
            Inner::RsaPublic(_) => "Key(RSA public)",
            Inner::EcPrivate(_) => "Key(EC private)",
            Inner::EcPublic(_) => "Key(EC public)",
            Inner::EdPrivate(..) => "Key(Ed25519 private)",
            Inner::EdPublic(_) => "Key(Ed25519 public)",
        })
    }
}

/// aws-lc-rs gives public keys as slices; Ed25519's have 32 bytes.
fn point_of(bytes: &[u8]) -> [u8; 32] {
    bytes.first_chunk().copied().unwrap_or_default()
}

fn row(mechanism: &Mechanism) -> Result<&'static Row, OpError> {
    mechanism::row(mechanism.kind).ok_or(OpError::Mechanism)
}

/// Makes room for `length` bytes at the end of `out`, lets `write` fill them, and keeps them if that succeeded; else
/// they are wiped and `out` is as it was.
pub(crate) fn append(
    out: &mut Vec<u8>,
    length: usize,
    write: impl FnOnce(&mut [u8]) -> Result<(), OpError>,
) -> Result<(), OpError> {
    let start = out.len();
    out.resize(start + length, 0);
    let result = write(&mut out[start..]);
    if result.is_err() {
        zeroize::Zeroize::zeroize(&mut out[start..]);
        out.truncate(start);
    }
    result
}

//! A key, parsed once and ready to use, and the binding of each mechanism family to code.
//!
//! Results are appended to `out`, and only after whatever had to be verified was; when an operation fails, `out` is as it
//! was before.

mod agree;
pub(crate) mod cipher;
mod combined;
mod cts;
pub(crate) mod curve;
pub(crate) mod des3;
pub(crate) mod dh;
mod external;
mod hkdf;
mod kbkdf;
pub(crate) mod keywrap;
pub(crate) mod mac;
pub(crate) mod ml_dsa;
pub(crate) mod ml_kem;
pub(crate) mod montgomery;
mod padding;
mod pkcs1;
pub(crate) mod rsa;
pub(crate) mod slh_dsa;
pub(crate) mod symmetric;
mod tls;
pub(crate) mod xts;

use crate::encoding;
use crate::engine::{Ec, EdPrivate, EdPublic, Lattice, Rsa, RsaHalf, Way};
use crate::error::{KeyError, OpError};
use crate::material::{Input, Material};
use crate::secret::Secret;
use crate::slh_dsa::{Private, Public};
use crate::stateful;
use dh::Dh;
use hsmd_proto::ck::{KeyType, MechanismType};
use hsmd_proto::dh::DhGroup;
use hsmd_proto::kbkdf::{KbkdfMode, KbkdfParams};
use hsmd_proto::mechanism::{self, Family, Row};
use hsmd_proto::meta::Curve;
use hsmd_proto::params::{EcdhParams, HkdfParams, Mechanism, Params};
use hsmd_proto::tls::TlsParams;
use ml_dsa::MlDsa;
use montgomery::Montgomery;
use pkcs1::RejectionKey;
use symmetric::Symmetric;

/// A key ready to use, by many threads at once. Wiped when dropped.
///
/// It does what the mathematics allow; who may do it is the keystore's to say. Parameters are expected to have passed
/// `Mechanism::check`; what is checked here keeps every input safe.
pub struct Key(Inner);

enum Inner {
    Symmetric(Symmetric),
    RsaPrivate(Rsa, RejectionKey),
    RsaPublic(Rsa),
    EcPrivate(Ec),
    EcPublic(Ec),
    EdPrivate(EdPrivate),
    EdPublic(EdPublic),
    MontgomeryPrivate(Montgomery),
    MontgomeryPublic([u8; 32]),
    DhPrivate(Dh),
    DhPublic(DhGroup, Vec<u8>),
    MlDsaPrivate(MlDsa),
    MlDsaPublic(MlDsa),
    MlKemPrivate(Lattice),
    MlKemPublic(Lattice),
    SlhDsaPrivate(Private),
    SlhDsaPublic(Public),
    StatefulPublic(stateful::Public),
}

impl Key {
    /// Parses and checks a key.
    ///
    /// # Errors
    /// `Size` for RSA moduli outside 1,024 to 4,096 bits and for empty secrets, `Invalid` for numbers that make no key.
    pub fn open(material: &Material) -> Result<Self, KeyError> {
        Ok(Self(match material {
            Material::Secret(value) => Inner::Symmetric(Symmetric::new(value)?),
            Material::RsaPrivate(key) => {
                let key = rsa::open_private(key)?;
                let rejection = RejectionKey::of(&key).ok_or(KeyError::Invalid)?;
                Inner::RsaPrivate(key, rejection)
            }
            Material::RsaPublic { n, e } => Inner::RsaPublic(rsa::open_public(n, e)?),
            Material::EcPrivate { curve, scalar } => Inner::EcPrivate(curve::open_private(*curve, scalar)?),
            Material::EcPublic { curve, point } => Inner::EcPublic(curve::open_public(*curve, point)?),
            Material::EdPrivate { seed } => Inner::EdPrivate(curve::open_edwards_private(seed)?),
            Material::EdPublic { point } => Inner::EdPublic(curve::open_edwards_public(point)?),
            Material::MontgomeryPrivate { scalar } => Inner::MontgomeryPrivate(montgomery::open_private(scalar)?),
            Material::MontgomeryPublic { point } => Inner::MontgomeryPublic(*point),
            Material::DhPrivate { group, value } => Inner::DhPrivate(dh::open_private(*group, value)?),
            Material::DhPublic { group, value } => Inner::DhPublic(*group, dh::open_public(*group, value)?),
            Material::PqPrivate { set, seed, value } if set.key_type() == KeyType::ML_KEM => {
                Inner::MlKemPrivate(ml_kem::open_private(*set, seed.as_ref(), value)?)
            }
            Material::PqPrivate { set, value, .. } if set.key_type() == KeyType::SLH_DSA => {
                Inner::SlhDsaPrivate(slh_dsa::open_private(*set, value)?)
            }
            Material::PqPublic { set, value } if set.key_type() == KeyType::SLH_DSA => {
                Inner::SlhDsaPublic(slh_dsa::open_public(*set, value)?)
            }
            Material::PqPublic { set, value } if set.key_type() == KeyType::ML_KEM => {
                Inner::MlKemPublic(ml_kem::open_public(*set, value)?)
            }
            Material::PqPrivate { set, seed, value } => {
                Inner::MlDsaPrivate(ml_dsa::open_private(*set, seed.as_ref(), value)?)
            }
            Material::PqPublic { set, value } => Inner::MlDsaPublic(ml_dsa::open_public(*set, value)?),
            Material::StatefulPublic { key_type, value } => {
                Inner::StatefulPublic(stateful::Public::new(*key_type, value).ok_or(KeyError::Invalid)?)
            }
        }))
    }

    /// A private key on a Weierstrass curve that is in hand already.
    pub(crate) const fn of_curve(key: Ec) -> Self {
        Self(Inner::EcPrivate(key))
    }

    /// A private key of ML-DSA that is in hand already.
    pub(crate) const fn of_ml_dsa(key: MlDsa) -> Self {
        Self(Inner::MlDsaPrivate(key))
    }

    /// A private key of SLH-DSA that is in hand already.
    pub(crate) const fn of_slh_dsa(key: Private) -> Self {
        Self(Inner::SlhDsaPrivate(key))
    }

    /// Whether both halves of a private key are of one key, where [`Self::open`] did not look because it is much work: SLH-DSA.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match &self.0 {
            Inner::SlhDsaPrivate(key) => key.is_whole(),
            _ => true,
        }
    }

    /// Whether SP 800-208 approves the parameter set of a public key with a state; whether other keys are approved is told by their
    /// type, curve and size.
    #[must_use]
    pub const fn has_approved_state(&self) -> bool {
        match &self.0 {
            Inner::StatefulPublic(key) => key.approved(),
            _ => true,
        }
    }

    /// A private key of ML-KEM that is in hand already.
    pub(crate) const fn of_ml_kem(key: Lattice) -> Self {
        Self(Inner::MlKemPrivate(key))
    }

    /// Makes a shared secret and the ciphertext that the private half opens: C_EncapsulateKey.
    ///
    /// # Errors
    /// `KeyType`; `Failed` if the engine could not.
    pub fn encapsulate(&self) -> Result<(Vec<u8>, Secret), OpError> {
        match &self.0 {
            Inner::MlKemPrivate(key) | Inner::MlKemPublic(key) => key.encapsulate().ok_or(OpError::Failed),
            _ => Err(OpError::KeyType),
        }
    }

    /// The shared secret of a ciphertext: C_DecapsulateKey. One that was not made for this key gives a pseudo-random secret,
    /// always the same (FIPS 203, 6.3).
    ///
    /// # Errors
    /// `KeyType`; `EncryptedLength` for another length than the parameter set's.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<Secret, OpError> {
        match &self.0 {
            Inner::MlKemPrivate(key) => ml_kem::decapsulate(key, ciphertext),
            _ => Err(OpError::KeyType),
        }
    }

    /// Signs, or makes a MAC: C_Sign.
    ///
    /// # Errors
    /// The code for C_Sign in [`OpError::rv`].
    pub fn sign(&self, mechanism: &Mechanism, input: Input<'_>, out: &mut Vec<u8>) -> Result<(), OpError> {
        let row = row(mechanism)?;
        match (&self.0, row.family) {
            (Inner::RsaPrivate(key, _), Family::RsaPkcs1) => rsa::sign_pkcs1(key, row.hash, input, out),
            (Inner::RsaPrivate(key, _), Family::RsaRaw) => {
                let (Input::Message(data) | Input::Digest(data)) = input;
                rsa::raw(key, RsaHalf::Private, data, OpError::Data, out)
            }
            (Inner::RsaPrivate(key, _), Family::RsaPss) => rsa::sign_pss(key, row.hash, &mechanism.params, input, out),
            (Inner::EcPrivate(key), Family::Ecdsa) => curve::sign_ecdsa(key, row.hash, input, out),
            (Inner::EdPrivate(key), Family::Eddsa) => curve::sign_eddsa(key, &mechanism.params, input, out),
            (Inner::MlDsaPrivate(key), Family::MlDsa | Family::HashMlDsa) => {
                key.sign(row, &mechanism.params, input, out)
            }
            (Inner::SlhDsaPrivate(key), Family::SlhDsa | Family::HashSlhDsa) => {
                slh_dsa::sign(key, row, &mechanism.params, input, out)
            }
            (Inner::Symmetric(key), family) if mac::is_mac(family) => {
                mac::sign(key, row, &mechanism.params, input, out)
            }
            (_, family) if signs(family) => Err(OpError::KeyType),
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
            (Inner::RsaPrivate(key, _) | Inner::RsaPublic(key), Family::RsaPkcs1) => {
                rsa::verify_pkcs1(key, row.hash, input, signature)
            }
            (Inner::RsaPrivate(key, _) | Inner::RsaPublic(key), Family::RsaPss) => {
                rsa::verify_pss(key, row.hash, &mechanism.params, input, signature)
            }
            (Inner::EcPrivate(key) | Inner::EcPublic(key), Family::Ecdsa) => {
                curve::verify_ecdsa(key, row.hash, input, signature)
            }
            (Inner::EdPrivate(key), Family::Eddsa) => {
                curve::verify_eddsa(key.public(), &mechanism.params, input, signature)
            }
            (Inner::EdPublic(key), Family::Eddsa) => curve::verify_eddsa(key, &mechanism.params, input, signature),
            (Inner::MlDsaPrivate(key) | Inner::MlDsaPublic(key), Family::MlDsa | Family::HashMlDsa) => {
                key.verify(row, &mechanism.params, input, signature)
            }
            (Inner::SlhDsaPrivate(key), Family::SlhDsa | Family::HashSlhDsa) => {
                slh_dsa::verify(key.public(), row, &mechanism.params, input, signature)
            }
            (Inner::SlhDsaPublic(key), Family::SlhDsa | Family::HashSlhDsa) => {
                slh_dsa::verify(key, row, &mechanism.params, input, signature)
            }
            (Inner::StatefulPublic(key), Family::Stateful) if row.key_types.contains(&key.key_type()) => {
                let (Input::Message(data) | Input::Digest(data)) = input;
                key.verify(data, signature).map_err(|refused| match refused {
                    stateful::Refused::Length => OpError::SignatureLength,
                    stateful::Refused::Wrong => OpError::Signature,
                    stateful::Refused::Engine => OpError::Failed,
                })
            }
            (Inner::RsaPrivate(key, _) | Inner::RsaPublic(key), Family::RsaRaw) => {
                let (Input::Message(data) | Input::Digest(data)) = input;
                rsa::verify_raw(key, data, signature)
            }
            (Inner::Symmetric(key), family) if mac::is_mac(family) => {
                mac::verify(key, row, &mechanism.params, input, signature)
            }
            (_, family) if signs(family) => Err(OpError::KeyType),
            _ => Err(OpError::Mechanism),
        }
    }

    /// The data in a signature: C_VerifyRecover. With CKM_RSA_PKCS without the padding, with CKM_RSA_X_509 as long as the
    /// modulus.
    ///
    /// # Errors
    /// The code for C_VerifyRecover in [`OpError::rv`].
    pub fn verify_recover(&self, mechanism: &Mechanism, signature: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
        let row = row(mechanism)?;
        match (&self.0, row.family, row.hash) {
            (Inner::RsaPrivate(key, _) | Inner::RsaPublic(key), Family::RsaPkcs1, None) => {
                rsa::recover_pkcs1(key, signature, out)
            }
            (Inner::RsaPrivate(key, _) | Inner::RsaPublic(key), Family::RsaRaw, _) => {
                rsa::recover_raw(key, signature, out)
            }
            (_, Family::RsaPkcs1 | Family::RsaRaw, None) => Err(OpError::KeyType),
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
        let row = row(mechanism)?;
        let params = &mechanism.params;
        match (&self.0, row.family, way) {
            (Inner::RsaPrivate(key, _), Family::RsaOaep, _)
            | (Inner::RsaPublic(key), Family::RsaOaep, Way::Encrypt) => rsa::oaep(key, way, params, data, out),
            (Inner::RsaPrivate(..) | Inner::RsaPublic(_) | Inner::EcPrivate(_) | Inner::EcPublic(_), _, _)
                if matches!(row.family, Family::RsaAesWrap | Family::EcdhAesWrap) =>
            {
                self.combined(way, params, data, out)
            }
            // The hash-and-sign rows of the family do not encrypt.
            (_, Family::RsaPkcs1, _) if row.hash.is_some() => Err(OpError::Mechanism),
            (Inner::RsaPrivate(key, _) | Inner::RsaPublic(key), Family::RsaPkcs1, Way::Encrypt) => {
                pkcs1::encrypt(key, data, out)
            }
            (Inner::RsaPrivate(key, rejection), Family::RsaPkcs1, Way::Decrypt) => {
                pkcs1::decrypt(key, rejection, data, out)
            }
            (Inner::RsaPrivate(key, _) | Inner::RsaPublic(key), Family::RsaRaw, Way::Encrypt) => {
                rsa::raw(key, RsaHalf::Public, data, OpError::Data, out)
            }
            (Inner::RsaPrivate(key, _), Family::RsaRaw, Way::Decrypt) if data.len() == key.bytes() => {
                rsa::raw(key, RsaHalf::Private, data, OpError::Encrypted, out)
            }
            (Inner::RsaPrivate(..), Family::RsaRaw, Way::Decrypt) => Err(OpError::EncryptedLength),
            (_, Family::RsaOaep | Family::RsaPkcs1 | Family::RsaRaw, _) => Err(OpError::KeyType),
            (Inner::Symmetric(key), family, _) => cipher::crypt(key, family, way, params, data, out),
            (_, family, _) if cipher::is_cipher(family) => Err(OpError::KeyType),
            _ => Err(OpError::Mechanism),
        }
    }

    /// Wrapping by two keys.
    fn combined(&self, way: Way, params: &Params, data: &[u8], out: &mut Vec<u8>) -> Result<(), OpError> {
        match (&self.0, params, way) {
            (Inner::RsaPrivate(key, _) | Inner::RsaPublic(key), Params::RsaAes(params), Way::Encrypt) => {
                combined::rsa_wrap(key, params, data, out)
            }
            (Inner::RsaPrivate(key, _), Params::RsaAes(params), Way::Decrypt) => {
                combined::rsa_unwrap(key, params, data, out)
            }
            (Inner::EcPrivate(key) | Inner::EcPublic(key), Params::EcdhAes(params), Way::Encrypt) => {
                combined::ecdh_wrap(key, params, data, out)
            }
            (Inner::EcPrivate(key), Params::EcdhAes(params), Way::Decrypt) => {
                combined::ecdh_unwrap(key, params, data, out)
            }
            _ => Err(OpError::KeyType),
        }
    }

    /// Unwraps a secret key by PKCS #1 v1.5: C_UnwrapKey with CKM_RSA_PKCS. A blob that is wrong in any way gives a
    /// pseudo-random key, the same one each time (DESIGN 6). `wanted`: the length that the template names, in bytes;
    /// `aes`: the key is to be an AES key.
    ///
    /// # Errors
    /// `KeyType`; `EncryptedLength` and `Encrypted` for a blob of another length than the modulus and for one that is
    /// not below it; `DataLength` for a length that the modulus has no room for.
    pub fn unwrap_pkcs1(&self, blob: &[u8], wanted: Option<usize>, aes: bool) -> Result<Secret, OpError> {
        match &self.0 {
            Inner::RsaPrivate(key, rejection) => pkcs1::unwrap(key, rejection, blob, wanted, aes),
            _ => Err(OpError::KeyType),
        }
    }

    /// ECDH (PKCS#11 3.2, 6.3.17). With CKD_NULL the x coordinate of the shared point, as long as a field element, or its
    /// last `length` bytes; with another derivation function `length` bytes, or as many as its hash has.
    ///
    /// # Errors
    /// `Parameter` for a point that is not on this key's curve, for an X25519 value of small order and for a derivation
    /// function that this build does not have; `DataLength` for more bytes than there are.
    pub fn agree(&self, params: &EcdhParams, length: Option<usize>) -> Result<Secret, OpError> {
        match &self.0 {
            Inner::EcPrivate(key) => agree::weierstrass(key, params, length),
            Inner::MontgomeryPrivate(key) => agree::montgomery(key, params, length),
            _ => Err(OpError::KeyType),
        }
    }

    /// Finite-field Diffie-Hellman (PKCS#11 3.2, 6.4.10): the shared number, as long as the prime, or its last `length` bytes.
    ///
    /// # Errors
    /// `Parameter` for a value that is none of the group; `DataLength` for more bytes than there are.
    pub fn agree_with_value(&self, other: &[u8], length: Option<usize>) -> Result<Secret, OpError> {
        match &self.0 {
            Inner::DhPrivate(key) => key.agree(other, length),
            _ => Err(OpError::KeyType),
        }
    }

    /// HKDF (PKCS#11 3.2, 6.62.3): `length` bytes.
    ///
    /// # Errors
    /// `KeyType`; `Parameter` for a hash that this build does not have; `DataLength` for more bytes than HKDF gives.
    pub fn hkdf(&self, params: &HkdfParams, length: usize) -> Result<Secret, OpError> {
        match &self.0 {
            Inner::Symmetric(key) => hkdf::derive(key, params, length),
            _ => Err(OpError::KeyType),
        }
    }

    /// A key derivation function of SP 800-108 (PKCS#11 3.2, 6.42): `length` bytes.
    ///
    /// # Errors
    /// `KeyType`, `KeySize`; `Parameter` for a pseudo-random function that this build does not have and for a field that has no
    /// room for its number; `DataLength` for more bytes than the counter counts.
    pub fn kbkdf(&self, mode: KbkdfMode, params: &KbkdfParams, length: usize) -> Result<Secret, OpError> {
        match &self.0 {
            Inner::Symmetric(key) => kbkdf::derive(key, mode, params, length),
            _ => Err(OpError::KeyType),
        }
    }

    /// TLS 1.2's pseudo-random function (PKCS#11 3.2, 6.40): `length` bytes.
    ///
    /// # Errors
    /// `KeyType`; `Parameter` for a hash that this build does not have; `DataLength` for none or too many bytes.
    pub fn tls(&self, params: &TlsParams, length: usize) -> Result<Secret, OpError> {
        match &self.0 {
            Inner::Symmetric(key) => tls::derive(key, params, length),
            _ => Err(OpError::KeyType),
        }
    }

    /// Derivation by SHAKE (PKCS#11 3.2, 6.32): `length` bytes.
    ///
    /// # Errors
    /// `KeyType`; `Mechanism` for another; `DataLength` for none or too many bytes.
    pub fn shake(&self, mechanism: MechanismType, length: usize) -> Result<Secret, OpError> {
        match &self.0 {
            Inner::Symmetric(key) => tls::shake(key, mechanism, length),
            _ => Err(OpError::KeyType),
        }
    }

    /// The public half; `None` for a secret key.
    #[must_use]
    pub fn public(&self) -> Option<Material> {
        match &self.0 {
            Inner::RsaPrivate(key, _) | Inner::RsaPublic(key) => rsa::public_material(key),
            Inner::EcPrivate(key) | Inner::EcPublic(key) => Some(Material::EcPublic {
                curve: key.curve(),
                point: key.point()?.to_vec(),
            }),
            Inner::EdPrivate(key) => Some(Material::EdPublic {
                point: *key.public().point(),
            }),
            Inner::EdPublic(key) => Some(Material::EdPublic { point: *key.point() }),
            Inner::MontgomeryPrivate(key) => Some(Material::MontgomeryPublic { point: *key.point() }),
            Inner::MontgomeryPublic(point) => Some(Material::MontgomeryPublic { point: *point }),
            Inner::DhPrivate(key) => Some(key.public()),
            Inner::DhPublic(group, value) => Some(Material::DhPublic {
                group: *group,
                value: value.clone(),
            }),
            Inner::MlDsaPrivate(key) | Inner::MlDsaPublic(key) => Some(Material::PqPublic {
                set: key.set(),
                value: key.public()?,
            }),
            Inner::SlhDsaPrivate(key) => Some(slh_dsa::material(key.public())),
            Inner::SlhDsaPublic(key) => Some(slh_dsa::material(key)),
            Inner::StatefulPublic(key) => Some(Material::StatefulPublic {
                key_type: key.key_type(),
                value: key.bytes().to_vec(),
            }),
            Inner::MlKemPrivate(key) | Inner::MlKemPublic(key) => Some(Material::PqPublic {
                set: key.set(),
                value: key.public()?,
            }),
            Inner::Symmetric(_) => None,
        }
    }

    /// The public half as DER of SubjectPublicKeyInfo (RFC 5280, 4.1): `CKA_PUBLIC_KEY_INFO`.
    #[must_use]
    pub fn public_der(&self) -> Option<Vec<u8>> {
        encoding::public_key_info(&self.public()?)
    }

    /// The size in the mechanism table's unit: bits of a modulus or a curve, bytes of a secret or of a public key of ML-DSA
    /// or ML-KEM.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.0 {
            Inner::Symmetric(key) => key.value().len() as u64,
            Inner::RsaPrivate(key, _) | Inner::RsaPublic(key) => u64::from(key.bits()),
            Inner::EcPrivate(key) | Inner::EcPublic(key) => key.curve().bits(),
            Inner::EdPrivate(_) | Inner::EdPublic(_) => Curve::Ed25519.bits(),
            Inner::MontgomeryPrivate(_) | Inner::MontgomeryPublic(_) => Curve::X25519.bits(),
            Inner::DhPrivate(key) => key.group().bits() as u64,
            Inner::DhPublic(group, _) => group.bits() as u64,
            Inner::MlDsaPrivate(key) | Inner::MlDsaPublic(key) => key.set().public_bytes() as u64,
            Inner::MlKemPrivate(key) | Inner::MlKemPublic(key) => key.set().public_bytes() as u64,
            Inner::SlhDsaPrivate(key) => key.public().bytes().len() as u64,
            Inner::SlhDsaPublic(key) => key.bytes().len() as u64,
            Inner::StatefulPublic(_) => 0,
        }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            Inner::Symmetric(_) => "Key(secret)",
            Inner::RsaPrivate(..) => "Key(RSA private)",
            Inner::RsaPublic(_) => "Key(RSA public)",
            Inner::EcPrivate(_) => "Key(EC private)",
            Inner::EcPublic(_) => "Key(EC public)",
            Inner::EdPrivate(_) => "Key(Ed25519 private)",
            Inner::EdPublic(_) => "Key(Ed25519 public)",
            Inner::MontgomeryPrivate(_) => "Key(X25519 private)",
            Inner::MontgomeryPublic(_) => "Key(X25519 public)",
            Inner::DhPrivate(_) => "Key(DH private)",
            Inner::DhPublic(..) => "Key(DH public)",
            Inner::MlDsaPrivate(_) => "Key(ML-DSA private)",
            Inner::MlDsaPublic(_) => "Key(ML-DSA public)",
            Inner::MlKemPrivate(_) => "Key(ML-KEM private)",
            Inner::MlKemPublic(_) => "Key(ML-KEM public)",
            Inner::SlhDsaPrivate(_) => "Key(SLH-DSA private)",
            Inner::SlhDsaPublic(_) => "Key(SLH-DSA public)",
            Inner::StatefulPublic(_) => "Key(HSS or XMSS public)",
        })
    }
}

/// Whether a family makes signatures or MACs.
const fn signs(family: Family) -> bool {
    matches!(
        family,
        Family::RsaPkcs1
            | Family::RsaPss
            | Family::RsaRaw
            | Family::Ecdsa
            | Family::Eddsa
            | Family::MlDsa
            | Family::HashMlDsa
            | Family::SlhDsa
            | Family::HashSlhDsa
            | Family::Stateful
    ) || mac::is_mac(family)
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

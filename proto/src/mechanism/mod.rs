//! *The* mechanism table: what each mechanism is, as data. C_GetMechanismList and C_GetMechanismInfo, Init validation,
//! the providers' binding, the documentation page and a test that walks every row all read it.
//!
//! Rows hold no function pointers: `hsmd-crypto` binds [`Family`] to code.

mod approved;
mod table;

pub use table::TABLE;

use crate::ck::{Kdf, KeyType, MechanismType, Mgf};
use crate::kbkdf::KbkdfMode;
use crate::policy::Policy;
use crate::tls::TlsSecret;
use std::ops::BitOr;

/// What a mechanism can be used for: a set of operations, with the specification's `CKF_` values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operations(pub u64);

/// The operations as constants; each is also the `CKF_` flag of CK_MECHANISM_INFO.
#[expect(missing_docs, reason = "the names are the specification's")]
impl Operations {
    pub const ENCRYPT: Self = Self(cryptoki_sys::CKF_ENCRYPT);
    pub const DECRYPT: Self = Self(cryptoki_sys::CKF_DECRYPT);
    pub const DIGEST: Self = Self(cryptoki_sys::CKF_DIGEST);
    pub const SIGN: Self = Self(cryptoki_sys::CKF_SIGN);
    pub const VERIFY: Self = Self(cryptoki_sys::CKF_VERIFY);
    pub const SIGN_RECOVER: Self = Self(cryptoki_sys::CKF_SIGN_RECOVER);
    pub const VERIFY_RECOVER: Self = Self(cryptoki_sys::CKF_VERIFY_RECOVER);
    pub const GENERATE: Self = Self(cryptoki_sys::CKF_GENERATE);
    pub const GENERATE_KEY_PAIR: Self = Self(cryptoki_sys::CKF_GENERATE_KEY_PAIR);
    pub const WRAP: Self = Self(cryptoki_sys::CKF_WRAP);
    pub const UNWRAP: Self = Self(cryptoki_sys::CKF_UNWRAP);
    pub const DERIVE: Self = Self(cryptoki_sys::CKF_DERIVE);
    pub const ENCAPSULATE: Self = Self(cryptoki_sys::CKF_ENCAPSULATE);
    pub const DECAPSULATE: Self = Self(cryptoki_sys::CKF_DECAPSULATE);
    /// EC over a prime field, named curves by OID, uncompressed points.
    pub const EC: Self = Self(cryptoki_sys::CKF_EC_F_P | cryptoki_sys::CKF_EC_OID | cryptoki_sys::CKF_EC_UNCOMPRESS);
    /// Curves named by PrintableString as well as by OID.
    pub const EC_NAMED: Self = Self(Self::EC.0 | cryptoki_sys::CKF_EC_CURVENAME);

    /// Whether all of `other` is in the set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for Operations {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

/// Which parameter a mechanism takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// None.
    None,
    /// An IV of that many bytes.
    Iv(usize),
    /// An IV of that many bytes, or none.
    OptionalIv(usize),
    /// CK_AES_CTR_PARAMS.
    Ctr,
    /// CK_GCM_PARAMS.
    Gcm,
    /// CK_CCM_PARAMS.
    Ccm,
    /// CK_SALSA20_CHACHA20_POLY1305_PARAMS.
    ChaCha,
    /// CK_RSA_PKCS_PSS_PARAMS.
    Pss,
    /// CK_RSA_PKCS_OAEP_PARAMS.
    Oaep,
    /// CK_ECDH1_DERIVE_PARAMS.
    Ecdh,
    /// CK_HKDF_PARAMS.
    Hkdf,
    /// CK_OBJECT_HANDLE: a second key. Between module and daemon it is beside the mechanism.
    Key,
    /// CK_KEY_DERIVATION_STRING_DATA.
    Data,
    /// The other side's public value: a number, big-endian.
    PeerValue,
    /// CK_EXTRACT_PARAMS: the number of a bit.
    Bit,
    /// CK_SP800_108_KDF_PARAMS, or CK_SP800_108_FEEDBACK_KDF_PARAMS.
    Kbkdf(KbkdfMode),
    /// CK_PKCS5_PBKD2_PARAMS2. Between module and daemon the password is beside the mechanism.
    Pbkdf2,
    /// CK_TLS12_MASTER_KEY_DERIVE_PARAMS, CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS, CK_TLS_KDF_PARAMS.
    Tls(TlsSecret),
    /// CK_TLS_MAC_PARAMS.
    TlsMac,
    /// CK_RSA_AES_KEY_WRAP_PARAMS.
    RsaAes,
    /// CK_ECDH_AES_KEY_WRAP_PARAMS.
    EcdhAes,
    /// CK_EDDSA_PARAMS, or none.
    Eddsa,
    /// CK_SIGN_ADDITIONAL_CONTEXT, or none.
    SignContext,
    /// CK_HASH_SIGN_ADDITIONAL_CONTEXT.
    HashSignContext,
    /// CK_MAC_GENERAL_PARAMS: the MAC's length in bytes, from 1 to that of the whole MAC.
    MacLength,
}

/// What a provider has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Family {
    Digest,
    Hmac,
    RsaKeyPairGen,
    RsaPkcs1,
    RsaRaw,
    RsaPss,
    RsaOaep,
    RsaAesWrap,
    EcKeyPairGen,
    Ecdsa,
    Ecdh,
    EcdhAesWrap,
    DhKeyPairGen,
    Dh,
    EdwardsKeyPairGen,
    Eddsa,
    MontgomeryKeyPairGen,
    MlDsaKeyPairGen,
    MlDsa,
    HashMlDsa,
    MlKemKeyPairGen,
    MlKem,
    SlhDsaKeyPairGen,
    SlhDsa,
    HashSlhDsa,
    /// HSS, XMSS and XMSS^MT: verification alone.
    Stateful,
    AesKeyGen,
    GenericSecretKeyGen,
    HkdfKeyGen,
    HmacKeyGen,
    Hkdf,
    Kbkdf,
    Pbkdf2,
    Tls,
    TlsMac,
    Shake,
    Concatenate,
    Xor,
    Extract,
    AesEcb,
    AesCbc,
    AesCbcPad,
    AesCts,
    AesCtr,
    AesXtsKeyGen,
    AesXts,
    AesGcm,
    AesGmac,
    AesCcm,
    ChaChaKeyGen,
    ChaChaPoly,
    AesKw,
    AesKwp,
    AesCmac,
    Des3KeyGen,
    Des3Ecb,
    Des3Cbc,
    Des3CbcPad,
    Des3Cmac,
}

/// How data that comes in parts is treated by the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultiPart {
    /// Single-part only: C_*Update answers `CKR_MECHANISM_INVALID`-free `CKR_FUNCTION_NOT_SUPPORTED`.
    No,
    /// Hashed in the module; the digest goes to the key.
    Hash,
    /// Block by block: the module keeps the chaining value, each request stands for itself.
    Blocks,
    /// Kept in the module up to `max_data`, sent when complete.
    Collect,
}

/// The unit of a key size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// No key.
    None,
    /// Bits: RSA, EC.
    Bits,
    /// Bytes: AES, generic secrets, public keys of ML-DSA, ML-KEM and SLH-DSA.
    Bytes,
}

/// One mechanism.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The type.
    pub mechanism: MechanismType,
    /// What the provider does.
    pub family: Family,
    /// Key types that fit; empty for digests.
    pub key_types: &'static [KeyType],
    /// Smallest and largest key, in `unit`.
    pub min: u64,
    /// See `min`.
    pub max: u64,
    /// The unit of `min` and `max` (`ulMinKeySize` of CK_MECHANISM_INFO).
    pub unit: Unit,
    /// Operations and flags of CK_MECHANISM_INFO.
    pub operations: Operations,
    /// The parameter.
    pub params: ParamKind,
    /// Hash-and-sign, HMAC and digest mechanisms: the hash as a digest mechanism.
    pub hash: Option<MechanismType>,
    /// Data in parts.
    pub multi_part: MultiPart,
    /// The section of PKCS#11 3.2.
    pub section: &'static str,
}

impl Row {
    /// Whether a policy has this mechanism: `fips` what a standard approves, `strict` all but invertible derivations, none but
    /// `legacy` Triple DES.
    #[must_use]
    pub fn allowed(&self, policy: Policy) -> bool {
        match policy {
            Policy::Fips => self.approved().is_some(),
            Policy::Strict => !self.invertible() && !self.outdated(),
            Policy::Standard => !self.outdated(),
            Policy::Legacy => true,
        }
    }

    /// Whether it is for old software only: blocks of 64 bits repeat after some gigabytes (SP 800-131A r2, 2).
    #[must_use]
    pub const fn outdated(&self) -> bool {
        matches!(
            self.family,
            Family::Des3KeyGen | Family::Des3Ecb | Family::Des3Cbc | Family::Des3CbcPad | Family::Des3Cmac
        )
    }

    /// Whether it derives a key of which the base key follows (DESIGN 8).
    #[must_use]
    pub const fn invertible(&self) -> bool {
        matches!(self.family, Family::Concatenate | Family::Xor | Family::Extract)
    }

    /// The operations that a policy leaves to this mechanism (DESIGN 8). PKCS #1 v1.5 wraps under `legacy` only, and
    /// does not decrypt under `strict`; raw RSA with the private key decrypts whatever was encrypted by any padding, so
    /// it goes with it.
    #[must_use]
    pub fn operations_under(&self, policy: Policy) -> Operations {
        let wrap = Operations::WRAP | Operations::UNWRAP;
        let without = match (self.family, self.hash, policy) {
            (Family::RsaPkcs1, None, Policy::Standard) => wrap,
            (Family::RsaPkcs1, None, Policy::Strict) => wrap | Operations::DECRYPT,
            (Family::RsaPkcs1, None, Policy::Fips) => wrap | Operations::DECRYPT | Operations::ENCRYPT,
            (Family::RsaRaw, _, Policy::Strict | Policy::Fips) => {
                Operations::DECRYPT | Operations::SIGN | Operations::SIGN_RECOVER
            }
            (Family::AesCbcPad, _, Policy::Strict | Policy::Fips) => wrap,
            _ => Operations(0),
        };
        Operations(self.operations.0 & !without.0)
    }

    /// The flags of CK_MECHANISM_INFO under a policy: its operations, and which of them the message functions of 3.0 do.
    #[must_use]
    pub fn flags_under(&self, policy: Policy) -> u64 {
        let operations = self.operations_under(policy);
        let encrypts = self.family == Family::AesGcm;
        let messages = [
            (Operations::ENCRYPT, cryptoki_sys::CKF_MESSAGE_ENCRYPT, encrypts),
            (Operations::DECRYPT, cryptoki_sys::CKF_MESSAGE_DECRYPT, encrypts),
            (Operations::SIGN, cryptoki_sys::CKF_MESSAGE_SIGN, self.signs_messages()),
            (
                Operations::VERIFY,
                cryptoki_sys::CKF_MESSAGE_VERIFY,
                self.signs_messages(),
            ),
        ];
        let flags = messages
            .into_iter()
            .filter(|(operation, _, serves)| *serves && operations.contains(*operation))
            .fold(0, |all, (_, flag, _)| all | flag);
        let several = if flags == 0 { 0 } else { cryptoki_sys::CKF_MULTI_MESSAGE };
        operations.0 | flags | several
    }

    /// Whether the message functions sign with it: the parameter of C_MessageSignInit holds for every message, and GMAC's is a
    /// nonce, good for one.
    #[must_use]
    pub const fn signs_messages(&self) -> bool {
        !matches!(self.family, Family::AesGmac)
    }

    /// The length in bytes of the whole MAC that a MAC mechanism makes.
    #[must_use]
    pub fn mac_length(&self) -> Option<usize> {
        match self.family {
            Family::Hmac => self.hash.and_then(digest_length),
            Family::AesCmac => Some(16),
            Family::Des3Cmac => Some(8),
            _ => None,
        }
    }

    /// The smallest key that a policy allows, in `unit`.
    #[must_use]
    pub fn min_under(&self, policy: Policy) -> u64 {
        let least = match policy {
            Policy::Fips => self.least_approved(),
            _ if self.key_types == [KeyType::RSA] => policy.min_rsa_bits(),
            _ => 0,
        };
        self.min.max(least)
    }

    /// Whether the module makes the digest and sends it instead of the message.
    #[must_use]
    pub const fn hashes_in_module(&self) -> bool {
        matches!(self.multi_part, MultiPart::Hash) && self.hash.is_some()
    }
}

/// The row of a mechanism.
#[must_use]
pub fn row(mechanism: MechanismType) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.mechanism == mechanism)
}

/// The length in bytes of a digest mechanism's result.
#[must_use]
pub const fn digest_length(hash: MechanismType) -> Option<usize> {
    Some(match hash {
        MechanismType::SHA_1 | MechanismType::BLAKE2B_160 => 20,
        MechanismType::SHA224 | MechanismType::SHA512_224 | MechanismType::SHA3_224 => 28,
        MechanismType::SHA256 | MechanismType::SHA512_256 | MechanismType::SHA3_256 | MechanismType::BLAKE2B_256 => 32,
        MechanismType::SHA384 | MechanismType::SHA3_384 | MechanismType::BLAKE2B_384 => 48,
        MechanismType::SHA512 | MechanismType::SHA3_512 | MechanismType::BLAKE2B_512 => 64,
        _ => return None,
    })
}

/// Whether it is a digest mechanism of SHA-1, SHA-2 or SHA-3, which also serve in signatures, derivations and padding. BLAKE2b
/// makes digests and HMACs.
#[must_use]
pub const fn is_sha(hash: MechanismType) -> bool {
    let blake2b = matches!(
        hash,
        MechanismType::BLAKE2B_160
            | MechanismType::BLAKE2B_256
            | MechanismType::BLAKE2B_384
            | MechanismType::BLAKE2B_512
    );
    !blake2b && digest_length(hash).is_some()
}

/// The digest mechanism of a mask generation function.
#[must_use]
pub const fn mgf_hash(mgf: Mgf) -> Option<MechanismType> {
    Some(match mgf {
        Mgf::MGF1_SHA1 => MechanismType::SHA_1,
        Mgf::MGF1_SHA224 => MechanismType::SHA224,
        Mgf::MGF1_SHA256 => MechanismType::SHA256,
        Mgf::MGF1_SHA384 => MechanismType::SHA384,
        Mgf::MGF1_SHA512 => MechanismType::SHA512,
        Mgf::MGF1_SHA3_224 => MechanismType::SHA3_224,
        Mgf::MGF1_SHA3_256 => MechanismType::SHA3_256,
        Mgf::MGF1_SHA3_384 => MechanismType::SHA3_384,
        Mgf::MGF1_SHA3_512 => MechanismType::SHA3_512,
        _ => return None,
    })
}

/// What is hashed, and in which order, by a key derivation function of ECDH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KdfForm {
    /// Secret, counter, shared data (ANSI X9.63, 5.6.3).
    X963,
    /// Counter, secret, shared data (SP 800-56C, 4.1).
    Sp800,
}

/// The form and the digest mechanism of a key derivation function; `None` for CKD_NULL and for those that this build
/// does not have.
#[must_use]
pub const fn kdf_hash(kdf: Kdf) -> Option<(KdfForm, MechanismType)> {
    use KdfForm::{Sp800, X963};
    Some(match kdf {
        Kdf::SHA1_KDF => (X963, MechanismType::SHA_1),
        Kdf::SHA224_KDF => (X963, MechanismType::SHA224),
        Kdf::SHA256_KDF => (X963, MechanismType::SHA256),
        Kdf::SHA384_KDF => (X963, MechanismType::SHA384),
        Kdf::SHA512_KDF => (X963, MechanismType::SHA512),
        Kdf::SHA3_224_KDF => (X963, MechanismType::SHA3_224),
        Kdf::SHA3_256_KDF => (X963, MechanismType::SHA3_256),
        Kdf::SHA3_384_KDF => (X963, MechanismType::SHA3_384),
        Kdf::SHA3_512_KDF => (X963, MechanismType::SHA3_512),
        Kdf::SHA1_KDF_SP800 => (Sp800, MechanismType::SHA_1),
        Kdf::SHA224_KDF_SP800 => (Sp800, MechanismType::SHA224),
        Kdf::SHA256_KDF_SP800 => (Sp800, MechanismType::SHA256),
        Kdf::SHA384_KDF_SP800 => (Sp800, MechanismType::SHA384),
        Kdf::SHA512_KDF_SP800 => (Sp800, MechanismType::SHA512),
        Kdf::SHA3_224_KDF_SP800 => (Sp800, MechanismType::SHA3_224),
        Kdf::SHA3_256_KDF_SP800 => (Sp800, MechanismType::SHA3_256),
        Kdf::SHA3_384_KDF_SP800 => (Sp800, MechanismType::SHA3_384),
        Kdf::SHA3_512_KDF_SP800 => (Sp800, MechanismType::SHA3_512),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_once_and_hangs_together() {
        for (index, row) in TABLE.iter().enumerate() {
            assert!(
                TABLE[..index].iter().all(|other| other.mechanism != row.mechanism),
                "{} stands twice",
                row.mechanism
            );
            assert!(row.mechanism.name().is_some());
            assert!(row.min <= row.max, "{}", row.mechanism);
            assert_eq!(
                row.key_types.is_empty(),
                row.family == Family::Digest,
                "{}",
                row.mechanism
            );
            assert!(
                row.hash.is_none_or(|hash| digest_length(hash).is_some()),
                "{}",
                row.mechanism
            );
            assert!(row.section.starts_with("6."), "{}", row.mechanism);
        }
    }

    #[test]
    fn the_policy_sets_the_smallest_rsa_key() {
        let row = row(MechanismType::RSA_PKCS).unwrap();
        assert_eq!(row.min_under(Policy::Legacy), 1024);
        assert_eq!(row.min_under(Policy::Standard), 2048);
    }

    #[test]
    fn the_policy_sets_what_v15_and_raw_rsa_do() {
        let has = |kind, policy, operation| row(kind).unwrap().operations_under(policy).contains(operation);
        let v15 = |policy, operation| has(MechanismType::RSA_PKCS, policy, operation);
        assert!(v15(
            Policy::Legacy,
            Operations::WRAP | Operations::UNWRAP | Operations::DECRYPT
        ));
        assert!(!v15(Policy::Standard, Operations::WRAP) && !v15(Policy::Standard, Operations::UNWRAP));
        assert!(v15(Policy::Standard, Operations::DECRYPT | Operations::SIGN));
        assert!(v15(Policy::Strict, Operations::SIGN | Operations::ENCRYPT));
        assert!(!v15(Policy::Strict, Operations::DECRYPT) && !v15(Policy::Fips, Operations::ENCRYPT));
        let raw = |policy, operation| has(MechanismType::RSA_X_509, policy, operation);
        assert!(raw(Policy::Standard, Operations::SIGN | Operations::DECRYPT));
        assert!(!raw(Policy::Strict, Operations::SIGN) && !raw(Policy::Strict, Operations::DECRYPT));
        assert!(raw(Policy::Standard, Operations::SIGN_RECOVER) && !raw(Policy::Strict, Operations::SIGN_RECOVER));
    }
}

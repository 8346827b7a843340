//! Mechanisms with their parameters, parsed once: at the module's C edge and at the daemon's wire edge.
//!
//! The rules that hold for a parameter whatever the key (PKCS#11 3.2, chapter 6) are [`Mechanism::check`].

use crate::ck::{Kdf, MechanismType, Mgf, Rv};
use crate::kbkdf::KbkdfParams;
use crate::mechanism::{self, ParamKind, Row};
use crate::policy::Policy;
use crate::tls::{TlsMacParams, TlsParams};

/// A mechanism and its parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mechanism {
    /// The type.
    pub kind: MechanismType,
    /// The parameter.
    pub params: Params,
}

/// A mechanism's parameter. Nothing here is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Params {
    /// No parameter.
    None,
    /// An initialisation vector.
    Iv(Vec<u8>),
    /// CK_AES_CTR_PARAMS.
    Ctr(CtrParams),
    /// CK_GCM_PARAMS.
    Gcm(GcmParams),
    /// CK_HKDF_PARAMS.
    Hkdf(HkdfParams),
    /// CK_KEY_DERIVATION_STRING_DATA; of Diffie-Hellman the other side's public value.
    Data(Vec<u8>),
    /// CK_SP800_108_KDF_PARAMS, CK_SP800_108_FEEDBACK_KDF_PARAMS.
    Kbkdf(KbkdfParams),
    /// CK_PKCS5_PBKD2_PARAMS2, all but the password, which travels as PINs do.
    Pbkdf2(Pbkdf2Params),
    /// CK_TLS12_MASTER_KEY_DERIVE_PARAMS, CK_TLS12_EXTENDED_MASTER_KEY_DERIVE_PARAMS, CK_TLS_KDF_PARAMS.
    Tls(TlsParams),
    /// CK_TLS_MAC_PARAMS.
    TlsMac(TlsMacParams),
    /// CK_RSA_AES_KEY_WRAP_PARAMS.
    RsaAes(RsaAesParams),
    /// CK_ECDH_AES_KEY_WRAP_PARAMS.
    EcdhAes(EcdhAesParams),
    /// CK_CCM_PARAMS.
    Ccm(CcmParams),
    /// CK_SALSA20_CHACHA20_POLY1305_PARAMS.
    ChaCha(ChaChaParams),
    /// CK_RSA_PKCS_PSS_PARAMS.
    Pss(PssParams),
    /// CK_RSA_PKCS_OAEP_PARAMS.
    Oaep(OaepParams),
    /// CK_ECDH1_DERIVE_PARAMS.
    Ecdh(EcdhParams),
    /// CK_EDDSA_PARAMS.
    Eddsa(EddsaParams),
    /// CK_SIGN_ADDITIONAL_CONTEXT, CK_HASH_SIGN_ADDITIONAL_CONTEXT.
    SignContext(SignContext),
    /// CK_MAC_GENERAL_PARAMS: a length in bytes.
    Number(u64),
}

impl Params {
    /// The hash of CK_HASH_SIGN_ADDITIONAL_CONTEXT.
    #[must_use]
    pub const fn hash(&self) -> Option<MechanismType> {
        match self {
            Self::SignContext(context) => context.hash,
            _ => None,
        }
    }

    /// The nonce of an AEAD: used with a key for two messages it gives both away. Under `strict` and `fips` the daemon makes it.
    #[must_use]
    pub fn nonce(&self) -> Option<&[u8]> {
        match self {
            Self::Gcm(gcm) => Some(&gcm.iv),
            Self::Ccm(ccm) => Some(&ccm.nonce),
            Self::ChaCha(chacha) => Some(&chacha.nonce),
            _ => None,
        }
    }

    /// Puts another nonce in place; parameters without one stay as they are.
    pub fn set_nonce(&mut self, nonce: Vec<u8>) {
        match self {
            Self::Gcm(gcm) => gcm.iv = nonce,
            Self::Ccm(ccm) => ccm.nonce = nonce,
            Self::ChaCha(chacha) => chacha.nonce = nonce,
            _ => {}
        }
    }

    /// The length in bytes of the AES key that stands between a wrapping key of RSA or EC and what it wraps.
    #[must_use]
    pub const fn transport_bytes(&self) -> Option<u64> {
        match self {
            Self::RsaAes(wrap) => Some(wrap.aes_bits / 8),
            Self::EcdhAes(wrap) => Some(wrap.aes_bits / 8),
            _ => None,
        }
    }

    /// What an AEAD authenticates beside the text.
    #[must_use]
    pub fn aad(&self) -> &[u8] {
        match self {
            Self::Gcm(gcm) => &gcm.aad,
            Self::Ccm(ccm) => &ccm.aad,
            Self::ChaCha(chacha) => &chacha.aad,
            _ => &[],
        }
    }
}

/// CK_AES_CTR_PARAMS (6.11.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CtrParams {
    /// How many low bits of the block count up, 1 to 128.
    pub counter_bits: u32,
    /// The first counter block.
    pub block: [u8; 16],
}

/// CK_GCM_PARAMS (6.13.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcmParams {
    /// The initialisation vector, 1 to 256 bytes.
    pub iv: Vec<u8>,
    /// Additional authenticated data.
    pub aad: Vec<u8>,
    /// The tag's length in bits.
    pub tag_bits: u32,
}

/// CK_RSA_PKCS_PSS_PARAMS (6.1.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PssParams {
    /// The hash.
    pub hash: MechanismType,
    /// The mask generation function.
    pub mgf: Mgf,
    /// The salt's length in bytes.
    pub salt_length: u64,
}

/// CK_RSA_PKCS_OAEP_PARAMS (6.1.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OaepParams {
    /// The hash.
    pub hash: MechanismType,
    /// The mask generation function.
    pub mgf: Mgf,
    /// The label (`pSourceData`).
    pub label: Vec<u8>,
}

/// CK_ECDH1_DERIVE_PARAMS (6.3.16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcdhParams {
    /// The key derivation function.
    pub kdf: Kdf,
    /// Shared data of the function.
    pub shared_data: Vec<u8>,
    /// The other side's public point: raw, or in a DER OCTET STRING.
    pub public_point: Vec<u8>,
}

/// CK_RSA_AES_KEY_WRAP_PARAMS (6.1.20).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RsaAesParams {
    /// The length in bits of the AES key that is made for one wrap.
    pub aes_bits: u64,
    /// How it is encrypted.
    pub oaep: OaepParams,
}

/// CK_ECDH_AES_KEY_WRAP_PARAMS (6.3.23).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcdhAesParams {
    /// The length in bits of the AES key that is agreed on for one wrap.
    pub aes_bits: u64,
    /// How it comes from the shared secret.
    pub kdf: Kdf,
    /// Data that goes into the derivation.
    pub shared_data: Vec<u8>,
}

/// CK_CCM_PARAMS (6.13.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CcmParams {
    /// The length of the plain text in bytes, which CCM must know beforehand.
    pub data_length: u64,
    /// The nonce, 7 to 13 bytes.
    pub nonce: Vec<u8>,
    /// Additional authenticated data.
    pub aad: Vec<u8>,
    /// Tag length in bytes.
    pub mac_length: u64,
}

/// CK_SALSA20_CHACHA20_POLY1305_PARAMS (6.61.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChaChaParams {
    /// The nonce, 12 bytes.
    pub nonce: Vec<u8>,
    /// Additional authenticated data.
    pub aad: Vec<u8>,
}

/// CK_HKDF_PARAMS (6.62.2), with the salt given as data or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HkdfParams {
    /// Whether the key goes through HKDF-Extract (RFC 5869, 2.2).
    pub extract: bool,
    /// Whether the result goes through HKDF-Expand (RFC 5869, 2.3).
    pub expand: bool,
    /// The hash of HMAC.
    pub hash: MechanismType,
    /// The salt of HKDF-Extract; none is as many zeros as the hash has bytes.
    pub salt: Vec<u8>,
    /// The info of HKDF-Expand.
    pub info: Vec<u8>,
}

/// CK_PKCS5_PBKD2_PARAMS2 (6.37.3) without the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pbkdf2Params {
    /// The hash of HMAC, the pseudo-random function, as a digest mechanism.
    pub hash: MechanismType,
    /// The salt.
    pub salt: Vec<u8>,
    /// How many times the function is applied.
    pub iterations: u64,
}

/// CK_EDDSA_PARAMS (6.3.16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EddsaParams {
    /// Ed25519ph.
    pub prehash: bool,
    /// Context, at most 255 bytes.
    pub context: Vec<u8>,
}

/// CK_SIGN_ADDITIONAL_CONTEXT, and with a hash CK_HASH_SIGN_ADDITIONAL_CONTEXT (6.67.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignContext {
    /// Which of the signatures of FIPS 204, 3.4, is asked for. Without meaning when a signature is verified.
    pub hedge: Hedge,
    /// The context string, at most 255 bytes.
    pub context: Vec<u8>,
    /// The hash that made the data: CKM_HASH_ML_DSA only.
    pub hash: Option<MechanismType>,
}

/// CK_HEDGE_TYPE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hedge {
    /// CKH_HEDGE_PREFERRED.
    Preferred,
    /// CKH_HEDGE_REQUIRED.
    Required,
    /// CKH_DETERMINISTIC_REQUIRED.
    Deterministic,
}

impl Hedge {
    /// Reads a CK_HEDGE_TYPE.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        [Self::Preferred, Self::Required, Self::Deterministic]
            .into_iter()
            .find(|hedge| hedge.number() == number)
    }

    /// The CK_HEDGE_TYPE.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Preferred => cryptoki_sys::CKH_HEDGE_PREFERRED,
            Self::Required => cryptoki_sys::CKH_HEDGE_REQUIRED,
            Self::Deterministic => cryptoki_sys::CKH_DETERMINISTIC_REQUIRED,
        }
    }
}

/// The longest shared data of a key derivation function, in bytes.
pub const MAX_SHARED_DATA: usize = 1 << 16;

/// The longest context string of a signature, in bytes (FIPS 204, 5.2; RFC 8032, 5.1).
const MAX_CONTEXT: usize = 255;

impl Mechanism {
    /// A mechanism without parameter.
    #[must_use]
    pub const fn plain(kind: MechanismType) -> Self {
        Self {
            kind,
            params: Params::None,
        }
    }

    /// The table row, and the checks of the parameter that need no key.
    ///
    /// # Errors
    /// `CKR_MECHANISM_INVALID` for a mechanism that the table or the policy does not have,
    /// `CKR_MECHANISM_PARAM_INVALID` for a parameter that does not fit.
    pub fn check(&self, policy: Policy) -> Result<&'static Row, Rv> {
        let row = mechanism::row(self.kind)
            .filter(|row| row.allowed(policy))
            .ok_or(Rv::MECHANISM_INVALID)?;
        if self.parameter_fits(row) && (policy != Policy::Fips || self.params.approved()) {
            Ok(row)
        } else {
            Err(Rv::MECHANISM_PARAM_INVALID)
        }
    }

    fn parameter_fits(&self, row: &Row) -> bool {
        match (row.params, &self.params) {
            (ParamKind::None, Params::None) => true,
            (ParamKind::Eddsa | ParamKind::OptionalIv(_) | ParamKind::SignContext, Params::None) => true,
            (ParamKind::Iv(length) | ParamKind::OptionalIv(length), Params::Iv(iv)) => iv.len() == length,
            (ParamKind::Ctr, Params::Ctr(ctr)) => (1..=128).contains(&ctr.counter_bits),
            // From C it is a handle; the daemon gets the key beside the mechanism.
            (ParamKind::Key, Params::None | Params::Number(_)) => true,
            (ParamKind::Data, Params::Data(data)) => (1..=MAX_SHARED_DATA).contains(&data.len()),
            // No group of this build has longer numbers; some senders put a zero in front.
            (ParamKind::PeerValue, Params::Data(value)) => (1..=1025).contains(&value.len()),
            // Keys have at most 1,024 bytes.
            (ParamKind::Bit, Params::Number(bit)) => *bit < 8 * 1024,
            (ParamKind::Kbkdf(mode), Params::Kbkdf(kbkdf)) => kbkdf.fits(mode),
            (ParamKind::Tls(secret), Params::Tls(tls)) => tls.fits(secret),
            (ParamKind::TlsMac, Params::TlsMac(mac)) => mac.fits(),
            (ParamKind::Pbkdf2, Params::Pbkdf2(pbkdf2)) => pbkdf2.fits(),
            // GMAC authenticates the data, and nothing beside it.
            (ParamKind::Gcm, Params::Gcm(gcm)) => {
                gcm.fits() && (row.family != mechanism::Family::AesGmac || gcm.aad.is_empty())
            }
            (ParamKind::RsaAes, Params::RsaAes(wrap)) => is_aes(wrap.aes_bits) && wrap.oaep.fits(),
            (ParamKind::EcdhAes, Params::EcdhAes(wrap)) => {
                is_aes(wrap.aes_bits) && fits_kdf(wrap.kdf, &wrap.shared_data)
            }
            (ParamKind::Hkdf, Params::Hkdf(hkdf)) => hkdf.fits(),
            (ParamKind::Ccm, Params::Ccm(ccm)) => ccm.fits(),
            (ParamKind::ChaCha, Params::ChaCha(chacha)) => chacha.nonce.len() == 12,
            (ParamKind::Pss, Params::Pss(pss)) => pss.fits(row.hash),
            (ParamKind::Oaep, Params::Oaep(oaep)) => oaep.fits(),
            (ParamKind::Ecdh, Params::Ecdh(ecdh)) => ecdh.fits(),
            (ParamKind::MacLength, Params::Number(length)) => row
                .mac_length()
                .is_some_and(|whole| (1..=whole as u64).contains(length)),
            (ParamKind::Eddsa, Params::Eddsa(eddsa)) => eddsa.context.len() <= MAX_CONTEXT,
            (ParamKind::SignContext, Params::SignContext(context)) => {
                context.hash.is_none() && context.context.len() <= MAX_CONTEXT
            }
            (ParamKind::HashSignContext, Params::SignContext(context)) => {
                let hash = context.hash.filter(|hash| *hash != MechanismType::SHA_1);
                hash.is_some_and(mechanism::is_sha) && context.context.len() <= MAX_CONTEXT
            }
            _ => false,
        }
    }
}

impl GcmParams {
    /// Tags of at least 96 bits and a non-empty IV, under every policy (DESIGN 8).
    fn fits(&self) -> bool {
        matches!(self.tag_bits, 96 | 104 | 112 | 120 | 128) && (1..=256).contains(&self.iv.len())
    }
}

impl HkdfParams {
    fn fits(&self) -> bool {
        (self.extract || self.expand)
            && mechanism::is_sha(self.hash)
            && self.salt.len() <= MAX_SHARED_DATA
            && self.info.len() <= MAX_SHARED_DATA
    }
}

impl Pbkdf2Params {
    /// The most applications of HMAC that one key may cost: some seconds of a thread that other clients wait for.
    const MOST_WORK: u64 = 10_000_000;

    /// The hashes that PKCS#11 has a number for, each with one (CK_PKCS5_PBKD2_PSEUDO_RANDOM_FUNCTION_TYPE).
    pub const HASHES: [(u64, MechanismType); 7] = [
        (cryptoki_sys::CKP_PKCS5_PBKD2_HMAC_SHA1, MechanismType::SHA_1),
        (cryptoki_sys::CKP_PKCS5_PBKD2_HMAC_SHA224, MechanismType::SHA224),
        (cryptoki_sys::CKP_PKCS5_PBKD2_HMAC_SHA256, MechanismType::SHA256),
        (cryptoki_sys::CKP_PKCS5_PBKD2_HMAC_SHA384, MechanismType::SHA384),
        (cryptoki_sys::CKP_PKCS5_PBKD2_HMAC_SHA512, MechanismType::SHA512),
        (cryptoki_sys::CKP_PKCS5_PBKD2_HMAC_SHA512_224, MechanismType::SHA512_224),
        (cryptoki_sys::CKP_PKCS5_PBKD2_HMAC_SHA512_256, MechanismType::SHA512_256),
    ];

    fn fits(&self) -> bool {
        Self::HASHES.iter().any(|(_, hash)| *hash == self.hash) && self.salt.len() <= MAX_SHARED_DATA && self.affords(1)
    }

    /// Whether a key of so many bytes costs no more than one client may ask for.
    #[must_use]
    pub fn affords(&self, bytes: usize) -> bool {
        let blocks = mechanism::digest_length(self.hash).map(|block| bytes.div_ceil(block) as u64);
        let work = blocks.and_then(|blocks| blocks.checked_mul(self.iterations));
        work.is_some_and(|work| (1..=Self::MOST_WORK).contains(&work))
    }
}

impl CcmParams {
    /// Tags of at least 64 bits (SP 800-38C, B.2); the nonce leaves room for the length (A.1).
    fn fits(&self) -> bool {
        let nonce = self.nonce.len();
        matches!(self.mac_length, 8 | 10 | 12 | 14 | 16)
            && (7..=13).contains(&nonce)
            && self.data_length.checked_shr(8 * (15 - nonce as u32)).unwrap_or(0) == 0
    }
}

impl PssParams {
    fn fits(&self, combined: Option<MechanismType>) -> bool {
        let Some(length) = mechanism::digest_length(self.hash).filter(|_| mechanism::is_sha(self.hash)) else {
            return false;
        };
        combined.is_none_or(|hash| hash == self.hash)
            && mechanism::mgf_hash(self.mgf).is_some()
            && self.salt_length <= 512 - 2 - length as u64
    }
}

impl OaepParams {
    fn fits(&self) -> bool {
        mechanism::is_sha(self.hash) && mechanism::mgf_hash(self.mgf).is_some()
    }
}

impl EcdhParams {
    fn fits(&self) -> bool {
        let point = self.public_point.len();
        fits_kdf(self.kdf, &self.shared_data) && point != 0 && point <= 256
    }
}

/// Whether this build has the derivation function, and it takes this shared data.
fn fits_kdf(kdf: Kdf, shared_data: &[u8]) -> bool {
    match kdf {
        Kdf::NULL => shared_data.is_empty(),
        kdf => mechanism::kdf_hash(kdf).is_some() && shared_data.len() <= MAX_SHARED_DATA,
    }
}

/// Whether AES has keys of this length.
const fn is_aes(bits: u64) -> bool {
    matches!(bits, 128 | 192 | 256)
}

//! Rows beside the classic ones: derivations from secret keys, wrapping by two keys, rarer modes of AES.

use super::{CRYPT, EC, Op, ParamKind, SIGN, WRAP, aes, ecdsa, generic, rsa};
use crate::ck::{KeyType as K, MechanismType as M};
use crate::kbkdf::KbkdfMode;
use crate::mechanism::{Family, MultiPart, Row};
use crate::tls::TlsSecret;

/// A row of AES whose data the module collects.
const fn collected(mechanism: M, family: Family, operations: Op, params: ParamKind, section: &'static str) -> Row {
    aes(mechanism, family, operations, params, MultiPart::Collect, section)
}

/// A row of XTS: two AES keys of one length, one after the other.
const fn xts(mechanism: M, family: Family, operations: Op, params: ParamKind, section: &'static str) -> Row {
    Row {
        key_types: &[K::AES_XTS],
        min: 32,
        max: 64,
        ..collected(mechanism, family, operations, params, section)
    }
}

/// A row of a derivation from a secret key.
const fn derives(mechanism: M, family: Family, params: ParamKind, section: &'static str) -> Row {
    Row {
        key_types: &[K::GENERIC_SECRET, K::AES, K::HKDF],
        section,
        ..generic(mechanism, family, Op::DERIVE, params)
    }
}

const fn kbkdf(mechanism: M, mode: KbkdfMode, section: &'static str) -> Row {
    derives(mechanism, Family::Kbkdf, ParamKind::Kbkdf(mode), section)
}

/// A row of wrapping by an agreed key. Curves below 128 bits of strength wrap nothing.
const fn ecdh_aes(mechanism: M, section: &'static str) -> Row {
    Row {
        mechanism,
        family: Family::EcdhAesWrap,
        key_types: EC,
        min: 256,
        operations: WRAP.with(Op::EC_NAMED),
        params: ParamKind::EcdhAes,
        section,
        ..ecdsa(M::ECDSA, None)
    }
}

/// A row of TLS 1.2's pseudo-random function.
const fn tls(mechanism: M, secret: TlsSecret, section: &'static str) -> Row {
    Row {
        section,
        ..generic(mechanism, Family::Tls, Op::DERIVE, ParamKind::Tls(secret))
    }
}

const fn tls_mac(mechanism: M, section: &'static str) -> Row {
    Row {
        section,
        multi_part: MultiPart::Collect,
        ..generic(mechanism, Family::TlsMac, SIGN, ParamKind::TlsMac)
    }
}

/// A row of finite-field Diffie-Hellman in the groups of [`crate::dh`].
const fn dh(mechanism: M, family: Family, operations: Op, params: ParamKind, section: &'static str) -> Row {
    Row {
        key_types: &[K::DH],
        min: 2048,
        max: 8192,
        ..rsa(mechanism, family, operations, params, None, section)
    }
}

/// A row of Triple DES: three keys of eight bytes. What comes in parts is kept.
const fn des3(mechanism: M, family: Family, operations: Op, params: ParamKind, section: &'static str) -> Row {
    Row {
        key_types: &[K::DES3],
        min: 24,
        max: 24,
        ..collected(mechanism, family, operations, params, section)
    }
}

pub(super) const ROWS: &[Row] = &[
    rsa(
        M::RSA_AES_KEY_WRAP,
        Family::RsaAesWrap,
        WRAP,
        ParamKind::RsaAes,
        None,
        "6.1.19",
    ),
    dh(
        M::DH_PKCS_KEY_PAIR_GEN,
        Family::DhKeyPairGen,
        Op::GENERATE_KEY_PAIR,
        ParamKind::None,
        "6.4.8",
    ),
    dh(
        M::DH_PKCS_DERIVE,
        Family::Dh,
        Op::DERIVE,
        ParamKind::PeerValue,
        "6.4.10",
    ),
    kbkdf(M::SP800_108_COUNTER_KDF, KbkdfMode::Counter, "6.42.3"),
    kbkdf(M::SP800_108_FEEDBACK_KDF, KbkdfMode::Feedback, "6.42.4"),
    kbkdf(M::SP800_108_DOUBLE_PIPELINE_KDF, KbkdfMode::DoublePipeline, "6.42.5"),
    tls(M::TLS12_MASTER_KEY_DERIVE_DH, TlsSecret::Master, "6.40.5"),
    tls(
        M::TLS12_EXTENDED_MASTER_KEY_DERIVE_DH,
        TlsSecret::ExtendedMaster,
        "6.40.5",
    ),
    tls(M::TLS12_KDF, TlsSecret::Exported, "6.40.9"),
    tls(M::TLS_KDF, TlsSecret::Exported, "6.40.8"),
    tls_mac(M::TLS12_MAC, "6.40.9"),
    tls_mac(M::TLS_MAC, "6.40.3"),
    derives(M::SHAKE_128_KEY_DERIVATION, Family::Shake, ParamKind::None, "6.32.2"),
    derives(M::SHAKE_256_KEY_DERIVATION, Family::Shake, ParamKind::None, "6.32.2"),
    Row {
        key_types: &[K::GENERIC_SECRET, K::AES, K::HKDF],
        section: "6.37.4",
        ..generic(M::PKCS5_PBKD2, Family::Pbkdf2, Op::GENERATE, ParamKind::Pbkdf2)
    },
    derives(
        M::CONCATENATE_BASE_AND_KEY,
        Family::Concatenate,
        ParamKind::Key,
        "6.43.3",
    ),
    derives(
        M::CONCATENATE_BASE_AND_DATA,
        Family::Concatenate,
        ParamKind::Data,
        "6.43.4",
    ),
    derives(
        M::CONCATENATE_DATA_AND_BASE,
        Family::Concatenate,
        ParamKind::Data,
        "6.43.5",
    ),
    derives(M::XOR_BASE_AND_DATA, Family::Xor, ParamKind::Data, "6.43.6"),
    derives(M::EXTRACT_KEY_FROM_KEY, Family::Extract, ParamKind::Bit, "6.43.7"),
    ecdh_aes(M::ECDH_AES_KEY_WRAP, "6.3.20"),
    // All curves of this build that are of type CKK_EC have the cofactor 1.
    ecdh_aes(M::ECDH_COF_AES_KEY_WRAP, "6.3.21"),
    collected(M::AES_CTS, Family::AesCts, CRYPT, ParamKind::Iv(16), "6.12"),
    collected(M::AES_GMAC, Family::AesGmac, SIGN, ParamKind::Gcm, "6.13.6"),
    Row {
        multi_part: MultiPart::No,
        ..xts(
            M::AES_XTS_KEY_GEN,
            Family::AesXtsKeyGen,
            Op::GENERATE,
            ParamKind::None,
            "6.15.3",
        )
    },
    xts(M::AES_XTS, Family::AesXts, CRYPT, ParamKind::Iv(16), "6.15.4"),
    Row {
        multi_part: MultiPart::No,
        ..des3(
            M::DES3_KEY_GEN,
            Family::Des3KeyGen,
            Op::GENERATE,
            ParamKind::None,
            "6.18",
        )
    },
    des3(M::DES3_ECB, Family::Des3Ecb, CRYPT, ParamKind::None, "6.18"),
    des3(M::DES3_CBC, Family::Des3Cbc, CRYPT, ParamKind::Iv(8), "6.18.6"),
    des3(M::DES3_CBC_PAD, Family::Des3CbcPad, CRYPT, ParamKind::Iv(8), "6.18.6"),
    des3(M::DES3_CMAC, Family::Des3Cmac, SIGN, ParamKind::None, "6.19.4"),
    des3(
        M::DES3_CMAC_GENERAL,
        Family::Des3Cmac,
        SIGN,
        ParamKind::MacLength,
        "6.19.3",
    ),
];

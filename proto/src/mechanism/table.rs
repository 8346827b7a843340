//! The rows of the mechanism table, in the order of PKCS#11 3.2, chapter 6; those of post-quantum keys are in
//! `table/quantum.rs`, those that PKCS#11 3.2 has beside the ones everybody knows in `table/further.rs`, BLAKE2b and keys of HMAC in
//! `table/hashes.rs`. "Adding a mechanism" is a checklist in `docs/checklists.md`.

mod further;
mod hashes;
mod quantum;

use super::{Family, MultiPart, Operations as Op, ParamKind, Row, Unit};
use crate::ck::{KeyType as K, MechanismType as M};

const SIGN: Op = Op::SIGN.with(Op::VERIFY);
const RECOVER: Op = Op::SIGN_RECOVER.with(Op::VERIFY_RECOVER);
const CRYPT: Op = Op::ENCRYPT.with(Op::DECRYPT);
const WRAP: Op = Op::WRAP.with(Op::UNWRAP);
const RSA: &[K] = &[K::RSA];
const EC: &[K] = &[K::EC];
const EDWARDS: &[K] = &[K::EC_EDWARDS];
const AES: &[K] = &[K::AES];
const MONTGOMERY: &[K] = &[K::EC_MONTGOMERY];
const SECRET: &[K] = &[K::GENERIC_SECRET];

/// A row of an RSA mechanism: 1,024 to 4,096 bits, the policy raises the minimum.
const fn rsa(
    mechanism: M,
    family: Family,
    operations: Op,
    params: ParamKind,
    hash: Option<M>,
    section: &'static str,
) -> Row {
    let multi_part = if hash.is_some() { MultiPart::Hash } else { MultiPart::No };
    Row {
        mechanism,
        family,
        key_types: RSA,
        min: 1024,
        max: 4096,
        unit: Unit::Bits,
        operations,
        params,
        hash,
        multi_part,
        section,
    }
}

/// A row of PKCS #1 v1.5 that hashes and signs.
const fn rsa_pkcs1(mechanism: M, hash: M) -> Row {
    rsa(mechanism, Family::RsaPkcs1, SIGN, ParamKind::None, Some(hash), "6.1.14")
}

/// A row of PSS that hashes and signs.
const fn rsa_pss(mechanism: M, hash: M) -> Row {
    rsa(mechanism, Family::RsaPss, SIGN, ParamKind::Pss, Some(hash), "6.1.15")
}

/// A row of ECDSA: P-224, P-256, P-384, P-521 and secp256k1.
const fn ecdsa(mechanism: M, hash: Option<M>) -> Row {
    let multi_part = if hash.is_some() { MultiPart::Hash } else { MultiPart::No };
    Row {
        mechanism,
        family: Family::Ecdsa,
        key_types: EC,
        min: 224,
        max: 521,
        unit: Unit::Bits,
        operations: SIGN.with(Op::EC_NAMED),
        params: ParamKind::None,
        hash,
        multi_part,
        section: if hash.is_some() { "6.3.13" } else { "6.3.12" },
    }
}

/// A row of AES: 16, 24 or 32 bytes.
const fn aes(
    mechanism: M,
    family: Family,
    operations: Op,
    params: ParamKind,
    multi_part: MultiPart,
    section: &'static str,
) -> Row {
    Row {
        mechanism,
        family,
        key_types: AES,
        min: 16,
        max: 32,
        unit: Unit::Bytes,
        operations,
        params,
        hash: None,
        multi_part,
        section,
    }
}

/// A row of ChaCha20: keys of 32 bytes.
const fn chacha(mechanism: M, family: Family, operations: Op, params: ParamKind, section: &'static str) -> Row {
    Row {
        key_types: &[K::CHACHA20],
        min: 32,
        ..aes(mechanism, family, operations, params, MultiPart::No, section)
    }
}

/// A row of an HMAC: keys of 1 byte to 1 KiB, as generic secrets or of the hash's own type.
const fn hmac(mechanism: M, hash: M, key_types: &'static [K], section: &'static str) -> Row {
    Row {
        mechanism,
        family: Family::Hmac,
        key_types,
        min: 1,
        max: 1024,
        unit: Unit::Bytes,
        operations: SIGN,
        params: ParamKind::None,
        hash: Some(hash),
        multi_part: MultiPart::Collect,
        section,
    }
}

/// A row of generic secrets that makes keys of them.
const fn generic(mechanism: M, family: Family, operations: Op, params: ParamKind) -> Row {
    Row {
        mechanism,
        family,
        operations,
        params,
        hash: None,
        multi_part: MultiPart::No,
        ..hmac(mechanism, M::SHA256, SECRET, "6.8.3")
    }
}

/// A row of an HMAC whose length the caller chooses.
const fn general(mechanism: M, hash: M, key_types: &'static [K], section: &'static str) -> Row {
    Row {
        params: ParamKind::MacLength,
        ..hmac(mechanism, hash, key_types, section)
    }
}

/// A row of a digest.
const fn digest(mechanism: M, section: &'static str) -> Row {
    Row {
        mechanism,
        family: Family::Digest,
        key_types: &[],
        min: 0,
        max: 0,
        unit: Unit::None,
        operations: Op::DIGEST,
        params: ParamKind::None,
        hash: Some(mechanism),
        multi_part: MultiPart::Hash,
        section,
    }
}

/// Every mechanism of this build.
pub static TABLE: &[Row] = &ALL;

const PARTS: [&[Row]; 4] = [CLASSIC, further::ROWS, hashes::ROWS, quantum::ROWS];
const COUNT: usize = PARTS[0].len() + PARTS[1].len() + PARTS[2].len() + PARTS[3].len();
static ALL: [Row; COUNT] = {
    let (mut all, mut index, mut part, mut place) = ([CLASSIC[0]; COUNT], 0, 0, 0);
    while index < COUNT {
        if place == PARTS[part].len() {
            (part, place) = (part + 1, 0);
        }
        all[index] = PARTS[part][place];
        (index, place) = (index + 1, place + 1);
    }
    all
};

const CLASSIC: &[Row] = &[
    rsa(
        M::RSA_PKCS_KEY_PAIR_GEN,
        Family::RsaKeyPairGen,
        Op::GENERATE_KEY_PAIR,
        ParamKind::None,
        None,
        "6.1.4",
    ),
    rsa(
        M::RSA_PKCS,
        Family::RsaPkcs1,
        SIGN.with(RECOVER).with(CRYPT).with(WRAP),
        ParamKind::None,
        None,
        "6.1.6",
    ),
    rsa_pkcs1(M::SHA1_RSA_PKCS, M::SHA_1),
    rsa_pkcs1(M::SHA224_RSA_PKCS, M::SHA224),
    rsa_pkcs1(M::SHA256_RSA_PKCS, M::SHA256),
    rsa_pkcs1(M::SHA384_RSA_PKCS, M::SHA384),
    rsa_pkcs1(M::SHA512_RSA_PKCS, M::SHA512),
    rsa_pkcs1(M::SHA3_224_RSA_PKCS, M::SHA3_224),
    rsa_pkcs1(M::SHA3_256_RSA_PKCS, M::SHA3_256),
    rsa_pkcs1(M::SHA3_384_RSA_PKCS, M::SHA3_384),
    rsa_pkcs1(M::SHA3_512_RSA_PKCS, M::SHA3_512),
    rsa(M::RSA_PKCS_PSS, Family::RsaPss, SIGN, ParamKind::Pss, None, "6.1.10"),
    rsa_pss(M::SHA1_RSA_PKCS_PSS, M::SHA_1),
    rsa_pss(M::SHA224_RSA_PKCS_PSS, M::SHA224),
    rsa_pss(M::SHA256_RSA_PKCS_PSS, M::SHA256),
    rsa_pss(M::SHA384_RSA_PKCS_PSS, M::SHA384),
    rsa_pss(M::SHA512_RSA_PKCS_PSS, M::SHA512),
    rsa_pss(M::SHA3_224_RSA_PKCS_PSS, M::SHA3_224),
    rsa_pss(M::SHA3_256_RSA_PKCS_PSS, M::SHA3_256),
    rsa_pss(M::SHA3_384_RSA_PKCS_PSS, M::SHA3_384),
    rsa_pss(M::SHA3_512_RSA_PKCS_PSS, M::SHA3_512),
    rsa(
        M::RSA_PKCS_OAEP,
        Family::RsaOaep,
        CRYPT.with(WRAP),
        ParamKind::Oaep,
        None,
        "6.1.8",
    ),
    rsa(
        M::RSA_X_509,
        Family::RsaRaw,
        SIGN.with(RECOVER).with(CRYPT),
        ParamKind::None,
        None,
        "6.1.12",
    ),
    Row {
        mechanism: M::EC_KEY_PAIR_GEN,
        family: Family::EcKeyPairGen,
        operations: Op::GENERATE_KEY_PAIR.with(Op::EC_NAMED),
        section: "6.3.9",
        ..ecdsa(M::ECDSA, None)
    },
    ecdsa(M::ECDSA, None),
    ecdsa(M::ECDSA_SHA1, Some(M::SHA_1)),
    ecdsa(M::ECDSA_SHA224, Some(M::SHA224)),
    ecdsa(M::ECDSA_SHA256, Some(M::SHA256)),
    ecdsa(M::ECDSA_SHA384, Some(M::SHA384)),
    ecdsa(M::ECDSA_SHA512, Some(M::SHA512)),
    ecdsa(M::ECDSA_SHA3_224, Some(M::SHA3_224)),
    ecdsa(M::ECDSA_SHA3_256, Some(M::SHA3_256)),
    ecdsa(M::ECDSA_SHA3_384, Some(M::SHA3_384)),
    ecdsa(M::ECDSA_SHA3_512, Some(M::SHA3_512)),
    Row {
        mechanism: M::ECDH1_DERIVE,
        family: Family::Ecdh,
        key_types: &[K::EC, K::EC_MONTGOMERY],
        operations: Op::DERIVE.with(Op::EC_NAMED),
        params: ParamKind::Ecdh,
        section: "6.3.17",
        ..ecdsa(M::ECDSA, None)
    },
    // All curves of this build that are of type CKK_EC have the cofactor 1.
    Row {
        mechanism: M::ECDH1_COFACTOR_DERIVE,
        family: Family::Ecdh,
        operations: Op::DERIVE.with(Op::EC_NAMED),
        params: ParamKind::Ecdh,
        section: "6.3.18",
        ..ecdsa(M::ECDSA, None)
    },
    Row {
        mechanism: M::EC_EDWARDS_KEY_PAIR_GEN,
        family: Family::EdwardsKeyPairGen,
        key_types: EDWARDS,
        min: 255,
        max: 255,
        operations: Op::GENERATE_KEY_PAIR.with(Op::EC_NAMED),
        section: "6.3.10",
        ..ecdsa(M::ECDSA, None)
    },
    Row {
        mechanism: M::EDDSA,
        family: Family::Eddsa,
        key_types: EDWARDS,
        min: 255,
        max: 255,
        params: ParamKind::Eddsa,
        multi_part: MultiPart::Collect,
        section: "6.3.14",
        ..ecdsa(M::ECDSA, None)
    },
    Row {
        mechanism: M::EC_MONTGOMERY_KEY_PAIR_GEN,
        family: Family::MontgomeryKeyPairGen,
        key_types: MONTGOMERY,
        min: 255,
        max: 255,
        operations: Op::GENERATE_KEY_PAIR.with(Op::EC_NAMED),
        section: "6.3.11",
        ..ecdsa(M::ECDSA, None)
    },
    aes(
        M::AES_KEY_GEN,
        Family::AesKeyGen,
        Op::GENERATE,
        ParamKind::None,
        MultiPart::No,
        "6.10.3",
    ),
    aes(
        M::AES_ECB,
        Family::AesEcb,
        CRYPT,
        ParamKind::None,
        MultiPart::Blocks,
        "6.10.4",
    ),
    aes(
        M::AES_CBC,
        Family::AesCbc,
        CRYPT,
        ParamKind::Iv(16),
        MultiPart::Blocks,
        "6.10.5",
    ),
    aes(
        M::AES_CBC_PAD,
        Family::AesCbcPad,
        CRYPT.with(WRAP),
        ParamKind::Iv(16),
        MultiPart::Blocks,
        "6.10.6",
    ),
    aes(
        M::AES_CTR,
        Family::AesCtr,
        CRYPT,
        ParamKind::Ctr,
        MultiPart::Blocks,
        "6.11.3",
    ),
    aes(
        M::AES_GCM,
        Family::AesGcm,
        CRYPT.with(WRAP),
        ParamKind::Gcm,
        MultiPart::Collect,
        "6.13.2",
    ),
    aes(
        M::AES_CCM,
        Family::AesCcm,
        CRYPT,
        ParamKind::Ccm,
        MultiPart::Collect,
        "6.13.4",
    ),
    aes(
        M::AES_KEY_WRAP,
        Family::AesKw,
        CRYPT.with(WRAP),
        ParamKind::OptionalIv(8),
        MultiPart::No,
        "6.16.3",
    ),
    aes(
        M::AES_KEY_WRAP_KWP,
        Family::AesKwp,
        CRYPT.with(WRAP),
        ParamKind::OptionalIv(4),
        MultiPart::No,
        "6.16.3",
    ),
    // The older name of the same thing, as SoftHSM has it.
    aes(
        M::AES_KEY_WRAP_PAD,
        Family::AesKwp,
        CRYPT.with(WRAP),
        ParamKind::OptionalIv(4),
        MultiPart::No,
        "6.16.3",
    ),
    aes(
        M::AES_CMAC,
        Family::AesCmac,
        SIGN,
        ParamKind::None,
        MultiPart::Collect,
        "6.14.4",
    ),
    aes(
        M::AES_CMAC_GENERAL,
        Family::AesCmac,
        SIGN,
        ParamKind::MacLength,
        MultiPart::Collect,
        "6.14.3",
    ),
    chacha(
        M::CHACHA20_KEY_GEN,
        Family::ChaChaKeyGen,
        Op::GENERATE,
        ParamKind::None,
        "6.58.4",
    ),
    Row {
        multi_part: MultiPart::Collect,
        ..chacha(
            M::CHACHA20_POLY1305,
            Family::ChaChaPoly,
            CRYPT,
            ParamKind::ChaCha,
            "6.61.2",
        )
    },
    generic(
        M::GENERIC_SECRET_KEY_GEN,
        Family::GenericSecretKeyGen,
        Op::GENERATE,
        ParamKind::None,
    ),
    Row {
        mechanism: M::HKDF_KEY_GEN,
        family: Family::HkdfKeyGen,
        key_types: &[K::HKDF],
        section: "6.62.5",
        ..generic(
            M::GENERIC_SECRET_KEY_GEN,
            Family::GenericSecretKeyGen,
            Op::GENERATE,
            ParamKind::None,
        )
    },
    Row {
        key_types: &[K::GENERIC_SECRET, K::HKDF],
        section: "6.62.3",
        ..generic(M::HKDF_DERIVE, Family::Hkdf, Op::DERIVE, ParamKind::Hkdf)
    },
    hmac(M::SHA_1_HMAC, M::SHA_1, &[K::GENERIC_SECRET, K::SHA_1_HMAC], "6.20.4"),
    general(
        M::SHA_1_HMAC_GENERAL,
        M::SHA_1,
        &[K::GENERIC_SECRET, K::SHA_1_HMAC],
        "6.20.3",
    ),
    hmac(
        M::SHA224_HMAC,
        M::SHA224,
        &[K::GENERIC_SECRET, K::SHA224_HMAC],
        "6.21.4",
    ),
    general(
        M::SHA224_HMAC_GENERAL,
        M::SHA224,
        &[K::GENERIC_SECRET, K::SHA224_HMAC],
        "6.21.3",
    ),
    hmac(
        M::SHA256_HMAC,
        M::SHA256,
        &[K::GENERIC_SECRET, K::SHA256_HMAC],
        "6.22.4",
    ),
    general(
        M::SHA256_HMAC_GENERAL,
        M::SHA256,
        &[K::GENERIC_SECRET, K::SHA256_HMAC],
        "6.22.3",
    ),
    hmac(
        M::SHA384_HMAC,
        M::SHA384,
        &[K::GENERIC_SECRET, K::SHA384_HMAC],
        "6.23.4",
    ),
    general(
        M::SHA384_HMAC_GENERAL,
        M::SHA384,
        &[K::GENERIC_SECRET, K::SHA384_HMAC],
        "6.23.3",
    ),
    hmac(
        M::SHA512_HMAC,
        M::SHA512,
        &[K::GENERIC_SECRET, K::SHA512_HMAC],
        "6.24.4",
    ),
    general(
        M::SHA512_HMAC_GENERAL,
        M::SHA512,
        &[K::GENERIC_SECRET, K::SHA512_HMAC],
        "6.24.3",
    ),
    hmac(
        M::SHA512_224_HMAC,
        M::SHA512_224,
        &[K::GENERIC_SECRET, K::SHA512_224_HMAC],
        "6.25.4",
    ),
    general(
        M::SHA512_224_HMAC_GENERAL,
        M::SHA512_224,
        &[K::GENERIC_SECRET, K::SHA512_224_HMAC],
        "6.25.3",
    ),
    hmac(
        M::SHA512_256_HMAC,
        M::SHA512_256,
        &[K::GENERIC_SECRET, K::SHA512_256_HMAC],
        "6.26.4",
    ),
    general(
        M::SHA512_256_HMAC_GENERAL,
        M::SHA512_256,
        &[K::GENERIC_SECRET, K::SHA512_256_HMAC],
        "6.26.3",
    ),
    hmac(
        M::SHA3_224_HMAC,
        M::SHA3_224,
        &[K::GENERIC_SECRET, K::SHA3_224_HMAC],
        "6.28.4",
    ),
    general(
        M::SHA3_224_HMAC_GENERAL,
        M::SHA3_224,
        &[K::GENERIC_SECRET, K::SHA3_224_HMAC],
        "6.28.3",
    ),
    hmac(
        M::SHA3_256_HMAC,
        M::SHA3_256,
        &[K::GENERIC_SECRET, K::SHA3_256_HMAC],
        "6.29.4",
    ),
    general(
        M::SHA3_256_HMAC_GENERAL,
        M::SHA3_256,
        &[K::GENERIC_SECRET, K::SHA3_256_HMAC],
        "6.29.3",
    ),
    hmac(
        M::SHA3_384_HMAC,
        M::SHA3_384,
        &[K::GENERIC_SECRET, K::SHA3_384_HMAC],
        "6.30.4",
    ),
    general(
        M::SHA3_384_HMAC_GENERAL,
        M::SHA3_384,
        &[K::GENERIC_SECRET, K::SHA3_384_HMAC],
        "6.30.3",
    ),
    hmac(
        M::SHA3_512_HMAC,
        M::SHA3_512,
        &[K::GENERIC_SECRET, K::SHA3_512_HMAC],
        "6.31.4",
    ),
    general(
        M::SHA3_512_HMAC_GENERAL,
        M::SHA3_512,
        &[K::GENERIC_SECRET, K::SHA3_512_HMAC],
        "6.31.3",
    ),
    digest(M::SHA_1, "6.20.2"),
    digest(M::SHA224, "6.21.2"),
    digest(M::SHA256, "6.22.2"),
    digest(M::SHA384, "6.23.2"),
    digest(M::SHA512, "6.24.2"),
    digest(M::SHA512_224, "6.25.2"),
    digest(M::SHA512_256, "6.26.2"),
    digest(M::SHA3_224, "6.28.2"),
    digest(M::SHA3_256, "6.29.2"),
    digest(M::SHA3_384, "6.30.2"),
    digest(M::SHA3_512, "6.31.2"),
];

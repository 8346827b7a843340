//! Rows of BLAKE2b (PKCS#11 3.2, 6.33 to 6.36), and of making keys of each HMAC.

use super::{Op, ParamKind, digest, general, generic, hmac};
use crate::ck::{KeyType as K, MechanismType as M};
use crate::mechanism::{Family, Row};

/// A row of making keys of one HMAC. They are as keys of CKM_GENERIC_SECRET_KEY_GEN that are named so. `hash`: what the keys are
/// for; the policy that does not have it does not make them.
const fn key_gen(mechanism: M, hash: M, key_types: &'static [K], section: &'static str) -> Row {
    Row {
        key_types,
        hash: Some(hash),
        section,
        ..generic(mechanism, Family::HmacKeyGen, Op::GENERATE, ParamKind::None)
    }
}

pub(super) const ROWS: &[Row] = &[
    digest(M::BLAKE2B_160, "6.33.2"),
    hmac(
        M::BLAKE2B_160_HMAC,
        M::BLAKE2B_160,
        &[K::GENERIC_SECRET, K::BLAKE2B_160_HMAC],
        "6.33.4",
    ),
    general(
        M::BLAKE2B_160_HMAC_GENERAL,
        M::BLAKE2B_160,
        &[K::GENERIC_SECRET, K::BLAKE2B_160_HMAC],
        "6.33.3",
    ),
    key_gen(M::BLAKE2B_160_KEY_GEN, M::BLAKE2B_160, &[K::BLAKE2B_160_HMAC], "6.33.6"),
    digest(M::BLAKE2B_256, "6.34.2"),
    hmac(
        M::BLAKE2B_256_HMAC,
        M::BLAKE2B_256,
        &[K::GENERIC_SECRET, K::BLAKE2B_256_HMAC],
        "6.34.4",
    ),
    general(
        M::BLAKE2B_256_HMAC_GENERAL,
        M::BLAKE2B_256,
        &[K::GENERIC_SECRET, K::BLAKE2B_256_HMAC],
        "6.34.3",
    ),
    key_gen(M::BLAKE2B_256_KEY_GEN, M::BLAKE2B_256, &[K::BLAKE2B_256_HMAC], "6.34.6"),
    digest(M::BLAKE2B_384, "6.35.2"),
    hmac(
        M::BLAKE2B_384_HMAC,
        M::BLAKE2B_384,
        &[K::GENERIC_SECRET, K::BLAKE2B_384_HMAC],
        "6.35.4",
    ),
    general(
        M::BLAKE2B_384_HMAC_GENERAL,
        M::BLAKE2B_384,
        &[K::GENERIC_SECRET, K::BLAKE2B_384_HMAC],
        "6.35.3",
    ),
    key_gen(M::BLAKE2B_384_KEY_GEN, M::BLAKE2B_384, &[K::BLAKE2B_384_HMAC], "6.35.6"),
    digest(M::BLAKE2B_512, "6.36.2"),
    hmac(
        M::BLAKE2B_512_HMAC,
        M::BLAKE2B_512,
        &[K::GENERIC_SECRET, K::BLAKE2B_512_HMAC],
        "6.36.4",
    ),
    general(
        M::BLAKE2B_512_HMAC_GENERAL,
        M::BLAKE2B_512,
        &[K::GENERIC_SECRET, K::BLAKE2B_512_HMAC],
        "6.36.3",
    ),
    key_gen(M::BLAKE2B_512_KEY_GEN, M::BLAKE2B_512, &[K::BLAKE2B_512_HMAC], "6.36.6"),
    key_gen(M::SHA_1_KEY_GEN, M::SHA_1, &[K::SHA_1_HMAC], "6.20.6"),
    key_gen(M::SHA224_KEY_GEN, M::SHA224, &[K::SHA224_HMAC], "6.21.6"),
    key_gen(M::SHA256_KEY_GEN, M::SHA256, &[K::SHA256_HMAC], "6.22.6"),
    key_gen(M::SHA384_KEY_GEN, M::SHA384, &[K::SHA384_HMAC], "6.23.6"),
    key_gen(M::SHA512_KEY_GEN, M::SHA512, &[K::SHA512_HMAC], "6.24.6"),
    key_gen(M::SHA512_224_KEY_GEN, M::SHA512_224, &[K::SHA512_224_HMAC], "6.25.6"),
    key_gen(M::SHA512_256_KEY_GEN, M::SHA512_256, &[K::SHA512_256_HMAC], "6.26.6"),
    key_gen(M::SHA3_224_KEY_GEN, M::SHA3_224, &[K::SHA3_224_HMAC], "6.28.6"),
    key_gen(M::SHA3_256_KEY_GEN, M::SHA3_256, &[K::SHA3_256_HMAC], "6.29.6"),
    key_gen(M::SHA3_384_KEY_GEN, M::SHA3_384, &[K::SHA3_384_HMAC], "6.30.6"),
    key_gen(M::SHA3_512_KEY_GEN, M::SHA3_512, &[K::SHA3_512_HMAC], "6.31.6"),
];

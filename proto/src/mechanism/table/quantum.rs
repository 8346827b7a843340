//! The rows of ML-DSA, ML-KEM and SLH-DSA (PKCS#11 3.2, 6.67 to 6.69), and of the verification of HSS, XMSS and XMSS^MT (6.65, 6.66).

use super::SIGN;
use crate::ck::{KeyType as K, MechanismType as M};
use crate::mechanism::{Family, MultiPart, Operations as Op, ParamKind, Row, Unit};

const ML_DSA: &[K] = &[K::ML_DSA];
const ML_KEM: &[K] = &[K::ML_KEM];
const SLH_DSA: &[K] = &[K::SLH_DSA];

/// A row of ML-DSA: the sizes are those of public keys.
const fn ml_dsa(mechanism: M, family: Family, params: ParamKind, hash: Option<M>, multi_part: MultiPart) -> Row {
    Row {
        mechanism,
        family,
        key_types: ML_DSA,
        min: 1312,
        max: 2592,
        unit: Unit::Bytes,
        operations: SIGN,
        params,
        hash,
        multi_part,
        section: match (family, hash) {
            (Family::MlDsaKeyPairGen, _) => "6.67.4",
            (Family::MlDsa, _) => "6.67.5",
            (_, None) => "6.67.6",
            (_, Some(_)) => "6.67.7",
        },
    }
}

/// A row of ML-KEM: the sizes are those of public keys.
const fn ml_kem(mechanism: M, family: Family, operations: Op) -> Row {
    Row {
        key_types: ML_KEM,
        min: 800,
        max: 1568,
        operations,
        section: match family {
            Family::MlKemKeyPairGen => "6.68.4",
            _ => "6.68.5",
        },
        ..ml_dsa(mechanism, family, ParamKind::None, None, MultiPart::No)
    }
}

/// A row of HashML-DSA that hashes.
const fn hash_ml_dsa(mechanism: M, hash: M) -> Row {
    let (family, params) = (Family::HashMlDsa, ParamKind::SignContext);
    ml_dsa(mechanism, family, params, Some(hash), MultiPart::Hash)
}

/// A row of SLH-DSA: the sizes are those of public keys.
const fn slh_dsa(mechanism: M, row: Row, family: Family) -> Row {
    Row {
        mechanism,
        family,
        key_types: SLH_DSA,
        min: 32,
        max: 64,
        section: match (family, row.hash) {
            (Family::SlhDsaKeyPairGen, _) => "6.69.4",
            (Family::SlhDsa, _) => "6.69.5",
            (_, None) => "6.69.6",
            (_, Some(_)) => "6.69.7",
        },
        ..row
    }
}

/// A row of HashSLH-DSA that hashes.
const fn hash_slh_dsa(mechanism: M, hash: M) -> Row {
    slh_dsa(mechanism, hash_ml_dsa(mechanism, hash), Family::HashSlhDsa)
}

/// A row of signatures by hashes with a state, which are verified and not made (docs/decisions/0021). PKCS#11 has no sizes for them.
const fn stateful(mechanism: M, key_types: &'static [K], section: &'static str) -> Row {
    Row {
        key_types,
        min: 0,
        max: 0,
        unit: Unit::None,
        operations: Op::VERIFY,
        section,
        ..ml_dsa(mechanism, Family::Stateful, ParamKind::None, None, MultiPart::No)
    }
}

/// All of them.
pub(super) const ROWS: &[Row] = &[
    Row {
        operations: Op::GENERATE_KEY_PAIR,
        ..ml_dsa(
            M::ML_DSA_KEY_PAIR_GEN,
            Family::MlDsaKeyPairGen,
            ParamKind::None,
            None,
            MultiPart::No,
        )
    },
    ml_dsa(
        M::ML_DSA,
        Family::MlDsa,
        ParamKind::SignContext,
        None,
        MultiPart::Collect,
    ),
    ml_dsa(
        M::HASH_ML_DSA,
        Family::HashMlDsa,
        ParamKind::HashSignContext,
        None,
        MultiPart::No,
    ),
    hash_ml_dsa(M::HASH_ML_DSA_SHA224, M::SHA224),
    hash_ml_dsa(M::HASH_ML_DSA_SHA256, M::SHA256),
    hash_ml_dsa(M::HASH_ML_DSA_SHA384, M::SHA384),
    hash_ml_dsa(M::HASH_ML_DSA_SHA512, M::SHA512),
    hash_ml_dsa(M::HASH_ML_DSA_SHA3_224, M::SHA3_224),
    hash_ml_dsa(M::HASH_ML_DSA_SHA3_256, M::SHA3_256),
    hash_ml_dsa(M::HASH_ML_DSA_SHA3_384, M::SHA3_384),
    hash_ml_dsa(M::HASH_ML_DSA_SHA3_512, M::SHA3_512),
    ml_kem(M::ML_KEM_KEY_PAIR_GEN, Family::MlKemKeyPairGen, Op::GENERATE_KEY_PAIR),
    ml_kem(M::ML_KEM, Family::MlKem, Op::ENCAPSULATE.with(Op::DECAPSULATE)),
    slh_dsa(
        M::SLH_DSA_KEY_PAIR_GEN,
        ml_kem(M::ML_KEM_KEY_PAIR_GEN, Family::MlKemKeyPairGen, Op::GENERATE_KEY_PAIR),
        Family::SlhDsaKeyPairGen,
    ),
    slh_dsa(
        M::SLH_DSA,
        ml_dsa(
            M::ML_DSA,
            Family::MlDsa,
            ParamKind::SignContext,
            None,
            MultiPart::Collect,
        ),
        Family::SlhDsa,
    ),
    slh_dsa(
        M::HASH_SLH_DSA,
        ml_dsa(
            M::HASH_ML_DSA,
            Family::HashMlDsa,
            ParamKind::HashSignContext,
            None,
            MultiPart::No,
        ),
        Family::HashSlhDsa,
    ),
    hash_slh_dsa(M::HASH_SLH_DSA_SHA224, M::SHA224),
    hash_slh_dsa(M::HASH_SLH_DSA_SHA256, M::SHA256),
    hash_slh_dsa(M::HASH_SLH_DSA_SHA384, M::SHA384),
    hash_slh_dsa(M::HASH_SLH_DSA_SHA512, M::SHA512),
    hash_slh_dsa(M::HASH_SLH_DSA_SHA3_224, M::SHA3_224),
    hash_slh_dsa(M::HASH_SLH_DSA_SHA3_256, M::SHA3_256),
    hash_slh_dsa(M::HASH_SLH_DSA_SHA3_384, M::SHA3_384),
    hash_slh_dsa(M::HASH_SLH_DSA_SHA3_512, M::SHA3_512),
    stateful(M::HSS, &[K::HSS], "6.65.5"),
    stateful(M::XMSS, &[K::XMSS], "6.66.8"),
    stateful(M::XMSSMT, &[K::XMSSMT], "6.66.8"),
];

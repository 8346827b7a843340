//! SLH-DSA against the crate `slh-dsa`. NIST's vectors, with signatures to the byte, run through C in the `tests` crate.

use crate::sample;
use hsmd_crypto::secret::Secret;
use hsmd_crypto::{Generate, Input, Key, Material, OpError, digest, generate, pkcs8};
use hsmd_proto::ck::MechanismType as M;
use hsmd_proto::mechanism::{Family, TABLE};
use hsmd_proto::parameter_set::ParameterSet as P;
use hsmd_proto::params::{Hedge, Mechanism, Params, SignContext};
use slh_dsa::{Signature, SigningKey, VerifyingKey};

const FAST: [P; 6] = [
    P::SlhDsaSha2_128f,
    P::SlhDsaShake128f,
    P::SlhDsaSha2_192f,
    P::SlhDsaShake192f,
    P::SlhDsaSha2_256f,
    P::SlhDsaShake256f,
];

fn with_context(kind: M, hedge: Hedge, context: &[u8], hash: Option<M>) -> Mechanism {
    let context = context.to_vec();
    sample::mechanism(kind, Params::SignContext(SignContext { hedge, context, hash }))
}

fn signed(key: &Key, mechanism: &Mechanism, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    key.sign(mechanism, Input::Message(message), &mut out).unwrap();
    out
}

fn private(set: P, value: &[u8]) -> Material {
    let value = Secret::from_slice(value);
    Material::PqPrivate { set, seed: None, value }
}

/// The same seeds give the same key; what we sign the oracle verifies. With `both`, as signing takes it long in the small sets: its
/// signatures verify here, and those without randomness are ours.
fn agrees<S: slh_dsa::ParameterSet>(set: P, both: bool) {
    let length = set.hash_bytes();
    let seeds: Vec<u8> = (0..3 * length as u8).map(|byte| byte ^ set.number() as u8).collect();
    let parts: Vec<&[u8]> = seeds.chunks_exact(length).collect();
    let theirs = SigningKey::<S>::slh_keygen_internal(parts[0], parts[1], parts[2]);
    let ours = sample::open(&private(set, &theirs.to_bytes()));
    assert!(ours.is_whole(), "{set:?}");
    let verifying: &VerifyingKey<S> = theirs.as_ref();
    let public = ours.public().unwrap();
    assert!(matches!(&public, Material::PqPublic { value, .. } if value[..] == verifying.to_bytes()[..]));
    let public = Key::open(&public).unwrap();
    let pure = with_context(M::SLH_DSA, Hedge::Required, b"context", None);
    let signature = signed(&ours, &pure, b"message");
    assert_eq!(signature.len(), set.output_bytes(), "{set:?}");
    let decoded = Signature::<S>::try_from(&signature[..]).unwrap();
    verifying
        .try_verify_with_context(b"message", b"context", &decoded)
        .unwrap();
    assert_eq!(public.verify(&pure, Input::Message(b"message"), &signature), Ok(()));
    for place in [0, length, signature.len() / 2, signature.len() - 1] {
        let mut wrong = signature.clone();
        wrong[place] ^= 1;
        let refused = public.verify(&pure, Input::Message(b"message"), &wrong);
        assert_eq!(refused, Err(OpError::Signature), "{set:?} {place}");
    }
    if !both {
        return;
    }
    let fixed = with_context(M::SLH_DSA, Hedge::Deterministic, b"", None);
    let from_there = theirs.try_sign_with_context(&[7; 5000], b"", None).unwrap();
    assert_eq!(
        signed(&ours, &fixed, &[7; 5000]),
        from_there.to_bytes().to_vec(),
        "{set:?}"
    );
    let hedged = theirs
        .try_sign_with_context(b"", &[9; 255], Some(&vec![3; length]))
        .unwrap();
    let mechanism = with_context(M::SLH_DSA, Hedge::Preferred, &[9; 255], None);
    let verified = public.verify(&mechanism, Input::Message(b""), &hedged.to_bytes());
    assert_eq!(verified, Ok(()), "{set:?}");
}

#[test]
fn the_oracle_agrees_with_the_fast_sets() {
    agrees::<slh_dsa::Sha2_128f>(P::SlhDsaSha2_128f, true);
    agrees::<slh_dsa::Shake128f>(P::SlhDsaShake128f, true);
    agrees::<slh_dsa::Sha2_192f>(P::SlhDsaSha2_192f, true);
    agrees::<slh_dsa::Shake192f>(P::SlhDsaShake192f, true);
    agrees::<slh_dsa::Sha2_256f>(P::SlhDsaSha2_256f, true);
    agrees::<slh_dsa::Shake256f>(P::SlhDsaShake256f, true);
}

#[test]
fn the_oracle_agrees_with_the_small_sets() {
    agrees::<slh_dsa::Sha2_128s>(P::SlhDsaSha2_128s, false);
    agrees::<slh_dsa::Shake128s>(P::SlhDsaShake128s, false);
    agrees::<slh_dsa::Sha2_192s>(P::SlhDsaSha2_192s, false);
    agrees::<slh_dsa::Shake192s>(P::SlhDsaShake192s, false);
    agrees::<slh_dsa::Sha2_256s>(P::SlhDsaSha2_256s, false);
    agrees::<slh_dsa::Shake256s>(P::SlhDsaShake256s, false);
}

#[test]
fn a_private_key_reads_back_from_pkcs8() {
    for set in FAST {
        let material = generate(&Generate::Pq(set)).unwrap();
        let der = pkcs8::encode(&material).unwrap();
        assert_eq!(pkcs8::decode(der.expose()), Some(material.duplicate()));
        assert!(sample::open(&material).is_whole());
        let Material::PqPrivate { value, .. } = material else {
            panic!("{set:?}");
        };
        let mut wrong = value.expose().to_vec();
        *wrong.last_mut().unwrap() ^= 1;
        assert!(!sample::open(&private(set, &wrong)).is_whole(), "{set:?}");
        for length in [0, value.len() - 1, value.len() + 1] {
            assert!(Key::open(&private(set, &vec![0; length])).is_err());
            let value = vec![0; length];
            assert!(Key::open(&Material::PqPublic { set, value }).is_err());
        }
    }
}

#[test]
fn every_hash_has_its_own_separator() {
    let key = sample::open(&generate(&Generate::Pq(P::SlhDsaSha2_128f)).unwrap());
    let rows = || TABLE.iter().filter(|row| row.family == Family::HashSlhDsa);
    assert_eq!(rows().count(), 9);
    for row in rows() {
        let hash = row.hash.unwrap_or(M::SHA512);
        let digest = digest::hash(hash, b"message").unwrap();
        let given = with_context(M::HASH_SLH_DSA, Hedge::Preferred, b"", Some(hash));
        let signature = signed(&key, &given, &digest);
        for other in rows().filter(|other| other.hash.is_some()) {
            let verified = key.verify(
                &Mechanism::plain(other.mechanism),
                Input::Message(b"message"),
                &signature,
            );
            assert_eq!(
                verified.is_ok(),
                other.hash == Some(hash),
                "{} {}",
                row.mechanism,
                other.mechanism
            );
        }
        let pure = Mechanism::plain(M::SLH_DSA);
        assert!(key.verify(&pure, Input::Message(&digest), &signature).is_err());
        let mut out = Vec::new();
        let short = key.sign(&given, Input::Message(&digest[1..]), &mut out);
        assert_eq!(short, Err(OpError::DataLength));
    }
    let pure = Mechanism::plain(M::SLH_DSA);
    assert_ne!(signed(&key, &pure, b""), signed(&key, &pure, b""), "hedged");
}

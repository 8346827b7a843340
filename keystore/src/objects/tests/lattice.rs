//! ML-DSA keys as objects: what a template must name and may not, seed and expanded key, what leaves. That signatures are right
//! is shown in `hsmd-crypto` against vectors and another implementation.

use hsmd_proto::parameter_set::ParameterSet;
use hsmd_proto::params::{Hedge, SignContext};

use super::*;

const SETS: [ParameterSet; 3] = [ParameterSet::MlDsa44, ParameterSet::MlDsa65, ParameterSet::MlDsa87];

fn named(set: ParameterSet) -> Attribute {
    Attribute::ulong(A::PARAMETER_SET, set.number())
}

fn open() -> [Attribute; 2] {
    [no(A::SENSITIVE), yes(A::EXTRACTABLE)]
}

fn sign_with(hedge: Hedge) -> Mechanism {
    let (context, hash) = (b"context".to_vec(), None);
    Mechanism {
        kind: M::ML_DSA,
        params: Params::SignContext(SignContext { hedge, context, hash }),
    }
}

fn verifies(bench: &Bench, key: &ObjectView, mechanism: M, signature: &[u8]) -> Result<(), Rv> {
    let input = Input::Message(b"message");
    bench
        .keys
        .verify(&bench.user, &key.name(), &plain(mechanism), input, signature)
}

/// The template of a private key of a set.
fn private(set: ParameterSet, more: &[Attribute]) -> Template {
    let all = [class(ObjectClass::PRIVATE_KEY), key_type(KeyType::ML_DSA), named(set)];
    template(&[&all, more].concat())
}

#[test]
fn every_set_is_generated_and_signs() {
    let bench = bench(Policy::Standard);
    for set in SETS {
        let (public, private) = bench.pair(M::ML_DSA_KEY_PAIR_GEN, &[named(set)], &[]).unwrap();
        for half in [&public, &private] {
            assert_eq!(half.attributes.ulong(A::PARAMETER_SET), Ok(Some(set.number())));
            assert!(bench.read(half, A::PUBLIC_KEY_INFO).unwrap().len() > set.public_bytes());
        }
        assert_eq!(bench.read(&public, A::VALUE).unwrap().len(), set.public_bytes());
        assert!(flag(&public, A::VERIFY) && flag(&private, A::SIGN));
        assert!(!flag(&private, A::DERIVE) && !flag(&private, A::UNWRAP) && !flag(&public, A::WRAP));
        for attribute in [A::VALUE, A::SEED] {
            assert_eq!(bench.read(&private, attribute), Err(Rv::ATTRIBUTE_SENSITIVE));
        }
        for mechanism in [M::ML_DSA, M::HASH_ML_DSA_SHA512] {
            let signature = bench.sign(&private, mechanism, b"message").unwrap();
            assert_eq!(signature.len(), set.output_bytes());
            assert_eq!(verifies(&bench, &public, mechanism, &signature), Ok(()));
        }
        assert_eq!(bench.sign(&private, M::ECDSA, &[7; 32]), Err(Rv::KEY_TYPE_INCONSISTENT));
    }
}

#[test]
fn a_set_must_be_named_and_be_one_of_this_build() {
    let bench = bench(Policy::Standard);
    let pair = |public: &[Attribute], private: &[Attribute]| {
        bench
            .pair(M::ML_DSA_KEY_PAIR_GEN, public, private)
            .map(|_| ())
            .unwrap_err()
    };
    assert_eq!(pair(&[], &[]), Rv::TEMPLATE_INCOMPLETE);
    let unknown = Attribute::ulong(A::PARAMETER_SET, 4);
    assert_eq!(pair(&[unknown], &[]), Rv::PARAMETER_SET_NOT_SUPPORTED);
    // PKCS#11 3.2, 6.67.4: the pair's set is named by its public half.
    let set = named(ParameterSet::MlDsa44);
    assert_eq!(
        pair(std::slice::from_ref(&set), std::slice::from_ref(&set)),
        Rv::TEMPLATE_INCONSISTENT
    );
    let value = Attribute::bytes(A::VALUE, &[0; 1312]);
    assert_eq!(pair(&[set.clone(), value], &[]), Rv::TEMPLATE_INCONSISTENT);
    let seed = Attribute::bytes(A::SEED, &[0; 32]);
    assert_eq!(pair(&[set], &[seed]), Rv::TEMPLATE_INCONSISTENT);
}

#[test]
fn a_private_key_comes_in_by_its_seed_its_value_or_both() {
    let bench = bench(Policy::Standard);
    for set in SETS {
        let (public, made) = bench.pair(M::ML_DSA_KEY_PAIR_GEN, &[named(set)], &open()).unwrap();
        let [seed, value] = [A::SEED, A::VALUE].map(|part| Attribute::bytes(part, &bench.read(&made, part).unwrap()));
        let create = |parts: &[Attribute]| {
            let parts = [parts, &open()].concat();
            bench.keys.create_object(&bench.user, id(), &private(set, &parts))
        };
        for parts in [
            vec![seed.clone()],
            vec![value.clone()],
            vec![seed.clone(), value.clone()],
        ] {
            let key = create(&parts).unwrap();
            assert_eq!(bench.read(&key, A::VALUE).unwrap(), value.value.to_vec());
            let told = bench.read(&key, A::SEED);
            let known = parts.iter().any(|part| part.attribute == A::SEED);
            assert_eq!(told.is_ok(), known, "a seed cannot be had from the value");
            assert!(!flag(&key, A::ALWAYS_SENSITIVE) && !flag(&key, A::LOCAL));
            let info = |key| bench.read(key, A::PUBLIC_KEY_INFO).unwrap();
            assert_eq!(info(&key), info(&public));
            let signature = bench.sign(&key, M::ML_DSA, b"message").unwrap();
            assert_eq!(verifies(&bench, &public, M::ML_DSA, &signature), Ok(()));
        }
        assert_eq!(create(&[]).map(|_| ()), Err(Rv::TEMPLATE_INCOMPLETE));
        let other = Attribute::bytes(A::SEED, &[7; 32]);
        let short = Attribute::bytes(A::SEED, &[7; 31]);
        let cut = Attribute::bytes(A::VALUE, &value.value[1..]);
        for parts in [vec![other, value.clone()], vec![short], vec![cut]] {
            assert_eq!(create(&parts).map(|_| ()), Err(Rv::ATTRIBUTE_VALUE_INVALID));
        }
        // A public key of another length, or of another set.
        for (set, length) in [(set, set.public_bytes() - 1), (set, 0)] {
            let value = Attribute::bytes(A::VALUE, &vec![7; length]);
            let all = [
                class(ObjectClass::PUBLIC_KEY),
                key_type(KeyType::ML_DSA),
                named(set),
                value,
            ];
            let made = bench.keys.create_object(&bench.user, id(), &template(&all)).map(|_| ());
            assert_eq!(made, Err(Rv::ATTRIBUTE_VALUE_INVALID));
        }
    }
}

#[test]
fn a_private_key_goes_through_a_blob_and_back() {
    let bench = bench(Policy::Standard);
    let kek = bench.aes(&[yes(A::WRAP), yes(A::UNWRAP)]).unwrap();
    let kwp = plain(M::AES_KEY_WRAP_KWP);
    let set = named(ParameterSet::MlDsa65);
    let (public, made) = bench
        .pair(M::ML_DSA_KEY_PAIR_GEN, &[set], &[yes(A::EXTRACTABLE)])
        .unwrap();
    let blob = bench.wrap(&kek, &kwp, &made).unwrap();
    let all = [class(ObjectClass::PRIVATE_KEY), key_type(KeyType::ML_DSA)];
    let back = bench.unwrap(&kek, &kwp, &blob, &template(&all)).unwrap();
    assert_eq!(back.attributes.ulong(A::PARAMETER_SET), Ok(Some(2)));
    assert!(
        flag(&back, A::SENSITIVE) && !flag(&back, A::EXTRACTABLE),
        "the latch narrows it"
    );
    let signature = bench.sign(&back, M::ML_DSA, b"message").unwrap();
    assert_eq!(verifies(&bench, &public, M::ML_DSA, &signature), Ok(()));
    let other = [class(ObjectClass::PRIVATE_KEY), key_type(KeyType::EC)];
    let refused = bench.unwrap(&kek, &kwp, &blob, &template(&other)).map(|_| ());
    assert_eq!(refused, Err(Rv::WRAPPED_KEY_INVALID));
}

#[test]
fn deterministic_signatures_are_refused_and_verified() {
    let bench = bench(Policy::Standard);
    let set = named(ParameterSet::MlDsa44);
    let (public, private) = bench.pair(M::ML_DSA_KEY_PAIR_GEN, &[set], &[]).unwrap();
    let input = Input::Message(b"message");
    let sign = |hedge| {
        let mut out = Vec::new();
        let mechanism = sign_with(hedge);
        bench
            .keys
            .sign(&bench.user, &private.name(), &mechanism, input, &mut out)
            .map(|()| out)
    };
    assert_eq!(sign(Hedge::Deterministic), Err(Rv::MECHANISM_PARAM_INVALID));
    let signature = sign(Hedge::Required).unwrap();
    let mechanism = sign_with(Hedge::Deterministic);
    let verified = bench
        .keys
        .verify(&bench.user, &public.name(), &mechanism, input, &signature);
    assert_eq!(verified, Ok(()), "whoever verifies need not care");
}

// FIPS 204, 5.4.
#[test]
fn fips_asks_for_a_hash_as_strong_as_the_key() {
    let bench = bench(Policy::Fips);
    for (set, weak, strong) in [
        (ParameterSet::MlDsa44, M::HASH_ML_DSA_SHA224, M::HASH_ML_DSA_SHA256),
        (ParameterSet::MlDsa65, M::HASH_ML_DSA_SHA256, M::HASH_ML_DSA_SHA3_384),
        (ParameterSet::MlDsa87, M::HASH_ML_DSA_SHA384, M::HASH_ML_DSA_SHA512),
    ] {
        let public = [named(set), yes(A::VERIFY)];
        let (_, private) = bench.pair(M::ML_DSA_KEY_PAIR_GEN, &public, &[yes(A::SIGN)]).unwrap();
        assert_eq!(bench.sign(&private, weak, b"message"), Err(Rv::KEY_SIZE_RANGE));
        assert!(bench.sign(&private, strong, b"message").is_ok());
    }
}

// INV-2: sealed, stored and read back, also a key that came without its seed.
#[test]
fn keys_are_there_after_the_keystore_is_opened_again() {
    let (dir, master) = (tempfile::tempdir().unwrap(), crate::MasterKey::random());
    let path = dir.path().join("keystore");
    let bench = bench_in(Keystore::init(&path, &master, &options()).unwrap(), Policy::Standard);
    let token = [yes(A::TOKEN), no(A::SENSITIVE), yes(A::EXTRACTABLE)];
    let set = ParameterSet::MlDsa87;
    let (public, made) = bench
        .pair(M::ML_DSA_KEY_PAIR_GEN, &[named(set), yes(A::TOKEN)], &token)
        .unwrap();
    let value = Attribute::bytes(A::VALUE, &bench.read(&made, A::VALUE).unwrap());
    let all = private(set, &[yes(A::TOKEN), value]);
    let imported = bench.keys.create_object(&bench.user, id(), &all).unwrap();
    let set = bench.keys.id();
    drop(bench);
    let keystore = Keystore::open(&path, &master, &options()).unwrap();
    let keys = keystore.key_set(set).unwrap();
    let user = context(&keys, caller(1), UserType::USER, PIN);
    for key in [made, imported] {
        let mut signature = Vec::new();
        let input = Input::Message(b"message");
        keys.sign(&user, &key.name(), &plain(M::ML_DSA), input, &mut signature)
            .unwrap();
        assert_eq!(
            keys.verify(&user, &public.name(), &plain(M::ML_DSA), input, &signature),
            Ok(())
        );
    }
}

//! The rules of single mechanisms, as a daemon meets them: v1.5 unwrapping, key derivation functions, X25519, MACs of a chosen
//! length, raw RSA under the latch. That their results are right is shown in `hsmd-crypto` against other implementations.

use hsmd_proto::ck::Kdf;

use super::*;

const V15: Mechanism = Mechanism::plain(M::RSA_PKCS);
const RAW: Mechanism = Mechanism::plain(M::RSA_X_509);

fn check_value(view: &ObjectView) -> Vec<u8> {
    view.attributes.value(A::CHECK_VALUE).unwrap().to_vec()
}

fn value_len(view: &ObjectView) -> u64 {
    view.attributes.ulong(A::VALUE_LEN).unwrap().unwrap()
}

fn generic(more: &[Attribute]) -> Template {
    let mut all = vec![class(ObjectClass::SECRET_KEY), key_type(KeyType::GENERIC_SECRET)];
    all.extend_from_slice(more);
    template(&all)
}

/// A pair that wraps and unwraps, and a blob of an AES key with v1.5 padding: under `legacy`, where that is allowed.
fn wrapped_by_v15(bench: &Bench) -> (ObjectView, ObjectView, Vec<u8>) {
    let (public, private) = bench.rsa(&[yes(A::WRAP)], &[yes(A::UNWRAP)]).unwrap();
    let key = bench.aes_of(24, &[yes(A::EXTRACTABLE)]).unwrap();
    let blob = bench.wrap(&public, &V15, &key).unwrap();
    (private, key, blob)
}

// A15, A16: nothing tells a wrong padding from a right one, neither a code nor whether there is a key.
#[test]
fn a_wrong_v15_blob_gives_a_key_and_always_the_same() {
    let bench = bench(Policy::Legacy);
    let (private, key, blob) = wrapped_by_v15(&bench);
    let back = bench.unwrap(&private, &V15, &blob, &aes_template(&[])).unwrap();
    assert_eq!(check_value(&back), check_value(&key));
    let mut wrong = blob.clone();
    wrong[200] ^= 1;
    let first = bench.unwrap(&private, &V15, &wrong, &aes_template(&[])).unwrap();
    let again = bench.unwrap(&private, &V15, &wrong, &aes_template(&[])).unwrap();
    assert!(matches!(value_len(&first), 16 | 24 | 32));
    assert_eq!(check_value(&first), check_value(&again));
    assert_ne!(check_value(&first), check_value(&key));
    assert!(bench.encrypt(&first, &ctr(), b"it is a key like others").is_ok());
    // A generic secret may have any length: the right one keeps its own, a substitute looks like an AES key.
    let lengths = [&blob, &wrong].map(|blob| value_len(&bench.unwrap(&private, &V15, blob, &generic(&[])).unwrap()));
    assert_eq!(lengths[0], 24);
    assert!(matches!(lengths[1], 16 | 24 | 32), "{lengths:?}");
    // Both blobs meet the same codes for what everybody can see.
    for blob in [&blob, &wrong] {
        let refused = |blob: &[u8], all: &Template| bench.unwrap(&private, &V15, blob, all).map(|_| ());
        assert_eq!(refused(&blob[1..], &aes_template(&[])), Err(Rv::WRAPPED_KEY_LEN_RANGE));
        let all = template(&[class(ObjectClass::PRIVATE_KEY), key_type(KeyType::EC)]);
        assert_eq!(refused(blob, &all), Err(Rv::TEMPLATE_INCONSISTENT));
    }
    let outside = bench
        .unwrap(&private, &V15, &[0xff; 256], &aes_template(&[]))
        .map(|_| ());
    assert_eq!(outside, Err(Rv::WRAPPED_KEY_INVALID), "not below any modulus");
}

#[test]
fn v15_wraps_under_legacy_only() {
    for policy in [Policy::Standard, Policy::Strict] {
        let bench = bench(policy);
        let (public, private) = bench.rsa(&[yes(A::WRAP)], &[yes(A::UNWRAP)]).unwrap();
        let key = bench.aes(&[yes(A::EXTRACTABLE)]).unwrap();
        assert_eq!(bench.wrap(&public, &V15, &key), Err(Rv::MECHANISM_INVALID));
        let opened = bench.unwrap(&private, &V15, &[1; 256], &aes_template(&[])).map(|_| ());
        assert_eq!(opened, Err(Rv::MECHANISM_INVALID));
    }
}

fn with_kdf(kdf: Kdf, public_point: &[u8]) -> Mechanism {
    let params = EcdhParams {
        kdf,
        shared_data: b"shared".to_vec(),
        public_point: public_point.to_vec(),
    };
    Mechanism {
        kind: M::ECDH1_DERIVE,
        params: Params::Ecdh(params),
    }
}

fn derive(bench: &Bench, base: &ObjectView, mechanism: &Mechanism, all: &Template) -> Result<ObjectView, Rv> {
    bench.keys.derive_key(&bench.user, &base.name(), mechanism, id(), all)
}

#[test]
fn a_derivation_function_gives_as_many_bytes_as_the_key_needs() {
    let bench = bench(Policy::Standard);
    let (public, private) = bench.ec(&[], &[]).unwrap();
    let (theirs, other) = bench.ec(&[], &[]).unwrap();
    let length = |bytes| Attribute::ulong(A::VALUE_LEN, bytes);
    let readable = [no(A::SENSITIVE), yes(A::EXTRACTABLE)];
    let cases = [
        (Kdf::SHA256_KDF, generic(&[length(100)]), Ok(100)),
        (Kdf::SHA256_KDF, generic(&[]), Ok(32)),
        (Kdf::SHA3_512_KDF, generic(&[]), Ok(64)),
        // The longest AES key that one hash gives; more when it is named.
        (Kdf::SHA1_KDF, aes_template(&[]), Ok(16)),
        (Kdf::SHA1_KDF_SP800, aes_template(&[length(32)]), Ok(32)),
        (Kdf::SHA512_KDF, aes_template(&[]), Ok(32)),
        (
            Kdf::SHA256_KDF,
            aes_template(&[length(20)]),
            Err(Rv::ATTRIBUTE_VALUE_INVALID),
        ),
        (Kdf::SHA256_KDF, generic(&[length(0)]), Err(Rv::ATTRIBUTE_VALUE_INVALID)),
        // DESIGN 8: at least 14 bytes from a sensitive base, or they would be tried one by one.
        (Kdf::SHA256_KDF, generic(&[length(13)]), Err(Rv::TEMPLATE_INCONSISTENT)),
        (Kdf::SHA256_KDF, generic(&[length(14)]), Ok(14)),
        (
            Kdf::SHA256_KDF,
            template(&[class(ObjectClass::DATA)]),
            Err(Rv::TEMPLATE_INCONSISTENT),
        ),
    ];
    for (kdf, mut all, expected) in cases {
        all.0.extend(readable.clone());
        let ours = derive(&bench, &private, &with_kdf(kdf, &point(&theirs)), &all);
        assert_eq!(
            ours.as_ref().map(value_len).map_err(|rv| *rv),
            expected,
            "{kdf:?} {all:?}"
        );
        if let Ok(ours) = ours {
            let same = derive(&bench, &other, &with_kdf(kdf, &point(&public)), &all).unwrap();
            let value = bench.read(&ours, A::VALUE).unwrap();
            assert_eq!(value, bench.read(&same, A::VALUE).unwrap());
        }
    }
    let whole = derive(&bench, &private, &ecdh(&point(&theirs)), &generic(&[length(33)])).map(|_| ());
    assert_eq!(
        whole,
        Err(Rv::TEMPLATE_INCONSISTENT),
        "CKD_NULL has no more than a field element"
    );
    let shared = with_kdf(Kdf::NULL, &point(&theirs));
    let shared = derive(&bench, &private, &shared, &generic(&[])).map(|_| ());
    assert_eq!(
        shared,
        Err(Rv::MECHANISM_PARAM_INVALID),
        "CKD_NULL takes no shared data"
    );
}

#[test]
fn x25519_keys_agree_and_do_nothing_else() {
    let bench = bench(Policy::Standard);
    let curve = |curve: Curve| [Attribute::bytes(A::EC_PARAMS, curve.oid_der())];
    let pair = || {
        bench
            .pair(M::EC_MONTGOMERY_KEY_PAIR_GEN, &curve(Curve::X25519), &[])
            .unwrap()
    };
    let ((public, private), (theirs, other)) = (pair(), pair());
    assert_eq!(public.attributes.ulong(A::KEY_TYPE), Ok(Some(KeyType::EC_MONTGOMERY.0)));
    let readable = generic(&[no(A::SENSITIVE), yes(A::EXTRACTABLE)]);
    let ours = derive(&bench, &private, &ecdh(&point(&theirs)), &readable).unwrap();
    let same = derive(&bench, &other, &ecdh(&point(&public)), &readable).unwrap();
    assert_eq!(bench.read(&ours, A::VALUE), bench.read(&same, A::VALUE));
    assert_eq!(value_len(&ours), 32);
    // RFC 7748, 6.1: with a point of small order every key has the same secret.
    for small in [vec![0; 32], [vec![1], vec![0; 31]].concat(), vec![9; 31], vec![9; 33]] {
        let refused = derive(&bench, &private, &ecdh(&small), &readable).map(|_| ());
        assert_eq!(refused, Err(Rv::MECHANISM_PARAM_INVALID), "{small:?}");
    }
    for mechanism in [M::EDDSA, M::ECDSA, M::ECDSA_SHA256] {
        assert_eq!(
            bench.sign(&private, mechanism, &[7; 32]),
            Err(Rv::KEY_TYPE_INCONSISTENT)
        );
    }
    for (mechanism, wrong) in [
        (M::EC_KEY_PAIR_GEN, Curve::X25519),
        (M::EC_EDWARDS_KEY_PAIR_GEN, Curve::X25519),
        (M::EC_MONTGOMERY_KEY_PAIR_GEN, Curve::Ed25519),
        (M::EC_MONTGOMERY_KEY_PAIR_GEN, Curve::P256),
    ] {
        let made = bench.pair(mechanism, &curve(wrong), &[]).map(|_| ());
        assert_eq!(made, Err(Rv::CURVE_NOT_SUPPORTED), "{mechanism} {wrong:?}");
    }
    // What OpenSC miscounts is understood, and told to others as they expect it.
    let miscounted = [Attribute::bytes(A::EC_PARAMS, Curve::MISCOUNTED)];
    let (public, private) = bench.pair(M::EC_MONTGOMERY_KEY_PAIR_GEN, &miscounted, &[]).unwrap();
    for half in [&public, &private] {
        assert_eq!(bench.read(half, A::EC_PARAMS).unwrap(), Curve::X25519.oid_der());
    }
    // Through a blob and back it is the same key.
    let open = [no(A::SENSITIVE), yes(A::EXTRACTABLE)];
    let (public, private) = bench
        .pair(M::EC_MONTGOMERY_KEY_PAIR_GEN, &curve(Curve::X25519), &open)
        .unwrap();
    let kek = bench.aes(&[yes(A::WRAP), yes(A::UNWRAP)]).unwrap();
    let kwp = plain(M::AES_KEY_WRAP_KWP);
    let blob = bench.wrap(&kek, &kwp, &private).unwrap();
    let all = template(&[class(ObjectClass::PRIVATE_KEY), key_type(KeyType::EC_MONTGOMERY)]);
    let back = bench.unwrap(&kek, &kwp, &blob, &all).unwrap();
    let ours = derive(&bench, &back, &ecdh(&point(&theirs)), &readable).unwrap();
    let same = derive(&bench, &other, &ecdh(&point(&public)), &readable).unwrap();
    assert_eq!(bench.read(&ours, A::VALUE), bench.read(&same, A::VALUE));
}

#[test]
fn a_mac_has_the_length_that_its_parameter_says() {
    let bench = bench(Policy::Standard);
    let aes = bench.aes(&[]).unwrap();
    let generic = bench
        .keys
        .generate_key(
            &bench.user,
            &plain(M::GENERIC_SECRET_KEY_GEN),
            id(),
            &template(&[Attribute::ulong(A::VALUE_LEN, 32), yes(A::SIGN), yes(A::VERIFY)]),
        )
        .unwrap();
    let rows = [
        (&aes, M::AES_CMAC, M::AES_CMAC_GENERAL, 16),
        (&generic, M::SHA_1_HMAC, M::SHA_1_HMAC_GENERAL, 20),
        (&generic, M::SHA256_HMAC, M::SHA256_HMAC_GENERAL, 32),
        (&generic, M::SHA512_HMAC, M::SHA512_HMAC_GENERAL, 64),
        (&generic, M::SHA3_384_HMAC, M::SHA3_384_HMAC_GENERAL, 48),
    ];
    for (key, plain_kind, general, whole) in rows {
        let sign = |mechanism: &Mechanism| {
            let mut out = Vec::new();
            let input = Input::Message(b"text");
            bench
                .keys
                .sign(&bench.user, &key.name(), mechanism, input, &mut out)
                .map(|()| out)
        };
        let of_length = |length| Mechanism {
            kind: general,
            params: Params::Number(length),
        };
        let full = sign(&plain(plain_kind)).unwrap();
        assert_eq!(full.len(), whole);
        for length in [1, 4, whole] {
            let mechanism = of_length(length as u64);
            let mac = sign(&mechanism).unwrap();
            assert_eq!(mac, full[..length], "{general}");
            let verify = |mac: &[u8]| {
                let input = Input::Message(b"text");
                bench.keys.verify(&bench.user, &key.name(), &mechanism, input, mac)
            };
            assert_eq!(verify(&mac), Ok(()));
            assert_eq!(verify(&[mac.as_slice(), &[0]].concat()), Err(Rv::SIGNATURE_LEN_RANGE));
        }
        for length in [0, whole as u64 + 1, u64::MAX] {
            assert_eq!(
                sign(&of_length(length)),
                Err(Rv::MECHANISM_PARAM_INVALID),
                "{general} {length}"
            );
        }
        assert_eq!(sign(&plain(general)), Err(Rv::MECHANISM_PARAM_INVALID), "{general}");
    }
}

// DESIGN 8: raw RSA undoes any padding, so it goes with decryption when the pair has wrapped a sensitive key.
#[test]
fn raw_rsa_and_v15_end_with_the_latch() {
    let bench = bench(Policy::Standard);
    let (public, private) = bench.rsa(&[yes(A::WRAP)], &[yes(A::UNWRAP)]).unwrap();
    let text = [&[0; 200][..], &[7; 56]].concat();
    let sealed = bench.encrypt(&public, &RAW, &text).unwrap();
    assert_eq!(bench.decrypt(&private, &RAW, &sealed), Ok(text.clone()));
    assert_eq!(bench.sign(&private, M::RSA_X_509, &text).map(|out| out.len()), Ok(256));
    let sealed = bench.encrypt(&public, &V15, b"text").unwrap();
    assert_eq!(bench.decrypt(&private, &V15, &sealed), Ok(b"text".to_vec()));

    let victim = bench.aes(&[yes(A::EXTRACTABLE)]).unwrap();
    assert_eq!(bench.wrap(&public, &RAW, &victim), Err(Rv::MECHANISM_INVALID));
    let blob = bench.wrap(&public, &oaep(), &victim).unwrap();
    for mechanism in [&RAW, &V15, &oaep()] {
        let refused = bench.decrypt(&private, mechanism, &blob);
        assert_eq!(refused, Err(Rv::KEY_FUNCTION_NOT_PERMITTED), "{mechanism:?}");
    }
    for mechanism in [M::RSA_X_509, M::RSA_PKCS] {
        let refused = bench.sign(&private, mechanism, &[7; 32]);
        assert_eq!(refused, Err(Rv::KEY_FUNCTION_NOT_PERMITTED), "{mechanism}");
    }
    assert!(
        bench.encrypt(&public, &RAW, &text).is_ok(),
        "anybody has the public key"
    );
    assert!(bench.unwrap(&private, &oaep(), &blob, &aes_template(&[])).is_ok());
}

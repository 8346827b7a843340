//! Create, copy, destroy, attributes, find and generate: codes, visibility by role, retries.

use super::*;

#[test]
fn a_public_caller_the_so_and_the_users_see_what_they_may() {
    let bench = bench(Policy::Standard);
    let private = bench.aes(&[label("private")]).unwrap();
    let public = bench.aes(&[label("public"), no(A::PRIVATE)]).unwrap();
    assert_eq!(bench.find(&bench.user, &[]), [private.id, public.id]);
    assert_eq!(bench.find(&bench.so, &[]), [public.id]);
    assert_eq!(bench.find(&bench.nobody, &[]), [public.id]);
    for context in [&bench.so, &bench.nobody] {
        let label = bench.keys.attributes(context, &private.name(), &[A::LABEL]);
        assert_eq!(label.map(|_| ()), Err(Rv::OBJECT_HANDLE_INVALID));
        let mut out = Vec::new();
        let used = bench.keys.encrypt(context, &private.name(), &ctr(), b"x", &mut out);
        assert_eq!(used, Err(Rv::KEY_HANDLE_INVALID));
        let destroyed = bench.keys.destroy_object(context, &private.name(), operation());
        assert_eq!(destroyed, Err(Rv::OBJECT_HANDLE_INVALID));
        let made = bench.import(context, &[1; 16], &[yes(A::PRIVATE)]).map(|_| ());
        assert_eq!(made, Err(Rv::USER_NOT_LOGGED_IN));
        assert!(
            bench
                .keys
                .views(context, &[private.id, public.id])
                .iter()
                .all(|view| view.id == public.id)
        );
    }
    let made = bench.keys.generate_key(
        &bench.nobody,
        &plain(M::AES_KEY_GEN),
        id(),
        &template(&[Attribute::ulong(A::VALUE_LEN, 16)]),
    );
    assert_eq!(
        made.map(|_| ()),
        Err(Rv::USER_NOT_LOGGED_IN),
        "CKA_PRIVATE defaults to true"
    );
    // Nobody's login of another key set counts here.
    let other = bench_in(bench.keystore.clone(), Policy::Standard);
    assert_eq!(bench.find(&other.user, &[]), [public.id]);
}

#[test]
fn templates_of_create_get_their_codes() {
    let bench = bench(Policy::Standard);
    let create = |entries: &[Attribute]| {
        bench
            .keys
            .create_object(&bench.user, id(), &template(entries))
            .map(|_| ())
    };
    let secret = || vec![class(ObjectClass::SECRET_KEY), key_type(KeyType::AES)];
    let with = |more: &[Attribute]| [secret(), more.to_vec()].concat();
    let value = Attribute::bytes(A::VALUE, &[5; 16]);
    let cases: &[(Vec<Attribute>, Rv)] = &[
        (vec![], Rv::TEMPLATE_INCOMPLETE),
        (vec![key_type(KeyType::AES)], Rv::TEMPLATE_INCOMPLETE),
        (vec![class(ObjectClass::SECRET_KEY)], Rv::TEMPLATE_INCOMPLETE),
        (secret(), Rv::TEMPLATE_INCOMPLETE),
        (
            vec![class(ObjectClass(0x8000_0001)), value.clone()],
            Rv::ATTRIBUTE_VALUE_INVALID,
        ),
        (
            vec![class(ObjectClass::SECRET_KEY), key_type(KeyType::DES3), value.clone()],
            Rv::ATTRIBUTE_VALUE_INVALID,
        ),
        (
            with(&[Attribute::bytes(A::VALUE, &[5; 15])]),
            Rv::ATTRIBUTE_VALUE_INVALID,
        ),
        (with(&[Attribute::bytes(A::VALUE, &[])]), Rv::ATTRIBUTE_VALUE_INVALID),
        (
            with(&[value.clone(), Attribute::bytes(A::CHECK_VALUE, &[0, 0, 0])]),
            Rv::ATTRIBUTE_VALUE_INVALID,
        ),
        (
            with(&[value.clone(), yes(A::TOKEN), no(A::TOKEN)]),
            Rv::TEMPLATE_INCONSISTENT,
        ),
        (
            with(&[value.clone(), Attribute::bytes(A(0x8765), b"x")]),
            Rv::ATTRIBUTE_TYPE_INVALID,
        ),
        (
            vec![
                class(ObjectClass::PUBLIC_KEY),
                key_type(KeyType::EC),
                Attribute::bytes(A::EC_PARAMS, &[6, 1, 0]),
                Attribute::bytes(A::EC_POINT, &[4; 65]),
            ],
            Rv::CURVE_NOT_SUPPORTED,
        ),
        (
            vec![
                class(ObjectClass::PUBLIC_KEY),
                key_type(KeyType::EC),
                Attribute::bytes(A::EC_PARAMS, Curve::P256.oid_der()),
                Attribute::bytes(A::EC_POINT, &[4; 65]),
            ],
            Rv::ATTRIBUTE_VALUE_INVALID,
        ),
        (
            vec![
                class(ObjectClass::CERTIFICATE),
                Attribute::ulong(A::CERTIFICATE_TYPE, 0),
            ],
            Rv::TEMPLATE_INCOMPLETE,
        ),
    ];
    for (entries, expected) in cases {
        assert_eq!(create(entries), Err(*expected), "{entries:?}");
    }
    assert_eq!(create(&with(&[value])), Ok(()));
    assert_eq!(create(&[class(ObjectClass::DATA)]), Ok(()));
}

#[test]
fn computed_attributes_are_there_and_right() {
    let bench = bench(Policy::Standard);
    let key = bench.import(&bench.user, &[0; 16], &[]).unwrap();
    assert_eq!(bench.read(&key, A::CHECK_VALUE).unwrap(), [0x66, 0xe9, 0x4b]);
    assert_eq!(bench.read(&key, A::VALUE_LEN).unwrap(), 16u64.to_le_bytes());
    assert_eq!(bench.read(&key, A::UNIQUE_ID).unwrap(), key.id.to_string().as_bytes());
    assert_eq!(bench.read(&key, A::KEY_GEN_MECHANISM).unwrap(), u64::MAX.to_le_bytes());
    assert_eq!(bench.read(&key, A::MODULUS), Err(Rv::ATTRIBUTE_TYPE_INVALID));
    assert_eq!(bench.read(&key, A::SUBJECT), Err(Rv::ATTRIBUTE_TYPE_INVALID));
    for empty in [A::ID, A::LABEL, A::START_DATE, A::END_DATE] {
        assert_eq!(bench.read(&key, empty).unwrap(), b"", "{empty}");
    }
    let generated = bench.aes(&[]).unwrap();
    assert_eq!(
        bench.read(&generated, A::KEY_GEN_MECHANISM).unwrap(),
        M::AES_KEY_GEN.0.to_le_bytes()
    );
    let (public, private) = bench.rsa(&[], &[]).unwrap();
    assert_eq!(bench.read(&public, A::MODULUS_BITS).unwrap(), 2048u64.to_le_bytes());
    assert_eq!(bench.read(&public, A::PUBLIC_EXPONENT).unwrap(), [1, 0, 1]);
    assert_eq!(
        bench.read(&public, A::PUBLIC_KEY_INFO),
        bench.read(&private, A::PUBLIC_KEY_INFO)
    );
    assert!(!bench.read(&public, A::PUBLIC_KEY_INFO).unwrap().is_empty());
    for hidden in [
        A::PRIVATE_EXPONENT,
        A::PRIME_1,
        A::PRIME_2,
        A::EXPONENT_1,
        A::EXPONENT_2,
        A::COEFFICIENT,
    ] {
        assert_eq!(bench.read(&private, hidden), Err(Rv::ATTRIBUTE_SENSITIVE), "{hidden}");
    }
    // INV-1: a view holds no key value.
    for view in [&key, &generated, &public, &private] {
        let class = ObjectClass(view.attributes.ulong(A::CLASS).unwrap().unwrap());
        let hidden = |entry: &Attribute| hsmd_proto::attribute::is_key_value(class, entry.attribute);
        assert!(!view.attributes.0.iter().any(hidden));
    }
}

#[test]
fn all_attributes_of_one_call_are_answered() {
    let bench = bench(Policy::Standard);
    let key = bench.aes(&[label("k")]).unwrap();
    let types = [A::VALUE, A::LABEL, A(0x8000_0000), A::CLASS];
    let values = bench.keys.attributes(&bench.user, &key.name(), &types).unwrap();
    let values: Vec<_> = values
        .into_iter()
        .map(|value| value.map(|entry| entry.value.to_vec()))
        .collect();
    assert_eq!(
        values,
        [
            Err(Rv::ATTRIBUTE_SENSITIVE),
            Ok(b"k".to_vec()),
            Err(Rv::ATTRIBUTE_TYPE_INVALID),
            Ok(ObjectClass::SECRET_KEY.0.to_le_bytes().to_vec())
        ]
    );
}

// INV-10: a retry finds what the first try did; another request under the same id is refused.
#[test]
fn a_create_is_done_once() {
    let bench = bench(Policy::Standard);
    let mine = id();
    let first = template(&[Attribute::ulong(A::VALUE_LEN, 32), yes(A::TOKEN), label("once")]);
    let other = template(&[Attribute::ulong(A::VALUE_LEN, 16), yes(A::TOKEN), label("once")]);
    let generate = |all: &Template| bench.keys.generate_key(&bench.user, &plain(M::AES_KEY_GEN), mine, all);
    let check = |view: &ObjectView| view.attributes.value(A::CHECK_VALUE).unwrap().to_vec();
    let made = generate(&first).unwrap();
    assert_eq!(check(&generate(&first).unwrap()), check(&made));
    assert_eq!(generate(&other).map(|_| ()), Err(Rv::FUNCTION_FAILED));
    assert_eq!(bench.find(&bench.user, &[label("once")]).len(), 1);
    let done = operation();
    assert_eq!(bench.keys.destroy_object(&bench.user, &made.name(), done), Ok(()));
    assert_eq!(
        bench.keys.destroy_object(&bench.user, &made.name(), done),
        Ok(()),
        "a retry"
    );
    let again = bench.keys.destroy_object(&bench.user, &made.name(), operation());
    assert_eq!(again, Err(Rv::OBJECT_HANDLE_INVALID));
    // INV-6: nobody makes it again.
    assert_eq!(generate(&first).map(|_| ()), Err(Rv::FUNCTION_FAILED));
    assert_eq!(bench.read(&made, A::LABEL), Err(Rv::OBJECT_HANDLE_INVALID));
}

// INV-10, for a pair and for a change of attributes.
#[test]
fn pairs_and_changes_are_done_once() {
    let bench = bench(Policy::Standard);
    let (a, b) = (id(), id());
    let public = template(&[Attribute::bytes(A::EC_PARAMS, Curve::P384.oid_der()), yes(A::TOKEN)]);
    let private = template(&[yes(A::TOKEN)]);
    let generate = || {
        let (a, b) = ((a, &public), (b, &private));
        bench
            .keys
            .generate_key_pair(&bench.user, &plain(M::EC_KEY_PAIR_GEN), a, b)
            .unwrap()
    };
    assert_eq!(point(&generate().0), point(&generate().0));
    let key = bench.aes(&[label("old")]).unwrap();
    let change = operation();
    let set = |text: &str| {
        bench
            .keys
            .set_attributes(&bench.user, &key.name(), &template(&[label(text)]), change)
    };
    assert_eq!(set("new").unwrap().version, 2);
    assert_eq!(set("new").unwrap().version, 2);
    assert_eq!(bench.find(&bench.user, &[label("new")]), [key.id]);
    assert!(bench.find(&bench.user, &[label("old")]).is_empty());
}

#[test]
fn find_matches_all_of_the_template_in_order_of_creation() {
    let bench = bench(Policy::Standard);
    let make = |text: &str, number: u8| {
        bench
            .aes(&[label(text), Attribute::bytes(A::ID, &[number])])
            .unwrap()
            .id
    };
    let (a, b, c) = (make("x", 1), make("x", 2), make("y", 1));
    let find = |entries: &[Attribute]| bench.find(&bench.user, entries);
    assert_eq!(find(&[]), [a, b, c]);
    assert_eq!(find(&[label("x")]), [a, b]);
    assert_eq!(find(&[label("x"), Attribute::bytes(A::ID, &[2])]), [b]);
    assert_eq!(
        find(&[
            class(ObjectClass::SECRET_KEY),
            yes(A::TOKEN),
            Attribute::bytes(A::ID, &[1])
        ]),
        [a, c]
    );
    assert_eq!(find(&[class(ObjectClass::DATA)]), []);
    assert_eq!(find(&[no(A::TOKEN)]), []);
    assert_eq!(
        find(&[Attribute::bytes(A::START_DATE, b"")]),
        [a, b, c],
        "an empty value is a value"
    );
    assert_eq!(
        find(&[Attribute::bytes(A(0x9999), b"x")]),
        [],
        "unknown attributes match nothing"
    );
    assert_eq!(find(&[Attribute::bytes(A::VALUE, b"x")]), []);
    // More than a list bucket holds.
    let many: Vec<_> = (0..80).map(|_| make("many", 9)).collect();
    assert_eq!(find(&[label("many")]), many);
    bench
        .keys
        .destroy_object(&bench.user, &ObjectRef::token(many[40]), operation())
        .unwrap();
    assert_eq!(find(&[label("many")]).len(), 79);
}

#[test]
fn flags_of_protection_hold() {
    let bench = bench(Policy::Standard);
    let fixed = bench
        .aes(&[no(A::MODIFIABLE), no(A::COPYABLE), no(A::DESTROYABLE)])
        .unwrap();
    assert_eq!(bench.set(&fixed, &[label("x")]).map(|_| ()), Err(Rv::ACTION_PROHIBITED));
    assert_eq!(bench.copy(&fixed, &[]).map(|_| ()), Err(Rv::ACTION_PROHIBITED));
    let destroyed = bench.keys.destroy_object(&bench.user, &fixed.name(), operation());
    assert_eq!(destroyed, Err(Rv::ACTION_PROHIBITED));
}

#[test]
fn halves_of_a_pair_agree_and_work_together() {
    let bench = bench(Policy::Standard);
    let verify = |public: &ObjectView, mechanism: M, signature: &[u8]| {
        let input = Input::Message(b"text");
        bench
            .keys
            .verify(&bench.nobody, &public.name(), &plain(mechanism), input, signature)
    };
    let edwards = [Attribute::bytes(A::EC_PARAMS, b"\x13\x0cedwards25519")];
    let pairs = [
        (M::ECDSA_SHA256, bench.ec(&[], &[]).unwrap()),
        (M::SHA256_RSA_PKCS, bench.rsa(&[], &[]).unwrap()),
        (M::EDDSA, bench.pair(M::EC_EDWARDS_KEY_PAIR_GEN, &edwards, &[]).unwrap()),
    ];
    for (mechanism, (public, private)) in &pairs {
        let mut signature = bench.sign(private, *mechanism, b"text").unwrap();
        assert_eq!(verify(public, *mechanism, &signature), Ok(()), "{mechanism}");
        signature[5] ^= 1;
        assert_eq!(
            verify(public, *mechanism, &signature),
            Err(Rv::SIGNATURE_INVALID),
            "{mechanism}"
        );
        assert_eq!(
            bench.sign(public, *mechanism, b"text"),
            Err(Rv::KEY_TYPE_INCONSISTENT),
            "{mechanism}"
        );
    }
    let wrong = bench.pair(M::EC_KEY_PAIR_GEN, &edwards, &[]).map(|_| ());
    assert_eq!(wrong, Err(Rv::CURVE_NOT_SUPPORTED));
}

#[test]
fn private_keys_go_through_wrap_and_unwrap() {
    let bench = bench(Policy::Standard);
    let kek = bench.aes(&[yes(A::WRAP), yes(A::UNWRAP)]).unwrap();
    let kwp = plain(M::AES_KEY_WRAP_KWP);
    let open = [no(A::SENSITIVE), yes(A::EXTRACTABLE)];
    let edwards = [Attribute::bytes(A::EC_PARAMS, Curve::Ed25519.oid_der())];
    let pairs = [
        (KeyType::RSA, M::SHA256_RSA_PKCS, bench.rsa(&[], &open).unwrap()),
        (KeyType::EC, M::ECDSA_SHA256, bench.ec(&[], &open).unwrap()),
        (
            KeyType::EC_EDWARDS,
            M::EDDSA,
            bench.pair(M::EC_EDWARDS_KEY_PAIR_GEN, &edwards, &open).unwrap(),
        ),
    ];
    for (kind, mechanism, (public, private)) in &pairs {
        let blob = bench.wrap(&kek, &kwp, private).unwrap();
        let length = bench.keys.wrap_length(&bench.user, &kek.name(), &kwp, &private.name());
        assert_eq!(length, Ok(blob.len()), "{kind}");
        let all = template(&[class(ObjectClass::PRIVATE_KEY), key_type(*kind)]);
        let back = bench.unwrap(&kek, &kwp, &blob, &all).unwrap();
        let signature = bench.sign(&back, *mechanism, b"text").unwrap();
        let input = Input::Message(b"text");
        assert_eq!(
            bench
                .keys
                .verify(&bench.user, &public.name(), &plain(*mechanism), input, &signature),
            Ok(())
        );
        let other = if *kind == KeyType::RSA {
            KeyType::EC
        } else {
            KeyType::RSA
        };
        let all = template(&[class(ObjectClass::PRIVATE_KEY), key_type(other)]);
        assert_eq!(
            bench.unwrap(&kek, &kwp, &blob, &all).map(|_| ()),
            Err(Rv::WRAPPED_KEY_INVALID)
        );
    }
    let all = aes_template(&[]);
    assert_eq!(
        bench.unwrap(&kek, &kwp, &[0; 40], &all).map(|_| ()),
        Err(Rv::WRAPPED_KEY_INVALID)
    );
    assert_eq!(
        bench.unwrap(&kek, &kwp, &[0; 7], &all).map(|_| ()),
        Err(Rv::WRAPPED_KEY_LEN_RANGE)
    );
    let lone = bench
        .unwrap(&kek, &kwp, &[0; 40], &template(&[class(ObjectClass::SECRET_KEY)]))
        .map(|_| ());
    assert_eq!(lone, Err(Rv::TEMPLATE_INCOMPLETE));
}

#[test]
fn templates_of_the_unwrapping_and_wrapping_key_are_enforced() {
    let bench = bench(Policy::Standard);
    let nested = |entries: &[Attribute]| hsmd_proto::attribute::encode_nested(&template(entries)).to_vec();
    let imposed = Attribute::bytes(A::UNWRAP_TEMPLATE, &nested(&[no(A::EXTRACTABLE), label("imposed")]));
    let only = Attribute::bytes(A::WRAP_TEMPLATE, &nested(&[label("mine")]));
    let kek = bench.aes(&[yes(A::WRAP), yes(A::UNWRAP), imposed, only]).unwrap();
    let kw = plain(M::AES_KEY_WRAP);
    let open = [no(A::SENSITIVE), yes(A::EXTRACTABLE)];
    let other = bench.aes(&open).unwrap();
    assert_eq!(bench.wrap(&kek, &kw, &other), Err(Rv::KEY_NOT_WRAPPABLE));
    let mine = bench.aes(&[open.as_slice(), &[label("mine")]].concat()).unwrap();
    let blob = bench.wrap(&kek, &kw, &mine).unwrap();
    let against = bench
        .unwrap(&kek, &kw, &blob, &aes_template(&[yes(A::EXTRACTABLE)]))
        .map(|_| ());
    assert_eq!(against, Err(Rv::TEMPLATE_INCONSISTENT));
    let back = bench.unwrap(&kek, &kw, &blob, &aes_template(&[])).unwrap();
    assert_eq!(bench.read(&back, A::LABEL).unwrap(), b"imposed");
}

#[test]
fn java_and_pkcs11_tool_read_what_ecdh_gives() {
    let bench = bench(Policy::Standard);
    let (public, private) = bench.ec(&[], &[]).unwrap();
    let (theirs, other) = bench.ec(&[], &[]).unwrap();
    let generic = template(&[class(ObjectClass::SECRET_KEY), key_type(KeyType::GENERIC_SECRET)]);
    let derive = |key: &ObjectView, with: &ObjectView| {
        bench
            .keys
            .derive_key(&bench.user, &key.name(), &ecdh(&point(with)), id(), &generic)
            .unwrap()
    };
    let (ours, same) = (derive(&private, &theirs), derive(&other, &public));
    assert_eq!(
        bench.read(&ours, A::VALUE).unwrap(),
        bench.read(&same, A::VALUE).unwrap()
    );
    assert_eq!(bench.read(&ours, A::VALUE).unwrap().len(), 32);
    assert!(!flag(&ours, A::ALWAYS_SENSITIVE) && !flag(&ours, A::LOCAL));
}

#[test]
fn certificates_and_data_are_kept_as_they_are() {
    let bench = bench(Policy::Standard);
    let certificate = template(&[
        class(ObjectClass::CERTIFICATE),
        Attribute::ulong(A::CERTIFICATE_TYPE, 0),
        Attribute::bytes(A::SUBJECT, b"subject"),
        Attribute::bytes(A::VALUE, b"der"),
        yes(A::TOKEN),
    ]);
    let view = bench.keys.create_object(&bench.user, id(), &certificate).unwrap();
    assert!(!flag(&view, A::PRIVATE));
    assert_eq!(
        bench.find(&bench.nobody, &[Attribute::bytes(A::VALUE, b"der")]),
        [view.id]
    );
    assert_eq!(bench.read(&view, A::CHECK_VALUE).unwrap().len(), 3);
    let data = template(&[
        class(ObjectClass::DATA),
        Attribute::bytes(A::VALUE, b"1"),
        yes(A::TOKEN),
    ]);
    let data = bench.keys.create_object(&bench.user, id(), &data).unwrap();
    bench.set(&data, &[Attribute::bytes(A::VALUE, b"2")]).unwrap();
    assert_eq!(bench.read(&data, A::VALUE).unwrap(), b"2");
    let mut out = Vec::new();
    let used = bench.keys.encrypt(&bench.user, &data.name(), &ctr(), b"x", &mut out);
    assert_eq!(used, Err(Rv::KEY_HANDLE_INVALID));
}

#[test]
fn a_crypto_user_uses_keys_and_changes_no_token_object() {
    let bench = bench(Policy::Standard);
    let key = bench.aes(&[]).unwrap();
    let facts = (crate::Role::CryptoUser, caller(1).identity, bench.keys.epoch());
    let secret = hsmd_crypto::secret::SecretArray::random();
    let login = hsmd_proto::ids::LoginId(random::array());
    let login = crate::Login::new(bench.keystore.core(), bench.keys.id(), login, facts, (secret, 1));
    let user = Context {
        caller: caller(1),
        login: Some(Arc::new(login)),
        grant: None,
    };
    assert_eq!(bench.find(&user, &[]), [key.id]);
    let mut out = Vec::new();
    assert_eq!(bench.keys.encrypt(&user, &key.name(), &ctr(), b"x", &mut out), Ok(()));
    let refused = Rv::TOKEN_WRITE_PROTECTED;
    assert_eq!(
        bench.import(&user, &[1; 16], &[yes(A::TOKEN)]).map(|_| ()),
        Err(refused)
    );
    assert!(
        bench.import(&user, &[1; 16], &[]).is_ok(),
        "session objects are its own"
    );
    assert_eq!(bench.keys.destroy_object(&user, &key.name(), operation()), Err(refused));
    let set = bench
        .keys
        .set_attributes(&user, &key.name(), &template(&[label("x")]), operation());
    assert_eq!(set.map(|_| ()), Err(refused));
    let copied = bench
        .keys
        .copy_object(&user, &key.name(), id(), &template(&[label("x")]));
    assert_eq!(copied.map(|_| ()), Err(refused));
    // Keys neither come nor go: the role uses what is there.
    let by = bench.aes(&[yes(A::WRAP), yes(A::UNWRAP)]).unwrap();
    let prize = bench.aes(&[yes(A::EXTRACTABLE)]).unwrap();
    let blob = bench.wrap(&by, &plain(M::AES_KEY_WRAP), &prize).unwrap();
    let refused = Rv::KEY_FUNCTION_NOT_PERMITTED;
    let wrapped = bench
        .keys
        .wrap_key(&user, &by.name(), &plain(M::AES_KEY_WRAP), &prize.name());
    assert_eq!(wrapped, Err(refused));
    let session_key = aes_template(&[no(A::TOKEN)]);
    let unwrapped = bench
        .keys
        .unwrap_key(&user, &by.name(), &plain(M::AES_KEY_WRAP), &blob, id(), &session_key);
    assert_eq!(unwrapped.map(|_| ()), Err(refused));
}

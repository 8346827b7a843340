//! The attacks of the literature (Bortolozzo, Centenaro, Focardi, Steel: "Attacking and Fixing PKCS#11 Security Tokens"; Clulow)
//! by their numbers in `docs/threat-model.md`, against `standard`: what each one needs is refused. INV-1.

use super::*;

fn kw() -> Mechanism {
    plain(M::AES_KEY_WRAP)
}

/// The habit of real clients: one AES key for everything.
fn all_roles(bench: &Bench) -> ObjectView {
    bench
        .aes(&[yes(A::WRAP), yes(A::UNWRAP), yes(A::ENCRYPT), yes(A::DECRYPT)])
        .unwrap()
}

fn victim(bench: &Bench) -> ObjectView {
    bench.aes(&[yes(A::EXTRACTABLE)]).unwrap()
}

#[test]
fn a01_a_key_that_wrapped_a_sensitive_key_does_not_decrypt() {
    let bench = bench(Policy::Standard);
    let (key, victim) = (all_roles(&bench), victim(&bench));
    assert!(bench.encrypt(&key, &ctr(), b"before").is_ok());
    assert_eq!(
        bench.keys.wrap_length(&bench.user, &key.name(), &kw(), &victim.name()),
        Ok(40)
    );
    assert!(bench.encrypt(&key, &ctr(), b"a length query sets no latch").is_ok());
    let blob = bench.wrap(&key, &kw(), &victim).unwrap();
    for mechanism in [kw(), plain(M::AES_KEY_WRAP_KWP), cbc_pad(), ctr(), gcm(&[1; 12])] {
        assert_eq!(
            bench.decrypt(&key, &mechanism, &blob),
            Err(Rv::KEY_FUNCTION_NOT_PERMITTED),
            "{mechanism:?}"
        );
        assert_eq!(
            bench.encrypt(&key, &mechanism, &[0; 32]),
            Err(Rv::KEY_FUNCTION_NOT_PERMITTED),
            "{mechanism:?}"
        );
    }
    // Copies share the latch, and the views say so.
    let copy = bench.copy(&key, &[yes(A::TOKEN)]).unwrap();
    assert!(copy.wrapping);
    assert_eq!(bench.decrypt(&copy, &ctr(), &blob), Err(Rv::KEY_FUNCTION_NOT_PERMITTED));
}

#[test]
fn a02_a_planted_key_wraps_no_sensitive_key() {
    let bench = bench(Policy::Standard);
    let key = all_roles(&bench);
    let blob = bench.encrypt(&key, &kw(), &[0x11; 32]).unwrap();
    let planted = bench
        .unwrap(&key, &kw(), &blob, &aes_template(&[yes(A::WRAP)]))
        .unwrap();
    assert_eq!(bench.wrap(&planted, &kw(), &victim(&bench)), Err(Rv::KEY_NOT_WRAPPABLE));
}

#[test]
fn a03_a_flag_added_later_opens_no_blob() {
    let bench = bench(Policy::Standard);
    let key = bench.aes(&[yes(A::WRAP), no(A::DECRYPT)]).unwrap();
    let blob = bench.wrap(&key, &kw(), &victim(&bench)).unwrap();
    let changed = bench.set(&key, &[yes(A::DECRYPT)]).unwrap();
    assert!(flag(&changed, A::DECRYPT) && changed.wrapping);
    assert_eq!(bench.decrypt(&key, &kw(), &blob), Err(Rv::KEY_FUNCTION_NOT_PERMITTED));
}

#[test]
fn a04_an_imported_key_wraps_no_sensitive_key_unless_the_so_trusts_it() {
    let bench = bench(Policy::Standard);
    let key = bench
        .import(&bench.user, &[0x22; 32], &[yes(A::TOKEN), yes(A::WRAP), no(A::PRIVATE)])
        .unwrap();
    let victim = victim(&bench);
    assert_eq!(bench.wrap(&key, &kw(), &victim), Err(Rv::KEY_NOT_WRAPPABLE));
    assert_eq!(
        bench.set(&key, &[yes(A::TRUSTED)]).map(|_| ()),
        Err(Rv::ATTRIBUTE_READ_ONLY)
    );
    let trusted = template(&[yes(A::TRUSTED)]);
    bench
        .keys
        .set_attributes(&bench.so, &key.name(), &trusted, operation())
        .unwrap();
    assert!(bench.wrap(&key, &kw(), &victim).is_ok());
    // The SO's word is for that key, not for what users make of it.
    assert!(!flag(&bench.copy(&key, &[]).unwrap(), A::TRUSTED));
}

#[test]
fn a05_an_imported_public_key_wraps_no_sensitive_key() {
    let bench = bench(Policy::Standard);
    let (public, _) = bench.rsa(&[], &[]).unwrap();
    let victim = victim(&bench);
    let imported = template(&[
        class(ObjectClass::PUBLIC_KEY),
        key_type(KeyType::RSA),
        Attribute::bytes(A::MODULUS, public.attributes.value(A::MODULUS).unwrap()),
        Attribute::bytes(A::PUBLIC_EXPONENT, &[1, 0, 1]),
    ]);
    let imported = bench.keys.create_object(&bench.user, id(), &imported).unwrap();
    assert_eq!(bench.wrap(&imported, &oaep(), &victim), Err(Rv::KEY_NOT_WRAPPABLE));
    let open = bench.aes(&[no(A::SENSITIVE), yes(A::EXTRACTABLE)]).unwrap();
    assert!(
        bench.wrap(&imported, &oaep(), &open).is_ok(),
        "backups of open keys go on"
    );
    assert!(bench.wrap(&public, &oaep(), &victim).is_ok());
}

#[test]
fn a06_sensitive_and_unextractable_go_one_way() {
    let bench = bench(Policy::Standard);
    let key = bench.aes(&[]).unwrap();
    for loosened in [
        no(A::SENSITIVE),
        yes(A::EXTRACTABLE),
        Attribute::bytes(A::VALUE, &[0; 32]),
    ] {
        assert_eq!(
            bench.set(&key, std::slice::from_ref(&loosened)).map(|_| ()),
            Err(Rv::ATTRIBUTE_READ_ONLY),
            "{loosened:?}"
        );
        assert_eq!(
            bench.copy(&key, std::slice::from_ref(&loosened)).map(|_| ()),
            Err(Rv::ATTRIBUTE_READ_ONLY),
            "{loosened:?}"
        );
    }
    assert_eq!(bench.read(&key, A::VALUE), Err(Rv::ATTRIBUTE_SENSITIVE));
    let hidden = bench.aes(&[no(A::SENSITIVE), no(A::EXTRACTABLE)]).unwrap();
    assert_eq!(bench.read(&hidden, A::VALUE), Err(Rv::ATTRIBUTE_SENSITIVE));
}

#[test]
fn a07_what_a_wrapping_key_unwraps_is_sensitive_and_unextractable() {
    let bench = bench(Policy::Standard);
    let key = bench.aes(&[yes(A::WRAP), yes(A::UNWRAP)]).unwrap();
    let blob = bench.wrap(&key, &kw(), &victim(&bench)).unwrap();
    for loose in [no(A::SENSITIVE), yes(A::EXTRACTABLE)] {
        let refused = bench.unwrap(&key, &kw(), &blob, &aes_template(&[loose])).map(|_| ());
        assert_eq!(refused, Err(Rv::TEMPLATE_INCONSISTENT));
    }
    let silent = bench.unwrap(&key, &kw(), &blob, &aes_template(&[])).unwrap();
    assert!(flag(&silent, A::SENSITIVE) && !flag(&silent, A::EXTRACTABLE));
    for attribute in [A::LOCAL, A::ALWAYS_SENSITIVE, A::NEVER_EXTRACTABLE] {
        assert!(!flag(&silent, attribute), "{attribute}");
    }
    assert_eq!(bench.read(&silent, A::VALUE), Err(Rv::ATTRIBUTE_SENSITIVE));
    assert_eq!(bench.wrap(&key, &kw(), &silent), Err(Rv::KEY_UNEXTRACTABLE));
}

#[test]
fn a08_a_wrapped_private_key_is_not_read_as_a_generic_secret() {
    let bench = bench(Policy::Standard);
    let key = bench.aes(&[yes(A::WRAP), yes(A::UNWRAP)]).unwrap();
    let (_, private) = bench.ec(&[], &[yes(A::EXTRACTABLE)]).unwrap();
    let kwp = plain(M::AES_KEY_WRAP_KWP);
    let blob = bench.wrap(&key, &kwp, &private).unwrap();
    let as_generic = |more: &[Attribute]| {
        let mut all = vec![class(ObjectClass::SECRET_KEY), key_type(KeyType::GENERIC_SECRET)];
        all.extend_from_slice(more);
        bench.unwrap(&key, &kwp, &blob, &template(&all))
    };
    assert_eq!(
        as_generic(&[no(A::SENSITIVE), yes(A::EXTRACTABLE)]).map(|_| ()),
        Err(Rv::TEMPLATE_INCONSISTENT)
    );
    assert_eq!(
        bench.read(&as_generic(&[]).unwrap(), A::VALUE),
        Err(Rv::ATTRIBUTE_SENSITIVE)
    );
}

#[test]
fn a09_wrap_with_trusted_holds() {
    let bench = bench(Policy::Standard);
    let key = bench.aes(&[yes(A::WRAP)]).unwrap();
    let guarded = bench.aes(&[yes(A::EXTRACTABLE), yes(A::WRAP_WITH_TRUSTED)]).unwrap();
    assert_eq!(bench.wrap(&key, &kw(), &guarded), Err(Rv::KEY_NOT_WRAPPABLE));
    assert_eq!(
        bench.set(&guarded, &[no(A::WRAP_WITH_TRUSTED)]).map(|_| ()),
        Err(Rv::ATTRIBUTE_READ_ONLY)
    );
    assert_eq!(bench.aes(&[yes(A::TRUSTED)]).map(|_| ()), Err(Rv::ATTRIBUTE_READ_ONLY));
    let trusted = [
        Attribute::ulong(A::VALUE_LEN, 32),
        yes(A::TOKEN),
        no(A::PRIVATE),
        yes(A::TRUSTED),
        yes(A::WRAP),
    ];
    let trusted = bench
        .keys
        .generate_key(&bench.so, &plain(M::AES_KEY_GEN), id(), &template(&trusted))
        .unwrap();
    assert!(flag(&trusted, A::TRUSTED));
    assert!(bench.wrap(&trusted, &kw(), &guarded).is_ok());
}

#[test]
fn a10_usage_flags_hold_for_each_operation() {
    let bench = bench(Policy::Standard);
    let none = [
        A::ENCRYPT,
        A::DECRYPT,
        A::SIGN,
        A::VERIFY,
        A::DERIVE,
        A::WRAP,
        A::UNWRAP,
    ]
    .map(no);
    let key = bench.aes(&none).unwrap();
    let refused = Rv::KEY_FUNCTION_NOT_PERMITTED;
    assert_eq!(bench.encrypt(&key, &ctr(), b"x"), Err(refused));
    assert_eq!(bench.decrypt(&key, &ctr(), b"x"), Err(refused));
    assert_eq!(bench.wrap(&key, &kw(), &victim(&bench)), Err(refused));
    assert_eq!(
        bench.unwrap(&key, &kw(), &[0; 40], &aes_template(&[])).map(|_| ()),
        Err(refused)
    );
    let (public, private) = bench.ec(&[no(A::VERIFY)], &[no(A::SIGN), no(A::DERIVE)]).unwrap();
    assert_eq!(bench.sign(&private, M::ECDSA_SHA256, b"x"), Err(refused));
    let verified = bench.keys.verify(
        &bench.user,
        &public.name(),
        &plain(M::ECDSA_SHA256),
        Input::Message(b"x"),
        &[0; 64],
    );
    assert_eq!(verified, Err(refused));
    let secret = template(&[class(ObjectClass::SECRET_KEY), key_type(KeyType::GENERIC_SECRET)]);
    let derived = bench
        .keys
        .derive_key(&bench.user, &private.name(), &ecdh(&point(&public)), id(), &secret);
    assert_eq!(derived.map(|_| ()), Err(refused));
}

#[test]
fn a11_derived_secrets_are_keys_and_not_short() {
    let bench = bench(Policy::Standard);
    let (public, private) = bench.ec(&[], &[]).unwrap();
    let derive = |entries: &[Attribute]| {
        bench.keys.derive_key(
            &bench.user,
            &private.name(),
            &ecdh(&point(&public)),
            id(),
            &template(entries),
        )
    };
    let generic = [class(ObjectClass::SECRET_KEY), key_type(KeyType::GENERIC_SECRET)];
    let short = [generic.as_slice(), &[Attribute::ulong(A::VALUE_LEN, 13)]].concat();
    assert_eq!(derive(&short).map(|_| ()), Err(Rv::TEMPLATE_INCONSISTENT));
    let data = [class(ObjectClass::DATA), key_type(KeyType::GENERIC_SECRET)];
    assert_eq!(derive(&data).map(|_| ()), Err(Rv::TEMPLATE_INCONSISTENT));
    let long = [generic.as_slice(), &[Attribute::ulong(A::VALUE_LEN, 33)]].concat();
    assert_eq!(derive(&long).map(|_| ()), Err(Rv::TEMPLATE_INCONSISTENT));
    // Whoever sent the point knows the secret: it wraps nothing sensitive.
    let agreed = derive(&[class(ObjectClass::SECRET_KEY), key_type(KeyType::AES), yes(A::WRAP)]).unwrap();
    assert_eq!(bench.wrap(&agreed, &kw(), &victim(&bench)), Err(Rv::KEY_NOT_WRAPPABLE));
}

#[test]
fn a12_weak_rsa_keys_are_refused() {
    let bench = bench(Policy::Standard);
    let (public, _) = bench.rsa(&[], &[]).unwrap();
    let modulus = public.attributes.value(A::MODULUS).unwrap().to_vec();
    let import = |modulus: &[u8], exponent: &[u8]| {
        let all = template(&[
            class(ObjectClass::PUBLIC_KEY),
            key_type(KeyType::RSA),
            Attribute::bytes(A::MODULUS, modulus),
            Attribute::bytes(A::PUBLIC_EXPONENT, exponent),
        ]);
        bench.keys.create_object(&bench.user, id(), &all).map(|_| ())
    };
    assert_eq!(import(&modulus, &[1, 0, 1]), Ok(()));
    for exponent in [&[1][..], &[3], &[0, 0, 3], &[1, 0, 0], &[]] {
        assert_eq!(
            import(&modulus, exponent),
            Err(Rv::ATTRIBUTE_VALUE_INVALID),
            "{exponent:?}"
        );
    }
    assert_eq!(import(&modulus[..128], &[1, 0, 1]), Err(Rv::ATTRIBUTE_VALUE_INVALID));
    for bits in [512, 1024, 2047, 8192] {
        let public = [Attribute::ulong(A::MODULUS_BITS, bits)];
        let made = bench.pair(M::RSA_PKCS_KEY_PAIR_GEN, &public, &[]).map(|_| ());
        assert_eq!(made, Err(Rv::ATTRIBUTE_VALUE_INVALID), "{bits}");
    }
    let weak = bench
        .rsa(&[Attribute::bytes(A::PUBLIC_EXPONENT, &[3])], &[])
        .map(|_| ());
    assert_eq!(weak, Err(Rv::ATTRIBUTE_VALUE_INVALID));
}

#[test]
fn a13_points_off_the_curve_are_refused() {
    let bench = bench(Policy::Standard);
    let (public, private) = bench.ec(&[], &[]).unwrap();
    let good = point(&public);
    let mut bad = vec![vec![0], vec![4, 1, 0], good[..good.len() - 1].to_vec(), vec![4; 65]];
    for at in [3, 40, 66] {
        let mut off = good.clone();
        off[at] ^= 1;
        bad.push(off);
    }
    let secret = template(&[class(ObjectClass::SECRET_KEY), key_type(KeyType::GENERIC_SECRET)]);
    for point in bad {
        let derived = bench
            .keys
            .derive_key(&bench.user, &private.name(), &ecdh(&point), id(), &secret);
        assert_eq!(derived.map(|_| ()), Err(Rv::MECHANISM_PARAM_INVALID), "{point:?}");
    }
}

#[test]
fn a16_a_wrapping_key_checks_no_padding() {
    let bench = bench(Policy::Standard);
    let key = bench.aes(&[yes(A::WRAP), yes(A::UNWRAP)]).unwrap();
    let blob = bench.wrap(&key, &kw(), &victim(&bench)).unwrap();
    let refused = bench
        .unwrap(&key, &cbc_pad(), &blob[..32], &aes_template(&[]))
        .map(|_| ());
    assert_eq!(refused, Err(Rv::KEY_FUNCTION_NOT_PERMITTED));
}

#[test]
fn a17_gcm_refuses_a_used_iv_short_tags_and_empty_ivs() {
    let bench = bench(Policy::Standard);
    let key = bench.aes(&[]).unwrap();
    let first = bench.encrypt(&key, &gcm(&[7; 12]), b"first").unwrap();
    assert_eq!(
        bench.encrypt(&key, &gcm(&[7; 12]), b"first").as_ref(),
        Ok(&first),
        "the same request again"
    );
    assert_eq!(
        bench.encrypt(&key, &gcm(&[7; 12]), b"other"),
        Err(Rv::MECHANISM_PARAM_INVALID)
    );
    let copy = bench.copy(&key, &[]).unwrap();
    assert_eq!(
        bench.encrypt(&copy, &gcm(&[7; 12]), b"other"),
        Err(Rv::MECHANISM_PARAM_INVALID)
    );
    assert_eq!(bench.encrypt(&key, &gcm(&[]), b"x"), Err(Rv::MECHANISM_PARAM_INVALID));
    // An empty message may come first, as from Java, but not with a key whose caller may not decrypt.
    assert!(bench.encrypt(&key, &gcm(&[8; 12]), b"").is_ok());
    assert!(bench.encrypt(&key, &gcm(&[8; 12]), b"x").is_ok());
    let only = bench.aes(&[yes(A::ENCRYPT), no(A::DECRYPT)]).unwrap();
    assert!(bench.encrypt(&only, &gcm(&[8; 12]), b"").is_ok());
    assert_eq!(
        bench.encrypt(&only, &gcm(&[8; 12]), b"x"),
        Err(Rv::MECHANISM_PARAM_INVALID)
    );
    for tag_bits in [0, 8, 64, 95] {
        let params = GcmParams {
            iv: vec![8; 12],
            aad: Vec::new(),
            tag_bits,
        };
        let short = Mechanism {
            kind: M::AES_GCM,
            params: Params::Gcm(params),
        };
        assert_eq!(
            bench.encrypt(&key, &short, b"x"),
            Err(Rv::MECHANISM_PARAM_INVALID),
            "{tag_bits}"
        );
    }
    let mut damaged = first.clone();
    damaged[0] ^= 1;
    assert_eq!(
        bench.decrypt(&key, &gcm(&[7; 12]), &damaged),
        Err(Rv::ENCRYPTED_DATA_INVALID)
    );
    assert_eq!(
        bench.decrypt(&key, &gcm(&[7; 12]), &first).as_deref(),
        Ok(&b"first"[..])
    );
}

#[test]
fn a21_an_imported_key_has_no_history() {
    let bench = bench(Policy::Standard);
    for claimed in [yes(A::LOCAL), yes(A::ALWAYS_SENSITIVE), yes(A::NEVER_EXTRACTABLE)] {
        let refused = bench.import(&bench.user, &[3; 32], &[claimed]).map(|_| ());
        assert_eq!(refused, Err(Rv::ATTRIBUTE_READ_ONLY));
    }
    let imported = bench.import(&bench.user, &[3; 32], &[]).unwrap();
    for attribute in [A::LOCAL, A::ALWAYS_SENSITIVE, A::NEVER_EXTRACTABLE] {
        assert!(!flag(&imported, attribute), "{attribute}");
    }
    let generated = bench.aes(&[]).unwrap();
    for attribute in [A::LOCAL, A::ALWAYS_SENSITIVE, A::NEVER_EXTRACTABLE] {
        assert!(flag(&generated, attribute), "{attribute}");
    }
}

#[test]
fn a22_nothing_weaker_wraps() {
    let bench = bench(Policy::Standard);
    let short = bench.aes_of(16, &[yes(A::WRAP)]).unwrap();
    let victim = victim(&bench);
    assert_eq!(bench.wrap(&short, &kw(), &victim), Err(Rv::WRAPPING_KEY_SIZE_RANGE));
    let long = bench.aes(&[yes(A::WRAP)]).unwrap();
    for mechanism in [cbc_pad(), gcm(&[1; 12])] {
        let wrapped = bench.wrap(&long, &mechanism, &victim);
        assert_eq!(wrapped, Err(Rv::KEY_NOT_WRAPPABLE), "{mechanism:?}");
    }
    for mechanism in [
        ctr(),
        Mechanism {
            kind: M::AES_CBC,
            params: Params::Iv(vec![0; 16]),
        },
    ] {
        assert_eq!(
            bench.wrap(&long, &mechanism, &victim),
            Err(Rv::MECHANISM_INVALID),
            "{mechanism:?}"
        );
    }
    assert!(bench.wrap(&long, &kw(), &victim).is_ok());
}

#[test]
fn a23_an_empty_template_gives_a_closed_key() {
    let bench = bench(Policy::Standard);
    let key = bench.aes(&[]).unwrap();
    for on in [A::SENSITIVE, A::PRIVATE, A::ENCRYPT, A::DECRYPT] {
        assert!(flag(&key, on), "{on}");
    }
    for off in [A::EXTRACTABLE, A::WRAP, A::UNWRAP, A::TRUSTED] {
        assert!(!flag(&key, off), "{off}");
    }
}

// DESIGN 8, "outside": a key that was readable for a moment wraps nothing sensitive, nor does its public half.
#[test]
fn a_key_that_was_ever_readable_wraps_no_sensitive_key() {
    let bench = bench(Policy::Standard);
    let victim = victim(&bench);
    let key = bench
        .aes(&[no(A::SENSITIVE), yes(A::EXTRACTABLE), yes(A::WRAP)])
        .unwrap();
    assert!(bench.read(&key, A::VALUE).is_ok());
    assert_eq!(bench.wrap(&key, &kw(), &victim), Err(Rv::KEY_NOT_WRAPPABLE));
    bench.set(&key, &[yes(A::SENSITIVE), no(A::EXTRACTABLE)]).unwrap();
    assert_eq!(bench.wrap(&key, &kw(), &victim), Err(Rv::KEY_NOT_WRAPPABLE));
    let copy = bench.copy(&key, &[]).unwrap();
    assert_eq!(bench.wrap(&copy, &kw(), &victim), Err(Rv::KEY_NOT_WRAPPABLE));
    let (public, _) = bench.rsa(&[], &[no(A::SENSITIVE), yes(A::EXTRACTABLE)]).unwrap();
    assert_eq!(bench.wrap(&public, &oaep(), &victim), Err(Rv::KEY_NOT_WRAPPABLE));
}

/// docs/decisions/0012: origin is kept with the object. A key whose own blob is unwrapped goes on wrapping, and what came out of
/// the blob is no way to its value, nor to what it wraps.
#[test]
fn a_key_brought_back_by_its_own_blob_gives_nothing_away() {
    let bench = bench(Policy::Standard);
    let outer = bench.aes(&[yes(A::WRAP), yes(A::UNWRAP)]).unwrap();
    let roles = [
        yes(A::WRAP),
        yes(A::UNWRAP),
        yes(A::ENCRYPT),
        yes(A::DECRYPT),
        yes(A::EXTRACTABLE),
    ];
    let inner = bench.aes(&roles).unwrap();
    let victim = victim(&bench);
    let blob = bench.wrap(&outer, &kw(), &inner).unwrap();
    // By no template does it come back readable, and by no mechanism but those of DESIGN 8.
    for loose in [
        [no(A::SENSITIVE), no(A::EXTRACTABLE)],
        [yes(A::SENSITIVE), yes(A::EXTRACTABLE)],
    ] {
        let back = bench.unwrap(&outer, &kw(), &blob, &aes_template(&loose)).map(|_| ());
        assert_eq!(back, Err(Rv::TEMPLATE_INCONSISTENT));
    }
    let usage = [
        yes(A::WRAP),
        yes(A::UNWRAP),
        yes(A::ENCRYPT),
        yes(A::DECRYPT),
        yes(A::TOKEN),
    ];
    let back = bench.unwrap(&outer, &kw(), &blob, &aes_template(&usage)).unwrap();
    assert_eq!(bench.read(&back, A::VALUE), Err(Rv::ATTRIBUTE_SENSITIVE));
    for history in [A::LOCAL, A::ALWAYS_SENSITIVE, A::NEVER_EXTRACTABLE, A::EXTRACTABLE] {
        assert!(!flag(&back, history), "{history:?}");
    }
    // The new object is from outside, with its copies. The old one is what it was.
    for outside in [&back, &bench.copy(&back, &[]).unwrap()] {
        assert_eq!(bench.wrap(outside, &kw(), &victim), Err(Rv::KEY_NOT_WRAPPABLE));
    }
    let sealed = bench.wrap(&inner, &kw(), &victim).unwrap();
    // The latch is the material's: with neither object is the blob opened.
    for key in [&inner, &back] {
        for mechanism in [
            kw(),
            plain(M::AES_KEY_WRAP_KWP),
            plain(M::AES_ECB),
            cbc_pad(),
            ctr(),
            gcm(&[1; 12]),
        ] {
            let opened = bench.decrypt(key, &mechanism, &sealed);
            assert_eq!(opened, Err(Rv::KEY_FUNCTION_NOT_PERMITTED), "{mechanism:?}");
        }
        let opened = bench.unwrap(
            key,
            &kw(),
            &sealed,
            &aes_template(&[no(A::SENSITIVE), yes(A::EXTRACTABLE)]),
        );
        assert_eq!(opened.map(|_| ()), Err(Rv::TEMPLATE_INCONSISTENT));
        let opened = bench.unwrap(key, &kw(), &sealed, &aes_template(&[])).unwrap();
        assert_eq!(bench.read(&opened, A::VALUE), Err(Rv::ATTRIBUTE_SENSITIVE));
    }
}

// The latch is on the material: the private half of a public key that wrapped is left with unwrapping.
#[test]
fn both_halves_of_a_pair_share_the_latch() {
    let bench = bench(Policy::Standard);
    let victim = victim(&bench);
    let (public, private) = bench.rsa(&[], &[]).unwrap();
    assert!(bench.sign(&private, M::SHA256_RSA_PKCS, b"x").is_ok());
    let blob = bench.wrap(&public, &oaep(), &victim).unwrap();
    assert_eq!(
        bench.decrypt(&private, &oaep(), &blob),
        Err(Rv::KEY_FUNCTION_NOT_PERMITTED)
    );
    assert_eq!(
        bench.sign(&private, M::SHA256_RSA_PKCS, b"x"),
        Err(Rv::KEY_FUNCTION_NOT_PERMITTED)
    );
    assert!(bench.encrypt(&public, &oaep(), b"anybody can").is_ok());
    assert!(!flag(
        &bench.unwrap(&private, &oaep(), &blob, &aes_template(&[])).unwrap(),
        A::EXTRACTABLE
    ));
}

#[test]
fn legacy_works_as_softhsm_and_is_marked_for_later() {
    let bench = bench(Policy::Legacy);
    let key = all_roles(&bench);
    let victim = victim(&bench);
    let blob = bench.wrap(&key, &cbc_pad(), &victim).unwrap();
    assert_eq!(bench.decrypt(&key, &cbc_pad(), &blob).unwrap().len(), 32);
    let loose = aes_template(&[no(A::SENSITIVE), yes(A::EXTRACTABLE)]);
    assert_eq!(
        bench
            .read(&bench.unwrap(&key, &cbc_pad(), &blob, &loose).unwrap(), A::VALUE)
            .unwrap()
            .len(),
        32
    );
    bench.keys.tighten(Policy::Standard).unwrap();
    let user = context(&bench.keys, caller(1), UserType::USER, PIN);
    let wrapped = bench.keys.wrap_key(&user, &key.name(), &kw(), &victim.name());
    assert_eq!(wrapped, Err(Rv::KEY_NOT_WRAPPABLE), "its blobs may have been opened");
}

#[test]
fn strict_wants_trust_and_no_conflicting_roles() {
    let bench = bench(Policy::Strict);
    let roles = [[yes(A::WRAP), yes(A::DECRYPT)], [yes(A::UNWRAP), yes(A::ENCRYPT)]];
    for both in &roles {
        assert_eq!(bench.aes(both).map(|_| ()), Err(Rv::TEMPLATE_INCONSISTENT));
    }
    let key = bench.aes(&[yes(A::WRAP)]).unwrap();
    assert_eq!(bench.wrap(&key, &kw(), &victim(&bench)), Err(Rv::KEY_NOT_WRAPPABLE));
    bench.set(&key, &[no(A::WRAP)]).unwrap();
    let later = bench.set(&key, &[yes(A::DECRYPT)]).map(|_| ());
    assert_eq!(
        later,
        Err(Rv::TEMPLATE_INCONSISTENT),
        "a role once held excludes the other for ever"
    );
    let pair = bench.rsa(&[yes(A::WRAP)], &[yes(A::DECRYPT)]).map(|_| ());
    assert_eq!(pair, Err(Rv::TEMPLATE_INCONSISTENT));
}

//! What is no key: the three kinds of certificates, trust objects, and what the token makes itself.

use hsmd_proto::ck::{CertificateType, Profile};
use hsmd_proto::mechanism::TABLE;
use hsmd_proto::vendor::POLICY_FEATURE;

use super::*;

fn found(bench: &Bench, entries: &[Attribute]) -> Vec<UniqueId> {
    bench.find(&bench.nobody, entries)
}

#[test]
fn what_the_token_makes_is_found_by_its_class_alone() {
    for policy in Policy::ALL {
        let bench = bench(policy);
        assert_eq!(found(&bench, &[]), []);
        assert_eq!(found(&bench, &[yes(A::TOKEN)]), []);
        let profiles = found(&bench, &[class(ObjectClass::PROFILE)]);
        assert_eq!(profiles.len(), 3);
        let baseline = Attribute::ulong(A::PROFILE_ID, Profile::BASELINE_PROVIDER.0);
        assert_eq!(found(&bench, &[class(ObjectClass::PROFILE), baseline]), profiles[..1]);
        let mechanisms = found(&bench, &[class(ObjectClass::MECHANISM)]);
        let rows = TABLE.iter().filter(|row| row.allowed(policy)).count();
        assert_eq!(mechanisms.len(), rows);
        let feature = Attribute::ulong(A::HW_FEATURE_TYPE, POLICY_FEATURE);
        let feature = found(&bench, &[class(ObjectClass::HW_FEATURE), feature]);
        let name = ObjectRef::token(feature[0]);
        let said = bench.keys.attributes(&bench.nobody, &name, &[A::HSMD_POLICY]).unwrap();
        assert_eq!(said[0].as_ref().unwrap().value.as_slice(), policy.name().as_bytes());
        assert_eq!(found(&bench, &[class(ObjectClass::VALIDATION)]), []);
        assert_eq!(bench.keys.views(&bench.nobody, &feature).len(), 1);
    }
}

#[test]
fn what_the_token_makes_is_nobodys_to_change() {
    let bench = bench(Policy::Standard);
    let profile = found(&bench, &[class(ObjectClass::PROFILE)])[0];
    let name = ObjectRef::token(profile);
    let prohibited = Err(Rv::ACTION_PROHIBITED);
    let (keys, so) = (&bench.keys, &bench.so);
    assert_eq!(keys.destroy_object(so, &name, operation()), prohibited);
    let label = template(&[label("mine")]);
    assert_eq!(
        keys.set_attributes(so, &name, &label, operation()).map(drop),
        Err(Rv::ACTION_PROHIBITED)
    );
    assert_eq!(
        keys.copy_object(so, &name, id(), &label).map(drop),
        Err(Rv::ACTION_PROHIBITED)
    );
    let mut out = Vec::new();
    let used = keys.encrypt(&bench.user, &name, &cbc_pad(), b"x", &mut out);
    assert_eq!(used, Err(Rv::KEY_HANDLE_INVALID));
    for built_in in [
        ObjectClass::PROFILE,
        ObjectClass::MECHANISM,
        ObjectClass::HW_FEATURE,
        ObjectClass::VALIDATION,
    ] {
        let made = keys.create_object(so, id(), &template(&[class(built_in)])).map(drop);
        assert_eq!(made, Err(Rv::ATTRIBUTE_VALUE_INVALID), "{built_in}");
    }
}

fn certificate(kind: CertificateType, more: &[Attribute]) -> Template {
    let mut all = vec![
        class(ObjectClass::CERTIFICATE),
        Attribute::ulong(A::CERTIFICATE_TYPE, kind.0),
        Attribute::bytes(A::VALUE, b"DER"),
    ];
    all.extend_from_slice(more);
    template(&all)
}

#[test]
fn certificates_are_of_three_kinds() {
    let bench = bench(Policy::Standard);
    let make = |kind, more: &[Attribute]| bench.keys.create_object(&bench.user, id(), &certificate(kind, more));
    let subject = Attribute::bytes(A::SUBJECT, b"subject");
    let owner = Attribute::bytes(A::OWNER, b"owner");
    for (kind, own, foreign) in [
        (CertificateType::X_509, &subject, A::OWNER),
        (CertificateType::WTLS, &subject, A::SERIAL_NUMBER),
        (CertificateType::X_509_ATTR_CERT, &owner, A::SUBJECT),
    ] {
        assert_eq!(make(kind, &[]).map(drop), Err(Rv::TEMPLATE_INCOMPLETE), "{kind}");
        let made = make(kind, std::slice::from_ref(own)).unwrap();
        assert_eq!(
            bench.read(&made, A::CERTIFICATE_TYPE),
            Ok(kind.0.to_le_bytes().to_vec())
        );
        // The start of the SHA-1 of the value, which nobody names otherwise.
        let check = bench.read(&made, A::CHECK_VALUE).unwrap();
        assert_eq!(check.len(), 3);
        let named = |value: &[u8]| make(kind, &[own.clone(), Attribute::bytes(A::CHECK_VALUE, value)]).map(drop);
        assert_eq!(named(&check), Ok(()));
        assert_eq!(named(&[]), Ok(()));
        assert_eq!(named(&[1, 2, 3]), Err(Rv::ATTRIBUTE_VALUE_INVALID));
        let other = make(kind, &[own.clone(), Attribute::bytes(foreign, b"x")]).map(drop);
        assert_eq!(other, Err(Rv::ATTRIBUTE_TYPE_INVALID));
    }
    let unknown = make(CertificateType(77), &[]).map(drop);
    assert_eq!(unknown, Err(Rv::ATTRIBUTE_VALUE_INVALID));
    let trust = template(&[
        class(ObjectClass::TRUST),
        Attribute::bytes(A::ISSUER, b"issuer"),
        Attribute::bytes(A::SERIAL_NUMBER, b"1"),
        Attribute::ulong(A::TRUST_SERVER_AUTH, 1),
    ]);
    let trust = bench.keys.create_object(&bench.user, id(), &trust).unwrap();
    assert_eq!(bench.read(&trust, A::TRUST_CLIENT_AUTH), Ok(vec![0; 8]));
}

/// Vendor attributes: origin and latch as they are now, read by everybody who sees the key, set by nobody.
#[test]
fn origin_and_latch_are_shown() {
    let bench = bench(Policy::Standard);
    let shown = |key: &ObjectView, attribute| bench.read(key, attribute).unwrap();
    let origin = |key: &ObjectView| shown(key, A::HSMD_ORIGIN)[0];
    let made = bench.aes(&[yes(A::WRAP)]).unwrap();
    let readable = bench.aes(&[no(A::SENSITIVE), yes(A::EXTRACTABLE)]).unwrap();
    let imported = bench.import(&bench.user, &[1; 32], &[]).unwrap();
    let both = bench
        .import(&bench.user, &[2; 32], &[no(A::SENSITIVE), yes(A::EXTRACTABLE)])
        .unwrap();
    assert_eq!([&made, &readable, &imported, &both].map(origin), [0, 2, 1, 3]);
    let copy = bench.copy(&made, &[]).unwrap();
    for key in [&made, &copy] {
        assert_eq!(shown(key, A::HSMD_WRAPPING), [0]);
    }
    let prize = bench.aes(&[yes(A::EXTRACTABLE)]).unwrap();
    bench.wrap(&made, &plain(M::AES_KEY_WRAP), &prize).unwrap();
    for key in [&made, &copy] {
        assert_eq!(shown(key, A::HSMD_WRAPPING), [1], "the latch is the material's");
    }
    for attribute in [Attribute::ulong(A::HSMD_ORIGIN, 0), no(A::HSMD_WRAPPING)] {
        let set = bench.set(&made, std::slice::from_ref(&attribute)).map(drop);
        assert_eq!(set, Err(Rv::ATTRIBUTE_READ_ONLY));
        assert_eq!(bench.aes(&[attribute]).map(drop), Err(Rv::ATTRIBUTE_READ_ONLY));
    }
}

#[test]
fn a_public_key_info_that_is_named_is_the_right_one() {
    let bench = bench(Policy::Standard);
    let (public, _) = bench.ec(&[], &[]).unwrap();
    let value = |attribute| public.attributes.value(attribute).unwrap().to_vec();
    let import = |info: &[u8]| {
        let all = template(&[
            class(ObjectClass::PUBLIC_KEY),
            key_type(KeyType::EC),
            Attribute::bytes(A::EC_PARAMS, &value(A::EC_PARAMS)),
            Attribute::bytes(A::EC_POINT, &value(A::EC_POINT)),
            Attribute::bytes(A::PUBLIC_KEY_INFO, info),
        ]);
        bench.keys.create_object(&bench.user, id(), &all)
    };
    let info = value(A::PUBLIC_KEY_INFO);
    for named in [&info[..], &[]] {
        let made = import(named).unwrap();
        assert_eq!(made.attributes.value(A::PUBLIC_KEY_INFO), Some(&info[..]));
    }
    assert_eq!(import(b"another").map(drop), Err(Rv::TEMPLATE_INCONSISTENT));
}

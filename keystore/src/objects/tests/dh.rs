//! Private values of Diffie-Hellman: how long they are (CKA_VALUE_BITS; PKCS#11 3.2, 6.4.4 and 6.4.8).

use super::*;
use hsmd_proto::dh::DhGroup;

const GENERATED: M = M::DH_PKCS_KEY_PAIR_GEN;

fn numbers(group: DhGroup) -> [Attribute; 2] {
    let prime = Attribute::bytes(A::PRIME, group.prime());
    [prime, Attribute::bytes(A::BASE, &DhGroup::BASE)]
}

fn bits(length: u64) -> Attribute {
    Attribute::ulong(A::VALUE_BITS, length)
}

fn length_of(bench: &Bench, key: &ObjectView) -> u64 {
    let bytes = bench.read(key, A::VALUE_BITS).unwrap();
    u64::from_le_bytes(bytes.try_into().unwrap())
}

/// A private key of this value, which may leave.
fn created(bench: &Bench, value: &[u8], more: &[Attribute]) -> Result<ObjectView, Rv> {
    let mut all = vec![class(ObjectClass::PRIVATE_KEY), key_type(KeyType::DH)];
    all.extend(numbers(DhGroup::Ffdhe2048));
    all.extend([Attribute::bytes(A::VALUE, value), yes(A::EXTRACTABLE)]);
    all.extend_from_slice(more);
    bench.keys.create_object(&bench.user, id(), &template(&all))
}

#[test]
fn a_generated_private_value_is_as_long_as_its_template_says() {
    let bench = bench(Policy::Standard);
    let readable = [yes(A::TOKEN), no(A::SENSITIVE), yes(A::EXTRACTABLE)];
    let pair = |group, more: &[Attribute]| bench.pair(GENERATED, &numbers(group), &[&readable, more].concat());
    for (group, asked) in [
        (DhGroup::Ffdhe2048, 224),
        // What Java asks for (RFC 7919, 5.2).
        (DhGroup::Ffdhe2048, 225),
        (DhGroup::Ffdhe3072, 275),
        (DhGroup::Modp2048, 1024),
        (DhGroup::Modp2048, 2047),
    ] {
        let (_, private) = pair(group, &[bits(asked)]).unwrap();
        assert_eq!(length_of(&bench, &private), asked);
        let value = bench.read(&private, A::VALUE).unwrap();
        assert_eq!(hsmd_proto::meta::modulus_bits(&value), asked);
    }
    let (public, private) = pair(DhGroup::Ffdhe3072, &[]).unwrap();
    assert_eq!(length_of(&bench, &private), 288);
    assert_eq!(bench.read(&public, A::VALUE_BITS), Err(Rv::ATTRIBUTE_TYPE_INVALID));
    assert_eq!(bench.find(&bench.user, &[bits(288)]), [private.id]);
}

/// SP 800-56A r3, 5.6.1.1.1: at least twice the strength of the group, at most as long as q; under every policy.
#[test]
fn a_length_that_weakens_the_group_is_refused() {
    for policy in [Policy::Standard, Policy::Strict, Policy::Fips, Policy::Legacy] {
        let bench = bench(policy);
        let pair = |group, length| bench.pair(GENERATED, &numbers(group), &[bits(length), yes(A::DERIVE)]);
        for (group, length) in [
            (DhGroup::Modp2048, 0),
            (DhGroup::Modp2048, 160),
            (DhGroup::Ffdhe2048, 223),
            (DhGroup::Ffdhe3072, 255),
            (DhGroup::Ffdhe4096, 303),
            (DhGroup::Ffdhe6144, 351),
            (DhGroup::Ffdhe8192, 399),
            (DhGroup::Ffdhe2048, 2048),
            (DhGroup::Ffdhe2048, u64::MAX),
        ] {
            let made = pair(group, length).map(|_| ());
            assert_eq!(
                made,
                Err(Rv::ATTRIBUTE_VALUE_INVALID),
                "{group:?}, {length} bits, {policy:?}"
            );
        }
    }
    let bench = bench(Policy::Standard);
    // It is the private half's.
    let public = [&numbers(DhGroup::Ffdhe2048)[..], &[bits(256)]].concat();
    let made = bench.pair(GENERATED, &public, &[]).map(|_| ());
    assert_eq!(made, Err(Rv::ATTRIBUTE_TYPE_INVALID));
    // What is no CK_ULONG.
    let wrong = [Attribute::bytes(A::VALUE_BITS, &[0, 1])];
    let made = bench.pair(GENERATED, &numbers(DhGroup::Ffdhe2048), &wrong).map(|_| ());
    assert_eq!(made, Err(Rv::ATTRIBUTE_VALUE_INVALID));
}

/// The token counts: C_CreateObject takes no length (footnote 2), and C_UnwrapKey and C_CopyObject take the right one alone.
#[test]
fn the_length_of_other_private_values_is_counted() {
    let bench = bench(Policy::Legacy);
    // Leading zeros are no part of it.
    let key = created(&bench, &[0, 0, 0x1f, 7, 7], &[]).unwrap();
    assert_eq!(length_of(&bench, &key), 21);
    let refused = created(&bench, &[7; 32], &[bits(251)]).map(|_| ());
    assert_eq!(refused, Err(Rv::TEMPLATE_INCONSISTENT));
    assert_eq!(bench.set(&key, &[bits(22)]).map(|_| ()), Err(Rv::ATTRIBUTE_READ_ONLY));
    let copy = bench.copy(&key, &[bits(21)]).unwrap();
    assert_eq!(length_of(&bench, &copy), 21);
    assert_eq!(bench.copy(&key, &[bits(22)]).map(|_| ()), Err(Rv::ATTRIBUTE_READ_ONLY));

    let by = bench.aes(&[yes(A::WRAP), yes(A::UNWRAP)]).unwrap();
    let blob = bench.wrap(&by, &plain(M::AES_KEY_WRAP_KWP), &key).unwrap();
    let unwrapped = |more: &[Attribute]| {
        let mut all = vec![class(ObjectClass::PRIVATE_KEY), key_type(KeyType::DH)];
        all.extend_from_slice(more);
        bench.unwrap(&by, &plain(M::AES_KEY_WRAP_KWP), &blob, &template(&all))
    };
    for named in [&[][..], &[bits(21)]] {
        assert_eq!(length_of(&bench, &unwrapped(named).unwrap()), 21);
    }
    assert_eq!(unwrapped(&[bits(20)]).map(|_| ()), Err(Rv::TEMPLATE_INCONSISTENT));
}

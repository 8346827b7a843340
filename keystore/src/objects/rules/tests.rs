//! The rules as tables of cases.

use super::*;
use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::AttributeType as A;

fn plan(way: Way, shape: Shape) -> Plan {
    Plan {
        way,
        shape,
        policy: Policy::Standard,
        so: false,
    }
}

fn template(entries: &[Attribute]) -> Template {
    entries.iter().cloned().collect()
}

fn yes(attribute: A) -> Attribute {
    Attribute::boolean(attribute, true)
}

fn no(attribute: A) -> Attribute {
    Attribute::boolean(attribute, false)
}

#[test]
fn every_row_hangs_together() {
    for (index, row) in RULES.iter().enumerate() {
        for shape in Shape::ALL.into_iter().filter(|shape| row.shapes.has(*shape)) {
            let twice = RULES[..index]
                .iter()
                .any(|other| other.attribute == row.attribute && other.shapes.has(shape));
            assert!(!twice, "{} of {shape:?} has two rows", row.attribute);
        }
        assert_ne!(row.shapes, Shapes::NONE, "{}", row.attribute);
        assert!(
            hsmd_proto::attribute::kind(row.attribute).is_some(),
            "{}",
            row.attribute
        );
        assert_eq!(
            row.required.0 & !row.named.0,
            0,
            "{} is required where it may not be named",
            row.attribute
        );
        if matches!(row.change, Change::Raise | Change::Lower) {
            assert_eq!(
                hsmd_proto::attribute::kind(row.attribute),
                Some(hsmd_proto::attribute::Kind::Bool)
            );
        }
    }
}

#[test]
fn defaults_of_the_standard_policy() {
    let generated = |shape, entries: &[Attribute]| complete(plan(Way::Generate, shape), &template(entries)).unwrap();
    let aes = generated(Shape::Aes, &[Attribute::ulong(A::VALUE_LEN, 32)]);
    for attribute in [
        A::ENCRYPT,
        A::DECRYPT,
        A::SIGN,
        A::VERIFY,
        A::DERIVE,
        A::SENSITIVE,
        A::PRIVATE,
    ] {
        assert!(aes.flag(attribute), "{attribute}");
    }
    for attribute in [
        A::WRAP,
        A::UNWRAP,
        A::EXTRACTABLE,
        A::TRUSTED,
        A::TOKEN,
        A::WRAP_WITH_TRUSTED,
    ] {
        assert!(!aes.flag(attribute), "{attribute}");
    }
    let public = generated(Shape::RsaPublic, &[Attribute::ulong(A::MODULUS_BITS, 2048)]);
    assert!(public.flag(A::WRAP) && public.flag(A::ENCRYPT) && public.flag(A::VERIFY) && !public.flag(A::PRIVATE));
    let private = generated(Shape::RsaPrivate, &[]);
    assert!(private.flag(A::UNWRAP) && private.flag(A::DECRYPT) && private.flag(A::SIGN) && private.flag(A::PRIVATE));
    let curve = generated(Shape::EcPrivate, &[]);
    assert!(curve.flag(A::DERIVE) && curve.flag(A::SIGN) && !curve.flag(A::DECRYPT) && !curve.flag(A::UNWRAP));
}

#[test]
fn strict_gives_no_flag_unasked_and_legacy_gives_the_wrapping_ones() {
    let len = template(&[Attribute::ulong(A::VALUE_LEN, 32)]);
    let of = |policy| {
        complete(
            Plan {
                policy,
                ..plan(Way::Generate, Shape::Aes)
            },
            &len,
        )
        .unwrap()
    };
    for attribute in [
        A::ENCRYPT,
        A::DECRYPT,
        A::SIGN,
        A::VERIFY,
        A::WRAP,
        A::UNWRAP,
        A::DERIVE,
    ] {
        assert!(!of(Policy::Strict).flag(attribute), "{attribute}");
        assert!(of(Policy::Legacy).flag(attribute), "{attribute}");
    }
    assert!(of(Policy::Strict).flag(A::SENSITIVE) && !of(Policy::Strict).flag(A::EXTRACTABLE));
}

/// What a template of one attribute more than needed gets, for each way.
#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn templates_get_the_codes_of_the_specification() {
    let aes = [
        Attribute::ulong(A::CLASS, 4),
        Attribute::ulong(A::KEY_TYPE, 0x1f),
        Attribute::bytes(A::VALUE, &[7; 16]),
    ];
    let aes = aes.as_slice();
    let len = &[Attribute::ulong(A::VALUE_LEN, 32)];
    let cases: &[(Way, Shape, &[Attribute], Attribute, Rv)] = &[
        (Way::Create, Shape::Aes, aes, yes(A::LOCAL), Rv::ATTRIBUTE_READ_ONLY),
        (
            Way::Create,
            Shape::Aes,
            aes,
            yes(A::ALWAYS_SENSITIVE),
            Rv::ATTRIBUTE_READ_ONLY,
        ),
        (
            Way::Create,
            Shape::Aes,
            aes,
            yes(A::NEVER_EXTRACTABLE),
            Rv::ATTRIBUTE_READ_ONLY,
        ),
        (
            Way::Create,
            Shape::Aes,
            aes,
            Attribute::ulong(A::KEY_GEN_MECHANISM, 0),
            Rv::ATTRIBUTE_READ_ONLY,
        ),
        (
            Way::Create,
            Shape::Aes,
            aes,
            Attribute::bytes(A::UNIQUE_ID, b"x"),
            Rv::ATTRIBUTE_READ_ONLY,
        ),
        (Way::Create, Shape::Aes, aes, yes(A::TRUSTED), Rv::ATTRIBUTE_READ_ONLY),
        (
            Way::Create,
            Shape::Aes,
            aes,
            Attribute::ulong(A::VALUE_LEN, 16),
            Rv::TEMPLATE_INCONSISTENT,
        ),
        (
            Way::Create,
            Shape::Aes,
            aes,
            Attribute::bytes(A::MODULUS, b"x"),
            Rv::ATTRIBUTE_TYPE_INVALID,
        ),
        (
            Way::Create,
            Shape::Aes,
            aes,
            Attribute::bytes(A(0x8000_0001), b"x"),
            Rv::ATTRIBUTE_TYPE_INVALID,
        ),
        (
            Way::Create,
            Shape::Aes,
            aes,
            Attribute::bytes(A::TOKEN, &[2]),
            Rv::ATTRIBUTE_VALUE_INVALID,
        ),
        (
            Way::Create,
            Shape::Aes,
            aes,
            Attribute::bytes(A::TOKEN, &[1; 8]),
            Rv::ATTRIBUTE_VALUE_INVALID,
        ),
        (
            Way::Create,
            Shape::Aes,
            aes,
            Attribute::bytes(A::VALUE, &[8; 16]),
            Rv::TEMPLATE_INCONSISTENT,
        ),
        (
            Way::Create,
            Shape::Aes,
            &aes[..2],
            yes(A::TOKEN),
            Rv::TEMPLATE_INCOMPLETE,
        ),
        (
            Way::Generate,
            Shape::Aes,
            len,
            Attribute::bytes(A::VALUE, &[7; 16]),
            Rv::TEMPLATE_INCONSISTENT,
        ),
        (Way::Generate, Shape::Aes, &[], yes(A::TOKEN), Rv::TEMPLATE_INCOMPLETE),
        (
            Way::Generate,
            Shape::RsaPublic,
            &[],
            yes(A::TOKEN),
            Rv::TEMPLATE_INCOMPLETE,
        ),
        (
            Way::Generate,
            Shape::RsaPrivate,
            &[],
            Attribute::bytes(A::MODULUS, b"x"),
            Rv::TEMPLATE_INCONSISTENT,
        ),
        (
            Way::Unwrap,
            Shape::Aes,
            &aes[..2],
            Attribute::bytes(A::VALUE, b"x"),
            Rv::TEMPLATE_INCONSISTENT,
        ),
        (
            Way::Derive,
            Shape::Aes,
            &aes[..2],
            yes(A::TRUSTED),
            Rv::ATTRIBUTE_READ_ONLY,
        ),
    ];
    for (way, shape, base, more, expected) in cases {
        let mut all = base.to_vec();
        all.push(more.clone());
        let got = complete(plan(*way, *shape), &template(&all)).map(|_| ());
        assert_eq!(got, Err(*expected), "{way:?} {shape:?} {more:?}");
    }
    assert!(complete(plan(Way::Create, Shape::Aes), &template(aes)).is_ok());
    let so = Plan {
        so: true,
        ..plan(Way::Generate, Shape::Aes)
    };
    assert!(
        complete(so, &template(&[len[0].clone(), yes(A::TRUSTED)]))
            .unwrap()
            .flag(A::TRUSTED)
    );
}

/// One-way attributes, by set and by copy (A06, A09).
#[test]
fn one_way_attributes_go_one_way() {
    let draft = complete(
        plan(Way::Generate, Shape::Aes),
        &template(&[Attribute::ulong(A::VALUE_LEN, 32)]),
    )
    .unwrap();
    let base = |flip: &[Attribute]| {
        let mut attributes = draft.attributes.clone();
        flip.iter().for_each(|entry| apply::put(&mut attributes, entry.clone()));
        attributes
    };
    let down = [A::SENSITIVE, A::WRAP_WITH_TRUSTED];
    let up = [A::EXTRACTABLE, A::COPYABLE, A::DESTROYABLE];
    for way in [Way::Set, Way::Copy] {
        let go = |before: Attribute, after: Attribute| {
            let attribute = after.attribute;
            amend(
                way,
                Shape::Aes,
                false,
                &base(&[yes(A::COPYABLE), before]),
                &template(&[after]),
            )
            .map(|amended| amended.attributes.boolean(attribute).unwrap().unwrap())
        };
        for attribute in down {
            assert_eq!(go(no(attribute), yes(attribute)), Ok(true), "{way:?} {attribute}");
            assert_eq!(go(yes(attribute), yes(attribute)), Ok(true), "{way:?} {attribute}");
            assert_eq!(
                go(yes(attribute), no(attribute)),
                Err(Rv::ATTRIBUTE_READ_ONLY),
                "{way:?} {attribute}"
            );
        }
        for attribute in up {
            assert_eq!(go(yes(attribute), no(attribute)), Ok(false), "{way:?} {attribute}");
            let back = if way == Way::Copy && attribute == A::COPYABLE {
                Rv::ACTION_PROHIBITED
            } else {
                Rv::ATTRIBUTE_READ_ONLY
            };
            assert_eq!(go(no(attribute), yes(attribute)), Err(back), "{way:?} {attribute}");
        }
        assert_eq!(go(no(A::TRUSTED), yes(A::TRUSTED)), Err(Rv::ATTRIBUTE_READ_ONLY));
        assert_eq!(go(no(A::DECRYPT), yes(A::DECRYPT)), Ok(true));
    }
    let set = |entry: Attribute| amend(Way::Set, Shape::Aes, false, &base(&[]), &template(&[entry])).map(|_| ());
    assert_eq!(set(Attribute::bytes(A::VALUE, b"x")), Err(Rv::ATTRIBUTE_READ_ONLY));
    assert_eq!(set(yes(A::LOCAL)), Err(Rv::ATTRIBUTE_READ_ONLY));
    assert_eq!(set(yes(A::TOKEN)), Err(Rv::ATTRIBUTE_READ_ONLY));
    assert_eq!(set(Attribute::bytes(A::MODULUS, b"x")), Err(Rv::ATTRIBUTE_TYPE_INVALID));
    let fixed = base(&[no(A::MODIFIABLE)]);
    let label = template(&[Attribute::bytes(A::LABEL, b"x")]);
    assert_eq!(
        amend(Way::Set, Shape::Aes, false, &fixed, &label).map(|_| ()),
        Err(Rv::ACTION_PROHIBITED)
    );
}

#[test]
fn the_output_of_a_key_agreement_is_readable_unless_the_template_says_otherwise() {
    let typed = [Attribute::ulong(A::CLASS, 4), Attribute::ulong(A::KEY_TYPE, 0x10)];
    let derived = |policy| {
        complete(
            Plan {
                policy,
                ..plan(Way::Derive, Shape::Generic)
            },
            &template(&typed),
        )
        .unwrap()
    };
    assert!(!derived(Policy::Standard).flag(A::SENSITIVE) && derived(Policy::Standard).flag(A::EXTRACTABLE));
    assert!(derived(Policy::Strict).flag(A::SENSITIVE) && !derived(Policy::Strict).flag(A::EXTRACTABLE));
}

//! docs/attributes.md, from the rows of the attribute rules.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::{Change, Default, RULES, Rule, Shape, Shapes, Way, Ways};

const HEAD: &str = "\
# Attributes

What objects have, when a template may name it, what it is otherwise, and how it may change. Written from the rows of the attribute
rules (`keystore/src/objects/rules/table.rs`); a test compares. An attribute that an object does not have is
`CKR_ATTRIBUTE_TYPE_INVALID`; one that this way does not take is `CKR_TEMPLATE_INCONSISTENT` or, if only the token sets it,
`CKR_ATTRIBUTE_READ_ONLY`; one that is required and missing is `CKR_TEMPLATE_INCOMPLETE`.

*Named by* says which calls may name it: create (C_CreateObject), generate (C_GenerateKey, C_GenerateKeyPair), unwrap, derive, copy
(C_CopyObject), set (C_SetAttributeValue); those in bold must. *Changes*: to any value, up (from CK_FALSE to CK_TRUE only), down, or not at
all (then a template may repeat the value).

| attribute | objects | named by | otherwise | changes |
|---|---|---|---|---|
";

const WAYS: [(Way, &str); 6] = [
    (Way::Create, "create"),
    (Way::Generate, "generate"),
    (Way::Unwrap, "unwrap"),
    (Way::Derive, "derive"),
    (Way::Copy, "copy"),
    (Way::Set, "set"),
];

/// Sets of shapes that have a name of their own, larger ones first.
const NAMED: [(Shapes, &str); 9] = [
    (Shapes::ALL, "all"),
    (Shapes::KEYS, "keys"),
    (Shapes::PUBLIC, "public keys"),
    (Shapes::PRIVATE, "private keys"),
    (Shapes::SECRET, "secret keys"),
    (Shapes::CURVE_PUBLIC, "public keys on curves"),
    (Shapes::CURVE_PRIVATE, "private keys on curves"),
    (Shapes::SIGNING_PUBLIC, "public keys on signing curves"),
    (Shapes::SIGNING_PRIVATE, "private keys on signing curves"),
];

/// `MontgomeryPublic` as words.
fn words(shape: Shape) -> String {
    let mut words = String::new();
    for c in format!("{shape:?}").chars() {
        if c.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(c);
    }
    words
}

fn shapes(set: Shapes) -> String {
    let mut left: Vec<Shape> = Shape::ALL.into_iter().filter(|shape| set.has(*shape)).collect();
    let mut names = Vec::new();
    for (named, name) in NAMED {
        let members: Vec<Shape> = Shape::ALL.into_iter().filter(|shape| named.has(*shape)).collect();
        if members.iter().all(|member| left.contains(member)) {
            left.retain(|shape| !members.contains(shape));
            names.push(name.to_owned());
        }
    }
    names.extend(left.into_iter().map(words));
    names.join(", ")
}

fn ways(named: Ways, required: Ways) -> String {
    let names: Vec<String> = WAYS
        .iter()
        .filter(|(way, _)| named.has(*way) || required.has(*way))
        .map(|(way, name)| {
            if required.has(*way) {
                format!("**{name}**")
            } else {
                (*name).to_owned()
            }
        })
        .collect();
    names.join(", ")
}

fn default(default: Default) -> String {
    match default {
        Default::Absent => "absent".to_owned(),
        Default::Empty => "empty".to_owned(),
        Default::False => "CK_FALSE".to_owned(),
        Default::True => "CK_TRUE".to_owned(),
        Default::Number(number) => number.to_string(),
        Default::Usage(set) => {
            format!(
                "CK_TRUE for {} under `standard` and `legacy`, else CK_FALSE",
                shapes(set)
            )
        }
        Default::LegacyUsage(set) => format!("CK_TRUE for {} under `legacy`, else CK_FALSE", shapes(set)),
        Default::Private => format!("CK_TRUE for {}, else CK_FALSE", shapes(Shapes::PRIVATE_BY_DEFAULT)),
        Default::Sensitive => "CK_TRUE; for a derived generic secret CK_FALSE under `standard` and `legacy`".to_owned(),
        Default::Extractable => {
            "CK_FALSE; for a derived generic secret CK_TRUE under `standard` and `legacy`".to_owned()
        }
        Default::Computed => "computed".to_owned(),
    }
}

fn change(rule: &Rule) -> String {
    let way = match rule.change {
        Change::Any => "any",
        Change::Raise => "up",
        Change::Lower => "down",
        Change::Same => "no",
    };
    let officer = if rule.so_only { "; up by the officer" } else { "" };
    format!("{way}{officer}")
}

#[test]
fn the_attributes_page_is_what_the_rules_say() {
    let mut page = HEAD.to_owned();
    for rule in RULES {
        let cells = [
            format!("`{}`", rule.attribute),
            shapes(rule.shapes),
            ways(rule.named, rule.required),
            default(rule.default),
            change(rule),
        ];
        writeln!(page, "| {} |", cells.join(" | ")).expect("a String takes everything");
    }
    writeln!(page, "\n{} rows.", RULES.len()).expect("a String takes everything");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/attributes.md");
    if std::env::var_os("HSMD_WRITE_DOCS").is_some() {
        fs::write(&file, &page).expect("the page");
    }
    let advice = "HSMD_WRITE_DOCS=1 cargo test --profile ci -p hsmd-keystore attributes_page";
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(written == page, "docs/attributes.md is behind the rules: {advice}");
}

//! What a token fills in where a template says nothing, ours beside SoftHSM2's, attribute by attribute. Each difference is on
//! a reviewed list with its reason: a new one, or one that is gone, fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hsmd_tests::daemon;
use hsmd_tests::peers::{Token, succeed};

/// `OBJECT: ATTRIBUTE = VALUE` lines of `attributes.py`, which PyKCS11 runs on a token.
fn attributes(token: &Token) -> BTreeMap<(String, String), String> {
    let binaries = daemon::binaries();
    let python = binaries.parent().unwrap_or(Path::new(".")).join("venv/bin/python");
    assert!(python.exists(), "{}: `cargo xtask setup` makes it", python.display());
    let mut command = token.command("env");
    command
        .arg(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/softhsm_util/attributes.py"))
        .arg(token.pin())
        .env("PYKCS11LIB", token.module());
    let shown = succeed(&mut command);
    let lines = String::from_utf8(shown.output).expect("text");
    let entry = |line: &str| {
        let (object, rest) = line.split_once(": ").expect("an object");
        let (attribute, value) = rest.split_once(" = ").expect("a value");
        ((object.to_owned(), attribute.to_owned()), value.to_owned())
    };
    lines.lines().map(entry).collect()
}

#[test]
fn defaults_differ_from_softhsm_only_where_they_should() {
    let (softhsm, ours) = (attributes(&Token::softhsm()), attributes(&Token::hsmd()));
    assert!(softhsm.len() > 400 && ours.len() > 400, "both tokens have objects");
    let mut found: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for key in softhsm.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
        let value =
            |token: &BTreeMap<(String, String), String>| token.get(key).map_or("absent", String::as_str).to_owned();
        let (theirs, here) = (value(&softhsm), value(&ours));
        if theirs != here {
            let difference = format!("{}: {theirs} there, {here} here", key.1);
            found.entry(difference).or_default().insert(&key.0);
        }
    }
    let found: Vec<String> = found
        .iter()
        .map(|(difference, objects)| {
            let objects: Vec<&str> = objects.iter().copied().collect();
            format!("{difference}; {}", objects.join(", "))
        })
        .collect();
    let reviewed = include_str!("attributes.txt").lines();
    let reviewed: Vec<&str> = reviewed
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    assert_eq!(found, reviewed, "\n{}\n", found.join("\n"));
}

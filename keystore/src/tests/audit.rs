//! The audit log over memory and files: order, crashes, retention, uses of keys, and that every change of what is stored is found.

use std::collections::BTreeMap;
use std::time::Duration;

use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType as A, MechanismType as M, Rv, UserType};
use hsmd_proto::ids::UniqueId;
use hsmd_proto::params::Mechanism;
use hsmd_store::{Fault, Faults, Loss};
use proptest::prelude::*;

use super::*;
use crate::audit::{Act, AuditOptions, Event, Outcome, Segment, check_segments};
use crate::{Context, Input, ObjectRef};

fn lines(keystore: &Keystore) -> Vec<String> {
    assert!(keystore.audit().flush());
    let segments = keystore.audit().segments(1);
    segments.flat_map(|segment| segment.unwrap().lines).collect()
}

/// The text of a field of a line.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let begin = format!("\"{name}\":\"");
    let found = line.split_once(&begin).map(|(_, rest)| rest.split('"').next());
    found.flatten().unwrap_or_default()
}

fn acts(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| field(line, "act")).collect()
}

fn user(key_set: &KeySet) -> Context {
    Context {
        caller: caller(1),
        login: Some(login(key_set, UserType::USER, PIN)),
        grant: None,
    }
}

fn generate(key_set: &KeySet, context: &Context, id: UniqueId) -> Result<(), Rv> {
    let template: Template = [
        Attribute::ulong(A::VALUE_LEN, 32),
        Attribute::boolean(A::TOKEN, true),
        Attribute::boolean(A::SIGN, true),
    ]
    .into_iter()
    .collect();
    let mechanism = Mechanism::plain(M::GENERIC_SECRET_KEY_GEN);
    key_set.generate_key(context, &mechanism, id, &template).map(drop)
}

fn destroy(key_set: &KeySet, context: &Context, id: UniqueId) -> Result<(), Rv> {
    key_set.destroy_object(context, &ObjectRef::token(id), operation())
}

#[test]
fn acts_are_chained_in_their_order_and_without_gaps() {
    let keystore = memory();
    let key_set = ready(&keystore);
    let context = user(&key_set);
    let id = UniqueId(random::array());
    generate(&key_set, &context, id).unwrap();
    generate(&key_set, &context, id).unwrap();
    destroy(&key_set, &context, id).unwrap();
    let lines = lines(&keystore);
    let wanted = [
        "keyset.create",
        "token.init",
        "login",
        "pin.init",
        "logout",
        "login",
        "key.generate",
        "object.destroy",
    ];
    assert_eq!(acts(&lines), wanted, "INV-10: the repeated create is there once");
    for (number, line) in (1..).zip(&lines) {
        assert!(line.starts_with(&format!("{{\"sequence\":{number},")), "{line}");
        assert_eq!(field(line, "result"), "CKR_OK");
        assert_eq!(field(line, "key_set"), key_set.id().to_string());
    }
    assert_eq!(field(&lines[6], "object"), id.to_string());
    assert_eq!(field(&lines[6], "class"), "CKO_SECRET_KEY");
    let report = keystore.audit().verify();
    assert_eq!((report.from, report.to, report.troubles.len()), (1, 8, 0));
}

// INV-1: neither PINs nor labels nor values get into the log.
// DESIGN 8: `legacy` says so in the audit log, and so does every other policy.
#[test]
fn policies_are_named_when_they_are_chosen_and_when_they_are_tightened() {
    let keystore = memory();
    for policy in Policy::ALL {
        keystore.create_key_set(policy).unwrap().tighten(Policy::Fips).unwrap();
    }
    let lines = lines(&keystore);
    let told: Vec<_> = lines
        .iter()
        .map(|line| (field(line, "act"), field(line, "detail")))
        .collect();
    let wanted =
        ["legacy", "standard", "strict", "fips"].map(|policy| [("keyset.create", policy), ("policy.tighten", "fips")]);
    assert_eq!(told, wanted.concat());
}

#[test]
fn the_log_tells_labels_only_when_it_is_asked_to() {
    for labels in [false, true] {
        let options = Options {
            audit: AuditOptions {
                labels,
                ..AuditOptions::default()
            },
            ..options()
        };
        let keystore = Keystore::in_memory(&options).unwrap();
        let key_set = ready(&keystore);
        let template: Template = [
            Attribute::ulong(A::CLASS, hsmd_proto::ck::ObjectClass::DATA.0),
            Attribute::bytes(A::LABEL, b"a label that tells"),
            Attribute::bytes(A::VALUE, b"a value that nobody may see"),
            Attribute::boolean(A::TOKEN, true),
        ]
        .into_iter()
        .collect();
        key_set
            .create_object(&user(&key_set), UniqueId(random::array()), &template)
            .unwrap();
        let text = lines(&keystore).concat();
        assert_eq!(text.contains("a label that tells"), labels);
        assert!(!text.contains("nobody may see") && !text.contains("user-pin") && !text.contains("so-pin"));
    }
}

/// What was acknowledged before a crash at the `step`-th file operation; `None`: there was no crash.
fn storm(folder: &Folder, faults: &Faults, step: u64) -> Option<BTreeMap<UniqueId, bool>> {
    let options = Options {
        faults: faults.clone(),
        on_fatal: Some(Arc::new(|_| {})),
        audit: AuditOptions {
            interval: Duration::from_millis(1),
            ..AuditOptions::default()
        },
        ..options()
    };
    let keystore = Keystore::init(&folder.path(), &folder.master, &options).unwrap();
    let key_set = ready(&keystore);
    let context = user(&key_set);
    assert!(keystore.audit().flush());
    faults.plan(None, step, 1, Fault::Crash);
    let mut acknowledged = BTreeMap::new();
    for number in 0..10 {
        let id = UniqueId(random::array());
        if generate(&key_set, &context, id).is_ok() {
            acknowledged.insert(id, false);
            if number % 3 == 0 && destroy(&key_set, &context, id).is_ok() {
                acknowledged.insert(id, true);
            }
        }
    }
    keystore.audit().flush();
    let crashed = faults.crashed();
    drop((key_set, context));
    drop(keystore);
    faults.lose_unsynced(Loss::Everything).unwrap();
    faults.clear();
    crashed.then_some(acknowledged)
}

// INV-2, INV-10: after a crash at any file operation, of acts and of the chainer, every acknowledged act is in the log, once.
#[test]
fn every_acknowledged_act_is_in_the_log_once_whenever_the_machine_stops() {
    let mut crashes = 0;
    for step in 1.. {
        let folder = Folder {
            dir: tempfile::tempdir().unwrap(),
            master: MasterKey::random(),
        };
        let Some(acknowledged) = storm(&folder, &Faults::tracking(), step) else {
            break;
        };
        crashes += 1;
        let keystore = folder.open();
        let lines = lines(&keystore);
        let times = |act: &str, id: &UniqueId| {
            let is = |line: &&String| field(line, "act") == act && field(line, "object") == id.to_string();
            lines.iter().filter(is).count()
        };
        for (id, destroyed) in &acknowledged {
            assert_eq!(times("key.generate", id), 1, "step {step}");
            assert!(times("object.destroy", id) >= usize::from(*destroyed), "step {step}");
            assert!(times("object.destroy", id) <= 1, "step {step}");
        }
        for (number, line) in (1..).zip(&lines) {
            assert!(
                line.starts_with(&format!("{{\"sequence\":{number},")),
                "step {step}: {line}"
            );
        }
        assert_eq!(keystore.audit().verify().troubles, [], "step {step}");
    }
    assert!(crashes > 20, "{crashes} crashes");
}

#[test]
fn the_oldest_entries_go_when_there_are_too_many_and_the_log_says_so() {
    let options = Options {
        audit: AuditOptions {
            max_bytes: 40_000,
            ..AuditOptions::default()
        },
        ..options()
    };
    let keystore = Keystore::in_memory(&options).unwrap();
    for number in 0..1_000 {
        keystore
            .audit()
            .note(Event::new(Act::Control).detail(format!("number {number}")));
        if number % 20 == 0 {
            assert!(keystore.audit().flush());
        }
    }
    let lines = lines(&keystore);
    let bytes: usize = lines.iter().map(String::len).sum();
    assert!(bytes < 60_000, "{bytes}");
    assert!(lines.iter().rev().take(3).any(|line| line.contains("number 999")));
    assert!(acts(&lines).contains(&"log.drop"));
    let report = keystore.audit().verify();
    assert_eq!(
        (report.troubles.len(), report.from),
        (0, keystore.audit().dropped().0 + 1)
    );
    assert!(report.to > 1_000);
}

#[test]
fn failures_are_counted_when_they_are_many() {
    let keystore = memory();
    let wrong = || Event::new(Act::Login).result(Outcome::Rv(Rv::PIN_INCORRECT));
    for _ in 0..10_000 {
        keystore.audit().note(wrong());
    }
    let one_by_one = lines(&keystore).len();
    assert!((1..50).contains(&one_by_one), "{one_by_one}");
    keystore.core().audit.stop();
    let segments = keystore.audit().segments(1).flat_map(|segment| segment.unwrap().lines);
    let told: u64 = segments
        .map(|line| {
            let count = line
                .split_once("\"count\":")
                .and_then(|(_, rest)| rest.split(',').next());
            count.map_or(1, |count| count.parse().unwrap())
        })
        .sum();
    assert_eq!(told, 10_000, "none is lost at an ordered stop");
}

#[test]
fn uses_of_keys_are_told_of_who_asks_for_it() {
    let keystore = memory();
    let key_set = ready(&keystore);
    let context = user(&key_set);
    let id = UniqueId(random::array());
    generate(&key_set, &context, id).unwrap();
    let sign = || {
        let mut out = Vec::new();
        let mac = Mechanism::plain(M::SHA256_HMAC);
        key_set
            .sign(&context, &ObjectRef::token(id), &mac, Input::Message(b"x"), &mut out)
            .unwrap();
    };
    sign();
    key_set.set_audit_use(true);
    (0..500).for_each(|_| sign());
    key_set.set_audit_use(false);
    sign();
    let lines = lines(&keystore);
    let uses: Vec<_> = lines.iter().filter(|line| field(line, "act") == "key.use").collect();
    let told: u64 = uses
        .iter()
        .map(|line| {
            let count = line
                .split_once("\"count\":")
                .and_then(|(_, rest)| rest.split(',').next());
            count.map_or(1, |count| count.parse().unwrap())
        })
        .sum();
    assert_eq!(told, 500);
    assert_eq!(field(uses[0], "detail"), "Sign CKM_SHA256_HMAC");
    assert_eq!(field(uses[0], "object"), id.to_string());
}

/// A log of several segments.
fn log() -> (Keystore, Vec<Segment>) {
    let keystore = memory();
    for number in 0..120 {
        keystore
            .audit()
            .note(Event::new(Act::Control).detail(format!("number {number}")));
        if number % 7 == 0 {
            assert!(keystore.audit().flush());
        }
    }
    assert!(keystore.audit().flush());
    let segments: Vec<_> = keystore.audit().segments(1).map(Result::unwrap).collect();
    assert!(segments.len() > 3);
    (keystore, segments)
}

/// Changes the stored segments in one of many ways; false if nothing changed.
fn spoil(segments: &mut Vec<Segment>, way: u8, one: usize, other: usize, bit: u8) -> bool {
    let before = segments.clone();
    let at = one % segments.len();
    let line = other % segments[at].lines.len();
    match way % 10 {
        0 => drop(segments.remove(at)),
        1 => drop(segments[at].lines.remove(line)),
        2 => {
            let with = other % segments.len();
            segments.swap(at, with);
        }
        3 => {
            let with = (line + 1) % segments[at].lines.len();
            segments[at].lines.swap(line, with);
        }
        4 => {
            let mut text = segments[at].lines[line].clone().into_bytes();
            let place = usize::from(bit) * 7 % text.len();
            text[place] ^= 1 << (bit % 6);
            segments[at].lines[line] = String::from_utf8_lossy(&text).into_owned();
        }
        5 => segments.truncate(at),
        6 => segments[at].lines.truncate(line),
        7 => segments[at].head.hash[usize::from(bit) % 32] ^= 1 << (bit % 8),
        8 => segments[at].head.signature[usize::from(bit) % 64] ^= 1 << (bit % 8),
        _ => {
            let again = segments[at].clone();
            segments.insert(at, again);
        }
    }
    *segments != before
}

// B25: a thousand changes of what is stored, deletions, swaps, truncations: all are found.
#[test]
fn every_change_of_what_is_stored_is_found() {
    let (keystore, segments) = log();
    let audit = keystore.audit();
    let head = audit.head();
    let check = |segments: Vec<Segment>| {
        let segments = segments.into_iter().map(Ok);
        check_segments(audit.node(), &audit.public_key(), audit.dropped(), segments, &head).troubles
    };
    assert_eq!(check(segments.clone()), []);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 1_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&any::<(u8, usize, usize, u8)>(), |(way, one, other, bit)| {
            let mut spoiled = segments.clone();
            if spoil(&mut spoiled, way, one, other, bit) {
                prop_assert!(!check(spoiled).is_empty(), "not found");
            }
            Ok(())
        })
        .unwrap();
}

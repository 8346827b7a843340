//! Documents: compare-and-set, repetition, deletion, batches, changes, pages, quotas.

use std::time::Duration;

use hsmd_store::{Fault, Step};

use super::*;
use crate::{DocumentBatch, DocumentBatchOutcome, DocumentOutcome, DocumentUsage, DocumentWrite, Error};

fn write(name: &str, expected: u64, value: &[u8]) -> DocumentWrite {
    DocumentWrite {
        name: name.into(),
        expected,
        value: Some(value.into()),
    }
}

fn versions(outcome: DocumentOutcome) -> Vec<u64> {
    match outcome {
        DocumentOutcome::Committed { versions } => versions,
        DocumentOutcome::Conflict { .. } => unreachable!("{outcome:?}"),
    }
}

#[test]
fn documents_are_written_together_or_not_at_all() {
    let keystore = memory();
    let commit = |writes| keystore.commit_documents(operation(), writes).unwrap();
    assert_eq!(
        versions(commit(vec![
            write("a/1", 0, b"1"),
            write("a/2", 0, b"2"),
            write("b", 0, b"3")
        ])),
        [1, 1, 1]
    );
    let conflict = DocumentOutcome::Conflict {
        name: "b".into(),
        current: 1,
    };
    assert_eq!(commit(vec![write("a/1", 1, b"new"), write("b", 0, b"new")]), conflict);
    let names = |prefix| -> Vec<String> {
        keystore
            .documents(prefix)
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    };
    assert_eq!(names("a/"), ["a/1", "a/2"]);
    assert_eq!(names(""), ["a/1", "a/2", "b"]);
    assert_eq!(&*keystore.document("a/1").unwrap().unwrap().value, b"1");
    assert_eq!(versions(commit(vec![write("a/1", 1, b"new")])), [2]);
    assert_eq!(keystore.document("c").unwrap(), None);
}

#[test]
fn a_deleted_document_is_absent_and_its_old_version_never_fits_again() {
    let keystore = memory();
    let commit = |writes| keystore.commit_documents(operation(), writes).unwrap();
    commit(vec![write("a", 0, b"1")]);
    assert_eq!(
        versions(commit(vec![DocumentWrite {
            name: "a".into(),
            expected: 1,
            value: None
        }])),
        [0]
    );
    assert_eq!(keystore.document("a").unwrap(), None);
    assert_eq!(
        commit(vec![write("a", 1, b"2")]),
        DocumentOutcome::Conflict {
            name: "a".into(),
            current: 0
        }
    );
    let version = versions(commit(vec![write("a", 0, b"2")]))[0];
    assert!(version > 1);
    assert_eq!(keystore.document("a").unwrap().unwrap().version, version);
}

// INV-10: also after a restart, and whether or not the first try is known to have happened.
#[test]
fn a_repeated_operation_is_the_same_operation() {
    let (folder, keystore) = Folder::new();
    let id = operation();
    let writes = || vec![write("a", 0, b"1"), write("b", 0, b"2")];
    let commit = |keystore: &Keystore| versions(keystore.commit_documents(id, writes()).unwrap());
    assert_eq!(commit(&keystore), [1, 1]);
    assert_eq!(commit(&keystore), [1, 1]);
    drop(keystore);
    assert_eq!(commit(&folder.open()), [1, 1]);
    for done in [false, true] {
        let faults = hsmd_store::Faults::new();
        let keystore = Keystore::in_memory(&Options {
            faults: faults.clone(),
            ..options()
        })
        .unwrap();
        faults.plan(Some(Step::Commit), 1, 1, Fault::Ambiguous { done });
        match keystore.commit_documents(id, writes()) {
            Ok(outcome) => assert_eq!(versions(outcome), [1, 1]),
            Err(error) => assert!(matches!(error, Error::OutcomeUnknown) && !done),
        }
        assert_eq!(commit(&keystore), [1, 1]);
    }
}

#[test]
fn documents_over_the_limits_are_refused() {
    let keystore = memory();
    let refused = |writes| matches!(keystore.commit_documents(operation(), writes), Err(Error::TooLarge));
    assert!(refused(vec![write("a", 0, &vec![0; 69 << 10])]));
    assert!(refused(vec![write("", 0, b"x")]));
    assert!(refused(vec![write("a", 0, b"x"), write("a", 0, b"y")]));
    assert!(refused(
        (0..101).map(|number| write(&number.to_string(), 0, b"x")).collect()
    ));
    assert_eq!(keystore.documents("").unwrap(), []);
}

#[test]
fn a_document_that_does_not_open_is_named() {
    let (folder, keystore) = Folder::new();
    keystore
        .commit_documents(operation(), vec![write("a", 0, b"1"), write("b", 0, b"2")])
        .unwrap();
    let store = &keystore.core().store;
    let found = store.scan("/fleet/doc/");
    let (path, record) = &found[0];
    let planted = hsmd_store::Write {
        path: path.clone(),
        version: 2,
        value: Some(record.value.to_vec()),
    };
    let batch = hsmd_store::Batch {
        operation: random::array(),
        writes: vec![planted],
        ..hsmd_store::Batch::default()
    };
    store.commit(batch).unwrap();
    drop(keystore);
    let keystore = folder.open();
    let answers = ["a", "b"].map(|name| keystore.document(name));
    assert_eq!(
        answers
            .iter()
            .filter(|answer| matches!(answer, Err(Error::Damaged(_))))
            .count(),
        1
    );
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Ok(Some(_)))).count(), 1);
    assert_eq!(keystore.quarantined(), [path.to_string()]);
}

fn batch(compares: &[(&str, u64)], changes: &[(&str, Option<&[u8]>)]) -> DocumentBatch {
    DocumentBatch {
        compares: compares
            .iter()
            .map(|(name, version)| ((*name).to_owned(), *version))
            .collect(),
        changes: changes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.map(<[u8]>::to_vec)))
            .collect(),
        quota: None,
    }
}

fn apply(keystore: &Keystore, batch: DocumentBatch) -> DocumentBatchOutcome {
    keystore.apply_documents(&random::array(), batch).unwrap()
}

fn applied(keystore: &Keystore, batch: DocumentBatch) -> Vec<u64> {
    match apply(keystore, batch) {
        DocumentBatchOutcome::Committed { versions, .. } => versions,
        refused => unreachable!("{refused:?}"),
    }
}

#[test]
fn a_batch_changes_all_when_every_compare_holds() {
    let keystore = memory();
    let first = applied(&keystore, batch(&[("a", 0)], &[("a", Some(b"1")), ("b", Some(b"2"))]));
    assert!(first.iter().all(|version| *version > 0));
    let refused = apply(&keystore, batch(&[("b", first[1]), ("a", 0)], &[("c", Some(b"3"))]));
    assert_eq!(
        refused,
        DocumentBatchOutcome::Conflict {
            compare: 1,
            current: first[0]
        }
    );
    assert_eq!(keystore.document("c").unwrap(), None);
    let second = applied(
        &keystore,
        batch(&[("a", first[0])], &[("a", None), ("b", Some(b"4")), ("no", None)]),
    );
    assert_eq!((second[0], second[2]), (0, 0));
    assert!(second[1] > first[1]);
    assert_eq!(keystore.documents("").unwrap().len(), 1);
}

#[test]
fn a_quota_stops_what_adds_and_lets_go_what_frees() {
    let keystore = memory();
    let within = |records, bytes, mut batch: DocumentBatch| {
        batch.quota = Some(("records/web/".into(), DocumentUsage { records, bytes }));
        apply(&keystore, batch)
    };
    let value = [0; 1000];
    let put = |key: &str| batch(&[], &[(key, Some(value.as_slice()))]);
    assert!(matches!(
        within(2, 5000, put("records/web/a")),
        DocumentBatchOutcome::Committed { .. }
    ));
    assert!(matches!(
        within(2, 5000, put("records/web/b")),
        DocumentBatchOutcome::Committed { .. }
    ));
    let usage = DocumentUsage {
        records: 2,
        bytes: 2 * 1013,
    };
    assert_eq!(keystore.document_usage("records/web/"), usage);
    assert_eq!(keystore.document_usage("records/other/"), DocumentUsage::default());
    assert!(matches!(
        within(2, 5000, put("records/web/c")),
        DocumentBatchOutcome::OverQuota(_)
    ));
    assert!(matches!(
        within(3, 3000, put("records/web/c")),
        DocumentBatchOutcome::OverQuota(_)
    ));
    // The quota was lowered: what is there may be overwritten and deleted.
    assert!(matches!(
        within(1, 100, put("records/web/a")),
        DocumentBatchOutcome::Committed { .. }
    ));
    let delete = batch(&[], &[("records/web/a", None)]);
    assert!(matches!(within(1, 100, delete), DocumentBatchOutcome::Committed { .. }));
    assert_eq!(keystore.document_usage("records/web/").records, 1);
}

// INV-10
#[test]
fn a_repeated_batch_is_the_same_and_never_claims_what_others_wrote() {
    let (folder, keystore) = Folder::new();
    let first = || batch(&[], &[("a", Some(b"1".as_slice())), ("b", Some(b"1".as_slice()))]);
    let id = first().operation("web", &[7; 16]);
    assert_ne!(id, first().operation("other", &[7; 16]), "of another caller");
    assert_ne!(
        id,
        batch(&[], &[("a", Some(b"2"))]).operation("web", &[7; 16]),
        "of another content"
    );
    let versions = |keystore: &Keystore| match keystore.apply_documents(&id, first()).unwrap() {
        DocumentBatchOutcome::Committed { versions, .. } => versions,
        refused => unreachable!("{refused:?}"),
    };
    let before = versions(&keystore);
    applied(&keystore, batch(&[], &[("b", Some(b"2"))]));
    assert_eq!(versions(&keystore), [before[0], 0]);
    keystore.close().unwrap();
    drop(keystore);
    let keystore = folder.open();
    assert_eq!(versions(&keystore), [before[0], 0]);
    assert_eq!(&*keystore.document("b").unwrap().unwrap().value, b"2");
}

#[test]
fn old_tombstones_go_and_versions_of_purged_names_never_come_back() {
    let (folder, mut keystore) = Folder::new();
    let put = || batch(&[], &[("records/web/a", Some(b"1".as_slice()))]);
    let delete = || batch(&[], &[("records/web/a", None)]);
    let mut last = 0;
    for _ in 0..3 {
        let version = applied(&keystore, put())[0];
        assert!(version > last);
        last = version;
        applied(&keystore, delete());
        let tombstones = || keystore.core().store.scan("/fleet/doc/").len();
        keystore.idle_wipe();
        assert_eq!(tombstones(), 1, "a tombstone stays for a day");
        keystore.core().clock.advance(Duration::from_secs(86_401));
        keystore.idle_wipe();
        assert_eq!(tombstones(), 0);
        drop(keystore);
        keystore = folder.open();
        assert_eq!(keystore.quarantined(), Vec::<String>::new());
    }
}

#[test]
fn too_many_tombstones_make_the_oldest_go_early() {
    let keystore = memory();
    for round in 0..102 {
        let name = |number: usize| format!("records/web/{round}-{number}");
        for value in [Some(vec![1]), None] {
            let changes = (0..100).map(|number| (name(number), value.clone())).collect();
            let batch = DocumentBatch {
                changes,
                ..DocumentBatch::default()
            };
            applied(&keystore, batch);
        }
    }
    keystore.idle_wipe();
    assert_eq!(keystore.core().store.scan("/fleet/doc/").len(), 10_000);
    assert_eq!(keystore.document_usage("records/web/"), DocumentUsage::default());
}

#[test]
fn changes_come_in_order_and_what_was_forgotten_is_said() {
    let (folder, keystore) = Folder::new();
    let start = keystore.revision();
    for number in 0..5_u8 {
        applied(
            &keystore,
            batch(
                &[],
                &[("records/a/x", Some(&[number])), ("records/b/x", Some(&[number]))],
            ),
        );
    }
    applied(&keystore, batch(&[], &[("records/a/x", None)]));
    let (changes, upto) = keystore.document_changes("records/a/", start, 100).unwrap();
    let seen: Vec<_> = changes
        .iter()
        .map(|change| change.events[0].value.as_deref().map(|value| value[0]))
        .collect();
    assert_eq!(seen, [Some(0), Some(1), Some(2), Some(3), Some(4), None]);
    assert!(changes.windows(2).all(|pair| pair[0].revision < pair[1].revision));
    assert_eq!(
        keystore.document_changes("records/a/", upto, 100),
        Ok((Vec::new(), upto))
    );
    assert!(keystore.document_changes("", upto + 1000, 1).is_err(), "of the future");
    drop(keystore);
    let keystore = folder.open();
    let forgotten = keystore.document_changes("", start, 1).unwrap_err();
    assert_eq!(
        forgotten.current,
        keystore.document_page("", None, 1, 1).unwrap().revision
    );
    keystore.document_changes("", forgotten.current, 1).unwrap();
}

#[test]
fn pages_give_everything_once_in_order() {
    let keystore = memory();
    for number in 0..25 {
        applied(
            &keystore,
            batch(&[], &[(&format!("records/a/{number:03}"), Some(&[0; 100]))]),
        );
    }
    applied(
        &keystore,
        batch(&[], &[("records/b/x", Some(b"x")), ("records/a/007", None)]),
    );
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = keystore.document_page("records/a/", after.as_deref(), 10, 500).unwrap();
        assert!(
            (1..=5).contains(&page.documents.len()),
            "500 bytes are reached with five"
        );
        seen.extend(page.documents.into_iter().map(|(name, _)| name));
        after = seen.last().cloned();
        if !page.more {
            break;
        }
    }
    let all = keystore
        .documents("records/a/")
        .unwrap()
        .into_iter()
        .map(|(name, _)| name);
    assert_eq!(seen, all.collect::<Vec<_>>());
    assert_eq!(seen.len(), 24);
}

// INV-2, INV-3: the store takes the batch or not, whatever it says.
#[test]
fn parallel_compare_and_set_counts_right() {
    let (folder, keystore) = Folder::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    loop {
                        let (found, _) = keystore.document_at("records/web/count").unwrap();
                        let (version, count) = found.map_or((0, 0), |found| (found.version, found.value[0]));
                        let next = [count + 1];
                        let change = batch(&[("records/web/count", version)], &[("records/web/count", Some(&next))]);
                        if matches!(apply(&keystore, change), DocumentBatchOutcome::Committed { .. }) {
                            break;
                        }
                    }
                }
            });
        }
    });
    drop(keystore);
    let found = folder.open().document("records/web/count").unwrap().unwrap();
    assert_eq!(&*found.value, [100]);
}

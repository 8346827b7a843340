//! Documents: compare-and-set, repetition, deletion.

use hsmd_store::{Fault, Step};

use super::*;
use crate::{DocumentOutcome, DocumentWrite, Error};

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
    assert!(refused(vec![write("a", 0, &vec![0; 61 << 10])]));
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

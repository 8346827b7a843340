//! The memory engine alone.

use hsmd_store::{CommitError, Fault, Faults, Limits, Outcome, Revision, Step, Store};

use crate::model::{batch, keys, path, put};

#[test]
fn a_commit_is_visible_when_it_returns() {
    let store = Store::memory(keys(), Limits::default());
    assert_eq!(
        store.commit(batch(1, vec![put("/a/b", 1, b"x")])),
        Ok(Outcome::Committed(Revision(1)))
    );
    let record = store.get(&path("/a/b")).unwrap();
    assert_eq!(
        (&*record.value, record.version, record.revision),
        (&b"x"[..], 1, Revision(1))
    );
    assert!(store.check().is_clean());
}

#[test]
fn an_unknown_outcome_is_resolved_by_the_operation_id() {
    let faults = Faults::new();
    let store = Store::memory_with_faults(keys(), Limits::default(), faults.clone());
    faults.plan(Some(Step::Commit), 1, 1, Fault::Ambiguous { done: true });
    faults.plan(Some(Step::Commit), 2, 1, Fault::Ambiguous { done: false });
    let (first, second) = (batch(1, vec![put("/a", 1, b"x")]), batch(2, vec![put("/b", 1, b"x")]));
    assert_eq!(store.commit(first.clone()), Ok(Outcome::Unknown));
    assert_eq!(store.commit(second.clone()), Ok(Outcome::Unknown));
    assert_eq!(store.resolve(&first.operation), Some(Outcome::Committed(Revision(1))));
    assert_eq!(store.resolve(&second.operation), None);
    assert!(matches!(store.commit(first), Ok(Outcome::Conflict { current: 1, .. })));
    assert_eq!(
        store.resolve(&batch(1, vec![]).operation),
        Some(Outcome::Committed(Revision(1)))
    );
}

#[test]
fn a_closed_store_refuses_commits_and_answers_reads() {
    let store = Store::memory(keys(), Limits::default());
    store.commit(batch(1, vec![put("/a", 1, b"x")])).unwrap();
    store.close().unwrap();
    assert_eq!(
        store.commit(batch(2, vec![put("/b", 1, b"x")])),
        Err(CommitError::Stopped)
    );
    assert!(store.get(&path("/a")).is_some());
}

//! Failing writes, short writes, full disks and failing syncs, at the n-th operation for every n; and a disk that stays full.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hsmd_store::{CommitError, Fatal, Fault, Faults, Outcome, SledOptions, Step, Store};

use crate::disk::{open, options};
use crate::model::{Model, batch, folder, keys, path, put, soak};

/// Commits as much as goes. Returns the model, and what was under way when the store stopped.
fn work(dir: &std::path::Path, faults: &Faults, fatal: &Arc<AtomicU64>) -> (Model, Option<Model>) {
    let count = Arc::clone(fatal);
    let hook = move |_: Fatal| {
        count.fetch_add(1, Ordering::SeqCst);
    };
    let options = SledOptions {
        faults: faults.clone(),
        on_fatal: Arc::new(hook),
        ..options()
    };
    let mut model = Model::default();
    let store = match Store::open_sled(dir, keys(), options.clone()) {
        Ok((store, _)) => store,
        // An operator would start it again.
        Err(_) => match Store::open_sled(dir, keys(), options) {
            Ok((store, _)) => store,
            Err(_) => return (model, None),
        },
    };
    for number in 0..90u64 {
        let name = format!("/ks/{}/{}", number % 3, number % 20);
        let write = put(&name, model.version(&path(&name)) + 1, &vec![number as u8; 1400]);
        let batch = batch(number, vec![write]);
        let mut after = model.clone();
        after.commit(&batch);
        match store.commit(batch.clone()) {
            Ok(Outcome::Committed(revision)) => {
                assert_eq!(revision.0, after.revision);
                model = after;
            }
            Err(CommitError::Full) => {}
            Err(CommitError::Stopped) => {
                assert_eq!(fatal.load(Ordering::SeqCst), 1, "the hook was told once");
                assert_eq!(store.commit(batch), Err(CommitError::Stopped), "and it stays so");
                assert_eq!(Model::of(&store), model, "reads go on");
                return (model, Some(after));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(Model::of(&store), model);
        if number % 30 == 20 {
            let _ = store.backup();
        }
    }
    let _ = store.close();
    (model, None)
}

#[test]
fn a_fault_at_any_operation_loses_nothing_and_lies_about_nothing() {
    let faults = [
        (Step::Write, Fault::Fail(ErrorKind::StorageFull)),
        (Step::Write, Fault::Short(ErrorKind::StorageFull)),
        (Step::Write, Fault::Fail(ErrorKind::Other)),
        (Step::Write, Fault::Short(ErrorKind::Other)),
        (Step::Sync, Fault::Fail(ErrorKind::Other)),
        (Step::Create, Fault::Fail(ErrorKind::StorageFull)),
        (Step::Open, Fault::Fail(ErrorKind::Other)),
        (Step::Rename, Fault::Fail(ErrorKind::Other)),
        (Step::Remove, Fault::Fail(ErrorKind::Other)),
        (Step::SyncFolder, Fault::Fail(ErrorKind::Other)),
    ];
    let counting = Faults::new();
    work(folder().path(), &counting, &Arc::default());
    let (mut runs, mut stops) = (0, 0);
    for (at, (step, fault)) in faults.into_iter().enumerate() {
        // Without soak every n up to 20, then every fifth, so that the whole stays short.
        let every = |n: &u64| soak() > 1 || *n <= 20 || (n + at as u64).is_multiple_of(5);
        for nth in (1..=counting.steps(Some(step))).filter(every) {
            let dir = folder();
            let plan = Faults::new();
            plan.plan(Some(step), nth, 1, fault);
            let fatal = Arc::default();
            let (model, under_way) = work(dir.path(), &plan, &fatal);
            runs += 1;
            stops += fatal.load(Ordering::SeqCst);
            let (store, report) = open(dir.path());
            assert_eq!(report.quarantined, vec![], "{step:?} {fault:?} {nth}");
            let found = Model::of(&store);
            // INV-2: acknowledged is there; refused is not; what stopped the store may be either.
            assert!(found == model || Some(found) == under_way, "{step:?} {fault:?} {nth}");
        }
    }
    println!("fault sweep: {runs} runs with one failing operation, {stops} stops: 0 lost, 0 refused batches found");
    assert!(stops > 0);
}

#[test]
fn a_failed_sync_stops_the_store_for_good() {
    let dir = folder();
    let faults = Faults::new();
    let told = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let hook = Arc::clone(&told);
    let on_fatal = Arc::new(move |fatal| hook.lock().push(fatal));
    let options = SledOptions {
        faults: faults.clone(),
        on_fatal,
        ..options()
    };
    let (store, _) = Store::open_sled(dir.path(), keys(), options).unwrap();
    store.commit(batch(1, vec![put("/a", 1, b"x")])).unwrap();
    faults.plan(Some(Step::Sync), 1, 1, Fault::Fail(ErrorKind::Other));
    // INV-2: without a sync there is no acknowledgement.
    assert_eq!(
        store.commit(batch(2, vec![put("/b", 1, b"x")])),
        Err(CommitError::Stopped)
    );
    assert_eq!(
        store.commit(batch(3, vec![put("/c", 1, b"x")])),
        Err(CommitError::Stopped)
    );
    assert_eq!(*told.lock(), vec![Fatal::SyncFailed(ErrorKind::Other)]);
    assert!(store.get(&path("/a")).is_some() && store.get(&path("/b")).is_none());
    assert!(store.status().stopped);
}

#[test]
fn a_full_disk_refuses_cleanly_keeps_the_reserve_and_recovers_without_restart() {
    let dir = folder();
    let faults = Faults::new();
    let options = SledOptions {
        faults: faults.clone(),
        ..options()
    };
    let (store, _) = Store::open_sled(dir.path(), keys(), options).unwrap();
    let mut model = Model::default();
    // Nothing new can be made; segments that exist can be written.
    faults.plan(Some(Step::Create), 1, u64::MAX, Fault::Fail(ErrorKind::StorageFull));
    let mut number = 0;
    let mut commit = |store: &Store, model: &mut Model, reserve: bool| {
        number += 1;
        let write = put(&format!("/ks/1/{number}"), 1, &[7; 2000]);
        let batch = hsmd_store::Batch {
            reserve,
            ..batch(number, vec![write])
        };
        let outcome = store.commit(batch.clone());
        if outcome.is_ok() {
            assert_eq!(outcome, Ok(model.commit(&batch)));
        }
        outcome
    };
    while commit(&store, &mut model, false).is_ok() {}
    assert_eq!(commit(&store, &mut model, false), Err(CommitError::Full));
    assert!(store.status().full);
    let before = model.records.len();
    assert!(before >= 20, "the segment in use was filled first: {before}");
    for _ in 0..20 {
        commit(&store, &mut model, true).unwrap();
        assert_eq!(
            commit(&store, &mut model, false),
            Err(CommitError::Full),
            "the reserve is not for everyone"
        );
    }
    assert_eq!(Model::of(&store), model);
    faults.clear();
    commit(&store, &mut model, false).unwrap();
    assert!(!store.status().full);
    for _ in 0..100 {
        commit(&store, &mut model, false).unwrap();
    }
    drop(store);
    assert_eq!(Model::of(&open(dir.path()).0), model);
}

#[test]
fn a_store_opens_on_a_full_disk_and_serves_reads() {
    let dir = folder();
    let mut model = Model::default();
    let (store, _) = open(dir.path());
    crate::disk::fill(&store, &mut model, 0, 30);
    store.close().unwrap();
    drop(store);
    let faults = Faults::new();
    faults.plan(Some(Step::Create), 1, u64::MAX, Fault::Fail(ErrorKind::StorageFull));
    let options = SledOptions {
        faults: faults.clone(),
        ..options()
    };
    let (store, report) = Store::open_sled(dir.path(), keys(), options).unwrap();
    assert_eq!(report.notices, vec![]);
    assert_eq!(Model::of(&store), model);
    assert_eq!(
        store.commit(batch(100, vec![put("/a", 1, b"x")])),
        Err(CommitError::Full)
    );
    assert!(store.status().full);
    faults.clear();
    let next = batch(101, vec![put("/a", 1, b"x")]);
    assert_eq!(store.commit(next.clone()), Ok(model.commit(&next)));
    assert!(!store.status().full);
    drop(store);
    assert_eq!(Model::of(&open(dir.path()).0), model);
}

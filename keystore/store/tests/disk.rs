//! The embedded engine: restart, lock, keys, full disk, backups, watch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hsmd_store::{
    Limits, Loaded, Notice, OpenError, Outcome, Path, Revision, SledFault, SledOptions, Store, StoreKeys,
};

use crate::model::{Model, batch, folder, keys, path, purge, put};

/// Small segments, so that a test crosses many.
pub(crate) fn options() -> SledOptions {
    SledOptions {
        limits: Limits {
            batch_bytes: 8 << 10,
            record_bytes: 4 << 10,
            writes: 8,
            ..Limits::default()
        },
        segment_bytes: 64 << 10,
        backup_after: 100 << 10,
        retry_full: Duration::ZERO,
        sled_patience: Duration::from_secs(20),
        on_fatal: Arc::new(|_| {}),
        ..SledOptions::default()
    }
}

/// Opens what nobody has open. A process that another test is just starting holds a copy of every lock until its exec.
pub(crate) fn open(dir: &std::path::Path) -> (Store, hsmd_store::LoadReport) {
    let begun = Instant::now();
    loop {
        match Store::open_sled(dir, keys(), options()) {
            Err(OpenError::Locked) if begun.elapsed() < Duration::from_secs(10) => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

/// Commits `count` puts, some to new and some to old paths of several groups, in the store and in the model.
pub(crate) fn fill(store: &Store, model: &mut Model, from: u64, count: u64) {
    for number in from..from + count {
        let name = format!("/ks/{:02}/o/{:03}", number % 3, number % 40);
        let version = model.version(&path(&name)) + 1;
        let write = if number % 11 == 10 && version > 1 {
            purge(&name, version)
        } else {
            put(&name, version, &vec![number as u8; 300 + (number as usize * 37) % 900])
        };
        let batch = batch(number, vec![write]);
        assert_eq!(store.commit(batch.clone()), Ok(model.commit(&batch)));
    }
}

#[test]
fn what_was_committed_is_there_after_a_clean_close_and_after_none() {
    let dir = folder();
    let mut model = Model::default();
    for round in 0..6 {
        let (store, report) = open(dir.path());
        assert_eq!(
            report.loaded,
            if round == 0 { Loaded::Fresh } else { Loaded::Sled },
            "{report:?}"
        );
        assert_eq!(report.notices, vec![]);
        assert_eq!(Model::of(&store), model);
        fill(&store, &mut model, round * 1000, 150);
        assert!(store.check().is_clean());
        if round % 2 == 0 {
            store.close().unwrap();
        }
    }
    let (store, report) = open(dir.path());
    assert_eq!(report.quarantined, vec![]);
    assert_eq!(Model::of(&store), model);
}

#[test]
fn backups_are_made_without_being_asked_and_old_segments_go() {
    let dir = folder();
    let mut model = Model::default();
    let (store, _) = open(dir.path());
    let until = Instant::now() + Duration::from_secs(30);
    let first = dir.path().join("journal/0000000000000000.seg");
    let mut number = 0;
    while first.exists() {
        assert!(Instant::now() < until, "{:?}", store.status());
        fill(&store, &mut model, number, 50);
        number += 50;
    }
    assert!(store.status().backup_revision > Revision(0));
    assert!(store.check().is_clean());
    drop(store);
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_str().unwrap().starts_with("sled.") {
            std::fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    let (store, report) = open(dir.path());
    assert_eq!(report.loaded, Loaded::Backup);
    assert_eq!(Model::of(&store), model);
}

#[test]
fn an_operation_is_resolved_after_a_restart() {
    let dir = folder();
    let batch = batch(7, vec![put("/a/b", 1, b"x")]);
    open(dir.path()).0.commit(batch.clone()).unwrap();
    let (store, _) = open(dir.path());
    assert_eq!(store.resolve(&batch.operation), Some(Outcome::Committed(Revision(1))));
}

#[test]
fn a_second_daemon_is_refused_and_the_lock_ends_with_the_store() {
    let dir = folder();
    let (store, _) = open(dir.path());
    assert!(matches!(
        Store::open_sled(dir.path(), keys(), options()),
        Err(OpenError::Locked)
    ));
    drop(store);
    let (store, _) = open(dir.path());
    store.close().unwrap();
    open(dir.path());
}

#[test]
fn other_keys_are_refused_and_change_nothing() {
    let dir = folder();
    let mut model = Model::default();
    fill(&open(dir.path()).0, &mut model, 0, 50);
    let others = StoreKeys::new([9; 32], [9; 32]);
    assert!(matches!(
        Store::open_sled(dir.path(), others, options()),
        Err(OpenError::WrongKeys)
    ));
    let (store, report) = open(dir.path());
    assert_eq!(report.notices, vec![]);
    assert_eq!(Model::of(&store), model);
}

#[test]
fn a_lost_sled_folder_is_rebuilt_from_backup_and_journal() {
    let dir = folder();
    let mut model = Model::default();
    let (store, _) = open(dir.path());
    fill(&store, &mut model, 0, 400);
    store.backup().unwrap();
    store.backup().unwrap();
    fill(&store, &mut model, 400, 50);
    drop(store);
    std::fs::remove_dir_all(dir.path().join("sled.1")).unwrap();
    let (store, report) = open(dir.path());
    assert_eq!(report.notices, vec![Notice::SledRebuilt(SledFault::Missing)]);
    assert_eq!(report.loaded, Loaded::Backup);
    assert_eq!(report.replayed, 50);
    assert_eq!(Model::of(&store), model);
    assert_eq!(store.check().sled, Some(true));
    drop(store);
    assert_eq!(open(dir.path()).1.loaded, Loaded::Sled);
}

#[test]
fn a_commit_of_one_thread_is_one_sync_and_threads_share_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open_sled(
        dir.path(),
        keys(),
        SledOptions {
            segment_bytes: 8 << 20,
            ..SledOptions::default()
        },
    )
    .unwrap();
    let before = store.status().syncs;
    for number in 0..50 {
        store
            .commit(batch(number, vec![put(&format!("/one/{number}"), 1, &[0; 2048])]))
            .unwrap();
    }
    assert_eq!(store.status().syncs - before, 50);
    let before = store.status().syncs;
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..32u64 {
            let store = store.clone();
            scope.spawn(move || {
                for number in 0..40 {
                    let write = put(&format!("/many/{thread}-{number}"), 1, &[0; 2048]);
                    store.commit(batch(1000 + thread * 100 + number, vec![write])).unwrap();
                }
            });
        }
    });
    let (syncs, took) = (store.status().syncs - before, start.elapsed());
    println!(
        "group commit: 1280 commits of 32 threads, {syncs} syncs, {:.0}/s",
        1280.0 / took.as_secs_f64()
    );
    assert!(syncs < 1280 / 2);
    assert_eq!(store.get(&Path::new("/many/31-39").unwrap()).unwrap().version, 1);
}

//! The shared layer, the same suite over both engines, against a simple model.

use std::time::Duration;

use hsmd_store::{Batch, CommitError, Compacted, Compare, Limit, Limits, Outcome, Revision, Store, Write};
use proptest::prelude::*;

use crate::disk;
use crate::engines::{Bench, each_engine};
use crate::model::{Model, batch, compare, folder, keys, path, put, soak};

fn small() -> Limits {
    disk::options().limits
}

pub(crate) fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let names = (0..3u8, 0..4u8).prop_map(|(set, name)| format!("/ks/{set}/{name}"));
    let write = (
        names.clone(),
        1..4u64,
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
    );
    let write = write.prop_map(|(name, version, value)| Write {
        path: path(&name),
        version,
        value,
    });
    let compare = (names, 0..4u64).prop_map(|(name, version)| Compare {
        path: path(&name),
        version,
    });
    let parts = (
        proptest::collection::vec(compare, 0..2),
        proptest::collection::vec(write, 0..4),
        any::<[u8; 16]>(),
    );
    let one = parts.prop_map(|(compares, mut writes, operation)| {
        let mut seen = Vec::new();
        writes.retain(|write| {
            !seen.contains(&write.path) && {
                seen.push(write.path.clone());
                true
            }
        });
        Batch {
            operation,
            compares,
            writes,
            reserve: false,
        }
    });
    proptest::collection::vec(one, 1..60)
}

/// Makes versions fit more often than chance would.
fn nudge(model: &Model, batch: &mut Batch, at: usize) {
    for write in &mut batch.writes {
        if !at.is_multiple_of(4) {
            write.version = model.version(&write.path) + 1;
        }
    }
    for compare in &mut batch.compares {
        if !at.is_multiple_of(3) {
            compare.version = model.version(&compare.path);
        }
    }
}

pub(crate) fn follows_the_model(store: &Bench, model: &mut Model, batches: Vec<Batch>) {
    let mut watch = store.watch("/", store.revision()).unwrap();
    let mut seen = store.model();
    for (at, mut batch) in batches.into_iter().enumerate() {
        nudge(model, &mut batch, at);
        let expected = model.commit(&batch);
        assert_eq!(store.commit(batch.clone()), Ok(expected));
    }
    assert_eq!(store.model(), *model);
    // Whoever follows the watch ends in the same state.
    while let Some(changes) = watch.next(Duration::ZERO).unwrap() {
        seen.revision = store.told(changes.revision).0;
        for change in changes.changes {
            let key = change.path.as_str().to_owned();
            match change.value {
                Some(value) => drop(
                    seen.records
                        .insert(key, (change.version, seen.revision, value.to_vec())),
                ),
                None => drop(seen.records.remove(&key)),
            }
        }
    }
    // A batch that purges what is absent may change nothing that is told.
    seen.revision = store.told(watch.after()).0;
    assert_eq!(seen, *model);
    assert!(store.check().is_clean());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200 * soak() as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_does_what_the_model_does(batches in batches()) {
        let bench = Bench::of(Store::memory(keys(), Limits::default()), None, true);
        follows_the_model(&bench, &mut Model::default(), batches);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12 * soak() as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sled_does_what_the_model_does_over_restarts(rounds in proptest::collection::vec(batches(), 3)) {
        let dir = folder();
        let mut model = Model::default();
        let mut bench = Bench::of(disk::open(dir.path()).0, None, true);
        for batches in rounds {
            follows_the_model(&bench, &mut model, batches);
            bench = bench.again(|| {
                let (store, report) = disk::open(dir.path());
                assert_eq!(report.notices, vec![]);
                store
            });
            assert_eq!(Model::of(&bench), model);
        }
    }
}

#[test]
fn a_conflict_names_the_path_and_its_version_and_writes_nothing() {
    each_engine(&small(), |store| {
        store.commit(batch(1, vec![put("/a/1", 1, b"x")])).unwrap();
        let outcome = store.commit(batch(2, vec![put("/a/2", 1, b"y"), put("/a/1", 1, b"y")]));
        assert_eq!(
            outcome,
            Ok(Outcome::Conflict {
                path: path("/a/1"),
                current: 1
            })
        );
        assert_eq!(store.get(&path("/a/2")), None);
        let mut with_compare = batch(3, vec![put("/a/2", 1, b"y")]);
        with_compare.compares = vec![compare("/a/1", 2)];
        assert_eq!(
            store.commit(with_compare.clone()),
            Ok(Outcome::Conflict {
                path: path("/a/1"),
                current: 1
            })
        );
        with_compare.compares = vec![compare("/a/1", 1), compare("/a/9", 0)];
        assert_eq!(store.commit(with_compare), Ok(Outcome::Committed(Revision(2))));
        let mut only_compare = batch(4, vec![]);
        only_compare.compares = vec![compare("/a/1", 1)];
        assert_eq!(store.commit(only_compare), Ok(Outcome::Committed(Revision(2))));
    });
}

#[test]
fn what_is_over_a_limit_is_refused_by_name() {
    let limits = Limits {
        compares: 2,
        writes: 3,
        batch_bytes: 4000,
        record_bytes: 1500,
        ..small()
    };
    each_engine(&limits, |store| {
        let limit = |batch: Batch| match store.commit(batch) {
            Err(CommitError::TooLarge { limit, .. }) => Some(limit),
            _ => None,
        };
        let mut compares = batch(1, vec![]);
        compares.compares = vec![compare("/a", 0), compare("/b", 0), compare("/c", 0)];
        assert_eq!(limit(compares), Some(Limit::Compares));
        let many = ["/a", "/b", "/c", "/d"].map(|name| put(name, 1, b"x"));
        assert_eq!(limit(batch(2, many.to_vec())), Some(Limit::Writes));
        assert_eq!(
            limit(batch(3, vec![put("/a", 1, &[0; 1501])])),
            Some(Limit::RecordBytes)
        );
        let large = ["/a", "/b", "/c"].map(|name| put(name, 1, &[0; 1499]));
        assert_eq!(limit(batch(4, large.to_vec())), Some(Limit::BatchBytes));
        let twice = batch(5, vec![put("/a", 1, b"x"), put("/a", 2, b"y")]);
        assert_eq!(store.commit(twice), Err(CommitError::DuplicatePath(path("/a"))));
        assert_eq!(
            store.commit(batch(6, vec![put("/a", 0, b"x")])),
            Err(CommitError::VersionZero(path("/a")))
        );
        assert_eq!(store.scan("/"), vec![]);
    });
}

#[test]
fn a_slow_watch_is_told_that_it_missed_something() {
    each_engine(&Limits { history: 10, ..small() }, |store| {
        let mut slow = store.watch("/a", store.revision()).unwrap();
        for number in 1..=12 {
            store.commit(batch(number, vec![put("/a", number, b"x")])).unwrap();
        }
        let oldest = store.own(2);
        assert_eq!(slow.next(Duration::ZERO), Err(Compacted { oldest }));
        assert_eq!(store.watch("/a", store.own(1)).err(), Some(Compacted { oldest }));
        let mut watch = store.watch("/a", oldest).unwrap();
        assert_eq!(
            watch.next(Duration::ZERO).unwrap().map(|changes| changes.revision),
            Some(store.own(3))
        );
    });
}

#[test]
fn a_watch_wakes_up_for_its_prefix_and_ends_when_the_store_closes() {
    each_engine(&small(), |store| {
        let mut watch = store.watch("/a/", store.revision()).unwrap();
        std::thread::scope(|scope| {
            let seen = scope.spawn(move || {
                let first = watch.next(Duration::from_secs(20)).unwrap();
                let second = watch.next(Duration::from_secs(20)).unwrap();
                (first.map(|changes| changes.revision), second, watch.is_closed())
            });
            store.commit(batch(1, vec![put("/b/1", 1, b"x")])).unwrap();
            store.commit(batch(2, vec![put("/a/1", 1, b"x")])).unwrap();
            store.close().unwrap();
            assert_eq!(seen.join().unwrap(), (Some(store.own(2)), None, true));
        });
    });
}

#[test]
fn of_many_threads_that_write_one_version_exactly_one_wins() {
    each_engine(&small(), |store| {
        for version in 1..=20u64 {
            let wins = std::thread::scope(|scope| {
                let tries: Vec<_> = (0..8u64)
                    .map(|thread| {
                        scope.spawn(move || {
                            store.store.commit(batch(
                                version * 100 + thread,
                                vec![put("/counter", version, &[thread as u8])],
                            ))
                        })
                    })
                    .collect();
                let outcomes = tries.into_iter().map(|one| one.join().unwrap().unwrap());
                outcomes
                    .filter(|outcome| matches!(outcome, Outcome::Committed(_)))
                    .count()
            });
            assert_eq!(wins, 1);
        }
        assert_eq!(store.get(&path("/counter")).unwrap().version, 20);
        assert_eq!(Model::of(store).records.len(), 1);
        assert!(store.check().is_clean());
    });
}

//! The etcd engine against a real etcd: what it does beyond what all engines do. These tests fail where etcd is not installed.

mod cluster;
mod faults;
mod guard;
mod proxy;
pub(crate) mod server;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hsmd_store::{EtcdOptions, EtcdUrl, Loaded, Notice, Outcome, Store, WriterId};
use proptest::prelude::*;

use crate::engines::Bench;
use crate::model::{Model, batch, folder, keys, path, put, soak};
use crate::shared::{batches, follows_the_model};

/// A prefix that no other test has.
pub(crate) fn prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("/test/{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn options(ports: &[u16], prefix: &str, dir: &Path) -> EtcdOptions {
    let url = EtcdUrl {
        endpoints: ports.iter().map(|port| ("127.0.0.1".to_owned(), *port)).collect(),
        prefix: prefix.to_owned(),
    };
    EtcdOptions {
        create: true,
        patience: Duration::from_secs(30),
        on_fatal: Arc::new(|_| {}),
        keep_revisions: 0,
        ..EtcdOptions::new(url, WriterId([1; 16]), dir.to_owned())
    }
}

pub(crate) fn open(options: EtcdOptions) -> Store {
    Store::open_etcd(options, &keys()).unwrap().0
}

/// Waits for a condition.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(40);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Commits `count` puts from `number` on, and notes them in the model. Every one must be acknowledged.
pub(crate) fn fill(bench: &Bench, model: &mut Model, number: u64, count: u64) {
    for number in number..number + count {
        let name = format!("/ks/{:02}/o/{:03}", number % 3, number % 40);
        let version = model.version(&path(&name)) + 1;
        let batch = batch(number, vec![put(&name, version, &number.to_le_bytes())]);
        let expected = Ok(model.commit(&batch));
        let mut outcome = bench.commit(batch.clone());
        // On a busy machine an election may last longer than a commit waits. Sent again, it tells what became of it.
        let unknown = outcome == Ok(Outcome::Unknown);
        while outcome == Ok(Outcome::Unknown) {
            outcome = bench.commit(batch.clone());
        }
        if !(unknown && matches!(outcome, Ok(Outcome::Conflict { .. }))) {
            assert_eq!(outcome, expected);
        }
    }
}

#[test]
fn what_was_committed_is_there_after_a_clean_close_and_after_none() {
    let (dir, prefix) = (folder(), prefix());
    let options = || options(&[server::shared()], &prefix, dir.path());
    let mut model = Model::default();
    let mut bench = Bench::of(open(options()), None, false);
    for round in 0..4 {
        fill(&bench, &mut model, round * 1000, 50);
        assert!(bench.check().is_clean());
        assert_eq!(bench.check().etcd, Some(true));
        if round % 2 == 0 {
            bench.close().unwrap();
        }
        bench = bench.again(|| {
            let (store, report) = Store::open_etcd(options(), &keys()).unwrap();
            assert_eq!(report.loaded, Loaded::Etcd);
            assert_eq!(report.quarantined, vec![]);
            assert!(!report.notices.contains(&Notice::AnchorMissing), "{:?}", report.notices);
            store
        });
        assert_eq!(bench.model(), model);
    }
    until("a watch", || bench.status().etcd.unwrap().watches == 1);
    let status = bench.status().etcd.unwrap();
    assert!(status.serving && status.reloads == 0, "{status:?}");
}

#[test]
fn the_last_operation_is_known_after_a_restart() {
    let (dir, prefix) = (folder(), prefix());
    let options = || options(&[server::shared()], &prefix, dir.path());
    let store = open(options());
    let last = batch(77, vec![put("/a", 1, b"x")]);
    store.commit(last.clone()).unwrap();
    drop(store);
    let store = open(options());
    // The claim of the new process has taken the place of the record.
    let again = store.commit(last).unwrap();
    assert!(matches!(again, Outcome::Conflict { current: 1, .. }), "{again:?}");
}

#[test]
fn a_batch_at_the_limits_is_one_transaction() {
    let (dir, prefix) = (folder(), prefix());
    let bench = Bench::of(open(options(&[server::shared()], &prefix, dir.path())), None, false);
    let name = |number: usize| format!("/ks/{}/{}/{number:03}", "a".repeat(32), "b".repeat(300));
    let value = |byte: usize| vec![byte as u8; (1 << 20) / 104 - 400];
    for version in 1..=3u64 {
        let writes = (0..104)
            .map(|number| put(&name(number), version, &value(number)))
            .collect();
        let mut large = batch(version, writes);
        large.compares = (200..300)
            .map(|number| crate::model::compare(&name(number), 0))
            .collect();
        assert_eq!(
            bench.commit(large),
            Ok(Outcome::Committed(hsmd_store::Revision(version)))
        );
    }
    assert!(bench.check().is_clean());
    // Sixty groups at once fit, sixty-four do not and are refused by name.
    let groups = |count: usize| {
        (0..count)
            .map(|number| put(&format!("/ks/{number}/login"), 1, b"x"))
            .collect()
    };
    assert!(matches!(
        bench.commit(batch(9, groups(64))),
        Err(hsmd_store::CommitError::TooLarge { .. })
    ));
    assert!(matches!(bench.commit(batch(10, groups(60))), Ok(Outcome::Committed(_))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4 * soak() as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn etcd_does_what_the_model_does_over_restarts(rounds in proptest::collection::vec(batches(), 3)) {
        let (dir, prefix) = (folder(), prefix());
        let options = || options(&[server::shared()], &prefix, dir.path());
        let mut model = Model::default();
        let mut bench = Bench::of(open(options()), None, false);
        for batches in rounds {
            follows_the_model(&bench, &mut model, batches);
            bench = bench.again(|| open(options()));
            assert_eq!(bench.model(), model);
        }
    }
}

#[test]
fn writers_at_the_same_time_share_transactions() {
    let (dir, prefix) = (folder(), prefix());
    let store = open(options(&[server::shared()], &prefix, dir.path()));
    let count = 100 * soak();
    let value = [7; 1500];
    let work = |thread: u64| {
        let mut times = Vec::new();
        for number in 0..count {
            let name = format!("/ks/{}/{thread}/{number}", thread % 4);
            let before = Instant::now();
            let outcome = store.commit(batch(thread << 32 | number, vec![put(&name, 1, &value)]));
            times.push(before.elapsed());
            assert!(matches!(outcome, Ok(Outcome::Committed(_))), "{outcome:?}");
        }
        times
    };
    for threads in [1, 32] {
        let transactions = store.status().etcd.unwrap().transactions;
        let before = Instant::now();
        let mut times: Vec<Duration> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads)
                .map(|thread| scope.spawn(move || work(threads << 8 | thread)))
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let took = before.elapsed();
        times.sort_unstable();
        let transactions = store.status().etcd.unwrap().transactions - transactions;
        let at = |part: f64| times[(times.len() as f64 * part) as usize];
        println!(
            "{threads} writers: {:.0} commits/s, p50 {:?}, p99 {:?}, {transactions} transactions for {}",
            times.len() as f64 / took.as_secs_f64(),
            at(0.5),
            at(0.99),
            times.len()
        );
        assert!(threads == 1 || transactions * 4 < times.len() as u64);
    }
    assert_eq!(store.scan("/ks/").len() as u64, 33 * count);
    assert!(store.check().is_clean());
}

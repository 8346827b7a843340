//! etcd in trouble: members die or freeze, answers get lost, history is compacted. Nothing acknowledged is lost, nothing is done
//! twice, and memory is what etcd has.

use std::time::{Duration, Instant};

use hsmd_store::{EtcdOptions, Outcome, Revision, Store};

use crate::engines::Bench;
use crate::etcd::cluster::Cluster;
use crate::etcd::proxy::Proxy;
use crate::etcd::{fill, open, options, prefix, server, until};
use crate::model::{Model, batch, folder, keys, path, put};

/// What a new process finds is what was acknowledged.
fn is_in_etcd(bench: Bench, options: EtcdOptions, model: &Model) {
    assert!(bench.check().is_clean());
    bench.close().unwrap();
    let bench = bench.again(|| open(options));
    assert_eq!(bench.model(), *model);
}

#[test]
fn the_leader_is_killed_and_comes_back() {
    let mut cluster = Cluster::start(3);
    let (dir, prefix) = (folder(), prefix());
    let options = || options(&cluster.ports(), &prefix, dir.path());
    let first = options();
    let bench = Bench::of(open(options()), None, false);
    let mut model = Model::default();
    fill(&bench, &mut model, 0, 50);
    for round in 1..=2 {
        let leader = cluster.leader();
        cluster.kill(leader);
        let before = Instant::now();
        fill(&bench, &mut model, round * 1000, 50);
        println!("leader killed: 50 commits after {:?}", before.elapsed());
        cluster.restart(leader);
    }
    fill(&bench, &mut model, 5000, 50);
    is_in_etcd(bench, first, &model);
}

#[test]
fn a_member_that_freezes_is_left() {
    let cluster = Cluster::start(3);
    let (dir, prefix) = (folder(), prefix());
    let options = || options(&cluster.ports(), &prefix, dir.path());
    let bench = Bench::of(open(options()), None, false);
    let mut model = Model::default();
    fill(&bench, &mut model, 0, 20);
    for frozen in [0, cluster.leader()] {
        cluster.signal(frozen, "STOP");
        let before = Instant::now();
        fill(&bench, &mut model, 1000 + frozen as u64 * 100, 50);
        println!("member frozen: 50 commits after {:?}", before.elapsed());
        // The node beats again, so it may serve (its right lasts 5 s).
        until("a beat", || {
            bench.status().etcd.unwrap().beat_age < Duration::from_secs(1)
        });
        cluster.signal(frozen, "CONT");
    }
    is_in_etcd(bench, options(), &model);
}

#[test]
fn a_commit_whose_answer_is_lost_happens_once() {
    let (dir, prefix) = (folder(), prefix());
    let proxy = Proxy::start(server::shared());
    let options = || options(&[proxy.port], &prefix, dir.path());
    let bench = Bench::of(open(options()), None, false);
    let mut model = Model::default();
    for round in 0..10 {
        fill(&bench, &mut model, round * 1000, 3);
        let cuts = proxy.cuts();
        std::thread::scope(|scope| {
            proxy.deaf(true);
            let ends = scope.spawn(|| {
                until("a cut", || proxy.cuts() > cuts);
                proxy.deaf(false);
            });
            // INV-10: committed though its first answer was lost.
            fill(&bench, &mut model, round * 1000 + 100, 1);
            ends.join().unwrap();
        });
    }
    let status = bench.status().etcd.unwrap();
    assert!(status.repeated >= 5, "{status:?}");
    assert_eq!(status.conflicts, 0);
    assert_eq!(bench.model(), model);
    is_in_etcd(bench, options(), &model);
}

#[test]
fn an_outcome_that_stays_unknown_is_resolved_later() {
    let (dir, prefix) = (folder(), prefix());
    let proxy = Proxy::start(server::shared());
    let options = || EtcdOptions {
        patience: Duration::from_millis(300),
        call: Duration::from_millis(200),
        ..options(&[proxy.port], &prefix, dir.path())
    };
    let store = Store::open_etcd(options(), &keys()).unwrap().0;
    let first = batch(1, vec![put("/a", 1, b"x")]);
    assert!(matches!(store.commit(first), Ok(Outcome::Committed(_))));
    // The request arrives, its answer does not, for longer than the store has patience.
    let mut unknown = 0;
    for number in 2..12u64 {
        let change = batch(number, vec![put("/a", number, b"x")]);
        proxy.deaf(true);
        let outcome = store.commit(change.clone());
        proxy.deaf(false);
        if outcome == Ok(Outcome::Unknown) {
            unknown += 1;
        }
        until("the outcome", || {
            if store.resolve(&change.operation).is_some() {
                return true;
            }
            // Not committed as far as can be told; a new try commits, or meets the first one.
            match store.commit(change.clone()) {
                Ok(Outcome::Committed(_)) => true,
                Ok(Outcome::Conflict { current, .. }) => current == number,
                _ => false,
            }
        });
        assert_eq!(store.get(&path("/a")).unwrap().version, number);
    }
    assert!(unknown > 0);
    // Requests that never arrive: nothing happens, and the store says so.
    proxy.dumb(true);
    let lost = batch(50, vec![put("/b", 1, b"x")]);
    let outcome = store.commit(lost.clone());
    assert!(
        !matches!(outcome, Ok(Outcome::Committed(_) | Outcome::Conflict { .. })),
        "{outcome:?}"
    );
    proxy.dumb(false);
    until("a commit", || match store.commit(lost.clone()) {
        Ok(Outcome::Committed(_)) => true,
        // The first try did come through after all.
        Ok(Outcome::Conflict { .. }) => matches!(store.resolve(&lost.operation), Some(Outcome::Committed(_))),
        _ => false,
    });
    assert!(store.check().is_clean());
}

#[test]
fn a_watch_that_was_cut_off_and_compacted_loads_what_it_missed() {
    let (dir, other, prefix) = (folder(), folder(), prefix());
    // Compaction is the whole etcd's: an etcd of its own.
    let cluster = Cluster::start(1);
    let proxy = Proxy::start(cluster.ports()[0]);
    let here = EtcdOptions {
        alone: false,
        jitter: Duration::from_millis(100),
        ..options(&[proxy.port], &prefix, dir.path())
    };
    let there = EtcdOptions {
        alone: false,
        writer: hsmd_store::WriterId([2; 16]),
        ..options(&cluster.ports(), &prefix, other.path())
    };
    let (here, there) = (open(here), open(there));
    for number in 0..20u64 {
        here.commit(batch(number, vec![put(&format!("/ks/1/{number}"), 1, b"old")]))
            .unwrap();
    }
    let mut watch = here.watch("/ks/1/", here.revision()).unwrap();
    until("the first is there", || there.get(&path("/ks/1/19")).is_some());
    proxy.dumb(true);
    proxy.deaf(true);
    for number in 0..10u64 {
        let change = match number {
            0..5 => put(&format!("/ks/1/{number}"), 2, b"new"),
            _ => crate::model::purge(&format!("/ks/1/{number}"), 2),
        };
        there.commit(batch(100 + number, vec![change])).unwrap();
    }
    let newest = there.status().etcd.unwrap().revision;
    server::etcdctl(cluster.ports()[0], &["compaction", &newest.to_string()]);
    proxy.dumb(false);
    proxy.deaf(false);
    until("what was missed", || here.get(&path("/ks/1/9")).is_none());
    assert_eq!(here.scan("/"), there.scan("/"));
    assert_eq!(here.status().etcd.unwrap().reloads, 1);
    assert!(watch.next(Duration::ZERO).is_err(), "a watch begins anew");
    // And both go on.
    let outcome = here.commit(batch(200, vec![put("/ks/1/0", 3, b"newer")])).unwrap();
    assert!(matches!(outcome, Outcome::Committed(Revision(_))));
    until("the change", || {
        there.get(&path("/ks/1/0")).is_some_and(|record| record.version == 3)
    });
    assert!(here.check().is_clean() && there.check().is_clean());
}

#[test]
fn two_writers_of_one_record_never_both_win() {
    let (dirs, prefix) = ([folder(), folder()], prefix());
    let stores = [0, 1].map(|at| {
        open(EtcdOptions {
            alone: false,
            writer: hsmd_store::WriterId([at as u8 + 1; 16]),
            ..options(&[server::shared()], &prefix, dirs[at].path())
        })
    });
    let wins: u64 = std::thread::scope(|scope| {
        let threads = stores.iter().enumerate().map(|(at, store)| {
            scope.spawn(move || {
                let (mut wins, mut number) = (0, at as u64 * 1_000_000);
                while wins < 100 {
                    number += 1;
                    let version = store.get(&path("/counter")).map_or(0, |record| record.version);
                    let own = format!("/own/{at}/{number}");
                    let change = batch(number, vec![put("/counter", version + 1, b"x"), put(&own, 1, b"x")]);
                    match store.commit(change).unwrap() {
                        Outcome::Committed(_) => wins += 1,
                        Outcome::Conflict { path, .. } => assert_eq!(path.as_str(), "/counter"),
                        Outcome::Unknown => panic!("unknown"),
                    }
                }
                wins
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    for store in &stores {
        until("all changes", || {
            store
                .get(&path("/counter"))
                .is_some_and(|record| record.version == wins)
        });
        assert_eq!(store.scan("/own/").len() as u64, wins);
        assert!(store.check().is_clean());
    }
    assert_eq!(stores[0].scan("/"), stores[1].scan("/"));
}

//! A node is added to a fleet that works: how long that takes with so many objects, and what it costs the signatures that are made
//! meanwhile. `cargo xtask soak fleet-join` does it with 100,000; the figures are in docs/fleet-runbook.md.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cryptoki_sys::{
    CKA_EC_PARAMS, CKA_LABEL, CKA_TOKEN, CKA_VALUE_LEN, CKM_AES_KEY_GEN, CKM_EC_KEY_PAIR_GEN, CKM_ECDSA, CKU_USER,
};
use hsmd_tests::daemon::{LABEL, PIN};
use hsmd_tests::etcd::Etcd;
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::served::Served;
use hsmd_tests::soak::Soak;
use hsmd_tests::template::{self, Mechanism, bytes, flag, number};

/// Threads that make the objects: as many as share a commit well.
const MAKERS: usize = 32;
/// Threads that sign, each with a pause after each signature, so that the machine is not full already.
const SIGNERS: usize = 4;
const PAUSE: Duration = Duration::from_millis(2);
/// What is measured before and after.
const SPAN: Duration = Duration::from_secs(3);

#[test]
fn a_node_joins_under_load_and_no_signature_fails() {
    let soak = Soak::new("fleet-join", 300);
    let etcd = Etcd::start();
    let url = etcd.url("hsmd");
    let store = ["--store", url.as_str()];
    let first = Served::start_with(&store, &[]);
    let module = first.module();
    let (session, key) = log_in(&module);
    let made = Instant::now();
    make(&module, soak.rounds);
    let made = made.elapsed();
    let load = Load::default();
    let (joined, used, second) = thread::scope(|scope| {
        for _ in 0..SIGNERS {
            scope.spawn(|| load.sign(&module, key));
        }
        load.stay(SPAN);
        load.phase.store(1, Ordering::Relaxed);
        let begun = Instant::now();
        let second = first.join(&store, &[]);
        let joined = begun.elapsed();
        load.phase.store(2, Ordering::Relaxed);
        // The first login opens all private objects.
        let begun = Instant::now();
        let there = second.module();
        let (session, key) = log_in(&there);
        there
            .sign(session, &Mechanism::Plain(CKM_ECDSA), key, &[7; 32])
            .expect("C_Sign through the new node");
        let used = begun.elapsed();
        load.phase.store(3, Ordering::Relaxed);
        load.stay(SPAN);
        load.ended.store(true, Ordering::Relaxed);
        (joined, used, second)
    });
    let there = second.module();
    let (other, _) = log_in(&there);
    // The public half of what signs is an object of its session.
    let tokens = [flag(CKA_TOKEN, true)];
    let count = |module: &Module, session| module.find(session, &tokens).expect("C_FindObjects").len();
    let (here, there) = (count(&module, session), count(&there, other));
    let phases = [
        "before",
        "while it joins",
        "while its first login opens the keys",
        "after",
    ];
    let times = load.times.into_inner().expect("no panic");
    let lines: Vec<_> = phases
        .iter()
        .enumerate()
        .map(|(at, name)| line(name, &times, at))
        .collect();
    let figures = format!(
        "{here} objects made in {made:.1?}; the node answers {joined:.2?} after `hsmd join` began, its first signature took \
         {used:.2?} with the login; it has {there}; signatures of {SIGNERS} threads through the first node:\n  {}",
        lines.join("\n  ")
    );
    soak.verdict(here == there && here > soak.rounds, &figures);
}

/// Logs in; gives the key that signs.
fn log_in(module: &Module) -> (Session, Object) {
    let _ = module.initialize();
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
    // The second time in a process it is logged in already.
    let _ = module.login(session, CKU_USER, PIN);
    let found = module
        .find(session, &[bytes(CKA_LABEL, "signs")])
        .expect("C_FindObjects");
    if let Some(key) = found.last() {
        return (session, *key);
    }
    let public = [bytes(CKA_EC_PARAMS, template::P256)];
    let private = [flag(CKA_TOKEN, true), bytes(CKA_LABEL, "signs")];
    let pair = module.generate_key_pair(session, &Mechanism::Plain(CKM_EC_KEY_PAIR_GEN), &public, &private);
    (session, pair.expect("C_GenerateKeyPair").1)
}

/// So many secret keys.
fn make(module: &Module, count: usize) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..MAKERS {
            scope.spawn(|| {
                let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
                loop {
                    let number_of = next.fetch_add(1, Ordering::Relaxed);
                    if number_of >= count {
                        return;
                    }
                    let label = format!("key-{number_of}");
                    let template = [
                        flag(CKA_TOKEN, true),
                        bytes(CKA_LABEL, &label),
                        number(CKA_VALUE_LEN, 32),
                    ];
                    let made = module.generate_key(session, &Mechanism::Plain(CKM_AES_KEY_GEN), &template);
                    made.unwrap_or_else(|rv| panic!("{label}: {rv}"));
                }
            });
        }
    });
}

/// Signatures with the phase in which each was made, and how long it took.
#[derive(Default)]
struct Load {
    phase: AtomicUsize,
    ended: AtomicBool,
    times: Mutex<Vec<(usize, Duration)>>,
}

impl Load {
    fn sign(&self, module: &Module, key: Object) {
        let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
        while !self.ended.load(Ordering::Relaxed) {
            let phase = self.phase.load(Ordering::Relaxed);
            let begun = Instant::now();
            let signed = module.sign(session, &Mechanism::Plain(CKM_ECDSA), key, &[7; 32]);
            let took = begun.elapsed();
            signed.expect("C_Sign while a node joins");
            self.times.lock().expect("no panic").push((phase, took));
            thread::park_timeout(PAUSE);
        }
    }

    fn stay(&self, span: Duration) {
        let until = Instant::now() + span;
        while Instant::now() < until {
            thread::park_timeout(until.saturating_duration_since(Instant::now()));
        }
    }
}

fn line(name: &str, times: &[(usize, Duration)], phase: usize) -> String {
    let mut took: Vec<_> = times
        .iter()
        .filter(|(at, _)| *at == phase)
        .map(|(_, took)| *took)
        .collect();
    took.sort_unstable();
    let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or_default();
    let longest = took.last().copied().unwrap_or_default();
    format!(
        "{name}: {} signatures, half within {:.0?}, 99 of 100 within {:.0?}, longest {longest:.0?}",
        took.len(),
        at(50),
        at(99)
    )
}

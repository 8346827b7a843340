//! Every input or output of the store fails once, or is the moment at which the daemon dies: the n-th call of each kind, for
//! every n, while a program makes, labels and
//! destroys objects and changes its PIN. INV-2: what was acknowledged is there afterwards, what was refused is not half
//! there, and the daemon (started again, if a failed sync has ended it) takes writes. Sweeps below the daemon, also of writes
//! that store half, are in keystore/store/tests.

use std::collections::BTreeMap;
use std::fs;

use cryptoki_sys::*;
use hsmd_tests::daemon::{LABEL, PIN};
use hsmd_tests::keeper::Keeper;
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::plan;
use hsmd_tests::rv::Rv;
use hsmd_tests::served::Served;
use hsmd_tests::soak::{Random, Soak};
use hsmd_tests::storm::{self, Change, End, Entry};
use hsmd_tests::template::{self, Mechanism, bytes, flag, number};

use crate::kill_storm::holdings;

/// One thread for writes and one for PINs, so that the n-th call of a thread is the n-th of the daemon.
const SETTINGS: &[(&str, &str)] = &[("work.write_threads", "1"), ("work.pin_threads", "1")];

/// Calls and what one of them does instead.
const FAULTS: &[(&str, &str)] = &[
    ("pwrite64", "error=EIO"),
    ("pwrite64", "error=ENOSPC"),
    ("pwrite64", "retval=0"),
    ("fdatasync", "error=EIO"),
    ("fsync", "error=EIO"),
    ("ftruncate,fallocate", "error=ENOSPC"),
    ("rename,renameat,renameat2", "error=EIO"),
    ("unlink,unlinkat", "error=EIO"),
    ("sync_file_range", "error=EIO"),
    // The daemon dies as the call begins.
    ("pwrite64", KILL),
    ("fdatasync", KILL),
    ("fsync", KILL),
    ("rename,renameat,renameat2", KILL),
    ("unlink,unlinkat", KILL),
    ("sync_file_range", KILL),
    ("openat", KILL),
];
const KILL: &str = "signal=SIGKILL";

/// Codes with which a write may be refused when the disk fails.
const REFUSALS: [CK_RV; 3] = [CKR_DEVICE_MEMORY, CKR_DEVICE_ERROR, CKR_FUNCTION_FAILED];

/// No more calls of one kind than this in one run.
const MOST: usize = 400;

#[test]
fn a_failing_call_costs_nothing_acknowledged_at_every_n() {
    let soak = Soak::new("io-sweep", 1);
    let mut random = Random::new(soak.seed);
    let mut sweep = Sweep::start();
    for (calls, what) in FAULTS {
        let all = Soak::is_long();
        let mut last = 0;
        let count = if all && soak.rounds == 0 { MOST } else { soak.rounds };
        for round in 1..=count {
            let nth = if all { round } else { 1 + random.below(30) };
            let injected = sweep.round(calls, what, nth);
            if all && injected == 0 {
                break;
            }
            last = nth;
        }
        println!("io-sweep: {calls} {what}: to n = {last}; {}", sweep.text());
        assert!(last < MOST, "{calls}: more than {MOST} calls in one run");
    }
    let broken = sweep.injected > 0 || !Soak::is_long();
    let good = sweep.findings.is_empty() && broken && sweep.acknowledged() > 0;
    soak.verdict(good, &sweep.text());
}

struct Sweep {
    daemon: Option<Served>,
    module: Module,
    session: Session,
    pin: String,
    entries: Vec<Entry>,
    made: usize,
    runs: usize,
    injected: usize,
    /// Ends of the daemon: a failed sync ends it.
    ends: usize,
    refusals: BTreeMap<String, usize>,
    findings: Vec<String>,
}

impl Sweep {
    fn start() -> Self {
        let daemon = Served::start(SETTINGS);
        let module = daemon.module();
        module.initialize().expect("C_Initialize");
        let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
        module.login(session, CKU_USER, PIN).expect("C_Login");
        Self {
            daemon: Some(daemon),
            module,
            session,
            pin: PIN.to_owned(),
            entries: Vec::new(),
            made: 0,
            runs: 0,
            injected: 0,
            ends: 0,
            refusals: BTreeMap::new(),
            findings: Vec::new(),
        }
    }

    fn acknowledged(&self) -> usize {
        let acknowledged = |entry: &&Entry| entry.end == End::Acknowledged;
        self.entries.iter().filter(acknowledged).count()
    }

    fn text(&self) -> String {
        format!(
            "{} runs, {} calls failed, {} ends of the daemon, {} changes acknowledged, refusals {:?}; lost, torn or wrong: {} \
             {:?}",
            self.runs,
            self.injected,
            self.ends,
            self.acknowledged(),
            self.refusals,
            self.findings.len(),
            &self.findings[..self.findings.len().min(5)]
        )
    }

    /// One run with one failing call of each thread. Gives how many failed.
    fn round(&mut self, calls: &str, what: &str, nth: usize) -> usize {
        let name = format!("{calls} {what} {nth}");
        let mut daemon = self.daemon.take().expect("a daemon");
        let trace = daemon.folder().join("trace");
        daemon.kill9();
        let under = if what == KILL {
            plan::kill_at(calls, nth)
        } else {
            plan::instead_at(calls, what, nth, &trace)
        };
        let started = daemon.launch_planned(&under);
        let keeper = Keeper::of(daemon);
        self.work(&name);
        let ends = keeper.ends.all() + usize::from(!started);
        self.ends += ends;
        let mut daemon = keeper.give_back();
        let trace = fs::read_to_string(&trace).unwrap_or_default();
        let injected = if what == KILL {
            ends
        } else {
            trace.matches("(INJECTED)").count()
        };
        daemon.restart();
        self.look(&name);
        self.daemon = Some(daemon);
        self.runs += 1;
        self.injected += injected;
        injected
    }

    fn change<T>(&mut self, name: &str, id: &str, change: Change, result: Result<T, Rv>) -> Option<T> {
        let end = if result.is_ok() {
            End::Acknowledged
        } else {
            End::Unknown
        };
        self.entries.push(Entry {
            id: id.to_owned(),
            change,
            end,
        });
        self.refused(name, result.as_ref().err().copied());
        result.ok()
    }

    fn refused(&mut self, name: &str, rv: Option<Rv>) {
        if let Some(rv) = rv {
            *self.refusals.entry(rv.to_string()).or_default() += 1;
            if rv.0 == CKR_USER_NOT_LOGGED_IN {
                // The failing call was that of a login's own record, which no flush is waited for: the program logs in again.
                let again = self.module.login(self.session, CKU_USER, &self.pin);
                if again.is_err() {
                    self.findings.push(format!("{name}: no new login: {again:?}"));
                }
            } else if !REFUSALS.contains(&rv.0) {
                self.findings.push(format!("{name}: {rv}"));
            }
        }
    }

    /// Some of each: about 35 durable writes.
    fn work(&mut self, name: &str) {
        let mut kept: Vec<(String, Object)> = Vec::new();
        for number_of_act in 0..12 {
            self.made += 1;
            let (id, label) = (format!("o-{}", self.made), format!("o-{}-v0", self.made));
            let common = [flag(CKA_TOKEN, true), bytes(CKA_LABEL, &label), bytes(CKA_ID, &id)];
            if number_of_act % 6 == 0 {
                let mut public = common.to_vec();
                public.push(bytes(CKA_EC_PARAMS, template::P256));
                let mechanism = Mechanism::Plain(CKM_EC_KEY_PAIR_GEN);
                let made = self
                    .module
                    .generate_key_pair(self.session, &mechanism, &public, &common);
                let made = self.change(name, &id, Change::CreatePair(label), made);
                kept.extend(made.map(|(_, private)| (id, private)));
            } else {
                let template = [
                    number(CKA_CLASS, CKO_DATA),
                    flag(CKA_TOKEN, true),
                    bytes(CKA_LABEL, &label),
                    bytes(CKA_APPLICATION, &id),
                    bytes(CKA_VALUE, vec![7; 50_000]),
                ];
                let made = self.module.create(self.session, &template);
                let made = self.change(name, &id, Change::Create(label), made);
                kept.extend(made.map(|object| (id, object)));
            }
        }
        for (id, object) in kept.iter().take(4) {
            let label = format!("{id}-v1");
            let set = self.module.set(self.session, *object, &[bytes(CKA_LABEL, &label)]);
            self.change(name, id, Change::Label(label), set);
        }
        self.change_pin(name);
        // The store comes to the end of a segment every few runs, and so to a backup; few objects stay.
        for (id, object) in kept.iter().skip(2) {
            let gone = self.module.destroy(self.session, *object);
            self.change(name, id, Change::Destroy, gone);
        }
    }

    fn change_pin(&mut self, name: &str) {
        let new = format!("pin-{}", self.made);
        match self.module.set_pin(self.session, &self.pin, &new) {
            Ok(()) => self.pin = new,
            Err(rv) => {
                self.refused(name, Some(rv));
                // Done or not done, and nothing between.
                let other = self.module.set_pin(self.session, &new, &self.pin.clone());
                if other.is_err() && other != Err(Rv(CKR_PIN_INCORRECT)) {
                    self.refused(name, other.err());
                }
            }
        }
    }

    /// What the disk holds is what was acknowledged, a new program can log in, and writes are taken.
    fn look(&mut self, name: &str) {
        let _ = self.module.logout(self.session);
        let login = self.module.login(self.session, CKU_USER, &self.pin);
        if login.is_err() {
            self.findings.push(format!("{name}: the PIN is lost: {login:?}"));
        }
        let held = holdings(&self.module, self.session);
        let verdict = storm::judge(&self.entries, &held);
        if !verdict.is_good() {
            self.findings.push(format!("{name}: {}", verdict.text()));
        }
        self.made += 1;
        let id = format!("o-{}", self.made);
        let template = [
            number(CKA_CLASS, CKO_DATA),
            flag(CKA_TOKEN, true),
            bytes(CKA_LABEL, &id),
            bytes(CKA_APPLICATION, &id),
        ];
        let made = self.module.create(self.session, &template);
        if let Some(object) = self.change(name, &id, Change::Create(id.clone()), made) {
            let gone = self.module.destroy(self.session, object);
            self.change(name, &id, Change::Destroy, gone);
        } else {
            self.findings.push(format!("{name}: no write after the restart"));
        }
        // Nothing of this round is asked for any more: what may be either is settled by what is held.
        self.settle();
    }

    /// Later rounds judge only what is certain: objects of which nobody knows go.
    fn settle(&mut self) {
        let unknown = self.entries.iter().filter(|entry| entry.end == End::Unknown);
        let unknown: Vec<String> = unknown.map(|entry| entry.id.clone()).collect();
        for id in &unknown {
            for kind in [CKA_ID, CKA_APPLICATION] {
                let found = self
                    .module
                    .find(self.session, &[bytes(kind, id)])
                    .expect("C_FindObjects");
                for object in found {
                    self.module.destroy(self.session, object).expect("C_DestroyObject");
                }
            }
        }
        self.entries.retain(|entry| !unknown.contains(&entry.id));
    }
}

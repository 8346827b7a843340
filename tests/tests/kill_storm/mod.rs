//! The daemon is killed again and again, at steps of the store and at random moments, while eight processes create, sign,
//! label and destroy. INV-2: acknowledged is durable. INV-6: destroyed is destroyed. INV-10: a create is done once, however
//! often it was retried. Beside them an administrator makes and deletes partitions, groups and tags. Every acknowledged change and
//! act is in the audit log, whose chain holds. The judge is in `src/storm.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use cryptoki_sys::*;
use hsmd_tests::daemon::{LABEL, PIN, binaries};
use hsmd_tests::module::{Module, Session};
use hsmd_tests::peers::run;
use hsmd_tests::plan;
use hsmd_tests::served::Served;
use hsmd_tests::soak::{Random, Soak};
use hsmd_tests::storm::{self, End, Entry, Held};
use hsmd_tests::template::{Mechanism, bytes, number};
use hsmd_tests::wait;

use crate::audit::Told;

const WORKERS: usize = 8;
/// Acknowledged changes, over all workers, before a kill that no plan has made: at most.
const CHANGES: usize = 60;
/// Rounds after which the workers end, the token is compared with their journals, and others begin.
const COMPARED: usize = 50;
/// Rounds after which one worker is killed as well, and replaced.
const REPLACED: usize = 7;
/// Few threads for writes: strace counts for each, so that the n-th call of one comes soon.
const SETTINGS: &[(&str, &str)] = &[("work.write_threads", "4")];

#[test]
fn nothing_acknowledged_is_lost_and_nothing_destroyed_comes_back() {
    let soak = Soak::new("kill-storm", 30);
    let mut storm = Storm {
        daemon: Served::start(SETTINGS),
        random: Random::new(soak.seed),
        journals: Vec::new(),
        workers: Vec::new(),
        armed: false,
        planned: 0,
        starts: 0,
    };
    let administrator = Administrator::start(&storm.daemon);
    let mut figures = String::new();
    let mut good = true;
    let mut done = 0;
    while done < soak.rounds && good {
        storm.begin();
        for round in done..(done + COMPARED).min(soak.rounds) {
            storm.round(round);
            soak.progress(round + 1, || {
                format!(
                    "{} changes acknowledged, {} kills at a step of the store",
                    changes(&storm.journals),
                    storm.planned
                )
            });
        }
        done += COMPARED;
        storm.end();
        (good, figures) = verdict(&storm.daemon, &storm.journals);
        let told = administrator.told();
        let unlogged = crate::audit::holds_acts(&storm.daemon, &told);
        good &= unlogged.is_empty() && !told.is_empty();
        figures = format!(
            "{figures}\n{} acts of an administrator acknowledged, not in the audit log: {} {:?}",
            told.len(),
            unlogged.len(),
            &unlogged[..unlogged.len().min(10)]
        );
    }
    administrator.end();
    let (planned, starts) = (storm.planned, storm.starts);
    soak.verdict(
        good && (planned > 0 || !Soak::is_long()),
        &format!("{planned} kills at a planned step of the store, {starts} of them while it started; {figures}"),
    );
}

/// Runs hsmctl, one act after the other, and notes what was acknowledged.
struct Administrator {
    stop: Arc<AtomicBool>,
    told: Arc<Mutex<Vec<Told>>>,
    thread: JoinHandle<()>,
}

impl Administrator {
    fn start(daemon: &Served) -> Self {
        let (stop, told) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let endpoint = format!("unix://{}", daemon.data_dir().join("control.sock").display());
        let (ends, noted) = (stop.clone(), told.clone());
        let thread = std::thread::spawn(move || {
            let mut count = 0;
            while !ends.load(Ordering::Acquire) {
                count += 1;
                for told in administer(&endpoint, count) {
                    noted.lock().expect("no panic").push(told);
                }
            }
        });
        Self { stop, told, thread }
    }

    fn told(&self) -> Vec<Told> {
        self.told.lock().expect("no panic").clone()
    }

    fn end(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("the administrator ends");
    }
}

/// Some acts; those that were acknowledged. One that was cut off by a kill is done or not done.
fn administer(endpoint: &str, count: usize) -> Vec<Told> {
    let mut told = Vec::new();
    let hsmctl = |line: &str| -> Option<serde_json::Value> {
        let mut command = Command::new(binaries().join("hsmctl"));
        command
            .args(["--endpoint", endpoint, "-o", "json"])
            .args(line.split(' '));
        let run = run(&mut command);
        // The daemon is away: a moment for it to come back.
        if !run.good {
            std::thread::park_timeout(Duration::from_millis(50));
            return None;
        }
        serde_json::from_slice(&run.output).ok()
    };
    let mut tell = |act, serial: &str| {
        told.push(Told {
            act,
            serial: serial.to_owned(),
        });
    };
    if let Some(made) = hsmctl(&format!("partition create storm-{count}")) {
        let serial = made[0]["serial"].as_str().expect("a serial number").to_owned();
        tell("partition.create", &serial);
        if hsmctl(&format!("partition resize {serial} --max-objects {count}")).is_some() {
            tell("partition.modify", &serial);
        }
        if hsmctl(&format!("partition delete {serial} --yes")).is_some() {
            tell("partition.delete", &serial);
        }
    }
    if let Some(group) = hsmctl(&format!("group create storm-{count}")) {
        tell("group.create", "");
        let arn = group["arn"].as_str().expect("an ARN").to_owned();
        if hsmctl(&format!("group delete {arn} --yes")).is_some() {
            tell("group.delete", "");
        }
    }
    told
}

struct Storm {
    daemon: Served,
    random: Random,
    /// Of all workers that ever were, the running ones last.
    journals: Vec<PathBuf>,
    workers: Vec<Child>,
    /// The daemon runs under a plan that is to end it.
    armed: bool,
    /// Kills by a plan.
    planned: usize,
    /// Those of them before the daemon was ready.
    starts: usize,
}

impl Storm {
    fn stop_file(&self) -> PathBuf {
        self.daemon.folder().join("stop")
    }

    fn spawn(&mut self) -> Child {
        let number = self.journals.len() + 1;
        let journal = self.daemon.folder().join(format!("journal-{number}"));
        let mut worker = Command::new(env!("CARGO_BIN_EXE_hsmd-test-child"));
        worker.arg("storm").arg(self.daemon.module_copy()).arg(&journal);
        worker.arg(self.stop_file()).arg(number.to_string()).arg(PIN);
        self.journals.push(journal);
        worker.stdin(Stdio::null()).spawn().expect("a worker starts")
    }

    fn begin(&mut self) {
        let _ = fs::remove_file(self.stop_file());
        self.workers = (0..WORKERS).map(|_| self.spawn()).collect();
        self.all_work();
    }

    /// Each worker is to be in the midst of its work.
    fn all_work(&mut self) {
        let running = &self.journals[self.journals.len() - WORKERS..];
        let all = wait::until(wait::PATIENCE, || {
            running.iter().all(|journal| changes_in(journal) > 0).then_some(())
        });
        assert!(all.is_some(), "not every worker works\n{}", self.daemon.log());
    }

    /// Lets the workers work, kills the daemon, and starts it under the plan of the next round.
    fn round(&mut self, round: usize) {
        let before = changes(&self.journals);
        // A plan gets the time that it needs.
        let wanted = before
            + if self.armed {
                CHANGES
            } else {
                1 + self.random.below(CHANGES)
            };
        let daemon = &mut self.daemon;
        let journals = &self.journals;
        let went_on = wait::until(wait::PATIENCE, || {
            (daemon.ended().is_some() || changes(journals) >= wanted).then_some(())
        });
        assert!(
            went_on.is_some(),
            "round {round}: not {wanted} changes, {before} before\n{}",
            self.daemon.log()
        );
        if self.daemon.kill9() {
            self.planned += 1;
        }
        // Two kills of three come at a step of the store, one whenever it happens.
        let replaced = round % REPLACED == REPLACED - 1;
        let plain = round % 3 == 2 || replaced;
        let plan = plan::random_kill(&mut self.random, 5);
        let under = if plain { Vec::new() } else { plan };
        self.armed = !plain;
        if !self.daemon.launch_planned(&under) {
            self.planned += 1;
            self.starts += 1;
            self.armed = false;
        }
        if replaced {
            self.replace_worker();
        }
    }

    /// An application dies, too: what it was about to do is done or not.
    fn replace_worker(&mut self) {
        let mut worker = self.workers.remove(0);
        worker.kill().expect("a worker is killed");
        worker.wait().expect("a worker ends");
        // Its journal moves out of the last ones, those of the running workers.
        let new = self.spawn();
        self.workers.push(new);
        self.all_work();
    }

    fn end(&mut self) {
        // What counts is what the disk holds.
        self.daemon.restart();
        fs::write(self.stop_file(), "").expect("the stop file");
        for (number, worker) in self.workers.iter_mut().enumerate() {
            let status = worker.wait().expect("a worker ends");
            assert!(status.success(), "worker {number} ended with {status}");
        }
        self.daemon.restart();
    }
}

fn changes(journals: &[PathBuf]) -> usize {
    journals.iter().map(|journal| changes_in(journal)).sum()
}

/// Acknowledged changes in a journal so far.
fn changes_in(journal: &Path) -> usize {
    fs::read_to_string(journal)
        .unwrap_or_default()
        .matches("\nok\n")
        .count()
}

/// Whether the token holds what the journals say, and the figures.
fn verdict(daemon: &Served, journals: &[PathBuf]) -> (bool, String) {
    let read: Vec<storm::Journal> = journals
        .iter()
        .map(|journal| storm::read(&fs::read_to_string(journal).expect("a journal")))
        .collect();
    let entries: Vec<Entry> = read.iter().flat_map(|journal| journal.entries.clone()).collect();
    let broken: Vec<&String> = read.iter().flat_map(|journal| &journal.broken).collect();
    let mut errors: BTreeMap<&str, usize> = BTreeMap::new();
    for (error, count) in read.iter().flat_map(|journal| &journal.errors) {
        *errors.entry(error).or_default() += count;
    }
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
    module.login(session, CKU_USER, PIN).expect("C_Login");
    let held = holdings(&module, session);
    let verdict = storm::judge(&entries, &held);
    let signed: usize = read.iter().map(|journal| journal.signatures).sum();
    let acknowledged = entries.iter().filter(|entry| entry.end == End::Acknowledged).count();
    let figures = format!(
        "{} changes asked, {acknowledged} acknowledged, {} objects left, {signed} signatures verified, errors \
         {errors:?}\n{}broken: {} {:?}",
        entries.len(),
        held.len(),
        verdict.text(),
        broken.len(),
        &broken[..broken.len().min(10)],
    );
    every_key_signs(&module, session);
    let unlogged = crate::audit::holds_all(daemon, &entries, &module, session);
    let figures = format!(
        "{figures}\nnot as the audit log says: {} {:?}",
        unlogged.len(),
        &unlogged[..unlogged.len().min(10)]
    );
    let good = verdict.is_good() && unlogged.is_empty() && broken.is_empty() && acknowledged > 0 && signed > 0;
    (good, figures)
}

/// What the token holds, by the id that the workers gave.
pub(crate) fn holdings(module: &Module, session: Session) -> BTreeMap<String, Vec<Held>> {
    let mut held: BTreeMap<String, Vec<Held>> = BTreeMap::new();
    for object in module.find(session, &[]).expect("C_FindObjects") {
        let class = module.get(session, object, CKA_CLASS).expect("CKA_CLASS");
        let is = |wanted: CK_OBJECT_CLASS| class == wanted.to_ne_bytes();
        let kind = if is(CKO_DATA) { CKA_APPLICATION } else { CKA_ID };
        let text =
            |kind| String::from_utf8_lossy(&module.get(session, object, kind).expect("an attribute")).into_owned();
        held.entry(text(kind)).or_default().push(Held {
            public: is(CKO_PUBLIC_KEY),
            label: text(CKA_LABEL),
        });
    }
    held
}

/// Each private key that is left signs, and the public key beside it verifies.
fn every_key_signs(module: &Module, session: Session) {
    for private in module
        .find(session, &[number(CKA_CLASS, CKO_PRIVATE_KEY)])
        .expect("C_FindObjects")
    {
        let id = module.get(session, private, CKA_ID).expect("CKA_ID");
        let public = module
            .find(session, &[number(CKA_CLASS, CKO_PUBLIC_KEY), bytes(CKA_ID, &id)])
            .expect("C_FindObjects");
        let kind = module.get(session, private, CKA_KEY_TYPE).expect("CKA_KEY_TYPE");
        let edwards = kind == CKK_EC_EDWARDS.to_ne_bytes();
        let mechanism = Mechanism::Plain(if edwards { CKM_EDDSA } else { CKM_ECDSA });
        let id = String::from_utf8_lossy(&id).into_owned();
        let signature = module
            .sign(session, &mechanism, private, &[9; 32])
            .unwrap_or_else(|rv| panic!("{id}: {rv}"));
        // A destroy that was never answered may have left a public key behind, or a private one.
        for public in public {
            let verified = module.verify(session, &mechanism, public, &[9; 32], &signature);
            assert_eq!(verified, Ok(()), "{id}: a wrong signature");
        }
    }
}

//! The daemon is killed again and again while eight processes create, sign, label and destroy. INV-2: acknowledged is
//! durable. INV-10: a create is done once, however often it was retried. The judge is in `src/storm.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cryptoki_sys::*;
use hsmd_tests::daemon::{Daemon, LABEL, PIN};
use hsmd_tests::module::{Module, Session};
use hsmd_tests::storm::{self, End, Entry, Held};
use hsmd_tests::template::{Mechanism, bytes, number};
use hsmd_tests::{soak, wait};

const WORKERS: usize = 8;
const ROUNDS: usize = 30;
/// Acknowledged changes, over all workers, between two kills.
const CHANGES: usize = 40;

#[test]
fn nothing_acknowledged_is_lost_and_nothing_destroyed_comes_back() {
    let mut daemon = Daemon::start();
    let folder = daemon.folder().to_path_buf();
    let stop = folder.join("stop");
    let (_, module) = Module::copy(&daemon.module_path(), &daemon.client_file(), &folder);
    let journals: Vec<PathBuf> = (0..WORKERS)
        .map(|number| folder.join(format!("journal-{number}")))
        .collect();
    let mut workers: Vec<Child> = Vec::new();
    for (number, journal) in journals.iter().enumerate() {
        let mut worker = Command::new(env!("CARGO_BIN_EXE_hsmd-test-child"));
        worker
            .arg("storm")
            .arg(&module)
            .arg(journal)
            .arg(&stop)
            .arg((number + 1).to_string())
            .arg(PIN);
        workers.push(worker.stdin(Stdio::null()).spawn().expect("a worker starts"));
    }

    // A program that starts while there is no daemon sees no token; each is to be in the midst of its work.
    let all_work = wait::until(wait::PATIENCE, || {
        journals.iter().all(|journal| changes_in(journal) > 0).then_some(())
    });
    assert!(all_work.is_some(), "not every worker works\n{}", daemon.log());
    for round in 0..ROUNDS * soak() {
        let before = changes(&journals);
        let went_on = wait::until(wait::PATIENCE, || {
            (changes(&journals) >= before + CHANGES).then_some(())
        });
        assert!(
            went_on.is_some(),
            "round {round}: no {CHANGES} changes after {before}\n{}",
            daemon.log()
        );
        daemon.kill9();
        daemon.restart();
    }
    fs::write(&stop, "").expect("the stop file");
    for (number, worker) in workers.iter_mut().enumerate() {
        let status = worker.wait().expect("a worker ends");
        assert!(status.success(), "worker {number} ended with {status}");
    }
    // What counts is what the disk holds.
    daemon.restart();
    verdict(&daemon, &journals);
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

fn verdict(daemon: &Daemon, journals: &[PathBuf]) {
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
    println!("{figures}");
    assert!(verdict.is_good() && broken.is_empty(), "{figures}");
    assert!(acknowledged > 0 && signed > 0, "{figures}");
    every_key_signs(&module, session);
}

/// What the token holds, by the id that the workers gave.
fn holdings(module: &Module, session: Session) -> BTreeMap<String, Vec<Held>> {
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

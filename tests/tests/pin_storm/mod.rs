//! Many processes try PINs at the same time. INV-8: wrong ones count once, also when the daemon is killed between them, and
//! right ones never lock. Kills inside each write of the counter are in `login_kills`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use cryptoki_sys::*;
use hsmd_tests::daemon::{LABEL, PIN, SO_PIN};
use hsmd_tests::keeper::Keeper;
use hsmd_tests::module::Module;
use hsmd_tests::plan;
use hsmd_tests::rv::Rv;
use hsmd_tests::served::Served;
use hsmd_tests::soak::{Random, Soak};
use hsmd_tests::wait;

const PROCESSES: usize = 8;
/// Tries that lock.
const TRIES: usize = 10;
const WRONG: usize = 30;
const RIGHT: usize = 64;

/// What the processes were answered, by code.
type Answers = BTreeMap<String, usize>;

/// What the processes need of a daemon, which a keeper may own.
struct Files {
    folder: PathBuf,
    module: PathBuf,
}

impl Files {
    fn ready(&self) -> Vec<PathBuf> {
        let list = fs::read_dir(&self.folder).expect("the folder").flatten();
        let ready = list.filter(|entry| entry.file_name().to_string_lossy().starts_with("ready-"));
        ready.map(|entry| entry.path()).collect()
    }

    /// Starts so many processes, lets them begin together, and counts their answers.
    fn storm(&self, processes: usize, tries: usize, pin: &str, begun: impl FnOnce()) -> Answers {
        let go = self.folder.join("go");
        let _ = fs::remove_file(&go);
        let start = |number: usize| {
            let share = tries / processes + usize::from(number < tries % processes);
            let mut child = Command::new(env!("CARGO_BIN_EXE_hsmd-test-child"));
            child.arg("pins").arg(&self.module).arg(&self.folder);
            child.args([&share.to_string(), pin]);
            let child = child.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
            child.expect("a process starts")
        };
        let children: Vec<_> = (0..processes).map(start).collect();
        let all = wait::until(wait::PATIENCE, || (self.ready().len() == processes).then_some(()));
        assert!(all.is_some(), "not every process is ready");
        fs::write(&go, "").expect("the start");
        begun();
        let mut answers = Answers::new();
        for child in children {
            let output = child.wait_with_output().expect("a process ends");
            assert!(output.status.success(), "{}", output.status);
            for line in String::from_utf8_lossy(&output.stdout).lines() {
                *answers.entry(line.to_owned()).or_default() += 1;
            }
        }
        for file in self.ready() {
            fs::remove_file(file).expect("a file goes");
        }
        answers
    }
}

fn add(all: &mut Answers, more: Answers) {
    for (code, count) in more {
        *all.entry(code).or_default() += count;
    }
}

/// The role is locked: for the right PIN, too. The officer gives it a new one.
fn locked_until_the_officer_opens(module: &Module, old: &str, new: &str) -> Result<(), String> {
    let slot = module.slot_of(LABEL);
    let session = module.open_session(slot).map_err(|rv| rv.to_string())?;
    let right = module.login(session, CKU_USER, old);
    if right != Err(Rv(CKR_PIN_LOCKED)) {
        return Err(format!("the right PIN after the lock: {right:?}"));
    }
    let opened = module
        .login(session, CKU_SO, SO_PIN)
        .and_then(|()| module.init_pin(session, new))
        .and_then(|()| module.logout(session))
        .and_then(|()| module.close_session(session));
    opened.map_err(|rv| format!("the officer: {rv}"))
}

fn count(answers: &Answers, code: CK_RV) -> usize {
    answers.get(&Rv(code).to_string()).copied().unwrap_or(0)
}

#[test]
fn wrong_pins_from_many_processes_count_once_and_right_ones_never_lock() {
    let soak = Soak::new("pin-storm", 1);
    let mut random = Random::new(soak.seed);
    let mut daemon = Served::start(&[]);
    let files = Files {
        folder: daemon.folder().to_path_buf(),
        module: daemon.module_copy(),
    };
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let (mut pin, mut wrong, mut right) = (PIN.to_owned(), Answers::new(), Answers::new());
    let (mut findings, mut kills, mut tenths) = (Vec::new(), 0, BTreeMap::<usize, usize>::new());
    for round in 0..soak.rounds {
        // 64 right PINs at the same time: nobody is refused.
        let answers = files.storm(RIGHT, RIGHT, &pin, || {});
        if answers != Answers::from([("CKR_OK".to_owned(), RIGHT)]) {
            findings.push(format!("round {round}: right PINs: {answers:?}"));
        }
        add(&mut right, answers);
        // 30 wrong ones, and three kills between them.
        let keeper = Keeper::of(daemon);
        let kill = |keeper: &Keeper, random: &mut Random| {
            let plan = plan::kill_at(random.pick(&["pwrite64", "fdatasync"]), 1 + random.below(12));
            let plan = if random.below(2) == 0 { plan } else { Vec::new() };
            keeper.kill(Duration::from_micros(random.below(20_000) as u64), plan);
        };
        let answers = files.storm(PROCESSES, WRONG, "wrong-pin", || {
            (0..3).for_each(|_| kill(&keeper, &mut random))
        });
        keeper.wait_beyond(2, wait::PATIENCE);
        kills += keeper.ends.all();
        daemon = keeper.give_back();
        daemon.restart();
        let refused = count(&answers, CKR_PIN_INCORRECT);
        *tenths.entry(refused).or_default() += 1;
        if refused > TRIES || refused + count(&answers, CKR_PIN_LOCKED) != WRONG {
            findings.push(format!("round {round}: wrong PINs: {answers:?}"));
        }
        add(&mut wrong, answers);
        let new = format!("fresh-{round}");
        if let Err(sentence) = locked_until_the_officer_opens(&module, &pin, &new) {
            findings.push(format!("round {round}: {sentence}"));
            break;
        }
        pin = new;
        soak.progress(round + 1, || format!("wrong {wrong:?}, right {right:?}"));
    }
    let figures = format!(
        "{kills} kills, right PINs {right:?}, wrong PINs {wrong:?}, rounds by number of wrong PINs answered {tenths:?}; \
         findings: {} {:?}",
        findings.len(),
        &findings[..findings.len().min(5)]
    );
    soak.verdict(findings.is_empty(), &figures);
}

//! The processes that tests start beside themselves: workers of the kill storm, callers with wrong arguments, programs
//! that fork. A crash ends this process and not the test. What it does stands in its first argument; it ends with 0 when
//! all went as the standard says, and writes to its standard output what did not.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a test's child process: its output is its report"
)]

mod fleet_worker;
mod forks;
mod full_disk;
mod hostile;
mod leak_client;
mod leak_scan;
mod old_keys;
mod order;
mod pins;
mod program;
mod random_calls;
mod storm_worker;

use std::path::Path;
use std::process::ExitCode;

use cryptoki_sys::{CKA_LABEL, CKM_AES_CBC, CKU_USER};
use hsmd_tests::daemon::LABEL;
use hsmd_tests::module::{Module, Session};
use hsmd_tests::template::{Mechanism, bytes};

/// What one run found wrong.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<String>,
}

impl Findings {
    /// Notes a sentence unless `good`.
    pub(crate) fn expect(&mut self, good: bool, sentence: impl FnOnce() -> String) {
        if !good {
            self.list.push(sentence());
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut findings = Findings::default();
    match words.as_slice() {
        ["storm", module, journal, stop, number, pin] => {
            storm_worker::run(Path::new(module), Path::new(journal), Path::new(stop), number, pin);
        }
        ["fleet", module, notes, stop, number, pin] => {
            fleet_worker::run(Path::new(module), Path::new(notes), Path::new(stop), number, pin);
        }
        ["hostile", module, pin] => hostile::run(&Module::load(Path::new(module)), pin, &mut findings),
        ["order", module, pin] => order::run(&Module::load(Path::new(module)), pin, &mut findings),
        ["random", module, pin, seed, calls] => {
            let (seed, calls) = (seed.parse().expect("a number"), calls.parse().expect("a number"));
            random_calls::run(&Module::load(Path::new(module)), pin, seed, calls, &mut findings);
        }
        ["spoiled", module, pin, seed, calls] => {
            let (seed, calls) = (seed.parse().expect("a number"), calls.parse().expect("a number"));
            let module = Module::load(Path::new(module));
            random_calls::over_spoiled_replies(&module, pin, seed, calls, &mut findings);
        }
        ["forks", module, pin] => forks::run(&Module::load(Path::new(module)), pin, &mut findings),
        ["cycles", module, pin, rounds] => {
            forks::cycles(
                &Module::load(Path::new(module)),
                pin,
                rounds.parse().expect("a number"),
                &mut findings,
            );
        }
        ["full-disk", folder, rounds, seed] => {
            let (rounds, seed) = (rounds.parse().expect("a number"), seed.parse().expect("a number"));
            full_disk::run(Path::new(folder), rounds, seed, &mut findings);
        }
        ["leak-scan", rounds, seed] => {
            let (rounds, seed) = (rounds.parse().expect("a number"), seed.parse().expect("a number"));
            leak_scan::run(rounds, seed, &mut findings);
        }
        ["leak-client", module] => leak_client::run(Module::load(Path::new(module))),
        ["program", module, file] => {
            let text = std::fs::read_to_string(file).expect("a program");
            program::run(&Module::load(Path::new(module)), &text);
        }
        ["old-keys", module, "make", pin] => old_keys::make(&Module::load(Path::new(module)), pin),
        ["old-keys", module, "show", pin] => old_keys::show(&Module::load(Path::new(module)), pin),
        ["pins", module, folder, tries, pin] => {
            let tries = tries.parse().expect("a number");
            pins::run(&Module::load(Path::new(module)), Path::new(folder), tries, pin);
        }
        ["hold", module, pin, label] => hold(&Module::load(Path::new(module)), pin, label),
        _ => findings.list.push(format!("unknown arguments: {words:?}")),
    }
    for sentence in &findings.list {
        println!("{sentence}");
    }
    if findings.list.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Uses a key and stays, until its input ends, so that a test can look at its memory.
fn hold(module: &Module, pin: &str, label: &str) {
    let session = logged_in(module, pin);
    let key = module.find(session, &[bytes(CKA_LABEL, label)]).expect("C_FindObjects")[0];
    let cbc = Mechanism::Bytes(CKM_AES_CBC, vec![0; 16]);
    module.encrypt(session, &cbc, key, &[0; 16]).expect("C_Encrypt");
    println!("used");
    let mut rest = String::new();
    std::io::stdin().read_line(&mut rest).expect("the input");
}

/// Initialises the module and logs the user in on the token of the test.
pub(crate) fn logged_in(module: &Module, pin: &str) -> Session {
    module.initialize().expect("C_Initialize");
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
    module.login(session, CKU_USER, pin).expect("C_Login");
    session
}

//! Programs that fork and programs that load the module again and again. What they do is in `src/bin/test_child`.

use std::process::Command;

use hsmd_tests::daemon::{Daemon, PIN};
use hsmd_tests::module::Module;
use hsmd_tests::{peers, soak};

// INV-9: a child after fork, and a host that initialises for ever, are safe.
fn child(daemon: &Daemon, verb: &str, further: &[&str]) {
    let (_, module) = Module::copy(&daemon.module_path(), &daemon.client_file(), daemon.folder());
    let mut command = Command::new(env!("CARGO_BIN_EXE_hsmd-test-child"));
    peers::succeed(command.arg(verb).arg(module).arg(PIN).args(further));
}

#[test]
fn a_forked_child_starts_afresh_and_its_parent_goes_on() {
    child(&Daemon::start(), "forks", &[]);
}

#[test]
fn initialise_and_finalise_leak_neither_files_nor_threads() {
    let rounds = (30 * soak()).to_string();
    child(&Daemon::start(), "cycles", &[&rounds]);
}

//! Calls that no correct program makes, in a process of their own: the specified code, no crash, no effect, no word on
//! standard error. INV-9: the host application is safe.

mod calls;
pub(crate) mod watched;

use std::process::Command;

use hsmd_tests::daemon::{Daemon, PIN};
use hsmd_tests::module::Module;
use hsmd_tests::peers;

fn child(daemon: &Daemon, verb: &str, further: &[&str]) {
    let (_, module) = Module::copy(&daemon.module_path(), &daemon.client_file(), daemon.folder());
    let mut command = Command::new(env!("CARGO_BIN_EXE_hsmd-test-child"));
    let run = peers::succeed(command.arg(verb).arg(module).arg(PIN).args(further));
    // The child writes to its standard output only; what stands on the other came from the module.
    let said = String::from_utf8_lossy(&run.output);
    assert!(said.is_empty(), "{}", run.text);
    assert_eq!(run.error, "", "the module wrote to standard error");
}

#[test]
fn nulls_wrong_handles_and_absurd_lengths_get_the_specified_code() {
    let mut daemon = Daemon::start();
    child(&daemon, "hostile", &[]);
    assert!(daemon.is_alive());
}

#[test]
fn calls_in_the_wrong_order_get_the_specified_code() {
    child(&Daemon::start(), "order", &[]);
}

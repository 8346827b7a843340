//! `cargo xtask soak planted`: the judges of the fleet are judged. hsmd is built with the feature `planted`, by which it makes
//! a mistake on purpose; the storm runs over it, once for each mistake, and must find it. The simulator must find the same mistakes, made
//! by its driver. The same build can say that it is the next release: the fleet's format level is raised with it. The binaries lie in
//! a target folder of their own, and no other step uses them.

use std::path::PathBuf;
use std::process::Command;

use crate::ci;
use crate::setup;
use crate::steps::{self, Steps, Tally};
use crate::workspace::Workspace;

/// What the list of programs says.
pub(crate) const WHAT: &str =
    "the fleet's storm and simulator over mistakes made on purpose, which they must find; two releases in a fleet";

/// The mistakes, by the names that `keystore/src/planted.rs` knows.
const MISTAKES: [&str; 2] = ["no-fencing", "early-acknowledgement"];
/// The mistakes that the simulator's driver makes, among them the two.
const SIMULATED: &str = "a_build_";
/// As what the tests of the format level run, and which.
const RELEASE: [&str; 2] = ["level-2", "fleet::levels"];
/// Faults of each storm, and the row of the table with which it begins: daemons lose etcd, disks are slow and full, etcd loses its leader.
const ROUNDS: &str = "6";
const FROM: &str = "4";

/// Runs all of it; whether everything is good.
pub(crate) fn run(workspace: &Workspace) -> bool {
    let mut steps = Steps::default();
    steps.step("setup", |_| setup::everything(workspace));
    steps.step("planted build", |_| build_planted(workspace));
    steps.step("build", |_| ci::build(workspace));
    steps.step("simulator", |tally| simulator(workspace, tally));
    for mistake in MISTAKES {
        steps.step(mistake, |tally| storm(workspace, mistake, tally));
    }
    steps.step(RELEASE[0], |tally| two_releases(workspace, tally));
    steps.finish()
}

/// A target folder below the workspace's own: what is built there has the mistakes, and replaces nothing.
fn target(workspace: &Workspace) -> PathBuf {
    workspace.binaries("planted")
}

/// Builds the programs that a node and its clients run, and no tests.
fn build_planted(workspace: &Workspace) -> Result<(), String> {
    let mut command = workspace.cargo();
    command.args(["build", "-p", "hsmd", "-p", "hsmd-pkcs11"]);
    command.args(["--features", "hsmd/planted"]).arg("--target-dir");
    steps::run(command.arg(target(workspace)).args(ci::PROFILE))
}

/// The tests, over those programs.
fn tester(workspace: &Workspace, planted: &str) -> Command {
    let mut command = ci::tester(workspace);
    command
        .args(ci::TESTS)
        .env("HSMD_BIN_DIR", target(workspace).join("ci"))
        .env("HSMD_PLANTED", planted);
    command
}

fn simulator(workspace: &Workspace, tally: &mut Tally) -> Result<(), String> {
    let mut command = ci::tester(workspace);
    command.args(ci::TESTS).args(["--", SIMULATED, "--nocapture"]);
    ran(&mut command, tally)
}

fn storm(workspace: &Workspace, mistake: &str, tally: &mut Tally) -> Result<(), String> {
    let mut command = tester(workspace, mistake);
    command.env("HSMD_ROUNDS", ROUNDS).env("HSMD_SEED", FROM);
    command.args(["--", "fleet_storm::", "--nocapture", "--test-threads=1"]);
    ran(&mut command, tally)
}

fn two_releases(workspace: &Workspace, tally: &mut Tally) -> Result<(), String> {
    let mut command = tester(workspace, RELEASE[0]);
    command.args(["--", RELEASE[1], "--nocapture"]);
    ran(&mut command, tally)
}

/// Runs the tests, of which there is one at least.
fn ran(command: &mut Command, tally: &mut Tally) -> Result<(), String> {
    let before = tally.passed;
    steps::run_tests(command, tally)?;
    if tally.passed == before {
        return Err("no test ran".to_owned());
    }
    Ok(())
}

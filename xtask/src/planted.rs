//! `cargo xtask soak planted`: the judges of the fleet are judged. hsmd is built with the feature `planted`, by which it makes
//! a mistake on purpose; the storm runs over it, once for each mistake, and must find it. The simulator must find the same mistakes, made
//! by its driver. The same build can say that it is the next release: the fleet's format level is raised with it. The programs lie in
//! a folder of their own, and no other step uses them.

use std::fs;
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
/// What a node and its clients run.
const PROGRAMS: [&str; 3] = ["hsmd", "hsmctl", "libhsmd_pkcs11.so"];
/// Faults of each storm, and the row of the table with which it begins: daemons lose etcd, disks are slow and full, etcd loses its leader.
const ROUNDS: &str = "6";
const FROM: &str = "4";

/// Runs all of it; whether everything is good.
pub(crate) fn run(workspace: &Workspace) -> bool {
    let mut steps = Steps::default();
    steps.step("setup", |_| setup::everything(workspace));
    steps.step("build", |_| build_planted(workspace));
    steps.step("simulator", |tally| simulator(workspace, tally));
    for mistake in MISTAKES {
        steps.step(mistake, |tally| storm(workspace, mistake, tally));
    }
    steps.step(RELEASE[0], |tally| two_releases(workspace, tally));
    steps.finish()
}

/// Where the programs with the mistakes are, beside those of the profile.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.binaries("planted")
}

/// Builds the programs that a node and its clients run, with dependencies and features of all other steps, and puts them aside. The build
/// that follows puts the right ones back in their place, and so would any other.
fn build_planted(workspace: &Workspace) -> Result<(), String> {
    let mut command = workspace.cargo();
    command.args(["build", "--workspace", "--lib", "--bins", "--features", "hsmd/planted"]);
    // A target that needs what tests need: without one, dependencies have other features, and are compiled anew.
    command.args(["--bench", "provider"]);
    let built = steps::run(command.args(ci::PROFILE)).and_then(|()| put_aside(workspace));
    ci::build(workspace)?;
    built
}

fn put_aside(workspace: &Workspace) -> Result<(), String> {
    let (from, to) = (workspace.binaries("ci"), folder(workspace));
    fs::create_dir_all(&to).map_err(|e| format!("{}: {e}", to.display()))?;
    for program in PROGRAMS {
        // Not into the file of an earlier run, which may be a link.
        let _ = fs::remove_file(to.join(program));
        fs::copy(from.join(program), to.join(program)).map_err(|e| format!("{program}: {e}"))?;
    }
    Ok(())
}

/// The tests, over those programs.
fn tester(workspace: &Workspace, planted: &str) -> Command {
    let mut command = ci::tester(workspace);
    command
        .args(ci::TESTS)
        .env("HSMD_BIN_DIR", folder(workspace))
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

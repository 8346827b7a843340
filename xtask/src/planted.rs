//! `cargo xtask soak planted`: the judge of the fleet's storm is judged. hsmd is built with the feature `planted`, by which it makes
//! a mistake on purpose; the storm runs over it, once for each mistake, and must find it. The binaries lie in a folder of their own,
//! and no other step uses them.

use std::fs;
use std::path::PathBuf;

use crate::ci;
use crate::setup;
use crate::steps::{self, Steps, Tally};
use crate::workspace::Workspace;

/// What the list of programs says.
pub(crate) const WHAT: &str = "the fleet's storm over builds with a mistake made on purpose; it must find each";

/// The mistakes, by the names that `keystore/src/planted.rs` knows.
const MISTAKES: [&str; 2] = ["no-fencing", "early-acknowledgement"];
/// Faults of each storm, and the row of the table with which it begins: daemons lose etcd, disks are slow, etcd its leader.
const ROUNDS: &str = "5";
const FROM: &str = "4";

/// Runs all of it; whether everything is good.
pub(crate) fn run(workspace: &Workspace) -> bool {
    let mut steps = Steps::default();
    steps.step("setup", |_| setup::everything(workspace));
    steps.step("planted build", |_| build_planted(workspace));
    steps.step("build", |_| ci::build(workspace));
    for mistake in MISTAKES {
        steps.step(mistake, |tally| storm(workspace, mistake, tally));
    }
    steps.finish()
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.binaries("ci").with_file_name("planted")
}

/// Builds with the features of the whole workspace, and keeps the programs before the next step builds them without the mistakes.
fn build_planted(workspace: &Workspace) -> Result<(), String> {
    let mut command = workspace.cargo();
    command.args(["build", "--workspace", "--bins", "--lib", "--features", "hsmd/planted"]);
    steps::run(command.args(ci::PROFILE))?;
    let (from, to) = (workspace.binaries("ci"), folder(workspace));
    fs::create_dir_all(&to).map_err(|e| format!("{}: {e}", to.display()))?;
    for file in ["hsmd", "hsmctl", "libhsmd_pkcs11.so"] {
        fs::copy(from.join(file), to.join(file)).map_err(|e| format!("{file}: {e}"))?;
    }
    Ok(())
}

fn storm(workspace: &Workspace, mistake: &str, tally: &mut Tally) -> Result<(), String> {
    let mut command = ci::tester(workspace);
    command
        .args(["-p", "hsmd-tests"])
        .env("HSMD_BIN_DIR", folder(workspace));
    command
        .env("HSMD_PLANTED", mistake)
        .env("HSMD_ROUNDS", ROUNDS)
        .env("HSMD_SEED", FROM);
    command.args(["--", "fleet_storm::", "--nocapture", "--test-threads=1"]);
    let before = tally.passed;
    steps::run_tests(&mut command, tally)?;
    if tally.passed == before {
        return Err("no test ran".to_owned());
    }
    Ok(())
}

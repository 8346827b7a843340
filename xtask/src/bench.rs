//! `cargo xtask bench`: builds what users run and compares it with peers; the measuring is `benches/src/bin/p11bench`.

use std::process::{Command, ExitCode};

use crate::setup::{self, Need};
use crate::steps;
use crate::workspace::Workspace;

/// Builds daemon, module and `p11bench` in the profile `release` and runs `p11bench ARGUMENTS`.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode, String> {
    setup::run(Need::Everything)?;
    let packages = ["-p", "hsmd", "-p", "hsmd-pkcs11", "-p", "hsmd-benches"];
    steps::run(workspace.cargo().args(["build", "--release"]).args(packages))?;
    let folder = workspace.binaries("release");
    let mut bench = Command::new(folder.join("p11bench"));
    steps::run(bench.args(arguments).env("HSMD_BIN_DIR", &folder))?;
    Ok(ExitCode::SUCCESS)
}

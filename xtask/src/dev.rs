//! `cargo xtask dev`: builds what an application needs and becomes `hsmd dev`.

use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::setup::{self, Need};
use crate::steps;
use crate::workspace::Workspace;

/// Builds daemon, tool and module in the profile `dev` and replaces this process by `hsmd dev ARGUMENTS`.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<Infallible, String> {
    setup::run(Need::Build)?;
    steps::run(workspace.cargo().args([
        "build",
        "--package",
        "hsmd",
        "--package",
        "hsmd-aws",
        "--package",
        "hsmd-pkcs11",
    ]))?;
    let daemon = workspace.binaries("dev").join("hsmd");
    // exec, not spawn: the daemon gets the terminal's signals, and a supervisor sees its exit code.
    let error = Command::new(&daemon).arg("dev").args(arguments).exec();
    Err(format!("{} does not start: {error}", daemon.display()))
}

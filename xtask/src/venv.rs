//! The Python libraries of the tests, in an environment of their own: `target/venv`. Which ones, and which versions, is in
//! `tests/tests/python/requirements.txt`; nothing is installed for the user or the system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps;
use crate::workspace::Workspace;

const REQUIREMENTS: &str = "tests/tests/python/requirements.txt";

/// What `bench --aws` compares with, and its client.
const MOTO: [&str; 2] = ["moto[server,kms]", "boto3"];

/// Makes an environment with moto, unless it is there; gives its folder.
pub(crate) fn moto(workspace: &Workspace) -> Result<PathBuf, String> {
    let folder = workspace.binaries("venv-moto");
    if !folder.join("bin/moto_server").exists() {
        println!("setup: installing {} in {}", MOTO.join(", "), folder.display());
        steps::run(Command::new(python()).args(["-m", "venv", "--clear"]).arg(&folder))?;
        steps::run(
            Command::new(folder.join("bin/pip"))
                .args(["install", "--quiet"])
                .args(MOTO),
        )?;
    }
    Ok(folder)
}

/// Debian's own, since python3-venv is made for it; another one may come first in PATH.
fn python() -> &'static Path {
    let debian = Path::new("/usr/bin/python3");
    if debian.exists() { debian } else { Path::new("python3") }
}

/// Makes the environment, or makes it again when the requirements are others.
pub(crate) fn run(workspace: &Workspace) -> Result<(), String> {
    let folder = workspace.binaries("venv");
    let wanted_file = workspace.root.join(REQUIREMENTS);
    let wanted = fs::read_to_string(&wanted_file).map_err(|e| format!("{REQUIREMENTS}: {e}"))?;
    // Written last: an environment without it was not finished.
    let installed = folder.join("requirements.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        println!("setup: the Python libraries of the tests are there");
        return Ok(());
    }
    println!(
        "setup: installing {} in {}",
        wanted.split_whitespace().collect::<Vec<_>>().join(", "),
        folder.display()
    );
    steps::run(Command::new(python()).args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut pip = Command::new(folder.join("bin/pip"));
    steps::run(pip.args(["install", "--quiet", "--requirement"]).arg(&wanted_file))?;
    fs::write(&installed, wanted).map_err(|e| format!("{}: {e}", installed.display()))
}

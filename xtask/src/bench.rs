//! `cargo xtask bench`: builds what users run and compares it with peers; the measuring is `benches/src/bin/p11bench`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::setup::{self, Need};
use crate::steps;
use crate::venv;
use crate::workspace::Workspace;

/// What `bench --help` prints: the file that `p11bench` prints too.
const HELP: &str = include_str!("../../benches/src/bin/p11bench/help.txt");

/// What a comparison needs: the programs, and the Debian packages that bring them.
const PEERS: [(&str, &str); 3] = [
    ("softhsm2-util", "softhsm2"),
    ("p11-kit", "p11-kit"),
    ("/usr/share/doc/p11-kit-modules", "p11-kit-modules"),
];

/// What kryoptic is built with.
const KRYOPTIC: [(&str, &str); 4] = [
    ("pkcs11-tool", "opensc"),
    ("/usr/share/doc/libssl-dev", "libssl-dev"),
    ("/usr/share/doc/libsqlite3-dev", "libsqlite3-dev"),
    ("/usr/share/doc/libclang-dev", "libclang-dev"),
];

/// Builds daemon, module and `p11bench` in the profile `release` and runs `p11bench` with the arguments.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode, String> {
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    if has("--help") || has("-h") || has("help") {
        print!("{HELP}");
        return Ok(ExitCode::SUCCESS);
    }
    if has("--aws") {
        return aws(workspace, arguments);
    }
    // Said now and not after minutes of building.
    if has("--compare-softhsm") && !has("--render") {
        missing("--compare-softhsm", &PEERS, setup::is_present)?;
    }
    let kryoptic = has("--compare-kryoptic") && !has("--render");
    if kryoptic {
        missing("--compare-kryoptic", &KRYOPTIC, setup::is_present)?;
    }
    if !has("--no-build") {
        setup::run(Need::Build)?;
        let packages = ["-p", "hsmd", "-p", "hsmd-pkcs11", "-p", "hsmd-benches"];
        steps::run(workspace.cargo().args(["build", "--release"]).args(packages))?;
    }
    let folder = workspace.binaries("release");
    let mut bench = Command::new(folder.join("p11bench"));
    if kryoptic {
        bench.arg("--kryoptic").arg(build_kryoptic(workspace)?);
    }
    let page = workspace.root.join("docs/performance.md").display().to_string();
    steps::run(bench.args(passed_on(arguments, &page)).env("HSMD_BIN_DIR", &folder))?;
    Ok(ExitCode::SUCCESS)
}

/// kryoptic's module, from crates.io: `benches/kryoptic`, a workspace of its own with a lock file and a target folder.
fn build_kryoptic(workspace: &Workspace) -> Result<PathBuf, String> {
    let folder = workspace.binaries("ci").with_file_name("kryoptic");
    let mut command = workspace.cargo();
    command.args([
        "build",
        "--release",
        "--locked",
        "--manifest-path",
        "benches/kryoptic/Cargo.toml",
    ]);
    steps::run(command.arg("--target-dir").arg(&folder))?;
    Ok(folder.join("release/libkryoptic_pkcs11.so"))
}

/// KMS beside moto: `benches/src/bin/awsbench`. moto comes from PyPI.
fn aws(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode, String> {
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    if !has("--no-build") {
        setup::run(Need::Build)?;
        let packages = [
            "-p",
            "hsmd",
            "-p",
            "hsmd-aws",
            "-p",
            "hsmd-pkcs11",
            "-p",
            "hsmd-benches",
        ];
        steps::run(workspace.cargo().args(["build", "--release"]).args(packages))?;
    }
    let venv = venv::moto(workspace)?;
    let folder = workspace.binaries("release");
    let mut bench = Command::new(folder.join("awsbench"));
    bench.arg("--venv").arg(venv).env("HSMD_BIN_DIR", &folder);
    if has("--write-docs") {
        bench.arg("--docs").arg(workspace.root.join("docs/performance.md"));
    }
    steps::run(&mut bench)?;
    Ok(ExitCode::SUCCESS)
}

/// The arguments of `p11bench`: it knows files, not the workspace.
fn passed_on(arguments: &[String], page: &str) -> Vec<String> {
    let mut words = Vec::new();
    for argument in arguments {
        match argument.as_str() {
            "--no-build" | "--compare-kryoptic" => {}
            "--write-docs" => words.extend(["--docs".to_owned(), page.to_owned()]),
            other => words.push(other.to_owned()),
        }
    }
    words
}

fn missing(option: &str, needs: &[(&str, &str)], is_present: impl Fn(&str) -> bool) -> Result<(), String> {
    let packages: Vec<&str> = needs
        .iter()
        .filter(|(what, _)| !is_present(what))
        .map(|(_, package)| *package)
        .collect();
    if packages.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{option}: not installed: {packages}; `apt-get install {packages}` or `cargo xtask setup`",
        packages = packages.join(" ")
    ))
}

#[cfg(test)]
mod tests {
    use super::{PEERS, missing, passed_on};

    #[test]
    fn the_page_of_the_workspace_is_named_and_the_rest_is_passed_on() {
        let arguments = ["--quick", "--write-docs", "--no-build", "--rows", "find-10"].map(str::to_owned);
        let words = passed_on(&arguments, "docs/performance.md");
        assert_eq!(words, ["--quick", "--docs", "docs/performance.md", "--rows", "find-10"]);
    }

    #[test]
    fn an_absent_peer_is_named_with_its_package() {
        let missing = |is_present: fn(&str) -> bool| missing("--compare-softhsm", &PEERS, is_present);
        assert!(missing(|_| true).is_ok());
        let sentence = missing(|what| what == "softhsm2-util").expect_err("two are missing");
        assert!(
            sentence.contains("apt-get install p11-kit p11-kit-modules"),
            "{sentence}"
        );
    }
}

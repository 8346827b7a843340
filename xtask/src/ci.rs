//! `cargo xtask ci` and `cargo xtask soak`: which steps, in which order. How steps run is in steps.rs.
//!
//! Every step uses the one profile `ci` and the features of the whole workspace, so that aws-lc, which takes a minute,
//! is compiled once (docs/decisions/0004-one-profile-for-ci.md).

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::setup;
use crate::steps::{self, Steps, Tally};
use crate::workspace::Workspace;
use crate::{links, tidy};

pub(crate) const PROFILE: [&str; 2] = ["--profile", "ci"];
/// The features of the build without C (docs/providers.md).
pub(crate) const PORTABLE: [&str; 3] = ["--no-default-features", "--features", "portable"];

/// Tests that a filter picks by name. One package alone would have other features than the workspace: nearly all dependencies would be
/// compiled anew.
pub(crate) const TESTS: [&str; 2] = ["--workspace", "--tests"];

/// Everything that a change must pass.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode, String> {
    let mut steps = Steps::default();
    steps.step("setup", |_| setup::everything(workspace));
    steps.step("format", |_| {
        steps::run(workspace.cargo().args(["fmt", "--all", "--check"]))
    });
    steps.step("tidy", |_| {
        let report = tidy::check(workspace)?;
        report.print();
        if report.errors.is_empty() {
            Ok(())
        } else {
            Err(format!("{} findings", report.errors.len()))
        }
    });
    steps.step("clippy", |_| {
        let mut clippy = workspace.cargo();
        clippy.args(["clippy", "--workspace", "--all-targets"]).args(PROFILE);
        steps::run(clippy.args(["--", "-D", "warnings", "-D", "clippy::too_many_lines"]))
    });
    steps.step("build", |_| build(workspace));
    steps.step("tests", |tally| tests(workspace, tally, None, &soak_factor("1")));
    steps.step("portable", |_| portable(workspace));
    steps.step("docs", |_| docs(workspace));
    println!(
        "\naws-lc was compiled {} time(s) in this target folder",
        aws_lc_builds(&workspace.binaries("ci"))
    );
    Ok(if steps.finish() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The same tests, longer. Programs with rounds of their own are in soak.rs.
pub(crate) fn soak(workspace: &Workspace, name: Option<&str>) -> Result<ExitCode, String> {
    let mut steps = Steps::default();
    steps.step("setup", |_| setup::everything(workspace));
    steps.step("build", |_| build(workspace));
    let factor = soak_factor("10");
    println!("\nHSMD_SOAK={factor}");
    steps.step("tests", |tally| tests(workspace, tally, name, &factor));
    Ok(if steps.finish() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn soak_factor(default: &str) -> String {
    std::env::var("HSMD_SOAK").unwrap_or_else(|_| default.to_owned())
}

/// Binaries, module, tests and benches in one go: cargo builds neither another package's binaries nor its cdylib for a
/// test, and other targets would be other features, which means compiling dependencies twice.
pub(crate) fn build(workspace: &Workspace) -> Result<(), String> {
    steps::run(
        workspace
            .cargo()
            .args(["build", "--workspace", "--all-targets"])
            .args(PROFILE),
    )
}

fn tests(workspace: &Workspace, tally: &mut Tally, name: Option<&str>, soak: &str) -> Result<(), String> {
    let mut command = tester(workspace);
    command.args(["--workspace", "--no-fail-fast"]).env("HSMD_SOAK", soak);
    if let Some(name) = name {
        command.arg(name);
    }
    let before = tally.passed;
    steps::run_tests(&mut command, tally)?;
    if tally.passed == before {
        return Err("no test ran".to_owned());
    }
    Ok(())
}

/// `cargo test` in the profile of all steps; which tests, the caller adds.
pub(crate) fn tester(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command.arg("test").args(PROFILE);
    command.env("HSMD_BIN_DIR", workspace.binaries("ci"));
    // Variables with which a developer's shell points programs at a token of their own.
    for foreign in ["HSMD_CONFIG", "HSMD_PIN", "HSMD_SO_PIN", "ChrystokiConfigurationPath"] {
        command.env_remove(foreign);
    }
    command
}

/// Whether the crate that computes compiles without a C compiler, which `CC` is not. Its tests, and daemon and module in that build, are
/// `cargo xtask soak portable`: nearly all dependencies once more. That both providers do the same is among the tests of the workspace.
fn portable(workspace: &Workspace) -> Result<(), String> {
    let mut check = workspace.cargo();
    check.arg("check").args(PROFILE).args(["-p", "hsmd-crypto"]);
    steps::run(check.args(PORTABLE).env("CC", "/bin/false"))
}

fn docs(workspace: &Workspace) -> Result<(), String> {
    let mut command = workspace.cargo();
    command
        .args(["doc", "--workspace", "--no-deps", "--quiet"])
        .args(PROFILE);
    steps::run(command.env("RUSTDOCFLAGS", "-D warnings"))?;
    let broken = links::check(&workspace.texts()?);
    for sentence in &broken {
        println!("{sentence}");
    }
    if broken.is_empty() {
        Ok(())
    } else {
        Err(format!("{} broken links", broken.len()))
    }
}

/// Outputs of aws-lc-sys' build script: more than one in a fresh folder means that two steps disagree on features.
fn aws_lc_builds(binaries: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(binaries.join("build")) else {
        return 0;
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("aws-lc-sys-"))
        .filter(|entry| entry.path().join("out").is_dir())
        .count()
}

//! `cargo xtask soak portable`: the build without a C compiler (docs/providers.md), which `CC` is not here. The tests of the crate that
//! computes, and whether daemon and module compile. CI compiles that crate alone: all of it is most dependencies once more.

use crate::ci;
use crate::setup;
use crate::steps::{self, Steps};
use crate::workspace::Workspace;

/// What the list of programs says.
pub(crate) const WHAT: &str =
    "the provider portable without a C compiler: its tests, and whether daemon and module compile with it";

/// Runs all of it; whether everything is good.
pub(crate) fn run(workspace: &Workspace) -> bool {
    let mut steps = Steps::default();
    steps.step("setup", |_| setup::everything(workspace));
    steps.step("tests", |tally| {
        let mut tests = ci::tester(workspace);
        tests.args(["-p", "hsmd-crypto"]).args(ci::PORTABLE);
        steps::run_tests(tests.env("CC", "/bin/false"), tally)
    });
    steps.step("check", |_| {
        let mut check = workspace.cargo();
        check
            .arg("check")
            .args(ci::PROFILE)
            .args(["-p", "hsmd", "-p", "hsmd-pkcs11"]);
        steps::run(check.args(ci::PORTABLE).env("CC", "/bin/false"))
    });
    steps.finish()
}

//! The developer's commands: `cargo xtask setup | dev | ci | soak | bench | tidy`.
//!
//! It is not part of the product and nothing depends on it: std and a JSON parser, so that it builds in seconds on a
//! fresh machine. README.md shows the two commands that matter.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program for developers"
)]

mod aws_sdk;
mod bench;
mod ci;
mod dev;
mod fuzz;
mod links;
mod planted;
mod portable;
mod setup;
mod soak;
mod steps;
mod tidy;
mod trouble;
mod venv;
mod workspace;

use std::process::ExitCode;

use workspace::Workspace;

const HELP: &str = "\
The developer's commands of hsmd.

Usage: cargo xtask <COMMAND> [ARGS]

Commands:
  setup        install what is missing on Debian 12: the C compiler and the peer programs of the tests
  dev [ARGS]   build hsmd, hsmctl and the PKCS#11 module, then run `hsmd dev ARGS` in the foreground
  ci           everything that a change must pass: format, tidy, clippy, build, all tests, docs
  soak NAME [--rounds N] [--seed S]
               one of the programs that kill, fill, break, scan and fuzz, at long counts (`soak --list` shows them);
               without NAME or with another: the tests whose name contains it, HSMD_SOAK times as long (10 unless set)
  bench [ARGS] release build, measured; compared with SoftHSM2 and any module (`bench --help`: its options)
  fuzz NAME [--seconds N] [--input FILE]
               one fuzz target under libFuzzer, or `all` (`fuzz --list` shows them; docs/fuzzing.md)
  tidy         the rules of the tree that no compiler knows (docs/architecture.md, \"Rules that are tests\")
  help         this text

Examples:
  cargo xtask dev                                        # a token named `demo`, instructions on the screen
  cargo xtask dev --free-slot --data-dir /tmp/hsm        # also an uninitialised slot; a folder of your own
  cargo xtask ci                                         # what .ci/run calls
  cargo xtask bench --compare-softhsm --quick            # ours and SoftHSM2 in turn, under two minutes
  cargo xtask soak kill-storm --rounds 500               # 500 kills of the daemon under eight processes
  HSMD_SOAK=50 cargo xtask soak restart                  # one family of tests, fifty times as long
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = arguments.first().map_or("help", String::as_str);
    let rest = arguments.get(1..).unwrap_or_default();
    match run(command, rest) {
        Ok(code) => code,
        Err(sentence) => {
            eprintln!("xtask {command}: {sentence}");
            ExitCode::FAILURE
        }
    }
}

/// Each command, in the order of the help text.
fn run(command: &str, rest: &[String]) -> Result<ExitCode, String> {
    match command {
        "setup" => setup::everything(&Workspace::find()?).map(|()| ExitCode::SUCCESS),
        "dev" => dev::run(&Workspace::find()?, rest).map(|never| match never {}),
        "ci" => ci::run(&Workspace::find()?),
        "soak" => soak::run(&Workspace::find()?, rest),
        "bench" => bench::run(&Workspace::find()?, rest),
        "fuzz" => fuzz::run(&Workspace::find()?, rest),
        "tidy" => {
            let report = tidy::check(&Workspace::find()?)?;
            report.print();
            Ok(if report.errors.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        unknown => Err(format!("no such command: `{unknown}`; `cargo xtask help` lists them")),
    }
}

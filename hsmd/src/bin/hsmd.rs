//! The daemon. What it does is in the library; this is its process.

use clap::Parser as _;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match hsmd::cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "hsmd: {failure}");
            ExitCode::FAILURE
        }
    }
}

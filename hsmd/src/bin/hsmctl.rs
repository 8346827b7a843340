//! The administrator's tool. What it does is in the library; this is its process.

use std::process::ExitCode;

fn main() -> ExitCode {
    hsmd::ctl::main()
}

//! Compares PKCS#11 modules on one machine in one run: ours, SoftHSM2 in process, SoftHSM2 behind `p11-kit server`.
//!
//! `p11bench --help` shows the options. The same binary is the worker process that loads a module and calls it; the parent
//! only starts workers, adds up CPU time of client and server, and writes table, JSON, plot and page.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    reason = "a program for a developer's terminal"
)]

mod attach;
mod cell;
mod compare;
mod fill;
mod job;
mod kryoptic;
mod machine;
mod options;
mod peer;
mod raw;
mod rows;
mod softhsm;
mod team;
mod worker;

use std::path::Path;
use std::process::ExitCode;

use hsmd_benches::catalogue::ROWS;
use hsmd_benches::figures::Report;
use hsmd_benches::page;

use options::Options;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    match words.peek().map(String::as_str) {
        Some("worker") => return worker::run(),
        Some("--help" | "-h" | "help") => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    match options::parse(words).and_then(|options| act(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("p11bench: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn act(options: &Options) -> Result<(), String> {
    if options.list {
        for row in ROWS {
            println!("{:<24} {}", row.name, row.what);
        }
        return Ok(());
    }
    let text = match &options.render {
        Some(file) => std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?,
        None => compare::run(options)?.to_json().map_err(|e| e.to_string())?,
    };
    // Everything is made from what the file holds, so that --render gives the same.
    let report: Report = serde_json::from_str(&text).map_err(|e| format!("the figures: {e}"))?;
    print!("{}", page::text::table(&report));
    if let Some(file) = &options.json {
        write(file, &text)?;
    }
    if let Some(file) = &options.svg {
        write(file, &page::svg::plot(&report))?;
    }
    if options.tls {
        print!("\n{}", page::tls::table(&report));
    }
    if let Some(file) = options.docs.as_ref().filter(|_| options.tls) {
        let old = std::fs::read_to_string(file).unwrap_or_default();
        write(file, &page::tls::page(&report, &old))?;
        return write(&file.with_file_name("performance-tls.json"), &text);
    }
    if let Some(file) = &options.docs {
        if report.reference().is_none() {
            return Err("the page compares with another module: --compare-softhsm".to_owned());
        }
        let old = std::fs::read_to_string(file).unwrap_or_default();
        write(file, &page::markdown::page(&report, &old))?;
        write(&file.with_extension("svg"), &page::svg::plot(&report))?;
        write(&file.with_extension("json"), &text)?;
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|e| format!("{}: {e}", file.display()))
}

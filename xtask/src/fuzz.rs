//! `cargo xtask fuzz`: builds the fuzz targets with coverage instrumentation for libFuzzer, in a target folder of their own,
//! and runs one. What the targets do is `fuzz/`; their smoke test is an ordinary test and needs nothing of this.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::steps;
use crate::workspace::{Workspace, output_of};

/// What rustc, stable, is told: libFuzzer's counters at each edge, the table of their places, and compared values. No
/// address sanitizer: that needs a nightly compiler, and our own code has hardly anything for it to find.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
];

/// The page whose table names the targets; a test of `fuzz/` holds it to the code.
const PAGE: &str = "docs/fuzzing.md";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    /// `None`: show the names.
    target: Option<String>,
    seconds: u64,
    /// An input to run once.
    input: Option<PathBuf>,
    /// For libFuzzer.
    further: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode, String> {
    let request = parse(arguments)?;
    let page = workspace.root.join(PAGE);
    let page = std::fs::read_to_string(&page).map_err(|e| format!("{}: {e}", page.display()))?;
    let names = names(&page);
    let Some(wanted) = &request.target else {
        for name in names {
            println!("{name}");
        }
        return Ok(ExitCode::SUCCESS);
    };
    let chosen: Vec<&str> = names
        .into_iter()
        .filter(|name| wanted == "all" || wanted == name)
        .collect();
    if chosen.is_empty() {
        return Err(format!("no target `{wanted}`; `cargo xtask fuzz --list` shows them"));
    }
    let program = build(workspace)?;
    for name in chosen {
        one(workspace, &program, name, &request)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the driver. With `--target`, so that build scripts and macros are not instrumented.
fn build(workspace: &Workspace) -> Result<PathBuf, String> {
    output_of(Command::new("c++").arg("--version"))
        .map_err(|e| format!("libFuzzer is C++; `apt-get install g++` brings a compiler: {e}"))?;
    let version = output_of(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or("rustc does not say what it compiles for")?;
    let folder = folder(workspace).join("build");
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--profile", "ci", "-p", "hsmd-fuzz", "--bin", "hsmd-fuzz"]);
    cargo.args(["--features", "libfuzzer", "--target", host, "--target-dir"]);
    cargo.arg(&folder).env("RUSTFLAGS", FLAGS.join(" "));
    steps::run(&mut cargo)?;
    Ok(folder.join(host).join("ci").join("hsmd-fuzz"))
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace
        .binaries("ci")
        .parent()
        .map_or_else(|| PathBuf::from("target"), Path::to_path_buf)
        .join("fuzz")
}

fn one(workspace: &Workspace, program: &Path, name: &str, request: &Request) -> Result<(), String> {
    let place = folder(workspace);
    let [seeds, corpus, finds] = ["seeds", "corpus", "finds"].map(|kind| place.join(kind).join(name));
    for made in [&seeds, &corpus, &finds] {
        std::fs::create_dir_all(made).map_err(|e| format!("{}: {e}", made.display()))?;
    }
    let mut fuzzer = Command::new(program);
    fuzzer.env("HSMD_FUZZ_TARGET", name).env("HSMD_FUZZ_SEEDS", &seeds);
    fuzzer.arg(format!("-artifact_prefix={}/", finds.display()));
    match &request.input {
        Some(input) => {
            fuzzer.arg(input);
        }
        None => {
            fuzzer.args([
                "-timeout=20",
                "-rss_limit_mb=2048",
                "-malloc_limit_mb=64",
                "-print_final_stats=1",
            ]);
            fuzzer
                .arg("-max_len=65536")
                .arg(format!("-max_total_time={}", request.seconds));
            fuzzer.args(&request.further);
            // New inputs go into the first folder; the others are read.
            fuzzer.arg(&corpus).arg(&seeds);
            let regressions = workspace.root.join("fuzz/regressions").join(name);
            if regressions.exists() {
                fuzzer.arg(regressions);
            }
        }
    }
    println!("\nfuzz {name}: corpus {}, finds {}", corpus.display(), finds.display());
    steps::run(&mut fuzzer)
}

/// The first column of the page's table.
fn names(page: &str) -> Vec<&str> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect()
}

fn parse(arguments: &[String]) -> Result<Request, String> {
    let mut request = Request {
        target: None,
        seconds: 60,
        input: None,
        further: Vec::new(),
    };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--list" => {}
            "--seconds" => {
                let value = value()?;
                request.seconds = value.parse().map_err(|_| format!("--seconds {value}: not a number"))?;
            }
            "--input" => request.input = Some(PathBuf::from(value()?)),
            "--" => {
                request.further = words.cloned().collect();
                break;
            }
            _ if request.target.is_none() && !word.starts_with('-') => request.target = Some(word.clone()),
            _ => return Err(format!("`{word}`: what is that? Options of libFuzzer come after `--`")),
        }
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::{names, parse};

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_name_with_options_is_read() {
        let read = parse(&words("frames --seconds 5 -- -jobs=2")).expect("a good line");
        assert_eq!(read.target.as_deref(), Some("frames"));
        assert_eq!((read.seconds, read.further), (5, vec!["-jobs=2".to_owned()]));
        assert!(parse(&words("frames --seconds")).is_err());
        assert!(parse(&words("frames -jobs=2")).is_err());
    }

    #[test]
    fn names_come_from_the_table() {
        assert_eq!(names("# x\n| target | what |\n|---|---|\n| `a-b` | c `d` |\n"), ["a-b"]);
    }
}

//! Runs named steps one after the other, times them, counts tests. It does not know what the steps are for.

use crate::trouble::{Results, Words};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Tests that ran and how they ended, read from the output of `cargo test`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
    /// Tests marked `#[ignore]`: tidy allows none, a doctest that is not run counts here.
    pub(crate) ignored: u64,
    /// What failed tests and programs said.
    pub(crate) trouble: Vec<String>,
}

impl Tally {
    /// Adds what one line of output says: `test result: ok. 12 passed; 0 failed; 0 ignored; ...`.
    pub(crate) fn read(&mut self, line: &str) {
        let Some((_, result)) = line.split_once("test result: ") else {
            return;
        };
        let Some((_, counts)) = result.split_once(". ") else {
            return;
        };
        for count in counts.split(';') {
            let mut words = count.split_whitespace();
            let (Some(number), Some(what)) = (words.next().and_then(|word| word.parse::<u64>().ok()), words.next())
            else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

struct Done {
    name: &'static str,
    took: Duration,
    good: bool,
}

/// The steps that have run.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<Done>,
    /// All tests so far.
    pub(crate) tally: Tally,
}

impl Steps {
    /// Runs one step. A failed one is remembered and the next still runs, so that one run shows everything.
    pub(crate) fn step(&mut self, name: &'static str, work: impl FnOnce(&mut Tally) -> Result<(), String>) {
        println!("\n==> {name}");
        let start = Instant::now();
        let result = work(&mut self.tally);
        if let Err(sentence) = &result {
            println!("{name}: {sentence}");
            self.tally.trouble.push(format!("{name}: {sentence}"));
        }
        self.done.push(Done {
            name,
            took: start.elapsed(),
            good: result.is_ok(),
        });
    }

    /// Prints what failed tests said, seconds and result of each step, then `N passed, N failed` alone on the last line. A step
    /// without tests that failed counts as one failure.
    ///
    /// Returns whether everything passed.
    pub(crate) fn finish(&self) -> bool {
        if !self.tally.trouble.is_empty() {
            println!("\nwhat failed, again:");
            self.tally.trouble.iter().for_each(|line| println!("| {line}"));
        }
        println!("\n{:<10} {:>8}  result", "step", "seconds");
        let mut total = Duration::ZERO;
        for done in &self.done {
            total += done.took;
            let result = if done.good { "ok" } else { "FAILED" };
            println!("{:<10} {:>8.1}  {result}", done.name, done.took.as_secs_f64());
        }
        println!("{:<10} {:>8.1}", "all", total.as_secs_f64());
        println!("{} tests ran", self.tally.passed + self.tally.failed);
        let broken_steps = self.done.iter().filter(|done| !done.good).count() as u64;
        let failed = self.tally.failed.max(broken_steps);
        println!("\n{} passed, {failed} failed", self.tally.passed);
        failed == 0
    }
}

/// Runs a command with its output on the screen.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    println!("$ {}", shown(command));
    let status = command.status().map_err(|e| format!("does not start: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{} ended with {status}", shown(command)))
    }
}

/// Runs `cargo test` with its output on the screen, counts, and gathers what failed tests say.
pub(crate) fn run_tests(command: &mut Command, tally: &mut Tally) -> Result<(), String> {
    println!("$ {}", shown(command));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("does not start: {e}"))?;
    let (output, words) = (child.stdout.take(), child.stderr.take());
    let (results, words) = std::thread::scope(|scope| {
        let words = scope.spawn(|| {
            let mut found = Words::default();
            each_line(words, |line| {
                eprintln!("{line}");
                found.read(line);
            });
            found
        });
        let mut results = Results::default();
        each_line(output, |line| {
            println!("{line}");
            tally.read(line);
            results.read(line);
        });
        (results, words.join().unwrap_or_default())
    });
    tally.trouble.extend(results.lines().into_iter().chain(words.lines()));
    let status = child.wait().map_err(|e| format!("waiting for it: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{} ended with {status}", shown(command)))
    }
}

/// Hands every line on, to the end or to the first that cannot be read.
fn each_line(from: Option<impl Read>, mut with: impl FnMut(&str)) {
    let Some(from) = from else { return };
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        with(&String::from_utf8_lossy(&line));
    }
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|argument| argument.to_string_lossy().into_owned()),
    );
    if let Some(name) = words
        .first()
        .and_then(|program| program.rsplit('/').next())
        .map(str::to_owned)
    {
        words[0] = name;
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn results_of_several_binaries_add_up() {
        let mut tally = Tally::default();
        tally.read("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s");
        tally.read("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s");
        tally.read("test sign::result ... ok");
        assert_eq!(
            tally,
            Tally {
                passed: 15,
                failed: 2,
                ignored: 1,
                trouble: Vec::new(),
            }
        );
    }
}

//! What went wrong, gathered from the output of `cargo test` while it runs, to be said again at the end: a log of a thousand
//! tests is often seen from its end only. It counts nothing; that is steps.rs.

use std::collections::VecDeque;

/// How many lines of trouble are kept; the first ones say most.
const MOST: usize = 200;
/// How many lines before the word of a failed program are kept: its own last words.
const BEFORE: usize = 20;

/// Reads the standard output of the tests: what is between "failures:" and the result.
#[derive(Default)]
pub(crate) struct Results {
    inside: bool,
    kept: Vec<String>,
}

impl Results {
    /// One line.
    pub(crate) fn read(&mut self, line: &str) {
        if line == "failures:" {
            self.inside = true;
        }
        if (self.inside || line.starts_with("test result: FAILED")) && self.kept.len() < MOST {
            self.kept.push(line.to_owned());
        }
        if line.starts_with("test result:") {
            self.inside = false;
        }
    }

    /// All that was found.
    pub(crate) fn lines(self) -> Vec<String> {
        self.kept
    }
}

/// Reads the error output: what cargo says of a program that failed, and what was said before it. A program that was killed or
/// that overflowed its stack says nothing on its standard output.
#[derive(Default)]
pub(crate) struct Words {
    before: VecDeque<String>,
    kept: Vec<String>,
    ends: bool,
}

impl Words {
    /// One line.
    pub(crate) fn read(&mut self, line: &str) {
        let failed = line.starts_with("error: test failed");
        // "Caused by:" and the signal follow, less indented than what cargo does next.
        let goes_on = line.is_empty() || line.starts_with("Caused by") || line.starts_with("  p");
        self.ends = failed || (self.ends && goes_on);
        if self.ends && self.kept.len() < MOST {
            self.kept.extend(self.before.drain(..));
            self.kept.push(line.to_owned());
            return;
        }
        if self.before.len() == BEFORE {
            self.before.pop_front();
        }
        self.before.push_back(line.to_owned());
    }

    /// All that was found.
    pub(crate) fn lines(self) -> Vec<String> {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::{Results, Words};

    #[test]
    fn failures_are_kept_with_what_they_said() {
        let mut results = Results::default();
        let output = "test a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\nwhy\n\ntest result: FAILED. 1 passed; 1 \
                      failed\n\nrunning 1 test\ntest c ... ok\ntest result: ok. 1 passed; 0 failed";
        output.lines().for_each(|line| results.read(line));
        let lines = results.lines();
        assert_eq!(lines.first().map(String::as_str), Some("failures:"));
        assert!(lines.contains(&"why".to_owned()));
        assert!(
            !lines
                .iter()
                .any(|line| line.contains("test c") || line.contains("result: ok"))
        );
    }

    #[test]
    fn the_signal_that_ended_a_program_and_its_last_words_are_kept() {
        let mut words = Words::default();
        let output = "   Compiling x\n     Running unittests src/lib.rs (target/ci/deps/x)\nthread 't' has overflowed its stack\nerror: \
                      test failed, to rerun pass `-p x --lib`\n\nCaused by:\n  process didn't exit successfully: `x` (signal: 6, \
                      SIGABRT: process abort signal)\n     Running tests/main.rs";
        output.lines().for_each(|line| words.read(line));
        let lines = words.lines();
        assert!(lines.iter().any(|line| line.contains("overflowed")));
        assert!(lines.iter().any(|line| line.contains("SIGABRT")));
        assert!(!lines.iter().any(|line| line.contains("tests/main.rs")));
        let mut quiet = Words::default();
        "   Compiling x\n     Running y"
            .lines()
            .for_each(|line| quiet.read(line));
        assert!(quiet.lines().is_empty());
    }
}

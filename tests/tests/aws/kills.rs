//! Everything is killed at any moment: daemon and front end, by SIGKILL. After each restart every acknowledged change of what the
//! AWS side keeps is there, what was in doubt is whole or absent, keys decrypt what they encrypted, and the connected key store
//! connects again (INV-2).

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use hsmd_tests::daemon::{Daemon, Options};
use hsmd_tests::ffi;
use hsmd_tests::soak::{Random, Soak};

use super::dev::python;
use crate::cli::world::free_port;

/// The latest moment of a kill after the acts have begun, in milliseconds.
const MOMENT: u64 = 400;

/// `kills.py`.
struct Driver {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Driver {
    fn start(daemon: &Daemon, seed: u64) -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/aws/kills.py");
        let mut command = python(daemon, "python");
        command.arg(script).env("KILLS_SEED", seed.to_string());
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = spawned.expect("python");
        let input = process.stdin.take().expect("a pipe");
        let output = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let mut driver = Self { process, input, output };
        assert_eq!(driver.answer(), "ready");
        driver
    }

    fn say(&mut self, word: &str) {
        writeln!(self.input, "{word}").expect("the driver reads");
    }

    fn answer(&mut self) -> String {
        let line = self.output.next();
        line.expect("the driver runs").expect("a line")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The processes that this one has started.
fn children(process: u32) -> Vec<u32> {
    let path = format!("/proc/{process}/task");
    let threads = std::fs::read_dir(Path::new(&path)).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}

#[test]
fn no_kill_of_everything_loses_what_was_acknowledged() {
    let soak = Soak::new("aws-kills", 5);
    let mut random = Random::new(soak.seed);
    // The port stays, so that the clients need not be told where the endpoint is.
    let arguments = ["--aws-listen".to_owned(), free_port()].to_vec();
    let mut daemon = Daemon::start_with(Options {
        aws: true,
        arguments,
        ..Options::default()
    });
    let mut driver = Driver::start(&daemon, soak.seed);
    let mut last = String::new();
    for round in 0..soak.rounds {
        driver.say("go");
        assert_eq!(driver.answer(), "going");
        let moment = Duration::from_millis(random.bits() % MOMENT);
        std::thread::park_timeout(moment);
        let own: u32 = daemon.variable("HSMD_PID").parse().expect("a number");
        let front = children(own);
        assert_eq!(front.len(), 1, "hsmd-aws");
        // Which of them goes first is as random as when.
        let first = random.bits().is_multiple_of(2);
        for process in if first { [front[0], own] } else { [own, front[0]] } {
            let _ = ffi::signal(process, libc::SIGKILL);
        }
        daemon.kill9();
        let ended = driver.answer();
        assert_eq!(ended, "ended", "round {round}, seed {}", soak.seed);
        daemon.restart();
        driver.say("check");
        last = driver.answer();
        if !last.starts_with("whole") {
            soak.verdict(false, &format!("round {round}: {last}"));
        }
        soak.progress(round, || last.clone());
    }
    soak.verdict(true, &last);
}

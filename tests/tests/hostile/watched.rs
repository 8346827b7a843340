//! Children with a deadline, and a look at the daemon's memory: a hang and a leak are failures like a crash.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hsmd_tests::daemon::Daemon;
use hsmd_tests::wait;

/// Memory that a daemon may add after it has warmed up, in KiB.
const GROWTH: u64 = 24 << 10;

/// A child whose output goes to files.
pub(crate) struct Watched {
    what: String,
    child: Child,
    output: std::path::PathBuf,
    error: std::path::PathBuf,
}

impl Watched {
    /// Starts it.
    pub(crate) fn start(mut command: Command, what: &str, folder: &Path) -> Self {
        let file = |end: &str| folder.join(format!("{}.{end}", what.replace(' ', "-")));
        let (output, error) = (file("out"), file("err"));
        let open = |path: &Path| fs::File::create(path).expect("a file for a child's output");
        command.stdin(Stdio::null()).stdout(open(&output)).stderr(open(&error));
        Self {
            what: what.to_owned(),
            child: command.spawn().expect("a child starts"),
            output,
            error,
        }
    }

    /// Waits for its end; gives what was wrong.
    pub(crate) fn end(mut self, patience: Duration) -> Result<(), String> {
        let ended = wait::until(patience, || self.child.try_wait().expect("the state of a child"));
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let said = format!("{}{}", read(&self.output), read(&self.error));
        match ended {
            None => {
                let _ = self.child.kill();
                let _ = self.child.wait();
                Err(format!("{}: hangs after {patience:?}: {said}", self.what))
            }
            Some(status) if !status.success() || !said.is_empty() => Err(format!("{}: {status}: {said}", self.what)),
            Some(_) => Ok(()),
        }
    }
}

/// The daemon's memory over a run.
pub(crate) struct Memory {
    process: String,
    /// KiB, in the order in which they were taken.
    samples: Vec<u64>,
}

impl Memory {
    /// Of this daemon.
    pub(crate) fn of(daemon: &Daemon) -> Self {
        Self {
            process: daemon.variable("HSMD_PID").to_owned(),
            samples: Vec::new(),
        }
    }

    /// Takes a sample of what is resident, in KiB.
    pub(crate) fn sample(&mut self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process)).expect("the daemon runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        let kib = number.and_then(|number| number.parse().ok()).expect("VmRSS");
        self.samples.push(kib);
        kib
    }

    /// Whether it stayed flat once a quarter of the run was over.
    pub(crate) fn is_flat(&self) -> bool {
        let warm = self.samples.get(self.samples.len() / 4);
        let last = self.samples.last();
        warm.zip(last).is_some_and(|(warm, last)| *last <= warm + GROWTH)
    }

    /// First, warm, highest and last sample in MiB.
    pub(crate) fn figures(&self) -> String {
        let mib = |kib: Option<&u64>| kib.map_or(0, |kib| kib >> 10);
        format!(
            "daemon resident {} MiB, warm {}, highest {}, last {}",
            mib(self.samples.first()),
            mib(self.samples.get(self.samples.len() / 4)),
            mib(self.samples.iter().max()),
            mib(self.samples.last())
        )
    }
}

/// Requests that panicked: the daemon catches them, answers and goes on, but each is a defect.
pub(crate) fn panics(daemon: &Daemon) -> usize {
    daemon.log().lines().filter(|line| line.contains("panicked")).count()
}

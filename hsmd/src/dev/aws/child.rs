//! `hsmd-aws` as a child: it says on standard output where it listens, and ends when its standard input does, so that it never
//! outlives this process, whatever ends it.

use crate::cli::Failure;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long it may take until it listens.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take to end.
const GRACE: Duration = Duration::from_secs(3);

/// The running program. It ends when this is dropped.
pub(in crate::dev) struct Child {
    process: std::process::Child,
    input: Option<ChildStdin>,
    /// `http://127.0.0.1:4599`.
    pub(super) endpoint: String,
}

impl Child {
    pub(super) fn start(program: &Path, config: &Path, client_file: &Path, level: &str) -> Result<Self, Failure> {
        let shown = program.display();
        let spawned = Command::new(program)
            .arg("--config")
            .arg(config)
            .args(["--exit-with-stdin", "--log-level", level])
            .env("HSMD_CONFIG", client_file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut process = spawned.map_err(|error| Failure::Other(format!("{shown}: {error}")))?;
        let input = process.stdin.take();
        let output = process.stdout.take();
        let mut child = Self {
            process,
            input,
            endpoint: String::new(),
        };
        let (say, said) = mpsc::channel();
        // The thread ends with the pipe: it reads on, so that the child never waits for somebody to read.
        let reader = std::thread::Builder::new().name("hsmd-dev-aws".into()).spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
                let _ = line.map(|line| say.send(line));
            }
        });
        reader.map_err(|error| Failure::Other(format!("{shown}: {error}")))?;
        match said.recv_timeout(PATIENCE) {
            Ok(endpoint) => {
                child.endpoint = endpoint;
                Ok(child)
            }
            Err(_) => Err(Failure::Other(format!(
                "{shown} did not start; what it said stands above\n  remedy: hsmd dev --no-aws starts without the AWS endpoints"
            ))),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.input.take());
        let until = Instant::now() + GRACE;
        while Instant::now() < until {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        // It may have ended just now.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

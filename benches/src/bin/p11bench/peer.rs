//! What is compared: starts a peer with a token of its own, runs workers against it and adds up CPU time.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use hsmd_benches::histogram::Histogram;
use hsmd_tests::daemon::Daemon;

use crate::Cell;

/// What one cell gave.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// CPU microseconds per call, client and server together.
    pub(crate) cpu: f64,
}

/// A module with a token and, where there is one, a server.
pub(crate) struct Peer {
    name: &'static str,
    module: PathBuf,
    pin: String,
    token: String,
    environment: Vec<(String, String)>,
    server: Server,
    _folder: Option<tempfile::TempDir>,
}

/// So many attaches may fail in one cell.
const ATTACHES: usize = 40;

/// A worker process and what it says.
type Worker = (Child, BufReader<ChildStdout>);

enum Server {
    InProcess,
    Daemon(u32, Box<Daemon>),
    Child(Child),
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Self::Child(child) = self {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Peer {
    /// Starts the peer of this name.
    pub(crate) fn start(name: &str) -> Result<Self, String> {
        match name {
            "hsmd" => Ok(Self::hsmd()),
            "softhsm2" => Self::softhsm("softhsm2"),
            "p11kit" => Self::p11kit(),
            other => Err(format!("--peers: {other}: hsmd, softhsm2, p11kit")),
        }
    }

    /// A module that the caller has set up.
    pub(crate) fn other(module: &str, pin: &str, token: &str) -> Self {
        Self {
            name: "module",
            module: PathBuf::from(module),
            pin: pin.to_owned(),
            token: token.to_owned(),
            environment: Vec::new(),
            server: Server::InProcess,
            _folder: None,
        }
    }

    fn hsmd() -> Self {
        let daemon = Daemon::start();
        let process = daemon.variable("HSMD_PID").parse().unwrap_or(0);
        Self {
            name: "hsmd",
            module: daemon.module_path(),
            pin: daemon.variable("HSMD_PIN").to_owned(),
            token: daemon.variable("HSMD_TOKEN_LABEL").to_owned(),
            environment: vec![("HSMD_CONFIG".to_owned(), daemon.variable("HSMD_CONFIG").to_owned())],
            server: Server::Daemon(process, Box::new(daemon)),
            _folder: None,
        }
    }

    fn softhsm(name: &'static str) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let tokens = folder.path().join("tokens");
        let file = folder.path().join("softhsm2.conf");
        std::fs::create_dir(&tokens).map_err(|e| e.to_string())?;
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        std::fs::write(&file, text).map_err(|e| e.to_string())?;
        let environment = vec![("SOFTHSM2_CONF".to_owned(), file.display().to_string())];
        let mut init = Command::new("softhsm2-util");
        init.args([
            "--init-token",
            "--free",
            "--label",
            "bench",
            "--so-pin",
            "12345678",
            "--pin",
            "123456",
        ]);
        let done = init.envs(environment.clone()).stdout(Stdio::null()).status();
        if !done
            .map_err(|e| format!("softhsm2-util: {e}; install the package softhsm2"))?
            .success()
        {
            return Err("softhsm2-util --init-token failed".to_owned());
        }
        Ok(Self {
            name,
            module: PathBuf::from("/usr/lib/softhsm/libsofthsm2.so"),
            pin: "123456".to_owned(),
            token: "bench".to_owned(),
            environment,
            server: Server::InProcess,
            _folder: Some(folder),
        })
    }

    fn p11kit() -> Result<Self, String> {
        let mut peer = Self::softhsm("p11kit")?;
        let folder = peer
            ._folder
            .as_ref()
            .map(tempfile::TempDir::path)
            .unwrap_or(Path::new("/tmp"));
        let socket = folder.join("p11-kit.sock");
        let mut server = Command::new("p11-kit");
        server
            .args(["server", "--foreground", "--provider"])
            .arg(&peer.module)
            .arg("--name")
            .arg(&socket)
            .arg("pkcs11:");
        let server = server
            .envs(peer.environment.clone())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let server = server.map_err(|e| format!("p11-kit server: {e}; install the package p11-kit"))?;
        hsmd_tests::wait::until(hsmd_tests::wait::PATIENCE, || socket.exists().then_some(()))
            .ok_or("p11-kit server made no socket")?;
        peer.environment = vec![(
            "P11_KIT_SERVER_ADDRESS".to_owned(),
            format!("unix:path={}", socket.display()),
        )];
        peer.module = PathBuf::from("/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so");
        peer.server = Server::Child(server);
        Ok(peer)
    }

    /// The name in the table.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Makes the keys.
    pub(crate) fn prepare(&self) -> Result<(), String> {
        let mut child = self.worker("keys", 1, Duration::ZERO)?;
        let mut said = String::new();
        child
            .stdout
            .take()
            .map(|mut out| out.read_to_string(&mut said))
            .transpose()
            .map_err(|e| e.to_string())?;
        if child.wait().map_err(|e| e.to_string())?.success() {
            Ok(())
        } else {
            Err(format!("{}: {said}", self.name))
        }
    }

    fn worker(&self, row: &str, threads: usize, length: Duration) -> Result<Child, String> {
        let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
        command
            .arg("worker")
            .arg(&self.module)
            .args([&self.pin, &self.token])
            .arg(row);
        command
            .arg(threads.to_string())
            .arg(length.as_millis().to_string())
            .envs(self.environment.clone());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| e.to_string())
    }

    /// One row, one cell, one round.
    pub(crate) fn measure(&self, row: &str, cell: Cell, length: Duration) -> Result<Figures, String> {
        let mut workers = Vec::new();
        for _ in 0..cell.processes {
            workers.push(self.attach(row, cell.threads, length)?);
        }
        let mut failed = 0;
        for worker in &mut workers {
            // Some peers lose the token when several processes start at once: tried again, one by one.
            while let Err(said) = ready(&mut worker.1) {
                failed += 1;
                drop(worker.0.wait());
                if failed == ATTACHES {
                    return Err(format!("a worker could not attach: {}", said.trim()));
                }
                *worker = self.attach(row, cell.threads, length)?;
            }
        }
        if failed > 0 {
            eprintln!(
                "{}: {row} {cell}: {failed} attaches failed and were repeated",
                self.name
            );
        }
        let before = self.server_cpu();
        for (child, _) in &mut workers {
            let mut input = child.stdin.take().ok_or("no input")?;
            input.write_all(b"go\n").map_err(|e| e.to_string())?;
        }
        self.collect(workers, before)
    }

    fn attach(&self, row: &str, threads: usize, length: Duration) -> Result<Worker, String> {
        let mut child = self.worker(row, threads, length)?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok((child, output))
    }

    fn collect(&self, workers: Vec<Worker>, before: u64) -> Result<Figures, String> {
        let mut all = Histogram::default();
        let (mut cpu, mut per_second) = (0, 0.0);
        let mut children = Vec::new();
        for (child, mut output) in workers {
            let mut line = String::new();
            output.read_line(&mut line).map_err(|e| e.to_string())?;
            children.push(child);
            let value: serde_json::Value = serde_json::from_str(&line).map_err(|e| format!("{e}: {line}"))?;
            if let Some(error) = value["error"].as_str() {
                return Err(error.to_owned());
            }
            let filled: Vec<(usize, u64)> =
                serde_json::from_value(value["latencies"].clone()).map_err(|e| e.to_string())?;
            let histogram = Histogram::from_filled(&filled);
            per_second += histogram.count() as f64 / value["seconds"].as_f64().unwrap_or(1.0);
            cpu += value["cpu"].as_u64().unwrap_or(0);
            all.merge(&histogram);
        }
        cpu += self.server_cpu().saturating_sub(before);
        for mut child in children {
            drop(child.wait());
        }
        let calls = all.count().max(1) as f64;
        Ok(Figures {
            per_second,
            p50: all.quantile(0.5),
            p99: all.quantile(0.99),
            cpu: cpu as f64 / 1000.0 / calls,
        })
    }

    fn server_cpu(&self) -> u64 {
        match &self.server {
            Server::InProcess => 0,
            Server::Daemon(process, daemon) => {
                debug_assert!(daemon.data_dir().exists());
                cpu_of(*process)
            }
            Server::Child(child) => with_children(child.id()).into_iter().map(cpu_of).sum(),
        }
    }
}

fn ready(output: &mut BufReader<ChildStdout>) -> Result<(), String> {
    let mut line = String::new();
    output.read_line(&mut line).map_err(|e| e.to_string())?;
    if line.trim() == "ready" { Ok(()) } else { Err(line) }
}

/// CPU time of all live threads of a process, in nanoseconds.
pub(crate) fn cpu_of(process: u32) -> u64 {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else {
        return 0;
    };
    let spent = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    threads.flatten().filter_map(spent).sum()
}

fn with_children(process: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let children = children
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .flat_map(with_children);
    std::iter::once(process).chain(children).collect()
}

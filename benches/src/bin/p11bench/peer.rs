//! What is compared: starts a peer with a token of its own, fills the token, measures through worker processes.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use hsmd_benches::figures::{Figures, KRYOPTIC, NO_PRIMITIVE, OURS, P11KIT, RAW, SOFTHSM, TLS};
use hsmd_tests::daemon::{Daemon, LABEL, PIN};
use hsmd_tests::remote::{Remote, library};

use crate::cell::Cell;
use crate::job::{Answer, Attach, Order};
use crate::kryoptic;
use crate::raw;
use crate::softhsm;
use crate::team::{Team, Worker};

/// How long filling a token may take: SoftHSM2 writes a file for each object.
const FILLING: Duration = Duration::from_secs(120);

/// A module with a token and, where there is one, a server.
pub(crate) struct Peer {
    name: String,
    what: Attach,
    environment: Vec<(String, String)>,
    server: Server,
    /// Somebody's own token: our keys are taken out in the end.
    foreign: bool,
    team: Option<(Cell, Team)>,
    folder: Option<tempfile::TempDir>,
}

/// Where calls are served.
pub(crate) enum Server {
    InProcess,
    Daemon(
        u32,
        #[expect(dead_code, reason = "it ends when it is dropped")] Box<Daemon>,
    ),
    /// Ours, reached by TLS.
    Remote(Box<Remote>),
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

impl Drop for Peer {
    fn drop(&mut self) {
        self.team = None;
        if self.foreign {
            drop(self.ask(&Order::Remove));
        }
    }
}

impl Peer {
    /// Starts the peer of this name with a token of so many objects beyond the keys of the rows; gives it and what a
    /// reader has to know about its filling.
    pub(crate) fn start(name: &str, objects: usize, kryoptic: Option<&Path>) -> Result<(Self, Option<String>), String> {
        let peer = match name {
            OURS => Self::ours(),
            TLS => Self::tls(),
            RAW => Self::raw(),
            SOFTHSM => Self::softhsm(SOFTHSM)?,
            P11KIT => Self::p11kit()?,
            KRYOPTIC => Self::kryoptic(kryoptic.ok_or("kryoptic needs --kryoptic FILE")?)?,
            other => return Err(format!("{other}: no such peer")),
        };
        if name == RAW {
            return Ok((peer, None));
        }
        peer.ask(&Order::Keys)?;
        let remark = match (objects, name) {
            (0, _) => None,
            (objects, OURS) => Some(peer.fill(objects, 32)?),
            (objects, _) => Some(peer.multiply(objects)?),
        };
        Ok((peer, remark))
    }

    /// A module that the caller has set up; it gets the keys of the rows.
    pub(crate) fn foreign(name: String, what: Attach) -> Result<Self, String> {
        let mut peer = Self::new(&name, what, Vec::new());
        peer.foreign = true;
        peer.ask(&Order::Keys)?;
        Ok(peer)
    }

    fn new(name: &str, what: Attach, environment: Vec<(String, String)>) -> Self {
        Self {
            name: name.to_owned(),
            what,
            environment,
            server: Server::InProcess,
            foreign: false,
            team: None,
            folder: None,
        }
    }

    fn raw() -> Self {
        let what = Attach {
            module: RAW.to_owned(),
            token: String::new(),
            pin: String::new(),
        };
        Self::new(RAW, what, Vec::new())
    }

    fn ours() -> Self {
        let daemon = Daemon::start();
        let process = daemon.variable("HSMD_PID").parse().unwrap_or(0);
        let what = Attach {
            module: daemon.module_path().display().to_string(),
            token: daemon.variable("HSMD_TOKEN_LABEL").to_owned(),
            pin: daemon.variable("HSMD_PIN").to_owned(),
        };
        let environment = vec![("HSMD_CONFIG".to_owned(), daemon.variable("HSMD_CONFIG").to_owned())];
        let mut peer = Self::new(OURS, what, environment);
        peer.server = Server::Daemon(process, Box::new(daemon));
        peer
    }

    /// Ours as another host has it: TCP on the loopback, mutual TLS, the slot of a group. PIN cost and segments are those of
    /// the tests; no row of the comparison meets either.
    fn tls() -> Self {
        // Free when it was asked for; nobody else here takes ports of this address.
        let address = std::net::TcpListener::bind("127.0.0.3:0").and_then(|probe| probe.local_addr());
        let address = address.map_or_else(|_| "127.0.0.3:1792".to_owned(), |address| address.to_string());
        let remote = Remote::start(&address, &[], &[]);
        let identity = remote.identity("app");
        remote.register("app", &identity);
        remote.assign("app");
        let (_, ca) = remote.config("app", "5.3");
        let client = remote.client_file(&identity, &ca, 10_000);
        let what = Attach {
            module: library().display().to_string(),
            token: LABEL.to_owned(),
            pin: PIN.to_owned(),
        };
        let environment = vec![("HSMD_CONFIG".to_owned(), client.display().to_string())];
        let mut peer = Self::new(TLS, what, environment);
        peer.server = Server::Remote(Box::new(remote));
        peer
    }

    fn softhsm(name: &str) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let (what, environment) = softhsm::token(folder.path())?;
        let mut peer = Self::new(name, what, environment);
        peer.folder = Some(folder);
        Ok(peer)
    }

    fn kryoptic(module: &Path) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let (what, environment) = kryoptic::token(module, folder.path())?;
        let mut peer = Self::new(KRYOPTIC, what, environment);
        peer.folder = Some(folder);
        Ok(peer)
    }

    fn p11kit() -> Result<Self, String> {
        let mut peer = Self::softhsm(P11KIT)?;
        let folder = peer
            .folder
            .as_ref()
            .map_or_else(std::env::temp_dir, |folder| folder.path().to_path_buf());
        let (server, module, environment) = softhsm::remoted(&folder, &peer.what, &peer.environment)?;
        peer.server = Server::Child(server);
        peer.what.module = module;
        peer.environment = environment;
        Ok(peer)
    }

    /// The name in the table.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A worker that attaches, does one thing and ends.
    fn ask(&self, order: &Order) -> Result<Answer, String> {
        let named = |sentence: String| format!("{}: {sentence}", self.name);
        let mut worker = Worker::start(&self.environment).map_err(named)?;
        worker.ask(&Order::Attach(self.what.clone())).map_err(named)?;
        worker.ask(order).map_err(named)
    }

    fn fill(&self, objects: usize, threads: usize) -> Result<String, String> {
        let milliseconds = u64::try_from(FILLING.as_millis()).unwrap_or(u64::MAX);
        let order = Order::Fill {
            objects,
            threads,
            milliseconds,
        };
        match self.ask(&order)? {
            Answer::Filled { made, seconds } => Ok(format!(
                "{}: {made} of {objects} objects created by {threads} threads in {seconds:.1} s",
                self.name
            )),
            other => Err(format!("an unexpected answer: {other:?}")),
        }
    }

    /// SoftHSM2 makes a hundred objects (each takes it several synced writes); their files are copied until there are
    /// enough.
    fn multiply(&self, objects: usize) -> Result<String, String> {
        let few = objects.min(100);
        self.fill(few, 1)?;
        let folder = self.folder.as_ref().ok_or("this peer's token cannot be filled")?;
        let start = Instant::now();
        let there = softhsm::multiply(folder.path(), objects, FILLING)?;
        Ok(format!(
            "{}: {there} of {objects} objects: {few} created, their files copied in {:.1} s",
            self.name,
            start.elapsed().as_secs_f64()
        ))
    }

    /// One row, one cell, one round.
    pub(crate) fn measure(&mut self, row: &str, cell: Cell, length: Duration) -> Result<Figures, String> {
        if self.name == RAW && !raw::has(row) {
            return Err(NO_PRIMITIVE.to_owned());
        }
        if row.starts_with("cold-start") {
            return self.cold(length);
        }
        let mut team = match self.team.take() {
            Some((of, team)) if of == cell => team,
            _ => Team::attach(cell.processes, cell.threads, &self.environment, &self.what)?,
        };
        let figures = team.measure(row, length, || self.server_cpu())?;
        // A login changes what belongs to the whole process, and an error may have: the next row attaches anew.
        if figures.is_ok() && row != "login" {
            self.team = Some((cell, team));
        }
        figures
    }

    /// Ends the worker processes: the next cell attaches anew.
    pub(crate) fn rest(&mut self) {
        self.team = None;
    }

    /// New processes, one after the other, until the time is over; at least five.
    fn cold(&self, length: Duration) -> Result<Figures, String> {
        let (start, before) = (Instant::now(), self.server_cpu());
        let mut runs: Vec<Vec<(String, f64)>> = Vec::new();
        let (mut client, mut failed) = (0, 0);
        while runs.len() < 5 || start.elapsed() < length {
            let answer = Worker::start(&self.environment)?.ask(&Order::Cold(self.what.clone()));
            match answer {
                Ok(Answer::Cold { stages, cpu }) => {
                    client += cpu;
                    runs.push(stages);
                }
                Ok(other) => return Err(format!("an unexpected answer: {other:?}")),
                Err(sentence) if failed == 5 => return Err(sentence),
                Err(_) => failed += 1,
            }
        }
        let stages = runs[0].iter().map(|(name, _)| name.clone());
        let of = |stage: &str| {
            let times = runs.iter().flatten().filter(|(name, _)| name == stage);
            let mut times: Vec<f64> = times.map(|(_, time)| *time).collect();
            times.sort_by(f64::total_cmp);
            times
        };
        let total = of("total");
        let per_second = 1e6 * total.len() as f64 / total.iter().sum::<f64>();
        Ok(Figures {
            per_second,
            p50: total[total.len() / 2],
            p99: total[total.len() - 1],
            cpu: (client + self.server_cpu().saturating_sub(before)) as f64 / 1000.0 / total.len() as f64,
            calls: total.len() as u64,
            errors: 0,
            failed_attaches: failed,
            rounds: vec![per_second],
            stages: stages
                .map(|stage| (stage.clone(), of(&stage)[total.len() / 2]))
                .collect(),
        })
    }

    fn server_cpu(&self) -> u64 {
        match &self.server {
            Server::InProcess => 0,
            Server::Daemon(process, _) => cpu_of(*process),
            Server::Remote(remote) => cpu_of(remote.served.process()),
            Server::Child(child) => with_children(child.id()).into_iter().map(cpu_of).sum(),
        }
    }

    /// Where the peer's token lies, for the description of the machine.
    pub(crate) fn place() -> PathBuf {
        std::env::temp_dir()
    }
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

//! Spoiled frames both ways: requests to the daemon, replies to the module. No crash, no hang, no panic, flat memory (INV-9:
//! each treats the other as hostile). `cargo xtask soak mutated-frames` spoils a million each way.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use hsmd_tests::daemon::{Daemon, PIN};
use hsmd_tests::module::Module;
use hsmd_tests::soak::{Random, Soak};

use super::proxy::Proxy;
use super::spoil::spoil;
use super::talk;
use crate::hostile::watched::{Memory, Watched, panics};

/// Clients side by side.
const CLIENTS: usize = 3;
const STEPS: usize = 40;
/// For what a child does between two of its words.
const PATIENCE: Duration = Duration::from_secs(1200);
/// Calls of one child.
const CALLS: usize = 2000;
/// The deadline in these programs' client file: a spoiled reply that is waited for costs this.
const DEADLINE_MS: u64 = 100;

/// Sends spoiled requests; gives how many connections the daemon ended.
fn client(socket: &Path, good: &[Vec<u8>], seed: u64, frames: usize) -> usize {
    let mut random = Random::new(seed);
    let mut kept = None;
    let mut ended = 0;
    for _ in 0..frames {
        let frame = &good[random.below(good.len())];
        let bad = spoil(&mut random, frame);
        let mut stream = kept.take().unwrap_or_else(|| talk::hello(socket));
        let sent = stream.write_all(&bad.bytes);
        if bad.fits && sent.is_ok() {
            match talk::answer(&mut stream) {
                Some(_) => kept = Some(stream),
                None => ended += 1,
            }
            continue;
        }
        // The daemon may have closed already.
        let _ = stream.shutdown(Shutdown::Write);
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Ok(_) => ended += 1,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => ended += 1,
            Err(error) => panic!("seed {seed}: the daemon hangs: {error}; frame {:02x?}", bad.bytes),
        }
    }
    ended
}

#[test]
fn a_daemon_survives_spoiled_requests() {
    let soak = Soak::new("mutated-frames to the daemon", 4000);
    let mut daemon = Daemon::start();
    let (socket, good) = (daemon.socket(), talk::requests(&daemon.socket()));
    let steps = STEPS.min(soak.rounds.div_ceil(1000));
    let each = soak.rounds.div_ceil(steps * CLIENTS);
    let mut memory = Memory::of(&daemon);
    let ended = AtomicUsize::new(0);
    for step in 0..steps {
        std::thread::scope(|scope| {
            for number in 0..CLIENTS {
                let seed = soak.seed.wrapping_add((step * CLIENTS + number) as u64);
                let (socket, good, ended) = (&socket, &good, &ended);
                scope.spawn(move || ended.fetch_add(client(socket, good, seed, each), Ordering::Relaxed));
            }
        });
        assert!(daemon.is_alive(), "the daemon died:\n{}", daemon.log());
        let (resident, done) = (memory.sample() >> 10, (step + 1) * each * CLIENTS);
        println!(
            "mutated-frames to the daemon: {done} of {}: resident {resident} MiB",
            soak.rounds
        );
    }
    // The same key still works for the same login.
    let works = talk::requests(&socket).len() == good.len();
    let (panicked, ended) = (panics(&daemon), ended.into_inner());
    let sent = steps * each * CLIENTS;
    soak.verdict(
        works && panicked == 0 && memory.is_flat(),
        &format!(
            "{sent} frames, {ended} connections ended, {panicked} requests panicked, {}",
            memory.figures()
        ),
    );
}

/// A program whose module gets spoiled replies.
struct Program {
    child: Child,
    lines: mpsc::Receiver<String>,
    seed: u64,
}

impl Program {
    fn start(module: &Path, seed: u64, calls: usize) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hsmd-test-child"));
        command.arg("spoiled").arg(module).arg(PIN);
        command.args([seed.to_string(), calls.to_string()]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child starts");
        let output = child.stdout.take().expect("a pipe");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, seed }
    }

    /// Waits for a word and answers it.
    fn expect(&mut self, word: &str, answer: impl FnOnce()) -> Result<(), String> {
        let said = self.lines.recv_timeout(PATIENCE);
        if said.as_deref() != Ok(word) {
            let _ = self.child.kill();
            let status = self.child.wait();
            return Err(format!("seed {}: {said:?} instead of {word}: {status:?}", self.seed));
        }
        answer();
        let input = self.child.stdin.as_mut().expect("a pipe");
        input
            .write_all(b"\n")
            .map_err(|error| format!("seed {}: {error}", self.seed))
    }

    fn end(mut self) -> Result<(), String> {
        let mut said = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            said.push(line);
        }
        let status = self.child.wait().expect("the end of a child");
        if status.success() && said.is_empty() {
            Ok(())
        } else {
            Err(format!("seed {}: {status}: {said:?}", self.seed))
        }
    }
}

/// The keys that programs work with: an RSA key takes longer than their deadline.
fn make_keys(daemon: &Daemon) {
    let (_, module) = Module::copy(&daemon.module_path(), &daemon.client_file(), daemon.folder());
    let mut command = Command::new(env!("CARGO_BIN_EXE_hsmd-test-child"));
    command.arg("random").arg(module).args([PIN, "1", "0"]);
    let made = Watched::start(command, "keys", daemon.folder()).end(PATIENCE);
    assert_eq!(made, Ok(()));
}

/// Programs one after the other, over a proxy of their own, until `wanted` frames were spoiled over all; what went wrong.
fn programs(daemon: &Daemon, seed: u64, calls: usize, spoiled: &AtomicUsize, wanted: usize) -> Result<usize, String> {
    let proxy = Proxy::start(daemon.socket(), daemon.folder(), seed);
    let file = daemon.folder().join(format!("spoiled-{seed}.toml"));
    let text = format!("socket = \"{}\"\ndeadline_ms = {DEADLINE_MS}\n", proxy.socket.display());
    std::fs::write(&file, text).expect("a client file");
    let (_, module) = Module::copy(&daemon.module_path(), &file, daemon.folder());
    let (mut number, mut before) = (0, 0);
    while spoiled.load(Ordering::Relaxed) < wanted {
        let mut program = Program::start(&module, seed.wrapping_add(number as u64), calls);
        number += 1;
        program
            .expect("spoil", || proxy.spoils.store(true, Ordering::Relaxed))
            .and_then(|()| program.expect("calm", || proxy.spoils.store(false, Ordering::Relaxed)))
            .and_then(|()| program.end())?;
        let now = proxy.spoiled.load(Ordering::Relaxed);
        spoiled.fetch_add(now - before, Ordering::Relaxed);
        before = now;
    }
    Ok(number)
}

#[test]
fn a_module_survives_spoiled_replies() {
    let soak = Soak::new("mutated-frames to the module", 1500);
    let daemon = Daemon::start();
    make_keys(&daemon);
    // Most of the time a program waits out its deadline: many fit side by side.
    let (side_by_side, calls) = if Soak::is_long() { (24, CALLS) } else { (4, 100) };
    let (spoiled, mut memory) = (AtomicUsize::new(0), Memory::of(&daemon));
    memory.sample();
    let results: Vec<Result<usize, String>> = std::thread::scope(|scope| {
        let workers = (0..side_by_side).map(|number| {
            let (daemon, spoiled) = (&daemon, &spoiled);
            let seed = soak.seed.wrapping_add(number << 32);
            scope.spawn(move || programs(daemon, seed, calls, spoiled, soak.rounds))
        });
        let workers: Vec<_> = workers.collect();
        let mut shown = 0;
        while !workers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::park_timeout(Duration::from_millis(20));
            let done = spoiled.load(Ordering::Relaxed);
            if done >= shown + soak.rounds / 20 {
                shown = done;
                let resident = memory.sample() >> 10;
                println!(
                    "mutated-frames to the module: {done} of {}: resident {resident} MiB",
                    soak.rounds
                );
            }
        }
        workers
            .into_iter()
            .map(|worker| worker.join().expect("a worker"))
            .collect()
    });
    memory.sample();
    let (wrong, counts): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_err);
    let number: usize = counts.into_iter().flatten().sum();
    let (spoiled, panicked) = (spoiled.into_inner(), panics(&daemon));
    // Memory is shown, not judged: where the reply to C_Login or C_Logout is spoiled a login stays that nobody ends, and the
    // daemon keeps it until it is idle for 30 days.
    soak.verdict(
        wrong.is_empty() && panicked == 0,
        &format!(
            "{spoiled} frames, {number} programs with {calls} calls each, {panicked} requests panicked, {}; {wrong:?}",
            memory.figures()
        ),
    );
}

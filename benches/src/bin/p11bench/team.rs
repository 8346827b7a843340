//! Worker processes as the parent sees them: started, told what to do, heard with a deadline, ended.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hsmd_benches::figures::Figures;
use hsmd_benches::histogram::Histogram;

use crate::job::{Answer, Attach, Measured, Order};

/// A worker that says nothing for so long hangs. SoftHSM2 needs a minute to read 100,000 objects on a slow machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// So many attaches may fail for one team: some peers lose the token when processes start at once.
const ATTACHES: u64 = 40;

/// One worker process.
pub(crate) struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
}

impl Worker {
    /// Starts a process of this program with the peer's environment.
    pub(crate) fn start(environment: &[(String, String)]) -> Result<Self, String> {
        let mut command = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
        command.arg("worker").envs(environment.iter().cloned());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().map_err(|e| format!("a worker: {e}"))?;
        let input = child.stdin.take();
        let (lines, output) = channel();
        if let Some(pipe) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    // The parent may have given up.
                    if lines.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self { child, input, output })
    }

    /// Sends an order.
    pub(crate) fn say(&mut self, order: &Order) -> Result<(), String> {
        let line = serde_json::to_string(order).map_err(|e| e.to_string())?;
        let input = self.input.as_mut().ok_or("the worker has no input")?;
        writeln!(input, "{line}").map_err(|e| format!("the worker ended: {e}"))
    }

    /// The answer to the last order.
    pub(crate) fn hear(&mut self) -> Result<Answer, String> {
        let line = self
            .output
            .recv_timeout(PATIENCE)
            .map_err(|_| "the worker ended or hangs".to_owned())?;
        match serde_json::from_str(&line).map_err(|e| format!("{e}: {line}"))? {
            Answer::Failed(sentence) => Err(sentence),
            answer => Ok(answer),
        }
    }

    /// An order and its answer.
    pub(crate) fn ask(&mut self, order: &Order) -> Result<Answer, String> {
        self.say(order)?;
        self.hear()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // End of input is the order to end; one that hangs in a call does not read it.
        drop(self.input.take());
        let ended = hsmd_tests::wait::until(Duration::from_secs(10), || {
            self.child.try_wait().map_or(Some(()), |status| status.map(|_| ()))
        });
        if ended.is_none() {
            drop(self.child.kill());
        }
        drop(self.child.wait());
    }
}

/// The processes of one cell.
pub(crate) struct Team {
    workers: Vec<Worker>,
    threads: usize,
    /// Attaches that failed and were repeated, not reported yet.
    failed: u64,
}

impl Team {
    /// Starts the processes at once and lets them attach at once; those that fail are tried again one by one.
    pub(crate) fn attach(
        processes: usize,
        threads: usize,
        environment: &[(String, String)],
        what: &Attach,
    ) -> Result<Self, String> {
        let order = Order::Attach(what.clone());
        let mut workers = Vec::new();
        for _ in 0..processes {
            let mut worker = Worker::start(environment)?;
            worker.say(&order)?;
            workers.push(worker);
        }
        let mut failed = 0;
        for worker in &mut workers {
            let mut answer = worker.hear();
            while let Err(sentence) = answer {
                failed += 1;
                if failed >= ATTACHES || processes == 1 && failed >= 5 {
                    return Err(format!("{failed} attaches failed: {sentence}"));
                }
                *worker = Worker::start(environment)?;
                answer = worker.ask(&order);
            }
        }
        Ok(Self {
            workers,
            threads,
            failed,
        })
    }

    /// One round of a row; `server` gives the CPU nanoseconds that the peer's server has used. After an error that is
    /// not the row's own the team is of no use any more, and the second value says so.
    pub(crate) fn measure(
        &mut self,
        row: &str,
        length: Duration,
        server: impl Fn() -> u64,
    ) -> Result<Result<Figures, String>, String> {
        let order = Order::Row {
            name: row.to_owned(),
            threads: self.threads,
            milliseconds: u64::try_from(length.as_millis()).unwrap_or(u64::MAX),
        };
        for worker in &mut self.workers {
            worker.say(&order)?;
        }
        let ready: Vec<_> = self.workers.iter_mut().map(Worker::hear).collect();
        if let Some(sentence) = ready.iter().find_map(|answer| answer.as_ref().err()).cloned() {
            for (worker, answer) in self.workers.iter_mut().zip(&ready) {
                if answer.is_ok() {
                    worker.ask(&Order::Skip)?;
                }
            }
            return Ok(Err(sentence));
        }
        let before = server();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let moment = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        for worker in &mut self.workers {
            worker.say(&Order::Go { moment })?;
        }
        let answers: Vec<_> = self.workers.iter_mut().map(Worker::hear).collect();
        let spent = server().saturating_sub(before);
        for worker in &mut self.workers {
            worker.ask(&Order::Skip)?;
        }
        let mut measured = Vec::new();
        for answer in answers {
            match answer {
                Ok(Answer::Measured(one)) => measured.push(one),
                Ok(other) => return Err(format!("an unexpected answer: {other:?}")),
                Err(sentence) => return Ok(Err(sentence)),
            }
        }
        let mut figures = figures(&measured, spent);
        figures.failed_attaches = std::mem::take(&mut self.failed);
        Ok(Ok(figures))
    }
}

fn figures(measured: &[Measured], server: u64) -> Figures {
    let mut all = Histogram::default();
    let mut figures = Figures::default();
    let mut cpu = server;
    for one in measured {
        let histogram = Histogram::from_filled(&one.latencies);
        figures.per_second += one.per_second;
        figures.errors += one.errors;
        cpu += one.cpu;
        all.merge(&histogram);
    }
    figures.calls = all.count();
    figures.p50 = all.quantile(0.5);
    figures.p99 = all.quantile(0.99);
    figures.cpu = cpu as f64 / 1000.0 / figures.calls.max(1) as f64;
    figures.rounds = vec![figures.per_second];
    figures
}

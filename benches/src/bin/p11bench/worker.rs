//! The worker process: loads a module, logs in, then runs rows as the parent orders. It stays alive after a row, so that
//! the server's threads for it live until the parent has read their CPU time.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Barrier, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cryptoki_sys::CK_SLOT_ID;
use hsmd_benches::histogram::Histogram;
use hsmd_tests::module::Module;

use crate::job::{Answer, Attach, Measured, Order};
use crate::rows::{self, Bed};
use crate::{attach, fill, raw};

/// How long calls are made before the clock starts, so that caches and connections are warm.
const WARM_UP: Duration = Duration::from_millis(100);

/// Calls that may fail before the first one succeeds.
const FAILURES: u64 = 10;

/// A module with an open session and a login.
pub(crate) struct Attached {
    pub(crate) module: Module,
    pub(crate) slot: CK_SLOT_ID,
    pub(crate) session: u64,
    pub(crate) pin: String,
}

/// What a worker works on.
enum Subject {
    Module(Box<Attached>),
    Raw,
}

/// Answers orders until the parent closes the pipe.
pub(crate) fn run() -> ExitCode {
    let mut subject = None;
    while let Some(order) = hear() {
        let answer = match (order, &subject) {
            (Order::Attach(what), _) => open(&what).map(|opened| {
                subject = Some(opened);
                Answer::Done
            }),
            (Order::Cold(what), _) => attach::cold(&what),
            (_, None) => Err("not attached".to_owned()),
            (Order::Keys, Some(Subject::Module(attached))) => rows::keys::make(attached).map(|()| Answer::Done),
            (Order::Remove, Some(Subject::Module(attached))) => rows::keys::remove(attached).map(|()| Answer::Done),
            (
                Order::Fill {
                    objects,
                    threads,
                    milliseconds,
                },
                Some(Subject::Module(attached)),
            ) => fill::fill(attached, objects, threads, Duration::from_millis(milliseconds)),
            (
                Order::Row {
                    name,
                    threads,
                    milliseconds,
                },
                Some(subject),
            ) => row(subject, &name, threads, Duration::from_millis(milliseconds)),
            (Order::Go { .. } | Order::Skip | Order::Keys | Order::Remove | Order::Fill { .. }, _) => Ok(Answer::Done),
        };
        say(&answer.unwrap_or_else(Answer::Failed));
    }
    ExitCode::SUCCESS
}

fn hear() -> Option<Order> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .ok()
        .filter(|length| *length > 0)?;
    serde_json::from_str(&line).ok()
}

fn say(answer: &Answer) {
    let mut output = std::io::stdout().lock();
    // A parent that is gone needs no answer.
    if let Ok(line) = serde_json::to_string(answer) {
        drop(writeln!(output, "{line}").and_then(|()| output.flush()));
    }
}

fn open(what: &Attach) -> Result<Subject, String> {
    if what.module == "raw" {
        return Ok(Subject::Raw);
    }
    let module = Module::load(Path::new(&what.module));
    attach::attach(module, what).map(|attached| Subject::Module(Box::new(attached)))
}

/// What one thread measured.
#[derive(Default)]
struct Run {
    latencies: Histogram,
    per_second: f64,
    cpu: u64,
    errors: u64,
}

/// A call of a module or of a primitive.
type Call<'a> = Box<dyn FnMut() -> Result<(), String> + 'a>;

/// Gets threads ready, answers, and runs them when the parent says so. The answer that it returns is the last one.
fn row(subject: &Subject, name: &str, threads: usize, length: Duration) -> Result<Answer, String> {
    let (ready, start) = (Barrier::new(threads + 1), Barrier::new(threads + 1));
    let (troubles, runs) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let made = Mutex::new(Vec::new());
    // When the clock starts; not set: the row is given up.
    let moment = OnceLock::new();
    let mut failed = None;
    std::thread::scope(|scope| {
        for number in 0..threads {
            let (ready, start, troubles, runs, made, moment) = (&ready, &start, &troubles, &runs, &made, &moment);
            scope.spawn(move || {
                with_call(subject, name, number, made, |call| {
                    let warm =
                        call.and_then(|mut call| calls(&mut call, Instant::now(), WARM_UP.min(length)).map(|_| call));
                    let (call, trouble) = match warm {
                        Ok(call) => (Some(call), None),
                        Err(trouble) => (None, Some(trouble)),
                    };
                    troubles.lock().expect("no thread panicked").extend(trouble);
                    ready.wait();
                    start.wait();
                    if let (Some(mut call), Some(moment)) = (call, moment.get()) {
                        let run = calls(&mut call, *moment, length);
                        runs.lock().expect("no thread panicked").push(run);
                    }
                });
            });
        }
        ready.wait();
        failed = troubles.lock().expect("no thread panicked").pop();
        if failed.is_none() {
            say(&Answer::Ready);
            if let Some(Order::Go { moment: since_1970 }) = hear() {
                _ = moment.set(instant(since_1970));
            }
        }
        start.wait();
    });
    if let Some(trouble) = failed {
        return Err(trouble);
    }
    let runs: Result<Vec<Run>, String> = runs.into_inner().expect("no thread panicked").into_iter().collect();
    if moment.get().is_some() {
        match runs {
            Ok(runs) => say(&Answer::Measured(sum(runs))),
            Err(trouble) => say(&Answer::Failed(trouble)),
        }
        // The parent reads the server's CPU time now, before anything is cleaned up.
        hear();
    }
    if let Subject::Module(attached) = subject {
        fill::destroy(attached, &made.into_inner().expect("no thread panicked"));
    }
    Ok(Answer::Done)
}

/// Opens the thread's session, gives `work` its call, and closes the session.
fn with_call(
    subject: &Subject,
    name: &str,
    number: usize,
    made: &Mutex<Vec<u64>>,
    work: impl FnOnce(Result<Call<'_>, String>),
) {
    let attached = match subject {
        Subject::Module(attached) => attached,
        Subject::Raw => {
            let call = raw::prepare(name).map_err(|_| "aws-lc failed".to_owned());
            return work(call.and_then(|call| {
                let mut call = call.ok_or("no primitive")?;
                Ok(Box::new(move || call().map_err(|_| "aws-lc failed".to_owned())) as Call<'_>)
            }));
        }
    };
    let session = match attached.module.open_session(attached.slot) {
        Ok(session) => session,
        Err(rv) => return work(Err(format!("C_OpenSession: {rv}"))),
    };
    let bed = Bed {
        module: &attached.module,
        slot: attached.slot,
        session,
        pin: &attached.pin,
        number,
        made,
    };
    match rows::prepare(name, &bed) {
        Ok(mut call) => work(Ok(Box::new(move || call().map_err(|rv| rv.to_string())))),
        Err(rv) => work(Err(rv.to_string())),
    }
    _ = attached.module.close_session(session);
}

/// The moment that the parent has named.
fn instant(nanoseconds_since_1970: u64) -> Instant {
    let (now, moment) = (
        Instant::now(),
        UNIX_EPOCH + Duration::from_nanos(nanoseconds_since_1970),
    );
    let ago = SystemTime::now().duration_since(moment).unwrap_or_default();
    now.checked_sub(ago).unwrap_or(now)
}

/// Calls until so long after `start`; at least once. A thread that was run late has not measured for the time before, but
/// its rate counts it.
fn calls(call: &mut Call<'_>, start: Instant, length: Duration) -> Result<Run, String> {
    let mut run = Run::default();
    let mut successes = 0_u64;
    let before = cpu_of_thread();
    let mut last = Instant::now();
    loop {
        let result = call();
        let now = Instant::now();
        match result {
            Ok(()) => {
                successes += 1;
                run.latencies
                    .add(u64::try_from((now - last).as_nanos()).unwrap_or(u64::MAX));
            }
            Err(trouble) => {
                run.errors += 1;
                if successes == 0 && run.errors >= FAILURES {
                    return Err(trouble);
                }
            }
        }
        last = now;
        if now - start >= length {
            break;
        }
    }
    run.per_second = successes as f64 / (last - start).as_secs_f64().max(1e-9);
    run.cpu = cpu_of_thread() - before;
    Ok(run)
}

fn sum(runs: Vec<Run>) -> Measured {
    let mut all = Histogram::default();
    let mut measured = Measured::default();
    for run in runs {
        measured.per_second += run.per_second;
        measured.cpu += run.cpu;
        measured.errors += run.errors;
        all.merge(&run.latencies);
    }
    measured.latencies = all.filled();
    measured
}

/// CPU nanoseconds of this thread.
fn cpu_of_thread() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0)
}

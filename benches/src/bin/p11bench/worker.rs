//! The worker process: loads a module, logs in, runs one row on some threads and prints what it measured as one line of
//! JSON. The parent writes a line to its standard input when all workers are ready.

use std::io::BufRead;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use cryptoki_sys::*;
use hsmd_benches::histogram::Histogram;
use hsmd_tests::module::Module;
use hsmd_tests::rv::Rv;

use crate::rows::{self, Bed};

/// Which calls are made before the clock starts, so that caches and connections are warm.
const WARM_UP: Duration = Duration::from_millis(100);

struct Work {
    module: String,
    pin: String,
    token: String,
    row: String,
    threads: usize,
    length: Duration,
}

fn parse(words: &[String]) -> Option<Work> {
    let [module, pin, token, row, threads, milliseconds] = words else {
        return None;
    };
    Some(Work {
        module: module.clone(),
        pin: pin.clone(),
        token: token.clone(),
        row: row.clone(),
        threads: threads.parse().ok()?,
        length: Duration::from_millis(milliseconds.parse().ok()?),
    })
}

/// `worker MODULE PIN TOKEN ROW THREADS MILLISECONDS`; the row `keys` makes the keys.
pub(crate) fn run(words: impl Iterator<Item = String>) -> ExitCode {
    let Some(work) = parse(&words.collect::<Vec<_>>()) else {
        println!("{{\"error\":\"usage\"}}");
        return ExitCode::FAILURE;
    };
    match measure(&work) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(rv) => {
            println!("{{\"error\":\"{rv}\"}}");
            ExitCode::FAILURE
        }
    }
}

fn measure(work: &Work) -> Result<String, Rv> {
    let module = Module::load(Path::new(&work.module));
    module.initialize()?;
    let slot = module.slot_of(&work.token);
    let first = module.open_session(slot)?;
    module.login(first, CKU_USER, &work.pin)?;
    if work.row == "keys" {
        rows::make_keys(&Bed {
            module: &module,
            session: first,
            pin: &work.pin,
        });
        return Ok("{}".to_owned());
    }
    let ready = Barrier::new(work.threads + 1);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..work.threads {
            scope.spawn(|| {
                let result = thread(work, &module, slot, &ready);
                results.lock().expect("no thread panicked").push(result);
            });
        }
        ready.wait();
        println!("ready");
        let mut line = String::new();
        drop(std::io::stdin().lock().read_line(&mut line));
        ready.wait();
    });
    let mut all = Histogram::default();
    let (mut busy, mut cpu): (f64, u64) = (0.0, 0);
    for result in results.into_inner().expect("no thread panicked") {
        let run = result?;
        busy = busy.max(run.seconds);
        cpu += run.cpu;
        all.merge(&run.latencies);
    }
    Ok(serde_json::json!({ "seconds": busy, "cpu": cpu, "latencies": all.filled() }).to_string())
}

/// What one thread measured.
#[derive(Default)]
struct Run {
    latencies: Histogram,
    seconds: f64,
    /// Nanoseconds of CPU.
    cpu: u64,
}

fn thread(work: &Work, module: &Module, slot: CK_SLOT_ID, ready: &Barrier) -> Result<Run, Rv> {
    let bed = module.open_session(slot).map(|session| Bed {
        module,
        session,
        pin: &work.pin,
    });
    let call = match &bed {
        Ok(bed) => rows::prepare(&work.row, bed),
        Err(rv) => Err(*rv),
    };
    let call = call.and_then(|mut call| calls(&mut call, WARM_UP.min(work.length)).map(|_| call));
    ready.wait();
    ready.wait();
    calls(&mut call?, work.length)
}

fn calls(call: &mut rows::Call<'_>, length: Duration) -> Result<Run, Rv> {
    let mut run = Run::default();
    let before = cpu_nanoseconds();
    let start = Instant::now();
    let mut last = start;
    while last - start < length {
        call()?;
        let now = Instant::now();
        run.latencies
            .add(u64::try_from((now - last).as_nanos()).unwrap_or(u64::MAX));
        last = now;
    }
    run.seconds = (last - start).as_secs_f64();
    run.cpu = cpu_nanoseconds() - before;
    Ok(run)
}

/// CPU time of this thread.
fn cpu_nanoseconds() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(0)
}

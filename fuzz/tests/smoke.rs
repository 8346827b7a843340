//! Each target over its seeds, its regressions and mutations of them. A panic, more than [`PATIENCE`] for one input, or more
//! than [`MOST_MEMORY`] at once is a failure that names the input. Memory is what Rust allocates on the thread that runs the
//! target; what aws-lc takes in C is not counted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hsmd_fuzz::mutate::Mutator;
use hsmd_fuzz::{TARGETS, find, regressions};

/// The longest input, in bytes.
const LONGEST: usize = 4 << 10;
/// Some inputs are this long, in bytes.
const HUGE: usize = 64 << 10;
/// A machine that does much else needs time; a hang has no end.
const PATIENCE: Duration = Duration::from_secs(20);
/// At once, in bytes, for an input of at most 64 KiB.
const MOST_MEMORY: u64 = 16 << 20;
/// What one target may take of continuous integration.
const BUDGET: Duration = Duration::from_millis(1500);
/// And at most so many inputs.
const INPUTS: usize = 100_000;
/// The choices of the mutations.
const SEED: u64 = 20_260_101;

/// What happened to one input.
enum News {
    Begun(Vec<u8>),
    Found(String),
    Done(usize),
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs one input; says what is wrong with it.
fn one(run: fn(&[u8]), input: &[u8]) -> Option<String> {
    let mut end = Ok(());
    let memory = allocation_counter::measure(|| {
        end = catch_unwind(AssertUnwindSafe(|| run(input)));
    });
    match end {
        Err(_) => Some("panics".to_owned()),
        Ok(()) if memory.bytes_max > MOST_MEMORY => Some(format!("takes {} bytes at once", memory.bytes_max)),
        Ok(()) => None,
    }
}

fn work(name: &str, news: &mpsc::Sender<News>) {
    let target = find(name).expect("a target of the table");
    let mut corpus = (target.seeds)();
    assert!(!corpus.is_empty(), "{name} has no seeds");
    corpus.extend(regressions(target).into_iter().map(|(_, input)| input));
    // The first input also pays for what a target makes once.
    (target.run)(&corpus[0]);
    let (started, mut done) = (Instant::now(), 0);
    let mut mutator = Mutator::new(SEED, LONGEST);
    let mut huge = Mutator::new(SEED, HUGE);
    while done < INPUTS && (done < corpus.len() || started.elapsed() < BUDGET) {
        let input = match corpus.get(done) {
            Some(seed) => seed.clone(),
            None if done % 512 == 0 => {
                let part = huge.next(&corpus, target.words);
                part.repeat(HUGE / part.len().max(1)).into_iter().take(HUGE).collect()
            }
            None => mutator.next(&corpus, target.words),
        };
        let copy = input.clone();
        if news.send(News::Begun(copy)).is_err() {
            return;
        }
        if let Some(what) = one(target.run, &input) {
            // The receiver waits for this.
            let _ = news.send(News::Found(format!("{what}: {}", hex(&input))));
            return;
        }
        done += 1;
    }
    // As above.
    let _ = news.send(News::Done(done));
}

fn smoke(name: &'static str) {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || work(name, &sender));
    let mut last = Vec::new();
    loop {
        match receiver.recv_timeout(PATIENCE) {
            Ok(News::Begun(input)) => last = input,
            Ok(News::Found(what)) => panic!("{name}: an input of {} bytes {what}", last.len()),
            Ok(News::Done(inputs)) => {
                assert!(inputs > 50, "{name}: only {inputs} inputs in {BUDGET:?}");
                return;
            }
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("{name}: hangs: {}", hex(&last)),
            Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{name}: cannot begin; after {}", hex(&last)),
        }
    }
}

macro_rules! smoke {
    ($($test:ident: $name:literal,)*) => {
        const COVERED: &[&str] = &[$($name),*];

        $(
            #[test]
            fn $test() {
                smoke($name);
            }
        )*
    };
}

smoke! {
    hostile_frames_end: "frames",
    hostile_messages_end: "messages",
    hostile_replies_end: "replies",
    hostile_templates_end: "templates",
    hostile_mechanisms_end: "mechanisms",
    hostile_requests_end: "requests",
    hostile_operation_states_end: "operation-state",
    hostile_client_files_end: "client-config",
    hostile_chrystoki_files_end: "chrystoki",
    hostile_pem_files_end: "pem",
    hostile_files_of_elsewhere_end: "import",
    hostile_daemon_files_end: "daemon-config",
    hostile_journal_frames_end: "journal",
    hostile_segments_end: "segments",
    hostile_backups_end: "backup",
    hostile_root_files_end: "root-files",
    hostile_records_end: "records",
    hostile_private_keys_end: "private-keys",
    hostile_certificates_end: "certificates",
    hostile_points_end: "points",
    hostile_blobs_end: "unwrap",
    hostile_forms_end: "aws-query",
    hostile_xks_requests_end: "xks-requests",
    hostile_xks_replies_end: "xks-replies",
}

#[test]
fn every_target_is_smoked() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, COVERED);
}

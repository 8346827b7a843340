//! The storm over a fleet: three daemons, three etcd, eight processes that make, find, sign with, label and destroy keys through the
//! module, and a fault every 10 s. Every call is in a history that must have been possible, and each fault may cost what its row
//! of the table allows. `cargo xtask soak fleet-storm` and `fleet-faults` run it for long.

mod costs;
mod verdict;
mod went_back;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use hsmd_tests::daemon::PIN;
use hsmd_tests::faults::bed::{APPLICATIONS, Bed, MONITORED};
use hsmd_tests::faults::{Fault, Row, TABLE, table};
use hsmd_tests::history;
use hsmd_tests::soak::{Random, Soak};
use hsmd_tests::wait;

use verdict::{Verdict, Window};

pub(crate) const WORKERS: usize = 8;
/// Processes that know one node alone: the judge hears what each node by itself goes on doing.
const WITNESSES: usize = 3;
/// From one fault to the next.
const EVERY: Duration = Duration::from_secs(10);

/// The faults of the short run: one of each family.
const SHORT: [Fault; 5] = [
    Fault::KillNode,
    Fault::StopNode,
    Fault::KillLeader,
    Fault::CutClients,
    Fault::CutNodeFromEtcd,
];

#[test]
fn calls_go_on_and_every_history_is_possible_while_a_fault_comes_every_ten_seconds() {
    let soak = Soak::new("fleet-storm", SHORT.len());
    println!("{}", table());
    let mut random = Random::new(soak.seed);
    let mut storm = Storm::begin();
    for round in 0..soak.rounds {
        // A long run goes through the whole table, again and again.
        let fault = if Soak::is_long() {
            TABLE[(round + soak.seed as usize) % TABLE.len()].fault
        } else {
            SHORT[round % SHORT.len()]
        };
        storm.round(fault, random.below(3));
        soak.progress(round + 1, || format!("{fault:?}"));
    }
    let Verdict { good, impossible, text } = storm.end();
    match planted() {
        None => soak.verdict(good, &text),
        // Over a build that makes a mistake the judge must find it: that something took long is not enough.
        Some(mistake) => soak.verdict(impossible, &format!("{mistake} was planted; {text}")),
    }
}

/// The mistake that this build makes, if `cargo xtask soak planted` runs.
fn planted() -> Option<String> {
    std::env::var("HSMD_PLANTED").ok()
}

/// A fleet with its workers.
pub(crate) struct Storm {
    bed: Bed,
    workers: Vec<Child>,
    notes: Vec<PathBuf>,
    windows: Vec<Window>,
}

impl Storm {
    fn begin() -> Self {
        let mut bed = Bed::start(&[MONITORED]);
        if let Some(mistake) = planted() {
            bed.plant(&mistake);
        }
        let mut storm = Self {
            bed,
            workers: Vec::new(),
            notes: Vec::new(),
            windows: Vec::new(),
        };
        for number in 0..WORKERS + WITNESSES {
            let notes = storm.bed.nodes[0].folder().join(format!("notes-{number}"));
            let program = PathBuf::from(env!("CARGO_BIN_EXE_hsmd-test-child"));
            let mut worker = storm.bed.network.command(APPLICATIONS, &program);
            let module = match number.checked_sub(WORKERS) {
                None => storm.bed.module_copy(number % 3),
                Some(node) => storm.bed.lone_module(node),
            };
            worker.arg("fleet").arg(module).arg(&notes);
            worker.arg(storm.stop_file()).arg(number.to_string()).arg(PIN);
            storm
                .workers
                .push(worker.stdin(Stdio::null()).spawn().expect("a worker starts"));
            storm.notes.push(notes);
        }
        let all_work = wait::until(wait::PATIENCE, || {
            let works = |notes: &PathBuf| fs::read_to_string(notes).is_ok_and(|text| text.contains("use"));
            storm.notes.iter().all(works).then_some(())
        });
        assert!(all_work.is_some(), "not every worker works");
        storm
    }

    fn stop_file(&self) -> PathBuf {
        self.bed.nodes[0].folder().join("stop")
    }

    /// A fault, its end, and what is left of the ten seconds.
    fn round(&mut self, fault: Fault, node: usize) {
        let row: &Row = TABLE
            .iter()
            .find(|row| row.fault == fault)
            .expect("each fault has a row");
        let begun = Instant::now();
        let from = history::now();
        let done = self.bed.inject(fault, node);
        stay(row.lasts);
        self.bed.undo(done);
        let undone = history::now();
        let returned = row.back.map_or(undone, |_| {
            self.bed.cluster.wait_for_a_leader();
            history::now()
        });
        self.bed.wait_until_all_serve();
        let whole = history::now();
        // Where first answers are counted, there is the time for them before the next fault or the end.
        stay(EVERY.saturating_sub(begun.elapsed()).max(row.back.unwrap_or_default()));
        self.windows.push(Window {
            row,
            from,
            undone,
            returned,
            whole,
        });
    }

    /// Ends the workers and judges what they wrote.
    fn end(mut self) -> Verdict {
        fs::write(self.stop_file(), "").expect("the stop file");
        for (number, worker) in self.workers.iter_mut().enumerate() {
            let status = worker.wait().expect("a worker ends");
            assert!(status.success(), "worker {number} ended with {status}");
        }
        let notes: Vec<String> = self
            .notes
            .iter()
            .map(|file| fs::read_to_string(file).expect("notes"))
            .collect();
        let mut verdict = verdict::judge(&self.bed, &notes, &self.windows);
        let wanted = [
            "hsmd_fleet_serving 1",
            "hsmd_fleet_nodes{standing=\"serving\"} 3",
            "hsmd_groups{state=\"READY\"} 1",
        ];
        // On a machine that is held up it may be without its right for a moment.
        let lacks = || {
            let figures = self.bed.figures(0);
            let lacks = wanted.iter().filter(|line| !figures.contains(**line));
            lacks.copied().collect::<Vec<_>>()
        };
        let whole = wait::until(wait::PATIENCE, || lacks().is_empty().then(Vec::new));
        let missing = whole.unwrap_or_else(lacks);
        let _ = writeln!(verdict.text, "  figures that a monitor misses: {missing:?}");
        verdict.good &= missing.is_empty();
        verdict
    }
}

/// Lets the storm go on for so long.
fn stay(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        park_timeout(until.saturating_duration_since(Instant::now()));
    }
}

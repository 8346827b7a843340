//! Random calls of every function of the lists, by processes of their own. INV-9: no crash, no hang, a code of the standard;
//! and a daemon whose memory stays as it is. `cargo xtask soak hostile-calls` makes a million.

use std::process::Command;
use std::time::Duration;

use hsmd_tests::daemon::{Daemon, PIN};
use hsmd_tests::module::Module;
use hsmd_tests::soak::Soak;

use super::watched::{Memory, Watched, panics};

/// Processes side by side.
const PROCESSES: usize = 2;
/// Steps of a run, at which memory is looked at.
const STEPS: usize = 40;
/// For the calls of one process; each call has a deadline of its own.
const PATIENCE: Duration = Duration::from_secs(1200);

#[test]
fn hostile_calls_get_defined_codes_in_time_and_leave_no_trace() {
    let soak = Soak::new("hostile-calls", 4000);
    let mut daemon = Daemon::start();
    let (_, module) = Module::copy(&daemon.module_path(), &daemon.client_file(), daemon.folder());
    let steps = STEPS.min(soak.rounds.div_ceil(1000));
    let each = soak.rounds.div_ceil(steps * PROCESSES);
    let mut memory = Memory::of(&daemon);
    let (mut wrong, mut done) = (Vec::new(), 0);
    for step in 0..steps {
        let seeds = (0..PROCESSES).map(|process| soak.seed.wrapping_add((step * PROCESSES + process) as u64));
        let children: Vec<_> = seeds
            .map(|seed| {
                let mut command = Command::new(env!("CARGO_BIN_EXE_hsmd-test-child"));
                command.arg("random").arg(&module).arg(PIN);
                command.args([seed.to_string(), each.to_string()]);
                Watched::start(command, &format!("calls of seed {seed}"), daemon.folder())
            })
            .collect();
        wrong.extend(children.into_iter().filter_map(|child| child.end(PATIENCE).err()));
        done += each * PROCESSES;
        if !daemon.is_alive() {
            wrong.push(format!("the daemon died:\n{}", daemon.log()));
            break;
        }
        let resident = memory.sample();
        println!(
            "hostile-calls: {done} of {}: resident {} MiB",
            soak.rounds,
            resident >> 10
        );
    }
    let panicked = panics(&daemon);
    let good = wrong.is_empty() && panicked == 0 && memory.is_flat();
    let figures = memory.figures();
    soak.verdict(
        good,
        &format!(
            "{done} calls, {panicked} requests panicked, {figures}; {} processes went wrong {wrong:?}",
            wrong.len()
        ),
    );
}

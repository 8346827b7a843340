//! Seeds: CI runs the first thousand, `cargo xtask soak fleet-sim` as many as it is told; `HSMD_SEED` begins elsewhere.

#![expect(clippy::print_stdout, reason = "verdicts and traces are for whoever runs it")]

use crate::sim::faults::run;
use crate::sim::machine::Mutant;

/// Seeds that once found something. They run first, for ever.
/// 7: a survey that was on its way for long was taken for a store that had forgotten. 122: a node that was stopped for longer than
/// its right spun.
const FOUND: &[u64] = &[7, 122, 8646, 11_703, 12_157];

/// A seed that fails runs again with a trace.
fn check(seed: u64) -> crate::sim::faults::Summary {
    match run(seed, None, false) {
        Ok(summary) => summary,
        Err(breach) => {
            let trace = run(seed, None, true)
                .err()
                .map(|breach| breach.trace)
                .unwrap_or_default();
            let from = trace.len().saturating_sub(400);
            let shown = if number("HSMD_ROUNDS") == Some(1) {
                &trace[..]
            } else {
                &trace[from..]
            };
            shown.iter().for_each(|line| println!("{line}"));
            panic!(
                "seed {seed}: {} (the same again: HSMD_SEED={seed} HSMD_ROUNDS=1)",
                breach.what
            );
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Every fourth of the seeds, so that four threads share them.
fn every_fourth(of: u64) {
    let rounds = number("HSMD_ROUNDS").unwrap_or(1000);
    let first = number("HSMD_SEED").unwrap_or(0);
    let (mut seeds, mut commits, mut replies, mut given_up, mut raises) = (0, 0, 0, 0, 0);
    for seed in (first..first + rounds).filter(|seed| seed % 4 == of) {
        let summary = check(seed);
        (seeds, commits, replies) = (seeds + 1, commits + summary.commits, replies + summary.replies);
        given_up += summary.given_up;
        raises += summary.raises;
        assert!(summary.finished > 0, "seed {seed}: no client had an answer");
    }
    println!(
        "VERDICT fleet-sim: {seeds} seeds, {commits} commits, {replies} replies, {given_up} calls given up, {raises} raises of the level under faults, 0 breaches"
    );
}

#[test]
fn fleet_sim_finds_nothing_0() {
    for seed in FOUND {
        check(*seed);
    }
    every_fourth(0);
}

#[test]
fn fleet_sim_finds_nothing_1() {
    every_fourth(1);
}

#[test]
fn fleet_sim_finds_nothing_2() {
    every_fourth(2);
}

#[test]
fn fleet_sim_finds_nothing_3() {
    every_fourth(3);
}

/// How many seeds it takes to find a planted mistake.
fn found_within(mutant: Mutant, seeds: u64) {
    let found = (0..seeds).find_map(|seed| run(seed, Some(mutant), false).err().map(|breach| (seed, breach.what)));
    let (seed, what) = found.unwrap_or_else(|| panic!("{mutant:?} was not found within {seeds} seeds"));
    println!("{mutant:?}: seed {seed}: {what}");
}

#[test]
fn a_build_without_fencing_is_found() {
    found_within(Mutant::NoFencing, 50);
}

#[test]
fn a_build_that_acknowledges_before_it_commits_is_found() {
    found_within(Mutant::AcknowledgesEarly, 50);
}

#[test]
fn a_build_that_takes_what_was_loaded_late_is_found() {
    let found = |seed: &&u64| run(**seed, Some(Mutant::LoadsLate), false).is_err();
    assert!(
        FOUND.iter().any(|seed| found(&seed)),
        "by none of the seeds that found it"
    );
}

#[test]
fn a_build_that_takes_silence_for_a_conflict_is_found() {
    found_within(Mutant::RetriesBlindly, 50);
}

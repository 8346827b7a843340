//! `cargo xtask soak NAME [--rounds N] [--seed S]`: the programs that kill, fill, break, scan and fuzz, at long counts. Each is
//! a test of the tree that `cargo xtask ci` runs with few rounds; here the same test runs alone, for long, and shows its
//! progress and a last line that begins with `VERDICT`. A name that is no program is a family of tests, as many times as long.

use std::process::ExitCode;

use crate::aws_sdk;
use crate::ci;
use crate::planted;
use crate::portable;
use crate::setup;
use crate::steps::{self, Steps};
use crate::workspace::Workspace;

/// A program: a row of [`PROGRAMS`]. Its test reads `HSMD_ROUNDS` and `HSMD_SEED`.
struct Program {
    name: &'static str,
    what: &'static str,
    /// What the names of its tests contain.
    tests: &'static str,
    /// Rounds unless `--rounds` says otherwise.
    rounds: u64,
}

const fn program(name: &'static str, tests: &'static str, rounds: u64, what: &'static str) -> Program {
    Program {
        name,
        what,
        tests,
        rounds,
    }
}

const PROGRAMS: &[Program] = &[
    program(
        "kill-storm",
        "kill_storm::",
        500,
        "eight processes create, label, sign and destroy; the daemon is killed at store steps and at random moments",
    ),
    program(
        "login-kills",
        "login_kills::",
        1000,
        "kills inside logins, wrong PINs, C_SetPIN, C_InitPIN and C_InitToken",
    ),
    program(
        "control-kills",
        "control::kills::",
        1000,
        "the daemon is killed while administrators make and delete HSMs, partitions and records",
    ),
    program(
        "aws-kills",
        "aws::kills::",
        200,
        "daemon and AWS front end are killed together while boto3 changes keys, aliases, tags, certificates, configurations, groups",
    ),
    program(
        "pin-storm",
        "pin_storm::",
        100,
        "right and wrong PINs from many processes in parallel, with kills between",
    ),
    program(
        "full-disk",
        "full_disk::",
        200,
        "a small file system is filled and emptied under a running daemon",
    ),
    program(
        "io-sweep",
        "io_sweep::",
        0,
        "the n-th write, sync, rename or removal fails, for every n (0 rounds: until no call is left to fail)",
    ),
    program(
        "leak-scan",
        "leak_scan::",
        20,
        "memory, logs and files are searched for planted secrets",
    ),
    program(
        "hostile-calls",
        "hostile::calls::",
        1_000_000,
        "random calls of every function of the lists (a round is a call)",
    ),
    program(
        "call-orders",
        "sweeps::orders::",
        200_000,
        "walks of three to ten functions in any order on one session, after which nothing is left (a round is a walk)",
    ),
    program(
        "model",
        "model::random_calls",
        1 << 20,
        "random calls on the module and on a reference model of sessions, logins, objects, attributes and wrapping (a round is a call)",
    ),
    program(
        "attack-model",
        "no_sequence_of_calls_lets_a_secret_out",
        1 << 20,
        "random calls of an attacker who keeps what it gets, under standard, strict and fips (a round is a call)",
    ),
    program(
        "mutated-frames",
        "frames::mutated::",
        1_000_000,
        "requests spoiled on their way to the daemon, then replies on their way to the module (a round is a frame)",
    ),
    program(
        "fleet-storm",
        "fleet_storm::",
        60,
        "eight processes over three daemons and three etcd in network namespaces, a fault every ten seconds (a round is a fault)",
    ),
    program(
        "fleet-faults",
        "fleet_storm::",
        100,
        "the same, a hundred faults: the whole table again and again",
    ),
    program(
        "fleet-join",
        "fleet_join::",
        100_000,
        "a node is added to a fleet under load: its time, and what the signatures notice (a round is an object)",
    ),
    program(
        "fleet-figures",
        "fleet::figures",
        20_000,
        "measures: signatures through one, two and three nodes of a group, and what the choice costs a call (a round is a call)",
    ),
    program(
        "fleet-sim",
        "fleet_sim",
        10_000,
        "fleets under a simulator: kills, stops, cuts, lost and late messages, restored stores (a round is a seed)",
    ),
];

/// The program that is no test of the tree: CI does not compile it.
const AWS_SDK: &str = "aws-sdk";
/// The program that needs another build.
const PLANTED: &str = "planted";

/// The program of the other provider, another build too.
const PORTABLE: &str = "portable";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    name: Option<String>,
    rounds: Option<u64>,
    seed: Option<u64>,
}

/// Runs the command.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode, String> {
    let request = parse(arguments)?;
    if request.name.as_deref() == Some("--list") {
        list();
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(name @ (AWS_SDK | PLANTED | PORTABLE)) = request.name.as_deref() {
        if request.rounds.is_some() || request.seed.is_some() {
            return Err(format!("{name} has neither rounds nor a seed"));
        }
        let run = match name {
            AWS_SDK => aws_sdk::run,
            PLANTED => planted::run,
            _ => portable::run,
        };
        return Ok(exit_code(run(workspace)));
    }
    let found = PROGRAMS.iter().find(|row| Some(row.name) == request.name.as_deref());
    let Some(program) = found else {
        if request.rounds.is_some() || request.seed.is_some() {
            return Err(
                "--rounds and --seed go with a program's name; `cargo xtask soak --list` shows them".to_owned(),
            );
        }
        return ci::soak(workspace, request.name.as_deref());
    };
    let mut steps = Steps::default();
    steps.step("setup", |_| setup::everything(workspace));
    steps.step("build", |_| ci::build(workspace));
    let rounds = request.rounds.unwrap_or(program.rounds);
    println!("\nsoak {}: {}; {rounds} rounds", program.name, program.what);
    steps.step("soak", |tally| {
        let mut command = ci::tester(workspace);
        command.args(ci::TESTS);
        command.env("HSMD_ROUNDS", rounds.to_string());
        if let Some(seed) = request.seed {
            command.env("HSMD_SEED", seed.to_string());
        }
        command.args(["--", program.tests, "--nocapture", "--test-threads=1"]);
        steps::run_tests(&mut command, tally)?;
        if tally.passed == 0 {
            return Err("no test ran".to_owned());
        }
        Ok(())
    });
    Ok(exit_code(steps.finish()))
}

const fn exit_code(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn list() {
    println!("{:<12} {:>9}  what", "program", "rounds");
    for row in PROGRAMS {
        println!("{:<12} {:>9}  {}", row.name, row.rounds, row.what);
    }
    println!("{AWS_SDK:<12} {:>9}  {}", "-", aws_sdk::WHAT);
    println!("{PLANTED:<12} {:>9}  {}", "-", planted::WHAT);
    println!("{PORTABLE:<12} {:>9}  {}", "-", portable::WHAT);
}

fn parse(arguments: &[String]) -> Result<Request, String> {
    let mut request = Request {
        name: None,
        rounds: None,
        seed: None,
    };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut number = || {
            let value = words.next().ok_or_else(|| format!("{word} needs a number"))?;
            value
                .parse()
                .map(Some)
                .map_err(|_| format!("{word} {value}: not a number"))
        };
        match word.as_str() {
            "--rounds" => request.rounds = number()?,
            "--seed" => request.seed = number()?,
            _ if request.name.is_none() => request.name = Some(word.clone()),
            _ => return Err(format!("one name at a time, not also `{word}`")),
        }
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::{AWS_SDK, PLANTED, PORTABLE, PROGRAMS, Request, parse};

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_name_with_rounds_and_seed_is_read() {
        let read = parse(&words("kill-storm --rounds 500 --seed 7"));
        let wanted = Request {
            name: Some("kill-storm".to_owned()),
            rounds: Some(500),
            seed: Some(7),
        };
        assert_eq!(read, Ok(wanted));
        assert!(parse(&words("kill-storm --rounds")).is_err());
        assert!(parse(&words("kill-storm --rounds many")).is_err());
        assert!(parse(&words("one two")).is_err());
    }

    #[test]
    fn every_program_has_its_own_name() {
        let mut names: Vec<&str> = PROGRAMS.iter().map(|row| row.name).collect();
        names.extend([AWS_SDK, PLANTED, PORTABLE]);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PROGRAMS.len() + 3);
    }
}

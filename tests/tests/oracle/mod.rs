//! The same program of calls on SoftHSM2 and on ours. Each step whose return values differ is a row of `differences.txt`, with
//! the section of PKCS#11 3.2 that explains it; a difference without a row fails, and so does a row without a difference.

use std::fmt::Write;

use hsmd_proto::returns;
use hsmd_tests::peers::{Token, succeed};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/program.txt");

/// A step: its name, its function, the answer.
struct Step {
    name: String,
    function: String,
    answer: String,
}

/// The answers of a module, in the order of the steps.
fn answers(token: &Token) -> Vec<Step> {
    let mut command = token.command(env!("CARGO_BIN_EXE_hsmd-test-child"));
    let run = succeed(command.arg("program").arg(token.module()).arg(PROGRAM));
    let text = String::from_utf8(run.output).expect("text");
    let line = |line: &str| {
        let mut parts = line.splitn(3, ' ').map(str::to_owned);
        let mut part = || parts.next().expect("a name, a function and a code");
        Step {
            name: part(),
            function: part(),
            answer: part(),
        }
    };
    text.lines().map(line).collect()
}

/// A row of the table: the step (`*/name` is every `name` of a `use`), SoftHSM2's code, ours, the section, the reason.
struct Row {
    step: &'static str,
    theirs: &'static str,
    ours: &'static str,
}

impl Row {
    fn explains(&self, there: &Step, here: &Step) -> bool {
        let named = match self.step.strip_prefix("*/") {
            Some(end) => here.name.split_once('/').is_some_and(|(_, name)| name == end),
            None => here.name == self.step,
        };
        named && self.theirs == there.answer && self.ours == here.answer
    }
}

fn table() -> Vec<Row> {
    let rows = include_str!("differences.txt")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    rows.map(|line| {
        let parts: Vec<&str> = line.split('|').map(str::trim).collect();
        let [step, theirs, ours, section, reason] = parts[..] else {
            panic!("five columns: {line}");
        };
        assert!(
            !section.is_empty() && reason.len() > 9,
            "a section and a reason: {line}"
        );
        Row { step, theirs, ours }
    })
    .collect()
}

#[test]
fn every_difference_in_return_values_from_softhsm_is_explained() {
    let (theirs, ours) = (answers(&Token::softhsm()), answers(&Token::hsmd()));
    let names = |steps: &[Step]| steps.iter().map(|step| step.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&theirs), names(&ours), "the same steps");
    assert!(ours.len() > 700, "{} steps", ours.len());
    let table = table();
    let mut used = vec![0; table.len()];
    let mut unexplained = String::new();
    for (there, here) in theirs
        .iter()
        .zip(&ours)
        .filter(|(there, here)| there.answer != here.answer)
    {
        match table.iter().position(|row| row.explains(there, here)) {
            Some(at) => used[at] += 1,
            None => {
                let (name, function) = (&here.name, &here.function);
                writeln!(unexplained, "{name} | {} | {} | {function}", there.answer, here.answer)
                    .expect("a String takes everything");
            }
        }
    }
    let stale: Vec<&str> = table
        .iter()
        .zip(&used)
        .filter(|(_, used)| **used == 0)
        .map(|(row, _)| row.step)
        .collect();
    let explained: usize = used.iter().sum();
    let listed = |step: &&Step| {
        returns::row(&step.function)
            .codes()
            .any(|rv| rv.name() == Some(step.answer.as_str()))
    };
    let unlisted: Vec<String> = ours
        .iter()
        .filter(|step| !listed(step))
        .map(|step| format!("{}: {} from {}", step.name, step.answer, step.function))
        .collect();
    assert!(
        unlisted.is_empty(),
        "codes that the specification does not list:\n{}",
        unlisted.join("\n")
    );
    println!("{} steps, {explained} differ and are explained", ours.len());
    assert!(
        unexplained.is_empty(),
        "unexplained differences (step | SoftHSM2 | ours | function):\n{unexplained}"
    );
    assert!(stale.is_empty(), "rows that are no difference any more: {stale:?}");
}

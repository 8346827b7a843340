//! Every example of every help text, run as it is printed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use hsmd_tests::daemon::binaries;
use hsmd_tests::peers::succeed;

use super::world::World;

/// Last words of commands that change nothing: their examples share a world.
const READING: &[&str] = &[
    "list",
    "describe",
    "status",
    "watch",
    "wait",
    "ready",
    "hsm",
    "group",
    "zones",
    "doctor",
    "env",
    "snippet",
    "completion",
    "man",
    "config",
    "assignments",
    "version",
    "hsmctl",
    "verify",
    "tail",
    "show",
    "roles",
    "officer",
];

fn page() -> String {
    let answer = succeed(Command::new(binaries().join("hsmctl")).args(["man", "--markdown"]));
    String::from_utf8(answer.output).expect("UTF-8")
}

/// Command and its examples, from the page of all help texts.
pub(crate) fn examples() -> BTreeMap<String, Vec<String>> {
    let page = page();
    let sections = page.split("\n## ").skip(1);
    let examples = |section: &str| {
        let name = section.lines().next().unwrap_or_default().to_owned();
        let lines = section.lines().skip_while(|line| !line.starts_with("Example")).skip(1);
        let lines = lines
            .take_while(|line| !line.starts_with("```"))
            .map(|line| line.trim().to_owned());
        (name, lines.filter(|line| !line.is_empty()).collect())
    };
    sections.map(examples).collect()
}

fn reads(command: &str) -> bool {
    let last = command.rsplit(' ').next().unwrap_or_default();
    READING.contains(&last) || last.starts_with("list-") || last.starts_with("describe-")
}

/// Runs the examples of one command, in their order; gives what went wrong.
fn go(world: &World, command: &str, lines: &[String]) -> Vec<String> {
    // What goes on until it is interrupted is good if it does.
    let endless = |line: &str| line.contains(" watch ") && !line.contains("--count");
    let run = |line: &String| match endless(line) {
        true => world.shell(&format!("timeout 1 {line}; test $? = 124")),
        false => world.shell(line),
    };
    let runs = lines.iter().map(|line| (line, run(line)));
    let failed = runs.filter(|(_, run)| !run.good);
    failed
        .map(|(line, run)| format!("{command}: `{line}`\n{}", run.text))
        .collect()
}

#[test]
fn every_example_of_every_help_text_succeeds() {
    let all = examples();
    let count: usize = all.values().map(Vec::len).sum();
    assert!(all.len() > 40 && count > 60, "{} commands, {count} examples", all.len());
    let failed = Mutex::new(Vec::new());
    let (reading, writing): (Vec<_>, Vec<_>) = all.iter().partition(|(command, _)| reads(command));
    let next = Mutex::new(writing.into_iter());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let world = World::new();
            for (command, lines) in &reading {
                let wrong = go(&world, command, lines);
                failed.lock().expect("no panic").extend(wrong);
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some((command, lines)) = next.lock().expect("no panic").next() else {
                        return;
                    };
                    if !lines.is_empty() {
                        let wrong = go(&World::new(), command, lines);
                        failed.lock().expect("no panic").extend(wrong);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic");
    assert!(
        failed.is_empty(),
        "{} examples failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

#[test]
fn the_page_of_hsmctl_is_what_the_program_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/hsmctl.md");
    let page = page();
    if std::env::var_os("HSMD_WRITE_DOCS").is_some() {
        fs::write(&file, &page).expect("the page");
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == page,
        "docs/hsmctl.md is behind the program: HSMD_WRITE_DOCS=1 cargo test --profile ci -p hsmd-tests page_of_hsmctl"
    );
}

/// A list as a table, its headings in the form of keys.
fn headings(table: &str) -> Vec<String> {
    let first = table.lines().next().unwrap_or_default();
    let cells = first.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
    cells.map(|cell| cell.to_lowercase().replace(' ', "_")).collect()
}

#[test]
fn the_json_of_every_list_has_the_fields_of_its_table() {
    let world = World::new();
    let lists = |command: &&String| {
        command.ends_with(" list")
            || command.ends_with(" assignments")
            || command.ends_with(" zones")
            || command.ends_with(" snippet")
    };
    let all = examples();
    let mut seen = 0;
    for command in all.keys().filter(lists) {
        let line = all[command][0].replace(" -o json", "");
        let table = world.shell(&line);
        let json = world.shell(&format!("{line} -o json"));
        assert!(table.good && json.good, "{}{}", table.text, json.text);
        let headings = headings(&String::from_utf8_lossy(&table.output));
        let records: serde_json::Value = serde_json::from_slice(&json.output).expect("JSON");
        let records = records.as_array().unwrap_or_else(|| panic!("{command}: no list"));
        assert!(!headings.is_empty(), "{}", table.text);
        for record in records {
            let lacking: Vec<_> = headings.iter().filter(|key| record.get(key).is_none()).collect();
            assert!(
                lacking.is_empty(),
                "{command}: the JSON lacks {lacking:?}:\n{}{record}",
                table.text
            );
        }
        let yaml = world.shell(&format!("{line} -o yaml"));
        let names = world.shell(&format!("{line} -o name"));
        assert_eq!(
            String::from_utf8_lossy(&names.output).lines().count(),
            records.len(),
            "{}",
            names.text
        );
        assert!(
            yaml.good && (records.is_empty() || yaml.output.starts_with(b"- ")),
            "{}",
            yaml.text
        );
        seen += 1;
    }
    assert!(seen >= 7, "only {seen} lists");
}

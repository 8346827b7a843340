//! No secret stays in memory, in a log or in the store. INV-1. The program `hsmd-test-child leak-scan` plants PINs, key values
//! and plaintexts and searches for them; it runs in a user namespace, in which it may read the daemon's memory whoever runs
//! the tests, though the daemon allows its own user no such thing.

use std::process::{Command, Stdio};

use hsmd_tests::peers::{program, run};
use hsmd_tests::soak::Soak;

#[test]
fn planted_secrets_are_found_nowhere() {
    let soak = Soak::new("leak-scan", 1);
    let words = ["--user", "--map-root-user"];
    let mut possible = Command::new(program("unshare"));
    let possible = run(possible.args(words).arg("true"));
    assert!(
        possible.good,
        "this test reads the daemon's memory, in a user namespace (`unshare --user --map-root-user`): allow them\n{}",
        possible.text
    );
    let mut command = Command::new(program("unshare"));
    command.args(words).arg(env!("CARGO_BIN_EXE_hsmd-test-child"));
    command
        .arg("leak-scan")
        .args([soak.rounds.to_string(), soak.seed.to_string()]);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("unshare runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{text}");
    let figures = text
        .lines()
        .rfind(|line| line.starts_with("figures: "))
        .unwrap_or(&text);
    soak.verdict(output.status.success(), figures);
}

//! A disk that is full, and then is not. The daemon's store lies on a small file system of its own, in a namespace in which
//! the program `hsmd-test-child full-disk` may mount one; what happens there is in that program.

use std::process::{Command, Stdio};

use hsmd_tests::peers::{program, run};
use hsmd_tests::soak::Soak;

#[test]
fn a_full_disk_refuses_keeps_signs_and_recovers_without_restart() {
    let soak = Soak::new("full-disk", 3);
    let folder = tempfile::tempdir().expect("a folder");
    let words = ["--user", "--map-root-user", "--mount"];
    let mut possible = Command::new(program("unshare"));
    let possible = run(possible
        .args(words)
        .args(["mount", "-t", "tmpfs", "none"])
        .arg(folder.path()));
    assert!(
        possible.good,
        "this test needs a small file system of its own, in a user namespace (`unshare --user --map-root-user --mount`): \
         allow them\n{}",
        possible.text
    );
    let mut command = Command::new(program("unshare"));
    command.args(words).arg(env!("CARGO_BIN_EXE_hsmd-test-child"));
    command.arg("full-disk").arg(folder.path());
    command.args([soak.rounds.to_string(), soak.seed.to_string()]);
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

//! What the kernel may do with the daemon's memory. INV-1: no key in swap or in a core dump.

use std::fs;
use std::path::Path;

use hsmd_tests::daemon::Daemon;
use hsmd_tests::peers::succeed;

/// A row of a file in the daemon's folder of /proc.
fn row(daemon: &Daemon, file: &str, name: &str) -> String {
    let path = format!("/proc/{}/{file}", daemon.variable("HSMD_PID"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    text.lines()
        .find(|line| line.starts_with(name))
        .unwrap_or_else(|| panic!("{path}: no `{name}`"))
        .to_owned()
}

#[test]
fn the_daemon_leaves_no_core_dump_and_says_whether_its_memory_is_locked() {
    let daemon = Daemon::start();
    let core = row(&daemon, "limits", "Max core file size");
    let limits: Vec<&str> = core
        .split_whitespace()
        .filter(|word| word.chars().all(|c| c.is_ascii_digit()))
        .collect();
    assert_eq!(limits, ["0", "0"], "{core}");
    let locked = row(&daemon, "status", "VmLck:");
    let kib: u64 = locked
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .expect("a number");
    // Where the limit is finite, locking everything would end the daemon at its next allocation: it says so instead.
    let unlimited = row(&daemon, "limits", "Max locked memory").contains("unlimited");
    let mut status = daemon.command(Path::new(daemon.variable("HSMCTL")));
    let status = succeed(status.args(["status", "--endpoint", daemon.variable("HSMD_ENDPOINT")]));
    assert_eq!(kib > 0, unlimited, "{locked}\n{}", status.text);
    assert_eq!(status.text.contains("not locked"), !unlimited, "{}", status.text);
}

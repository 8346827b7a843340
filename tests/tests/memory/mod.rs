//! Keys in memory. INV-1: none in an application's, none in swap or in a core dump of the daemon.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use cryptoki_sys::*;
use hsmd_tests::daemon::{Daemon, LABEL, PIN};
use hsmd_tests::module::Module;
use hsmd_tests::peers::succeed;
use hsmd_tests::template::{Mechanism, bytes, flag, number};

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

/// Label of the key; also what the scan must find, so that a scan that sees nothing is noticed.
const NAME: &str = "key-under-the-scanner-5c1d";

#[test]
fn an_application_that_uses_a_key_never_holds_it() {
    let daemon = Daemon::start();
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
    module.login(session, CKU_USER, PIN).expect("C_Login");
    // Readable, so that the test knows what to look for; made in the daemon, used by another program.
    let template = [
        flag(CKA_TOKEN, true),
        flag(CKA_SENSITIVE, false),
        flag(CKA_EXTRACTABLE, true),
        number(CKA_VALUE_LEN, 32),
        bytes(CKA_LABEL, NAME),
    ];
    let key = module
        .generate_key(session, &Mechanism::Plain(CKM_AES_KEY_GEN), &template)
        .expect("a key");
    let value = module.get(session, key, CKA_VALUE).expect("CKA_VALUE");

    let (_, copy) = Module::copy(&daemon.module_path(), &daemon.client_file(), daemon.folder());
    let mut program = Command::new(env!("CARGO_BIN_EXE_hsmd-test-child"));
    program
        .arg("hold")
        .arg(copy)
        .args([PIN, NAME])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut program = program.spawn().expect("the program starts");
    let mut line = String::new();
    let output = program.stdout.take().expect("its output");
    BufReader::new(output).read_line(&mut line).expect("a line");
    assert_eq!(line, "used\n");
    let (copies, names) = (
        occurrences(program.id(), &value),
        occurrences(program.id(), NAME.as_bytes()),
    );
    drop(program.stdin.take());
    assert!(program.wait().expect("the program ends").success());
    assert!(names > 0, "the scan saw nothing of the program's memory");
    assert_eq!(copies, 0, "the key's value is in the application's memory");
}

/// How often bytes stand in the writable memory of a process.
fn occurrences(process: u32, wanted: &[u8]) -> usize {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).expect("the memory map");
    let memory = File::open(format!("/proc/{process}/mem")).expect("the memory");
    let mut found = 0;
    for line in maps.lines().filter(|line| {
        line.split_whitespace()
            .nth(1)
            .is_some_and(|mode| mode.starts_with("rw"))
    }) {
        let range = line
            .split_whitespace()
            .next()
            .and_then(|range| range.split_once('-'))
            .expect("a range");
        let (start, end) = (
            u64::from_str_radix(range.0, 16).expect("hex digits"),
            u64::from_str_radix(range.1, 16).expect("hex digits"),
        );
        let mut content = vec![0; (end - start) as usize];
        // A page that is gone meanwhile, or of a device, holds no key.
        if memory.read_exact_at(&mut content, start).is_ok() {
            found += content.windows(wanted.len()).filter(|window| *window == wanted).count();
        }
    }
    found
}

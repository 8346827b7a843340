//! What the kernel sees, and what it does on purpose: each acknowledgement comes after its fdatasync, a failed one ends the
//! daemon, a slow one delays nobody who only reads. INV-2: acknowledged is durable. INV-5: the hot path does not wait.

use std::fs;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use cryptoki_sys::*;
use hsmd_tests::daemon::{Daemon, LABEL, Options, PIN};
use hsmd_tests::peers::program;
use hsmd_tests::template::{self, Mechanism, bytes, flag, number};
use hsmd_tests::wait;

/// Creations that are looked at.
const CREATIONS: usize = 20;
/// A heartbeat is a header alone: no acknowledgement.
const HEADER: i64 = 16;

/// What happened, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Request,
    Synced,
    Reply,
}

#[test]
fn each_acknowledgement_comes_after_its_fdatasync() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    let strace = program("strace").display().to_string();
    let calls = "trace=fdatasync,fsync,read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg";
    let output = trace.display().to_string();
    let under = [&strace, "-f", "-yy", "-s", "0", "-e", calls, "-o", &output]
        .map(str::to_owned)
        .to_vec();
    let mut daemon = Daemon::start_with(Options {
        under,
        ..Options::default()
    });
    // The kernel knows a socket by the path that it was bound to; the daemon may have renamed it since.
    let socket = format!("{}.", daemon.socket().with_extension("").display());
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
    module.login(session, CKU_USER, PIN).expect("C_Login");
    for number_of_object in 0..CREATIONS {
        let template = [
            number(CKA_CLASS, CKO_DATA),
            flag(CKA_TOKEN, true),
            bytes(CKA_LABEL, format!("object {number_of_object}")),
            bytes(CKA_VALUE, "value"),
        ];
        module.create(session, &template).expect("C_CreateObject");
    }
    // Nothing is asked after the creations, so that the last events on the socket are theirs.
    daemon.kill9();
    let text = fs::read_to_string(&trace).expect("the trace");
    let events = events(&text, &socket);
    let replies = events.iter().filter(|event| **event == Event::Reply).count();
    assert!(
        replies >= CREATIONS,
        "{replies} replies on {socket}; is the socket named otherwise?\n{}",
        tail(&text)
    );
    let start = nth_last_request(&events, CREATIONS);
    let mut synced = false;
    for (position, event) in events[start..].iter().enumerate() {
        match event {
            Event::Request => synced = false,
            Event::Synced => synced = true,
            Event::Reply => assert!(
                synced,
                "event {position}: a reply before its fdatasync\n{}",
                tail(&text)
            ),
        }
    }
}

#[test]
fn a_failed_sync_ends_the_daemon_and_loses_nothing_acknowledged() {
    let mut daemon = Daemon::start();
    // The 20th fdatasync of each thread and all after it fail, as those of a dying disk: the kernel may have dropped the
    // pages, so that a second try would lie.
    let strace = program("strace").display().to_string();
    let inject = "inject=fdatasync:error=EIO:when=20+";
    let under = [&strace, "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", inject]
        .map(str::to_owned)
        .to_vec();
    daemon.restart_under(under);
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");
    module.login(session, CKU_USER, PIN).expect("C_Login");
    let create = |name: usize| {
        let label = bytes(CKA_LABEL, format!("object {name}"));
        module.create(session, &[number(CKA_CLASS, CKO_DATA), flag(CKA_TOKEN, true), label])
    };
    let acknowledged = (0..1000).take_while(|name| create(*name).is_ok()).count();
    assert!(
        acknowledged > 0 && acknowledged < 1000,
        "{acknowledged} creations were acknowledged"
    );
    let ended = wait::until(wait::PATIENCE, || (!daemon.is_alive()).then_some(()));
    assert!(ended.is_some(), "the daemon goes on after a failed fdatasync");
    daemon.restart_under(Vec::new());
    for name in 0..acknowledged {
        let found = module
            .find(session, &[bytes(CKA_LABEL, format!("object {name}"))])
            .expect("C_FindObjects");
        assert_eq!(found.len(), 1, "object {name} of {acknowledged}");
    }
    assert!(create(1001).is_ok(), "the store takes writes again");
}

#[test]
fn keys_work_while_a_write_waits_for_the_disk() {
    // INV-5: sign, find and read are answered from memory. Every fdatasync takes three seconds here.
    let strace = program("strace").display().to_string();
    let inject = "inject=fdatasync:delay_enter=3000000";
    let under = [&strace, "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", inject]
        .map(str::to_owned)
        .to_vec();
    let mut daemon = Daemon::start();
    daemon.restart_under(under);
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let slot = module.slot_of(LABEL);
    let (session, writer) = (
        module.open_session(slot).expect("a session"),
        module.open_session(slot).expect("another"),
    );
    module.login(session, CKU_USER, PIN).expect("C_Login");
    let curve = [bytes(CKA_EC_PARAMS, template::P256)];
    let (_, private) = module
        .generate_key_pair(session, &Mechanism::Plain(CKM_EC_KEY_PAIR_GEN), &curve, &[])
        .expect("a pair of session keys");
    let (written, asked) = (AtomicBool::new(false), Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            asked.wait();
            let created = module.create(writer, &[number(CKA_CLASS, CKO_DATA), flag(CKA_TOKEN, true)]);
            written.store(true, Ordering::SeqCst);
            created.expect("C_CreateObject");
        });
        asked.wait();
        for _ in 0..20 {
            module
                .sign(session, &Mechanism::Plain(CKM_ECDSA), private, &[7; 32])
                .expect("C_Sign");
            module
                .find(session, &[number(CKA_CLASS, CKO_DATA)])
                .expect("C_FindObjects");
        }
        assert!(
            !written.load(Ordering::SeqCst),
            "20 signatures took as long as a write of three seconds"
        );
    });
}

fn nth_last_request(events: &[Event], count: usize) -> usize {
    let requests: Vec<usize> = events
        .iter()
        .enumerate()
        .filter(|(_, event)| **event == Event::Request)
        .map(|(at, _)| at)
        .collect();
    requests[requests.len() - count]
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// Reads strace's lines: `PID call(fd<...>, ...) = result`, possibly in two parts when threads interleave. A reply
/// counts when its call begins, a sync when it has ended with 0, a request when it was read.
fn events(text: &str, socket: &str) -> Vec<Event> {
    let mut events = Vec::new();
    let mut open: Vec<(String, bool)> = Vec::new();
    for line in text.lines() {
        let Some((process, rest)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let rest = rest.trim_start();
        let resumed = rest.strip_prefix("<... ");
        let name = resumed.unwrap_or(rest).split(['(', ' ']).next().unwrap_or_default();
        let unfinished = rest.ends_with("<unfinished ...>");
        let on_socket = match resumed {
            None => rest.contains(socket),
            Some(_) => {
                let at = open.iter().position(|(waiting, _)| waiting == process);
                at.is_some_and(|at| open.swap_remove(at).1)
            }
        };
        if unfinished {
            open.push((process.to_owned(), on_socket));
        }
        let result: i64 = rest
            .rsplit_once(" = ")
            .and_then(|(_, result)| result.split_whitespace().next())
            .and_then(|result| result.parse().ok())
            .unwrap_or(-1);
        match name {
            "fdatasync" | "fsync" if result == 0 => events.push(Event::Synced),
            "read" | "readv" | "recvfrom" | "recvmsg" if on_socket && result > 0 => request(&mut events),
            "write" | "writev" | "sendto" | "sendmsg" if on_socket && resumed.is_none() && result != HEADER => {
                events.push(Event::Reply);
            }
            _ => {}
        }
    }
    events
}

/// A request that is read in several pieces is one.
fn request(events: &mut Vec<Event>) {
    if events.last() != Some(&Event::Request) {
        events.push(Event::Request);
    }
}

#[test]
fn a_trace_is_read_in_order() {
    let text = "\
10 recvfrom(7<UNIX-STREAM:[1->2,\"/x/data.sock\"]>, \"\"..., 100, 0, NULL, NULL) = 60
11 fdatasync(5</x/journal> <unfinished ...>
10 sendto(7<UNIX-STREAM:[1->2,\"/x/data.sock\"]>, \"\"..., 16, 0, NULL, 0) = 16
11 <... fdatasync resumed>) = 0
10 sendto(7<UNIX-STREAM:[1->2,\"/x/data.sock\"]>, \"\"..., 40, 0, NULL, 0) = 40
10 write(1</dev/null>, \"\"..., 3) = 3
";
    assert_eq!(
        events(text, "/x/data.sock"),
        [Event::Request, Event::Synced, Event::Reply]
    );
}

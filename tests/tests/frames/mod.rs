//! Bytes on the data socket that are no frames, or not of this protocol: the connection ends, the daemon does not. The
//! layout of a frame is in docs/protocol.md; it is written by hand here, as a stranger would.

mod mutated;
mod proxy;
mod spoil;
mod talk;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use hsmd_tests::daemon::{Daemon, LABEL};
use hsmd_tests::wait;

const REQUEST: u8 = 1;

/// A header of 16 bytes: magic, kind, flags, length of the secret section, length of the body, sequence.
fn header(kind: u8, flags: u8, section: u32, body: u32) -> Vec<u8> {
    let mut bytes = vec![b'h', b'P', kind, flags];
    for number in [section, body, 1] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes
}

/// Sends bytes and expects that the daemon closes the connection, with or without an answer.
fn closed_after(daemon: &Daemon, what: &str, bytes: &[u8], hang_up: bool) {
    let mut stream = UnixStream::connect(daemon.socket()).expect("the data socket");
    stream.set_read_timeout(Some(wait::PATIENCE)).expect("a deadline");
    if let Err(error) = stream.write_all(bytes) {
        assert!(
            matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
            "{what}: {error}"
        );
    }
    if hang_up {
        stream.shutdown(std::net::Shutdown::Write).expect("half a hang-up");
    }
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{what}: the connection stays open: {error}"),
    }
}

#[test]
fn frames_that_are_none_close_the_connection_and_harm_nobody() {
    let mut daemon = Daemon::start();
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let session = module.open_session(module.slot_of(LABEL)).expect("C_OpenSession");

    let with_body = |kind, flags, body: &[u8]| [header(kind, flags, 0, body.len() as u32), body.to_vec()].concat();
    closed_after(&daemon, "another protocol", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", false);
    closed_after(&daemon, "an unknown kind", &with_body(99, 0, b""), false);
    closed_after(&daemon, "an unknown flag", &with_body(REQUEST, 0x80, b""), false);
    closed_after(&daemon, "a body too long", &header(REQUEST, 0, 0, u32::MAX), false);
    closed_after(&daemon, "a section too long", &header(REQUEST, 0, u32::MAX, 1), false);
    closed_after(&daemon, "a reply from a client", &with_body(2, 0, b""), false);
    closed_after(
        &daemon,
        "a body that is no message",
        &with_body(REQUEST, 0, &[0xff; 64]),
        false,
    );
    closed_after(&daemon, "a header cut off", &header(REQUEST, 0, 0, 10)[..7], true);
    closed_after(
        &daemon,
        "a body cut off",
        &[header(REQUEST, 0, 0, 100), vec![0; 10]].concat(),
        true,
    );
    closed_after(&daemon, "nothing", b"", true);

    assert!(daemon.is_alive(), "the daemon died:\n{}", daemon.log());
    let after = module.find(session, &[]);
    assert!(after.is_ok(), "the session of a well-behaved client: {after:?}");
}

#[test]
fn random_bytes_harm_nobody() {
    let mut daemon = Daemon::start();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..64 * hsmd_tests::soak() {
        let mut bytes = if round % 2 == 0 {
            header(REQUEST, 0, 0, 48)
        } else {
            Vec::new()
        };
        for _ in 0..48 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.push((state >> 32) as u8);
        }
        closed_after(&daemon, &format!("random bytes {round}"), &bytes, true);
    }
    assert!(daemon.is_alive(), "the daemon died:\n{}", daemon.log());
}

#[test]
fn a_connection_that_says_nothing_does_not_stop_others() {
    let daemon = Daemon::start();
    let silent: Vec<UnixStream> = (0..32)
        .map(|_| UnixStream::connect(daemon.socket()).expect("the data socket"))
        .collect();
    let module = daemon.module();
    module.initialize().expect("C_Initialize");
    let slot = module.slot_of(LABEL);
    assert!(module.open_session(slot).is_ok());
    drop(silent);
}

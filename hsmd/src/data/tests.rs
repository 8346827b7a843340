//! The data plane over socket pairs: hostile bytes, dispatch, limits, heartbeats. The keystore is in memory.

use super::clients::Peer;
use super::connection::{self, End};
use super::stream::Stream;
use crate::config::Config;
use crate::control::NewHsm;
use crate::memory::Protection;
use crate::node::Node;
use hsmd_keystore::{Identity, Keystore, Options, PinCost};
use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType, KeyType, MechanismType, ObjectClass, Rv, UserType};
use hsmd_proto::convert::{mechanism_to_wire, template_to_wire};
use hsmd_proto::frame::{FrameKind, FrameWriter, HEADER, Header, PART};
use hsmd_proto::meta::Curve;
use hsmd_proto::params::{Mechanism, Params};
use hsmd_proto::wire::request::Op;
use hsmd_proto::wire::{self, Reply, Request, Section, reply};
use prost::Message;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{JoinHandle, spawn};

mod assigned;
mod remote;

const SO_PIN: &[u8] = b"87654321";
const PIN: &[u8] = b"123456";

/// A node with one HSM, one partition, and a free slot after it.
pub(crate) fn node(change: impl FnOnce(&mut Config)) -> Arc<Node> {
    let mut config = Config::default();
    change(&mut config);
    let options = Options {
        dev: true,
        pin_cost: PinCost::SMALL,
        ..Options::default()
    };
    let keystore = Keystore::in_memory(&options).unwrap();
    let protection = Protection {
        locked: false,
        undumpable: false,
        no_core: false,
    };
    let node = Node::new(keystore, config, protection).unwrap();
    let hsm = node.model().create_hsm(&NewHsm::default()).unwrap();
    node.model().confirm(&hsm.id).unwrap();
    node.model().create_partition("", "demo", None).unwrap();
    node.model().offer_free_slot(&hsm.id).unwrap();
    Arc::new(node)
}

/// A client that writes and reads frames by hand.
pub(crate) struct Client<S = UnixStream> {
    pub(crate) stream: S,
    writer: FrameWriter,
    sequence: u32,
    ticket: Option<Vec<u8>>,
    pub(crate) heartbeats: usize,
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self {
            stream,
            writer: FrameWriter::new(),
            sequence: 0,
            ticket: None,
            heartbeats: 0,
        }
    }

    /// Sends a request; `make` puts secrets into the section.
    pub(crate) fn send(&mut self, slot: u32, make: impl FnOnce(&mut FrameWriter) -> Op) {
        self.sequence += 1;
        let op = make(&mut self.writer);
        let ticket = self.ticket.as_ref().map(|ticket| self.writer.hide(ticket));
        let request = Request {
            slot,
            ticket,
            grant: None,
            seen: 0,
            op: Some(op),
        };
        let bytes = self.writer.finish(FrameKind::Request, self.sequence, &request).to_vec();
        self.writer.clear();
        self.stream.write_all(&bytes).unwrap();
    }

    /// Reads a reply with its section, counting heartbeats on the way.
    pub(crate) fn receive(&mut self) -> (Reply, Vec<u8>) {
        let mut section = Vec::new();
        loop {
            let header = self.header();
            assert_eq!(header.sequence, self.sequence);
            let mut part = vec![0; header.section];
            self.stream.read_exact(&mut part).unwrap();
            section.extend(part);
            let mut body = vec![0; header.body];
            self.stream.read_exact(&mut body).unwrap();
            match header.kind {
                FrameKind::Heartbeat => self.heartbeats += 1,
                FrameKind::Reply if header.more => {}
                FrameKind::Reply => return (Reply::decode(body.as_slice()).unwrap(), section),
                FrameKind::Request => panic!("a daemon sends no requests"),
            }
        }
    }

    pub(crate) fn header(&mut self) -> Header {
        let mut bytes = [0; HEADER];
        self.stream.read_exact(&mut bytes).unwrap();
        Header::parse(&bytes).unwrap()
    }

    pub(crate) fn call(&mut self, op: Op) -> (Rv, Option<reply::Result>, Vec<u8>) {
        self.call_with(0, |_| op)
    }

    fn call_with(
        &mut self,
        slot: u32,
        make: impl FnOnce(&mut FrameWriter) -> Op,
    ) -> (Rv, Option<reply::Result>, Vec<u8>) {
        self.send(slot, make);
        let (reply, section) = self.receive();
        (Rv(reply.rv), reply.result, section)
    }

    pub(crate) fn hello(&mut self) {
        let (rv, result, _) = self.call(hello());
        assert_eq!(rv, Rv::OK);
        assert!(matches!(result, Some(reply::Result::Hello(_))));
    }

    fn init_token(&mut self, slot: u32) -> Rv {
        let make = |writer: &mut FrameWriter| {
            Op::InitToken(wire::InitToken {
                so_pin: Some(writer.hide(SO_PIN)),
                label: vec![b'x'; 32],
                operation: fresh(),
            })
        };
        self.call_with(slot, make).0
    }

    fn login(&mut self, slot: u32, user: UserType, pin: &[u8]) -> Rv {
        let make = |writer: &mut FrameWriter| {
            Op::Login(wire::Login {
                user: user.0,
                pin: Some(writer.hide(pin)),
                attempt: fresh(),
                purpose: None,
            })
        };
        let (rv, result, section) = self.call_with(slot, make);
        if let Some(reply::Result::Login(login)) = result {
            self.ticket = Some(bytes(&section, login.ticket.as_ref()));
        }
        rv
    }

    /// Takes the token from uninitialised to a user's login.
    fn set_up(&mut self, slot: u32) {
        assert_eq!(self.init_token(slot), Rv::OK);
        assert_eq!(self.login(slot, UserType::SO, SO_PIN), Rv::OK);
        let make = |writer: &mut FrameWriter| {
            Op::InitPin(wire::InitPin {
                pin: Some(writer.hide(PIN)),
                operation: fresh(),
            })
        };
        assert_eq!(self.call_with(slot, make).0, Rv::OK);
        assert_eq!(self.call(Op::Logout(wire::Logout {})).0, Rv::OK);
        self.ticket = None;
        assert_eq!(self.login(slot, UserType::USER, PIN), Rv::OK);
    }
}

fn bytes(section: &[u8], range: Option<&Section>) -> Vec<u8> {
    let range = range.unwrap();
    section[range.offset as usize..][..range.length as usize].to_vec()
}

fn fresh() -> Vec<u8> {
    hsmd_crypto::random::array::<16>().to_vec()
}

fn hello() -> Op {
    Op::Hello(wire::Hello {
        version: 1,
        application: vec![7; 16],
        program: "test".into(),
    })
}

const fn peer() -> Peer {
    Peer {
        access: super::clients::Access::Local,
        identity: Identity([1; 32]),
        user: 1,
        process: 1,
    }
}

/// A connection to the node, and how it ends.
fn connect(node: &Arc<Node>) -> (Client, JoinHandle<End>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let theirs = Stream::from(theirs);
    let connected = node.clients.connect(peer().identity, theirs.line()).unwrap();
    let node = node.clone();
    let task = spawn(move || connection::serve(&node, theirs, peer(), connected));
    (Client::over(ours), task)
}

#[test]
fn hostile_bytes_close_the_connection_and_harm_nobody_else() {
    let node = node(|_| ());
    let header = |kind: u8, flags: u8, section: u32, body: u32| {
        let mut bytes = vec![b'h', b'P', kind, flags];
        for number in [section, body, 1] {
            bytes.extend(number.to_le_bytes());
        }
        bytes
    };
    let whole = |kind, flags, section: usize, body: &[u8]| {
        let mut bytes = header(kind, flags, section as u32, body.len() as u32);
        bytes.extend(vec![0; section]);
        bytes.extend(body);
        bytes
    };
    let other_number = [
        whole(1, 1, 4, &[]),
        header(1, 0, 0, 0)
            .iter()
            .map(|byte| byte | u8::from(*byte == 1) << 1)
            .collect(),
    ]
    .concat();
    let cases: [(&str, Vec<u8>); 11] = [
        ("not a frame", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("unknown kind", header(9, 0, 0, 0)),
        ("a reply", header(2, 0, 0, 0)),
        ("a heartbeat", header(3, 0, 0, 0)),
        ("unknown flag", header(1, 128, 0, 0)),
        ("too long a section", header(1, 0, u32::MAX, 0)),
        ("too long a body", header(1, 0, 0, u32::MAX)),
        ("a body before the last part", header(1, 1, 0, 5)),
        ("a body that is no message", whole(1, 0, 0, &[0xff; 20])),
        ("a truncated frame", whole(1, 0, 50, b"abc")[..40].to_vec()),
        ("parts of different requests", other_number),
    ];
    for (name, hostile) in cases {
        let (mut client, task) = connect(&node);
        client.hello();
        // The daemon may close before it has read all.
        let _ = client.stream.write_all(&hostile);
        let _ = client.stream.shutdown(Shutdown::Write);
        let end = task.join().unwrap();
        assert!(!end.is_ordinary(), "{name}: {end}");
    }
    assert_eq!(node.clients.count(), 0);
    let (mut client, _task) = connect(&node);
    client.hello();
}

#[test]
fn the_first_request_is_hello() {
    let node = node(|_| ());
    let (mut client, task) = connect(&node);
    client.send(0, |_| Op::Ping(wire::Ping {}));
    assert!(matches!(task.join().unwrap(), End::NoHello));
    let (mut client, task) = connect(&node);
    client.send(0, |_| Op::Hello(wire::Hello::default()));
    assert!(matches!(task.join().unwrap(), End::BadHello));
}

#[test]
fn an_unknown_request_is_refused_and_the_connection_goes_on() {
    let node = node(|_| ());
    let (mut client, _task) = connect(&node);
    client.hello();
    // Field 99 with an empty message: a request of a later version.
    let body = [0x9a, 0x06, 0x00];
    client.sequence += 1;
    let header = Header {
        kind: FrameKind::Request,
        more: false,
        section: 0,
        body: body.len(),
        sequence: client.sequence,
    };
    client
        .stream
        .write_all(&[&header.to_bytes()[..], &body].concat())
        .unwrap();
    assert_eq!(Rv(client.receive().0.rv), Rv::FUNCTION_NOT_SUPPORTED);
    assert_eq!(client.call(Op::Ping(wire::Ping {})).0, Rv::OK);
}

#[test]
fn ranges_outside_the_section_are_bad_arguments() {
    let node = node(|_| ());
    let (mut client, _task) = connect(&node);
    client.hello();
    let outside = Section {
        offset: 5,
        length: u32::MAX,
    };
    let op = Op::Login(wire::Login {
        user: 1,
        pin: Some(outside),
        attempt: fresh(),
        purpose: None,
    });
    assert_eq!(client.call(op).0, Rv::ARGUMENTS_BAD);
    let unknown_slot = client.call_with(77, |_| Op::ListMechanisms(wire::ListMechanisms {}));
    assert_eq!(unknown_slot.0, Rv::SLOT_ID_INVALID);
}

#[test]
fn a_free_slot_that_is_taken_is_followed_by_a_new_one() {
    let node = node(|_| ());
    let (mut client, _task) = connect(&node);
    client.hello();
    let ids = |result: Option<reply::Result>| match result {
        Some(reply::Result::Slots(list)) => list.slots.iter().map(|slot| slot.id).collect::<Vec<_>>(),
        _ => panic!("no list of slots"),
    };
    assert_eq!(ids(client.call(Op::ListSlots(wire::ListSlots {})).1), [0, 1]);
    assert_eq!(client.init_token(1), Rv::OK);
    assert_eq!(ids(client.call(Op::ListSlots(wire::ListSlots {})).1), [0, 1, 2]);
    // Initialised again: it is nobody's free slot any more.
    assert_eq!(client.init_token(1), Rv::OK);
    assert_eq!(ids(client.call(Op::ListSlots(wire::ListSlots {})).1), [0, 1, 2]);
}

fn ec_pair(writer: &mut FrameWriter) -> Op {
    let own = |class| {
        vec![
            Attribute::ulong(AttributeType::CLASS, class),
            Attribute::boolean(AttributeType::TOKEN, true),
        ]
    };
    let mut public = own(ObjectClass::PUBLIC_KEY.0);
    public.push(Attribute::ulong(AttributeType::KEY_TYPE, KeyType::EC.0));
    public.push(Attribute::bytes(AttributeType::EC_PARAMS, Curve::P256.oid_der()));
    let mut private = own(ObjectClass::PRIVATE_KEY.0);
    private.push(Attribute::bytes(AttributeType::LABEL, b"first"));
    Op::GenerateKeyPair(wire::GenerateKeyPair {
        mechanism: Some(mechanism_to_wire(&Mechanism::plain(MechanismType::EC_KEY_PAIR_GEN))),
        public_id: fresh(),
        public_template: template_to_wire(&Template(public), writer),
        private_id: fresh(),
        private_template: template_to_wire(&Template(private), writer),
    })
}

#[test]
fn a_key_is_made_found_and_used() {
    let node = node(|_| ());
    let (mut client, _task) = connect(&node);
    client.hello();
    client.set_up(0);
    let (rv, result, _) = client.call_with(0, ec_pair);
    assert_eq!(rv, Rv::OK);
    let Some(reply::Result::Pair(pair)) = result else {
        panic!("no pair")
    };
    let private = pair.private_key.unwrap();

    let label = Template(vec![Attribute::bytes(AttributeType::LABEL, b"first")]);
    let (rv, result, _) = client.call_with(0, |writer| {
        Op::Find(wire::Find {
            template: template_to_wire(&label, writer),
        })
    });
    let Some(reply::Result::Find(found)) = result else {
        panic!("{rv}")
    };
    assert_eq!(found.hits, [private.unique_id.as_slice(), &[1]].concat());
    assert_eq!(found.objects.len(), 1);

    let sign = |writer: &mut FrameWriter| {
        Op::Sign(wire::Crypt {
            key: Some(wire::ObjectRef {
                unique_id: private.unique_id.clone(),
                blob: vec![],
            }),
            mechanism: Some(mechanism_to_wire(&Mechanism::plain(MechanismType::ECDSA))),
            data: Some(writer.hide(&[3; 32])),
            digested: false,
        })
    };
    let (rv, result, section) = client.call_with(0, sign);
    let Some(reply::Result::Output(signature)) = result else {
        panic!("{rv}")
    };
    assert_eq!(bytes(&section, Some(&signature)).len(), 64);

    // The ticket is worth nothing after logout, here and on a connection that does not know it yet.
    assert_eq!(client.call(Op::Logout(wire::Logout {})).0, Rv::OK);
    assert_eq!(client.call_with(0, sign).0, Rv::USER_NOT_LOGGED_IN);
    let (mut other, _other_task) = connect(&node);
    other.hello();
    other.ticket = client.ticket.take();
    assert_eq!(other.call_with(0, sign).0, Rv::USER_NOT_LOGGED_IN);
}

/// Encrypts so much data with a key that does not exist.
fn large(writer: &mut FrameWriter, length: usize) -> Op {
    let mechanism = Mechanism {
        kind: MechanismType::AES_CBC,
        params: Params::Iv(vec![0; 16]),
    };
    Op::Decrypt(wire::Crypt {
        key: Some(wire::ObjectRef {
            unique_id: vec![9; 16],
            blob: vec![],
        }),
        mechanism: Some(mechanism_to_wire(&mechanism)),
        data: Some(writer.hide(&vec![0; length])),
        digested: false,
    })
}

#[test]
fn data_over_the_limit_is_read_refused_and_forgotten() {
    let node = node(|config| {
        config.data.max_data = 2 << 20;
        config.data.max_inflight = 2 << 20;
    });
    let (mut client, task) = connect(&node);
    client.hello();
    client.set_up(0);
    // Within the limit the daemon gets as far as the key, which it does not have.
    assert_eq!(
        client.call_with(0, |writer| large(writer, PART + 5)).0,
        Rv::KEY_HANDLE_INVALID
    );
    assert_eq!(
        client.call_with(0, |writer| large(writer, 3 * PART)).0,
        Rv::ENCRYPTED_DATA_LEN_RANGE
    );
    assert_eq!(client.call(Op::Ping(wire::Ping {})).0, Rv::OK);
    client.send(0, |writer| large(writer, 1));
    assert_eq!(Rv(client.receive().0.rv), Rv::KEY_HANDLE_INVALID);
    // Data without end closes the connection.
    let part = Header {
        kind: FrameKind::Request,
        more: true,
        section: PART,
        body: 0,
        sequence: 1,
    };
    let part = [&part.to_bytes()[..], &vec![0; PART]].concat();
    while client.stream.write_all(&part).is_ok() {}
    assert_eq!(task.join().unwrap().to_string(), "endless data");
}

#[test]
fn a_request_that_waits_is_kept_alive_by_heartbeats() {
    let node = node(|config| {
        config.work.cpu_threads = 1;
        config.data.heartbeat_ms = 10;
    });
    let turn = node.turns.cpu.enter(&peer()).unwrap();
    let (mut client, _task) = connect(&node);
    client.hello();
    client.send(0, |writer| large(writer, 200_000));
    for _ in 0..3 {
        assert_eq!(client.header().kind, FrameKind::Heartbeat);
    }
    drop(turn);
    assert_ne!(Rv(client.receive().0.rv), Rv::OK);
}

#[test]
fn a_full_queue_is_answered_at_once() {
    let node = node(|config| {
        config.work.cpu_threads = 1;
        config.work.queue_per_client = 1;
    });
    let turn = node.turns.cpu.enter(&peer()).unwrap();
    let (mut waiting, _waiting_task) = connect(&node);
    waiting.hello();
    waiting.send(0, |writer| large(writer, 200_000));
    while node.turns.cpu.waiting() == 0 {
        std::thread::yield_now();
    }
    let (mut client, _task) = connect(&node);
    client.hello();
    client.send(0, |writer| large(writer, 200_000));
    assert_eq!(Rv(client.receive().0.rv), Rv::DEVICE_MEMORY);
    drop(turn);
}

#[test]
fn a_client_that_left_while_it_waited_is_not_worked_for() {
    let node = node(|config| config.work.cpu_threads = 1);
    let turn = node.turns.cpu.enter(&peer()).unwrap();
    let (mut client, task) = connect(&node);
    client.hello();
    client.send(0, |writer| large(writer, 200_000));
    while node.turns.cpu.waiting() == 0 {
        std::thread::yield_now();
    }
    drop(client);
    drop(turn);
    assert!(task.join().unwrap().is_ordinary());
}

#[test]
fn a_frame_that_never_ends_is_given_up() {
    let node = node(|config| config.data.frame_timeout_ms = 20);
    let (mut client, task) = connect(&node);
    client.hello();
    client.stream.write_all(b"hP").unwrap();
    assert_eq!(task.join().unwrap().to_string(), "frame not complete in time");
}

#[test]
fn an_idle_connection_ends_when_the_daemon_stops_and_what_was_sent_is_answered() {
    let node = node(|_| ());
    let (mut idle, idle_task) = connect(&node);
    idle.hello();
    let (mut client, task) = connect(&node);
    client.hello();
    client.send(0, |_| Op::Ping(wire::Ping {}));
    node.clients.stop();
    assert_eq!(Rv(client.receive().0.rv), Rv::OK);
    for task in [idle_task, task] {
        assert!(matches!(task.join().unwrap(), End::Stopping));
    }
}

#[test]
fn a_request_that_waits_for_its_turn_is_answered_though_the_daemon_stops() {
    let node = node(|config| config.work.cpu_threads = 1);
    let turn = node.turns.cpu.enter(&peer()).unwrap();
    let (mut client, task) = connect(&node);
    client.hello();
    client.send(0, |writer| large(writer, 200_000));
    while node.turns.cpu.waiting() == 0 {
        std::thread::yield_now();
    }
    node.clients.stop();
    drop(turn);
    assert_eq!(Rv(client.receive().0.rv), Rv::KEY_HANDLE_INVALID);
    assert!(matches!(task.join().unwrap(), End::Stopping));
}

//! A client of the data socket that is not the module: it says Hello, logs in, and has good requests to spoil.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType as A, MechanismType};
use hsmd_proto::convert::{mechanism_to_wire, template_to_wire};
use hsmd_proto::frame::{FrameKind, FrameWriter};
use hsmd_proto::params::{Mechanism, Params};
use hsmd_proto::wire::request::Op;
use hsmd_proto::wire::{self, Reply, Request, reply};
use hsmd_tests::daemon::{LABEL, PIN};
use hsmd_tests::wait;

use super::spoil::field;

const HEADER: usize = 16;
const REPLY: u8 = 2;

/// Reads one frame; `None` when the other side is gone or sends what is none.
pub(crate) fn read_frame(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; HEADER];
    stream.read_exact(&mut frame).ok()?;
    let rest = field(&frame, 4) + field(&frame, 8);
    if rest > 4 << 20 {
        return None;
    }
    frame.resize(HEADER + rest, 0);
    stream.read_exact(&mut frame[HEADER..]).ok()?;
    Some(frame)
}

/// A connection that has said Hello.
pub(crate) fn hello(socket: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(socket).expect("the data socket");
    stream.set_read_timeout(Some(wait::PATIENCE)).expect("a deadline");
    let hello = frame(&[], |_| {
        Op::Hello(wire::Hello {
            version: 1,
            application: vec![7; 16],
            program: "stranger".to_owned(),
        })
    });
    stream.write_all(&hello).expect("Hello");
    answer(&mut stream).expect("an answer to Hello");
    stream
}

/// The next reply, without heartbeats: section and body.
pub(crate) fn answer(stream: &mut UnixStream) -> Option<(Vec<u8>, Vec<u8>)> {
    loop {
        let frame = read_frame(stream)?;
        if frame[2] == REPLY {
            let section = field(&frame, 4);
            return Some((
                frame[HEADER..HEADER + section].to_vec(),
                frame[HEADER + section..].to_vec(),
            ));
        }
    }
}

fn frame(ticket: &[u8], make: impl FnOnce(&mut FrameWriter) -> Op) -> Vec<u8> {
    frame_for(0, ticket, make)
}

fn frame_for(slot: u32, ticket: &[u8], make: impl FnOnce(&mut FrameWriter) -> Op) -> Vec<u8> {
    let mut writer = FrameWriter::new();
    let op = make(&mut writer);
    let mut request = Request {
        slot,
        op: Some(op),
        ..Request::default()
    };
    request.ticket = (!ticket.is_empty()).then(|| writer.hide(ticket));
    writer.finish(FrameKind::Request, 1, &request).to_vec()
}

fn ask(stream: &mut UnixStream, request: &[u8]) -> (Vec<u8>, Option<reply::Result>) {
    use prost::Message;
    stream.write_all(request).expect("a request");
    let (section, body) = answer(stream).expect("a reply");
    let reply = Reply::decode(body.as_slice()).expect("a message");
    assert_eq!(reply.rv, 0, "a good request is refused");
    (section, reply.result)
}

fn mechanism(kind: MechanismType, params: Params) -> Option<wire::Mechanism> {
    Some(mechanism_to_wire(&Mechanism { kind, params }))
}

/// Good requests of a user who has logged in and has an AES key on the token.
pub(crate) fn requests(socket: &Path) -> Vec<Vec<u8>> {
    let mut stream = hello(socket);
    let (_, slots) = ask(&mut stream, &frame(&[], |_| Op::ListSlots(wire::ListSlots {})));
    let Some(reply::Result::Slots(slots)) = slots else {
        panic!("no list of slots")
    };
    let labelled = |slot: &&wire::Slot| slot.token.as_ref().is_some_and(|token| token.label.trim_end() == LABEL);
    let slot = slots.slots.iter().find(labelled).expect("the token").id;
    let login = frame_for(slot, &[], |writer| {
        Op::Login(wire::Login {
            user: 1,
            pin: Some(writer.hide(PIN.as_bytes())),
            attempt: vec![1; 16],
            purpose: None,
        })
    });
    let (section, login) = ask(&mut stream, &login);
    let Some(reply::Result::Login(login)) = login else {
        panic!("no ticket")
    };
    let place = login.ticket.expect("a ticket");
    let ticket = &section[place.offset as usize..][..place.length as usize];
    let key = vec![3; 16];
    let aes = [
        Attribute::boolean(A::TOKEN, true),
        Attribute::ulong(A::VALUE_LEN, 32),
        Attribute::boolean(A::UNWRAP, true),
    ];
    let make = frame_for(slot, ticket, |writer| {
        Op::GenerateKey(wire::GenerateKey {
            mechanism: mechanism(MechanismType::AES_KEY_GEN, Params::None),
            unique_id: key.clone(),
            template: template_to_wire(&Template(aes.into()), writer),
            password: None,
        })
    });
    ask(&mut stream, &make);
    good(slot, ticket, &key).into_iter().chain([make]).collect()
}

fn good(slot: u32, ticket: &[u8], key: &[u8]) -> Vec<Vec<u8>> {
    let object = || {
        Some(wire::ObjectRef {
            unique_id: key.to_vec(),
            blob: Vec::new(),
        })
    };
    let cbc = || mechanism(MechanismType::AES_CBC, Params::Iv(vec![0; 16]));
    let crypt = |writer: &mut FrameWriter| wire::Crypt {
        key: object(),
        mechanism: cbc(),
        data: Some(writer.hide(&[1; 64])),
        digested: false,
    };
    let labelled = |writer: &mut FrameWriter| {
        template_to_wire(
            &Template(vec![
                Attribute::bytes(A::LABEL, b"spoiled"),
                Attribute::boolean(A::TOKEN, false),
            ]),
            writer,
        )
    };
    let with = |make: &dyn Fn(&mut FrameWriter) -> Op| frame_for(slot, ticket, make);
    vec![
        with(&|writer| Op::Encrypt(crypt(writer))),
        with(&|writer| Op::Decrypt(crypt(writer))),
        with(&|writer| {
            Op::Find(wire::Find {
                template: labelled(writer),
            })
        }),
        with(&|_| {
            Op::Fetch(wire::Fetch {
                unique_ids: key.repeat(3),
            })
        }),
        with(&|_| {
            Op::GetAttributes(wire::GetAttributes {
                object: object(),
                types: vec![A::LABEL.0, A::VALUE.0, A::CLASS.0],
            })
        }),
        with(&|writer| {
            Op::CopyObject(wire::CopyObject {
                source: object(),
                unique_id: vec![4; 16],
                template: labelled(writer),
            })
        }),
        with(&|writer| {
            Op::UnwrapKey(wire::UnwrapKey {
                unwrapping_key: object(),
                mechanism: mechanism(MechanismType::AES_KEY_WRAP, Params::None),
                wrapped: Some(writer.hide(&[5; 40])),
                unique_id: vec![6; 16],
                template: labelled(writer),
            })
        }),
        with(&|_| {
            Op::WrapKey(wire::WrapKey {
                wrapping_key: object(),
                mechanism: mechanism(MechanismType::AES_KEY_WRAP, Params::None),
                key: object(),
                query: true,
            })
        }),
        with(&|_| Op::Random(wire::Random { length: 64 })),
        with(&|_| Op::ListMechanisms(wire::ListMechanisms {})),
        with(&|_| Op::Ping(wire::Ping {})),
    ]
}

//! A daemon that lies: whatever it sends, the module answers with a code and lives (INV-9, "Module and daemon each
//! treat the other as hostile").

use super::fake::{Fake, Reaction, frame};
use super::{App, data};
use hsmd_proto::ck::Rv;
use hsmd_proto::frame::{FrameKind, Header};
use hsmd_proto::wire::{self, Reply, reply, request::Op};
use proptest::prelude::*;
use std::time::Duration;

/// Answers each Find with these bytes, made from the request's sequence number.
fn liar(bytes: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> Fake {
    Fake::start(move |_, request, _, sequence| {
        matches!(request.op, Some(Op::Find(_))).then(|| Reaction::Raw(bytes(sequence)))
    })
}

fn ask(fake: &Fake) -> Result<Vec<u64>, Rv> {
    let app = App::with_deadline(fake, Duration::from_millis(150));
    let session = app.session();
    app.find(session, &data("x", true, false))
}

fn found(reply: wire::FindReply, sequence: u32) -> Vec<u8> {
    let reply = Reply {
        result: Some(reply::Result::Find(reply)),
        ..Reply::default()
    };
    frame(&reply, &[], sequence)
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of lies")]
fn replies_that_are_not_the_protocol_are_a_device_error() {
    type Lie = Box<dyn Fn(u32) -> Vec<u8> + Send + Sync>;
    let header = |kind, more, section, body, sequence| {
        Header {
            kind,
            more,
            section,
            body,
            sequence,
        }
        .to_bytes()
        .to_vec()
    };
    let empty = |sequence| frame(&Reply::default(), &[], sequence);
    let lies: Vec<(&str, Lie)> = vec![
        ("no frame", Box::new(|_| b"HTTP/1.1 200 OK\r\n\r\n".to_vec())),
        (
            "another sequence",
            Box::new(move |sequence| empty(sequence.wrapping_add(1))),
        ),
        (
            "a request",
            Box::new(move |sequence| header(FrameKind::Request, false, 0, 0, sequence)),
        ),
        (
            "a heartbeat with a section",
            Box::new(move |sequence| header(FrameKind::Heartbeat, false, 9, 0, sequence)),
        ),
        (
            "two replies",
            Box::new(move |sequence| [empty(sequence), empty(sequence)].concat()),
        ),
        (
            "a body that does not decode",
            Box::new(move |sequence| [header(FrameKind::Reply, false, 0, 3, sequence), vec![0xff; 3]].concat()),
        ),
        (
            "another result",
            Box::new(|sequence| {
                let result = Some(reply::Result::Length(7));
                frame(
                    &Reply {
                        result,
                        ..Reply::default()
                    },
                    &[],
                    sequence,
                )
            }),
        ),
        (
            "ids that are no ids",
            Box::new(|sequence| {
                found(
                    wire::FindReply {
                        hits: vec![1; 18],
                        objects: Vec::new(),
                        ..wire::FindReply::default()
                    },
                    sequence,
                )
            }),
        ),
        (
            "more objects than ids",
            Box::new(|sequence| {
                let objects = vec![wire::Object {
                    unique_id: vec![1; 16],
                    ..wire::Object::default()
                }];
                found(
                    wire::FindReply {
                        hits: Vec::new(),
                        objects,
                        ..wire::FindReply::default()
                    },
                    sequence,
                )
            }),
        ),
        (
            "attributes outside the section",
            Box::new(|sequence| {
                let hidden = Some(wire::Section {
                    offset: u32::MAX,
                    length: u32::MAX,
                });
                let attributes = vec![wire::Attribute {
                    r#type: 3,
                    inline: Default::default(),
                    hidden,
                }];
                let objects = vec![wire::Object {
                    unique_id: vec![1; 16],
                    attributes,
                    ..wire::Object::default()
                }];
                found(
                    wire::FindReply {
                        hits: vec![1; 17],
                        objects,
                        ..wire::FindReply::default()
                    },
                    sequence,
                )
            }),
        ),
    ];
    for (name, lie) in lies {
        assert_eq!(ask(&liar(lie)), Err(Rv::DEVICE_ERROR), "{name}");
    }
}

#[test]
fn codes_that_speak_of_the_modules_own_state_are_not_passed_on() {
    for rv in [
        Rv::BUFFER_TOO_SMALL,
        Rv::SESSION_HANDLE_INVALID,
        Rv::CRYPTOKI_NOT_INITIALIZED,
        Rv(0x7777_7777),
    ] {
        let fake = liar(move |sequence| {
            frame(
                &Reply {
                    rv: rv.0,
                    ..Reply::default()
                },
                &[],
                sequence,
            )
        });
        assert_eq!(ask(&fake), Err(Rv::DEVICE_ERROR), "{rv}");
    }
}

#[test]
fn a_reply_cut_short_is_a_device_error() {
    let cut = |length| {
        liar(move |sequence| {
            let mut whole = found(
                wire::FindReply {
                    hits: vec![1; 17],
                    objects: Vec::new(),
                    ..wire::FindReply::default()
                },
                sequence,
            );
            whole.truncate(length);
            whole
        })
    };
    for length in [0, 1, 15, 16, 20] {
        assert_eq!(ask(&cut(length)), Err(Rv::DEVICE_ERROR), "{length}");
    }
}

#[test]
fn a_section_longer_than_max_data_ends_the_connection_before_it_fills_memory() {
    let fake = Fake::start(|_, request, _, sequence| match request.op {
        Some(Op::Hello(_)) => {
            let hello = wire::HelloReply {
                version: 1,
                max_data: 1,
                ..wire::HelloReply::default()
            };
            Some(super::fake::ok(reply::Result::Hello(hello)))
        }
        Some(Op::Find(_)) => {
            let header = Header {
                kind: FrameKind::Reply,
                more: true,
                section: 1 << 20,
                body: 0,
                sequence,
            };
            let part = [header.to_bytes().to_vec(), vec![0; 1 << 20]].concat();
            Some(Reaction::Raw([part.clone(), part.clone(), part].concat()))
        }
        _ => None,
    });
    assert_eq!(ask(&fake), Err(Rv::DEVICE_ERROR));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Any reply at all, well framed: a code or a result, never a crash.
    #[test]
    fn any_reply_is_survived(body in prop::collection::vec(any::<u8>(), 0..200), section in prop::collection::vec(any::<u8>(), 0..50)) {
        let fake = liar(move |sequence| {
            let header =
                Header { kind: FrameKind::Reply, more: false, section: section.len(), body: body.len(), sequence };
            [header.to_bytes().to_vec(), section.clone(), body.clone()].concat()
        });
        let _ = ask(&fake);
    }
}

//! A door for the fuzz target of requests (docs/fuzzing.md): decoded requests go to the handlers of a daemon in memory, without
//! the catch around them, so that a panic is seen. Not part of the crate's interface; there is no socket and nothing listens.

use super::call::Call;
use super::clients::{Access, Peer};
use super::dispatch;
use crate::config::Config;
use crate::control::NewHsm;
use crate::memory::Protection;
use crate::node::Node;
use hsmd_keystore::{Caller, Context, Identity, Keystore, Login, Options, PinCost};
use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType as A, MechanismType, Rv, UserType};
use hsmd_proto::convert;
use hsmd_proto::frame::{FrameKind, FrameWriter, HEADER, MAX_BODY, PART, Sections};
use hsmd_proto::ids::{ApplicationId, OperationId, SlotId};
use hsmd_proto::mechanism::{self, Family};
use hsmd_proto::meta::Curve;
use hsmd_proto::params::{Mechanism, Params};
use hsmd_proto::wire::request::Op;
use hsmd_proto::wire::{self, Request};
use prost::Message;
use std::sync::Arc;

const SO_PIN: &[u8] = b"87654321";
const PIN: &[u8] = b"123456";
const SLOT: SlotId = SlotId(0);
/// Ids of the keys that are there: AES, the public and the private half of a P-256 pair, data.
const IDS: [[u8; 16]; 4] = [[1; 16], [2; 16], [3; 16], [4; 16]];
/// Requests after which a new daemon is made, so that what they create does not pile up.
const REQUESTS: u32 = 64;

/// A daemon in memory with one token, a user who is logged in, and three keys.
pub struct Daemon {
    node: Arc<Node>,
    caller: Caller,
    peer: Peer,
    login: Arc<Login>,
    requests: u32,
}

impl Daemon {
    /// Makes it; `None` if it cannot be made, which is a defect.
    #[must_use]
    pub fn new() -> Option<Self> {
        let options = Options {
            dev: true,
            pin_cost: PinCost {
                memory_kib: 8,
                ..PinCost::SMALL
            },
            pin_tries: 1000,
            ..Options::default()
        };
        let protection = Protection {
            locked: false,
            undumpable: false,
            no_core: false,
        };
        let node = Node::new(Keystore::in_memory(&options).ok()?, Config::default(), protection).ok()?;
        let hsm = node.model().create_hsm(&NewHsm::default()).ok()?;
        node.model().confirm(&hsm.id).ok()?;
        node.model().create_partition("", "demo", None).ok()?;
        let caller = Caller {
            identity: Identity([1; 32]),
            application: ApplicationId([2; 16]),
        };
        let key_set = node.slots.get(SLOT)?.key_set.clone()?;
        key_set
            .init_token(&caller, SO_PIN, &[b'x'; 32], OperationId([1; 16]))
            .ok()?;
        let so = key_set
            .login(&caller, UserType::SO, SO_PIN, OperationId([2; 16]))
            .ok()?;
        let so = key_set.resolve(&caller, so.expose()).ok()?;
        key_set.init_pin(&so, PIN, OperationId([3; 16])).ok()?;
        key_set.logout(&so);
        let user = key_set.login(&caller, UserType::USER, PIN, OperationId([4; 16])).ok()?;
        let login = key_set.resolve(&caller, user.expose()).ok()?;
        let mut daemon = Self {
            node: Arc::new(node),
            peer: Peer {
                identity: caller.identity,
                access: Access::Local,
                user: 1,
                process: 1,
            },
            caller,
            login,
            requests: 0,
        };
        for bytes in keys() {
            daemon.request(&bytes);
        }
        daemon.requests = 0;
        Some(daemon)
    }

    /// Whether it has worked enough, or its user was logged out by what it did.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.requests >= REQUESTS || !self.login.alive()
    }

    /// Answers a request: 4 bytes of the section's length (the first bit: without login), the section, the body.
    pub fn request(&mut self, data: &[u8]) {
        self.requests += 1;
        let Some((length, rest)) = data.split_first_chunk::<4>() else {
            return;
        };
        let length = u32::from_le_bytes(*length);
        let (section, body) = rest.split_at((length as usize & 0x000f_ffff).min(rest.len()));
        let Ok(request) = Request::decode(body) else { return };
        let Some(op) = request.op else { return };
        if is_slow(&op) {
            return;
        }
        let sections = Sections(section);
        let mut writer = FrameWriter::new();
        let login = (length >> 31 == 0).then(|| Arc::clone(&self.login));
        let mut call = Call {
            node: &self.node,
            peer: &self.peer,
            context: Context {
                caller: self.caller,
                login,
                grant: None,
            },
            slot: SlotId(request.slot),
            sections,
            writer: &mut writer,
        };
        let reply = match dispatch::run(op, &mut call) {
            Ok(result) => wire::Reply {
                rv: Rv::OK.0,
                revision: 0,
                crowded: false,
                result,
            },
            Err(rv) => {
                assert!(rv.name().is_some() && rv != Rv::OK, "refused with {rv}");
                return;
            }
        };
        assert!(reply.encoded_len() <= MAX_BODY, "a body that no client reads");
        let frame = writer.finish(FrameKind::Reply, 1, &reply);
        assert!(frame.len() >= HEADER && frame.len() < 65 * PART, "a frame without end");
    }
}

/// RSA key generation takes seconds, and says nothing about hostile bytes.
fn is_slow(op: &Op) -> bool {
    let family = |mechanism: &Option<wire::Mechanism>| {
        let row = mechanism.as_ref().map(|mechanism| MechanismType(mechanism.r#type));
        row.and_then(mechanism::row).map(|row| row.family)
    };
    match op {
        Op::GenerateKeyPair(generate) => family(&generate.mechanism) == Some(Family::RsaKeyPairGen),
        _ => false,
    }
}

/// Requests in the form of [`Daemon::request`].
fn input(make: impl FnOnce(&mut FrameWriter) -> Op) -> Vec<u8> {
    let mut writer = FrameWriter::new();
    let request = Request {
        slot: SLOT.0,
        op: Some(make(&mut writer)),
        ..Request::default()
    };
    let body = request.encode_to_vec();
    let frame = writer.finish(FrameKind::Request, 1, &request);
    let section = &frame[HEADER..frame.len() - body.len()];
    [(section.len() as u32).to_le_bytes().as_slice(), section, &body].concat()
}

fn mechanism(kind: MechanismType, params: Params) -> Option<wire::Mechanism> {
    Some(convert::mechanism_to_wire(&Mechanism { kind, params }))
}

fn template(entries: Vec<Attribute>) -> Vec<wire::Attribute> {
    convert::template_to_wire(&Template(entries), &mut FrameWriter::new())
}

fn object(id: usize) -> Option<wire::ObjectRef> {
    Some(wire::ObjectRef {
        unique_id: IDS[id].to_vec(),
        blob: Vec::new(),
    })
}

fn keys() -> Vec<Vec<u8>> {
    let flags = [A::WRAP, A::UNWRAP, A::SIGN, A::DERIVE].map(|flag| Attribute::boolean(flag, true));
    let token = || Attribute::boolean(A::TOKEN, true);
    let aes = [token(), Attribute::ulong(A::VALUE_LEN, 32)];
    let curve = [token(), Attribute::bytes(A::EC_PARAMS, Curve::P256.oid_der())];
    vec![
        input(|_| {
            Op::GenerateKey(wire::GenerateKey {
                mechanism: mechanism(MechanismType::AES_KEY_GEN, Params::None),
                unique_id: IDS[0].to_vec(),
                template: template(aes.into_iter().chain(flags).collect()),
                password: None,
            })
        }),
        input(|_| {
            Op::GenerateKeyPair(wire::GenerateKeyPair {
                mechanism: mechanism(MechanismType::EC_KEY_PAIR_GEN, Params::None),
                public_id: IDS[1].to_vec(),
                public_template: template(curve.into()),
                private_id: IDS[2].to_vec(),
                private_template: template(vec![token(), Attribute::boolean(A::DERIVE, true)]),
            })
        }),
    ]
}

/// Good requests: seeds of [`Daemon::request`].
#[must_use]
pub fn requests() -> Vec<Vec<u8>> {
    [keys(), reads(), operations(), creations(), token()].concat()
}

fn reads() -> Vec<Vec<u8>> {
    vec![
        input(|_| {
            Op::Find(wire::Find {
                template: template(vec![Attribute::boolean(A::TOKEN, true)]),
            })
        }),
        input(|_| {
            Op::Fetch(wire::Fetch {
                unique_ids: IDS.concat(),
            })
        }),
        input(|_| {
            Op::GetAttributes(wire::GetAttributes {
                object: object(0),
                types: vec![A::LABEL.0, A::VALUE.0],
            })
        }),
    ]
}

fn operations() -> Vec<Vec<u8>> {
    let crypt = |writer: &mut FrameWriter, id: usize, kind, params, data: &[u8]| wire::Crypt {
        key: object(id),
        mechanism: mechanism(kind, params),
        data: Some(writer.hide(data)),
        digested: false,
    };
    vec![
        input(|writer| {
            Op::Encrypt(crypt(
                writer,
                0,
                MechanismType::AES_CBC,
                Params::Iv(vec![0; 16]),
                &[1; 32],
            ))
        }),
        input(|writer| {
            Op::Decrypt(crypt(
                writer,
                0,
                MechanismType::AES_CBC,
                Params::Iv(vec![0; 16]),
                &[1; 32],
            ))
        }),
        input(|writer| Op::Sign(crypt(writer, 2, MechanismType::ECDSA, Params::None, &[1; 32]))),
        input(|writer| {
            let state = hsmd_crypto::digest::Digest::new(MechanismType::SHA256).and_then(|digest| digest.state());
            Op::Digest(wire::Digest {
                mechanism: MechanismType::SHA256.0,
                state: state.map(|state| writer.hide(&state)),
                sealed: None,
                data: Some(writer.hide(b"data")),
                key: object(0),
                last: false,
            })
        }),
        input(|writer| {
            Op::Login(wire::Login {
                user: UserType::CONTEXT_SPECIFIC.0,
                pin: Some(writer.hide(PIN)),
                attempt: vec![2; 16],
                purpose: Some(wire::Purpose {
                    operation: wire::purpose::Operation::Sign.into(),
                    key: object(2),
                    mechanism: mechanism(MechanismType::ECDSA, Params::None),
                }),
            })
        }),
        input(|_| {
            Op::WrapKey(wire::WrapKey {
                wrapping_key: object(0),
                mechanism: mechanism(MechanismType::AES_KEY_WRAP, Params::None),
                key: object(2),
                query: false,
            })
        }),
    ]
}

fn creations() -> Vec<Vec<u8>> {
    vec![
        input(|_| {
            Op::SetAttributes(wire::SetAttributes {
                object: object(0),
                template: template(vec![Attribute::bytes(A::LABEL, b"new")]),
                operation: vec![7; 16],
            })
        }),
        input(|writer| {
            Op::UnwrapKey(wire::UnwrapKey {
                unwrapping_key: object(0),
                mechanism: mechanism(MechanismType::AES_KEY_WRAP, Params::None),
                wrapped: Some(writer.hide(&[9; 40])),
                unique_id: vec![8; 16],
                template: template(vec![Attribute::ulong(A::CLASS, 4), Attribute::ulong(A::KEY_TYPE, 0x1f)]),
            })
        }),
        input(|writer| {
            Op::CreateObject(wire::CreateObject {
                unique_id: vec![5; 16],
                template: convert::template_to_wire(
                    &Template(vec![
                        Attribute::ulong(A::CLASS, 4),
                        Attribute::ulong(A::KEY_TYPE, 0x1f),
                        Attribute::bytes(A::VALUE, &[6; 16]),
                    ]),
                    writer,
                ),
            })
        }),
        input(|_| {
            Op::CopyObject(wire::CopyObject {
                source: object(0),
                unique_id: vec![6; 16],
                template: template(vec![Attribute::boolean(A::TOKEN, false)]),
            })
        }),
        input(|_| {
            Op::DestroyObject(wire::DestroyObject {
                object: object(1),
                operation: vec![9; 16],
            })
        }),
    ]
}

fn token() -> Vec<Vec<u8>> {
    vec![
        input(|_| Op::Random(wire::Random { length: 16 })),
        input(|_| {
            Op::MakeIv(wire::MakeIv {
                key: object(1),
                mechanism: None,
                wrapping: true,
            })
        }),
        input(|_| Op::ListSlots(wire::ListSlots {})),
        input(|_| Op::ListMechanisms(wire::ListMechanisms {})),
        input(|writer| {
            Op::Login(wire::Login {
                user: UserType::USER.0,
                pin: Some(writer.hide(PIN)),
                attempt: vec![1; 16],
                purpose: None,
            })
        }),
    ]
}

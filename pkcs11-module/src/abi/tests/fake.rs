//! A daemon of a few lines in the test's own process: a thread that speaks frames over a Unix socket. It keeps objects
//! in a map, knows one PIN, and uses one AES key, so that results can be compared; and it can be told to misbehave.

use hsmd_crypto::secret::Secret;
use hsmd_crypto::{Input, Key, Material};
use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType as A, KeyType, ObjectClass, Rv};
use hsmd_proto::convert::{attribute_to_wire, mechanism_from_wire, template_from_wire};
use hsmd_proto::frame::{FrameKind, FrameWriter, HEADER, Header, Sections};
use hsmd_proto::wire::{self, Reply, Request, reply, request::Op};
use prost::Message;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// What the fake does with one request.
pub(super) enum Reaction {
    Reply(Reply, Vec<u8>),
    /// These bytes, as they are.
    Raw(Vec<u8>),
    /// The connection closes.
    Close,
    /// Nothing, until the other side goes.
    Silence,
}

pub(super) type Handler = dyn Fn(&Token, &Request, &[u8], u32) -> Option<Reaction> + Send + Sync;

/// The one token of the fake.
#[derive(Default)]
pub(super) struct Token {
    pub(super) objects: Mutex<BTreeMap<Vec<u8>, wire::Object>>,
    /// Names of the requests that came, in order.
    pub(super) seen: Mutex<Vec<&'static str>>,
    pub(super) policy: Mutex<Option<&'static str>>,
}

pub(super) const PIN: &[u8] = b"1234";
pub(super) const AES_KEY: [u8; 32] = [7; 32];

/// A running fake; its socket goes with the folder.
pub(super) struct Fake {
    folder: tempfile::TempDir,
    pub(super) token: Arc<Token>,
}

impl Fake {
    /// Starts one; `first` may answer a request before the usual handler does.
    pub(super) fn start(
        first: impl Fn(&Token, &Request, &[u8], u32) -> Option<Reaction> + Send + Sync + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token = Arc::new(Token::default());
        let fake = Self { folder, token };
        fake.listen(Arc::new(first));
        fake
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("data.sock")
    }

    fn listen(&self, first: Arc<Handler>) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        let token = Arc::clone(&self.token);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (token, first) = (Arc::clone(&token), Arc::clone(&first));
                std::thread::spawn(move || serve(stream, &token, &*first));
            }
        });
    }

    pub(super) fn requests(&self, name: &str) -> usize {
        self.token
            .seen
            .lock()
            .unwrap()
            .iter()
            .filter(|seen| **seen == name)
            .count()
    }
}

fn serve(mut stream: UnixStream, token: &Token, first: &Handler) {
    while let Some((request, section, sequence)) = read(&mut stream) {
        token.seen.lock().unwrap().push(name(&request));
        let reaction = first(token, &request, &section, sequence).unwrap_or_else(|| usual(token, &request, &section));
        let bytes = match reaction {
            Reaction::Reply(reply, section) => frame(&reply, &section, sequence),
            Reaction::Raw(bytes) => bytes,
            Reaction::Close => return,
            Reaction::Silence => {
                let _ = stream.read(&mut [0]);
                return;
            }
        };
        if stream.write_all(&bytes).is_err() {
            return;
        }
    }
}

/// The requests that tests count.
fn name(request: &Request) -> &'static str {
    match request.op {
        Some(Op::Login(_)) => "Login",
        Some(Op::Logout(_)) => "Logout",
        Some(Op::Find(_)) => "Find",
        Some(Op::Fetch(_)) => "Fetch",
        Some(Op::GetAttributes(_)) => "GetAttributes",
        Some(Op::CreateObject(_)) => "CreateObject",
        Some(Op::Encrypt(_)) => "Encrypt",
        Some(Op::Decrypt(_)) => "Decrypt",
        _ => "other",
    }
}

fn read(stream: &mut UnixStream) -> Option<(Request, Vec<u8>, u32)> {
    let mut section = Vec::new();
    loop {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header).ok()?;
        let header = Header::parse(&header).unwrap();
        let mut part = vec![0; header.section];
        stream.read_exact(&mut part).ok()?;
        section.extend_from_slice(&part);
        if !header.more {
            let mut body = vec![0; header.body];
            stream.read_exact(&mut body).ok()?;
            return Some((Request::decode(body.as_slice()).unwrap(), section, header.sequence));
        }
    }
}

/// A reply as it goes over the wire.
pub(super) fn frame(reply: &Reply, section: &[u8], sequence: u32) -> Vec<u8> {
    let mut writer = FrameWriter::new();
    writer.hide(section);
    writer.finish(FrameKind::Reply, sequence, reply).to_vec()
}

pub(super) fn ok(result: reply::Result) -> Reaction {
    Reaction::Reply(
        Reply {
            result: Some(result),
            ..Reply::default()
        },
        Vec::new(),
    )
}

pub(super) fn refuse(rv: Rv) -> Reaction {
    Reaction::Reply(
        Reply {
            rv: rv.0,
            ..Reply::default()
        },
        Vec::new(),
    )
}

pub(super) fn output(bytes: &[u8]) -> Reaction {
    let range = wire::Section {
        offset: 0,
        length: bytes.len() as u32,
    };
    Reaction::Reply(
        Reply {
            result: Some(reply::Result::Output(range)),
            ..Reply::default()
        },
        bytes.to_vec(),
    )
}

/// What a daemon of good will answers.
fn usual(token: &Token, request: &Request, section: &[u8]) -> Reaction {
    let sections = Sections(section);
    let logged_in = request.ticket.is_some();
    match request.op.as_ref().unwrap() {
        Op::Hello(_) => ok(reply::Result::Hello(wire::HelloReply {
            version: 1,
            ..wire::HelloReply::default()
        })),
        Op::ListSlots(_) => ok(reply::Result::Slots(wire::SlotList {
            slots: vec![slot(token)],
        })),
        Op::ListMechanisms(_) => ok(reply::Result::Mechanisms(wire::MechanismList {
            types: hsmd_proto::mechanism::TABLE.iter().map(|row| row.mechanism.0).collect(),
        })),
        Op::Login(login) if sections.get(login.pin.as_ref().unwrap()).unwrap() == PIN => {
            let ticket = wire::Section { offset: 0, length: 6 };
            let reply = reply::Result::Login(wire::LoginReply {
                ticket: Some(ticket),
                ..wire::LoginReply::default()
            });
            Reaction::Reply(
                Reply {
                    result: Some(reply),
                    ..Reply::default()
                },
                b"ticket".to_vec(),
            )
        }
        Op::Login(_) => refuse(Rv::PIN_INCORRECT),
        Op::Logout(_) | Op::InitToken(_) | Op::InitPin(_) | Op::SetPin(_) => {
            Reaction::Reply(Reply::default(), Vec::new())
        }
        Op::CreateObject(create) => {
            let template = template_from_wire(&create.template, &sections).unwrap();
            ok(reply::Result::Object(token.keep(&create.unique_id, template)))
        }
        Op::GenerateKey(generate) => {
            let mut template = template_from_wire(&generate.template, &sections).unwrap();
            template.0.push(Attribute::ulong(A::CLASS, ObjectClass::SECRET_KEY.0));
            template.0.push(Attribute::ulong(A::KEY_TYPE, KeyType::AES.0));
            ok(reply::Result::Object(token.keep(&generate.unique_id, template)))
        }
        Op::DestroyObject(destroy) => {
            let id = &destroy.object.as_ref().unwrap().unique_id;
            let found = token.objects.lock().unwrap().remove(id).is_some();
            refuse(if found { Rv::OK } else { Rv::OBJECT_HANDLE_INVALID })
        }
        Op::Find(find) => {
            let template = template_from_wire(&find.template, &sections).unwrap();
            let hits = token.matching(&template, logged_in);
            let entry = |object: &wire::Object| [object.unique_id.as_slice(), &[u8::from(is_private(object))]].concat();
            ok(reply::Result::Find(wire::FindReply {
                hits: hits.iter().flat_map(entry).collect(),
                objects: hits.into_iter().take(1).collect(),
                ..wire::FindReply::default()
            }))
        }
        Op::Fetch(fetch) => {
            let objects = token.objects.lock().unwrap();
            let found = fetch
                .unique_ids
                .chunks(16)
                .filter_map(|id| objects.get(id))
                .cloned()
                .collect();
            ok(reply::Result::Objects(wire::ObjectList { objects: found }))
        }
        Op::Encrypt(crypt) | Op::Decrypt(crypt) => {
            let encrypts = matches!(request.op, Some(Op::Encrypt(_)));
            self::crypt(crypt, sections.get(crypt.data.as_ref().unwrap()).unwrap(), encrypts)
        }
        Op::Sign(sign) => {
            let mechanism = mechanism_from_wire(sign.mechanism.clone()).unwrap();
            let mut out = Vec::new();
            let data = sections.get(sign.data.as_ref().unwrap()).unwrap();
            key().sign(&mechanism, Input::Message(data), &mut out).unwrap();
            output(&out)
        }
        _ => refuse(Rv::FUNCTION_NOT_SUPPORTED),
    }
}

fn key() -> Key {
    Key::open(&Material::Secret(Secret::from_slice(&AES_KEY))).unwrap()
}

fn crypt(crypt: &wire::Crypt, data: &[u8], encrypts: bool) -> Reaction {
    let mechanism = mechanism_from_wire(crypt.mechanism.clone()).unwrap();
    let mut out = Vec::new();
    let result = if encrypts {
        key().encrypt(&mechanism, data, &mut out)
    } else {
        key().decrypt(&mechanism, data, &mut out)
    };
    match result {
        Ok(()) => output(&out),
        Err(error) => refuse(error.rv()),
    }
}

fn slot(token: &Token) -> wire::Slot {
    let policy = token.policy.lock().unwrap().unwrap_or("standard");
    wire::Slot {
        id: 3,
        description: "fake".into(),
        token_present: true,
        token: Some(wire::Token {
            label: "demo".into(),
            flags: cryptoki_sys::CKF_TOKEN_INITIALIZED,
            policy: policy.into(),
            ..wire::Token::default()
        }),
        ..wire::Slot::default()
    }
}

impl Token {
    /// Keeps a token object, and gives a session object as a blob.
    fn keep(&self, id: &[u8], template: Template) -> wire::Object {
        let mut writer = FrameWriter::new();
        let token = template.boolean(A::TOKEN).unwrap() == Some(true);
        let readable = template.0.iter().filter(|entry| entry.attribute != A::VALUE);
        let attributes = readable.map(|entry| attribute_to_wire(entry, &mut writer)).collect();
        let blob = if token { Vec::new() } else { b"blob".to_vec() };
        let object = wire::Object {
            unique_id: id.to_vec(),
            blob,
            version: 1,
            wrapping: false,
            attributes,
        };
        if token {
            self.objects.lock().unwrap().insert(id.to_vec(), object.clone());
        }
        object
    }

    fn matching(&self, wanted: &Template, logged_in: bool) -> Vec<wire::Object> {
        let objects = self.objects.lock().unwrap();
        let fits = |object: &&wire::Object| {
            (logged_in || !is_private(object)) && wanted.matches(ObjectClass::DATA, |kind| value(object, kind))
        };
        objects.values().filter(fits).cloned().collect()
    }
}

fn value(object: &wire::Object, kind: A) -> Option<&[u8]> {
    let entry = object.attributes.iter().find(|entry| entry.r#type == kind.0);
    entry.map(|entry| entry.inline.as_slice())
}

fn is_private(object: &wire::Object) -> bool {
    value(object, A::PRIVATE) == Some(&[1])
}

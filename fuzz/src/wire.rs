//! Targets of the data plane: frames, messages, replies, templates, mechanisms. What the daemon does with a request is
//! `daemon`'s.

use hsmd_proto::attribute::{Attribute, Template, decode_mechanisms, decode_nested, encode_nested};
use hsmd_proto::ck::{AttributeType as A, KeyType, MechanismType, Mgf, ObjectClass};
use hsmd_proto::convert::{mechanism_from_wire, mechanism_to_wire, template_from_wire, template_to_wire};
use hsmd_proto::frame::{FrameKind, FrameWriter, HEADER, Header, MAX_BODY, PART, Sections};
use hsmd_proto::init::{self, Operation};
use hsmd_proto::mechanism::TABLE;
use hsmd_proto::meta::{Curve, KeyMeta};
use hsmd_proto::params::{CtrParams, EcdhParams, GcmParams, Mechanism, OaepParams, Params, PssParams};
use hsmd_proto::policy::Policy;
use hsmd_proto::wire::{self, Reply, Request, Section, reply, request};
use prost::Message;

const POLICIES: [Policy; 4] = [Policy::Standard, Policy::Strict, Policy::Fips, Policy::Legacy];
const OPERATIONS: [Operation; 9] = [
    Operation::Encrypt,
    Operation::Decrypt,
    Operation::Sign,
    Operation::Verify,
    Operation::Wrap,
    Operation::Unwrap,
    Operation::Derive,
    Operation::Encapsulate,
    Operation::Decapsulate,
];

/// A stream of frames, as either side reads it.
pub(crate) fn frames(data: &[u8]) {
    let mut rest = data;
    while let Some((header, tail)) = rest.split_first_chunk::<HEADER>() {
        let Ok(header) = Header::parse(header) else { return };
        assert!(
            header.section <= PART && header.body <= MAX_BODY,
            "a limit that does not hold"
        );
        assert_eq!(Header::parse(&header.to_bytes()), Ok(header), "a header reads back");
        let Some((section, tail)) = tail.split_at_checked(header.section) else {
            return;
        };
        let Some((body, tail)) = tail.split_at_checked(header.body) else {
            return;
        };
        let sections = Sections(section);
        if let Ok(request) = Request::decode(body) {
            // A range outside is an error, never bytes of something else.
            let _ = sections
                .get_opt(request.ticket.as_ref())
                .map(|ticket| ticket.map(<[u8]>::len));
        }
        if let Ok(reply) = Reply::decode(body)
            && let Some(reply::Result::Output(range)) = reply.result
            && let Ok(bytes) = sections.get(&range)
        {
            assert_eq!(bytes.len(), range.length as usize);
        }
        rest = tail;
    }
}

/// Good frames.
pub(crate) fn frame_seeds() -> Vec<Vec<u8>> {
    let mut writer = FrameWriter::new();
    let mut request = Request {
        slot: 1,
        op: Some(request::Op::Ping(wire::Ping {})),
        ..Request::default()
    };
    request.ticket = Some(writer.hide(&[7; 81]));
    let one = writer.finish(FrameKind::Request, 1, &request).to_vec();
    writer.clear();
    let output = writer.hide(b"output");
    let reply = Reply {
        rv: 0,
        revision: 1,
        crowded: false,
        result: Some(reply::Result::Output(output)),
    };
    let two = writer.finish(FrameKind::Reply, 1, &reply).to_vec();
    vec![[one.clone(), two.clone()].concat(), one, two]
}

/// The body of a request, with its first 16 bytes as the section.
pub(crate) fn messages(data: &[u8]) {
    let (section, body) = data.split_at(data.len().min(16));
    let sections = Sections(section);
    let Ok(request) = Request::decode(body) else { return };
    let again = Request::decode(request.encode_to_vec().as_slice());
    assert!(again.as_ref() == Ok(&request), "a message reads back");
    let (templates, mechanism) = match request.op {
        Some(request::Op::CreateObject(op)) => (vec![op.template], None),
        Some(request::Op::CopyObject(op)) => (vec![op.template], None),
        Some(request::Op::SetAttributes(op)) => (vec![op.template], None),
        Some(request::Op::Find(op)) => (vec![op.template], None),
        Some(request::Op::GenerateKey(op)) => (vec![op.template], op.mechanism),
        Some(request::Op::GenerateKeyPair(op)) => (vec![op.public_template, op.private_template], op.mechanism),
        Some(request::Op::UnwrapKey(op)) => (vec![op.template], op.mechanism),
        Some(request::Op::DeriveKey(op)) => (vec![op.template], op.mechanism),
        Some(request::Op::EncapsulateKey(op)) => (vec![op.template], op.mechanism),
        Some(request::Op::DecapsulateKey(op)) => (vec![op.template], op.mechanism),
        Some(request::Op::Sign(op) | request::Op::Encrypt(op) | request::Op::Decrypt(op)) => (Vec::new(), op.mechanism),
        _ => (Vec::new(), None),
    };
    for template in templates {
        if let Ok(template) = template_from_wire(&template, &sections) {
            check_template(&template);
        }
    }
    if let Ok(mechanism) = mechanism_from_wire(mechanism) {
        check_mechanism(&mechanism);
    }
}

/// Good bodies of requests.
pub(crate) fn message_seeds() -> Vec<Vec<u8>> {
    let with = |op| {
        let request = Request {
            op: Some(op),
            ..Request::default()
        };
        [vec![1; 16], request.encode_to_vec()].concat()
    };
    let entries = || template_to_wire(&secret_template(), &mut FrameWriter::new());
    let mechanism = || Some(mechanism_to_wire(&Mechanism::plain(MechanismType::AES_KEY_GEN)));
    vec![
        with(request::Op::CreateObject(wire::CreateObject {
            unique_id: vec![1; 16],
            template: entries(),
        })),
        with(request::Op::GenerateKey(wire::GenerateKey {
            mechanism: mechanism(),
            unique_id: vec![2; 16],
            template: entries(),
            password: Some(Section { offset: 0, length: 16 }),
        })),
        with(request::Op::Find(wire::Find { template: entries() })),
        with(request::Op::Sign(wire::Crypt {
            key: Some(wire::ObjectRef {
                unique_id: vec![3; 16],
                blob: vec![4; 40],
            }),
            mechanism: mechanism(),
            data: Some(Section { offset: 0, length: 16 }),
            digested: true,
        })),
    ]
}

/// What a daemon sends after a request.
pub(crate) fn replies(data: &[u8]) {
    hsmd_pkcs11::fuzzing::reply(data).expect("a pair of sockets");
}

/// Good replies to the first request of a connection.
pub(crate) fn reply_seeds() -> Vec<Vec<u8>> {
    let object = |writer: &mut FrameWriter| wire::Object {
        unique_id: vec![1; 16],
        blob: vec![2; 60],
        version: 1,
        wrapping: false,
        attributes: template_to_wire(&public_template(), writer),
    };
    let frame = |make: &dyn Fn(&mut FrameWriter) -> reply::Result| {
        let mut writer = FrameWriter::new();
        let reply = Reply {
            rv: 0,
            revision: 1,
            crowded: false,
            result: Some(make(&mut writer)),
        };
        writer.finish(FrameKind::Reply, 1, &reply).to_vec()
    };
    let beat = Header {
        kind: FrameKind::Heartbeat,
        more: false,
        section: 0,
        body: 0,
        sequence: 1,
    };
    let hello = frame(&|_| {
        reply::Result::Hello(wire::HelloReply {
            version: 1,
            node: vec![1; 16],
            max_data: 1 << 20,
        })
    });
    vec![
        [beat.to_bytes().as_slice(), &hello].concat(),
        frame(&|writer| reply::Result::Output(writer.hide(b"output"))),
        frame(&|writer| reply::Result::Object(object(writer))),
        frame(&|writer| {
            reply::Result::Find(wire::FindReply {
                hits: vec![1; 34],
                objects: vec![object(writer)],
                more_hits: Some(writer.hide(&[1; 34])),
            })
        }),
        frame(&|writer| {
            let value = wire::AttributeValue {
                rv: 0,
                attribute: Some(hsmd_proto::convert::attribute_to_wire(
                    &Attribute::bytes(A::VALUE, &[1; 32]),
                    writer,
                )),
            };
            reply::Result::Attributes(wire::AttributeValues {
                values: vec![value.clone(), value],
            })
        }),
        frame(&|writer| {
            reply::Result::Login(wire::LoginReply {
                ticket: Some(writer.hide(&[1; 81])),
                key_set: vec![2; 16],
            })
        }),
    ]
}

fn secret_template() -> Template {
    Template(vec![
        Attribute::ulong(A::CLASS, ObjectClass::SECRET_KEY.0),
        Attribute::ulong(A::KEY_TYPE, KeyType::AES.0),
        Attribute::boolean(A::TOKEN, true),
        Attribute::bytes(A::LABEL, b"label"),
        Attribute::bytes(A::START_DATE, b"20260101"),
        Attribute::bytes(A::ALLOWED_MECHANISMS, &MechanismType::AES_GCM.0.to_le_bytes()),
        Attribute::bytes(
            A::UNWRAP_TEMPLATE,
            &encode_nested(&Template(vec![Attribute::boolean(A::SENSITIVE, true)])),
        ),
    ])
}

fn public_template() -> Template {
    Template(vec![
        Attribute::ulong(A::CLASS, ObjectClass::PUBLIC_KEY.0),
        Attribute::ulong(A::KEY_TYPE, KeyType::EC.0),
        Attribute::bytes(A::EC_PARAMS, Curve::P256.oid_der()),
        Attribute::bytes(A::EC_POINT, &[4; 67]),
    ])
}

fn check_template(template: &Template) {
    let form = template.check_form();
    let meta = KeyMeta::from_template(template, false);
    if let (Ok(()), Some(meta)) = (form, &meta) {
        let row = TABLE.iter().filter(|row| row.allowed(Policy::Standard));
        for row in row {
            let mechanism = Mechanism::plain(row.mechanism);
            for operation in OPERATIONS {
                // A code is as good an answer as a row.
                let _ = init::check(operation, &mechanism, meta, Policy::Standard, true);
            }
        }
    }
    for entry in &template.0 {
        let nested = decode_nested(&entry.value);
        if let Some(nested) = nested {
            assert_eq!(
                decode_nested(&encode_nested(&nested)),
                Some(nested),
                "a nested template reads back"
            );
        }
        let _ = decode_mechanisms(&entry.value);
        let _ = (Curve::from_params(&entry.value), entry.as_bool(), entry.as_ulong());
    }
    let own = template.matches(ObjectClass::DATA, |attribute| template.value(attribute));
    assert!(
        own || form.is_err() || twice(template),
        "an object does not match itself"
    );
}

/// Whether an attribute stands twice; equal ones may.
fn twice(template: &Template) -> bool {
    let entries = &template.0;
    (1..entries.len()).any(|at| {
        entries[..at]
            .iter()
            .any(|other| other.attribute == entries[at].attribute)
    })
}

/// Attributes in the encoding of nested templates.
pub(crate) fn templates(data: &[u8]) {
    let mut entries = Vec::new();
    let mut rest = data;
    while let Some((attribute, tail)) = rest.split_first_chunk::<8>() {
        let Some((length, tail)) = tail.split_first_chunk::<2>() else {
            break;
        };
        let length = usize::from(u16::from_le_bytes(*length)).min(tail.len());
        let (value, tail) = tail.split_at(length);
        entries.push(Attribute::bytes(A(u64::from_le_bytes(*attribute)), value));
        rest = tail;
    }
    entries.truncate(hsmd_proto::convert::MAX_ATTRIBUTES);
    check_template(&Template(entries));
    if let Some(nested) = decode_nested(data) {
        check_template(&nested);
    }
}

/// Good templates.
pub(crate) fn template_seeds() -> Vec<Vec<u8>> {
    let flat = |template: &Template| {
        let entries = template.0.iter().map(|entry| {
            [
                entry.attribute.0.to_le_bytes().as_slice(),
                &(entry.value.len() as u16).to_le_bytes(),
                &entry.value,
            ]
            .concat()
        });
        entries.collect::<Vec<_>>().concat()
    };
    vec![
        flat(&secret_template()),
        flat(&public_template()),
        encode_nested(&Template(vec![Attribute::boolean(A::SENSITIVE, true)])).to_vec(),
    ]
}

fn check_mechanism(mechanism: &Mechanism) {
    for policy in POLICIES {
        if let Ok(row) = mechanism.check(policy) {
            assert!(row.allowed(policy), "a mechanism that the policy does not have");
        }
        for operation in OPERATIONS {
            // A code is as good an answer as a row.
            let _ = init::check_mechanism(operation, mechanism, policy);
        }
    }
    let again = mechanism_from_wire(Some(mechanism_to_wire(mechanism)));
    assert_eq!(again.as_ref(), Ok(mechanism), "a mechanism reads back");
}

/// A mechanism as a message.
pub(crate) fn mechanisms(data: &[u8]) {
    let Ok(message) = wire::Mechanism::decode(data) else {
        return;
    };
    if let Ok(mechanism) = mechanism_from_wire(Some(message)) {
        check_mechanism(&mechanism);
    }
}

/// A good mechanism of each form.
pub(crate) fn mechanism_seeds() -> Vec<Vec<u8>> {
    let with = |kind, params| mechanism_to_wire(&Mechanism { kind, params }).encode_to_vec();
    vec![
        with(MechanismType::ECDSA, Params::None),
        with(MechanismType::AES_CBC, Params::Iv(vec![0; 16])),
        with(
            MechanismType::AES_CTR,
            Params::Ctr(CtrParams {
                counter_bits: 128,
                block: [1; 16],
            }),
        ),
        with(
            MechanismType::AES_GCM,
            Params::Gcm(GcmParams {
                iv: vec![1; 12],
                aad: vec![2; 5],
                tag_bits: 128,
            }),
        ),
        with(
            MechanismType::SHA256_RSA_PKCS_PSS,
            Params::Pss(PssParams {
                hash: MechanismType::SHA256,
                mgf: Mgf(2),
                salt_length: 32,
            }),
        ),
        with(
            MechanismType::RSA_PKCS_OAEP,
            Params::Oaep(OaepParams {
                hash: MechanismType::SHA256,
                mgf: Mgf(2),
                label: vec![1; 4],
            }),
        ),
        with(
            MechanismType::ECDH1_DERIVE,
            Params::Ecdh(EcdhParams {
                kdf: hsmd_proto::ck::Kdf::NULL,
                shared_data: Vec::new(),
                public_point: vec![4; 65],
            }),
        ),
        with(MechanismType::SHA256_HMAC_GENERAL, Params::Number(16)),
    ]
}

/// As it is, and with a checksum that fits: else nothing would come past it.
pub(crate) fn operation_state(bytes: &[u8]) {
    hsmd_pkcs11::fuzzing::operation_state(bytes);
    hsmd_pkcs11::fuzzing::operation_state(&hsmd_pkcs11::fuzzing::operation_state_mended(bytes));
}

pub(crate) fn operation_state_seeds() -> Vec<Vec<u8>> {
    vec![hsmd_pkcs11::fuzzing::operation_state_seed()]
}

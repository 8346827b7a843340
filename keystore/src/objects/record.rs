//! The sealed form of an object: what is in a record of the store and in the blob of a session object. Sealing itself is
//! `seal`'s; this file is the bytes inside.
//!
//! Format 1: a list of fields, each a tag (2 bytes), a length (4 bytes) and a value, little endian; unknown tags are skipped.
//! Outside: what is known without the PSK. Inside ([`Body`]): everything else; for private objects it is sealed under the PSK.

use hsmd_crypto::secret::Secret;
use hsmd_proto::attribute::{Attribute, Template};
use hsmd_proto::ck::{AttributeType, ObjectClass};
use hsmd_proto::ids::{JoinId, OperationId, UniqueId};
use hsmd_proto::meta::Usage;
use hsmd_proto::wipe::WipingVec;

use super::latch::MaterialHash;
use super::object::{Origin, Values};

/// Format of the record. A build refuses records of a later one.
const FORMAT: u8 = 1;

mod tag {
    pub(super) const ID: u16 = 1;
    pub(super) const OPERATION: u16 = 2;
    pub(super) const SEQUENCE: u16 = 3;
    pub(super) const CLASS: u16 = 4;
    pub(super) const PUBLIC_BODY: u16 = 5;
    pub(super) const PRIVATE_BODY: u16 = 6;
    pub(super) const DESTROYED: u16 = 7;
    pub(super) const JOIN: u16 = 8;
    pub(super) const SEALED_AT: u16 = 9;
    pub(super) const ORIGIN: u16 = 16;
    pub(super) const HELD: u16 = 17;
    pub(super) const MATERIAL: u16 = 18;
    pub(super) const REQUEST: u16 = 19;
    pub(super) const ATTRIBUTE: u16 = 20;
    pub(super) const VALUE: u16 = 21;
}

/// What is known of an object without the PSK.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) id: UniqueId,
    /// The last operation that wrote it (INV-10).
    pub(crate) operation: OperationId,
    /// Order of creation within the key set.
    pub(crate) sequence: u64,
    pub(crate) class: ObjectClass,
    pub(crate) content: Content,
    /// Copied for this join: not seen before it is done.
    pub(crate) join: Option<JoinId>,
    /// Of a copy: the version under which the PSK has sealed the body. `None`: the record's own.
    pub(crate) sealed_at: Option<u64>,
}

/// The body, as far as it can be read yet.
pub(crate) enum Content {
    /// An encoded [`Body`].
    Public(WipingVec),
    /// A [`Body`] sealed under the PSK.
    Private(Vec<u8>),
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Public(_)) {
            "Public(..)"
        } else {
            "Private(..)"
        })
    }
}

/// What is left of a destroyed object: nobody creates that id again, and a retry finds that it was done (INV-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) id: UniqueId,
    pub(crate) operation: OperationId,
    /// Seconds since 1970.
    pub(crate) destroyed: u64,
}

/// The rest of an object.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) origin: Origin,
    /// Every usage flag that the key ever had.
    pub(crate) held: Usage,
    pub(crate) material: Option<MaterialHash>,
    /// Hash of the request that made it (INV-10).
    pub(crate) request: [u8; 32],
    pub(crate) attributes: Template,
    pub(crate) values: Values,
}

impl Envelope {
    pub(crate) fn encode(&self) -> WipingVec {
        let mut out = Writer::new();
        out.field(tag::ID, &[&self.id.0]);
        out.field(tag::OPERATION, &[&self.operation.0]);
        out.field(tag::SEQUENCE, &[&self.sequence.to_le_bytes()]);
        out.field(tag::CLASS, &[&self.class.0.to_le_bytes()]);
        match &self.content {
            Content::Public(body) => out.field(tag::PUBLIC_BODY, &[body]),
            Content::Private(sealed) => out.field(tag::PRIVATE_BODY, &[sealed]),
        }
        if let Some(join) = &self.join {
            out.field(tag::JOIN, &[&join.0]);
        }
        if let Some(version) = self.sealed_at {
            out.field(tag::SEALED_AT, &[&version.to_le_bytes()]);
        }
        out.0
    }

    /// Reads what [`Self::encode`] wrote; `None` for anything else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (mut id, mut operation, mut sequence, mut class, mut content) = (None, None, None, None, None);
        let (mut join, mut sealed_at) = (None, None);
        for field in Reader::new(bytes)? {
            let (tag, value) = field?;
            match tag {
                tag::ID => id = UniqueId::from_slice(value),
                tag::OPERATION => operation = OperationId::from_slice(value),
                tag::SEQUENCE => sequence = number(value),
                tag::CLASS => class = number(value).map(ObjectClass),
                tag::PUBLIC_BODY => content = Some(Content::Public(WipingVec::from(value))),
                tag::PRIVATE_BODY => content = Some(Content::Private(value.to_vec())),
                tag::JOIN => join = Some(JoinId::from_slice(value)?),
                tag::SEALED_AT => sealed_at = Some(number(value)?),
                _ => {}
            }
        }
        Some(Self {
            id: id?,
            operation: operation?,
            sequence: sequence?,
            class: class?,
            content: content?,
            join,
            sealed_at,
        })
    }
}

impl Tombstone {
    pub(crate) fn encode(&self) -> WipingVec {
        let mut out = Writer::new();
        out.field(tag::ID, &[&self.id.0]);
        out.field(tag::OPERATION, &[&self.operation.0]);
        out.field(tag::DESTROYED, &[&self.destroyed.to_le_bytes()]);
        out.0
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (mut id, mut operation, mut destroyed) = (None, None, None);
        for field in Reader::new(bytes)? {
            let (tag, value) = field?;
            match tag {
                tag::ID => id = UniqueId::from_slice(value),
                tag::OPERATION => operation = OperationId::from_slice(value),
                tag::DESTROYED => destroyed = number(value),
                _ => {}
            }
        }
        Some(Self {
            id: id?,
            operation: operation?,
            destroyed: destroyed?,
        })
    }
}

impl Body {
    #[cfg(test)]
    pub(crate) fn encode(&self) -> WipingVec {
        encode_body(
            self.origin,
            self.held,
            self.material,
            &self.request,
            &self.attributes,
            &self.values,
        )
    }

    /// Reads what [`encode_body`] wrote; `None` for anything else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut body = Self {
            origin: Origin::default(),
            held: Usage::default(),
            material: None,
            request: [0; 32],
            attributes: Template::default(),
            values: Values::default(),
        };
        let mut origin = None;
        for field in Reader::new(bytes)? {
            let (tag, value) = field?;
            match tag {
                tag::ORIGIN => origin = Some(Origin::from_bits(*value.first()?)),
                tag::HELD => body.held = Usage(u16::from_le_bytes(value.try_into().ok()?)),
                tag::MATERIAL => body.material = Some(MaterialHash(value.try_into().ok()?)),
                tag::REQUEST => body.request = value.try_into().ok()?,
                tag::ATTRIBUTE => {
                    let (attribute, value) = typed(value)?;
                    body.attributes.0.push(Attribute::bytes(attribute, value));
                }
                tag::VALUE => {
                    let (attribute, value) = typed(value)?;
                    body.values.0.push((attribute, Secret::from_slice(value)));
                }
                _ => {}
            }
        }
        body.origin = origin?;
        Some(body)
    }
}

/// Encodes a body from its parts, so that nothing secret is copied to make one.
pub(crate) fn encode_body(
    origin: Origin,
    held: Usage,
    material: Option<MaterialHash>,
    request: &[u8; 32],
    attributes: &Template,
    values: &Values,
) -> WipingVec {
    let lengths = attributes
        .0
        .iter()
        .map(|entry| entry.value.len())
        .chain(values.0.iter().map(|(_, v)| v.len()));
    let mut out = Writer::with_room(128 + lengths.map(|length| length + 14).sum::<usize>());
    out.field(tag::ORIGIN, &[&[origin.bits()]]);
    out.field(tag::HELD, &[&held.0.to_le_bytes()]);
    if let Some(material) = material {
        out.field(tag::MATERIAL, &[&material.0]);
    }
    out.field(tag::REQUEST, &[request]);
    for entry in &attributes.0 {
        out.field(tag::ATTRIBUTE, &[&entry.attribute.0.to_le_bytes(), &entry.value]);
    }
    for (attribute, value) in &values.0 {
        out.field(tag::VALUE, &[&attribute.0.to_le_bytes(), value.expose()]);
    }
    out.0
}

fn number(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_le_bytes)
}

fn typed(value: &[u8]) -> Option<(AttributeType, &[u8])> {
    let (attribute, value) = value.split_first_chunk::<8>()?;
    Some((AttributeType(u64::from_le_bytes(*attribute)), value))
}

/// Writes fields into a buffer that is wiped when dropped. Callers with secrets reserve enough, because growing would leave
/// an unwiped copy behind.
struct Writer(WipingVec);

impl Writer {
    fn new() -> Self {
        Self::with_room(256)
    }

    fn with_room(room: usize) -> Self {
        let mut bytes = WipingVec::with_capacity(room);
        bytes.push(FORMAT);
        Self(bytes)
    }

    fn field(&mut self, tag: u16, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let room = 6 + length;
        if self.0.capacity() - self.0.len() < room {
            self.0.reserve_wiping(room);
        }
        self.0.extend_from_slice(&tag.to_le_bytes());
        self.0
            .extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        parts.iter().for_each(|part| self.0.extend_from_slice(part));
    }
}

/// Reads fields one by one; a broken one ends the list with `None` as its last entry.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        match bytes {
            [FORMAT, rest @ ..] => Some(Self(rest)),
            _ => None,
        }
    }

    fn next_field(&mut self) -> Option<(u16, &'a [u8])> {
        let (tag, rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.0 = rest;
        Some((u16::from_le_bytes(*tag), value))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Option<(u16, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.next_field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body() -> Body {
        Body {
            origin: Origin {
                outside: true,
                readable: false,
            },
            held: Usage::SIGN,
            material: Some(MaterialHash([3; 32])),
            request: [9; 32],
            attributes: Template(vec![Attribute::bytes(AttributeType::LABEL, b"label")]),
            values: Values(vec![(AttributeType::VALUE, Secret::from_slice(b"value"))]),
        }
    }

    fn same(a: &Body, b: &Body) -> bool {
        a.origin == b.origin
            && a.held == b.held
            && a.material == b.material
            && a.request == b.request
            && a.attributes == b.attributes
            && a.values.0 == b.values.0
    }

    #[test]
    fn a_record_reads_back_and_skips_what_a_later_version_adds() {
        let mut bytes = body().encode();
        assert!(same(&Body::decode(&bytes).unwrap(), &body()));
        bytes.extend_from_slice(&[0xff, 0x0f, 2, 0, 0, 0, 1, 2]);
        assert!(same(&Body::decode(&bytes).unwrap(), &body()));
        bytes.push(1);
        assert!(Body::decode(&bytes).is_none());
        assert!(Body::decode(&[FORMAT + 1]).is_none());
        let envelope = Envelope {
            id: UniqueId([1; 16]),
            operation: OperationId([2; 16]),
            sequence: 3,
            class: ObjectClass::DATA,
            content: Content::Private(vec![1, 2, 3]),
            join: Some(JoinId([4; 16])),
            sealed_at: Some(5),
        };
        let back = Envelope::decode(&envelope.encode()).unwrap();
        assert_eq!(
            (back.id, back.operation, back.sequence, back.class),
            (UniqueId([1; 16]), OperationId([2; 16]), 3, ObjectClass::DATA)
        );
        assert_eq!((back.join, back.sealed_at), (envelope.join, Some(5)));
        assert!(matches!(back.content, Content::Private(sealed) if sealed == [1, 2, 3]));
        let tombstone = Tombstone {
            id: UniqueId([1; 16]),
            operation: OperationId([2; 16]),
            destroyed: 77,
        };
        assert_eq!(Tombstone::decode(&tombstone.encode()), Some(tombstone));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256), cut: usize) {
            let _ = (Body::decode(&bytes), Envelope::decode(&bytes), Tombstone::decode(&bytes));
            let good = body().encode();
            let cut = cut % good.len();
            let _ = Body::decode(&good[..cut]);
        }
    }
}

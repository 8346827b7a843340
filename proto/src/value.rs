//! The bytes of an attribute, and the message that carries one. Objects have about 25 attributes, nearly all of them one or
//! eight bytes long: those lie in place, so that a reply with an object is read and written without an allocation for each.
//!
//! Not for key values: a value in place leaves copies where it was moved from. [`Value::boxed`] keeps its bytes where they are.

use crate::wipe::{WipingVec, wipe};
use crate::wire::Section;
use prost::DecodeError;
use prost::Message;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{self, DecodeContext, WireType};
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// The longest value that lies in place, in bytes: as many as make it no larger than a vector.
const SHORT: usize = 22;

/// Bytes, wiped when they are dropped, never printed.
pub struct Value(Kept);

enum Kept {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Box<[u8]>),
}

impl Value {
    /// A copy of bytes that are no key value.
    #[must_use]
    pub fn new(value: &[u8]) -> Self {
        if value.len() > SHORT {
            return Self::boxed(value);
        }
        let mut bytes = [0; SHORT];
        bytes[..value.len()].copy_from_slice(value);
        Self(Kept::Short {
            length: value.len() as u8,
            bytes,
        })
    }

    /// A copy of bytes that may be a key value: they do not move when it does.
    #[must_use]
    pub fn boxed(value: &[u8]) -> Self {
        Self(Kept::Long(Box::from(value)))
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Kept::Short { length, bytes } => &bytes[..usize::from(*length)],
            Kept::Long(bytes) => bytes,
        }
    }
}

impl Default for Value {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        match &self.0 {
            Kept::Short { length, bytes } => Self(Kept::Short {
                length: *length,
                bytes: *bytes,
            }),
            // What was boxed stays so, whatever its length.
            Kept::Long(bytes) => Self(Kept::Long(bytes.clone())),
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

// INV-1: no byte of a value stays in memory that was given back.
impl Drop for Value {
    fn drop(&mut self) {
        match &mut self.0 {
            Kept::Short { bytes, .. } => wipe(bytes),
            Kept::Long(bytes) => wipe(bytes),
        }
    }
}

impl From<WipingVec> for Value {
    fn from(bytes: WipingVec) -> Self {
        Self::boxed(&bytes)
    }
}

/// `Attribute` of `hsmd_data.proto`, written by hand: what prost makes of it would allocate twice for each value.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Attribute {
    /// CK_ATTRIBUTE_TYPE.
    pub r#type: u64,
    /// The value, unless it may be a key value.
    pub inline: Value,
    /// Where in the secret section the value is.
    pub hidden: Option<Section>,
}

/// The numbers of the fields.
mod field {
    pub(super) const TYPE: u32 = 1;
    pub(super) const INLINE: u32 = 2;
    pub(super) const HIDDEN: u32 = 3;
}

impl Message for Attribute {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if self.r#type != 0 {
            encoding::uint64::encode(field::TYPE, &self.r#type, buf);
        }
        if !self.inline.is_empty() {
            encoding::encode_key(field::INLINE, WireType::LengthDelimited, buf);
            encoding::encode_varint(self.inline.len() as u64, buf);
            buf.put_slice(&self.inline);
        }
        if let Some(hidden) = &self.hidden {
            encoding::message::encode(field::HIDDEN, hidden, buf);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            field::TYPE => encoding::uint64::merge(wire_type, &mut self.r#type, buf, context),
            field::INLINE => {
                self.inline = read(wire_type, buf)?;
                Ok(())
            }
            field::HIDDEN => encoding::message::merge(wire_type, self.hidden.get_or_insert_default(), buf, context),
            _ => encoding::skip_field(wire_type, tag, buf, context),
        }
    }

    fn encoded_len(&self) -> usize {
        let kind = if self.r#type == 0 {
            0
        } else {
            encoding::uint64::encoded_len(field::TYPE, &self.r#type)
        };
        let inline = match self.inline.len() {
            0 => 0,
            length => encoding::key_len(field::INLINE) + encoding::encoded_len_varint(length as u64) + length,
        };
        let hidden = self.hidden.as_ref();
        kind + inline + hidden.map_or(0, |hidden| encoding::message::encoded_len(field::HIDDEN, hidden))
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Reads a field of bytes.
fn read(wire_type: WireType, buf: &mut impl Buf) -> Result<Value, DecodeError> {
    encoding::check_wire_type(WireType::LengthDelimited, wire_type)?;
    let length = encoding::decode_varint(buf)?;
    if length > buf.remaining() as u64 {
        // prost gives no other way to make its error: a number without bytes.
        encoding::decode_varint(&mut [].as_slice())?;
    }
    let length = buf.remaining().min(length as usize);
    // Requests and replies are decoded from one slice.
    if let Some(value) = buf.chunk().get(..length) {
        let value = Value::new(value);
        buf.advance(length);
        return Ok(value);
    }
    let mut bytes = WipingVec::from(vec![0; length]);
    buf.copy_to_slice(&mut bytes);
    Ok(Value::new(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_no_larger_than_a_vector_and_reads_back_at_every_length() {
        assert_eq!(size_of::<Value>(), size_of::<Vec<u8>>());
        for length in 0..64 {
            let bytes: Vec<u8> = (0..length).collect();
            let (value, boxed) = (Value::new(&bytes), Value::boxed(&bytes));
            assert!(value.as_slice() == bytes && boxed == value && boxed.clone() == value.clone());
        }
        assert!(Value::default().is_empty());
    }

    // INV-1: key values do not lie in place, also not in a copy.
    #[test]
    fn what_is_boxed_stays_where_it_is() {
        let boxed = Value::boxed(b"k");
        let (at, copy) = (boxed.as_ptr(), boxed.clone());
        let moved = Box::new(boxed);
        assert!(moved.as_ptr() == at && matches!(copy.0, Kept::Long(_)));
    }

    /// The message as prost would make it.
    #[derive(Clone, PartialEq, Message)]
    #[prost(skip_debug)]
    struct Made {
        #[prost(uint64, tag = "1")]
        kind: u64,
        #[prost(bytes = "vec", tag = "2")]
        inline: Vec<u8>,
        #[prost(message, optional, tag = "3")]
        hidden: Option<Section>,
    }

    #[test]
    fn the_message_has_the_bytes_that_prost_would_give_it() {
        let section = |offset| Section { offset, length: 7 };
        for (kind, length, hidden) in [
            (0, 0, None),
            (3, 1, None),
            (0x8000_0001, 22, None),
            (u64::MAX, 23, None),
            (17, 300, None),
            (17, 0, Some(section(0))),
            (17, 9, Some(section(u32::MAX))),
        ] {
            let inline: Vec<u8> = (0..length).map(|index| index as u8).collect();
            let by_hand = Attribute {
                r#type: kind,
                inline: Value::new(&inline),
                hidden,
            };
            let made = Made { kind, inline, hidden };
            let bytes = made.encode_to_vec();
            assert_eq!(by_hand.encode_to_vec(), bytes);
            assert!(Attribute::decode(bytes.as_slice()).unwrap() == by_hand);
            // In two pieces, and cut short: never a panic, and prost's verdict.
            for cut in 0..bytes.len() {
                let (front, back) = bytes.split_at(cut);
                assert!(Attribute::decode(front.chain(back)).unwrap() == by_hand);
                assert_eq!(Attribute::decode(front).is_ok(), Made::decode(front).is_ok());
            }
        }
        // Unknown fields are skipped; a field of the wrong type is refused.
        assert!(Attribute::decode([0x20, 1].as_slice()).is_ok());
        assert!(Attribute::decode([0x10, 1].as_slice()).is_err());
    }
}

//! The items of an operator's backup: a tag and fields, little endian. Reading them is hostile ground: who made the backup is known
//! to have had the key, nothing more.

use hsmd_crypto::secret::SecretArray;
use hsmd_proto::ids::KeySetId;
use prost::Message;

use super::RestoreError;
use crate::records::{FORMAT, KeySetRecord};
use crate::seal::Kind;

const MANIFEST: u8 = 1;
const SECRET: u8 = 2;
const FLEET: u8 = 3;
const KEY_SET: u8 = 4;
const RECORD: u8 = 5;
const END: u8 = 6;

/// One item.
pub(super) enum Item<'a> {
    /// First of all: the manifest.
    Manifest(&'a [u8]),
    /// A key of the fleet secret, by its label.
    Secret(&'a str, SecretArray<32>),
    /// A record under `/fleet/`.
    Fleet(Entry<'a>),
    /// The following records are of this key set.
    KeySet(KeySetId, KeySetRecord),
    /// A record under the key set's prefix.
    Record(Entry<'a>),
    /// Last of all: how many records of the fleet, key sets and records there were.
    End([u64; 3]),
}

/// A record without its outer seal.
pub(super) struct Entry<'a> {
    pub(super) kind: Kind,
    pub(super) version: u64,
    /// What comes after the prefix.
    pub(super) rest: &'a str,
    pub(super) plain: &'a [u8],
}

impl Item<'_> {
    /// Calls `put` with the parts of the item.
    pub(super) fn with_parts<T>(&self, put: impl FnOnce(&[&[u8]]) -> T) -> T {
        match self {
            Self::Manifest(bytes) => put(&[&[MANIFEST], bytes]),
            Self::Secret(label, key) => put(&[&[SECRET], key.expose(), label.as_bytes()]),
            Self::KeySet(id, record) => put(&[&[KEY_SET], &id.0, &record.encode_to_vec()]),
            Self::Fleet(entry) | Self::Record(entry) => {
                let tag = if matches!(self, Self::Fleet(_)) { FLEET } else { RECORD };
                let length = (entry.rest.len() as u16).to_le_bytes();
                put(&[
                    &[tag, entry.kind as u8],
                    &entry.version.to_le_bytes(),
                    &length,
                    entry.rest.as_bytes(),
                    entry.plain,
                ])
            }
            Self::End(counts) => {
                let [a, b, c] = counts.map(u64::to_le_bytes);
                put(&[&[END], &a, &b, &c])
            }
        }
    }
}

/// Reads an item.
pub(super) fn decode(bytes: &[u8]) -> Result<Item<'_>, RestoreError> {
    let wrong = RestoreError::Contents("an item does not read");
    let (tag, rest) = bytes
        .split_first()
        .ok_or(RestoreError::Contents("an item without bytes"))?;
    let item = match *tag {
        MANIFEST => Some(Item::Manifest(rest)),
        SECRET => secret(rest),
        FLEET => entry(rest).map(Item::Fleet),
        RECORD => entry(rest).map(Item::Record),
        KEY_SET => key_set(rest),
        END => end(rest),
        // Nothing may be left out of a restore in silence.
        _ => return Err(RestoreError::Contents("an item of an unknown kind")),
    };
    item.ok_or(wrong)
}

fn secret(bytes: &[u8]) -> Option<Item<'_>> {
    let (key, label) = bytes.split_at_checked(32)?;
    Some(Item::Secret(
        std::str::from_utf8(label).ok()?,
        SecretArray::from_slice(key)?,
    ))
}

fn key_set(bytes: &[u8]) -> Option<Item<'_>> {
    let (id, record) = bytes.split_at_checked(16)?;
    let record = KeySetRecord::decode(record)
        .ok()
        .filter(|record| record.format <= FORMAT)?;
    Some(Item::KeySet(KeySetId::from_slice(id)?, record))
}

fn entry(bytes: &[u8]) -> Option<Entry<'_>> {
    let (kind, bytes) = bytes.split_first()?;
    let (version, bytes) = bytes.split_first_chunk::<8>()?;
    let (length, bytes) = bytes.split_first_chunk::<2>()?;
    let (rest, plain) = bytes.split_at_checked(u16::from_le_bytes(*length).into())?;
    let version = u64::from_le_bytes(*version);
    Some(Entry {
        kind: Kind::from_number(*kind)?,
        // Room for the versions to come, and for the one of the write before this.
        version: (1..u64::MAX / 2).contains(&version).then_some(version)?,
        rest: std::str::from_utf8(rest).ok()?,
        plain,
    })
}

fn end(bytes: &[u8]) -> Option<Item<'_>> {
    let (numbers, []) = bytes.as_chunks::<8>() else {
        return None;
    };
    let counts: &[[u8; 8]; 3] = numbers.try_into().ok()?;
    Some(Item::End(counts.map(u64::from_le_bytes)))
}

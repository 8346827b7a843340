//! Saved operations: the bytes that C_GetOperationState gives and C_SetOperationState takes (PKCS#11 3.2, 5.6.6 and 5.6.7).
//! What the bytes hold is what the application gave or was given: data, chaining values, hash states. No key, and nothing that
//! a key was mixed into; a digest that absorbed a sensitive key is a sealed blob of the daemon.
//!
//! Form (numbers little endian): `hsmdOPS`, format 1; operations of kind (1 byte), length (4 bytes), body; the first 8 bytes
//! of the SHA-256 of all that. The bytes come back from the application and are read as hostile.

use super::operation::Chain;
use hsmd_proto::ck::MechanismType;
use hsmd_proto::convert::{mechanism_from_wire, mechanism_to_wire};
use hsmd_proto::ids::UniqueId;
use hsmd_proto::params::{Mechanism, Params};
use hsmd_proto::wipe::WipingVec;
use hsmd_proto::wire;
use prost::Message;

const MAGIC: &[u8; 8] = b"hsmdOPS\x01";
const CHECKSUM: usize = 8;

/// Which operation of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Encrypt,
    Decrypt,
    Sign,
    Verify,
}

impl Family {
    pub(crate) const ALL: [Self; 4] = [Self::Encrypt, Self::Decrypt, Self::Sign, Self::Verify];

    const fn number(self) -> u8 {
        match self {
            Self::Encrypt => 2,
            Self::Decrypt => 3,
            Self::Sign => 4,
            Self::Verify => 5,
        }
    }

    /// Whether it is the first of C_SetOperationState's two keys that it needs.
    pub(crate) const fn takes_encryption_key(self) -> bool {
        matches!(self, Self::Encrypt | Self::Decrypt)
    }
}

const DIGEST: u8 = 1;

/// A digest.
pub(crate) struct SavedDigest {
    pub(crate) hash: u64,
    /// Data came in parts.
    pub(crate) parts: bool,
    /// The state is a blob of the daemon.
    pub(crate) sealed: bool,
    pub(crate) state: WipingVec,
}

/// How far the data of an operation with a key is.
pub(crate) enum SavedWork {
    Whole,
    Hash(Option<WipingVec>),
    Collect(WipingVec),
    Blocks(Chain),
}

/// An operation with a key, which is named by its id.
pub(crate) struct SavedOperation {
    pub(crate) family: Family,
    pub(crate) key: UniqueId,
    pub(crate) parts: bool,
    pub(crate) mechanism: Mechanism,
    pub(crate) work: SavedWork,
}

/// Everything that one session's operations need to go on.
#[derive(Default)]
pub(crate) struct Saved {
    pub(crate) digest: Option<SavedDigest>,
    pub(crate) operations: Vec<SavedOperation>,
}

impl Saved {
    /// The bytes.
    pub(crate) fn encode(&self) -> WipingVec {
        let mut out = WipingVec::new();
        put(&mut out, MAGIC);
        if let Some(digest) = &self.digest {
            let flags = u8::from(digest.parts) | u8::from(digest.sealed) << 1;
            item(&mut out, DIGEST, &[&digest.hash.to_le_bytes(), &[flags], &digest.state]);
        }
        for operation in &self.operations {
            let mechanism = mechanism_to_wire(&operation.mechanism).encode_to_vec();
            let length = (mechanism.len() as u32).to_le_bytes();
            let chain;
            let (tag, work): (u8, &[&[u8]]) = match &operation.work {
                SavedWork::Whole => (0, &[]),
                SavedWork::Hash(None) => (1, &[]),
                SavedWork::Hash(Some(state)) => (2, &[state]),
                SavedWork::Collect(data) => (3, &[data]),
                SavedWork::Blocks(blocks) => {
                    chain = (blocks.left.to_le_bytes(), [blocks.used as u8]);
                    (4, &[&blocks.block, &chain.0, &chain.1, &blocks.pending])
                }
            };
            let flags = [u8::from(operation.parts), tag];
            let mut parts: Vec<&[u8]> = vec![&operation.key.0, &flags, &length, &mechanism];
            parts.extend(work);
            item(&mut out, operation.family.number(), &parts);
        }
        let checksum = checksum(&out);
        put(&mut out, &checksum);
        out
    }

    /// Reads bytes; `None` for what [`Self::encode`] did not write, whole and unchanged.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<CHECKSUM>()?;
        if checksum(body) != *sum {
            return None;
        }
        let mut reader = Reader(body.strip_prefix(MAGIC)?);
        let mut saved = Self::default();
        while !reader.0.is_empty() {
            let kind = reader.byte()?;
            let length = u32::from_le_bytes(reader.array()?) as usize;
            let item = Reader(reader.take(length)?);
            if kind == DIGEST {
                if saved.digest.replace(digest(item)?).is_some() {
                    return None;
                }
            } else {
                let family = Family::ALL.into_iter().find(|family| family.number() == kind)?;
                if saved.operations.iter().any(|other| other.family == family) {
                    return None;
                }
                saved.operations.push(operation(family, item)?);
            }
        }
        (saved.digest.is_some() || !saved.operations.is_empty()).then_some(saved)
    }
}

fn digest(mut reader: Reader<'_>) -> Option<SavedDigest> {
    let hash = u64::from_le_bytes(reader.array()?);
    let flags = reader.byte()?;
    (flags < 4).then(|| SavedDigest {
        hash,
        parts: flags & 1 != 0,
        sealed: flags & 2 != 0,
        state: WipingVec::from(reader.0),
    })
}

fn operation(family: Family, mut reader: Reader<'_>) -> Option<SavedOperation> {
    let key = UniqueId(reader.array()?);
    let (parts, tag) = (reader.byte()?, reader.byte()?);
    let length = u32::from_le_bytes(reader.array()?) as usize;
    let mechanism = wire::Mechanism::decode(reader.take(length)?).ok()?;
    let mechanism = mechanism_from_wire(Some(mechanism)).ok()?;
    let work = match tag {
        0 if reader.0.is_empty() => SavedWork::Whole,
        1 if reader.0.is_empty() => SavedWork::Hash(None),
        2 => SavedWork::Hash(Some(WipingVec::from(reader.0))),
        3 => SavedWork::Collect(WipingVec::from(reader.0)),
        4 => SavedWork::Blocks(Chain {
            block: reader.array()?,
            left: u128::from_le_bytes(reader.array()?),
            used: reader.byte().filter(|used| *used < 16)?.into(),
            pending: Some(WipingVec::from(reader.0)).filter(|pending| pending.len() <= 16)?,
        }),
        _ => return None,
    };
    (parts < 2).then_some(SavedOperation {
        family,
        key,
        parts: parts == 1,
        mechanism,
        work,
    })
}

/// A part of the bytes that is still to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }
}

fn item(out: &mut WipingVec, kind: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    put(out, &[kind]);
    put(out, &u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    out.reserve_wiping(length);
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

fn put(out: &mut WipingVec, bytes: &[u8]) {
    out.reserve_wiping(bytes.len());
    out.extend_from_slice(bytes);
}

/// It finds accidents; who changes the bytes on purpose changes data of their own.
fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    hsmd_crypto::seal::sha256(&[bytes])
        .first_chunk()
        .copied()
        .unwrap_or_default()
}

/// A state to test and to fuzz with.
pub(crate) fn seed() -> Saved {
    Saved {
        digest: Some(SavedDigest {
            hash: MechanismType::SHA256.0,
            parts: true,
            sealed: false,
            state: WipingVec::from(vec![1; 40]),
        }),
        operations: vec![SavedOperation {
            family: Family::Encrypt,
            key: UniqueId([7; 16]),
            parts: true,
            mechanism: Mechanism {
                kind: MechanismType::AES_CBC,
                params: Params::Iv(vec![2; 16]),
            },
            work: SavedWork::Blocks(Chain {
                block: [3; 16],
                pending: WipingVec::from(vec![4; 5]),
                used: 0,
                left: 0,
            }),
        }],
    }
}

/// These bytes with the checksum that they should have: for fuzzing, which does not stop at it.
pub(crate) fn mended(bytes: &[u8]) -> Vec<u8> {
    let body = bytes.len().saturating_sub(CHECKSUM);
    let mut out = bytes[..body].to_vec();
    out.extend_from_slice(&checksum(&bytes[..body]));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_reads_back_whole_or_not_at_all() {
        let bytes = seed().encode();
        let read = Saved::decode(&bytes).unwrap();
        assert!(*read.encode() == *bytes);
        assert_eq!(read.operations[0].key, UniqueId([7; 16]));
        for end in 0..bytes.len() {
            assert!(Saved::decode(&bytes[..end]).is_none(), "{end} bytes of {}", bytes.len());
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 0x10;
            assert!(Saved::decode(&changed).is_none(), "byte {at}");
        }
    }

    #[test]
    fn no_operation_stands_twice_and_none_is_no_state() {
        assert!(Saved::decode(&Saved::default().encode()).is_none());
        let mut twice = seed();
        twice.operations.extend(seed().operations);
        assert!(Saved::decode(&twice.encode()).is_none());
    }
}

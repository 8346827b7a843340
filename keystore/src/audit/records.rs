//! The sealed records of the log. Paths are under `/audit-<node>/`, a group of its own: damage elsewhere does not stop the log,
//! and damage of the log is named as such (INV-7).

use prost::Message;

use super::chain::{Hash, SignedHead};
use crate::records::Formatted;

/// What a record says of one act.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EventRecord {
    #[prost(uint32, tag = "1")]
    pub(crate) act: u32,
    #[prost(uint64, tag = "2")]
    pub(crate) time_ms: u64,
    #[prost(string, tag = "3")]
    pub(crate) who: String,
    #[prost(uint32, tag = "4")]
    pub(crate) process: u32,
    #[prost(string, tag = "5")]
    pub(crate) role: String,
    #[prost(string, tag = "6")]
    pub(crate) hsm: String,
    #[prost(string, tag = "7")]
    pub(crate) partition: String,
    #[prost(bytes = "vec", tag = "8")]
    pub(crate) key_set: Vec<u8>,
    #[prost(bytes = "vec", tag = "9")]
    pub(crate) object: Vec<u8>,
    #[prost(uint64, optional, tag = "10")]
    pub(crate) class: Option<u64>,
    #[prost(uint64, optional, tag = "11")]
    pub(crate) key_type: Option<u64>,
    #[prost(string, tag = "12")]
    pub(crate) label: String,
    #[prost(string, tag = "13")]
    pub(crate) detail: String,
    /// The result is a gRPC code, not a PKCS#11 return value.
    #[prost(bool, tag = "14")]
    pub(crate) grpc: bool,
    #[prost(uint64, tag = "15")]
    pub(crate) result: u64,
    /// How often it happened between `since_ms` and `time_ms`.
    #[prost(uint64, tag = "16")]
    pub(crate) count: u64,
    #[prost(uint64, tag = "17")]
    pub(crate) since_ms: u64,
}

/// `/audit-<node>/new/<run><number>`: what one batch did, until it is chained.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PendingRecord {
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    #[prost(message, repeated, tag = "2")]
    pub(crate) events: Vec<EventRecord>,
}

/// `/audit-<node>/log/<number>`: some entries of the chain, and the signed head after the last of them.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SegmentRecord {
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    /// Sequence number of the first entry.
    #[prost(uint64, tag = "2")]
    pub(crate) first: u64,
    /// The chain's hash before it.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) base: Vec<u8>,
    #[prost(string, repeated, tag = "4")]
    pub(crate) lines: Vec<String>,
    #[prost(message, optional, tag = "5")]
    pub(crate) head: Option<HeadRecord>,
}

/// A signed head. `/audit-<node>/head` holds the newest one in a [`TipRecord`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HeadRecord {
    #[prost(uint64, tag = "1")]
    pub(crate) sequence: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) hash: Vec<u8>,
    #[prost(uint64, tag = "3")]
    pub(crate) time_ms: u64,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) signature: Vec<u8>,
}

/// `/audit-<node>/head`: where the chain ends, and where what is kept of it begins.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TipRecord {
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    #[prost(message, optional, tag = "2")]
    pub(crate) head: Option<HeadRecord>,
    /// The last entry that was dropped; 0: none.
    #[prost(uint64, tag = "3")]
    pub(crate) dropped: u64,
    /// The chain's hash after it.
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) dropped_hash: Vec<u8>,
}

/// Entries of the chain in one piece, as they are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number of the first entry.
    pub first: u64,
    /// The chain's hash before it.
    pub base: Hash,
    /// The entries' lines.
    pub lines: Vec<String>,
    /// The head after the last entry.
    pub head: SignedHead,
}

impl Segment {
    pub(super) fn from_record(record: SegmentRecord) -> Option<Self> {
        Some(Self {
            first: record.first,
            base: record.base.try_into().ok()?,
            lines: record.lines,
            head: SignedHead::from_record(record.head?)?,
        })
    }

    pub(super) fn record(&self) -> SegmentRecord {
        SegmentRecord {
            format: crate::records::FORMAT,
            first: self.first,
            base: self.base.to_vec(),
            lines: self.lines.clone(),
            head: Some(self.head.record()),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.lines.iter().map(String::len).sum()
    }
}

impl SignedHead {
    pub(super) fn from_record(record: HeadRecord) -> Option<Self> {
        Some(Self {
            sequence: record.sequence,
            hash: record.hash.try_into().ok()?,
            time_ms: record.time_ms,
            signature: record.signature,
        })
    }

    pub(super) fn record(&self) -> HeadRecord {
        HeadRecord {
            sequence: self.sequence,
            hash: self.hash.to_vec(),
            time_ms: self.time_ms,
            signature: self.signature.clone(),
        }
    }
}

macro_rules! formatted {
    ($($record:ident),*) => {
        $(impl Formatted for $record {
            fn format(&self) -> u32 {
                self.format
            }
        })*
    };
}

formatted!(PendingRecord, SegmentRecord, TipRecord);

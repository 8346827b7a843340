//! The formats of sealed records, as hand-derived protobuf messages with a format number. Unknown fields are ignored. No field
//! holds a secret in clear: wrapped keys are ciphertext, and the root record, which holds keys, has a codec of its own.

use hsmd_proto::ids::OperationId;
use prost::Message;

/// The format that this build writes, in every record.
pub(crate) const FORMAT: u32 = 1;

/// How many operation ids a record remembers, so that a repeated operation is recognised (INV-10).
pub(crate) const OPERATIONS: usize = 16;

/// `/ks/<id>/root`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct KeySetRecord {
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    /// Which prefix is in use. 0: never initialised.
    #[prost(uint32, tag = "2")]
    pub(crate) incarnation: u32,
    /// Logins and session objects of another epoch are void.
    #[prost(uint64, tag = "3")]
    pub(crate) epoch: u64,
    /// The policy's name.
    #[prost(string, tag = "4")]
    pub(crate) policy: String,
    /// 32 bytes, padded with blanks.
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) label: Vec<u8>,
    /// The last operations on this record.
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub(crate) operations: Vec<Vec<u8>>,
    /// The key set is deleted; what is left is to be purged.
    #[prost(bool, tag = "7")]
    pub(crate) deleted: bool,
    /// The most token objects; 0: no limit.
    #[prost(uint64, tag = "8")]
    pub(crate) max_objects: u64,
    /// The most bytes of their records; 0: no limit.
    #[prost(uint64, tag = "9")]
    pub(crate) max_bytes: u64,
    /// Wrong tries until a role is locked; 0: as configured.
    #[prost(uint32, tag = "10")]
    pub(crate) pin_tries: u32,
    /// Objects may not be changed: they are being copied to a group's key set.
    #[prost(bool, tag = "20")]
    pub(crate) protected: bool,
    /// The joins that are done: objects that were copied for another one are not seen.
    #[prost(bytes = "vec", repeated, tag = "21")]
    pub(crate) joins: Vec<Vec<u8>>,
    /// Of a copy: the key set whose id is in the names of the SO's counters. Empty: this one.
    #[prost(bytes = "vec", tag = "22")]
    pub(crate) counters: Vec<u8>,
}

/// `/ks/<id>/<incarnation>/pin/<role>`: the PSK wrapped under a PIN.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct PinRecord {
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    /// Argon2id: memory in KiB.
    #[prost(uint32, tag = "2")]
    pub(crate) memory_kib: u32,
    /// Argon2id: passes.
    #[prost(uint32, tag = "3")]
    pub(crate) passes: u32,
    /// Argon2id: lanes.
    #[prost(uint32, tag = "4")]
    pub(crate) lanes: u32,
    /// Argon2id: salt, 16 bytes.
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) salt: Vec<u8>,
    /// HKDF(stretched PIN, "commit"), 32 bytes: the wrap opens under one key only.
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) commitment: Vec<u8>,
    /// The PSK, sealed under HKDF(stretched PIN, "wrap").
    #[prost(bytes = "vec", tag = "7")]
    pub(crate) wrapped: Vec<u8>,
    /// The last operations on this record.
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub(crate) operations: Vec<Vec<u8>>,
    /// The key set for which the wrap was made, if the record was copied or restored from there; else empty.
    #[prost(bytes = "vec", tag = "20")]
    pub(crate) wrapped_key_set: Vec<u8>,
    /// The incarnation for which the wrap was made, with `wrapped_key_set`.
    #[prost(uint32, tag = "21")]
    pub(crate) wrapped_incarnation: u32,
}

/// A try that failed.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct FailureRecord {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) attempt: Vec<u8>,
    /// Its place in the order of verdicts.
    #[prost(uint64, tag = "2")]
    pub(crate) sequence: u64,
}

/// A try without a verdict.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct ReservationRecord {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) attempt: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) node: Vec<u8>,
    /// The run of the node's process; of an earlier run, the reservation counts as a failure.
    #[prost(uint64, tag = "3")]
    pub(crate) generation: u64,
    /// The newest verdict when the try began.
    #[prost(uint64, tag = "4")]
    pub(crate) began: u64,
}

/// `/ks/<id>/<incarnation>/tries/<role>`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct TriesRecord {
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    /// Number of verdicts so far.
    #[prost(uint64, tag = "2")]
    pub(crate) sequence: u64,
    #[prost(message, repeated, tag = "3")]
    pub(crate) failures: Vec<FailureRecord>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) reservations: Vec<ReservationRecord>,
    #[prost(bool, tag = "5")]
    pub(crate) locked: bool,
    /// The last attempts that failed: the same attempt again is the same try (INV-8).
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub(crate) failed: Vec<Vec<u8>>,
}

/// `/ks/<id>/<incarnation>/login/<login>`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct LoginRecord {
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) identity: Vec<u8>,
    /// `Role` as a number.
    #[prost(uint32, tag = "3")]
    pub(crate) role: u32,
    #[prost(uint64, tag = "4")]
    pub(crate) epoch: u64,
    /// Seconds since 1970.
    #[prost(uint64, tag = "5")]
    pub(crate) created: u64,
    /// Seconds since 1970, to a day.
    #[prost(uint64, tag = "6")]
    pub(crate) used: u64,
    /// Version of the ticket key.
    #[prost(uint32, tag = "7")]
    pub(crate) ticket_key: u32,
    /// The PSK, sealed under HKDF(ticket key, login secret).
    #[prost(bytes = "vec", tag = "8")]
    pub(crate) psk: Vec<u8>,
}

/// `/fleet/doc/<keyed hash of the name>`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct DocumentRecord {
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) value: Vec<u8>,
    /// The operation that wrote it.
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) operation: Vec<u8>,
    /// A tombstone: the versions go on, so that an old expectation never fits a new document.
    #[prost(bool, tag = "5")]
    pub(crate) deleted: bool,
    /// Of a tombstone: seconds since 1970.
    #[prost(uint64, tag = "6")]
    pub(crate) deleted_at: u64,
    /// What the document's version has more than the record's: the store counts from 1 again when a tombstone was purged.
    #[prost(uint64, tag = "7")]
    pub(crate) base: u64,
}

/// `/fleet/anchor`: which store this is.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct AnchorRecord {
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    /// The id in the root record.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) store: Vec<u8>,
}

/// A record that says which format it has.
pub(crate) trait Formatted {
    /// The format; a higher one than [`FORMAT`] is of a later version and not to be guessed at.
    fn format(&self) -> u32;
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

formatted!(
    KeySetRecord,
    PinRecord,
    TriesRecord,
    LoginRecord,
    DocumentRecord,
    AnchorRecord
);

/// Whether `operation` is among the last ones.
pub(crate) fn done_before(operations: &[Vec<u8>], operation: &OperationId) -> bool {
    operations.iter().any(|known| known.as_slice() == operation.0)
}

/// Adds `operation`, forgetting the oldest beyond [`OPERATIONS`].
pub(crate) fn remember(operations: &mut Vec<Vec<u8>>, operation: &OperationId) {
    operations.push(operation.0.to_vec());
    if operations.len() > OPERATIONS {
        operations.drain(..operations.len() - OPERATIONS);
    }
}

//! What a caller hands in and gets back: batches, records, limits, outcomes. No behaviour but the checks of size and shape.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::head::Head;
use crate::path::Path;

/// The store-wide number of a committed batch. The first batch has revision 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// What is stored under a path.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The sealed value.
    pub value: Arc<[u8]>,
    /// 1 when the path was created, one more with each put.
    pub version: u64,
    /// The batch that wrote this version.
    pub revision: Revision,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Record({} bytes, version {}, revision {})",
            self.value.len(),
            self.version,
            self.revision.0
        )
    }
}

/// One record to put or to purge.
#[derive(Clone, PartialEq, Eq)]
pub struct Write {
    /// Which record.
    pub path: Path,
    /// The version that this write makes: the batch conflicts unless the path now has `version - 1` (0: it is absent).
    pub version: u64,
    /// The new value, or `None` to purge the record. A purged path is absent again and starts anew at version 1.
    pub value: Option<Vec<u8>>,
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "Put({}, version {}, {} bytes)", self.path, self.version, value.len()),
            None => write!(f, "Purge({}, version {})", self.path, self.version),
        }
    }
}

/// A condition on a record that the batch does not write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Which record.
    pub path: Path,
    /// The version that it must have now; 0: it must be absent.
    pub version: u64,
}

/// Writes that happen together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Chosen by the caller, unique; [`crate::Store::resolve`] finds the outcome by it.
    pub operation: [u8; 16],
    /// Conditions; all must hold.
    pub compares: Vec<Compare>,
    /// The writes; no path twice.
    pub writes: Vec<Write>,
    /// The batch may use the spare journal segment when the disk is full (destroys and counters).
    pub reserve: bool,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable and visible; its revision.
    Committed(Revision),
    /// Nothing was written: this path has another version than the batch requires.
    Conflict {
        /// The first path that does not fit.
        path: Path,
        /// The version that it has now; 0: absent.
        current: u64,
    },
    /// It may or may not have been committed; [`crate::Store::resolve`] tells. Never retry blindly.
    Unknown,
}

/// Why a batch was not even tried, or can no longer be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The disk is full; nothing was written; try again later.
    #[error("the store is full")]
    Full,
    /// The batch is over a limit.
    #[error("the batch is over the limit of {limit:?}: {is} > {at_most}")]
    TooLarge {
        /// Which limit.
        limit: Limit,
        /// What the batch has.
        is: usize,
        /// What is allowed.
        at_most: usize,
    },
    /// A path is written twice in one batch.
    #[error("path {0} is written twice in one batch")]
    DuplicatePath(Path),
    /// A write names version 0, which no record has.
    #[error("write to {0} names version 0")]
    VersionZero(Path),
    /// This group's head does not fit its records; writes are refused until it is repaired.
    #[error("group {0} is quarantined")]
    Quarantined(String),
    /// The store was closed, or a sync failed. In the second case the batch may be found committed after a restart.
    #[error("the store has stopped")]
    Stopped,
    /// No member of etcd could be asked, or etcd refuses; nothing was written; try again later.
    #[error("the store cannot be reached")]
    Unavailable,
}

/// Which limit a batch is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Number of compares.
    Compares,
    /// Number of writes.
    Writes,
    /// Bytes of all paths and values.
    BatchBytes,
    /// Bytes of one value.
    RecordBytes,
    /// Number of writes and of the groups that they touch, together.
    WritesAndGroups,
}

/// Limits of a batch; they keep a batch within what every engine can commit at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most compares in a batch.
    pub compares: usize,
    /// Most writes in a batch.
    pub writes: usize,
    /// Most bytes of paths and values in a batch.
    pub batch_bytes: usize,
    /// Most bytes of one value.
    pub record_bytes: usize,
    /// Most writes and groups touched, together: what one transaction of etcd can hold.
    pub writes_and_groups: usize,
    /// How many committed batches a slow [`crate::Watch`] may be behind before it is told [`crate::Compacted`].
    pub history: usize,
    /// How many operation ids [`crate::Store::resolve`] remembers.
    pub operations: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A hundred, and the one that every batch of a node in a fleet has.
            compares: 101,
            // A hundred for what is done, and room for the record of the act.
            writes: 104,
            batch_bytes: 1 << 20,
            record_bytes: 72 << 10,
            writes_and_groups: usize::MAX,
            history: 8192,
            operations: 65_536,
        }
    }
}

impl Batch {
    /// Bytes of all paths and values.
    pub(crate) fn bytes(&self) -> usize {
        self.writes
            .iter()
            .map(|w| w.path.as_str().len() + w.value.as_ref().map_or(0, Vec::len))
            .sum()
    }

    /// At most this many bytes are needed in a journal frame, heads included.
    pub(crate) fn frame_bytes(&self) -> usize {
        const BATCH: usize = 16 + 4;
        const WRITE: usize = 2 + 8 + 1 + 4;
        const GROUP: usize = 2 + Head::BYTES;
        let groups: usize = self.writes.iter().map(|write| write.path.group().len() + GROUP).sum();
        BATCH + self.bytes() + self.writes.len() * WRITE + groups
    }

    /// How many groups the writes touch.
    pub(crate) fn groups(&self) -> usize {
        let groups: BTreeSet<&str> = self.writes.iter().map(|write| write.path.group()).collect();
        groups.len()
    }

    /// Checks shape and size; says nothing about the state of the store.
    pub(crate) fn check(&self, limits: &Limits) -> Result<(), CommitError> {
        let within = |limit, is, at_most| {
            if is > at_most {
                Err(CommitError::TooLarge { limit, is, at_most })
            } else {
                Ok(())
            }
        };
        within(Limit::Compares, self.compares.len(), limits.compares)?;
        within(Limit::Writes, self.writes.len(), limits.writes)?;
        within(Limit::BatchBytes, self.bytes(), limits.batch_bytes)?;
        if limits.writes_and_groups < usize::MAX {
            let is = self.writes.len() + self.groups();
            within(Limit::WritesAndGroups, is, limits.writes_and_groups)?;
        }
        for (at, write) in self.writes.iter().enumerate() {
            within(
                Limit::RecordBytes,
                write.value.as_ref().map_or(0, Vec::len),
                limits.record_bytes,
            )?;
            if write.version == 0 {
                return Err(CommitError::VersionZero(write.path.clone()));
            }
            // At most 100 writes: comparing pairs is cheaper than a set.
            if self.writes[..at].iter().any(|other| other.path == write.path) {
                return Err(CommitError::DuplicatePath(write.path.clone()));
            }
        }
        Ok(())
    }
}

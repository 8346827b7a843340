//! Backups of an operator, and their restore: the records of key sets and of the control plane, without their outer seal, in a
//! container under a key of their own (docs/backup-format.md). So they go into another store under another master key.
//!
//! INV-7: private objects stay sealed under their key set's PSK, and the PSK stays wrapped under the PINs. Not in a backup: logins,
//! ticket keys, the master and barrier keys, the store's own keys, the audit log.

mod automatic;
mod export;
mod item;
mod key;
mod read;
mod rebuild;
mod restore;
#[cfg(test)]
mod tests;

use hsmd_proto::ids::{KeySetId, NodeId};
use hsmd_proto::policy::Policy;
use hsmd_store::container::ContainerError;
use prost::Message;

pub use self::automatic::{AutomaticBackup, automatic_backups};
pub use self::export::{BackupDocuments, BackupRequest};
pub use self::key::{BackupKey, BackupSecret};
pub use self::read::Incoming;
pub use self::restore::{RestoreTarget, StageOptions, Staged, StagedSet};

/// The format of the items that this build writes.
const FORMAT: u32 = 1;

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupScope {
    /// Everything: all key sets, the control plane's records, latches, the daemon's own secrets.
    Daemon,
    /// An HSM with its partitions.
    Hsm,
    /// One partition.
    Partition,
}

impl BackupScope {
    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::Hsm => "hsm",
            Self::Partition => "partition",
        }
    }

    const fn number(self) -> u32 {
        self as u32 + 1
    }

    fn from_number(number: u32) -> Option<Self> {
        [Self::Daemon, Self::Hsm, Self::Partition]
            .into_iter()
            .find(|scope| scope.number() == number)
    }
}

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// What it holds.
    pub scope: BackupScope,
    /// Of what: serial number or id; empty for a daemon.
    pub name: String,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// Which node made it.
    pub node: NodeId,
    /// The store that it was made of.
    pub store: [u8; 16],
    /// The version of hsmd that made it.
    pub version: String,
    /// The revision that it shows.
    pub revision: u64,
    /// Of a store for development.
    pub dev: bool,
    /// Number of key sets.
    pub key_sets: u32,
}

/// A key set in a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySetContents {
    /// Its id where the backup was made.
    pub id: KeySetId,
    /// What it allows.
    pub policy: Policy,
    /// The token's label; `None`: not initialised.
    pub label: Option<[u8; 32]>,
    /// Objects, private ones included.
    pub objects: u64,
    /// What is left of destroyed objects.
    pub tombstones: u64,
    /// PINs.
    pub pins: u64,
}

/// All that a backup holds, by number, after it was read to its end and found whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its key sets.
    pub key_sets: Vec<KeySetContents>,
    /// Records of the control plane.
    pub documents: u64,
    /// Latches of keys that have wrapped a sensitive key.
    pub latches: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Why a backup is not restored. Nothing that is served was changed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The container: no backup, damaged, another key.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// It opens, but what is in it makes no sense: this build or the one that made it is wrong.
    #[error("the backup holds what cannot be: {0}")]
    Contents(&'static str),
    /// It is not of the kind that is restored this way.
    #[error("the backup is of {} {}", if matches!(.0, BackupScope::Daemon) { "the" } else { "a" }, .0.name())]
    Scope(BackupScope),
    /// The backup of a development store, for production, or the other way round.
    #[error("the backup is {}of a store for development", if *.dev { "" } else { "not " })]
    Dev {
        /// What the backup is marked as.
        dev: bool,
    },
    /// The target was changed while the restore was under way.
    #[error("the target was changed while the restore was under way; try again")]
    Changed,
    /// More key sets than one batch can switch.
    #[error("{0} partitions cannot be restored in one step; restore them one by one")]
    TooMany(usize),
}

/// Reads `data` as an item of a backup, whatever it says: for the fuzz targets (`crate::fuzzing`).
pub(crate) fn fuzzing(data: &[u8]) {
    let Ok(item) = item::decode(data) else { return };
    match &item {
        item::Item::Manifest(bytes) => {
            if let Ok(manifest) = Manifest::decode(bytes) {
                assert_eq!(
                    Manifest::decode(&manifest.encode()).ok().as_ref(),
                    Some(&manifest),
                    "a manifest reads back"
                );
            }
        }
        // Whether they are right does not matter here, only that it is found out.
        item::Item::Record(entry) => drop(read::check_record(entry)),
        item::Item::Fleet(entry) => drop(read::fleet_record(entry)),
        item::Item::KeySet(id, record) => drop(read::contents(*id, record)),
        item::Item::Secret(..) | item::Item::End(_) => {}
    }
    let again = item.with_parts(|parts: &[&[u8]]| parts.concat());
    assert!(item::decode(&again).is_ok(), "an item reads back");
}

/// A manifest as it is stored: a seed of the fuzz targets.
pub(crate) fn sample() -> Vec<u8> {
    Manifest {
        scope: BackupScope::Partition,
        name: "157541001".to_owned(),
        created_ms: 1,
        node: NodeId([1; 16]),
        store: [2; 16],
        version: "1".to_owned(),
        revision: 7,
        dev: false,
        key_sets: 1,
    }
    .encode()
}

/// The manifest as it is stored.
#[derive(Clone, PartialEq, Message)]
struct ManifestRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(uint32, tag = "2")]
    scope: u32,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(uint64, tag = "4")]
    created_ms: u64,
    #[prost(bytes = "vec", tag = "5")]
    node: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    store: Vec<u8>,
    #[prost(string, tag = "7")]
    version: String,
    #[prost(uint64, tag = "8")]
    revision: u64,
    #[prost(bool, tag = "9")]
    dev: bool,
    #[prost(uint32, tag = "10")]
    key_sets: u32,
}

impl Manifest {
    fn encode(&self) -> Vec<u8> {
        ManifestRecord {
            format: FORMAT,
            scope: self.scope.number(),
            name: self.name.clone(),
            created_ms: self.created_ms,
            node: self.node.0.to_vec(),
            store: self.store.to_vec(),
            version: self.version.clone(),
            revision: self.revision,
            dev: self.dev,
            key_sets: self.key_sets,
        }
        .encode_to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, RestoreError> {
        let wrong = || RestoreError::Contents("the manifest does not read");
        let record = ManifestRecord::decode(bytes).map_err(|_| wrong())?;
        if record.format > FORMAT {
            return Err(ContainerError::Newer(record.format).into());
        }
        Ok(Self {
            scope: BackupScope::from_number(record.scope).ok_or_else(wrong)?,
            name: record.name,
            created_ms: record.created_ms,
            node: NodeId::from_slice(&record.node).ok_or_else(wrong)?,
            store: record.store.try_into().map_err(|_| wrong())?,
            version: record.version,
            revision: record.revision,
            dev: record.dev,
            key_sets: record.key_sets,
        })
    }
}

//! What the store tells its operator: troubles, the report of a start, status, backups, checks. Data only.

use std::path::PathBuf;
use std::time::Duration;

use crate::batch::Revision;

/// What is wrong with a group of records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The records do not add up to the head: one is missing, old, swapped or extra, and no copy of the truth was left.
    #[error("records do not fit the head: {expected} expected, {found} found")]
    HeadMismatch {
        /// Number of records by the head.
        expected: u64,
        /// Number of records found.
        found: u64,
    },
    /// Batches of this group are in a damaged part of the journal and nowhere else.
    #[error("the journal is damaged after revision {after}; changes to this group are lost")]
    JournalLost {
        /// The last revision before the damage.
        after: u64,
    },
    /// Something that is no daemon of this store has changed records of this group in etcd.
    #[error("records were changed in etcd by something else than a daemon of this store, at revision {after}")]
    Foreign {
        /// etcd's revision of the change.
        after: u64,
    },
    /// The end of the journal is damaged; whether this group lost changes cannot be told.
    #[error("the end of the journal is damaged after revision {after}; changes may be lost")]
    JournalEnd {
        /// The last revision before the damage.
        after: u64,
    },
}

/// Something that the start found and dealt with. None of these lost acknowledged data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// sled's folder could not be opened or read, or did not fit the heads; it was rebuilt.
    SledRebuilt(SledFault),
    /// A journal segment is damaged, truncated, missing or under a wrong name.
    JournalDamaged {
        /// Its number.
        segment: u64,
        /// Where in the file, in bytes.
        offset: u64,
    },
    /// The journal's last, never acknowledged frame was torn and is dropped.
    TornTail {
        /// Bytes dropped.
        bytes: u64,
    },
    /// A backup file does not open.
    BackupDamaged(PathBuf),
    /// One of the two copies of the store's own root file was repaired.
    RootRepaired,
    /// This version of etcd has a known fault.
    EtcdVersion {
        /// The version.
        version: String,
        /// The fault.
        fault: &'static str,
    },
    /// The file that remembers how far the store in etcd had come is new or damaged: a store that went backwards before this start
    /// would not be noticed.
    AnchorMissing,
}

/// What was wrong with sled's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SledFault {
    /// It panicked.
    Panicked,
    /// It did not finish in time.
    Stuck,
    /// It returned an error.
    Failed,
    /// It opened, but its records do not fit their heads.
    Untrue,
    /// It opened, but is older than the journal and backups can bring up to date.
    Stale,
    /// There is none.
    Missing,
}

/// Where the records came from at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// A new store.
    Fresh,
    /// sled, then the journal.
    Sled,
    /// A backup, then the journal.
    Backup,
    /// The journal alone (the store has no backup yet).
    Journal,
    /// etcd.
    Etcd,
}

/// The report of a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadReport {
    /// Where the records came from.
    pub loaded: Loaded,
    /// The revision reached.
    pub revision: Revision,
    /// Number of records.
    pub records: usize,
    /// Batches taken from the journal.
    pub replayed: u64,
    /// What was found and dealt with.
    pub notices: Vec<Notice>,
    /// Groups that are quarantined.
    pub quarantined: Vec<(String, Trouble)>,
}

/// Why a store cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon uses the folder.
    #[error("another daemon uses this folder")]
    Locked,
    /// The keys are not those of this store: a wrong master key.
    #[error("these are not the keys of this store")]
    WrongKeys,
    /// Neither sled's folder nor a backup nor the journal holds the records any more. Restore a backup of your own.
    #[error("the store's files are damaged or gone beyond repair")]
    Lost,
    /// No member of etcd can be reached, or etcd refuses.
    #[error("etcd: {0}")]
    Unreachable(String),
    /// This version of etcd can lose data.
    #[error("etcd {version} is refused: {fault}")]
    EtcdVersion {
        /// The version.
        version: String,
        /// Why.
        fault: &'static str,
    },
    /// Another node has the store open, or had it and did not leave.
    #[error("another node uses this store: {host} (node {node})")]
    InUse {
        /// The node's id in hexadecimal.
        node: String,
        /// Where it runs, as it said.
        host: String,
    },
    /// The store in etcd is older than what this node has seen, or it is another one.
    #[error(
        "the store went backwards: this node has seen revision {seen}, etcd has {found}; it may have been restored from a snapshot"
    )]
    WentBack {
        /// The highest revision that this node has seen.
        seen: u64,
        /// What etcd has.
        found: u64,
    },
    /// A segment is too small for a batch at the limits.
    #[error("a journal segment of {0} bytes is too small for the limits")]
    SegmentTooSmall(u64),
    /// Input or output failed.
    #[error("store input or output failed: {0}")]
    Io(#[from] std::io::Error),
}

/// A backup that was written, read back and compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupInfo {
    /// The file.
    pub file: PathBuf,
    /// The state that it holds.
    pub revision: Revision,
    /// Number of records.
    pub records: usize,
    /// Size of the file in bytes.
    pub bytes: u64,
}

/// Why there is no backup.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// The memory engine has none.
    #[error("this store has no files")]
    NoFiles,
    /// Reading or writing failed.
    #[error("backup input or output failed: {0:?}")]
    Io(std::io::ErrorKind),
    /// What was read back is not what was written.
    #[error("the backup does not read back as it was written")]
    Differs,
    /// The store has stopped.
    #[error("the store has stopped")]
    Stopped,
}

/// Result of [`crate::Store::check`]: everything is read again and compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Records in memory.
    pub records: usize,
    /// Groups whose records in memory do not fit their head.
    pub memory: Vec<(String, Trouble)>,
    /// sled's folder fits memory; `None`: no such engine, or sled is out of use at the moment.
    pub sled: Option<bool>,
    /// The newest backup opens and adds up; `None`: there is none.
    pub backup: Option<bool>,
    /// etcd holds what memory holds; `None`: no such engine, or etcd cannot be reached.
    pub etcd: Option<bool>,
}

impl CheckReport {
    /// Nothing wrong was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.memory.is_empty() && self.sled != Some(false) && self.backup != Some(false) && self.etcd != Some(false)
    }
}

/// Why closing did not end cleanly; nothing acknowledged is lost by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// The store had stopped before.
    #[error("the store had stopped")]
    Stopped,
    /// Writing the closing mark failed.
    #[error("writing the closing mark failed: {0:?}")]
    Io(std::io::ErrorKind),
}

/// How long syncs of the journal took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncTimes {
    /// How many took at most as long as [`SyncTimes::BOUNDS`] says, and longer than the bound before; the last: longer than all.
    pub counts: [u64; 13],
    /// Microseconds of all of them.
    pub micros: u64,
}

impl SyncTimes {
    /// Upper bounds in microseconds.
    pub const BOUNDS: [u64; 12] = [
        50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000,
    ];

    pub(crate) fn add(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = Self::BOUNDS.iter().position(|bound| micros <= *bound);
        self.counts[place.unwrap_or(Self::BOUNDS.len())] += 1;
        self.micros = self.micros.saturating_add(micros);
    }
}

/// Figures for status and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// The newest revision.
    pub revision: Revision,
    /// Number of records.
    pub records: usize,
    /// Bytes of all values.
    pub bytes: u64,
    /// Number of groups.
    pub groups: usize,
    /// Number of quarantined groups.
    pub quarantined: usize,
    /// Syncs of the journal since the start; fewer than batches when threads share them.
    pub syncs: u64,
    /// How long they took.
    pub sync_times: SyncTimes,
    /// Journal segments that hold batches.
    pub segments: usize,
    /// Ordinary batches are refused because the disk is full.
    pub full: bool,
    /// The store has stopped for good.
    pub stopped: bool,
    /// sled takes what is committed; false while it is being rebuilt or the disk is full.
    pub sled: bool,
    /// Revision that sled has.
    pub sled_revision: Revision,
    /// Revision of the newest backup, 0 if none.
    pub backup_revision: Revision,
    /// Of a store in etcd.
    pub etcd: Option<EtcdStatus>,
}

/// How a store in etcd is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtcdStatus {
    /// The member that is asked at the moment, as host and port.
    pub endpoint: String,
    /// etcd's cluster.
    pub cluster: u64,
    /// etcd's revision up to which memory follows.
    pub revision: u64,
    /// How long ago the last beat that etcd took was sent.
    pub beat_age: Duration,
    /// The daemon may answer requests: its last beat is recent enough.
    pub serving: bool,
    /// Transactions since the start, repeated ones included.
    pub transactions: u64,
    /// Transactions that were sent again since their outcome was unknown.
    pub repeated: u64,
    /// Transactions that met another writer's.
    pub conflicts: u64,
    /// Watches that were opened since the start.
    pub watches: u64,
    /// Loads of everything since the start, because a watch had missed something.
    pub reloads: u64,
}

/// What made the store stop for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fatal {
    /// A sync failed: what the disk holds is unknown, and asking again would get a false yes.
    SyncFailed(std::io::ErrorKind),
    /// A write failed for another reason than a full disk.
    WriteFailed(std::io::ErrorKind),
    /// The committer panicked.
    Panicked,
    /// Another process of this node has taken the store in etcd over.
    Fenced,
    /// The history of the store in etcd went backwards, or it is another etcd.
    WentBack,
}

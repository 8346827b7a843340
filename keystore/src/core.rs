//! What all key sets share: the store, the keys, the options, the run of this process. And the one way to commit: an unknown
//! outcome is found out, never retried blindly (DESIGN 7).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hsmd_crypto::secret::SecretArray;
use hsmd_proto::ids::NodeId;
use hsmd_store::{Batch, Outcome, Path, Record, Revision, Store};
use prost::Message;

use crate::audit::{Audit, Event};
use crate::background::Background;
use crate::error::Error;
use crate::objects::Latches;
use crate::options::Options;
use crate::records::{FORMAT, Formatted};
use crate::seal::{Barrier, FleetSecret, Kind};
use crate::shared::Sharing;
use crate::ticket::TicketKeys;

/// How often and how long an unknown outcome is asked after.
const UNKNOWN_ASKS: u32 = 50;

/// Shared by all key sets.
pub(crate) struct Core {
    pub(crate) store: Store,
    pub(crate) barrier: Arc<Barrier>,
    pub(crate) fleet: FleetSecret,
    pub(crate) options: Options,
    pub(crate) node: NodeId,
    /// This run of the process: random, so that two runs never have the same.
    pub(crate) generation: u64,
    /// Known to this run only: seals the PSK in verifiers.
    pub(crate) node_secret: SecretArray<32>,
    pub(crate) ticket_keys: TicketKeys,
    pub(crate) background: Background,
    pub(crate) audit: Audit,
    pub(crate) clock: Clock,
    /// `Latches::open(&store, &barrier, &fleet)`.
    pub(crate) latches: Latches,
    /// What others write to the same store.
    pub(crate) sharing: Sharing,
}

/// What became of a batch, once it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Committed {
    /// It is durable and visible.
    Done(Revision),
    /// Nothing was written; this path has another version.
    Conflict(Path),
}

impl Core {
    /// Commits and finds out.
    pub(crate) fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        self.sharing.commit(&self.store, batch)
    }

    /// Commits an act together with its records in the audit log: neither is without the other (INV-2), and a disk that has no
    /// room for the record has none for the act.
    pub(crate) fn commit_act(&self, mut batch: Batch, events: Vec<Event>) -> Result<Committed, Error> {
        if events.is_empty() {
            return self.commit(batch);
        }
        batch.writes.push(self.audit.write(events));
        let committed = self.commit(batch)?;
        if let Committed::Done(_) = committed {
            self.audit.committed();
        }
        Ok(committed)
    }

    /// Commits what an application writes, after the record of its login. INV-4: who was told that an object was made is
    /// still logged in after a restart.
    pub(crate) fn commit_objects(&self, batch: Batch, events: Vec<Event>) -> Result<Committed, Error> {
        self.background.catch_up();
        self.commit_act(batch, events)
    }

    /// Reads, opens and decodes a record; `None` if there is none.
    pub(crate) fn read<M: Message + Default + Formatted>(
        &self,
        path: &Path,
        kind: Kind,
    ) -> Result<Option<(M, u64)>, Error> {
        let Some(record) = self.store.get(path) else {
            return Ok(None);
        };
        self.decode(path, kind, &record)
            .map(|message| Some((message, record.version)))
    }

    /// Opens and decodes a record that was read.
    pub(crate) fn decode<M: Message + Default + Formatted>(
        &self,
        path: &Path,
        kind: Kind,
        record: &Record,
    ) -> Result<M, Error> {
        let damaged = || Error::Damaged(path.to_string());
        let plain = self
            .barrier
            .open(path, record.version, kind, &record.value)
            .map_err(|_| damaged())?;
        let message = M::decode(plain.as_slice()).map_err(|_| damaged())?;
        if message.format() > FORMAT {
            return Err(Error::UnknownFormat(message.format()));
        }
        Ok(message)
    }

    /// Encodes and seals `message` as the next write of `path`, which is at `version` now.
    pub(crate) fn put(&self, path: &Path, version: u64, kind: Kind, message: &impl Message) -> hsmd_store::Write {
        let version = version + 1;
        let sealed = self.barrier.seal(path, version, kind, &message.encode_to_vec());
        hsmd_store::Write {
            path: path.clone(),
            version,
            value: Some(sealed),
        }
    }
}

/// As [`Core::commit`], for whoever has the store only.
pub(crate) fn commit(store: &Store, batch: Batch) -> Result<Committed, Error> {
    let operation = batch.operation;
    let outcome = store.commit(batch)?;
    settle(store, &operation, outcome)
}

/// What became of a batch, if that is not known yet: asked, never tried again.
pub(crate) fn settle(store: &Store, operation: &[u8; 16], mut outcome: Outcome) -> Result<Committed, Error> {
    for _ in 0..UNKNOWN_ASKS {
        match outcome {
            Outcome::Committed(revision) => return Ok(Committed::Done(revision)),
            Outcome::Conflict { path, .. } => return Ok(Committed::Conflict(path)),
            Outcome::Unknown => {
                outcome = store.resolve(operation).unwrap_or(Outcome::Unknown);
                std::thread::yield_now();
            }
        }
    }
    Err(Error::OutcomeUnknown)
}

/// A path made of parts that are right by construction: fixed words and hexadecimal digits.
#[expect(
    clippy::expect_used,
    reason = "callers pass `/`, fixed lower-case words and hexadecimal digits only, under 512 bytes"
)]
pub(crate) fn path(text: &str) -> Path {
    Path::new(text).expect("a path of words and digits")
}

/// Coarse times that cost no system call worth naming.
pub(crate) struct Clock {
    started: Instant,
    /// Added to the time by tests.
    ahead: AtomicU64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            ahead: AtomicU64::new(0),
        }
    }

    /// Milliseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        let ahead = self.ahead.load(Ordering::Relaxed);
        u64::try_from(self.started.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(ahead)
    }

    /// Seconds since 1970, for records.
    pub(crate) fn unix(&self) -> u64 {
        let ahead = self.ahead.load(Ordering::Relaxed) / 1000;
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
            + ahead
    }

    /// Moves the clock on.
    #[cfg(test)]
    pub(crate) fn advance(&self, by: std::time::Duration) {
        self.ahead
            .fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

//! The sled side: a copy of the state that makes a start fast. It is trusted with nothing: every panic is caught, every value is
//! checked against the heads, and when in doubt the folder is thrown away and built anew (measured: after one flipped bit sled
//! panics or serves older values without an error; after a full disk it refuses writes for ever).
//!
//! Keys: `r` + path (version, revision, value), `h` + group (head, trouble, tag), `m` (revision, sum over heads, tag).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::{Record, Revision};
use crate::codec::{Malformed, Reader};
use crate::head::{Hasher, Sum};
use crate::path;
use crate::report::SledFault;
use crate::state::{Group, State};

const META: &[u8] = b"m";
const CACHE_BYTES: u64 = 16 << 20;
/// How long a folder that was closed a moment ago is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// A larger change is written in parts, with the tree marked as incomplete meanwhile.
const ATOMIC_RECORDS: usize = 4096;

/// What changed since sled was last brought up to date.
#[derive(Default)]
pub(crate) struct Dirty {
    pub(crate) records: std::collections::HashMap<path::Path, Option<Record>>,
    pub(crate) groups: std::collections::HashMap<Arc<str>, Group>,
    pub(crate) revision: Revision,
    pub(crate) total: Sum,
}

/// Why a folder is not used, and what it holds all the same.
pub(crate) struct Unfit {
    pub(crate) fault: SledFault,
    pub(crate) state: Option<Box<State>>,
}

impl From<SledFault> for Unfit {
    fn from(fault: SledFault) -> Self {
        Self { fault, state: None }
    }
}

/// An open sled folder.
pub(crate) struct Tree {
    /// `None` only while it is dropped.
    db: Option<sled::Db>,
    folder: PathBuf,
}

impl Tree {
    /// Opens a folder, or makes it.
    pub(crate) fn create(folder: &Path) -> Result<Self, SledFault> {
        let until = Instant::now() + LOCK_PATIENCE;
        loop {
            let config = sled::Config::new()
                .path(folder)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(None);
            match guard(|| Ok(config.open()))? {
                Ok(db) => {
                    return Ok(Self {
                        db: Some(db),
                        folder: folder.to_owned(),
                    });
                }
                // A closed sled lets go of its lock a moment later; another process is kept out by the store's own lock.
                Err(error) if is_locked(&error) && Instant::now() < until => {
                    std::thread::park_timeout(Duration::from_millis(2));
                }
                Err(_) => return Err(SledFault::Failed),
            }
        }
    }

    /// Opens a folder and reads everything in it, on a thread of its own, since a damaged folder can keep sled busy for ever.
    /// With [`SledFault::Untrue`] comes what could be read, for want of anything better.
    pub(crate) fn load(folder: &Path, hasher: &Hasher, patience: Duration) -> Result<(Self, State), Unfit> {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let (folder, hasher) = (folder.to_owned(), hasher.clone());
        let reader = std::thread::Builder::new()
            .name("hsmd-sled-load".into())
            .spawn(move || {
                // If nobody waits any more, the tree is closed here.
                let _ = sender.send(Self::load_here(&folder, &hasher));
            });
        let reader = reader.map_err(|_| Unfit::from(SledFault::Failed))?;
        match receiver.recv_timeout(patience) {
            Ok(loaded) => {
                let _ = reader.join();
                loaded
            }
            Err(_) => Err(SledFault::Stuck.into()),
        }
    }

    fn load_here(folder: &Path, hasher: &Hasher) -> Result<(Self, State), Unfit> {
        let tree = Self::create(folder)?;
        let state = tree.read(hasher)?;
        if state.is_true(hasher) {
            return Ok((tree, state));
        }
        Err(Unfit {
            fault: SledFault::Untrue,
            state: Some(Box::new(state)),
        })
    }

    /// Everything in the tree; [`SledFault::Untrue`] if its own marks do not fit.
    pub(crate) fn read(&self, hasher: &Hasher) -> Result<State, SledFault> {
        guard(|| {
            let Some(db) = &self.db else {
                return Err(SledFault::Failed);
            };
            let meta = db.get(META).map_err(|_| SledFault::Failed)?.ok_or(SledFault::Untrue)?;
            let mut state = State::default();
            (state.revision, state.total) = take_meta(&meta, hasher).map_err(|_| SledFault::Untrue)?;
            for item in db.iter() {
                let (key, value) = item.map_err(|_| SledFault::Failed)?;
                take_item(&key, &value, hasher, &mut state).map_err(|_| SledFault::Untrue)?;
            }
            Ok(state)
        })
    }

    /// Brings the tree up to date, atomically if the change is small.
    pub(crate) fn apply(&self, dirty: &Dirty, hasher: &Hasher) -> Result<(), SledFault> {
        guard(|| {
            let Some(db) = &self.db else {
                return Err(SledFault::Failed);
            };
            let mut batch = sled::Batch::default();
            let mut left = ATOMIC_RECORDS;
            if dirty.records.len() > ATOMIC_RECORDS {
                // Without the mark the tree does not load.
                db.remove(META).map_err(|_| SledFault::Failed)?;
            }
            for (path, record) in &dirty.records {
                put_record(&mut batch, path, record.as_ref());
                left -= 1;
                if left == 0 {
                    db.apply_batch(std::mem::take(&mut batch))
                        .map_err(|_| SledFault::Failed)?;
                    left = ATOMIC_RECORDS;
                }
            }
            for (name, group) in &dirty.groups {
                put_group(&mut batch, name, group, hasher);
            }
            batch.insert(META, meta(dirty.revision, dirty.total, hasher));
            db.apply_batch(batch).map_err(|_| SledFault::Failed)
        })
    }

    /// Fills an empty tree with the whole state.
    pub(crate) fn fill(&self, state: &State, hasher: &Hasher) -> Result<(), SledFault> {
        guard(|| {
            let Some(db) = &self.db else {
                return Err(SledFault::Failed);
            };
            let mut batch = sled::Batch::default();
            for (at, (path, record)) in state.records.iter().enumerate() {
                put_record(&mut batch, path, Some(record));
                if at % ATOMIC_RECORDS == ATOMIC_RECORDS - 1 {
                    db.apply_batch(std::mem::take(&mut batch))
                        .map_err(|_| SledFault::Failed)?;
                }
            }
            for (name, group) in &state.groups {
                put_group(&mut batch, name, group, hasher);
            }
            batch.insert(META, meta(state.revision, state.total, hasher));
            db.apply_batch(batch).map_err(|_| SledFault::Failed)
        })?;
        self.flush()
    }

    /// Hands sled's buffers to the kernel.
    pub(crate) fn flush(&self) -> Result<(), SledFault> {
        guard(|| {
            let Some(db) = &self.db else {
                return Err(SledFault::Failed);
            };
            db.flush().map(drop).map_err(|_| SledFault::Failed)
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let db = self.db.take();
        // Closing a damaged tree panics too.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
    }
}

fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

fn guard<T>(work: impl FnOnce() -> Result<T, SledFault>) -> Result<T, SledFault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(SledFault::Panicked))
}

fn put_record(batch: &mut sled::Batch, path: &path::Path, record: Option<&Record>) {
    let key = [b"r", path.as_str().as_bytes()].concat();
    match record {
        None => batch.remove(key),
        Some(record) => {
            let (version, revision) = (record.version.to_le_bytes(), record.revision.0.to_le_bytes());
            batch.insert(key, [&version[..], &revision[..], &record.value[..]].concat());
        }
    }
}

fn put_group(batch: &mut sled::Batch, name: &str, group: &Group, hasher: &Hasher) {
    let mut value = Vec::new();
    group.put(&mut value);
    let tag = group_tag(name, &value, hasher);
    value.extend_from_slice(&tag);
    batch.insert([b"h", name.as_bytes()].concat(), value);
}

fn group_tag(name: &str, group: &[u8], hasher: &Hasher) -> [u8; 32] {
    hasher.tag(b"sled group", &[name.as_bytes(), &[0], group].concat())
}

fn meta(revision: Revision, total: Sum, hasher: &Hasher) -> Vec<u8> {
    let mut value = Vec::new();
    value.extend_from_slice(&revision.0.to_le_bytes());
    value.extend_from_slice(&total.to_bytes());
    let tag = hasher.tag(b"sled meta", &value);
    value.extend_from_slice(&tag);
    value
}

fn take_meta(value: &[u8], hasher: &Hasher) -> Result<(Revision, Sum), Malformed> {
    let mut reader = Reader(value);
    let (revision, total) = (Revision(reader.u64()?), Sum::from_bytes(reader.array()?));
    if value != meta(revision, total, hasher) {
        return Err(Malformed);
    }
    Ok((revision, total))
}

fn take_item(key: &[u8], value: &[u8], hasher: &Hasher, state: &mut State) -> Result<(), Malformed> {
    let text = std::str::from_utf8(key).map_err(|_| Malformed)?;
    let mut reader = Reader(value);
    if let Some(name) = text.strip_prefix('h') {
        let group = Group::take(&mut reader)?;
        let tag: [u8; 32] = reader.array()?;
        reader.end()?;
        if tag != group_tag(name, &value[..value.len() - 32], hasher) {
            return Err(Malformed);
        }
        state.groups.insert(Arc::from(name), group);
    } else if let Some(path) = text.strip_prefix('r') {
        let path = path::Path::new(path).map_err(|_| Malformed)?;
        let (version, revision) = (reader.u64()?, Revision(reader.u64()?));
        state.put(
            &path,
            Some(Record {
                value: Arc::from(reader.0),
                version,
                revision,
            }),
        );
    } else if key != META {
        return Err(Malformed);
    }
    Ok(())
}

//! Documents: small named values of the control plane (HSMs, partitions, slots, clients) and of its trusted front ends
//! (`records/<namespace>/<key>`). Names and values are sealed; in the store a document is a keyed hash under `/fleet/doc/`.
//! Versions serve compare-and-set; what a document says is `hsmd`'s. All of them are in memory, with the last changes
//! (`history`) for those who watch.

mod calls;
mod follow;
mod history;
mod limits;
mod table;

use std::sync::Arc;

use hsmd_crypto::random;
use hsmd_crypto::seal::{hmac, sha256};
use hsmd_proto::ids::OperationId;
use hsmd_store::{Batch, Compare, Outcome, Path, Record, Write};
use parking_lot::{Mutex, RwLock};

use crate::audit::{self, Act, Event};
use crate::core::{Committed, Core, path};
use crate::error::Error;
use crate::records::{DocumentRecord, FORMAT};
use crate::seal::Kind;
pub use history::{DocumentChanges, DocumentEvent};
use limits::{check_number, check_size};
pub use table::{DocumentPage, DocumentUsage};
use table::{Entry, Table};

/// Where documents live.
pub(crate) const PREFIX: &str = "/fleet/doc/";
/// Tombstones purged in one batch.
const PURGED: usize = 60;

/// A document as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it holds.
    pub value: Arc<[u8]>,
    /// Increases with each write; what [`DocumentWrite::expected`] names. Never 0.
    pub version: u64,
}

/// One document to write or delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentWrite {
    /// Its name: not empty, any text, such as "hsm/hsm-12345678".
    pub name: String,
    /// The version that it must have; 0: it must not exist.
    pub expected: u64,
    /// The new value; `None` deletes.
    pub value: Option<Vec<u8>>,
}

/// What became of a batch of documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentOutcome {
    /// All were written, durably.
    Committed {
        /// The new version of each, in the order of the writes; 0 for a deleted one. Of a repeated operation, the versions now.
        versions: Vec<u64>,
    },
    /// Nothing was written: this document has another version.
    Conflict {
        /// The first that does not fit.
        name: String,
        /// Its version; 0: it does not exist.
        current: u64,
    },
}

/// Conditions and changes that happen together or not at all, within a quota.
#[derive(Clone, Default)]
pub struct DocumentBatch {
    /// All must hold before anything changes: names and the versions that they must have; 0: absent.
    pub compares: Vec<(String, u64)>,
    /// The changes; no name twice. `None` deletes; what is absent is deleted already.
    pub changes: Vec<(String, Option<Vec<u8>>)>,
    /// What the names that start with `.0` may use when the batch is done, unless it makes them use less.
    pub quota: Option<(String, DocumentUsage)>,
}

/// What became of a [`DocumentBatch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentBatchOutcome {
    /// All of it was done, durably.
    Committed {
        /// Whoever watches from here sees what comes after this batch.
        revision: u64,
        /// The new version of each change, in their order; 0: it is deleted, or (a repeated operation) was changed since.
        versions: Vec<u64>,
    },
    /// Nothing was done: a compare does not hold.
    Conflict {
        /// The first that does not.
        compare: usize,
        /// The version that it has; 0: it does not exist.
        current: u64,
    },
    /// Nothing was done: it would have been over the quota.
    OverQuota(DocumentUsage),
}

/// The changes that were asked for are not kept (any more): list again, and watch from that revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentsForgotten {
    /// The revision now.
    pub current: u64,
}

type Hook = Box<dyn Fn() + Send + Sync>;

/// All documents, in memory.
#[derive(Default)]
pub(crate) struct Documents {
    table: RwLock<Table>,
    /// One commit at a time, so that memory follows the store in order.
    commit: Mutex<()>,
    /// Called after each change.
    hook: RwLock<Option<Hook>>,
    quarantined: bool,
    /// Names of records that do not open.
    pub(crate) damaged: Vec<String>,
}

/// A batch on its way: what memory becomes when it is durable.
struct Prepared {
    batch: Batch,
    applied: Vec<(String, Entry)>,
}

impl Documents {
    /// Reads all documents.
    pub(crate) fn load(core: &Core) -> Self {
        let mut documents = Self {
            quarantined: core.store.quarantined().iter().any(|(group, _)| group == "/fleet"),
            ..Self::default()
        };
        if documents.quarantined {
            return documents;
        }
        let now = core.clock.unix();
        let mut loaded = Vec::new();
        for (path, record) in core.store.scan(PREFIX) {
            match core.decode::<DocumentRecord>(&path, Kind::Document, &record) {
                Ok(found) => loaded.push((found.name.clone(), entry(found, record.version, now))),
                Err(_) => {
                    tracing::error!(%path, "a document does not open");
                    documents.damaged.push(path.to_string());
                }
            }
        }
        documents.table = RwLock::new(Table::new(loaded, core.store.revision().0));
        documents
    }

    /// What is called after each change, from whichever thread made it; it must not wait. It replaces an older one.
    pub(crate) fn on_change(&self, hook: Hook) {
        *self.hook.write() = Some(hook);
    }

    /// A document by its name, and the revision at which it was read.
    pub(crate) fn get(&self, core: &Core, name: &str) -> Result<(Option<Document>, u64), Error> {
        self.check_served()?;
        let table = self.table.read();
        if let Some(entry) = table.get(name) {
            return Ok((entry.document(), table.revision()));
        }
        // INV-7: what does not open is named, not taken for absent.
        let path = name_path(core, name);
        match self.damaged.iter().any(|damaged| damaged == path.as_str()) {
            true => Err(Error::Damaged(path.to_string())),
            false => Ok((None, table.revision())),
        }
    }

    /// All documents whose name starts with `prefix`, by name.
    pub(crate) fn list(&self, prefix: &str) -> Result<Vec<(String, Document)>, Error> {
        let page = self.page(prefix, None, usize::MAX, usize::MAX)?;
        Ok(page.documents)
    }

    /// A page of them: those after `after`, at most `count`, and no more once `bytes` are reached.
    pub(crate) fn page(
        &self,
        prefix: &str,
        after: Option<&str>,
        count: usize,
        bytes: usize,
    ) -> Result<DocumentPage, Error> {
        self.check_served()?;
        Ok(self.table.read().page(prefix, after, count, bytes))
    }

    /// What the names under this prefix use; it ends with a slash and is a shelf (see [`table::shelf`]).
    pub(crate) fn usage(&self, shelf: &str) -> DocumentUsage {
        self.table.read().usage(shelf)
    }

    /// All shelves with what they use.
    pub(crate) fn shelves(&self) -> Vec<(String, DocumentUsage)> {
        self.table.read().shelves()
    }

    /// What changed under `prefix` after revision `after`, at most `count` batches, and the revision up to which that is all.
    pub(crate) fn changes(
        &self,
        core: &Core,
        prefix: &str,
        after: u64,
        count: usize,
    ) -> Result<(Vec<DocumentChanges>, u64), DocumentsForgotten> {
        let forgotten = |current| DocumentsForgotten { current };
        let table = self.table.read();
        // Of a revision that was not reached yet nothing can be promised: the store was put back.
        if self.quarantined || after > core.store.revision().0 {
            return Err(forgotten(table.revision()));
        }
        let found = table.history().after(prefix, after, count);
        found.ok_or_else(|| forgotten(table.revision()))
    }

    /// Writes all or none. The same operation again answers what it answered (INV-10).
    pub(crate) fn commit(
        &self,
        core: &Core,
        operation: OperationId,
        writes: Vec<DocumentWrite>,
    ) -> Result<DocumentOutcome, Error> {
        self.commit_with(core, operation, writes, Vec::new())
    }

    /// As [`Documents::commit`], with other records in the same batch.
    ///
    /// # Errors
    /// [`Error::Contended`] if one of those has another version: nothing was written.
    pub(crate) fn commit_with(
        &self,
        core: &Core,
        operation: OperationId,
        writes: Vec<DocumentWrite>,
        others: Vec<Write>,
    ) -> Result<DocumentOutcome, Error> {
        self.check_served()?;
        check_size(writes.iter().map(|write| (write.name.as_str(), write.value.as_ref())))?;
        check_number(writes.len())?;
        let _one = self.commit.lock();
        let names: Vec<_> = writes.iter().map(|write| write.name.clone()).collect();
        if self.has_done(core, &operation.0, &names) {
            return Ok(self.committed(&names));
        }
        let mut prepared = Prepared::new(operation.0);
        {
            let table = self.table.read();
            for write in writes {
                let there = table.get(&write.name);
                let current = there.map_or(0, Entry::current);
                if current != write.expected {
                    return Ok(DocumentOutcome::Conflict {
                        name: write.name,
                        current,
                    });
                }
                prepared.change(core, there, write.name, write.value, 0);
            }
        }
        prepared.batch.writes.extend(others);
        match self.write(core, prepared)? {
            Ok(_) => Ok(self.committed(&names)),
            Err((name, current)) => Ok(DocumentOutcome::Conflict { name, current }),
        }
    }

    /// As [`Documents::commit`], with compares and writes of other records in the same batch. A conflict names the path.
    pub(crate) fn commit_beside(
        &self,
        core: &Core,
        operation: OperationId,
        writes: &[DocumentWrite],
        beside: Batch,
    ) -> Result<Committed, Error> {
        self.check_served()?;
        check_size(writes.iter().map(|write| (write.name.as_str(), write.value.as_ref())))?;
        let _one = self.commit.lock();
        let mut prepared = Prepared::new(operation.0);
        {
            let table = self.table.read();
            for write in writes {
                let there = table.get(&write.name);
                if there.map_or(0, Entry::current) != write.expected {
                    return Ok(Committed::Conflict(name_path(core, &write.name)));
                }
                prepared.change(core, there, write.name.clone(), write.value.clone(), 0);
            }
        }
        prepared.batch.compares.extend(beside.compares);
        prepared.batch.writes.extend(beside.writes);
        let committed = commit_told(core, prepared.batch, &prepared.applied)?;
        if let Committed::Done(revision) = committed {
            self.table.write().apply(prepared.applied, revision.0);
            if let Some(hook) = &*self.hook.read() {
                hook();
            }
        }
        Ok(committed)
    }

    /// Compares and changes, all or nothing. The same operation again, with the same content, is the same operation (INV-10).
    pub(crate) fn apply(
        &self,
        core: &Core,
        operation: &[u8; 16],
        batch: DocumentBatch,
    ) -> Result<DocumentBatchOutcome, Error> {
        self.check_served()?;
        check_size(
            batch
                .changes
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_ref())),
        )?;
        check_number(batch.changes.len())?;
        let _one = self.commit.lock();
        let names: Vec<_> = batch.changes.iter().map(|(name, _)| name.clone()).collect();
        if self.has_done(core, operation, &names) {
            return Ok(self.repeated(core, operation, &names));
        }
        let mut prepared = Prepared::new(*operation);
        {
            let table = self.table.read();
            for (compare, (name, version)) in batch.compares.iter().enumerate() {
                let there = table.get(name);
                let current = there.map_or(0, Entry::current);
                if current != *version {
                    return Ok(DocumentBatchOutcome::Conflict { compare, current });
                }
                if !names.contains(name) {
                    prepared.batch.compares.push(Compare {
                        path: name_path(core, name),
                        version: there.map_or(0, |entry| entry.stored),
                    });
                }
            }
            if let Some((shelf, most)) = &batch.quota {
                let (before, after) = table.usage_after(shelf, &batch.changes);
                if (after.records > most.records && after.records > before.records)
                    || (after.bytes > most.bytes && after.bytes > before.bytes)
                {
                    return Ok(DocumentBatchOutcome::OverQuota(after));
                }
            }
            // Higher than every version that a purged document of this name ever had, so that an old expectation never fits.
            let base = core.store.revision().0;
            for (name, value) in batch.changes {
                let there = table.get(&name);
                if value.is_some() || there.is_some_and(|entry| entry.value.is_some()) {
                    prepared.change(core, there, name, value, base);
                }
            }
            if prepared.applied.is_empty() {
                // Nothing to write, and the conditions held at this revision.
                return Ok(DocumentBatchOutcome::Committed {
                    revision: table.revision(),
                    versions: vec![0; names.len()],
                });
            }
        }
        match self.write(core, prepared)? {
            Ok(revision) => {
                let table = self.table.read();
                let versions = names.iter().map(|name| table.get(name).map_or(0, Entry::current));
                Ok(DocumentBatchOutcome::Committed {
                    revision,
                    versions: versions.collect(),
                })
            }
            Err((name, current)) => {
                let compare = batch.compares.iter().position(|(compared, _)| *compared == name);
                match compare {
                    Some(compare) => Ok(DocumentBatchOutcome::Conflict { compare, current }),
                    None => Err(Error::Contended),
                }
            }
        }
    }

    /// Purges tombstones that are older than a day, and the oldest of those that are too many; gives how many.
    pub(crate) fn purge_tombstones(&self, core: &Core) -> Result<usize, Error> {
        self.check_served()?;
        let mut purged = 0;
        loop {
            // Commits wait for one batch of the purge at a time.
            let _one = self.commit.lock();
            let old = self.table.read().purgeable(core.clock.unix(), PURGED);
            if old.is_empty() {
                self.table.write().trim_tombstones();
                return Ok(purged);
            }
            let writes = old.iter().map(|(name, stored)| Write {
                path: name_path(core, name),
                version: stored + 1,
                value: None,
            });
            let batch = Batch {
                operation: random::array(),
                writes: writes.collect(),
                ..Batch::default()
            };
            match core.commit(batch)? {
                Committed::Done(_) => {
                    purged += old.len();
                    self.table.write().forget(&old);
                }
                Committed::Conflict(path) => drop(self.reread(core, &path)?),
            }
        }
    }

    /// Commits what was prepared and takes it over; the outer error is the store's, the inner one names the document that
    /// somebody else was faster with, and its version.
    fn write(&self, core: &Core, prepared: Prepared) -> Result<Result<u64, (String, u64)>, Error> {
        match commit_told(core, prepared.batch, &prepared.applied)? {
            Committed::Done(revision) => {
                self.table.write().apply(prepared.applied, revision.0);
                if let Some(hook) = &*self.hook.read() {
                    hook();
                }
                Ok(Ok(revision.0))
            }
            Committed::Conflict(path) if !path.as_str().starts_with(PREFIX) => Err(Error::Contended),
            // Another node was faster, or memory does not follow the store.
            Committed::Conflict(path) => self.reread(core, &path).map(Err),
        }
    }

    fn check_served(&self) -> Result<(), Error> {
        if self.quarantined {
            Err(Error::Quarantined("/fleet".to_owned()))
        } else {
            Ok(())
        }
    }

    fn has_done(&self, core: &Core, operation: &[u8; 16], names: &[String]) -> bool {
        if matches!(core.store.resolve(operation), Some(Outcome::Committed(_))) {
            return true;
        }
        let table = self.table.read();
        let done = |name: &String| table.get(name).is_some_and(|entry| entry.operation == *operation);
        !names.is_empty() && names.iter().all(done)
    }

    fn committed(&self, names: &[String]) -> DocumentOutcome {
        let table = self.table.read();
        let versions = names.iter().map(|name| table.get(name).map_or(0, Entry::current));
        DocumentOutcome::Committed {
            versions: versions.collect(),
        }
    }

    /// What a repeated operation answers: only what is still its own has a version, so that nobody takes the write of
    /// somebody else for his.
    fn repeated(&self, core: &Core, operation: &[u8; 16], names: &[String]) -> DocumentBatchOutcome {
        let table = self.table.read();
        let own = |name: &String| table.get(name).filter(|entry| entry.operation == *operation);
        let versions = names.iter().map(|name| own(name).map_or(0, Entry::current));
        let revision = match core.store.resolve(operation) {
            Some(Outcome::Committed(revision)) => revision.0,
            _ => table.revision(),
        };
        DocumentBatchOutcome::Committed {
            revision,
            versions: versions.collect(),
        }
    }

    /// Takes over what the store has under a path where memory has something else; gives the name and its version.
    fn reread(&self, core: &Core, path: &Path) -> Result<(String, u64), Error> {
        let record: Record = core.store.get(path).ok_or_else(|| Error::Damaged(path.to_string()))?;
        let found = core.decode::<DocumentRecord>(path, Kind::Document, &record)?;
        let name = found.name.clone();
        let entry = entry(found, record.version, core.clock.unix());
        let current = entry.current();
        self.table
            .write()
            .overrule(name.clone(), entry, core.store.revision().0);
        Ok((name, current))
    }
}

impl Prepared {
    fn new(operation: [u8; 16]) -> Self {
        let batch = Batch {
            operation,
            ..Batch::default()
        };
        Self {
            batch,
            applied: Vec::new(),
        }
    }

    /// Adds one change of the document that is `there`; a new one counts its versions from `base`.
    fn change(&mut self, core: &Core, there: Option<&Entry>, name: String, value: Option<Vec<u8>>, base: u64) {
        let deleted = value.is_none();
        let record = DocumentRecord {
            format: FORMAT,
            name,
            value: value.unwrap_or_default(),
            operation: self.batch.operation.to_vec(),
            deleted,
            deleted_at: if deleted { core.clock.unix() } else { 0 },
            base: there.map_or(base, |entry| entry.base),
        };
        let stored = there.map_or(0, |entry| entry.stored);
        let put = core.put(&name_path(core, &record.name), stored, Kind::Document, &record);
        let version = put.version;
        self.batch.writes.push(put);
        self.applied.push((record.name.clone(), entry(record, version, 0)));
    }
}

/// The form in memory of a record at this version of the store; a tombstone without a time counts from `now`.
fn entry(record: DocumentRecord, stored: u64, now: u64) -> Entry {
    Entry {
        value: (!record.deleted).then(|| Arc::from(record.value)),
        stored,
        base: record.base,
        // One of another length is of nobody's.
        operation: record.operation.try_into().unwrap_or_default(),
        deleted_at: if record.deleted_at == 0 { now } else { record.deleted_at },
    }
}

/// Commits changes of documents together with their record in the audit log, if the request that makes them has none yet.
fn commit_told(core: &Core, batch: Batch, changes: &[(String, Entry)]) -> Result<Committed, Error> {
    let scene = audit::current();
    let names: Vec<_> = changes.iter().map(|(name, _)| name.as_str()).collect();
    let event = match &scene {
        Some(scene) => scene.documents(&names),
        None => Some(Event::new(Act::RecordsChange).about(&names)),
    };
    let committed = core.commit_act(batch, event.into_iter().collect())?;
    if let (Committed::Done(_), Some(scene)) = (&committed, scene) {
        scene.recorded();
    }
    Ok(committed)
}

/// INV-7: equal names must not be seen to be equal by a thief, so the name is hashed under a key.
pub(crate) fn name_path(core: &Core, name: &str) -> Path {
    let hash = hmac(core.fleet.key("document").expose(), &[name.as_bytes()]);
    let hash: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    path(&format!("{PREFIX}{hash}"))
}

impl DocumentBatch {
    /// The operation id under which the store knows this batch: of the caller's name, the id that the caller chose and the
    /// content, so that nobody is told that something was done which was not.
    #[must_use]
    pub fn operation(&self, caller: &str, chosen: &[u8]) -> [u8; 16] {
        let mut content = Vec::new();
        let mut part = |bytes: &[u8]| {
            content.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            content.extend_from_slice(bytes);
        };
        part(caller.as_bytes());
        part(chosen);
        for (name, version) in &self.compares {
            part(name.as_bytes());
            part(&version.to_le_bytes());
        }
        part(b"changes");
        for (name, value) in &self.changes {
            part(name.as_bytes());
            part(&[u8::from(value.is_some())]);
            part(value.as_deref().unwrap_or_default());
        }
        let hash = sha256(&[b"documents", &content]);
        let mut operation = [0; 16];
        operation.copy_from_slice(&hash[..16]);
        operation
    }
}

//! Documents: small named values of the control plane (HSMs, partitions, slots, clients). Names and values are sealed; in the store
//! a document is a keyed hash under `/fleet/doc/`. Versions serve compare-and-set; what a document says is `hsmd`'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use hsmd_crypto::seal::hmac;
use hsmd_proto::ids::OperationId;
use hsmd_store::{Batch, Outcome, Path};
use parking_lot::{Mutex, RwLock};

use crate::core::{Committed, Core, path};
use crate::error::Error;
use crate::records::{DocumentRecord, FORMAT};
use crate::seal::Kind;

/// Most bytes of name and value together.
const MAX_BYTES: usize = 60 << 10;
/// Where documents live.
const PREFIX: &str = "/fleet/doc/";

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

/// A document or its tombstone.
struct Entry {
    /// `None`: deleted.
    value: Option<Arc<[u8]>>,
    version: u64,
    operation: Vec<u8>,
}

impl Entry {
    fn current(&self) -> u64 {
        if self.value.is_some() { self.version } else { 0 }
    }
}

/// All documents, in memory.
#[derive(Default)]
pub(crate) struct Documents {
    entries: RwLock<BTreeMap<String, Entry>>,
    /// One commit at a time, so that memory follows the store in order.
    commit: Mutex<()>,
    quarantined: bool,
    /// Names of records that do not open.
    pub(crate) damaged: Vec<String>,
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
        let mut entries = BTreeMap::new();
        for (path, record) in core.store.scan(PREFIX) {
            match core.decode::<DocumentRecord>(&path, Kind::Document, &record) {
                Ok(found) => {
                    let value = (!found.deleted).then(|| Arc::from(found.value));
                    let (version, operation) = (record.version, found.operation);
                    entries.insert(
                        found.name,
                        Entry {
                            value,
                            version,
                            operation,
                        },
                    );
                }
                Err(_) => {
                    tracing::error!(%path, "a document does not open");
                    documents.damaged.push(path.to_string());
                }
            }
        }
        documents.entries = RwLock::new(entries);
        documents
    }

    /// A document by its name.
    pub(crate) fn get(&self, core: &Core, name: &str) -> Result<Option<Document>, Error> {
        self.check_served()?;
        if let Some(entry) = self.entries.read().get(name) {
            return Ok(document(entry));
        }
        // INV-7: what does not open is named, not taken for absent.
        let path = name_path(core, name);
        match self.damaged.iter().any(|damaged| damaged == path.as_str()) {
            true => Err(Error::Damaged(path.to_string())),
            false => Ok(None),
        }
    }

    /// All documents whose name starts with `prefix`, by name.
    pub(crate) fn list(&self, prefix: &str) -> Result<Vec<(String, Document)>, Error> {
        self.check_served()?;
        let entries = self.entries.read();
        let under = entries
            .range(prefix.to_owned()..)
            .take_while(|(name, _)| name.starts_with(prefix));
        Ok(under
            .filter_map(|(name, entry)| Some((name.clone(), document(entry)?)))
            .collect())
    }

    /// Writes all or none. The same operation again answers what it answered (INV-10).
    pub(crate) fn commit(
        &self,
        core: &Core,
        operation: OperationId,
        writes: Vec<DocumentWrite>,
    ) -> Result<DocumentOutcome, Error> {
        self.check_served()?;
        check_size(&writes)?;
        let _one = self.commit.lock();
        if self.has_done(core, &operation, &writes) {
            return Ok(self.committed(&writes));
        }
        let mut batch = Batch {
            operation: operation.0,
            ..Batch::default()
        };
        let mut applied = Vec::with_capacity(writes.len());
        {
            let entries = self.entries.read();
            for write in &writes {
                let entry = entries.get(&write.name);
                let current = entry.map_or(0, Entry::current);
                if current != write.expected {
                    return Ok(DocumentOutcome::Conflict {
                        name: write.name.clone(),
                        current,
                    });
                }
                let record = DocumentRecord {
                    format: FORMAT,
                    name: write.name.clone(),
                    value: write.value.clone().unwrap_or_default(),
                    operation: operation.0.to_vec(),
                    deleted: write.value.is_none(),
                };
                let there = entry.map_or(0, |entry| entry.version);
                let put = core.put(&name_path(core, &write.name), there, Kind::Document, &record);
                applied.push((put.version, record));
                batch.writes.push(put);
            }
        }
        if let Committed::Conflict(path) = core.commit(batch)? {
            // Another node was faster, or memory does not follow the store.
            return self.reread(core, &path);
        }
        let mut entries = self.entries.write();
        for (version, record) in applied {
            let value = (!record.deleted).then(|| Arc::from(record.value));
            entries.insert(
                record.name,
                Entry {
                    value,
                    version,
                    operation: record.operation,
                },
            );
        }
        drop(entries);
        Ok(self.committed(&writes))
    }

    fn check_served(&self) -> Result<(), Error> {
        if self.quarantined {
            Err(Error::Quarantined("/fleet".to_owned()))
        } else {
            Ok(())
        }
    }

    fn has_done(&self, core: &Core, operation: &OperationId, writes: &[DocumentWrite]) -> bool {
        if matches!(core.store.resolve(&operation.0), Some(Outcome::Committed(_))) {
            return true;
        }
        let entries = self.entries.read();
        let done = |write: &DocumentWrite| {
            entries
                .get(&write.name)
                .is_some_and(|entry| entry.operation == operation.0)
        };
        !writes.is_empty() && writes.iter().all(done)
    }

    fn committed(&self, writes: &[DocumentWrite]) -> DocumentOutcome {
        let entries = self.entries.read();
        let versions = writes
            .iter()
            .map(|write| entries.get(&write.name).map_or(0, Entry::current))
            .collect();
        DocumentOutcome::Committed { versions }
    }

    fn reread(&self, core: &Core, path: &Path) -> Result<DocumentOutcome, Error> {
        let (record, version) = core
            .read::<DocumentRecord>(path, Kind::Document)?
            .ok_or_else(|| Error::Damaged(path.to_string()))?;
        let name = record.name;
        let value = (!record.deleted).then(|| Arc::from(record.value));
        let entry = Entry {
            value,
            version,
            operation: record.operation,
        };
        let current = entry.current();
        self.entries.write().insert(name.clone(), entry);
        Ok(DocumentOutcome::Conflict { name, current })
    }
}

fn document(entry: &Entry) -> Option<Document> {
    let value = Arc::clone(entry.value.as_ref()?);
    Some(Document {
        value,
        version: entry.version,
    })
}

fn check_size(writes: &[DocumentWrite]) -> Result<(), Error> {
    let bytes = |write: &DocumentWrite| write.name.len() + write.value.as_ref().map_or(0, Vec::len);
    let fits = writes
        .iter()
        .all(|write| !write.name.is_empty() && bytes(write) <= MAX_BYTES);
    if fits { Ok(()) } else { Err(Error::TooLarge) }
}

/// INV-7: equal names must not be seen to be equal by a thief, so the name is hashed under a key.
fn name_path(core: &Core, name: &str) -> Path {
    let hash = hmac(core.fleet.key("document").expose(), &[name.as_bytes()]);
    let hash: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    path(&format!("{PREFIX}{hash}"))
}

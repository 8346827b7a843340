//! A simple model of the shared layer, and what tests of several subjects share: keys, batches, folders.

use std::collections::BTreeMap;

use hsmd_store::{Batch, Compare, Outcome, Path, Revision, Store, StoreKeys, Write};

pub(crate) fn keys() -> StoreKeys {
    StoreKeys::new([1; 32], [2; 32])
}

pub(crate) fn path(text: &str) -> Path {
    Path::new(text).unwrap()
}

pub(crate) fn put(path_text: &str, version: u64, value: &[u8]) -> Write {
    Write {
        path: path(path_text),
        version,
        value: Some(value.to_vec()),
    }
}

pub(crate) fn purge(path_text: &str, version: u64) -> Write {
    Write {
        path: path(path_text),
        version,
        value: None,
    }
}

/// A batch with an operation id made of `number`.
pub(crate) fn batch(number: u64, writes: Vec<Write>) -> Batch {
    let mut operation = [0; 16];
    operation[..8].copy_from_slice(&number.to_le_bytes());
    Batch {
        operation,
        writes,
        ..Batch::default()
    }
}

pub(crate) fn compare(path_text: &str, version: u64) -> Compare {
    Compare {
        path: path(path_text),
        version,
    }
}

/// What the store must hold, kept the simplest way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) records: BTreeMap<String, (u64, u64, Vec<u8>)>,
    pub(crate) revision: u64,
}

impl Model {
    pub(crate) fn version(&self, path: &Path) -> u64 {
        self.records.get(path.as_str()).map_or(0, |record| record.0)
    }

    /// Commits as the documentation says.
    pub(crate) fn commit(&mut self, batch: &Batch) -> Outcome {
        let compares = batch.compares.iter().map(|compare| (&compare.path, compare.version));
        let writes = batch.writes.iter().map(|write| (&write.path, write.version - 1));
        for (path, version) in compares.chain(writes) {
            let current = self.version(path);
            if current != version {
                return Outcome::Conflict {
                    path: path.clone(),
                    current,
                };
            }
        }
        if !batch.writes.is_empty() {
            self.revision += 1;
        }
        for write in &batch.writes {
            let key = write.path.as_str().to_owned();
            match &write.value {
                Some(value) => drop(self.records.insert(key, (write.version, self.revision, value.clone()))),
                None => drop(self.records.remove(&key)),
            }
        }
        Outcome::Committed(Revision(self.revision))
    }

    /// What the store holds, in the model's form.
    pub(crate) fn of(store: &Store) -> Self {
        let records = store.scan("/").into_iter().map(|(path, record)| {
            (
                path.as_str().to_owned(),
                (record.version, record.revision.0, record.value.to_vec()),
            )
        });
        Self {
            records: records.collect(),
            revision: store.revision().0,
        }
    }
}

/// A folder of its own for a test, in memory where there is such a file system: what tests simulate does not need the disk.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// How many times as long the tests run: `HSMD_SOAK`, 1 by default.
pub(crate) fn soak() -> u64 {
    std::env::var("HSMD_SOAK")
        .ok()
        .and_then(|factor| factor.parse().ok())
        .unwrap_or(1)
}

/// A small seeded generator, so that a failure can be repeated from its seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

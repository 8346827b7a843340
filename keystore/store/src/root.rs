//! Root files: a small value kept twice, each copy with a generation and a checksum, so that no kill, torn write or bad sector at
//! any moment loses it. The checksum finds damage, not forgery: seal or tag the value where that matters.
//!
//! A copy is: magic, generation, length, value, SHA-256 over all of these.

use std::io;
use std::path::{Path, PathBuf};

use crate::codec::{Malformed, Reader};
use crate::disk::Disk;
use crate::faults::Faults;
use crate::primitive::sha256;

const MAGIC: &[u8; 8] = b"HSMDRT01";

/// Two files `<name>.0` and `<name>.1` that hold the same value.
pub struct RootFiles {
    dir: PathBuf,
    name: String,
    disk: Disk,
}

/// Why a root value cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// There are copies, but none is whole.
    #[error("both copies of the root file are damaged")]
    Damaged,
    /// Input or output failed.
    #[error("root file input or output failed: {0}")]
    Io(#[from] io::Error),
}

enum Copy {
    Absent,
    Damaged,
    Whole(u64, Vec<u8>),
}

impl RootFiles {
    /// The root files `root.0` and `root.1` in `dir`, which must exist.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self::named(dir, "root", Faults::default())
    }

    /// The files `<name>.0` and `<name>.1` in `dir`, with planned faults.
    #[must_use]
    pub fn named(dir: &Path, name: &str, faults: Faults) -> Self {
        Self {
            dir: dir.to_owned(),
            name: name.to_owned(),
            disk: Disk::new(faults),
        }
    }

    /// The value of the highest whole generation, and that generation; `None` if there was never one. Repairs the other copy.
    ///
    /// # Errors
    /// [`RootError::Damaged`] if there are copies, but none is whole.
    pub fn read(&self) -> Result<Option<(u64, Vec<u8>)>, RootError> {
        Ok(self.read_noting()?.map(|(generation, value, _)| (generation, value)))
    }

    /// As [`RootFiles::read`]; also whether a copy had to be repaired.
    pub(crate) fn read_noting(&self) -> Result<Option<(u64, Vec<u8>, bool)>, RootError> {
        let copies = [self.read_copy(0)?, self.read_copy(1)?];
        let mut best: Option<(u64, &Vec<u8>)> = None;
        let mut damaged = false;
        for copy in &copies {
            match copy {
                Copy::Whole(generation, value) if best.is_none_or(|(highest, _)| *generation > highest) => {
                    best = Some((*generation, value));
                }
                Copy::Damaged => damaged = true,
                _ => {}
            }
        }
        let Some((generation, value)) = best else {
            return if damaged { Err(RootError::Damaged) } else { Ok(None) };
        };
        let mut repaired = false;
        for (index, copy) in copies.iter().enumerate() {
            if !matches!(copy, Copy::Whole(there, _) if *there == generation) {
                self.write_copy(index, generation, value)?;
                repaired = true;
            }
        }
        Ok(Some((generation, value.clone(), repaired)))
    }

    /// Writes the value as the next generation to both files, one after the other, each by a temporary file, sync, rename and
    /// sync of the folder. When it returns both are durable; until then one of them is whole at any moment.
    ///
    /// # Errors
    /// [`RootError`]; the old value or the new one is there, and the next read says which.
    pub fn write(&self, value: &[u8]) -> Result<u64, RootError> {
        // Two damaged copies are overwritten: whoever writes has decided that.
        let generation = match self.read() {
            Ok(found) => found.map_or(1, |(generation, _)| generation + 1),
            Err(RootError::Damaged) => 1,
            Err(error) => return Err(error),
        };
        self.write_copy(0, generation, value)?;
        self.write_copy(1, generation, value)?;
        Ok(generation)
    }

    fn file(&self, index: usize) -> PathBuf {
        self.dir.join(format!("{}.{index}", self.name))
    }

    fn read_copy(&self, index: usize) -> io::Result<Copy> {
        match self.disk.read(&self.file(index)) {
            Ok(bytes) => Ok(match decode(&bytes) {
                Ok((generation, value)) => Copy::Whole(generation, value),
                Err(Malformed) => Copy::Damaged,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Copy::Absent),
            Err(error) => Err(error),
        }
    }

    fn write_copy(&self, index: usize, generation: u64, value: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(52 + value.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&generation.to_le_bytes());
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        bytes.extend_from_slice(value);
        let sum = sha256(&bytes);
        bytes.extend_from_slice(&sum);
        let (temporary, file) = (self.dir.join(format!("{}.{index}.new", self.name)), self.file(index));
        let new = self.disk.create(&temporary)?;
        new.write_all_at(&bytes, 0)?;
        new.sync_data()?;
        self.disk.rename(&temporary, &file)?;
        self.disk.sync_folder(&self.dir)
    }
}

/// Reads a copy: generation and value.
pub(crate) fn decode(bytes: &[u8]) -> Result<(u64, Vec<u8>), Malformed> {
    let body = bytes.len().checked_sub(32).ok_or(Malformed)?;
    let (body, sum) = bytes.split_at(body);
    if sha256(body) != sum {
        return Err(Malformed);
    }
    let mut reader = Reader(body);
    if reader.array::<8>()? != *MAGIC {
        return Err(Malformed);
    }
    let generation = reader.u64()?;
    let length = usize::try_from(reader.u64()?).map_err(|_| Malformed)?;
    let value = reader.bytes(length)?.to_vec();
    reader.end()?;
    Ok((generation, value))
}

//! The lock that keeps a second daemon out of a folder: `flock` on `<dir>/lock`. It belongs to the open file description, so it
//! ends with the process however that ends, and a stale file does not matter. Not a pid file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Held for as long as the value lives.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process (or another store in this one) uses the folder.
    #[error("another daemon uses this folder")]
    Taken,
    /// The lock file cannot be opened.
    #[error("the lock file cannot be opened: {0}")]
    Io(#[from] io::Error),
}

impl FolderLock {
    /// Takes the lock of `dir`, which must exist. Does not wait.
    ///
    /// # Errors
    /// [`LockError::Taken`] if someone holds it.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::Taken),
            Err(TryLockError::Error(error)) => Err(LockError::Io(error)),
        }
    }
}

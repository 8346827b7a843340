//! The store's automatic backups, as a list. They are for the store itself: sled is rebuilt from them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::keystore::STORE;

/// An automatic backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutomaticBackup {
    /// The file.
    pub file: PathBuf,
    /// The revision that it shows.
    pub revision: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Milliseconds since 1970.
    pub modified_ms: u64,
}

/// The automatic backups of the keystore in `dir`, newest first.
///
/// # Errors
/// When the folder cannot be read.
pub fn automatic_backups(dir: &Path) -> io::Result<Vec<AutomaticBackup>> {
    let folder = dir.join(STORE).join("backup");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let file = entry?.path();
        let name = file.file_name().and_then(|name| name.to_str());
        let revision = name
            .and_then(|name| name.strip_suffix(".bak"))
            .and_then(|name| u64::from_str_radix(name, 16).ok());
        let Some(revision) = revision else { continue };
        let metadata = std::fs::metadata(&file)?;
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        found.push(AutomaticBackup {
            file,
            revision,
            bytes: metadata.len(),
            modified_ms: u64::try_from(modified.as_millis()).unwrap_or(u64::MAX),
        });
    }
    found.sort_by_key(|backup| std::cmp::Reverse(backup.revision));
    Ok(found)
}

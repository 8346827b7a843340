//! Where a process runs: the same boot of the same machine and the same folder. A process that holds the folder's lock in the same
//! place knows that the one before it is dead, and need not wait for its silence.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::primitive::Sha256;

/// A name of this place; `None` if the machine does not tell.
pub(crate) fn place(dir: &Path) -> Option<[u8; 32]> {
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id").ok()?;
    let folder = std::fs::metadata(dir).ok()?;
    let mut hash = Sha256::new();
    hash.update(&boot);
    hash.update(&folder.dev().to_le_bytes());
    hash.update(&folder.ino().to_le_bytes());
    Some(hash.finish())
}

/// Host and process, for people.
pub(crate) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}, process {}", name.trim(), std::process::id())
}

//! Files and folders that others must not read: made with their mode, complete when they appear under their name.

use crate::cli::Failure;
use crate::memory;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// An absolute path, whether or not something is there.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::io(path, &error))
}

/// Makes a folder with mode 0700, or checks that an existing one is the caller's.
pub(crate) fn private_folder(path: &Path) -> Result<(), Failure> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| Failure::io(parent, &error))?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Failure::io(path, &error)),
    }
    let found = std::fs::symlink_metadata(path).map_err(|error| Failure::io(path, &error))?;
    let user = memory::effective_user();
    if !found.is_dir() && !path.is_dir() {
        return Err(Failure::Other(format!("{} is not a folder", path.display())));
    }
    if found.uid() != user && user != 0 {
        let message = format!("{} belongs to user {}, not to {user}", path.display(), found.uid());
        return Err(Failure::Other(message));
    }
    Ok(())
}

/// Writes a file with mode 0600, by rename: readers see the old one or all of the new one.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let explain = |error: std::io::Error| Failure::io(path, &error);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let fresh = path.with_file_name(name);
    let _ = std::fs::remove_file(&fresh);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(explain)?;
    // The umask may have taken bits away, never added some.
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
        .map_err(explain)?;
    file.write_all(text.as_bytes()).map_err(explain)?;
    file.sync_all().map_err(explain)?;
    std::fs::rename(&fresh, path).map_err(explain)
}

/// Quotes a word for a POSIX shell.
pub(crate) fn shell_quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        write_private(&path, "one").unwrap();
        write_private(&path, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(shell_quote("it's"), "'it'\\''s'");
        assert_eq!(shell_quote("$HOME x"), "'$HOME x'");
    }
}

//! The file of a backup: made under another name, mode 0600, synced, and given its name when it is whole.

use super::super::exit::{Error, Exit};
use super::Opened;
use hsmd_keystore::{BackupHeader, RestoreError};
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Reads the header and gives what comes after it.
pub(super) fn open(path: &Path) -> Result<Opened, Error> {
    let file = File::open(path).map_err(|error| explain(path, &error))?;
    let mut from = BufReader::with_capacity(256 << 10, file);
    let header = BackupHeader::read(&mut from).map_err(RestoreError::from);
    let header = header.map_err(|error| Error::new(Exit::Failed, format!("{}: {error}", path.display())))?;
    Ok((header, from))
}

/// A file that is being made. Dropped before [`Fresh::keep`], it goes.
pub(super) struct Fresh {
    file: File,
    /// Where it is until it is whole.
    temporary: PathBuf,
    path: PathBuf,
    kept: bool,
}

impl Fresh {
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        exists_not(path)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let temporary = path.with_file_name(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary);
        let file = file.map_err(|error| explain(&temporary, &error))?;
        Ok(Self {
            file,
            temporary,
            path: path.to_owned(),
            kept: false,
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|error| explain(&self.path, &error))
    }

    /// Where it is now.
    pub(super) fn unfinished(&self) -> &Path {
        &self.temporary
    }

    /// Makes it durable under its name, which nobody has.
    pub(super) fn keep(mut self) -> Result<(), Error> {
        let explain = |error: std::io::Error| explain(&self.path, &error);
        self.file.sync_all().map_err(explain)?;
        // Unlike a rename, a link does not overwrite.
        std::fs::hard_link(&self.temporary, &self.path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => overwritten(&self.path),
            _ => explain(error),
        })?;
        self.kept = true;
        std::fs::remove_file(&self.temporary).map_err(explain)?;
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(explain)
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.kept {
            // It is not a backup; left behind it would only look like one.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

fn exists_not(path: &Path) -> Result<(), Error> {
    if path.symlink_metadata().is_ok() {
        return Err(overwritten(path));
    }
    Ok(())
}

fn overwritten(path: &Path) -> Error {
    let message = format!(
        "{} exists already; nothing was changed\n  remedy: name another file",
        path.display()
    );
    Error::new(Exit::Conflict, message)
}

fn explain(path: &Path, error: &std::io::Error) -> Error {
    let exit = match error.kind() {
        std::io::ErrorKind::NotFound => Exit::NotFound,
        _ => Exit::Failed,
    };
    Error::new(exit, format!("{}: {error}", path.display()))
}

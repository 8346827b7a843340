//! The few file operations that the store needs, with faults planted in each. Not a file system layer: real files, real syncs.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::faults::{Fault, Faults, Step};

/// Access to files, through the faults.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    faults: Faults,
}

/// A file open for reading and writing.
pub(crate) struct DiskFile {
    file: File,
    path: PathBuf,
    faults: Faults,
}

impl Disk {
    pub(crate) fn new(faults: Faults) -> Self {
        Self { faults }
    }

    /// Makes a new file, readable by its owner only. An existing one of that name is emptied.
    pub(crate) fn create(&self, path: &Path) -> io::Result<DiskFile> {
        if path.exists() {
            self.remove(path)?;
        }
        self.faults.check(Step::Create)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        self.faults.after_create(path)?;
        Ok(DiskFile {
            file,
            path: path.to_owned(),
            faults: self.faults.clone(),
        })
    }

    pub(crate) fn open(&self, path: &Path) -> io::Result<DiskFile> {
        self.faults.check(Step::Open)?;
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(DiskFile {
            file,
            path: path.to_owned(),
            faults: self.faults.clone(),
        })
    }

    pub(crate) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.faults.check(Step::Open)?;
        fs::read(path)
    }

    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        self.faults.check(Step::Remove)?;
        self.faults.before_remove(path)?;
        fs::remove_file(path)
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.check(Step::Rename)?;
        self.faults.before_rename(from, to)?;
        fs::rename(from, to)
    }

    pub(crate) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.faults.check(Step::SyncFolder)?;
        File::open(folder)?.sync_all()?;
        self.faults.synced_folder(folder);
        Ok(())
    }

    /// The planned crash has happened: nothing may touch the disk any more.
    pub(crate) fn crashed(&self) -> bool {
        self.faults.crashed()
    }

    /// Makes the folder and its parents, and syncs the entry of the last one.
    pub(crate) fn make_folder(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        self.faults.check(Step::Create)?;
        fs::DirBuilder::new().recursive(true).mode_0700().create(folder)?;
        folder.parent().map_or(Ok(()), |parent| self.sync_folder(parent))
    }

    /// The plain files of a folder, by name.
    pub(crate) fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.faults.check(Step::Open)?;
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }
}

trait Mode {
    fn mode_0700(&mut self) -> &mut Self;
}

impl Mode for fs::DirBuilder {
    fn mode_0700(&mut self) -> &mut Self {
        std::os::unix::fs::DirBuilderExt::mode(self, 0o700)
    }
}

impl DiskFile {
    pub(crate) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.faults.at(Step::Write) {
            None | Some(Fault::Ambiguous { .. } | Fault::Skip) => {
                self.faults.before_write(&self.path, offset, bytes.len())?;
                self.file.write_all_at(bytes, offset)
            }
            Some(fault @ Fault::Fail(_)) => Err(fault.error()),
            Some(fault) => {
                let half = &bytes[..bytes.len() / 2];
                self.faults.before_write(&self.path, offset, half.len())?;
                self.file.write_all_at(half, offset)?;
                Err(fault.error())
            }
        }
    }

    /// Reads exactly `bytes.len()` bytes.
    pub(crate) fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// `fdatasync`.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        match self.faults.at(Step::Sync) {
            None | Some(Fault::Ambiguous { .. }) => {}
            Some(Fault::Skip) => return Ok(()),
            Some(fault) => return Err(fault.error()),
        }
        self.file.sync_data()?;
        self.faults.synced_file(&self.path);
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

//! Restoring a whole daemon: a new keystore in an empty folder, under a master key of its own, that holds what the backup holds. It
//! counts as one only when all of it is there; a restore that was cut off is begun anew by the next one.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path as FilePath;

use hsmd_store::{FolderLock, RootFiles, Store};

use super::export::adopted;
use super::read::{Incoming, Part, check_record};
use super::restore::{Importer, latch_key_path};
use super::{BackupScope, RestoreError};
use crate::core::{Clock, path};
use crate::engine::sled_options;
use crate::error::Error;
use crate::key_set::Place;
use crate::keystore::{Keystore, STORE, check_anchor, core, store_keys};
use crate::master_key::MasterKey;
use crate::options::Options;
use crate::root::{RootFile, RootRecord};
use crate::seal::Kind;

impl Keystore {
    /// Makes the keystore of a backup of a whole daemon in `dir`, which holds none, and closes it: [`Keystore::open`] opens it. The
    /// node keeps its id, every key set its id and its policy; all logins have ended. `progress` is told the records so far.
    ///
    /// # Errors
    /// [`Error::AlreadyInitialized`], [`Error::Locked`], [`RestoreError`]; from the store. Then there is no keystore in `dir`.
    pub fn restore(
        dir: &FilePath,
        master: &MasterKey,
        options: &Options,
        mut incoming: Incoming<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        let manifest = incoming.manifest().clone();
        if manifest.scope != BackupScope::Daemon {
            return Err(RestoreError::Scope(manifest.scope).into());
        }
        if manifest.dev != options.dev {
            return Err(RestoreError::Dev { dev: manifest.dev }.into());
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let _lock = FolderLock::take(dir)?;
        let files = || RootFiles::named(dir, "root", options.faults.clone());
        let file = match RootFile::open(files(), master) {
            Ok((file, record)) if record.restoring && !record.complete => file,
            Err(Error::NotInitialized) => RootFile::create(files(), master, &options.pin_cost)?,
            // Also one that was begun by `hsmd init`, or under another master key: not ours to remove.
            Ok(_) | Err(Error::WrongMasterKey) => return Err(Error::AlreadyInitialized),
            Err(error) => return Err(error),
        };
        let mut record = RootRecord::random(options.dev, Clock::new().unix());
        record.node = manifest.node;
        record.restoring = true;
        record.adopted = adopted(&incoming.secrets);
        // INV-2: before anything is in the store, so that what a kill leaves is known for what it is.
        file.write(&record)?;
        let folder = dir.join(STORE);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let (store, _) = Store::open_sled(&folder, store_keys(&record), sled_options(options))?;
        let filled = fill(&store, &record, options, &mut incoming, progress);
        let closed = store.close();
        filled?;
        closed?;
        drop(store);
        record.complete = true;
        record.restoring = false;
        file.write(&record)
    }
}

/// Puts everything into an empty store.
fn fill(
    store: &Store,
    record: &RootRecord,
    options: &Options,
    incoming: &mut Incoming<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    let core = core(store.clone(), record, options)?;
    check_anchor(&core, record)?;
    let mut importer = Importer::new(&core);
    let mut records = 0;
    let own = core.fleet.key("latch");
    for entry in &incoming.fleet {
        importer.put(entry.path.clone(), entry.version, entry.kind, &entry.plain)?;
        records += 1;
        progress(records);
    }
    for (label, key) in &incoming.secrets {
        // Taken over under its label, it is no other fleet's.
        if label == "latch" && *key != own {
            importer.put(latch_key_path(key), 1, Kind::LatchKey, key.expose())?;
        }
    }
    let mut prefix = None::<String>;
    while let Some(part) = incoming.part()? {
        match part {
            Part::KeySet(id, mut root) => {
                // Tickets and session objects of before are void: DESIGN 7, a store whose history went back.
                root.epoch = root.epoch.saturating_add(1);
                let place = Place::kept(id, *root)?;
                importer.put(crate::key_set::root_path(id), 1, Kind::KeySet, &place.encode_root())?;
                prefix = Some(place.prefix());
            }
            Part::Record(entry) => {
                check_record(&entry)?;
                let prefix = prefix.as_deref().ok_or(RestoreError::Contents("no key set"))?;
                importer.put(
                    path(&format!("{prefix}{}", entry.rest)),
                    entry.version,
                    entry.kind,
                    entry.plain,
                )?;
            }
        }
        records += 1;
        progress(records);
    }
    importer.flush()?;
    Ok(())
}

//! A new node's place: the keys of the store, which a node before it has left in etcd, sealed by the master key. Whoever has the
//! master key, and rights on the prefix, can join.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use hsmd_crypto::random;
use hsmd_proto::ids::NodeId;
use hsmd_store::{FolderLock, RootFiles};

use crate::engine;
use crate::error::Error;
use crate::keystore::Keystore;
use crate::master_key::MasterKey;
use crate::options::Options;
use crate::root::RootFile;

impl Keystore {
    /// Makes a place in `dir` for a further node of the fleet whose store the options name, and opens it once. `master` is the
    /// fleet's master key.
    ///
    /// # Errors
    /// [`Error::AlreadyInitialized`], [`Error::NoFleet`], [`Error::WrongMasterKey`], and as [`Keystore::open`]. Nothing of the fleet
    /// is changed then.
    pub fn join(dir: &Path, master: &MasterKey, options: &Options) -> Result<Self, Error> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let lock = FolderLock::take(dir)?;
        let files = || RootFiles::named(dir, "root", options.faults.clone());
        if files().read()?.is_some() {
            return Err(Error::AlreadyInitialized);
        }
        let value = engine::offered(dir, options)?.ok_or(Error::NoFleet)?;
        let mut record = RootFile::read(&value, master)?;
        if !record.complete || record.restoring {
            return Err(Error::NoFleet);
        }
        record.node = NodeId(random::array());
        let file = RootFile::create(files(), master, &options.pin_cost)?;
        file.write(&record)?;
        drop(file);
        drop(lock);
        Self::open(dir, master, options)
    }

    /// Takes a store whose history went backwards as it is, under a new timeline, and ends all logins; says on how many key sets.
    ///
    /// # Errors
    /// [`Error::Locked`] (the daemon runs), and as [`Keystore::open`].
    pub fn accept_rollback(dir: &Path, master: &MasterKey, options: &Options) -> Result<usize, Error> {
        let accepting = Options {
            accept_rollback: true,
            ..options.clone()
        };
        let keystore = Self::open(dir, master, &accepting)?;
        if let Some(peers) = keystore.peers() {
            peers.succeed()?;
        }
        let key_sets = keystore.key_sets();
        for key_set in &key_sets {
            key_set.end_logins()?;
        }
        keystore.close()?;
        Ok(key_sets.len())
    }
}

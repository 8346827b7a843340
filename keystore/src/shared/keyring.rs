//! Keys that rotate, in the store, for all nodes: barrier keys and ticket keys. Sealed under the fleet secret, which every node has
//! from the root record with which it joined. A node on files keeps them in its root record alone.

use hsmd_crypto::random;
use hsmd_crypto::seal::SealKey;
use hsmd_store::{Batch, Path, Store, Write};
use zeroize::Zeroizing;

use crate::core::{Committed, path};
use crate::error::Error;
use crate::keystore::Keystore;
use crate::root::RootRecord;
use crate::seal::FleetSecret;

/// Where it is.
pub(super) const PATH: &str = "/fleet/keyring";

fn key(fleet: &FleetSecret) -> SealKey {
    SealKey::new(&fleet.key("keyring"))
}

fn aad(path: &Path, version: u64) -> Vec<u8> {
    [path.as_str().as_bytes(), &version.to_le_bytes()].concat()
}

/// The keys in the store, taken over into `record`; true if it had not known one of them.
///
/// # Errors
/// [`Error::Damaged`].
pub(crate) fn read(store: &Store, record: &mut RootRecord) -> Result<bool, Error> {
    let path = path(PATH);
    let Some(found) = store.get(&path) else {
        return Ok(false);
    };
    let fleet = FleetSecret::new(record.fleet.duplicate(), Vec::new());
    let damaged = || Error::Damaged(path.to_string());
    let plain = key(&fleet)
        .open(&[&aad(&path, found.version)], &found.value)
        .map_err(|_| damaged())?;
    let plain = Zeroizing::new(plain);
    let ring = RootRecord::decode(&plain).ok_or_else(damaged)?;
    Ok(record.take_keys(&ring))
}

impl Keystore {
    /// Makes the keys of `next` those of all nodes. False: another node has rotated them at the same time.
    pub(crate) fn share_keys(&self, next: &RootRecord) -> Result<bool, Error> {
        let core = self.core();
        if !core.sharing.is_on() {
            return Ok(true);
        }
        let path = path(PATH);
        let version = core.store.get(&path).map_or(0, |found| found.version) + 1;
        // The adopted keys of a restore are in the node's own root record.
        let fleet = FleetSecret::new(next.fleet.duplicate(), Vec::new());
        let sealed = key(&fleet).seal(&[&aad(&path, version)], &next.encode());
        let batch = Batch {
            operation: random::array(),
            writes: vec![Write {
                path,
                version,
                value: Some(sealed),
            }],
            ..Batch::default()
        };
        Ok(matches!(core.commit(batch)?, Committed::Done(_)))
    }

    /// Another node has rotated keys.
    pub(super) fn follow_keys(&self) -> Result<(), Error> {
        self.change_keys(read)
    }
}

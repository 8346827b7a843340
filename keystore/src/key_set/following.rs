//! What a key set does when another node has written to it: its memory follows. The counterpart of what this node's own calls do
//! after their commits; versions make it harmless to do twice.

use std::sync::Arc;

use hsmd_crypto::seal::sha256;
use hsmd_proto::ids::{KeySetId, LoginId, UniqueId};
use hsmd_store::{Path, Record};

use super::lifecycle::prefix_of;
use super::{KeySet, Root, Used};
use crate::error::Error;
use crate::keystore::Keystore;
use crate::objects::{Stored, read};
use crate::records::KeySetRecord;
use crate::seal::Kind;
use crate::shared::What;

impl KeySet {
    /// A hash of all sealed objects as this node's memory has them, and the revision: on every node of a fleet the same at one
    /// revision (INV-3). It says nothing of what is sealed.
    #[must_use]
    pub fn sum(&self) -> ([u8; 32], u64) {
        let root = self.root();
        let records = self
            .core
            .store
            .scan(&format!("{}o/", prefix_of(root.id, root.incarnation)));
        let revision = self.core.store.position().max(self.core.store.revision().0);
        let sum = records.iter().fold([0; 32], |sum, (path, record)| {
            let version = record.version.to_le_bytes();
            sha256(&[&sum, path.as_str().as_bytes(), &version, &record.value])
        });
        (sum, revision)
    }
}

impl Keystore {
    /// Another node has written the root of a key set, or purged it.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::UnknownFormat`]: the key set is as it was before.
    pub(crate) fn follow_root(&self, id: KeySetId, path: &Path, record: Option<&Record>) -> Result<What, Error> {
        let there = self.key_set(id);
        let root = record.map(|record| {
            let found = self.core().decode::<KeySetRecord>(path, Kind::KeySet, record)?;
            Root::from_record(id, record.version, found)
        });
        let root = root.transpose()?.filter(|root| !root.deleted);
        match (there, root) {
            (None, None) => Ok(What::Plain),
            (None, Some(root)) => {
                let key_set = KeySet::assemble(self.core(), root);
                let damaged = key_set.objects().load_public(&key_set);
                key_set.damaged.lock().extend(damaged);
                self.serve(key_set);
                Ok(What::Came)
            }
            (Some(key_set), Some(root)) => {
                key_set.follow_own_root(root);
                Ok(What::Barrier)
            }
            (Some(key_set), None) => {
                // INV-6: whoever holds it finds nothing in it any more.
                key_set.follow_end();
                self.forget(id);
                Ok(What::Came)
            }
        }
    }
}

impl KeySet {
    fn follow_own_root(&self, root: Root) {
        let _gate = self.gate.write();
        if root.version <= self.root().version {
            return;
        }
        let limit = root.pin_tries;
        let (before, now) = self.switch_memory(root, None);
        if before.pin_tries != limit {
            self.tries.limit(limit);
        }
        if before.incarnation != now.incarnation || before.joins != now.joins {
            self.read_again();
        }
    }

    fn follow_end(&self) {
        let _gate = self.gate.write();
        let mut root = Root::clone(&self.root());
        root.version += 1;
        root.mark_deleted();
        self.switch_memory(root, None);
        self.objects().clear();
    }

    /// Reads all objects from the store again: what is newer there is taken.
    pub(crate) fn read_again(&self) {
        let _opening = self.opening.lock();
        let mut damaged = self.objects().load_public(self);
        if let Some(psk) = self.psk() {
            damaged.extend(self.objects().open_private(self, &psk));
        }
        self.damaged.lock().extend(damaged);
    }

    /// Another node has written a record under this incarnation; true if somebody waits until that is applied.
    pub(crate) fn follow_record(&self, incarnation: u32, kind: &str, path: &Path, record: Option<&Record>) -> bool {
        let root = self.root();
        if root.incarnation != incarnation {
            // It was left, or is being filled: whoever switches to it brings it all.
            return false;
        }
        let name = path.as_str().rsplit('/').next().unwrap_or_default();
        match kind {
            "o" => return self.follow_object(&root, path, UniqueId::from_hex(name), record),
            "login" if record.is_none() => {
                if let Some(id) = LoginId::from_hex(name) {
                    let _opening = self.opening.lock();
                    self.forget(&id);
                }
            }
            "tries" => self.tries.follow(path, record.map_or(0, |record| record.version)),
            _ => {}
        }
        false
    }

    fn follow_object(&self, root: &Arc<Root>, path: &Path, id: Option<UniqueId>, record: Option<&Record>) -> bool {
        let Some(record) = record else {
            // A tombstone that was old.
            id.inspect(|id| self.objects().forget(id));
            return false;
        };
        let core = &self.core;
        let mut stored = read(core, root, path, record, self.psk().as_deref());
        let mut opening = None;
        if matches!(stored, Some(Stored::Locked(_))) {
            // The PSK may be on its way: what it opens is read under this lock, before or after this.
            opening = Some(self.opening.lock());
            if let Some(psk) = self.psk() {
                stored = read(core, root, path, record, Some(&psk));
            }
        }
        let bytes = record.value.len() as u64;
        let mut barrier = false;
        match stored {
            Some(Stored::Live(object)) => {
                self.follow_size(record, bytes);
                self.objects().apply(object);
            }
            Some(Stored::Dead(tombstone)) => {
                let usage = self.objects().usage.now();
                // How much it held is not known here any more: the mean.
                let bytes = usage.bytes.checked_div(usage.objects).unwrap_or(0);
                self.objects().usage.give(Used { objects: 1, bytes });
                self.objects().bury(&tombstone, record.version);
                barrier = true;
            }
            Some(Stored::Locked(_)) => self.follow_size(record, bytes),
            Some(Stored::Hidden(join, id)) => self.hide(join, id),
            None => {
                tracing::error!(record = %path, "an object's record is damaged; it is not served");
                self.damaged.lock().insert(path.to_string());
            }
        }
        drop(opening);
        barrier
    }

    fn follow_size(&self, record: &Record, bytes: u64) {
        if record.version == 1 {
            self.objects().usage.add(Used { objects: 1, bytes });
        }
    }

    /// A node has come or gone: what it left open of PIN tries may have ended.
    pub(crate) fn look_at_tries(&self) {
        self.tries.look_again();
    }
}

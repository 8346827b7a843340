//! C_DestroyObject (PKCS#11 3.2, 5.7.3): a tombstone in place of the object, so that nobody makes it again (INV-6, INV-10).

use hsmd_proto::ck::{AttributeType as A, Rv};
use hsmd_proto::ids::OperationId;
use hsmd_store::{Batch, Write};

use super::commit::{TRIES, may_change, record_path};
use super::record::Tombstone;
use super::table::Entry;
use super::{ObjectRef, access};
use crate::audit::Act;
use crate::caller::Context;
use crate::core::Committed;
use crate::key_set::{KeySet, Used};
use crate::seal::Kind;

/// How long a tombstone stays at least, in seconds (DESIGN 7).
const TOMBSTONE_LIFE: u64 = 86_400;
/// Tombstones purged in one batch.
const PURGED: usize = 60;

impl KeySet {
    /// Destroys an object. The same operation again succeeds again (INV-10). A session object is the module's to forget.
    ///
    /// # Errors
    /// As C_DestroyObject.
    pub fn destroy_object(&self, context: &Context, name: &ObjectRef<'_>, operation: OperationId) -> Result<(), Rv> {
        for _ in 0..TRIES {
            if name.blob.is_none()
                && let Some(Entry::Dead { operation: before, .. }) = self.objects().entry(&name.id)
                && before == operation
            {
                return Ok(());
            }
            let object = self.object(context, name)?;
            access::may_write(self, context, object.flag(A::TOKEN), object.private())?;
            if !object.flag(A::DESTROYABLE) {
                return Err(Rv::ACTION_PROHIBITED);
            }
            if name.blob.is_some() {
                return Ok(());
            }
            let core = self.core();
            let writing = self.begin_write();
            may_change(writing.root())?;
            let (id, version) = (object.id, object.version + 1);
            let path = record_path(writing.root(), id);
            let tombstone = Tombstone {
                id,
                operation,
                destroyed: core.clock.unix(),
            };
            let sealed = core.barrier.seal(&path, version, Kind::Tombstone, &tombstone.encode());
            let write = Write {
                path,
                version,
                value: Some(sealed),
            };
            let held = Used {
                objects: 1,
                bytes: self.stored_bytes(&write.path),
            };
            let apply = || {
                self.objects().usage.give(held);
                self.objects().bury(&tombstone, version);
            };
            // A full disk does not keep anybody from destroying.
            let event = self.event(Act::ObjectDestroy, &object);
            let done = self.commit_one((writing.root(), operation), write, event, true, apply)?;
            if done.is_some() {
                return Ok(());
            }
        }
        Err(self.core().sharing.contended())
    }

    /// Purges tombstones that are older than their least life; gives how many.
    ///
    /// # Errors
    /// What the store answers.
    pub(crate) fn purge_tombstones(&self) -> Result<usize, Rv> {
        let core = self.core();
        let old = self
            .objects()
            .buried_before(core.clock.unix().saturating_sub(TOMBSTONE_LIFE));
        if old.is_empty() {
            return Ok(0);
        }
        let writing = self.begin_write();
        let root = writing.root();
        let mut purged = 0;
        for some in old.chunks(PURGED) {
            let batch = Batch {
                operation: hsmd_crypto::random::array(),
                compares: vec![root.compare()],
                writes: some
                    .iter()
                    .map(|(id, version)| Write {
                        path: record_path(root, *id),
                        version: version + 1,
                        value: None,
                    })
                    .collect(),
                reserve: false,
            };
            if let Committed::Done(_) = core.commit_objects(batch, Vec::new()).map_err(|error| error.rv())? {
                some.iter().for_each(|(id, _)| self.objects().forget(id));
                purged += some.len();
            }
        }
        Ok(purged)
    }
}

//! Documents that another node has written: memory follows the store.

use hsmd_store::{Path, Record};

use super::{Documents, entry, name_path};
use crate::core::Core;
use crate::records::DocumentRecord;
use crate::seal::Kind;

impl Documents {
    /// Other nodes have written these documents, or purged their tombstones, at this revision.
    pub(crate) fn follow(&self, core: &Core, found: Vec<(Path, Option<Record>)>, revision: u64) {
        let now = core.clock.unix();
        let mut applied = Vec::new();
        // Memory follows the store in order: a commit of this node that is under way is applied before, or finds this.
        let _one = self.commit.lock();
        for (path, record) in found {
            let Some(record) = record else {
                self.table.write().drop_tombstone(|name| name_path(core, name) == path);
                continue;
            };
            match core.decode::<DocumentRecord>(&path, Kind::Document, &record) {
                Ok(found) => {
                    let known = self.table.read().get(&found.name).map_or(0, |entry| entry.stored);
                    // A purged name begins at 1 again.
                    if record.version > known || record.version == 1 {
                        applied.push((found.name.clone(), entry(found, record.version, now)));
                    }
                }
                Err(error) => tracing::error!(%error, "a document of another node does not open"),
            }
        }
        if !applied.is_empty() {
            let mut table = self.table.write();
            let revision = revision.max(table.revision());
            table.apply(applied, revision);
        }
        if let Some(hook) = &*self.hook.read() {
            hook();
        }
    }
}

//! Changes of key sets in one batch with documents: locks, roots, and what follows in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use hsmd_proto::ids::{KeySetId, OperationId};
use hsmd_store::Write;

use super::join::Joined;
use super::leave::Copied;
use crate::core::Core;
use crate::document::{DocumentOutcome, DocumentWrite, Documents};
use crate::error::Error;
use crate::key_set::{KeySet, Root};

/// A change of a key set that happens with documents or not at all.
pub enum KeySetChange {
    /// Objects may not be changed any more, or may again.
    Protect(Arc<KeySet>, bool),
    /// The key set is deleted.
    Delete(Arc<KeySet>),
    /// What was copied for a join is seen from now on. To be used with a change of the source: it is deleted, or writable again.
    Adopt(Joined),
    /// A copy is a token from now on.
    Found(Copied),
}

impl KeySetChange {
    /// The key set that is to be deleted.
    pub(crate) fn deletes(&self) -> Option<KeySetId> {
        match self {
            Self::Delete(key_set) => Some(key_set.id()),
            _ => None,
        }
    }

    /// The key sets that must not change meanwhile.
    fn key_sets(&self) -> Vec<&Arc<KeySet>> {
        match self {
            Self::Protect(key_set, _) | Self::Delete(key_set) => vec![key_set],
            Self::Adopt(joined) => vec![&joined.from, &joined.into],
            Self::Found(copied) => vec![&copied.source, &copied.copy],
        }
    }

    /// Changes the root that it is about. Gives the other records that change.
    fn apply(&self, roots: &mut BTreeMap<KeySetId, Root>) -> Result<Vec<Write>, Error> {
        match self {
            Self::Protect(key_set, on) => {
                if let Some(root) = roots.get_mut(&key_set.id()) {
                    root.protect(*on);
                }
            }
            Self::Delete(key_set) => {
                if let Some(root) = roots.get_mut(&key_set.id()) {
                    root.mark_deleted();
                }
            }
            Self::Adopt(joined) => joined.adopt(roots)?,
            Self::Found(copied) => return copied.found(roots),
        }
        Ok(Vec::new())
    }
}

/// Commits documents and changes of key sets in one batch; what it means in memory follows before anybody else looks.
pub(crate) fn commit(
    core: &Core,
    documents: &Documents,
    operation: OperationId,
    writes: Vec<DocumentWrite>,
    changes: Vec<KeySetChange>,
) -> Result<DocumentOutcome, Error> {
    let key_sets: BTreeMap<KeySetId, Arc<KeySet>> = changes
        .iter()
        .flat_map(KeySetChange::key_sets)
        .map(|key_set| (key_set.id(), Arc::clone(key_set)))
        .collect();
    // In the order of ids: two that need several gates do not wait for each other for ever.
    let gates: Vec<_> = key_sets.values().map(|key_set| key_set.hold()).collect();
    let mut roots: BTreeMap<KeySetId, Root> = key_sets
        .iter()
        .map(|(id, key_set)| (*id, Root::clone(&key_set.root())))
        .collect();
    let mut others = Vec::new();
    for change in &changes {
        others.extend(change.apply(&mut roots)?);
    }
    for (id, root) in &mut roots {
        if let Some(key_set) = key_sets.get(id).filter(|key_set| key_set.root().differs(root)) {
            others.push(key_set.put_root(root));
        }
    }
    let outcome = documents.commit_with(core, operation, writes, others)?;
    if matches!(outcome, DocumentOutcome::Committed { .. }) {
        for (id, root) in roots {
            if let Some(key_set) = key_sets.get(&id) {
                key_set.switch(root, None);
            }
        }
        for change in changes {
            match change {
                KeySetChange::Adopt(joined) => joined.show(),
                KeySetChange::Found(copied) => copied.show(),
                KeySetChange::Delete(key_set) => key_set.forget_all(),
                KeySetChange::Protect(..) => {}
            }
        }
    }
    drop(gates);
    Ok(outcome)
}

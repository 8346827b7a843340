//! What a store has for whoever shares its engine with other writers: how far memory follows them, and a condition on every batch.

use std::time::Duration;

use super::Store;
use crate::batch::{Compare, Revision};

impl Store {
    /// How far memory follows an engine that others write to, in that engine's own numbers; 0 where nobody else does. Unlike
    /// [`Store::revision`] it moves with whatever happens in the engine.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.0.standing.as_ref().map_or(0, |standing| standing.position())
    }

    /// The position of a batch that was committed at `revision`.
    #[must_use]
    pub fn position_of(&self, revision: Revision) -> u64 {
        let standing = self.0.standing.as_ref();
        standing.map_or(0, |standing| standing.position_of(revision))
    }

    /// Waits until memory has come further than `position`, at most for `patience`; says how far it is.
    #[must_use]
    pub fn past(&self, position: u64, patience: Duration) -> u64 {
        let standing = self.0.standing.as_ref();
        standing.map_or(0, |standing| standing.past(position, patience))
    }

    /// Asks where the engine is by now, linearizably, and waits until memory is there; `None`: no answer in that time, or nobody
    /// else writes to this engine.
    #[must_use]
    pub fn sync(&self, patience: Duration) -> Option<u64> {
        self.0.standing.as_ref()?.sync(patience)
    }

    /// From now on every batch is committed only if this holds as well. A batch that is refused for it names its path.
    pub fn guard(&self, guard: Option<Compare>) {
        *self.0.guard.write() = guard;
    }
}

//! Joins and leaves of groups as resumable steps: a pure record that says how far it has come, and what the next step is.
//!
//! Each step is one batch that writes the record by version, so any node may take it, two that try cannot both, and whoever finds
//! the record after a stop goes on. Copies are not seen before the last step, which is one batch, too (INV-3).
//!
//! | step | join: `from` is merged into the group's key set | leave: the leaver takes a copy along |
//! |---|---|---|
//! | 1 | hold `from` (read-only; barrier) | copy while the group goes on |
//! | 2 | copy | hold the group's key set (read-only; barrier) |
//! | 3 | - | copy what has changed since |
//! | 4 | compare; switch the reference (barrier) | compare; switch the reference, release (barrier) |
//!
//! A newer change of the group cancels; whoever does releases what is held.

use crate::names::{KeySetId, ObjectId};

/// Most objects looked at for one step.
pub const AT_ONCE: usize = 60;

/// A join or a leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which of the two.
    pub kind: Kind,
    /// The key set that is copied.
    pub from: KeySetId,
    /// Where to.
    pub into: KeySetId,
    /// How far it is.
    pub stage: Stage,
}

/// Which move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A partition's objects become the group's.
    Join,
    /// A partition takes a copy of the group's objects along.
    Leave,
}

/// How far a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is done.
    Begun,
    /// Everything up to this object is copied. `held`: `from` is read-only.
    Copying {
        /// The last object that was looked at.
        after: Option<ObjectId>,
        /// `from` is read-only.
        held: bool,
    },
    /// The partition refers to `into`.
    Done,
    /// The two key sets have different objects under this id; nothing has changed.
    Differs(ObjectId),
    /// Somebody wanted something else; nothing has changed.
    Cancelled,
}

/// One object as far as a move must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// There, with this hash of everything in it.
    Live(u64),
    /// Destroyed: its tombstone.
    Destroyed,
}

/// The objects of a key set, tombstones and unseen copies included, as applied.
pub trait Contents {
    /// At most `at_most` objects after this one, in ascending order.
    fn after(&self, after: Option<ObjectId>, at_most: usize) -> Vec<(ObjectId, Held)>;
    /// One object.
    fn get(&self, object: ObjectId) -> Option<Held>;
}

/// What the next batch does, besides putting the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make `from` read-only. With a barrier: nobody writes to it when this is answered.
    Hold,
    /// Copy these, unseen.
    Copy(Vec<ObjectId>),
    /// Make the partition refer to `into`, and release `from` if it goes on. With a barrier.
    Switch,
    /// Release `from` if it is held. The copies may be removed.
    Abort,
}

impl Move {
    /// A new one.
    #[must_use]
    pub fn new(kind: Kind, from: KeySetId, into: KeySetId) -> Self {
        Self {
            kind,
            from,
            into,
            stage: Stage::Begun,
        }
    }

    /// Whether `from` is read-only.
    #[must_use]
    pub fn holds(&self) -> bool {
        matches!(self.stage, Stage::Copying { held: true, .. })
    }

    /// Whether there is a next step.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Begun | Stage::Copying { .. })
    }

    /// The next step, and the record after it. `None`: the move has ended.
    #[must_use]
    pub fn next(&self, from: &dyn Contents, into: &dyn Contents) -> Option<(Step, Self)> {
        let at = |stage| Self { stage, ..self.clone() };
        let copying = |after, held| at(Stage::Copying { after, held });
        match self.stage {
            Stage::Begun if self.kind == Kind::Join => Some((Step::Hold, copying(None, true))),
            Stage::Begun => Some((Step::Copy(Vec::new()), copying(None, false))),
            Stage::Copying { after, held } => {
                let looked_at = from.after(after, AT_ONCE);
                let Some((last, _)) = looked_at.last() else {
                    return Some(self.copied(held, from, into));
                };
                let mut copy = Vec::new();
                for (object, source) in &looked_at {
                    match self.compare(*source, into.get(*object)) {
                        Compared::Same => {}
                        Compared::Copy => copy.push(*object),
                        Compared::Differs => return Some((Step::Abort, at(Stage::Differs(*object)))),
                    }
                }
                Some((Step::Copy(copy), copying(Some(*last), held)))
            }
            Stage::Done | Stage::Differs(_) | Stage::Cancelled => None,
        }
    }

    /// Ends it, if it has not ended.
    #[must_use]
    pub fn cancel(&self) -> Option<(Step, Self)> {
        let cancelled = Self {
            stage: Stage::Cancelled,
            ..self.clone()
        };
        self.is_open().then_some((Step::Abort, cancelled))
    }

    /// Everything has been looked at once.
    fn copied(&self, held: bool, from: &dyn Contents, into: &dyn Contents) -> (Step, Self) {
        let at = |stage| Self { stage, ..self.clone() };
        let again = Stage::Copying {
            after: None,
            held: true,
        };
        if !held {
            return (Step::Hold, at(again));
        }
        let mut after = None;
        loop {
            let looked_at = from.after(after, AT_ONCE);
            let Some((last, _)) = looked_at.last() else {
                return (Step::Switch, at(Stage::Done));
            };
            after = Some(*last);
            let same = |(object, source): &(ObjectId, Held)| self.compare(*source, into.get(*object)) == Compared::Same;
            if !looked_at.iter().all(same) {
                return (Step::Copy(Vec::new()), at(again));
            }
        }
    }

    fn compare(&self, source: Held, target: Option<Held>) -> Compared {
        match (self.kind, target) {
            (_, None) => Compared::Copy,
            (_, Some(target)) if target == source => Compared::Same,
            // INV-6: what was destroyed in the group is not brought back.
            (Kind::Join, Some(Held::Destroyed)) => Compared::Same,
            (Kind::Join, Some(_)) => Compared::Differs,
            (Kind::Leave, Some(_)) => Compared::Copy,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    Same,
    Copy,
    Differs,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Default)]
    struct Set(BTreeMap<ObjectId, Held>);

    impl Contents for Set {
        fn after(&self, after: Option<ObjectId>, at_most: usize) -> Vec<(ObjectId, Held)> {
            let rest = self
                .0
                .iter()
                .filter(|(object, _)| after.is_none_or(|after| **object > after));
            rest.take(at_most).map(|(object, held)| (*object, *held)).collect()
        }

        fn get(&self, object: ObjectId) -> Option<Held> {
            self.0.get(&object).copied()
        }
    }

    fn set(objects: impl IntoIterator<Item = (u128, Held)>) -> Set {
        Set(objects
            .into_iter()
            .map(|(object, held)| (ObjectId(object), held))
            .collect())
    }

    /// Takes steps until the end, and calls `between` before each.
    fn finish(kind: Kind, from: &mut Set, into: &mut Set, mut between: impl FnMut(&mut Set, &Move)) -> (Stage, usize) {
        let mut record = Move::new(kind, KeySetId(1), KeySetId(2));
        let mut steps = 0;
        while let Some((step, next)) = record.next(from, into) {
            if let Step::Copy(objects) = step {
                into.0.extend(objects.iter().map(|object| (*object, from.0[object])));
            }
            record = next;
            steps += 1;
            between(from, &record);
        }
        (record.stage, steps)
    }

    #[test]
    fn a_join_copies_in_batches_and_brings_nothing_back() {
        let mut from = set((0..150).map(|object| (object, Held::Live(7))));
        let mut into = set([(3, Held::Destroyed), (4, Held::Live(7)), (900, Held::Live(1))]);
        let (stage, steps) = finish(Kind::Join, &mut from, &mut into, |_, _| {});
        assert_eq!((stage, steps), (Stage::Done, 1 + 3 + 1));
        // INV-6: the group destroyed it.
        assert_eq!(into.0[&ObjectId(3)], Held::Destroyed);
        assert_eq!(into.0.len(), 151);
    }

    #[test]
    fn a_join_of_different_objects_with_one_id_changes_nothing() {
        let mut from = set([(1, Held::Live(1)), (2, Held::Live(2))]);
        let mut into = set([(2, Held::Live(9))]);
        let (stage, _) = finish(Kind::Join, &mut from, &mut into, |_, _| {});
        assert_eq!(stage, Stage::Differs(ObjectId(2)));
        assert_eq!(into.0.len(), 1);
    }

    #[test]
    fn a_leave_takes_along_what_changes_while_it_copies() {
        let mut from = set((0..100).map(|object| (object, Held::Live(7))));
        let mut into = set([]);
        let mut changes = 0;
        let (stage, _) = finish(Kind::Leave, &mut from, &mut into, |from, record| {
            if record.is_open() && !record.holds() && changes < 5 {
                changes += 1;
                from.0.insert(ObjectId(changes), Held::Destroyed);
                from.0.insert(ObjectId(500 + changes), Held::Live(1));
            }
        });
        assert_eq!(stage, Stage::Done);
        assert!(changes > 2, "it changed while it was copied");
        // INV-6: destroyed in the group before the leaver left, destroyed for the leaver.
        assert_eq!(into.0, from.0);
    }
}

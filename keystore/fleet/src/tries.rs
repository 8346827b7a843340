//! The arithmetic of PIN tries over all nodes (INV-8): a pure record, changed by compare-and-set.
//!
//! A try takes a place, durably, before the PIN is checked, and its verdict gives the place back or makes it a failure, durably,
//! before the answer. Places and failures together never exceed the limit; a try without room waits; failures alone lock. A
//! place whose node's generation has ended becomes a failure: its check may have been made, though its verdict can be neither
//! committed nor answered any more. The same attempt, come again on another node, takes that place over: no more than one
//! verdict of it can ever be told.

use std::collections::VecDeque;

use crate::names::{Generation, NodeId, OperationId};

/// How many failed attempts are remembered by id.
const REMEMBERED: usize = 16;

/// One counter: of a role of a key set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// Number of failures that ever were.
    pub sequence: u64,
    /// Failures since the last success: attempt, and its number in `sequence`.
    pub failures: Vec<(OperationId, u64)>,
    /// Tries whose verdict has not fallen.
    pub places: Vec<Place>,
    /// Too many failures. Only an administrator unlocks.
    pub locked: bool,
    /// The last attempts that were found wrong.
    pub failed: VecDeque<OperationId>,
}

/// A try without verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which try.
    pub attempt: OperationId,
    /// Who checks its PIN,
    pub node: NodeId,
    /// in this generation.
    pub generation: Generation,
    /// The failures up to this number are complete: a success clears them.
    pub began: u64,
}

/// Who tries, and how often one may.
pub struct Run<'a> {
    /// This node,
    pub node: NodeId,
    /// in its generation.
    pub generation: Generation,
    /// This many failures lock.
    pub limit: usize,
    /// The generation of another node, as far as is known ([`crate::Node::generation_of`]).
    pub generation_of: &'a dyn Fn(NodeId) -> Generation,
}

/// How a try begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Commit this; then check the PIN.
    Take(Tries),
    /// Commit this if it differs from what is there; locked.
    Locked(Tries),
    /// This very attempt was found wrong before.
    Wrong,
    /// Every place is taken, or this attempt has one on another node: wait for a verdict.
    NoRoom,
}

/// What a check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The PIN is right.
    Right,
    /// The PIN is wrong.
    Wrong,
    /// Nothing was checked.
    Unchecked,
}

impl Run<'_> {
    fn ended(&self, place: &Place) -> bool {
        let now = match place.node == self.node {
            true => self.generation,
            false => (self.generation_of)(place.node),
        };
        place.generation < now
    }
}

impl Tries {
    /// Begins `attempt`.
    #[must_use]
    pub fn begin(&self, run: &Run<'_>, attempt: OperationId) -> Begin {
        if self.failed.contains(&attempt) {
            return Begin::Wrong;
        }
        let mut next = self.settled(run, Some(attempt));
        if next.locked {
            return Begin::Locked(next);
        }
        if let Some(place) = next.places.iter_mut().find(|place| place.attempt == attempt) {
            if !run.ended(place) && place.node != run.node {
                return Begin::NoRoom;
            }
            (place.node, place.generation) = (run.node, run.generation);
            return Begin::Take(next);
        }
        // It became a failure when its generation ended. It is the same try still, and has that place.
        next.failures.retain(|(failed, _)| *failed != attempt);
        if next.failures.len() + next.places.len() >= run.limit {
            return Begin::NoRoom;
        }
        next.places.push(Place {
            attempt,
            node: run.node,
            generation: run.generation,
            began: self.sequence,
        });
        Begin::Take(next)
    }

    /// The record after the verdict on `attempt`; `None` if this run has no place for it: its verdict counts for nothing.
    #[must_use]
    pub fn end(&self, run: &Run<'_>, attempt: OperationId, verdict: Verdict) -> Option<Self> {
        let mut next = self.clone();
        let held =
            |place: &Place| place.attempt == attempt && place.node == run.node && place.generation == run.generation;
        let place = next.places.iter().position(held)?;
        let began = next.places.remove(place).began;
        match verdict {
            Verdict::Unchecked => {}
            Verdict::Right if next.locked => {}
            Verdict::Right => next.failures.retain(|(_, sequence)| *sequence > began),
            Verdict::Wrong => {
                next.fail(attempt);
                next.failed.push_back(attempt);
                if next.failed.len() > REMEMBERED {
                    next.failed.pop_front();
                }
            }
        }
        Some(next.settled(run, None))
    }

    /// Makes failures of the places whose generation has ended, but for that of `again`; locks if it is time.
    fn settled(&self, run: &Run<'_>, again: Option<OperationId>) -> Self {
        let mut next = self.clone();
        let (ended, open) = next
            .places
            .drain(..)
            .partition(|place| run.ended(place) && again != Some(place.attempt));
        next.places = open;
        let ended: Vec<Place> = ended;
        ended.iter().for_each(|place| next.fail(place.attempt));
        next.locked |= next.failures.len() >= run.limit;
        next
    }

    fn fail(&mut self, attempt: OperationId) {
        self.sequence += 1;
        self.failures.push((attempt, self.sequence));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn run(node: NodeId, generations: &dyn Fn(NodeId) -> Generation) -> Run<'_> {
        Run {
            node,
            generation: generations(node),
            limit: 3,
            generation_of: generations,
        }
    }

    fn taken(begin: Begin) -> Tries {
        match begin {
            Begin::Take(tries) => tries,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn places_and_failures_never_exceed_the_limit_and_failures_alone_lock() {
        let first = |_| Generation(2);
        let (a, b) = (run(A, &first), run(B, &first));
        let mut tries = Tries::default();
        for attempt in 1..=3 {
            tries = taken(tries.begin(if attempt == 2 { &b } else { &a }, OperationId(attempt)));
        }
        // INV-8: nobody is told "locked" while the open tries may be right.
        assert_eq!(tries.begin(&b, OperationId(4)), Begin::NoRoom);
        tries = tries.end(&a, OperationId(1), Verdict::Wrong).unwrap();
        tries = tries.end(&b, OperationId(2), Verdict::Wrong).unwrap();
        assert!(!tries.locked);
        tries = tries.end(&a, OperationId(3), Verdict::Wrong).unwrap();
        assert!(tries.locked);
        assert!(matches!(tries.begin(&b, OperationId(5)), Begin::Locked(_)));
        assert_eq!(tries.begin(&b, OperationId(2)), Begin::Wrong);
    }

    #[test]
    fn a_success_clears_what_was_complete_when_it_began() {
        let first = |_| Generation(2);
        let (a, b) = (run(A, &first), run(B, &first));
        let tries = taken(Tries::default().begin(&a, OperationId(1)));
        let tries = tries.end(&a, OperationId(1), Verdict::Wrong).unwrap();
        let tries = taken(tries.begin(&a, OperationId(2)));
        let tries = taken(tries.begin(&b, OperationId(3)));
        let tries = tries.end(&b, OperationId(3), Verdict::Wrong).unwrap();
        let tries = tries.end(&a, OperationId(2), Verdict::Right).unwrap();
        assert_eq!(tries.failures, [(OperationId(3), 2)]);
    }

    #[test]
    fn a_place_of_an_ended_generation_is_a_failure_and_its_verdict_counts_for_nothing() {
        let before = |_| Generation(2);
        let after = |node| Generation(if node == A { 3 } else { 2 });
        let tries = taken(Tries::default().begin(&run(A, &before), OperationId(1)));
        // While A lives the attempt waits for A's verdict; then it takes A's place.
        assert_eq!(tries.begin(&run(B, &before), OperationId(1)), Begin::NoRoom);
        let other = taken(tries.begin(&run(B, &after), OperationId(2)));
        assert_eq!((other.failures.len(), other.places.len()), (1, 1));
        let same = taken(other.begin(&run(B, &after), OperationId(1)));
        assert_eq!((same.failures.len(), same.places.len()), (0, 2));
        assert_eq!(same.end(&run(A, &before), OperationId(1), Verdict::Right), None);
        assert!(same.end(&run(B, &after), OperationId(1), Verdict::Right).is_some());
    }
}

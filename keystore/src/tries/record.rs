//! The arithmetic of the counter record, without store, clock or threads.

use hsmd_proto::ids::OperationId;

use crate::core::Core;
use crate::records::{FORMAT, FailureRecord, ReservationRecord, TriesRecord};
use crate::shared::runs;

/// How many failed attempts are remembered by id.
const FAILED: usize = 16;

/// This run of this node, and the limit.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    node: [u8; 16],
    generation: u64,
    /// Of other nodes: the run of their process, or `None` if there is none any more.
    others: Vec<([u8; 16], Option<u64>)>,
    limit: usize,
}

impl Run {
    pub(crate) fn of(core: &Core) -> Self {
        Self {
            node: core.node.0,
            generation: core.generation,
            others: if core.sharing.is_on() { runs(core) } else { Vec::new() },
            limit: usize::try_from(core.options.pin_tries).unwrap_or(usize::MAX).max(1),
        }
    }

    /// With another limit; 0: as it is.
    pub(crate) fn limited(mut self, limit: u32) -> Self {
        if limit > 0 {
            self.limit = usize::try_from(limit).unwrap_or(usize::MAX);
        }
        self
    }

    fn ended(&self, reservation: &ReservationRecord) -> bool {
        if reservation.node == self.node {
            return reservation.generation != self.generation;
        }
        // A node that is fenced, or has begun again, gives no verdict any more. Of one that nobody knows nothing is known.
        let other = self.others.iter().find(|(node, _)| *node == *reservation.node);
        other.is_some_and(|(_, run)| *run != Some(reservation.generation))
    }
}

/// What token flags tell of a counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// There was a failure since the last success.
    pub(crate) low: bool,
    /// One more failure locks.
    pub(crate) last: bool,
    /// Locked.
    pub(crate) locked: bool,
}

/// The flags of a counter.
pub(crate) fn counts(record: &TriesRecord, run: &Run) -> Counts {
    let settled = settle(record, run, None);
    let failures = settled.failures.len();
    Counts {
        low: failures > 0,
        last: !settled.locked && failures + 1 == run.limit,
        locked: settled.locked,
    }
}

/// Whether this attempt is known to have failed.
pub(crate) fn has_failed(record: &TriesRecord, attempt: &OperationId) -> bool {
    record.failed.iter().any(|failed| failed.as_slice() == attempt.0)
}

/// Turns the places of earlier runs of this node into failures, but for those of `again`: that try goes on. Sets the lock if
/// failures have reached the limit.
pub(crate) fn settle(record: &TriesRecord, run: &Run, again: Option<&OperationId>) -> TriesRecord {
    let mut next = record.clone();
    let ended: Vec<_> = next
        .reservations
        .iter()
        .filter(|place| run.ended(place))
        .cloned()
        .collect();
    for place in ended {
        if again.is_none_or(|again| place.attempt.as_slice() != again.0) {
            // Not remembered by id: its PIN may have been right, and the same attempt may come again.
            take_place(&mut next, &place.attempt);
            add_failure(&mut next, &place.attempt);
        }
    }
    next.locked |= next.failures.len() >= run.limit;
    next
}

/// As it goes elsewhere: a try without a verdict gets none there, and counts as a failure.
pub(crate) fn all_settled(record: &TriesRecord) -> TriesRecord {
    let mut next = record.clone();
    for place in &record.reservations {
        take_place(&mut next, &place.attempt);
        add_failure(&mut next, &place.attempt);
    }
    next
}

/// Takes a place, if there is one. The same attempt has one place only: while it is open in this run there is no other, and one
/// left by an earlier run is taken over.
pub(crate) fn reserve(mut record: TriesRecord, run: &Run, attempt: &OperationId) -> Option<TriesRecord> {
    let began = record.sequence;
    if let Some(place) = record
        .reservations
        .iter_mut()
        .find(|place| place.attempt.as_slice() == attempt.0)
    {
        if !run.ended(place) {
            return None;
        }
        place.node = run.node.to_vec();
        place.generation = run.generation;
        return Some(record);
    }
    // Counted as a failure when its run ended; it is the same try still, and takes that place.
    record
        .failures
        .retain(|failure| failure.attempt.as_slice() != attempt.0);
    if record.failures.len() + record.reservations.len() >= run.limit {
        return None;
    }
    record.format = FORMAT;
    record.reservations.push(ReservationRecord {
        attempt: attempt.0.to_vec(),
        node: run.node.to_vec(),
        generation: run.generation,
        began,
    });
    Some(record)
}

/// The verdict "wrong".
pub(crate) fn fail(record: &mut TriesRecord, attempt: &OperationId) {
    if take_place(record, &attempt.0).is_none() {
        // Its verdict has fallen already.
        return;
    }
    add_failure(record, &attempt.0);
    record.failed.push(attempt.0.to_vec());
    if record.failed.len() > FAILED {
        record.failed.remove(0);
    }
}

fn take_place(record: &mut TriesRecord, attempt: &[u8]) -> Option<ReservationRecord> {
    let place = record.reservations.iter().position(|place| place.attempt == attempt)?;
    Some(record.reservations.swap_remove(place))
}

fn add_failure(record: &mut TriesRecord, attempt: &[u8]) {
    record.sequence += 1;
    let sequence = record.sequence;
    record.failures.push(FailureRecord {
        attempt: attempt.to_vec(),
        sequence,
    });
}

/// The verdict "right".
pub(crate) fn succeed(record: &mut TriesRecord, attempt: &OperationId) {
    if let Some(place) = take_place(record, &attempt.0) {
        clear(record, place.began);
    }
}

/// Gives the place back without a verdict.
pub(crate) fn release(record: &mut TriesRecord, attempt: &OperationId) {
    record
        .reservations
        .retain(|place| place.attempt.as_slice() != attempt.0);
}

/// Clears the failures that were complete at `began`. A lock stays: only the SO or an administrator lifts it.
pub(crate) fn clear(record: &mut TriesRecord, began: u64) {
    if !record.locked {
        record.failures.retain(|failure| failure.sequence > began);
    }
}

/// For the fuzz targets (`crate::fuzzing`): whatever stands in the record, a lock stays, a new place is given only where there
/// is room, and a try that failed is known (INV-8).
pub(crate) fn fuzzing(record: &TriesRecord, core: &Core, attempt: &OperationId) {
    let run = Run::of(core);
    let before = counts(record, &run);
    let settled = settle(record, &run, Some(attempt));
    assert!(settled.locked || !before.locked, "a lock goes by itself");
    let known = |places: &[ReservationRecord]| places.iter().any(|place| place.attempt.as_slice() == attempt.0);
    let had_place = known(&settled.reservations);
    let Some(mut reserved) = reserve(settled, &run, attempt) else {
        return;
    };
    let taken = reserved.failures.len() + reserved.reservations.len();
    assert!(had_place || taken <= run.limit, "a place beyond the limit");
    let mut released = reserved.clone();
    release(&mut released, attempt);
    assert!(!known(&released.reservations), "a place that stays");
    let mut right = reserved.clone();
    succeed(&mut right, attempt);
    assert!(right.locked == reserved.locked, "a success that unlocks");
    fail(&mut reserved, attempt);
    assert!(has_failed(&reserved, attempt), "a failure that is not known");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(generation: u64) -> Run {
        Run {
            node: [1; 16],
            generation,
            others: Vec::new(),
            limit: 10,
        }
    }

    fn attempt(number: u8) -> OperationId {
        OperationId([number; 16])
    }

    #[test]
    fn a_place_of_an_earlier_run_counts_as_a_failure_unless_its_try_goes_on() {
        let record = reserve(TriesRecord::default(), &run(1), &attempt(1)).unwrap();
        assert_eq!(settle(&record, &run(1), None).failures.len(), 0);
        assert_eq!(settle(&record, &run(2), None).failures.len(), 1);
        let again = settle(&record, &run(2), Some(&attempt(1)));
        assert_eq!(again.failures.len(), 0);
        let taken_over = reserve(again, &run(2), &attempt(1)).unwrap();
        assert_eq!(taken_over.reservations.len(), 1);
        assert_eq!(taken_over.reservations[0].generation, 2);
    }

    #[test]
    fn a_success_leaves_failures_that_fell_after_it_began() {
        let mut record = TriesRecord::default();
        for number in [1, 2, 3] {
            record = reserve(record, &run(1), &attempt(number)).unwrap();
        }
        fail(&mut record, &attempt(1));
        record = reserve(record, &run(1), &attempt(4)).unwrap();
        fail(&mut record, &attempt(2));
        // The fourth began after the first failed and before the second did.
        succeed(&mut record, &attempt(4));
        assert_eq!(record.failures.len(), 1);
        assert_eq!(record.failures[0].attempt, attempt(2).0.to_vec());
        assert_eq!(record.reservations.len(), 1);
    }

    proptest! {
        // INV-8: whatever happens in whatever order, places and failures never exceed the limit, and nothing but failures locks.
        #[test]
        fn places_and_failures_never_exceed_the_limit(steps in prop::collection::vec((0_u8..6, 0_u8..30), 0..400)) {
            let mut record = TriesRecord::default();
            let mut generation = 1;
            let mut wrong = 0_usize;
            for (step, number) in steps {
                let attempt = attempt(number);
                let next = settle(&record, &run(generation), Some(&attempt));
                wrong += next.failures.len() - record.failures.len();
                record = next;
                match step {
                    0..=2 => {
                        if !record.locked && !has_failed(&record, &attempt)
                            && let Some(next) = reserve(record.clone(), &run(generation), &attempt) {
                            wrong -= record.failures.len() - next.failures.len();
                            record = next;
                        }
                    }
                    3 => {
                        let before = record.failures.len();
                        fail(&mut record, &attempt);
                        wrong += record.failures.len() - before;
                    }
                    4 => {
                        let before = record.failures.len();
                        succeed(&mut record, &attempt);
                        wrong -= before - record.failures.len();
                    }
                    _ => generation += 1,
                }
                prop_assert!(record.failures.len() + record.reservations.len() <= 10);
                prop_assert!(record.failures.len() == wrong);
                prop_assert!(!record.locked || record.failures.len() == 10);
            }
        }
    }
}

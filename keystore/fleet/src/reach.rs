//! How far a node has come, and how far it knows that the store has: the measure of its lag.

use std::collections::VecDeque;
use std::time::Duration;

use crate::names::{Revision, Time};

#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// Everything up to here is applied.
    applied: Revision,
    /// The store has had this revision.
    highest: Revision,
    /// Revisions that will come by the watch, and since when that is known; ascending in both.
    awaited: VecDeque<(Revision, Time)>,
}

impl Reach {
    pub(crate) fn applied(&self) -> Revision {
        self.applied
    }

    pub(crate) fn highest(&self) -> Revision {
        self.highest
    }

    /// The store answered at this revision. It need not be one of ours.
    pub(crate) fn heard(&mut self, revision: Revision) {
        self.highest = self.highest.max(revision);
    }

    /// A batch of ours has this revision, so the watch will bring it.
    pub(crate) fn awaits(&mut self, revision: Revision, now: Time) {
        self.heard(revision);
        let last = self.awaited.back().map_or(self.applied, |(last, _)| *last);
        if revision > last {
            self.awaited.push_back((revision, now));
        }
    }

    /// Everything up to here has been applied.
    pub(crate) fn apply(&mut self, revision: Revision) {
        self.heard(revision);
        self.applied = self.applied.max(revision);
        while self.awaited.front().is_some_and(|(first, _)| *first <= self.applied) {
            self.awaited.pop_front();
        }
    }

    /// How long the oldest change that is known of has not been applied.
    pub(crate) fn lag(&self, now: Time) -> Duration {
        self.awaited
            .front()
            .map_or(Duration::ZERO, |(_, since)| now.since(*since))
    }

    /// Since when the node has been behind, if it is.
    pub(crate) fn behind_since(&self) -> Option<Time> {
        self.awaited.front().map(|(_, since)| *since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_that_of_the_oldest_change_known_of() {
        let mut reach = Reach::default();
        reach.awaits(Revision(3), Time(100));
        reach.awaits(Revision(3), Time(200));
        reach.awaits(Revision(7), Time(300));
        assert_eq!(reach.lag(Time(400)), Duration::from_micros(300));
        reach.apply(Revision(3));
        assert_eq!(reach.lag(Time(400)), Duration::from_micros(100));
        reach.apply(Revision(9));
        assert_eq!((reach.lag(Time(900)), reach.highest()), (Duration::ZERO, Revision(9)));
    }
}

//! The right to serve, as the threads that serve see it: a few words of memory that the core's thread writes and every request
//! reads twice, before the work and again before the reply. No lock, no call (INV-5).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::names::{Generation, Revision, Seen, Time, Timeline};

/// What the core publishes. Share it by `Arc`.
#[derive(Debug, Default)]
pub struct Gate {
    /// Microseconds of the boot clock; 0: closed.
    until: AtomicU64,
    /// From then on the node is behind, unless it catches up.
    fresh_until: AtomicU64,
    draining: AtomicBool,
    generation: AtomicU64,
    timeline: AtomicU64,
    applied: AtomicU64,
}

/// A request was let in. Needed again before its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    generation: u64,
    timeline: u64,
}

/// What a request is told at the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Do the work, then ask [`Gate::leave`].
    Go(Pass),
    /// The process has seen more than this node has applied: hand the core an [`crate::Input::Wait`].
    Wait,
    /// The node knows of changes that it should have applied by now: `behind`, another member may not be.
    Behind,
    /// The node has no right to serve: another member may have.
    Closed,
    /// The node is being emptied: another member takes the request.
    Draining,
}

/// What the core knows, to be published at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Right {
    pub(crate) until: Time,
    pub(crate) fresh_until: Time,
    pub(crate) draining: bool,
    pub(crate) generation: Generation,
    pub(crate) timeline: Timeline,
    pub(crate) applied: Revision,
}

impl Gate {
    /// Before the work. `seen`: what the request brought along.
    #[must_use]
    pub fn enter(&self, now: Time, seen: Option<Seen>) -> Entry {
        if now.0 >= self.until.load(Ordering::Acquire) {
            return Entry::Closed;
        }
        if self.draining.load(Ordering::Relaxed) {
            return Entry::Draining;
        }
        if now.0 >= self.fresh_until.load(Ordering::Relaxed) {
            return Entry::Behind;
        }
        let pass = Pass {
            generation: self.generation.load(Ordering::Relaxed),
            timeline: self.timeline.load(Ordering::Relaxed),
        };
        // A revision of another timeline means "forget what you know", never "wait".
        let waits =
            |seen: Seen| seen.timeline.0 == pass.timeline && seen.revision.0 > self.applied.load(Ordering::Acquire);
        if seen.is_some_and(waits) {
            return Entry::Wait;
        }
        Entry::Go(pass)
    }

    /// How long the right lasts from now on without another beat, in microseconds; 0: the gate is closed.
    #[must_use]
    pub fn right(&self, now: Time) -> u64 {
        self.until.load(Ordering::Acquire).saturating_sub(now.0)
    }

    /// A request that waited at the core and was told to go on.
    #[must_use]
    pub fn pass(&self) -> Pass {
        Pass {
            generation: self.generation.load(Ordering::Relaxed),
            timeline: self.timeline.load(Ordering::Relaxed),
        }
    }

    /// Before the reply. `None`: the right was lost meanwhile, and nothing of the work may leave the node. Else what the reply
    /// tells the process that it has seen.
    #[must_use]
    pub fn leave(&self, now: Time, pass: Pass) -> Option<Seen> {
        // INV-6: a node that was stopped after the first check comes here late.
        if now.0 >= self.until.load(Ordering::Acquire) || self.pass() != pass {
            return None;
        }
        Some(Seen {
            timeline: Timeline(pass.timeline),
            revision: Revision(self.applied.load(Ordering::Acquire)),
        })
    }

    pub(crate) fn open(&self, right: Right) {
        self.applied.store(right.applied.0, Ordering::Release);
        self.timeline.store(right.timeline.0, Ordering::Relaxed);
        self.generation.store(right.generation.0, Ordering::Relaxed);
        self.draining.store(right.draining, Ordering::Relaxed);
        self.fresh_until.store(right.fresh_until.0, Ordering::Relaxed);
        self.until.store(right.until.0, Ordering::Release);
    }

    pub(crate) fn close(&self) {
        self.until.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_until(until: u64) -> Gate {
        let gate = Gate::default();
        gate.open(Right {
            until: Time(until),
            fresh_until: Time(u64::MAX),
            draining: false,
            generation: Generation(3),
            timeline: Timeline(7),
            applied: Revision(40),
        });
        gate
    }

    #[test]
    fn a_reply_after_the_right_has_ended_does_not_leave() {
        let gate = open_until(100);
        let Entry::Go(pass) = gate.enter(Time(99), None) else {
            panic!("closed too early");
        };
        assert!(gate.leave(Time(99), pass).is_some());
        // INV-6: the process was stopped between the two checks.
        assert_eq!(gate.leave(Time(100), pass), None);
        assert_eq!(gate.enter(Time(100), None), Entry::Closed);
    }

    #[test]
    fn a_pass_is_of_one_generation() {
        let gate = open_until(100);
        let pass = gate.pass();
        let mut right = Right {
            until: Time(900),
            fresh_until: Time(900),
            draining: false,
            generation: Generation(5),
            timeline: Timeline(7),
            applied: Revision(40),
        };
        gate.open(right);
        assert_eq!(gate.leave(Time(50), pass), None);
        right.draining = true;
        gate.open(right);
        assert_eq!(gate.enter(Time(50), None), Entry::Draining);
        assert!(
            gate.leave(Time(50), gate.pass()).is_some(),
            "what is inside is finished"
        );
    }

    #[test]
    fn only_revisions_of_the_same_timeline_are_waited_for() {
        let gate = open_until(100);
        let seen = |timeline, revision| {
            Some(Seen {
                timeline: Timeline(timeline),
                revision: Revision(revision),
            })
        };
        assert_eq!(gate.enter(Time(1), seen(7, 41)), Entry::Wait);
        assert!(matches!(gate.enter(Time(1), seen(7, 40)), Entry::Go(_)));
        assert!(matches!(gate.enter(Time(1), seen(8, 41)), Entry::Go(_)));
    }
}

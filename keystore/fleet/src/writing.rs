//! Writes: the rules run on what is applied, their batch is compared and committed, conflicts run the rules anew, unknown
//! outcomes are found out, and the answer waits for its barrier.
//!
//! An unknown outcome is never left behind. If the operation is not in the store when it is asked after, it may still be on its
//! way; so the *same* batch is sent again. It names the versions of what it writes, so only one of the copies can be
//! committed; and when it conflicts, and the operation is still not there, no copy can be committed any more.

use crate::interface::{Answer, Ask, Commit, Effect, Ran, Scope, Told, Write};
use crate::names::{OperationId, Request, Revision, Time};
use crate::node::{Node, Purpose};

/// A write that this node is at.
#[derive(Debug)]
pub(crate) struct InFlight<B> {
    operation: OperationId,
    deadline: Time,
    /// Runs of the rules after the first.
    reruns: u32,
    barrier: Option<Scope>,
    /// A batch was sent, and it is not known that it cannot be committed.
    open: bool,
    stage: Stage<B>,
}

#[derive(Debug)]
enum Stage<B> {
    /// Waits for a revision before the rules run. `until`: this node is behind then; `None`: after a conflict.
    Applying { revision: Revision, until: Option<Time> },
    /// The rules run.
    Running,
    /// The batch is with the store. `again`: it was before.
    Committing { batch: B, again: bool },
    /// The store is asked what became of it, or will be then. `conflict`: a copy of it conflicted with this revision.
    Resolving {
        batch: B,
        conflict: Option<Revision>,
        ask_at: Option<Time>,
    },
    /// Committed; waits for this node and for the barrier.
    Committed { revision: Revision },
}

impl<B> InFlight<B> {
    pub(crate) fn wakes(&self) -> Time {
        match self.stage {
            Stage::Applying { until: Some(time), .. } | Stage::Resolving { ask_at: Some(time), .. } => {
                time.min(self.deadline)
            }
            _ => self.deadline,
        }
    }
}

/// What `go_on_writing` does next with one write.
enum Next {
    Wait,
    Run,
    Resolve,
    Answer(Answer),
}

impl<B: Clone> Node<B> {
    /// [`crate::Input::Write`].
    pub(crate) fn write(&mut self, now: Time, write: Write) {
        if !self.may_serve(now) || self.draining {
            self.out.push(Effect::Answer(write.request, Answer::Closed));
            return;
        }
        let revision = self.revision_seen(write.seen);
        let until = Some(now.after(self.timing.patience));
        let in_flight = InFlight {
            operation: write.operation,
            deadline: write.deadline,
            reruns: 0,
            barrier: None,
            open: false,
            stage: Stage::Applying { revision, until },
        };
        self.writes.insert(write.request, in_flight);
    }

    /// [`crate::Input::Ran`].
    pub(crate) fn ran(&mut self, now: Time, request: Request, ran: Ran<B>) {
        let holds = self.may_serve(now);
        let seen = self.seen();
        let Some(write) = self.writes.get_mut(&request) else {
            return;
        };
        match ran {
            _ if !holds => self.finish(request, Answer::Closed),
            Ran::Answered => self.finish(request, seen.map_or(Answer::Closed, Answer::Answered)),
            Ran::Done { revision, barrier } => {
                write.barrier = barrier;
                write.stage = Stage::Committed { revision };
            }
            Ran::Commit { batch, barrier } => {
                write.barrier = barrier;
                self.commit(request, batch, false);
            }
        }
    }

    fn commit(&mut self, request: Request, batch: B, again: bool) {
        let guard = Some(self.generation);
        let commit = Commit::Batch(batch.clone());
        if let Some(write) = self.writes.get_mut(&request) {
            write.open = true;
            write.stage = Stage::Committing { batch, again };
            self.ask(Purpose::Write(request), Ask::Commit { guard, commit });
        }
    }

    pub(crate) fn write_told(&mut self, now: Time, request: Request, told: Option<Told>) {
        if matches!(told, Some(Told::Fenced)) {
            return self.begin_again(now);
        }
        let Some(write) = self.writes.get_mut(&request) else {
            return;
        };
        let Stage::Committing { batch, again } = &write.stage else {
            return;
        };
        let (batch, again) = (batch.clone(), *again);
        match told {
            Some(Told::Committed(revision)) => write.stage = Stage::Committed { revision },
            Some(Told::Conflict { newest }) if !again => self.conflicted(now, request, newest),
            // A copy that was sent before may be what it conflicts with.
            Some(Told::Conflict { newest }) => self.resolve_at(request, batch, Some(newest), now),
            _ => self.resolve_at(request, batch, None, now),
        }
    }

    fn resolve_at(&mut self, request: Request, batch: B, conflict: Option<Revision>, at: Time) {
        if let Some(write) = self.writes.get_mut(&request) {
            write.stage = Stage::Resolving {
                batch,
                conflict,
                ask_at: Some(at),
            };
        }
    }

    pub(crate) fn resolve_told(&mut self, now: Time, request: Request, told: Option<Told>) {
        let Some(write) = self.writes.get_mut(&request) else {
            return;
        };
        let Stage::Resolving { batch, conflict, .. } = &write.stage else {
            return;
        };
        let (batch, conflict) = (batch.clone(), *conflict);
        match (told, conflict) {
            (Some(Told::Resolved(Some(revision))), _) => write.stage = Stage::Committed { revision },
            (Some(Told::Resolved(None)), Some(newest)) => self.conflicted(now, request, newest),
            (Some(Told::Resolved(None)), None) => self.commit(request, batch, true),
            _ => self.resolve_at(request, batch, conflict, now.after(self.timing.pause)),
        }
    }

    /// Nothing of it was or will be committed: the rules run anew on what it conflicted with.
    fn conflicted(&mut self, now: Time, request: Request, newest: Revision) {
        self.reach.awaits(newest, now);
        let Some(write) = self.writes.get_mut(&request) else {
            return;
        };
        write.open = false;
        write.reruns += 1;
        write.stage = Stage::Applying {
            revision: newest,
            until: None,
        };
        if write.reruns > self.timing.reruns {
            self.finish(request, Answer::Contended);
        }
    }

    /// Goes on with every write that can.
    pub(crate) fn go_on_writing(&mut self, now: Time) {
        let requests: Vec<_> = self.writes.keys().copied().collect();
        for request in requests {
            match self.next(now, request) {
                Next::Wait => {}
                Next::Run => {
                    if let Some(write) = self.writes.get_mut(&request) {
                        write.stage = Stage::Running;
                    }
                    self.out.push(Effect::Run(request));
                }
                Next::Resolve => self.resolve(request),
                Next::Answer(answer) => self.finish(request, answer),
            }
        }
    }

    fn next(&self, now: Time, request: Request) -> Next {
        let Some(write) = self.writes.get(&request) else {
            return Next::Wait;
        };
        let applied = self.reach.applied();
        let next = match write.stage {
            Stage::Applying { revision, .. } if revision <= applied && !self.may_serve(now) => {
                Next::Answer(Answer::Closed)
            }
            Stage::Applying { revision, .. } if revision <= applied => Next::Run,
            Stage::Applying { until: Some(until), .. } if until <= now => Next::Answer(Answer::Behind),
            Stage::Resolving { ask_at: Some(at), .. } if at <= now => Next::Resolve,
            Stage::Committed { revision } if revision <= applied && !self.held_up(revision, write.barrier) => {
                // INV-2 and INV-6: committed, and applied by all who might still use what it ended.
                let seen = self.seen().filter(|_| self.may_serve(now));
                Next::Answer(seen.map_or(Answer::Closed, Answer::Done))
            }
            _ => Next::Wait,
        };
        match next {
            // Another member can find out what became of it.
            Next::Wait if !self.may_serve(now) => Next::Answer(Answer::Closed),
            Next::Wait if write.deadline <= now => Next::Answer(match write.stage {
                Stage::Committed { .. } => Answer::Unknown,
                _ if write.open => Answer::Unknown,
                _ => Answer::Contended,
            }),
            next => next,
        }
    }

    fn held_up(&self, revision: Revision, barrier: Option<Scope>) -> bool {
        barrier.is_some_and(|scope| self.peers.hold_up(self.me, revision, scope, &self.loads))
    }

    fn resolve(&mut self, request: Request) {
        let Some(write) = self.writes.get_mut(&request) else {
            return;
        };
        if let Stage::Resolving { ask_at, .. } = &mut write.stage {
            *ask_at = None;
        }
        let operation = write.operation;
        self.ask(Purpose::Resolve(request), Ask::Resolve(operation));
    }

    fn finish(&mut self, request: Request, answer: Answer) {
        self.writes.remove(&request);
        self.out.push(Effect::Answer(request, answer));
    }
}

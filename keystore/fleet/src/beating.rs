//! Beats: how a node keeps its right to serve, tells others what it has applied, and takes the right from a silent one.
//!
//! Before a beat says that something is applied, the anchor has it on disk: after a restart the node notices a store that has
//! forgotten what others were told it had applied.

use crate::interface::{Ask, Commit, Effect, Phase, Told};
use crate::names::{NodeId, Request, Revision, Time};
use crate::node::{Node, Purpose};
use crate::records::{Anchor, Beat, Standing};

/// The state of the own beat record.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// The version of the record.
    pub(crate) version: u64,
    /// The next beat is due then.
    pub(crate) next: Time,
    /// The newest barrier that was applied: a beat that says so goes out at once.
    pub(crate) urge: Revision,
    /// What the last successful beat said.
    pub(crate) said: Revision,
    /// When the last successful beat was sent.
    pub(crate) right_from: Option<Time>,
    /// Since when the node has had the right without a gap. Before that it may have been its own fault that it heard nothing.
    pub(crate) regained: Time,
    /// When the next version of the record was first sent: it may be in the store since.
    pub(crate) first_sent: Option<Time>,
    /// A beat, or a look at the record, is under way.
    pub(crate) busy: bool,
    /// The record is not as it should be: to be looked at.
    pub(crate) lost: bool,
    pub(crate) anchoring: bool,
    /// What is on disk.
    pub(crate) anchored: Option<Anchor>,
}

impl<B: Clone> Node<B> {
    /// The end of the right to serve: by the *send* time of the last beat that is known to have succeeded.
    pub(crate) fn right_until(&self) -> Option<Time> {
        self.pulse.right_from.map(|sent| sent.after(self.timing.right))
    }

    pub(crate) fn pulse_wakes(&self) -> Option<Time> {
        let waits = self.phase == Phase::Serving && !self.pulse.busy && !self.pulse.anchoring;
        waits.then_some(self.pulse.next)
    }

    /// The anchor for what is applied now.
    pub(crate) fn anchor(&self) -> Option<Anchor> {
        let memory = self.memory.as_ref()?;
        Some(Anchor {
            revision: self.reach.applied(),
            generation: self.generation,
            beat_version: self.pulse.version,
            ..memory.clone()
        })
    }

    pub(crate) fn write_anchor(&mut self) {
        if let Some(anchor) = self.anchor().filter(|_| !self.pulse.anchoring) {
            self.pulse.anchoring = true;
            self.out.push(Effect::Anchor(anchor));
        }
    }

    pub(crate) fn anchored(&mut self, now: Time, anchor: Anchor) {
        self.pulse.anchoring = false;
        let same = |memory: &Anchor| memory.timeline == anchor.timeline;
        if !self.memory.as_ref().is_some_and(same) || anchor.generation != self.generation {
            return;
        }
        self.pulse.anchored = Some(anchor);
        if self.phase == Phase::Serving && !self.pulse.busy && !self.pulse.lost {
            self.send_beat(now);
        }
    }

    pub(crate) fn beat(&mut self, now: Time) {
        let due = now >= self.pulse.next || self.pulse.urge > self.pulse.said;
        if self.phase != Phase::Serving || self.pulse.busy || self.pulse.anchoring || !due {
            return;
        }
        if self.pulse.lost {
            self.pulse.busy = true;
            return self.ask(Purpose::OwnBeat, Ask::Survey);
        }
        // A node whose watch or apply is stuck must fall silent: others wait for what it has applied.
        if self.reach.lag(now) >= self.timing.lag {
            self.pulse.next = self.pulse.next.max(now.after(self.timing.pause));
            return;
        }
        self.write_anchor();
    }

    fn beat_record(&self, applied: Revision) -> Beat {
        Beat {
            applied,
            draining: self.draining,
            level: *self.timing.levels.end(),
        }
    }

    /// The beat with which a node begins to serve: the version that it expects, and the record.
    pub(crate) fn first_beat(&self) -> (u64, Beat) {
        let applied = self.pulse.anchored.as_ref().map(|anchor| anchor.revision);
        (self.pulse.version, self.beat_record(applied.unwrap_or_default()))
    }

    fn send_beat(&mut self, now: Time) {
        let Some(applied) = self.pulse.anchored.as_ref().map(|anchor| anchor.revision) else {
            return;
        };
        self.pulse.busy = true;
        self.pulse.first_sent.get_or_insert(now);
        let commit = Commit::Beat(self.pulse.version, self.beat_record(applied));
        let guard = Some(self.generation);
        self.ask(Purpose::Beat { sent: now, applied }, Ask::Commit { guard, commit });
    }

    pub(crate) fn beat_told(&mut self, now: Time, sent: Time, applied: Revision, told: Option<Told>) {
        self.pulse.busy = false;
        match told {
            Some(Told::Committed(_)) => self.beat_succeeded(now, sent, applied),
            Some(Told::Fenced) => self.begin_again(now),
            // An earlier beat that was thought lost has arrived, or history went backwards.
            Some(_) => self.pulse.lost = true,
            // It may arrive yet. The next one expects the same version, so only one of them can.
            None => self.pulse.next = now.after(self.timing.pause),
        }
    }

    fn beat_succeeded(&mut self, now: Time, sent: Time, applied: Revision) {
        if self.right_until().is_none_or(|until| until <= now) {
            self.pulse.regained = now;
        }
        self.pulse.version += 1;
        self.pulse.first_sent = None;
        self.pulse.said = self.pulse.said.max(applied);
        self.pulse.right_from = self.pulse.right_from.max(Some(sent));
        self.pulse.next = sent.after(self.timing.beat_every);
    }

    pub(crate) fn own_beat_told(&mut self, now: Time, known: Option<&Anchor>, at: Revision, told: Option<Told>) {
        self.pulse.busy = false;
        let Some(Told::Survey(survey)) = told else {
            self.pulse.next = now.after(self.timing.pause);
            return;
        };
        if !self.holds_history(now, known, &survey, at) {
            return;
        }
        let own = survey.node(self.me).map(|own| (own.generation, own.beat_version));
        match (own, self.pulse.first_sent) {
            (Some((generation, version)), first_sent) if generation == self.generation => {
                // Nobody else writes this record. What was sent first is what counts: it is the earliest that may have arrived.
                if let (true, Some(sent)) = (version == self.pulse.version + 1, first_sent) {
                    self.beat_succeeded(now, sent, Revision(0));
                }
                self.pulse.version = version;
                self.pulse.lost = false;
            }
            _ => self.begin_again(now),
        }
    }

    /// Closes the generations of nodes that have been silent for too long. All who see it try; one succeeds.
    pub(crate) fn fence(&mut self, now: Time) {
        if !self.may_serve(now) {
            return;
        }
        for silent in self
            .peers
            .silent(self.me, self.pulse.regained, now, self.timing.fence_after)
        {
            self.peers
                .tried_to_fence(silent.node, now.after(self.timing.beat_every));
            self.close(Purpose::Fence, silent.node, Standing::Fenced { by: self.me });
        }
    }

    /// [`crate::Input::Remove`].
    pub(crate) fn remove(&mut self, now: Time, request: Request, node: NodeId) {
        let gone = |standing| matches!(standing, Standing::Left | Standing::Fenced { .. });
        if !self.may_serve(now) {
            self.out.push(Effect::Answer(request, crate::Answer::Closed));
        } else if self.peers.get(node).is_some_and(|records| gone(records.standing)) {
            self.close(Purpose::Remove(request), node, Standing::Removed);
        } else {
            self.out.push(Effect::Answer(request, crate::Answer::Contended));
        }
    }

    fn close(&mut self, purpose: Purpose, node: NodeId, standing: Standing) {
        let Some(records) = self.peers.get(node) else {
            return;
        };
        let (generation, beat_version) = (records.generation, records.beat_version);
        let commit = Commit::Close {
            node,
            generation,
            beat_version,
            standing,
        };
        let guard = Some(self.generation);
        self.ask(purpose, Ask::Commit { guard, commit });
    }
}

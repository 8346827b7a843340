//! One node: its state, and how an input becomes effects. What it does in each part of its life is in the modules beside this one.
//!
//! Every input changes what is known, and then `advance` does whatever that makes possible: there are no timers to cancel and no
//! transitions to forget. A node that is handed the same inputs at the same times has the same effects.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::beating::Pulse;
use crate::gate::{Gate, Right};
use crate::history::Backwards;
use crate::interface::{Answer, Ask, Change, Effect, Event, Input, Phase, Raised, Told, WatchLost};
use crate::loads::Loads;
use crate::names::{Call, Generation, NodeId, Request, Revision, Time, Timeline};
use crate::peers::Peers;
use crate::reach::Reach;
use crate::records::{Anchor, NodeRecords, Root};
use crate::timing::Timing;
use crate::waiting::Waiting;
use crate::writing::InFlight;

/// The fleet's part of a daemon.
#[derive(Debug)]
pub struct Node<B> {
    pub(crate) me: NodeId,
    /// When the last input came.
    now: Time,
    pub(crate) timing: Timing,
    pub(crate) phase: Phase,
    pub(crate) gate: Arc<Gate>,
    /// What the store has forgotten if it does not have it. `None`: this node was never in a fleet.
    pub(crate) memory: Option<Anchor>,
    pub(crate) root: Option<(u64, Root)>,
    pub(crate) generation: Generation,
    /// The revision of the standing with which the node began to serve: it serves once it has applied that.
    pub(crate) risen: Revision,
    pub(crate) pulse: Pulse,
    pub(crate) reach: Reach,
    pub(crate) peers: Peers,
    pub(crate) loads: Loads,
    pub(crate) draining: bool,
    pub(crate) accepting: Option<Timeline>,
    pub(crate) step: Step,
    pub(crate) watch: Watching,
    pub(crate) watch_began: Time,
    pub(crate) writes: BTreeMap<Request, InFlight<B>>,
    pub(crate) waits: BTreeMap<Request, Waiting>,
    calls: BTreeMap<Call, Asked>,
    last_call: u64,
    pub(crate) out: Vec<Effect<B>>,
}

/// The question that the phase waits for.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) asked: bool,
    pub(crate) not_before: Time,
}

/// The watch, or how it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watching {
    /// It runs, or the phase needs none.
    Fine,
    /// To be begun anew: after a look whether the store's history is still the same.
    Broken { not_before: Time },
    /// To be replaced by loading everything.
    Compacted { not_before: Time },
    /// One of the two is being asked.
    Asked { compacted: bool },
}

#[derive(Debug)]
struct Asked {
    purpose: Purpose,
    /// Its answer would replace what is applied.
    load: bool,
    /// What was known when the question was put. An answer that knows less is one from another history; but it may well know less
    /// than the node does when it arrives.
    known: Known,
}

/// What a node knew of the store at one moment.
#[derive(Clone, Debug)]
struct Known {
    revision: Revision,
    memory: Option<Anchor>,
}

/// What a question was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To go on with the phase.
    Step,
    /// To keep the right to serve.
    Beat { sent: Time, applied: Revision },
    /// To see where the own beat stands.
    OwnBeat,
    /// To have a watch again.
    Watch,
    /// To close a silent node's generation.
    Fence,
    /// A write's batch.
    Write(Request),
    /// What became of a write's batch.
    Resolve(Request),
    /// Whether a read is behind.
    Head(Request),
    /// To remove a node.
    Remove(Request),
    /// To raise the fleet's format level to this one.
    Raise(Request, u32),
    /// Of an earlier life.
    Nothing,
}

impl<B: Clone> Node<B> {
    /// A node that is about to look at the store. `anchor`: what its file says; `None` on a new machine.
    #[must_use]
    pub fn new(me: NodeId, timing: Timing, anchor: Option<Anchor>) -> Self {
        Self {
            me,
            now: Time(0),
            timing,
            phase: Phase::Looking,
            gate: Arc::default(),
            memory: anchor,
            root: None,
            generation: Generation(0),
            risen: Revision(0),
            pulse: Pulse::default(),
            reach: Reach::default(),
            peers: Peers::default(),
            loads: Loads::default(),
            draining: false,
            accepting: None,
            step: Step::default(),
            watch: Watching::Fine,
            watch_began: Time(0),
            writes: BTreeMap::new(),
            waits: BTreeMap::new(),
            calls: BTreeMap::new(),
            last_call: 0,
            out: Vec::new(),
        }
    }

    /// What requests ask before they work and before they reply.
    #[must_use]
    pub fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate)
    }

    /// Which node this is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.me
    }

    /// What the node is at.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Everything up to here is applied.
    #[must_use]
    pub fn applied(&self) -> Revision {
        self.reach.applied()
    }

    /// This node's generation: what its batches are guarded by.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The records of all nodes, as far as this one knows: for status, and for PIN tries whose node is gone.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeRecords> {
        self.peers.records()
    }

    /// The generation of a node, as far as this one knows.
    #[must_use]
    pub fn generation_of(&self, node: NodeId) -> Generation {
        self.peers.get(node).map_or(Generation(0), |records| records.generation)
    }

    /// Takes an input; returns what is to be done, in this order. `now` never goes back.
    pub fn handle(&mut self, now: Time, input: Input<B>) -> Vec<Effect<B>> {
        self.now = now;
        match input {
            Input::Tick => {}
            Input::Told { call, at, told } => self.told(now, call, at, told),
            Input::Silent { call } => {
                if let Some(asked) = self.calls.remove(&call) {
                    self.answered(now, &asked, Revision(0), None);
                }
            }
            Input::Watched(event) => self.watched(now, event),
            Input::WatchLost(lost) => self.watch_lost(now, lost),
            Input::Anchored(anchor) => self.anchored(now, anchor),
            Input::Write(write) => self.write(now, write),
            Input::Ran { request, ran } => self.ran(now, request, ran),
            Input::Wait { request, seen, key_set } => self.wait(now, request, seen, key_set),
            Input::Drain => self.drain(),
            Input::Accept { timeline } => self.accept(now, timeline),
            Input::Remove { request, node } => self.remove(now, request, node),
            Input::Raise { request, level } => self.raise(now, request, level),
        }
        self.advance(now);
        std::mem::take(&mut self.out)
    }

    /// When a [`Input::Tick`] is wanted at the latest. Ticks at other times do no harm.
    #[must_use]
    pub fn wake_at(&self) -> Option<Time> {
        let mut times = vec![self.phase_wakes(), self.pulse_wakes(), self.watch_wakes()];
        // Without the right nobody fences, and the beat that brings it back wakes the node.
        if self.may_serve(self.now) {
            let span = self.timing.fence_after;
            times.push(self.peers.next_silent(self.me, self.pulse.regained, span));
        }
        if !self.writes.is_empty() {
            times.push(self.right_until());
        }
        times.extend(self.writes.values().map(InFlight::wakes).map(Some));
        times.extend(self.waits.values().map(Waiting::wakes));
        times.into_iter().flatten().min()
    }

    /// Does whatever can be done now.
    fn advance(&mut self, now: Time) {
        self.go_on(now);
        self.rewatch(now);
        self.beat(now);
        self.fence(now);
        self.go_on_writing(now);
        self.go_on_waiting(now);
        self.publish();
    }

    /// Asks the store.
    pub(crate) fn ask(&mut self, purpose: Purpose, ask: Ask<B>) {
        let load = matches!(ask, Ask::Load);
        if load {
            self.forget_loads();
        }
        self.last_call += 1;
        let call = Call(self.last_call);
        let known = self.known();
        self.calls.insert(call, Asked { purpose, load, known });
        self.out.push(Effect::Ask { call, ask });
    }

    /// What an earlier load may still bring is older than what the next one will, or of another life.
    fn forget_loads(&mut self) {
        let loads: Vec<_> = self.calls.extract_if(.., |_, asked| asked.load).collect();
        let forgotten = loads.into_iter().map(|(call, _)| Effect::Forget { call });
        self.out.extend(forgotten);
    }

    fn told(&mut self, now: Time, call: Call, at: Revision, told: Told) {
        let Some(asked) = self.calls.remove(&call) else {
            return;
        };
        // INV-7: an answer is at least as new as what was known when the question was put, and a commit is newer.
        let known = asked.known.revision;
        let backwards = match told {
            Told::Committed(revision) => revision <= known,
            _ => at < known,
        };
        if backwards && asked.purpose != Purpose::Nothing && !matches!(self.phase, Phase::Suspect(_)) {
            return self.suspect(now, Backwards::Revision { known, now: at });
        }
        if asked.purpose != Purpose::Nothing {
            self.reach.heard(at);
        }
        if let Told::Committed(revision) = told {
            self.reach.awaits(revision, now);
        }
        self.answered(now, &asked, at, Some(told));
    }

    /// What the store must not be behind from now on.
    fn known(&self) -> Known {
        let revision = self.reach.highest();
        let memory = self.memory.as_ref().map(|memory| Anchor {
            revision: memory.revision.max(revision),
            generation: memory.generation.max(self.generation),
            beat_version: memory.beat_version.max(self.pulse.version),
            ..memory.clone()
        });
        Known { revision, memory }
    }

    /// `None`: no answer came.
    fn answered(&mut self, now: Time, asked: &Asked, at: Revision, told: Option<Told>) {
        let known = asked.known.memory.as_ref();
        match asked.purpose {
            Purpose::Step => self.stepped(now, known, at, told),
            Purpose::Beat { sent, applied } => self.beat_told(now, sent, applied, told),
            Purpose::OwnBeat => self.own_beat_told(now, known, at, told),
            Purpose::Watch => self.watch_told(now, known, at, told),
            Purpose::Write(request) => self.write_told(now, request, told),
            Purpose::Resolve(request) => self.resolve_told(now, request, told),
            Purpose::Head(request) => self.head_told(request, told),
            Purpose::Remove(request) => {
                let answer = match told {
                    Some(Told::Committed(_)) => self.seen().map_or(Answer::Closed, Answer::Done),
                    Some(_) => Answer::Contended,
                    None => Answer::Unknown,
                };
                self.out.push(Effect::Answer(request, answer));
            }
            Purpose::Raise(request, level) => self.raise_told(request, level, told.as_ref()),
            Purpose::Fence | Purpose::Nothing => {}
        }
    }

    fn watched(&mut self, now: Time, event: Event) {
        // What an earlier life's watch still brings may be of another history.
        if !self.has_watch() || event.revision <= self.reach.applied() {
            return;
        }
        self.reach.apply(event.revision);
        if event.barrier {
            self.pulse.urge = self.pulse.urge.max(event.revision);
        }
        for change in event.changes {
            match change {
                Change::Standing(node, generation, standing) => {
                    self.peers.standing(node, generation, standing, now);
                    // While it serves a node changes its own standing only to leave: this was another.
                    if node == self.me && self.phase == Phase::Serving && generation > self.generation {
                        self.begin_again(now);
                    }
                }
                Change::Beat(node, version, beat) => self.peers.beat(node, version, beat, now),
                Change::Root(version, root) => self.root_changed(now, version, root),
                Change::Loads(key_set, node) => self.loads.begin(key_set, node),
                Change::Unloads(key_set, node) => self.loads.end(key_set, node, event.revision),
            }
        }
    }

    fn watch_lost(&mut self, now: Time, lost: WatchLost) {
        if !self.has_watch() {
            return;
        }
        match lost {
            WatchLost::Broken => {
                let not_before = now.after(self.timing.pause);
                self.watch = Watching::Broken { not_before };
            }
            WatchLost::Compacted => self.watch = Watching::Compacted { not_before: now },
            WatchLost::Ahead(at) => {
                let known = self.reach.applied();
                self.suspect(now, Backwards::Revision { known, now: at });
            }
        }
    }

    /// Publishes the right to serve, or that there is none.
    fn publish(&self) {
        let (Some((_, root)), Some(until)) = (&self.root, self.right_until()) else {
            return self.gate.close();
        };
        if self.phase != Phase::Serving || self.reach.applied() < self.risen {
            return self.gate.close();
        }
        let behind = self.reach.behind_since();
        self.gate.open(Right {
            until,
            fresh_until: behind.map_or(Time(u64::MAX), |since| since.after(self.timing.patience)),
            draining: self.draining,
            generation: self.generation,
            timeline: root.timeline,
            applied: self.reach.applied(),
        });
    }

    /// Whether a write may begin, go on or be answered now.
    pub(crate) fn may_serve(&self, now: Time) -> bool {
        let risen = self.phase == Phase::Serving && self.reach.applied() >= self.risen;
        risen && self.right_until().is_some_and(|until| now < until)
    }

    pub(crate) fn become_phase(&mut self, phase: Phase) {
        self.phase = phase;
        self.step = Step::default();
        self.out.push(Effect::Became(phase));
    }

    /// Answers that are still to come mean nothing any more.
    pub(crate) fn forget_calls(&mut self) {
        self.forget_loads();
        for asked in self.calls.values_mut() {
            match std::mem::replace(&mut asked.purpose, Purpose::Nothing) {
                Purpose::Remove(request) => self.out.push(Effect::Answer(request, Answer::Unknown)),
                Purpose::Raise(request, _) => self.out.push(Effect::Raised(request, Raised::Unknown)),
                _ => {}
            }
        }
    }
}

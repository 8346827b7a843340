//! How a node gets into the fleet, out of it, and what it does when the store has forgotten something.
//!
//! `Looking -> Entering -> Loading -> Rising -> Serving`; a node that was fenced, or whose fleet began a new timeline, begins
//! again. Its standing is *Loading* before it reads anything, so that no batch of its earlier life can be committed any
//! more; barriers do not wait for it. Its standing is *Serving* before it serves, and it serves only when it has applied that
//! revision: whoever committed a barrier before it did not have to wait, whoever commits one after it does.

use crate::beating::Pulse;
use crate::history::{Backwards, Continuity, compare};
use crate::interface::{Answer, Ask, AtRoot, Commit, Effect, Phase, Told};
use crate::names::{Revision, Time, Timeline};
use crate::node::{Node, Purpose, Watching};
use crate::reach::Reach;
use crate::records::{Anchor, Root, Standing, Survey};

impl<B: Clone> Node<B> {
    pub(crate) fn phase_wakes(&self) -> Option<Time> {
        let resting = matches!(self.phase, Phase::Serving | Phase::Left | Phase::Removed);
        let waits = self.step.asked || self.pulse.anchoring;
        (!resting && !waits).then_some(self.step.not_before)
    }

    pub(crate) fn watch_wakes(&self) -> Option<Time> {
        let silent = self.timing.beat_every;
        match self.watch {
            Watching::Broken { not_before } | Watching::Compacted { not_before } => Some(not_before),
            Watching::Fine if !self.has_watch() => None,
            Watching::Fine => {
                let since = self.reach.behind_since()?;
                Some(since.max(self.watch_began).after(silent))
            }
            Watching::Asked { .. } => None,
        }
    }

    /// Asks what the phase needs next.
    pub(crate) fn go_on(&mut self, now: Time) {
        if self.phase == Phase::Serving && self.draining && self.writes.is_empty() && self.waits.is_empty() {
            self.forget_calls();
            self.become_phase(Phase::Leaving);
        }
        if self.step.asked || now < self.step.not_before {
            return;
        }
        let stand = |standing, beat, root| Ask::Commit {
            guard: Some(self.generation),
            commit: Commit::Stand { standing, beat, root },
        };
        let ask = match self.phase {
            Phase::Serving | Phase::Left | Phase::Removed => return,
            Phase::Looking | Phase::NoFleet | Phase::WrongLevel(_) | Phase::Suspect(_) => Ask::Survey,
            Phase::Entering => stand(Standing::Loading, None, self.root_to_enter()),
            Phase::Loading => Ask::Load,
            Phase::Rising if self.pulse.anchored.is_none() => return self.write_anchor(),
            Phase::Rising => {
                // The right to serve counts from here.
                self.pulse.first_sent = Some(now);
                stand(Standing::Serving, Some(self.first_beat()), self.root_to_serve())
            }
            Phase::Leaving => stand(Standing::Left, None, AtRoot::Any),
        };
        self.step.asked = true;
        self.ask(Purpose::Step, ask);
    }

    pub(crate) fn stepped(&mut self, now: Time, known: Option<&Anchor>, at: Revision, told: Option<Told>) {
        self.step.asked = false;
        self.step.not_before = now.after(self.timing.pause);
        match (self.phase, told) {
            (Phase::Looking | Phase::NoFleet | Phase::WrongLevel(_), Some(Told::Survey(survey))) => {
                self.looked(now, known, at, survey);
            }
            (Phase::Suspect(_), Some(Told::Survey(survey))) => self.look_as_suspect(now, at, &survey),
            (Phase::Entering, Some(Told::Committed(_))) => {
                self.generation.0 += 1;
                self.become_phase(Phase::Loading);
            }
            (Phase::Loading, Some(Told::Survey(survey))) if self.load(now, known, at, &survey) => {
                self.become_phase(Phase::Rising);
            }
            (Phase::Rising, Some(Told::Committed(revision))) => self.rise(now, revision),
            (Phase::Leaving, Some(Told::Committed(_) | Told::Fenced)) => self.become_phase(Phase::Left),
            // Whether it was committed or not, looking again tells; the next standing closes this generation, too.
            (Phase::Entering | Phase::Rising, _) => {
                self.become_phase(Phase::Looking);
                self.step.not_before = now.after(self.timing.pause);
            }
            _ => {}
        }
    }

    fn looked(&mut self, now: Time, known: Option<&Anchor>, at: Revision, survey: Survey) {
        let Some((version, root)) = survey.root.clone() else {
            return self.rest_as(now, Phase::NoFleet);
        };
        match compare(self.me, known, &survey, at) {
            Err(why) => return self.suspect(now, why),
            Ok(Continuity::Successor) => self.memory = None,
            Ok(Continuity::Same) => {}
        }
        if !self.knows(root.level) {
            return self.rest_as(now, Phase::WrongLevel(root.level));
        }
        let own = survey.node(self.me);
        if own.is_some_and(|own| own.standing == Standing::Removed) {
            return self.become_phase(Phase::Removed);
        }
        self.generation = own.map_or_else(Default::default, |own| own.generation);
        self.pulse = Pulse {
            version: own.map_or(0, |own| own.beat_version),
            ..Pulse::default()
        };
        self.memory = Some(Anchor {
            timeline: root.timeline,
            cluster: survey.cluster,
            revision: at,
            generation: self.generation,
            beat_version: self.pulse.version,
        });
        self.root = Some((version, root));
        self.peers.replace(&survey, now);
        self.become_phase(Phase::Entering);
    }

    /// Stays outside and looks again later.
    pub(crate) fn rest_as(&mut self, now: Time, phase: Phase) {
        if self.phase != phase {
            self.become_phase(phase);
        }
        self.step.not_before = now.after(self.timing.beat_every);
    }

    /// Takes what was loaded. False: it is of another life, or another history.
    fn load(&mut self, now: Time, known: Option<&Anchor>, at: Revision, survey: &Survey) -> bool {
        if !self.holds_history(now, known, survey, at) {
            return false;
        }
        let own = survey.node(self.me);
        if own.is_none_or(|own| own.generation != self.generation) {
            self.begin_again(now);
            return false;
        }
        if let Some(level) = survey.root.as_ref().map(|(_, root)| root.level)
            && !self.knows(level)
        {
            self.rest_at_level(now, level);
            return false;
        }
        self.root.clone_from(&survey.root);
        self.peers.replace(survey, now);
        self.loads.replace(&survey.loads, at);
        self.reach.apply(at);
        self.begin_watch(now, at);
        true
    }

    fn rise(&mut self, now: Time, revision: Revision) {
        self.generation.0 += 1;
        self.risen = revision;
        self.pulse.version += 1;
        let sent = self.pulse.first_sent.take();
        self.pulse.right_from = sent;
        self.pulse.regained = now;
        self.pulse.next = sent.unwrap_or_default().after(self.timing.beat_every);
        self.become_phase(Phase::Serving);
    }

    /// Whether the store's history goes on from what the node knew when it asked, on the same timeline; else the node acts on it.
    pub(crate) fn holds_history(&mut self, now: Time, known: Option<&Anchor>, survey: &Survey, at: Revision) -> bool {
        match compare(self.me, known, survey, at) {
            Ok(Continuity::Same) => true,
            Ok(Continuity::Successor) => {
                self.begin_again(now);
                false
            }
            Err(why) => {
                self.suspect(now, why);
                false
            }
        }
    }

    pub(crate) fn root_changed(&mut self, now: Time, version: u64, root: Root) {
        let timeline = self.root.as_ref().map(|(_, root)| root.timeline);
        if let Some(by) = root.suspected_by {
            self.suspect(now, Backwards::Marked { by });
        } else if timeline.is_some_and(|timeline| timeline != root.timeline) {
            self.begin_again(now);
        } else if !self.knows(root.level) && self.phase != Phase::Leaving {
            self.rest_at_level(now, root.level);
        } else {
            self.root = Some((version, root));
        }
    }

    /// Has a watch again.
    pub(crate) fn rewatch(&mut self, now: Time) {
        // A watch can die without a word. What it should have brought is known from the node's own commits, beats above all.
        let silent = self.timing.beat_every;
        let due = self.reach.lag(now) >= silent && now >= self.watch_began.after(silent);
        if self.watch == Watching::Fine && self.has_watch() && due {
            self.watch = Watching::Broken { not_before: now };
        }
        let compacted = match self.watch {
            Watching::Broken { not_before } if now >= not_before => false,
            Watching::Compacted { not_before } if now >= not_before => true,
            _ => return,
        };
        self.watch = Watching::Asked { compacted };
        self.ask(Purpose::Watch, if compacted { Ask::Load } else { Ask::Survey });
    }

    /// A survey after a broken watch, or everything after one that came too late: the phase stays.
    pub(crate) fn watch_told(&mut self, now: Time, known: Option<&Anchor>, at: Revision, told: Option<Told>) {
        let not_before = now.after(self.timing.pause);
        let compacted = self.watch == Watching::Asked { compacted: true };
        match told {
            Some(Told::Survey(survey)) if compacted => {
                self.load(now, known, at, &survey);
            }
            Some(Told::Survey(survey)) => {
                if self.holds_history(now, known, &survey, at) {
                    self.begin_watch(now, self.reach.applied());
                }
            }
            _ if compacted => self.watch = Watching::Compacted { not_before },
            _ => self.watch = Watching::Broken { not_before },
        }
    }

    /// The phases in which there is one.
    pub(crate) fn has_watch(&self) -> bool {
        matches!(self.phase, Phase::Rising | Phase::Serving | Phase::Leaving)
    }

    fn begin_watch(&mut self, now: Time, after: Revision) {
        self.watch = Watching::Fine;
        self.watch_began = now;
        self.out.push(Effect::Watch { after });
    }

    /// The life that this node had in the fleet is over: nothing that it knows counts. It looks again.
    pub(crate) fn begin_again(&mut self, now: Time) {
        self.stop_serving();
        self.become_phase(Phase::Looking);
        self.step.not_before = now;
    }

    /// INV-7: the store has forgotten something. Nothing is served until an operator has decided.
    pub(crate) fn suspect(&mut self, now: Time, why: Backwards) {
        if !matches!(self.phase, Phase::Suspect(_) | Phase::Left | Phase::Removed) {
            self.stop_serving();
            self.become_phase(Phase::Suspect(why));
            self.step.not_before = now;
        }
    }

    pub(crate) fn stop_serving(&mut self) {
        self.gate.close();
        // What the store said last is remembered, whatever becomes of it.
        if let Some(memory) = &mut self.memory {
            memory.generation = memory.generation.max(self.generation);
            memory.beat_version = memory.beat_version.max(self.pulse.version);
            memory.revision = memory.revision.max(self.reach.highest());
        }
        self.pulse = Pulse::default();
        self.reach = Reach::default();
        self.watch = Watching::Fine;
        self.forget_calls();
        for (request, _) in std::mem::take(&mut self.writes) {
            self.out.push(Effect::Answer(request, Answer::Closed));
        }
        for (request, _) in std::mem::take(&mut self.waits) {
            self.out.push(Effect::Proceed(request, false));
        }
    }

    /// Without the others' knowing, those that remember less than this node would go on. So it says it where all see it.
    fn look_as_suspect(&mut self, now: Time, at: Revision, survey: &Survey) {
        let Some((version, root)) = &survey.root else {
            return;
        };
        let followed = matches!(
            compare(self.me, self.memory.as_ref(), survey, at),
            Ok(Continuity::Successor)
        );
        if self.accepting == Some(root.timeline) || (followed && self.accepting.is_none()) {
            self.accepting = None;
            return self.begin_again(now);
        }
        let next = match self.accepting {
            Some(timeline) => self.successor(root, timeline),
            None if root.suspected_by.is_none() => Root {
                suspected_by: Some(self.me),
                ..root.clone()
            },
            None => {
                self.step.not_before = now.after(self.timing.beat_every);
                return;
            }
        };
        let commit = Commit::Root(*version, next);
        self.step.asked = true;
        self.ask(Purpose::Step, Ask::Commit { guard: None, commit });
    }

    /// The root record of a new timeline that follows whatever was.
    fn successor(&self, root: &Root, timeline: Timeline) -> Root {
        let mut previous = root.previous.clone();
        let known = self.memory.as_ref().map(|memory| memory.timeline);
        for ended in [Some(root.timeline), known].into_iter().flatten() {
            if !previous.contains(&ended) {
                previous.push(ended);
            }
        }
        Root {
            timeline,
            previous,
            suspected_by: None,
            level: root.level,
        }
    }

    /// [`crate::Input::Accept`].
    pub(crate) fn accept(&mut self, now: Time, timeline: Timeline) {
        if matches!(self.phase, Phase::Suspect(_)) {
            self.accepting = Some(timeline);
            self.step.not_before = now;
        }
    }

    /// [`crate::Input::Drain`].
    pub(crate) fn drain(&mut self) {
        self.draining = true;
        self.pulse.next = Time(0);
        if matches!(self.phase, Phase::Looking | Phase::NoFleet | Phase::WrongLevel(_)) {
            self.become_phase(Phase::Left);
        }
    }
}

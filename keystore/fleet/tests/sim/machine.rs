//! One daemon in the simulator: a clock of its own rate, an anchor on its disk, and a process that drives the core.
//!
//! The driver's part is what the daemon's will be: it turns effects into messages, keeps requests while the core decides, runs the
//! rules, and asks the gate before the work and before the reply.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use hsmd_fleet::tries::Verdict;
use hsmd_fleet::{
    Anchor, Answer, Ask, Change, Commit, Effect, Entry, Event, Generation, Input, KeySetId, Node, NodeId, OperationId,
    Pass, Phase, Raised, Ran, Request, Revision, Seen, Time, Timing, Told, Write,
};

use super::app::{Call, Decision, Me, Op, Said, State};
use super::store::{Batch, Committed, Key, Records, Value, apply};

/// A mistake that the checker must find: made by the driver, so that the core has no switch for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Batches are not compared with the generation, and nobody asks for the right to serve.
    NoFencing,
    /// A write is answered when it is sent to the store.
    AcknowledgesEarly,
    /// The gate is asked before the work only.
    NoCheckBeforeReply,
    /// Nobody waits until others have applied a destroy.
    NoBarriers,
    /// The anchor is lost with each restart.
    NoAnchor,
    /// An unknown outcome is taken for a conflict, and the rules run again.
    RetriesBlindly,
    /// A raise of the format level, and the batch by which a node begins to serve, compare nothing of each other.
    RaisesBlindly,
    /// What was loaded late replaces what is there.
    LoadsLate,
}

/// A machine.
pub(crate) struct Machine {
    pub(crate) id: NodeId,
    /// Its clock's microseconds for a million of the world's.
    pub(crate) rate: u64,
    offset: u64,
    pub(crate) anchor: Option<Anchor>,
    pub(crate) process: Option<Process>,
    /// Counts processes: messages to an earlier one are lost.
    pub(crate) run: u64,
    /// Stopped (SIGSTOP) until then.
    pub(crate) stopped_until: u64,
    /// Cut from the store until then.
    pub(crate) cut_until: u64,
    /// Cut from the clients until then.
    pub(crate) hidden_until: u64,
    /// The number of its watch; what an earlier one brings is lost.
    pub(crate) watch: u64,
    /// Its watch brings nothing any more, and nobody says so.
    pub(crate) watch_dead: bool,
    /// Its watch is this slow.
    pub(crate) watch_delay: u64,
    /// When the last event that is on its way arrives.
    pub(crate) watch_last: u64,
    /// It is left out at the end: removed or drained.
    pub(crate) retired: bool,
    /// The format levels that its program knows.
    pub(crate) levels: RangeInclusive<u32>,
}

/// What runs.
pub(crate) struct Process {
    pub(crate) node: Node<Batch>,
    pub(crate) state: State,
    pub(crate) jobs: BTreeMap<Request, Job>,
    /// Questions that are not answered; whether each is a write's batch.
    pub(crate) open: BTreeMap<u64, bool>,
    /// The next tick is on its way for then.
    pub(crate) tick_at: u64,
    /// The last tick, and how many there were in its millisecond.
    pub(crate) ticks: (u64, u32),
    last_request: u64,
}

/// A request that the process is at.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) call: Call,
    pub(crate) from: Origin,
    pub(crate) part: Part,
    /// What the client is told when the core says so.
    pub(crate) said: Said,
    pub(crate) seen: Option<Seen>,
    /// How often a login has looked for room.
    pub(crate) rounds: u32,
}

/// Whom to answer, and since when it waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) client: usize,
    pub(crate) attempt: u64,
    pub(crate) sent: u64,
}

/// Which part of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    /// A read that waits at the core, or works.
    Read,
    /// A write; for a login, its place.
    Write,
    /// The PIN is being checked.
    Check(KeySetId, Pass),
    /// The verdict is being written.
    Verdict(KeySetId, Verdict),
}

/// What the machine wants of the world.
pub(crate) enum Action {
    Ask(u64, Ask<Batch>),
    Watch(Revision),
    Anchor(Anchor),
    /// The rules have run; the answer takes a moment to reach the core.
    Ran(Request, Ran<Batch>),
    /// A read works.
    Work(Request, Pass),
    /// A PIN is checked.
    Check(Request),
    Reply(Origin, Call, Said, Option<Seen>),
    /// A login waits for room.
    Later(Request),
    /// For the trace.
    Became(Phase),
    /// The operator is told what became of a raise.
    Raised(Raised),
}

/// The levels that a program knows, and its next release.
pub(crate) const OLD: RangeInclusive<u32> = 1..=1;
pub(crate) const NEW: RangeInclusive<u32> = 1..=2;

impl Machine {
    pub(crate) fn new(id: NodeId, rate: u64, offset: u64) -> Self {
        Self {
            id,
            rate,
            offset,
            anchor: None,
            process: None,
            run: 0,
            stopped_until: 0,
            cut_until: 0,
            hidden_until: 0,
            watch: 0,
            watch_dead: true,
            watch_delay: 0,
            watch_last: 0,
            retired: false,
            levels: OLD,
        }
    }

    /// Its boot clock.
    pub(crate) fn clock(&self, now: u64) -> Time {
        Time(self.offset + (u128::from(now) * u128::from(self.rate) / 1_000_000) as u64)
    }

    /// When its clock will show this, in the world's time.
    pub(crate) fn when(&self, time: Time) -> u64 {
        (u128::from(time.0.saturating_sub(self.offset)) * 1_000_000 / u128::from(self.rate)) as u64 + 1
    }

    pub(crate) fn start(&mut self, mutant: Option<Mutant>) {
        self.run += 1;
        self.watch_dead = true;
        let anchor = self.anchor.clone().filter(|_| mutant != Some(Mutant::NoAnchor));
        let timing = Timing {
            levels: self.levels.clone(),
            ..Timing::default()
        };
        self.process = Some(Process {
            node: Node::new(self.id, timing, anchor),
            state: State::default(),
            jobs: BTreeMap::new(),
            open: BTreeMap::new(),
            tick_at: u64::MAX,
            ticks: (0, 0),
            last_request: 0,
        });
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.node.phase() == Phase::Serving)
    }
}

impl Process {
    /// Hands the core an input and does what it says; what it needs the world for is returned.
    pub(crate) fn drive(&mut self, now: Time, input: Input<Batch>, mutant: Option<Mutant>) -> Vec<Action> {
        let mut actions = Vec::new();
        let effects = self.node.handle(now, input);
        for effect in effects {
            self.effect(now, effect, mutant, &mut actions);
        }
        actions
    }

    fn effect(&mut self, now: Time, effect: Effect<Batch>, mutant: Option<Mutant>, actions: &mut Vec<Action>) {
        match effect {
            Effect::Ask { call, ask } => {
                let batch = matches!(
                    &ask,
                    Ask::Commit {
                        commit: Commit::Batch(_),
                        ..
                    }
                );
                self.open.insert(call.0, batch);
                actions.push(Action::Ask(call.0, ask));
            }
            Effect::Forget { call } if mutant != Some(Mutant::LoadsLate) => {
                self.open.remove(&call.0);
            }
            Effect::Forget { .. } => {}
            Effect::Raised(_, raised) => actions.push(Action::Raised(raised)),
            Effect::Watch { after } => actions.push(Action::Watch(after)),
            Effect::Anchor(anchor) => actions.push(Action::Anchor(anchor)),
            Effect::Run(request) => self.run_rules(request, mutant, actions),
            Effect::Answer(request, answer) => self.answered(now, request, answer, mutant, actions),
            Effect::Proceed(request, go) => {
                let pass = self.node.gate().pass();
                match self.jobs.get(&request) {
                    Some(_) if go => actions.push(Action::Work(request, pass)),
                    Some(_) => self.reply(request, Said::Elsewhere, None, actions),
                    None => {}
                }
            }
            Effect::Became(phase) => actions.push(Action::Became(phase)),
        }
    }

    /// A client's request.
    pub(crate) fn receive(&mut self, now: Time, mut job: Job, patience: Time, mutant: Option<Mutant>) -> Vec<Action> {
        self.last_request += 1;
        let request = Request(self.last_request);
        if job.part == Part::Read && !job.call.op.is_read() {
            job.part = Part::Write;
        }
        let (seen, call) = (job.seen, job.call);
        self.jobs.insert(request, job);
        let mut actions = Vec::new();
        if !call.op.is_read() {
            let write = Write {
                request,
                operation: call.operation,
                seen,
                deadline: patience,
            };
            return self.drive(now, Input::Write(write), mutant);
        }
        match self.node.gate().enter(now, seen) {
            Entry::Go(pass) => actions.push(Action::Work(request, pass)),
            Entry::Wait => {
                let key_set = self.state.set_of(call.partition).unwrap_or(KeySetId(0));
                if let Some(seen) = seen {
                    return self.drive(now, Input::Wait { request, seen, key_set }, mutant);
                }
            }
            Entry::Closed if mutant == Some(Mutant::NoFencing) && self.node.phase() == Phase::Serving => {
                actions.push(Action::Work(request, self.node.gate().pass()));
            }
            Entry::Behind | Entry::Closed | Entry::Draining => self.reply(request, Said::Elsewhere, None, &mut actions),
        }
        actions
    }

    /// A read's work: on what is applied now.
    pub(crate) fn work(&mut self, request: Request) {
        let said = self.jobs.get(&request).map(|job| self.rules(&job.call).said);
        if let (Some(job), Some(said)) = (self.jobs.get_mut(&request), said) {
            job.said = said;
        }
    }

    /// A read's reply, if it may leave.
    pub(crate) fn worked(&mut self, now: Time, request: Request, pass: Pass, mutant: Option<Mutant>) -> Vec<Action> {
        let mut actions = Vec::new();
        let unchecked = matches!(mutant, Some(Mutant::NoCheckBeforeReply | Mutant::NoFencing));
        let seen = self.node.gate().leave(now, pass);
        match self.jobs.get(&request).map(|job| job.said) {
            Some(said) if seen.is_some() || unchecked => self.reply(request, said, seen, &mut actions),
            Some(_) => self.reply(request, Said::Elsewhere, None, &mut actions),
            None => {}
        }
        actions
    }

    /// The PIN has been checked.
    pub(crate) fn checked(&mut self, now: Time, request: Request, mutant: Option<Mutant>) -> Vec<Action> {
        let Some(mut job) = self.jobs.remove(&request) else {
            return Vec::new();
        };
        let (Part::Check(set, _), Op::Login { right }) = (job.part, job.call.op) else {
            return Vec::new();
        };
        self.last_request += 1;
        let request = Request(self.last_request);
        job.part = Part::Verdict(set, if right { Verdict::Right } else { Verdict::Wrong });
        self.write_verdict(now, request, job, mutant)
    }

    fn write_verdict(&mut self, now: Time, request: Request, job: Job, mutant: Option<Mutant>) -> Vec<Action> {
        let write = Write {
            request,
            operation: OperationId(job.call.operation.0 | 1 << 100),
            seen: None,
            deadline: now.after(std::time::Duration::from_secs(5)),
        };
        self.jobs.insert(request, job);
        self.drive(now, Input::Write(write), mutant)
    }

    /// INV-8: gives back a place that nobody works on. No verdict of it was told.
    pub(crate) fn sweep(&mut self, now: Time, mutant: Option<Mutant>) -> Vec<Action> {
        let knows = |attempt| self.jobs.values().any(|job| job.call.operation == attempt);
        let found = self.as_me(|state, me| state.forgotten(me, knows));
        let Some((set, operation)) = found.filter(|_| self.node.phase() == Phase::Serving) else {
            return Vec::new();
        };
        self.last_request += 1;
        let request = Request(self.last_request);
        let job = Job {
            call: Call {
                op: Op::Login { right: false },
                partition: 0,
                operation,
                ticket: None,
            },
            from: Origin {
                client: 0,
                attempt: u64::MAX,
                sent: 0,
            },
            part: Part::Verdict(set, Verdict::Unchecked),
            said: Said::Elsewhere,
            seen: None,
            rounds: 0,
        };
        self.write_verdict(now, request, job, mutant)
    }

    /// A login tries for room again.
    pub(crate) fn again(&mut self, now: Time, request: Request, mutant: Option<Mutant>) -> Vec<Action> {
        match self.jobs.remove(&request) {
            Some(job) if job.rounds > 150 => {
                vec![Action::Reply(job.from, job.call, Said::Elsewhere, None)]
            }
            Some(mut job) => {
                job.rounds += 1;
                self.receive(now, job, now.after(std::time::Duration::from_secs(5)), mutant)
            }
            None => Vec::new(),
        }
    }

    fn rules(&self, call: &Call) -> Decision {
        self.as_me(|state, me| state.run(me, call))
    }

    fn as_me<T>(&self, rules: impl FnOnce(&State, &Me<'_>) -> T) -> T {
        let timeline = self.state.0.get(&Key::Root).and_then(|record| match &*record.value {
            Value::Root(root) => Some(root.timeline),
            _ => None,
        });
        let generation_of = |node| self.node.generation_of(node);
        let me = Me {
            node: self.node.id(),
            generation: self.node.generation(),
            timeline: timeline.unwrap_or(hsmd_fleet::Timeline(0)),
            generation_of: &generation_of,
        };
        rules(&self.state, &me)
    }

    fn run_rules(&mut self, request: Request, mutant: Option<Mutant>, actions: &mut Vec<Action>) {
        let Some(job) = self.jobs.get(&request) else {
            return;
        };
        let call = job.call;
        let mut decision = match job.part {
            Part::Verdict(set, verdict) => self.as_me(|state, me| state.end_try(me, &call, set, verdict)),
            _ => self.rules(&call),
        };
        if mutant == Some(Mutant::NoBarriers)
            && let Ran::Commit { barrier, .. } | Ran::Done { barrier, .. } = &mut decision.ran
        {
            *barrier = None;
        }
        if let Some(job) = self.jobs.get_mut(&request) {
            job.said = decision.said;
        }
        let commits = matches!(decision.ran, Ran::Commit { .. });
        actions.push(Action::Ran(request, decision.ran));
        if mutant == Some(Mutant::AcknowledgesEarly) && commits && call.op.object().is_some() {
            let seen = None;
            let job = self.jobs.get(&request).cloned();
            if let Some(job) = job {
                actions.push(Action::Reply(job.from, job.call, job.said, seen));
            }
        }
    }

    /// The core's answer to a write: the client's, or the next part of a login.
    fn answered(
        &mut self,
        now: Time,
        request: Request,
        answer: Answer,
        _mutant: Option<Mutant>,
        actions: &mut Vec<Action>,
    ) {
        let Some(job) = self.jobs.get(&request).cloned() else {
            return;
        };
        let (seen, finished) = match answer {
            Answer::Done(seen) => (seen, true),
            Answer::Answered(seen) => (seen, false),
            Answer::Contended => return self.reply(request, Said::Contended, None, actions),
            Answer::Behind => return self.reply(request, Said::Elsewhere, None, actions),
            Answer::Closed => return self.reply(request, Said::Elsewhere, None, actions),
            Answer::Unknown => return self.reply(request, Said::Unknown, None, actions),
        };
        let login = matches!(job.call.op, Op::Login { .. }) && job.part == Part::Write;
        match (login, finished, job.said) {
            (true, true, Said::Ok) => {
                let gate = self.node.gate();
                let set = self.state.set_of(job.call.partition);
                match (gate.enter(now, None), set) {
                    (Entry::Go(pass), Some(set)) => {
                        if let Some(job) = self.jobs.get_mut(&request) {
                            job.part = Part::Check(set, pass);
                        }
                        actions.push(Action::Check(request));
                    }
                    _ => self.reply(request, Said::Elsewhere, None, actions),
                }
            }
            (true, false, Said::Busy) => actions.push(Action::Later(request)),
            _ => self.reply(request, job.said, Some(seen), actions),
        }
    }

    pub(crate) fn reply(&mut self, request: Request, said: Said, seen: Option<Seen>, actions: &mut Vec<Action>) {
        let job = self.jobs.remove(&request);
        if let Some(job) = job.filter(|job| job.from.attempt != u64::MAX) {
            actions.push(Action::Reply(job.from, job.call, said, seen));
        }
    }

    /// The watch brought a batch: applies it, and tells the core what it holds of the fleet.
    pub(crate) fn deliver(&mut self, now: Time, committed: &Committed, mutant: Option<Mutant>) -> Vec<Action> {
        if committed.revision <= self.node.applied() {
            return Vec::new();
        }
        apply(&mut self.state.0, committed);
        let changes = committed
            .writes
            .iter()
            .filter_map(|(key, version, value)| change(*key, *version, value));
        let event = Event {
            revision: committed.revision,
            barrier: committed.barrier,
            changes: changes.collect(),
        };
        self.drive(now, Input::Watched(event), mutant)
    }

    /// The store answered. What was loaded replaces what was applied.
    pub(crate) fn told(
        &mut self,
        now: Time,
        call: u64,
        at: Revision,
        told: Told,
        loaded: Option<Records>,
        mutant: Option<Mutant>,
    ) -> Vec<Action> {
        if self.open.remove(&call).is_none() {
            return Vec::new();
        }
        if let Some(records) = loaded {
            self.state = State(records);
        }
        let call = hsmd_fleet::Call(call);
        self.drive(now, Input::Told { call, at, told }, mutant)
    }
}

/// A write of the fleet's own records, as the core knows it.
fn change(key: Key, version: u64, value: &Value) -> Option<Change> {
    match (key, value) {
        (Key::Root, Value::Root(root)) => Some(Change::Root(version, root.clone())),
        (Key::Standing(node), Value::Standing(standing)) => {
            Some(Change::Standing(node, Generation(version), *standing))
        }
        (Key::Beat(node), Value::Beat(beat)) => Some(Change::Beat(node, version, beat.clone())),
        (Key::Loads(set, node), Value::Loads(true)) => Some(Change::Loads(set, node)),
        (Key::Loads(set, node), Value::Loads(false)) => Some(Change::Unloads(set, node)),
        _ => None,
    }
}

//! Time, messages and what happens to them. One step takes the earliest event and lets it happen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hsmd_fleet::{
    Anchor, Ask, Commit, Generation, Input, NodeId, Pass, Phase, Raised, Ran, Request, Revision, Told, WatchLost,
};

use super::checker::Checker;
use super::clients::Client;
use super::machine::{Action, Job, Machine, Mutant, Part};
use super::random::Random;
use super::store::{Batch, Committed, Key, Records, Refused, Store, lower};

/// A millisecond of the simulation.
pub(crate) const MS: u64 = 1000;
/// A second.
pub(crate) const SECOND: u64 = 1000 * MS;

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) random: Random,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    pub(crate) store: Store,
    pub(crate) machines: Vec<Machine>,
    pub(crate) clients: Vec<Client>,
    pub(crate) checker: Checker,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) trace: Option<Vec<String>>,
    /// Messages are lost and late.
    pub(crate) rough: bool,
    pub(crate) no_quorum_until: u64,
    pub(crate) slow_until: u64,
    /// Clients ask for nothing new from then on.
    pub(crate) clients_until: u64,
    /// Objects that were ever asked for, by partition.
    pub(crate) objects: Vec<Vec<hsmd_fleet::ObjectId>>,
    pub(crate) next_id: u128,
    /// Programs of two releases are mixed, and operators raise the level: what they do is drawn from here.
    pub(crate) releases: Option<Random>,
    /// This machine is new to the fleet, and comes at this time.
    pub(crate) late: Option<(usize, u64)>,
    /// What became of the last raise.
    pub(crate) said_of_level: Option<Raised>,
    /// How often the level was raised while there were faults.
    pub(crate) raises: u64,
}

pub(crate) enum Event {
    /// A question reaches the store.
    Asked {
        machine: usize,
        run: u64,
        call: u64,
        ask: Ask<Batch>,
    },
    /// On a machine's process.
    On { machine: usize, run: u64, what: What },
    /// A client's request reaches a machine.
    Request { machine: usize, job: Box<Job> },
    /// A reply reaches its client.
    Reply {
        client: usize,
        attempt: u64,
        said: super::app::Said,
        seen: Option<hsmd_fleet::Seen>,
    },
    /// A client does not wait any longer.
    Patience { client: usize, attempt: u64 },
    /// A client goes on.
    Client(usize),
    /// The next fault.
    Fault,
    /// A machine starts (again).
    Start(usize),
    /// An operator wants the next format level.
    Raise,
    /// What was done to a machine's watch is over.
    Calm(usize),
}

pub(crate) enum What {
    Tick,
    Told {
        call: u64,
        at: Revision,
        told: Told,
        loaded: Option<Records>,
    },
    Silent(u64),
    Deliver {
        watch: u64,
        committed: Arc<Committed>,
    },
    WatchLost {
        watch: u64,
        lost: WatchLost,
    },
    Anchored(Anchor),
    Ran(Request, Ran<Batch>),
    Worked(Request, Pass),
    Checked(Request),
    Again(Request),
    Input(Input<Batch>),
}

impl World {
    pub(crate) fn new(seed: u64, store: Store, mutant: Option<Mutant>, trace: bool) -> Self {
        Self {
            now: 0,
            random: Random::new(seed),
            events: BTreeMap::new(),
            sequence: 0,
            store,
            machines: Vec::new(),
            clients: Vec::new(),
            checker: Checker::default(),
            mutant,
            trace: trace.then(Vec::new),
            rough: false,
            no_quorum_until: 0,
            slow_until: 0,
            clients_until: 0,
            objects: Vec::new(),
            next_id: 1,
            releases: None,
            late: None,
            said_of_level: None,
            raises: 0,
        }
    }

    pub(crate) fn id(&mut self) -> u128 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9.3} ms  {}", now as f64 / 1000.0, text()));
        }
    }

    pub(crate) fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((time.max(self.now), self.sequence), event);
    }

    pub(crate) fn on(&mut self, time: u64, machine: usize, what: What) {
        let run = self.machines[machine].run;
        self.at(time, Event::On { machine, run, what });
    }

    /// Lets everything happen up to `until`, or to the first breach.
    pub(crate) fn run_until(&mut self, until: u64) {
        while let Some((&(time, _), _)) = self.events.first_key_value()
            && time <= until
            && self.checker.breach.is_none()
        {
            let Some((_, event)) = self.events.pop_first() else {
                break;
            };
            self.now = time;
            self.step(event);
        }
        self.now = self.now.max(until);
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Asked {
                machine,
                run,
                call,
                ask,
            } => self.asked(machine, run, call, ask),
            Event::On { machine, run, what } => self.happens(machine, run, what),
            Event::Request { machine, job } => self.requested(machine, *job),
            Event::Reply {
                client,
                attempt,
                said,
                seen,
            } => self.replied(client, attempt, said, seen),
            Event::Patience { client, attempt } => self.impatient(client, attempt),
            Event::Client(client) => self.client_goes_on(client),
            Event::Fault => self.fault(),
            Event::Start(machine) => {
                let process = self.machines[machine].process.as_ref();
                let late = self.late.is_some_and(|(late, at)| late == machine && self.now < at);
                if !late && process.is_none_or(|process| process.node.phase() == Phase::Left) {
                    self.start(machine);
                }
            }
            Event::Raise => self.raise_some_time(),
            Event::Calm(machine) => self.machines[machine].watch_delay = 0,
        }
    }

    /// Starts a machine's process.
    pub(crate) fn start(&mut self, machine: usize) {
        let mutant = self.mutant;
        self.install(machine);
        self.machines[machine].start(mutant);
        let levels = self.machines[machine].levels.clone();
        self.note(|| format!("node {machine} starts, knows levels {levels:?}"));
        self.on(self.now, machine, What::Tick);
    }

    /// Ends it without a word. Its connections are reset.
    pub(crate) fn kill(&mut self, machine: usize) {
        let process = self.machines[machine].process.take();
        self.note(|| format!("node {machine} is killed"));
        for job in process.into_iter().flat_map(|process| process.jobs.into_values()) {
            self.reset(job.from.client, job.from.attempt);
        }
    }

    fn reset(&mut self, client: usize, attempt: u64) {
        let (said, seen) = (super::app::Said::Elsewhere, None);
        self.at(
            self.now + MS,
            Event::Reply {
                client,
                attempt,
                said,
                seen,
            },
        );
    }

    fn happens(&mut self, machine: usize, run: u64, what: What) {
        let now = self.now;
        let mutant = self.mutant;
        let host = &mut self.machines[machine];
        if host.run != run || host.process.is_none() {
            return;
        }
        if host.stopped_until > now {
            let until = host.stopped_until;
            return self.at(until, Event::On { machine, run, what });
        }
        let clock = host.clock(now);
        let watch_now = host.watch;
        let Some(process) = &mut host.process else {
            return;
        };
        let actions = match what {
            What::Tick => {
                process.tick_at = u64::MAX;
                process.ticks = if process.ticks.0 / MS == now / MS {
                    (now, process.ticks.1 + 1)
                } else {
                    (now, 0)
                };
                if process.ticks.1 > 500 {
                    let node = &process.node;
                    self.checker.fail(|| {
                        format!(
                            "node {machine} spins at {clock:?}, wakes at {:?}: {node:?}",
                            node.wake_at()
                        )
                    });
                    return;
                }
                let mut actions = process.drive(clock, Input::Tick, mutant);
                actions.extend(process.sweep(clock, mutant));
                actions
            }
            What::Told { call, at, told, loaded } => process.told(clock, call, at, told, loaded, mutant),
            What::Silent(call) => match process.open.remove(&call) {
                Some(true) if mutant == Some(Mutant::RetriesBlindly) => {
                    let newest = process.node.applied();
                    let (call, told) = (hsmd_fleet::Call(call), Told::Conflict { newest });
                    process.drive(
                        clock,
                        Input::Told {
                            call,
                            at: self.store.revision(),
                            told,
                        },
                        mutant,
                    )
                }
                Some(_) => process.drive(
                    clock,
                    Input::Silent {
                        call: hsmd_fleet::Call(call),
                    },
                    mutant,
                ),
                None => Vec::new(),
            },
            What::Deliver { watch, committed } if watch == watch_now => process.deliver(clock, &committed, mutant),
            What::WatchLost { watch, lost } if watch == watch_now => {
                // The stream has ended: what was still under way in it is lost.
                host.watch += 1;
                process.drive(clock, Input::WatchLost(lost), mutant)
            }
            What::Deliver { .. } | What::WatchLost { .. } => Vec::new(),
            What::Anchored(anchor) => {
                host.anchor = Some(anchor.clone());
                process.drive(clock, Input::Anchored(anchor), mutant)
            }
            What::Ran(request, ran) => process.drive(clock, Input::Ran { request, ran }, mutant),
            What::Worked(request, pass) => process.worked(clock, request, pass, mutant),
            What::Checked(request) => process.checked(clock, request, mutant),
            What::Again(request) => process.again(clock, request, mutant),
            What::Input(input) => process.drive(clock, input, mutant),
        };
        self.act(machine, actions);
    }

    fn requested(&mut self, machine: usize, mut job: Job) {
        let mutant = self.mutant;
        let now = self.now;
        let host = &mut self.machines[machine];
        if host.stopped_until > now {
            let until = host.stopped_until;
            return self.at(
                until,
                Event::Request {
                    machine,
                    job: Box::new(job),
                },
            );
        }
        let clock = host.clock(now);
        let Some(process) = &mut host.process else {
            return self.reset(job.from.client, job.from.attempt);
        };
        job.part = Part::Read;
        let patience = clock.after(Duration::from_secs(9));
        let actions = process.receive(clock, job, patience, mutant);
        self.act(machine, actions);
    }

    /// Does what a machine wants, and sees to its next tick.
    fn act(&mut self, machine: usize, actions: Vec<Action>) {
        for action in actions {
            self.action(machine, action);
        }
        let now = self.now;
        let host = &mut self.machines[machine];
        let wake = host.process.as_ref().and_then(|process| process.node.wake_at());
        let wake = wake.map(|time| host.when(time).max(now + 1));
        let Some(process) = &mut host.process else {
            return;
        };
        if let Some(wake) = wake.filter(|wake| *wake < process.tick_at) {
            process.tick_at = wake;
            self.on(wake, machine, What::Tick);
        }
    }

    fn action(&mut self, machine: usize, action: Action) {
        let (now, run) = (self.now, self.machines[machine].run);
        match action {
            Action::Ask(call, ask) => {
                self.note(|| format!("node {machine} asks #{call} {ask:?}"));
                let span = if matches!(ask, Ask::Load) { 5000 } else { 500 };
                let host = &self.machines[machine];
                let deadline = host.when(host.clock(now).after(Duration::from_millis(span)));
                self.on(deadline, machine, What::Silent(call));
                let Some(delay) = self.trip(machine) else { return };
                self.at(
                    now + delay,
                    Event::Asked {
                        machine,
                        run,
                        call,
                        ask,
                    },
                );
            }
            Action::Watch(after) => self.watch(machine, after),
            Action::Anchor(anchor) => {
                let delay = self.random.between(100, 5 * MS);
                self.on(now + delay, machine, What::Anchored(anchor));
            }
            Action::Ran(request, ran) => {
                let delay = self.random.between(0, 3 * MS);
                self.on(now + delay, machine, What::Ran(request, ran));
            }
            Action::Work(request, pass) => {
                let delay = self.random.between(10, 8 * MS);
                if let Some(process) = &mut self.machines[machine].process {
                    process.work(request);
                }
                self.on(now + delay, machine, What::Worked(request, pass));
            }
            Action::Check(request) => {
                let delay = self.random.between(20 * MS, 100 * MS);
                self.on(now + delay, machine, What::Checked(request));
            }
            Action::Became(phase) => self.note(|| format!("node {machine} is {phase:?}")),
            Action::Raised(raised) => self.raised(machine, &raised),
            Action::Later(request) => self.on(now + 50 * MS, machine, What::Again(request)),
            Action::Reply(from, call, said, seen) => {
                self.note(|| format!("node {machine} replies to client {}: {said:?} to {call:?}", from.client));
                let host = &self.machines[machine];
                let generation = host
                    .process
                    .as_ref()
                    .map_or(Generation(0), |process| process.node.generation());
                let holds = generation == self.store.generation(host.id);
                self.checker.left(now, holds, &self.store, from, &call, said);
                if !said.is_refusal() {
                    self.knows_the_level(machine, "a reply");
                }
                let lost = self.machines[machine].hidden_until > now || (self.rough && self.random.percent(2));
                if !lost {
                    let delay = self.random.between(100, 2 * MS);
                    let (client, attempt) = (from.client, from.attempt);
                    self.at(
                        now + delay,
                        Event::Reply {
                            client,
                            attempt,
                            said,
                            seen,
                        },
                    );
                }
            }
        }
    }

    /// How long a message between a machine and the store takes; `None`: it is lost.
    fn trip(&mut self, machine: usize) -> Option<u64> {
        if self.machines[machine].cut_until > self.now || (self.rough && self.random.percent(1)) {
            return None;
        }
        let slow = self.slow_until > self.now;
        Some(match (slow, self.rough && self.random.percent(2)) {
            (_, true) => self.random.between(400 * MS, 3 * SECOND),
            (true, _) => self.random.between(20 * MS, 600 * MS),
            _ => self.random.between(200, 3 * MS),
        })
    }

    fn asked(&mut self, machine: usize, run: u64, call: u64, ask: Ask<Batch>) {
        let now = self.now;
        if self.no_quorum_until > now {
            // Some of what waits for a quorum is done when there is one again.
            if self.random.percent(50) {
                let later = self.no_quorum_until + self.random.between(0, 500 * MS);
                self.at(
                    later,
                    Event::Asked {
                        machine,
                        run,
                        call,
                        ask,
                    },
                );
            }
            return;
        }
        let mut loaded = None;
        let told = match &ask {
            Ask::Survey => Told::Survey(self.store.survey()),
            Ask::Load => {
                loaded = Some(self.store.records.clone());
                Told::Survey(self.store.survey())
            }
            Ask::Resolve(operation) => Told::Resolved(self.store.resolve(*operation)),
            Ask::Head(set) => Told::Head(self.store.head(*set)),
            Ask::Commit { guard, commit } => {
                let level = self.store.level();
                let mut batch = lower(self.machines[machine].id, *guard, commit);
                if self.mutant == Some(Mutant::RaisesBlindly) {
                    blind(commit, &mut batch);
                }
                let told = self.commit(machine, *guard, &batch);
                if self.store.level() != level {
                    self.all_know_the_level();
                }
                told
            }
        };
        self.note(|| format!("store tells node {machine} #{call} {}", short(&told)));
        if self.machines[machine].run != run {
            return;
        }
        if let (
            Told::Committed(_),
            Ask::Commit {
                commit: Commit::Batch(_),
                ..
            },
        ) = (&told, &ask)
        {
            self.knows_the_level(machine, "a batch");
        }
        let Some(delay) = self.trip(machine) else { return };
        let at = self.store.revision();
        self.on(now + delay, machine, What::Told { call, at, told, loaded });
    }

    fn commit(&mut self, machine: usize, guard: Option<Generation>, batch: &Batch) -> Told {
        let writer = self.machines[machine].id;
        let held = self.mutant != Some(Mutant::NoFencing) || batch.operation.is_none();
        let holds = guard.is_none_or(|guard| guard == self.store.generation(writer));
        match self.store.commit(self.now, writer, guard.filter(|_| held), batch) {
            Ok(revision) => {
                if let Some(committed) = self.store.log.last().cloned() {
                    self.checker.committed(&committed, holds);
                    self.spread(&committed);
                }
                Told::Committed(revision)
            }
            Err(Refused::Fenced) => Told::Fenced,
            Err(Refused::Conflict(newest)) => Told::Conflict { newest },
        }
    }

    fn spread(&mut self, committed: &Arc<Committed>) {
        for machine in 0..self.machines.len() {
            let host = &self.machines[machine];
            if !host.watch_dead && host.process.is_some() {
                self.send(machine, Arc::clone(committed));
            }
        }
    }

    fn send(&mut self, machine: usize, committed: Arc<Committed>) {
        let delay = self.random.between(200, 4 * MS) + self.machines[machine].watch_delay;
        let host = &mut self.machines[machine];
        host.watch_last = host.watch_last.max(self.now + delay);
        let (time, watch) = (host.watch_last, host.watch);
        self.on(time, machine, What::Deliver { watch, committed });
    }

    fn watch(&mut self, machine: usize, after: Revision) {
        let now = self.now;
        let host = &mut self.machines[machine];
        host.watch += 1;
        host.watch_dead = true;
        host.watch_last = now;
        let (watch, cut) = (host.watch, host.cut_until > now || self.no_quorum_until > now);
        let lost = if cut {
            Some(WatchLost::Broken)
        } else if after < self.store.compacted {
            Some(WatchLost::Compacted)
        } else if after > self.store.revision() {
            Some(WatchLost::Ahead(self.store.revision()))
        } else {
            None
        };
        if let Some(lost) = lost {
            return self.on(now + 200 * MS, machine, What::WatchLost { watch, lost });
        }
        host.watch_dead = false;
        for committed in self.store.after(after).to_vec() {
            self.send(machine, committed);
        }
    }

    /// Ends a machine's watch. Whether it is told, is chance.
    pub(crate) fn break_watch(&mut self, machine: usize, told: bool) {
        self.machines[machine].watch_dead = true;
        if told {
            let watch = self.machines[machine].watch;
            let delay = self.random.between(1, 200) * MS;
            let lost = WatchLost::Broken;
            self.on(self.now + delay, machine, What::WatchLost { watch, lost });
        }
    }

    pub(crate) fn node(machine: usize) -> NodeId {
        NodeId(machine as u128 + 1)
    }
}

/// Takes from the core's batches what keeps a raise of the level and a node that enters apart.
fn blind(commit: &Commit<Batch>, batch: &mut Batch) {
    match commit {
        Commit::Stand { .. } => {
            batch.compares.clear();
            batch.writes.retain(|(key, ..)| *key != Key::Root);
        }
        Commit::Level { .. } => batch.compares.clear(),
        _ => {}
    }
}

fn short(told: &Told) -> String {
    match told {
        Told::Survey(survey) => format!("a survey, root {:?}", survey.root),
        other => format!("{other:?}"),
    }
}

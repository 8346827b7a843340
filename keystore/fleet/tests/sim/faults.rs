//! A run: a fleet is set up, clients work, faults happen one after the other, then everything is healed and looked at.

use hsmd_fleet::{Input, KeySetId, Phase, Revision, Root, Standing, Timeline};

use super::app::GROUP;
use super::clients::Client;
use super::machine::{Machine, Mutant};
use super::random::Random;
use super::store::{Batch, Key, KeySet, Records, Store, Value};
use super::world::{Event, MS, SECOND, What, World};

/// What a run came to.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) commits: u64,
    pub(crate) replies: u64,
    pub(crate) finished: u64,
    pub(crate) given_up: u64,
    /// Times that the format level was raised under faults.
    pub(crate) raises: u64,
}

/// Something that must not be.
#[derive(Debug)]
pub(crate) struct Breach {
    pub(crate) what: String,
    pub(crate) trace: Vec<String>,
}

/// Runs one seed.
pub(crate) fn run(seed: u64, mutant: Option<Mutant>, trace: bool) -> Result<Summary, Box<Breach>> {
    let mut random = Random::new(seed ^ 0x5eed);
    let nodes = random.between(3, 5) as usize;
    let mut world = fleet(seed, nodes, mutant, trace);
    for client in 0..random.between(4, 7) as usize {
        world.add_client(Client {
            partition: (client % 3) as u8,
            admin: client == 0,
            ..Client::default()
        });
    }
    // Two of five: none of those that once found something.
    if matches!(seed % 5, 0 | 4) {
        world.mix_releases(seed);
    }
    world.checker.calm_since = u64::MAX;
    let rough_until = random.between(15, 30) * SECOND;
    world.clients_until = rough_until + 14 * SECOND;
    world.run_until(2 * SECOND);
    world.rough = true;
    world.at(world.now, Event::Fault);
    world.run_until(rough_until);
    world.heal();
    if random.percent(12) {
        world.forget_and_accept();
    }
    world.clients_until = world.clients_until.max(world.now + 14 * SECOND);
    let end = world.clients_until;
    world.run_until(end + 12 * SECOND);
    world.look();
    world.report()
}

/// A fleet of nodes that are started, with three partitions: two in a group.
pub(crate) fn fleet(seed: u64, nodes: usize, mutant: Option<Mutant>, trace: bool) -> World {
    let mut store = Store::default();
    let root = Root {
        timeline: Timeline(1),
        previous: Vec::new(),
        suspected_by: None,
        level: 1,
    };
    let mut batch = Batch::default();
    batch.writes.push((Key::Root, 1, Value::Root(root)));
    let sets = [GROUP, KeySetId(102)];
    for set in sets {
        batch.writes.push((Key::Set(set), 1, Value::KeySet(KeySet::default())));
        for machine in 0..nodes {
            batch
                .writes
                .push((Key::Loads(set, World::node(machine)), 1, Value::Loads(true)));
        }
    }
    for partition in 0..3_u8 {
        let set = if partition < 2 { GROUP } else { KeySetId(102) };
        batch.writes.push((Key::Partition(partition), 1, Value::Partition(set)));
    }
    let made = store.commit(0, World::node(0), None, &batch);
    assert!(made.is_ok(), "the first batch conflicts with nothing");
    let mut world = World::new(seed, store, mutant, trace);
    if let Some(first) = world.store.log.first().cloned() {
        world.checker.committed(&first, true);
    }
    world.objects = vec![Vec::new(); 3];
    for machine in 0..nodes {
        // The rates of two clocks differ by less than a tenth.
        let (rate, offset) = (
            world.random.between(955_000, 1_047_000),
            world.random.between(0, 900) * SECOND,
        );
        world.machines.push(Machine::new(World::node(machine), rate, offset));
        let start = world.random.between(0, 500) * MS;
        world.at(start, Event::Start(machine));
    }
    world
}

impl World {
    pub(crate) fn add_client(&mut self, client: Client) {
        self.clients.push(client);
        let start = self.random.between(500, 1500) * MS;
        let number = self.clients.len() - 1;
        self.at(self.now + start, Event::Client(number));
    }

    /// One fault, and when the next one comes.
    pub(crate) fn fault(&mut self) {
        if !self.rough {
            return;
        }
        let now = self.now;
        let next = self.random.between(200 * MS, 4 * SECOND);
        self.at(now + next, Event::Fault);
        let machine = self.random.next() as usize % self.machines.len();
        let kind = self.random.between(0, 11);
        self.note(|| format!("fault {kind} at node {machine}"));
        match kind {
            0 | 1 => {
                self.kill(machine);
                let back = self.random.between(100 * MS, 9 * SECOND);
                self.at(now + back, Event::Start(machine));
            }
            2 | 3 => {
                let until = now + self.random.between(200 * MS, 14 * SECOND);
                let host = &mut self.machines[machine];
                // One that is stopped stays so: what it has yet to receive keeps its order.
                if host.stopped_until <= now {
                    host.stopped_until = until;
                }
            }
            4 => {
                let until = now + self.random.between(300 * MS, 12 * SECOND);
                self.cut(machine, until);
            }
            5 => self.machines[machine].hidden_until = now + self.random.between(SECOND, 10 * SECOND),
            6 => {
                let told = self.random.percent(50);
                self.break_watch(machine, told);
            }
            7 => {
                self.machines[machine].watch_delay = self.random.between(50 * MS, 900 * MS);
                let back = self.random.between(SECOND, 6 * SECOND);
                self.at(now + back, Event::Calm(machine));
            }
            8 => {
                let kept = self.random.between(0, 30);
                self.store.compacted = Revision(self.store.revision().0.saturating_sub(kept));
                for machine in 0..self.machines.len() {
                    if self.random.percent(50) {
                        self.break_watch(machine, true);
                    }
                }
            }
            9 => self.slow_until = now + self.random.between(SECOND, 8 * SECOND),
            10 => {
                let until = now + self.random.between(300 * MS, 10 * SECOND);
                self.lose_quorum(until);
            }
            _ => {
                self.on(now, machine, What::Input(Input::Drain));
                let back = self.random.between(SECOND, 6 * SECOND);
                self.note(|| format!("node {machine} is drained"));
                self.at(now + back, Event::Start(machine));
            }
        }
    }

    pub(crate) fn cut(&mut self, machine: usize, until: u64) {
        self.machines[machine].cut_until = until;
        self.machines[machine].watch_dead = true;
    }

    pub(crate) fn lose_quorum(&mut self, until: u64) {
        self.no_quorum_until = until;
        for machine in 0..self.machines.len() {
            self.break_watch(machine, true);
        }
    }

    pub(crate) fn heal(&mut self) {
        self.rough = false;
        // What a stopped process has yet to receive stays in its order.
        let stopped = self.machines.iter().map(|machine| machine.stopped_until).max();
        self.run_until(stopped.unwrap_or(0).max(self.now));
        self.note(|| "everything is healed".to_owned());
        (self.no_quorum_until, self.slow_until) = (self.now, self.now);
        for machine in 0..self.machines.len() {
            let host = &mut self.machines[machine];
            (host.cut_until, host.hidden_until, host.watch_delay) = (0, 0, 0);
            let watch = host.watch_dead;
            if self.machines[machine].process.is_none() {
                self.start(machine);
            } else if watch {
                self.break_watch(machine, true);
            }
        }
        self.upgrade();
        for machine in 0..self.machines.len() {
            // One that was drained may have yet to leave.
            self.at(self.now + 11 * SECOND, Event::Start(machine));
        }
        self.checker.calm_since = self.now;
    }

    /// The store is restored from a snapshot, everybody stops, and the operator accepts it.
    pub(crate) fn forget_and_accept(&mut self) {
        self.run_until(self.now + 13 * SECOND);
        let newest = self.store.revision().0;
        // Older than every node's last beat.
        let old = self
            .store
            .log
            .iter()
            .rev()
            .find(|committed| committed.at + 3 * SECOND < self.now);
        let old = old.map_or(1, |committed| committed.revision.0);
        let to = Revision(self.random.between(old / 2, old).max(1));
        self.note(|| format!("the store at revision {newest} is restored from {}", to.0));
        self.store.roll_back(to);
        self.store.cluster += self.random.between(0, 1);
        self.checker.forgot(self.now, &self.store);
        for machine in 0..self.machines.len() {
            self.break_watch(machine, true);
        }
        self.run_until(self.now + 9 * SECOND);
        if self.checker.breach.is_some() {
            return;
        }
        let serving = self.machines.iter().filter(|machine| machine.is_serving()).count();
        if serving > 0 {
            self.checker
                .fail(|| format!("{serving} nodes still serve what the store has forgotten"));
        }
        let timeline = Timeline(1000 + self.random.between(0, u64::from(u32::MAX)));
        let machine = self.random.next() as usize % self.machines.len();
        self.on(self.now, machine, What::Input(Input::Accept { timeline }));
    }

    /// Everything must be well by now.
    pub(crate) fn look(&mut self) {
        if self.checker.breach.is_some() {
            return;
        }
        for machine in 0..self.machines.len() {
            let host = &self.machines[machine];
            let Some(process) = host.process.as_ref().filter(|_| !host.retired) else {
                continue;
            };
            let phase = process.node.phase();
            let seen = |records: &Records| -> Vec<_> {
                let lasting = records.iter().filter(|(key, _)| !matches!(key, Key::Beat(_)));
                lasting.map(|(key, record)| (*key, record.version)).collect()
            };
            let (state, store) = (seen(&process.state.0), seen(&self.store.records));
            let other = state.iter().zip(&store).find(|(a, b)| a != b);
            let (same, other) = (state == store, format!("{other:?}"));
            if phase != Phase::Serving {
                self.checker
                    .fail(|| format!("node {machine} does not serve again: {phase:?}"));
            } else if !same {
                // INV-3
                self.checker
                    .fail(|| format!("node {machine} has applied something else than the store has: {other}"));
            }
        }
        let standings = self.store.survey().nodes;
        if let Some(node) = standings.iter().find(|records| records.standing != Standing::Serving) {
            self.checker.fail(|| format!("the store says {node:?}"));
        }
        if let Some(client) = self.clients.iter().position(|client| client.current.is_some()) {
            let current = self.clients[client].current;
            self.checker
                .fail(|| format!("client {client} still waits: {current:?}"));
        }
        self.look_at_level();
        self.checker.nothing_is_lost(&self.store);
    }

    pub(crate) fn report(mut self) -> Result<Summary, Box<Breach>> {
        if let Some(what) = self.checker.breach.take() {
            let trace = self.trace.take().unwrap_or_default();
            return Err(Box::new(Breach { what, trace }));
        }
        Ok(Summary {
            commits: self.checker.commits,
            replies: self.checker.replies,
            finished: self.clients.iter().map(|client| client.finished).sum(),
            given_up: self.clients.iter().map(|client| client.given_up).sum(),
            raises: self.raises,
        })
    }
}

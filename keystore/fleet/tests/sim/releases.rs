//! Programs of two releases in one fleet: machines whose program is replaced while they are down, operators who raise the format level.
//! Only some seeds do this; the others draw the same chances as before.

use hsmd_fleet::{Entry, Input, Raised, Request};

use super::machine::{NEW, OLD};
use super::random::Random;
use super::world::{Event, MS, SECOND, What, World};

/// Of a raise: no request of a client has it.
const OPERATOR: Request = Request(u64::MAX);

impl World {
    /// From now on the fleet has two releases. One machine comes to it late.
    pub(crate) fn mix_releases(&mut self, seed: u64) {
        let mut random = Random::new(seed ^ 0x001e_ae15);
        for machine in &mut self.machines {
            machine.levels = if random.percent(50) { NEW } else { OLD };
        }
        let (late, at) = (
            random.next() as usize % self.machines.len(),
            random.between(2, 14) * SECOND,
        );
        self.late = Some((late, at));
        self.at(at, Event::Start(late));
        self.at(random.between(SECOND, 4 * SECOND), Event::Raise);
        self.releases = Some(random);
    }

    /// While a machine was down, its program may have been replaced: by the newer or the older one.
    pub(crate) fn install(&mut self, machine: usize) {
        let Some(random) = &mut self.releases else { return };
        if self.rough && random.percent(40) {
            let levels = &mut self.machines[machine].levels;
            *levels = if random.percent(75) { NEW } else { OLD };
        }
    }

    /// An operator tries, whatever runs where; and will again.
    pub(crate) fn raise_some_time(&mut self) {
        let count = self.machines.len();
        let Some(random) = &mut self.releases else { return };
        let (machine, next) = (random.next() as usize % count, random.between(20 * MS, 2 * SECOND));
        self.raise(machine);
        self.at(self.now + next, Event::Raise);
    }

    /// An operator asks a machine for the next level.
    pub(crate) fn raise(&mut self, machine: usize) {
        let level = self.store.level() + 1;
        self.note(|| format!("node {machine} is asked for level {level}"));
        let request = OPERATOR;
        self.on(self.now, machine, What::Input(Input::Raise { request, level }));
    }

    /// What the operator is told.
    pub(crate) fn raised(&mut self, machine: usize, raised: &Raised) {
        self.note(|| format!("node {machine} says of the level: {raised:?}"));
        self.said_of_level = Some(raised.clone());
    }

    /// What leaves a node, or is committed for it, comes of a program that knows the level that the fleet has at this very moment.
    pub(crate) fn knows_the_level(&mut self, machine: usize, what: &str) {
        let (level, levels) = (self.store.level(), &self.machines[machine].levels);
        if !levels.contains(&level) {
            let levels = levels.clone();
            self.checker
                .fail(|| format!("{what} of node {machine}, which knows {levels:?}, at level {level}"));
        }
    }

    /// At the moment of a raise: whoever has the right to serve.
    pub(crate) fn all_know_the_level(&mut self) {
        self.raises += u64::from(self.rough);
        for machine in 0..self.machines.len() {
            let host = &self.machines[machine];
            let clock = host.clock(self.now);
            let process = host.process.as_ref();
            if process.is_some_and(|process| matches!(process.node.gate().enter(clock, None), Entry::Go(_))) {
                self.knows_the_level(machine, "the right to serve");
            }
        }
    }

    /// All have the newer program at the end.
    pub(crate) fn upgrade(&mut self) {
        if self.releases.is_none() {
            return;
        }
        for machine in 0..self.machines.len() {
            if self.machines[machine].levels != NEW {
                self.kill(machine);
                self.machines[machine].levels = NEW;
                self.start(machine);
            }
        }
    }

    /// The last word: with the newer program everywhere the fleet has the newer level.
    pub(crate) fn look_at_level(&mut self) {
        let level = self.store.level();
        if self.releases.is_some() && level != *NEW.end() {
            self.checker.fail(|| format!("the fleet has stayed at level {level}"));
        }
    }
}

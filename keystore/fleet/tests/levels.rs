//! Programs of two releases in one fleet: when the format level is raised, when it is not, and what becomes of a program that does not
//! know it. Mixed with faults they are among the seeds (`sim/releases.rs`).

use hsmd_fleet::{Phase, Raised};

use crate::sim::clients::Client;
use crate::sim::faults::fleet;
use crate::sim::machine::{Mutant, NEW, OLD};
use crate::sim::world::{Event, MS, SECOND, World};

/// Three nodes, of which these know the newer level, and six clients that work.
fn mixed(seed: u64, newer: &[usize], mutant: Option<Mutant>) -> World {
    let mut world = fleet(seed, 3, mutant, false);
    for machine in newer {
        world.machines[*machine].levels = NEW;
    }
    for client in 0..6 {
        world.add_client(Client {
            partition: client % 2,
            node: usize::from(client),
            ..Client::default()
        });
    }
    world.clients_until = u64::MAX;
    world
}

fn run(world: &mut World, span: u64) {
    world.run_until(world.now + span);
    assert_eq!(world.checker.breach, None);
}

fn phase(world: &World, machine: usize) -> Option<Phase> {
    let process = world.machines[machine].process.as_ref();
    process.map(|process| process.node.phase())
}

fn raise(world: &mut World, machine: usize) -> Option<Raised> {
    world.said_of_level = None;
    world.raise(machine);
    run(world, 100 * MS);
    world.said_of_level.take()
}

#[test]
fn the_level_is_raised_when_every_program_knows_it_and_not_before() {
    let mut world = mixed(1, &[0, 1], None);
    run(&mut world, 5 * SECOND);
    let older = Raised::Older(vec![(World::node(2), Some(1))]);
    assert_eq!(raise(&mut world, 0), Some(older.clone()));
    assert_eq!(raise(&mut world, 2), Some(Raised::OwnProgram(1)));
    // One that is gone may come back as it was.
    world.kill(2);
    run(&mut world, 9 * SECOND);
    assert_eq!(raise(&mut world, 1), Some(older));
    world.machines[2].levels = NEW;
    world.start(2);
    run(&mut world, 3 * SECOND);
    assert_eq!(raise(&mut world, 1), Some(Raised::Done(2)));
    assert_eq!(world.store.level(), 2);
    run(&mut world, SECOND);
    assert_eq!(raise(&mut world, 0), Some(Raised::OwnProgram(2)), "there is no third");
    run(&mut world, 3 * SECOND);
    assert!((0..3).all(|machine| phase(&world, machine) == Some(Phase::Serving)));
    assert!(world.clients.iter().all(|client| client.given_up == 0));
}

#[test]
fn a_program_that_is_too_old_rests_until_it_is_replaced() {
    let mut world = mixed(2, &[0, 1, 2], None);
    run(&mut world, 5 * SECOND);
    assert_eq!(raise(&mut world, 0), Some(Raised::Done(2)));
    world.kill(1);
    run(&mut world, SECOND);
    world.machines[1].levels = OLD;
    world.start(1);
    run(&mut world, 10 * SECOND);
    assert_eq!(phase(&world, 1), Some(Phase::WrongLevel(2)));
    assert!(world.clients.iter().all(|client| client.given_up == 0));
    world.kill(1);
    world.machines[1].levels = NEW;
    world.start(1);
    run(&mut world, 3 * SECOND);
    assert_eq!(phase(&world, 1), Some(Phase::Serving));
}

/// An old program enters at the moment in which a node that hears of it late is asked for the level: whether anything comes
/// of a program that does not know the level of that moment.
fn race(seed: u64, after: u64, mutant: Option<Mutant>) -> (Option<String>, Option<Raised>) {
    let mut world = mixed(seed, &[0, 1], mutant);
    world.late = Some((2, 3 * SECOND));
    world.run_until(3 * SECOND);
    // The one hears late that it entered, and it hears late of the raise.
    (world.machines[0].watch_delay, world.machines[2].watch_delay) = (900 * MS, 200 * MS);
    world.at(world.now, Event::Start(2));
    world.run_until(world.now + after);
    world.said_of_level = None;
    world.raise(0);
    world.run_until(world.now + SECOND);
    (world.checker.breach.take(), world.said_of_level.take())
}

#[test]
fn a_raise_and_an_older_node_that_enters_exclude_each_other() {
    let (mut done, mut refused, mut found) = (0, 0, 0);
    for seed in 0..8 {
        for after in (0..1000).step_by(50) {
            let (breach, raised) = race(seed, after * MS, None);
            assert_eq!(breach, None, "seed {seed}, {after} ms");
            match raised {
                Some(Raised::Done(_)) => done += 1,
                Some(_) => refused += 1,
                None => panic!("seed {seed}, {after} ms: no answer"),
            }
            let (breach, _) = race(seed, after * MS, Some(Mutant::RaisesBlindly));
            found += u32::from(breach.is_some_and(|breach| breach.contains("at level 2")));
        }
    }
    assert!(done > 0 && refused > 0, "{done} raised, {refused} refused");
    assert!(
        found > 0,
        "without the comparisons nothing went wrong: this shows nothing"
    );
}

//! One test for each row of the table `fault x expected outcome` in docs/fleet.md: what clients notice, how long it takes.

use hsmd_fleet::{Entry, Input, Phase, Request, Standing, Timeline};

use crate::sim::app::GROUP;
use crate::sim::clients::Client;
use crate::sim::faults::fleet;
use crate::sim::machine::{Mutant, Part};
use crate::sim::store::{Key, Value};
use crate::sim::world::{MS, SECOND, What, World};

/// Three nodes, six clients that work, five seconds without a fault.
fn working(seed: u64) -> World {
    working_with(seed, None)
}

fn working_with(seed: u64, mutant: Option<Mutant>) -> World {
    let mut world = fleet(seed, 3, mutant, false);
    for client in 0..6 {
        world.add_client(Client {
            partition: client % 2,
            node: usize::from(client),
            ..Client::default()
        });
    }
    world.clients_until = u64::MAX;
    world.run_until(5 * SECOND);
    assert_eq!(serving(&world), 3);
    // From here on.
    world.clients.iter_mut().for_each(|client| client.longest_read = 0);
    world
}

/// How many nodes have the right to serve right now.
fn serving(world: &World) -> usize {
    let open = |machine: &usize| {
        let host = &world.machines[*machine];
        let now = host.clock(world.now);
        let process = host.process.as_ref().filter(|_| host.stopped_until <= world.now);
        process.is_some_and(|process| matches!(process.node.gate().enter(now, None), Entry::Go(_)))
    };
    (0..world.machines.len()).filter(open).count()
}

fn standing(world: &World, machine: usize) -> Standing {
    let nodes = world.store.survey().nodes;
    nodes[machine].standing
}

fn run(world: &mut World, span: u64) {
    world.run_until(world.now + span);
    assert_eq!(world.checker.breach, None);
}

/// Every client goes on to the end, and everybody is well then.
fn ends_well(mut world: World) {
    run(&mut world, 10 * SECOND);
    world.clients_until = world.now;
    run(&mut world, 12 * SECOND);
    world.look();
    if let Err(breach) = world.report() {
        panic!("{}", breach.what);
    }
}

fn nobody_failed(world: &World) {
    assert!(world.clients.iter().all(|client| client.given_up == 0));
}

fn longest_read(world: &World) -> u64 {
    world
        .clients
        .iter()
        .map(|client| client.longest_read)
        .max()
        .unwrap_or(0)
}

#[test]
fn a_killed_node_fails_no_call_and_is_fenced() {
    for seed in 0..5 {
        let mut world = working(seed);
        world.kill(1);
        run(&mut world, 9 * SECOND);
        nobody_failed(&world);
        assert!(longest_read(&world) < 1500 * MS, "{}", longest_read(&world));
        assert!(matches!(standing(&world, 1), Standing::Fenced { .. }));
        world.start(1);
        run(&mut world, SECOND);
        assert_eq!(serving(&world), 3);
        ends_well(world);
    }
}

#[test]
fn a_stopped_node_answers_nothing_when_it_goes_on() {
    for seed in 0..5 {
        let mut world = working(seed);
        world.machines[2].stopped_until = world.now + 30 * SECOND;
        run(&mut world, 29 * SECOND);
        nobody_failed(&world);
        assert!(matches!(standing(&world, 2), Standing::Fenced { .. }));
        assert!(longest_read(&world) < 1500 * MS);
        run(&mut world, 3 * SECOND);
        assert_eq!(serving(&world), 3);
        ends_well(world);
    }
}

#[test]
fn a_node_without_the_store_stops_within_the_right_and_fails_no_call() {
    for seed in 0..5 {
        let mut world = working(seed);
        let until = world.now + 20 * SECOND;
        world.cut(0, until);
        run(&mut world, 2 * SECOND);
        assert_eq!(serving(&world), 3, "what it was told before is good for a while");
        run(&mut world, 3600 * MS);
        assert_eq!(serving(&world), 2);
        run(&mut world, 5 * SECOND);
        nobody_failed(&world);
        assert!(longest_read(&world) < 1500 * MS);
        world.heal();
        run(&mut world, 3 * SECOND);
        assert_eq!(serving(&world), 3);
        ends_well(world);
    }
}

#[test]
fn clients_that_cannot_reach_a_node_go_to_another() {
    let mut world = working(1);
    world.machines[0].hidden_until = world.now + 20 * SECOND;
    run(&mut world, 10 * SECOND);
    nobody_failed(&world);
    assert_eq!(standing(&world, 0), Standing::Serving);
    world.heal();
    ends_well(world);
}

#[test]
fn a_watch_that_dies_without_a_word_is_replaced() {
    for seed in 0..5 {
        let mut world = working(seed);
        let generations = world
            .store
            .survey()
            .nodes
            .iter()
            .map(|node| node.generation)
            .collect::<Vec<_>>();
        world.break_watch(1, false);
        run(&mut world, 3 * SECOND);
        assert_eq!(serving(&world), 3);
        run(&mut world, 8 * SECOND);
        let after = world
            .store
            .survey()
            .nodes
            .iter()
            .map(|node| node.generation)
            .collect::<Vec<_>>();
        assert_eq!(generations, after, "nobody was fenced");
        nobody_failed(&world);
        ends_well(world);
    }
}

#[test]
fn a_node_whose_watch_is_slow_falls_silent_and_the_others_go_on() {
    let mut world = working(2);
    world.machines[1].watch_delay = 2 * SECOND;
    run(&mut world, 15 * SECOND);
    nobody_failed(&world);
    assert!(!matches!(standing(&world, 0), Standing::Fenced { .. }));
    world.heal();
    ends_well(world);
}

#[test]
fn a_compacted_watch_is_a_reload_and_no_call_fails() {
    let mut world = working(3);
    world.machines[1].watch_delay = 100 * MS;
    run(&mut world, 500 * MS);
    world.store.compacted = world.store.revision();
    world.break_watch(1, true);
    run(&mut world, 2 * SECOND);
    assert_eq!(serving(&world), 3);
    nobody_failed(&world);
    world.heal();
    ends_well(world);
}

#[test]
fn a_slow_store_fences_nobody() {
    let mut world = working(4);
    world.slow_until = world.now + 15 * SECOND;
    run(&mut world, 15 * SECOND);
    assert!((0..3).all(|machine| standing(&world, machine) == Standing::Serving));
    nobody_failed(&world);
    ends_well(world);
}

#[test]
fn service_is_back_within_three_seconds_of_the_quorum_and_nobody_is_fenced() {
    for (seed, lost) in [(0, 2), (1, 4), (2, 8), (3, 20), (4, 30)] {
        let mut world = working(seed);
        let generations = world
            .store
            .survey()
            .nodes
            .iter()
            .map(|node| node.generation)
            .collect::<Vec<_>>();
        let until = world.now + lost * SECOND;
        world.lose_quorum(until);
        run(&mut world, lost * SECOND - 100 * MS);
        assert_eq!(serving(&world), if lost > 6 { 0 } else { 3 }, "after {lost} s");
        run(&mut world, 3 * SECOND);
        assert_eq!(serving(&world), 3);
        run(&mut world, 7 * SECOND);
        let after = world
            .store
            .survey()
            .nodes
            .iter()
            .map(|node| node.generation)
            .collect::<Vec<_>>();
        assert_eq!(generations, after, "nobody was fenced");
        ends_well(world);
    }
}

#[test]
fn a_store_that_has_forgotten_stops_everybody_until_the_operator_decides() {
    for seed in 0..10 {
        let mut world = working(seed);
        // Asserts that nobody serves, and accepts.
        world.forget_and_accept();
        assert_eq!(world.checker.breach, None);
        run(&mut world, 3 * SECOND);
        assert_eq!(serving(&world), 3);
        ends_well(world);
    }
}

#[test]
fn a_node_that_was_down_when_the_operator_accepted_follows() {
    let mut world = working(5);
    world.kill(2);
    run(&mut world, SECOND);
    world.start(0);
    world.kill(0);
    world.start(0);
    run(&mut world, 12 * SECOND);
    let to = world.store.log[world.store.log.len() / 2].revision;
    world.store.roll_back(to);
    world.checker.forgot(world.now, &world.store);
    (0..2).for_each(|machine| world.break_watch(machine, true));
    run(&mut world, 9 * SECOND);
    assert_eq!(serving(&world), 0);
    world.on(world.now, 1, What::Input(Input::Accept { timeline: Timeline(77) }));
    run(&mut world, 4 * SECOND);
    world.start(2);
    run(&mut world, 3 * SECOND);
    assert_eq!(serving(&world), 3);
    ends_well(world);
}

/// All nodes are killed, the store is restored, all nodes start: how many serve.
fn serving_after_a_restart(mutant: Option<Mutant>) -> usize {
    let mut world = fleet(11, 3, mutant, false);
    world.run_until(20 * SECOND);
    (0..3).for_each(|machine| world.kill(machine));
    let to = world.store.log[world.store.log.len() / 2].revision;
    world.store.roll_back(to);
    world.checker.forgot(world.now, &world.store);
    (0..3).for_each(|machine| world.start(machine));
    world.run_until(world.now + 5 * SECOND);
    serving(&world)
}

#[test]
fn the_anchor_is_what_notices_after_a_restart() {
    assert_eq!(serving_after_a_restart(None), 0);
    assert_eq!(serving_after_a_restart(Some(Mutant::NoAnchor)), 3);
}

/// One node applies everything 200 ms late, which is not so late that it says so.
fn breach_on_a_late_node(mutant: Option<Mutant>) -> Option<String> {
    let mut world = working_with(12, mutant);
    world.machines[1].watch_delay = 200 * MS;
    world.run_until(world.now + 60 * SECOND);
    world.checker.breach.take()
}

#[test]
fn a_destroy_waits_for_a_late_node_and_a_build_without_barriers_is_found() {
    // INV-6
    assert_eq!(breach_on_a_late_node(None), None);
    let breach = breach_on_a_late_node(Some(Mutant::NoBarriers)).unwrap_or_default();
    let ways = [
        "used after",
        "used by a login that had ended",
        "decrypted after",
        "read version",
    ];
    assert!(ways.iter().any(|way| breach.contains(way)), "{breach}");
}

/// A node is stopped between the work of a read and its reply, and goes on when it has been fenced.
fn breach_of_a_stop_before_a_reply(mutant: Option<Mutant>) -> Option<String> {
    let mut world = working_with(13, mutant);
    let reads = |world: &World| {
        let jobs = world.machines[2]
            .process
            .iter()
            .flat_map(|process| process.jobs.values());
        jobs.filter(|job| job.part == Part::Read).count()
    };
    while reads(&world) == 0 {
        run(&mut world, MS);
    }
    world.machines[2].stopped_until = world.now + 12 * SECOND;
    world.run_until(world.now + 15 * SECOND);
    world.checker.breach.take()
}

#[test]
fn a_build_that_checks_its_right_before_the_work_only_is_found() {
    assert_eq!(breach_of_a_stop_before_a_reply(None), None);
    let breach = breach_of_a_stop_before_a_reply(Some(Mutant::NoCheckBeforeReply));
    assert!(breach.is_some_and(|what| what.contains("fenced answered")));
}

#[test]
fn a_drained_node_leaves_and_no_call_fails() {
    let mut world = working(6);
    world.on(world.now, 0, What::Input(Input::Drain));
    run(&mut world, 9 * SECOND);
    assert_eq!(standing(&world, 0), Standing::Left);
    nobody_failed(&world);
    assert!(longest_read(&world) < 500 * MS);
    world.kill(0);
    world.start(0);
    ends_well(world);
}

#[test]
fn a_removed_node_stays_out() {
    let mut world = working(7);
    world.kill(2);
    run(&mut world, 8 * SECOND);
    let remove = Input::Remove {
        request: Request(u64::MAX),
        node: World::node(2),
    };
    world.on(world.now, 0, What::Input(remove));
    run(&mut world, SECOND);
    assert_eq!(standing(&world, 2), Standing::Removed);
    world.start(2);
    run(&mut world, 5 * SECOND);
    let process = world.machines[2].process.as_ref();
    assert_eq!(process.map(|process| process.node.phase()), Some(Phase::Removed));
    nobody_failed(&world);
}

#[test]
fn wrong_pins_on_all_nodes_are_ten_tries_in_total() {
    // INV-8
    for seed in 0..20 {
        let mut world = fleet(seed, 3, None, false);
        for client in 0..9 {
            world.add_client(Client {
                thief: true,
                node: client,
                ..Client::default()
            });
        }
        world.clients_until = 40 * SECOND;
        world.rough = seed % 2 == 0;
        if world.rough {
            world.run_until(2 * SECOND);
            world.at(world.now, crate::sim::world::Event::Fault);
        }
        run(&mut world, 30 * SECOND);
        world.heal();
        run(&mut world, 20 * SECOND);
        let told = world.checker.wrong_told.len();
        assert!(told <= 10, "{told} verdicts");
        let tries = world
            .store
            .records
            .get(&Key::Tries(GROUP))
            .map(|record| record.value.clone());
        let Some(Value::Tries(tries)) = tries.as_deref() else {
            panic!("nobody tried");
        };
        assert!(tries.locked && tries.failures.len() == 10, "{tries:?}");
        assert!(world.rough || seed % 2 == 0 || told == 10, "{told} verdicts");
    }
}

#[test]
fn right_pins_in_parallel_never_lock() {
    // INV-8
    let mut world = fleet(9, 3, None, false);
    for client in 0..32 {
        world.add_client(Client {
            careful: true,
            node: client,
            ..Client::default()
        });
    }
    world.clients_until = 10 * SECOND;
    run(&mut world, 20 * SECOND);
    let tries = world
        .store
        .records
        .get(&Key::Tries(GROUP))
        .map(|record| record.value.clone());
    assert!(matches!(tries.as_deref(), Some(Value::Tries(tries)) if !tries.locked));
    ends_well(world);
}

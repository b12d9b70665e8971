//! The engine on a toy protocol: order, determinism, and what network, disks and faults mean.

mod toy;

use frith_simulator::engine::{
    Action, Clock, Instant, LinkRules, Millis, NodeIndex, NodeRules, Plan, Simulation, Step, Write,
};
use frith_simulator::gossip::GossipRules;
use toy::{SYNCED, Toy, ring, run_until, who_has, world};

const A: NodeIndex = NodeIndex(0);
const B: NodeIndex = NodeIndex(1);
const C: NodeIndex = NodeIndex(2);

fn fast() -> LinkRules {
    LinkRules { latency_min_us: 10_000, latency_max_us: 10_000, ..LinkRules::default() }
}

/// Three connected nodes with a plan, without gossip.
fn three(plan: Plan) -> Simulation<Toy> {
    ring(world(true, fast(), 1).with_plan(plan), 3, 1)
}

fn plan(faults: &[(u64, Action)]) -> Plan {
    let mut plan = Plan::default();
    for (ms, action) in faults {
        plan.at_ms(*ms, action.clone());
    }
    plan
}

fn mess(seed: u64) -> Simulation<Toy> {
    let links =
        LinkRules { loss_ppm: 100_000, duplicate_ppm: 50_000, jitter_us: 20_000, ..LinkRules::default() };
    let plan = plan(&[
        (3_000, Action::LosePower { node: B }),
        (4_000, Action::Cut { id: 1, sides: vec![(5..20).map(NodeIndex).collect()] }),
        (5_000, Action::Restart { node: B }),
        (6_000, Action::Pause { node: C }),
        (20_000, Action::Heal { id: 1 }),
        (21_000, Action::Resume { node: C }),
    ]);
    let world = world(true, links, seed).with_gossip(GossipRules::default(), seed, 0).with_plan(plan);
    let mut world = ring(world, 40, 6);
    for number in 0..50 {
        world.command(NodeIndex(number % 40), u64::from(number) * 150_000, u64::from(number));
    }
    world
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let run = |seed| {
        let mut world = mess(seed);
        run_until(&mut world, 30_000);
        (world.trace_hash(), world.counters())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
    let elsewhere: Vec<_> =
        (0..2).map(|_| std::thread::spawn(move || run(1))).map(|it| it.join().unwrap()).collect();
    assert_eq!(elsewhere, [run(1), run(1)]);
}

/// Pinned: a run must be the same in another process, build and machine. When the engine changes on purpose, so does this.
#[test]
fn a_run_of_the_toy_has_the_hash_that_it_had_before() {
    let mut world = mess(1);
    run_until(&mut world, 30_000);
    assert_eq!(
        world.trace_hash().to_string(),
        "24c08f90589e4da6b3194ac50d4fe6c6559a8b718be3d7cb57818234a08d48c9"
    );
}

#[test]
fn everybody_learns_everything_once_the_faults_are_over() {
    let mut world = mess(3);
    run_until(&mut world, 120_000);
    for number in 0..50 {
        let missing: Vec<u32> = (0..40).filter(|node| !who_has(&world, number).contains(node)).collect();
        // Node 1 was down, and node 2 stood still, when they were told some of theirs.
        assert!(missing.is_empty() || who_has(&world, number).is_empty(), "{missing:?} lack {number}");
    }
    let known = (0..50).filter(|number| !who_has(&world, *number).is_empty()).count();
    assert!(known >= 48, "only {known} of 50 numbers are known");
}

#[test]
fn a_message_takes_as_long_as_its_link_and_a_sync_comes_before_it() {
    let mut world = ring(world(false, fast(), 1).with_gossip(GossipRules::default(), 1, 0), 3, 1);
    run_until(&mut world, 1_500);
    world.command(A, 0, 77);
    let asked = world.now();
    let told = run_until(&mut world, 3_000);
    let at = |node| told.iter().find(|(_, n, number)| *n == node && *number == 77).expect("it arrived").0;
    assert_eq!(at(A).since(asked), 200, "a synced write takes 200 µs");
    let sent =
        world.shared.left.iter().find(|(_, node, message)| *node == A && message.0.contains(&77)).unwrap().0;
    assert_eq!(at(B).since(sent), 10_000 + 200);
}

#[test]
fn what_a_node_sends_does_not_leave_when_power_is_lost_before_the_write_is_durable() {
    // With the fault 100 µs after the command, half-way through the sync; and well after it.
    for (fault_us, leaves) in [(1_500_100, false), (1_500_300, true)] {
        let mut plan = plan(&[(60_000, Action::Restart { node: A })]);
        plan.0
            .push(frith_simulator::engine::Fault { at_us: fault_us, action: Action::LosePower { node: A } });
        let overlay = world(false, fast(), 1).with_gossip(GossipRules::default(), 1, 0).with_plan(plan);
        let mut world = ring(overlay, 3, 1);
        world.command(A, 1_500_000 - world.now().0, 5);
        run_until(&mut world, 3_000);
        let left = world.shared.left.iter().any(|(_, node, message)| *node == A && message.0.contains(&5));
        assert_eq!((left, !who_has(&world, 5).is_empty()), (leaves, leaves), "power lost at {fault_us} µs");
    }
}

#[test]
fn numbers_that_were_acknowledged_are_there_after_a_loss_of_power() {
    let plan = plan(&[(1_500, Action::LosePower { node: A }), (3_000, Action::Restart { node: A })]);
    let mut world = ring(world(false, fast(), 1).with_plan(plan), 1, 1);
    for number in 0..10 {
        world.command(A, number * 149_950, number);
    }
    let told = run_until(&mut world, 1_600);
    assert_eq!(told.len(), 10, "{told:?}");
    run_until(&mut world, 4_000);
    assert_eq!(world.actor(A).expect("it is back").numbers.len(), 10);
}

#[test]
fn a_rolled_back_disk_brings_old_numbers_only() {
    let plan = plan(&[
        (1_000, Action::KeepImage { node: A, image: 1 }),
        (2_000, Action::Kill { node: A }),
        (2_100, Action::RollBack { node: A, image: 1 }),
        (3_000, Action::Restart { node: A }),
    ]);
    let mut world = ring(world(false, fast(), 1).with_plan(plan), 1, 1);
    world.command(A, 500_000, 1);
    world.command(A, 1_500_000, 2);
    run_until(&mut world, 1_900);
    assert_eq!(world.actor(A).unwrap().numbers.len(), 2);
    run_until(&mut world, 4_000);
    assert_eq!(world.actor(A).unwrap().numbers, [1].into());
}

#[test]
fn a_partition_is_silent_at_first_noticed_later_and_reconnects_when_it_heals() {
    let plan =
        plan(&[(1_000, Action::Cut { id: 1, sides: vec![vec![A]] }), (30_000, Action::Heal { id: 1 })]);
    let mut world = three(plan);
    run_until(&mut world, 2_000);
    assert_eq!(world.peers(A), [B, C], "nobody has noticed yet");
    world.command(B, 0, 9);
    run_until(&mut world, 12_000);
    assert_eq!(world.peers(A), []);
    assert_eq!(world.peers(B), [C]);
    assert_eq!(who_has(&world, 9), [1, 2]);
    run_until(&mut world, 31_000);
    assert_eq!(world.peers(A), [B, C]);
    assert_eq!(who_has(&world, 9), [0, 1, 2], "peers that connect exchange what they have");
}

#[test]
fn a_killed_process_is_missed_at_once_and_a_machine_without_power_only_later() {
    for (action, noticed_ms) in [(Action::Kill { node: A }, 1_011), (Action::LosePower { node: A }, 11_001)] {
        let mut world = three(plan(&[(1_000, action)]));
        run_until(&mut world, noticed_ms);
        let heard = world.shared.handed.iter().filter(|(_, _, what)| what.contains("Disconnected")).count();
        assert_eq!(heard, 2);
        let mut world = three(plan(&[(1_000, Action::LosePower { node: A })]));
        run_until(&mut world, 11_000);
        assert!(!world.shared.handed.iter().any(|(_, _, what)| what.contains("Disconnected")));
    }
}

#[test]
fn a_peer_that_is_back_before_its_end_was_noticed_is_told_as_gone_and_back() {
    let plan = plan(&[(1_000, Action::LosePower { node: A }), (2_000, Action::Restart { node: A })]);
    let mut world = three(plan);
    run_until(&mut world, 60_000);
    let of_b: Vec<&str> = world
        .shared
        .handed
        .iter()
        .filter(|(_, node, what)| *node == B && what.contains("onnected(NodeIndex(0))"))
        .map(|(_, _, what)| what.split('(').next().unwrap())
        .collect();
    assert_eq!(of_b, ["Connected", "Disconnected", "Connected"]);
}

#[test]
fn what_is_sent_to_a_paused_process_waits_in_order() {
    let plan = plan(&[(1_000, Action::Pause { node: B }), (5_500, Action::Resume { node: B })]);
    let mut world =
        ring(world(false, fast(), 1).with_gossip(GossipRules::default(), 1, 0).with_plan(plan), 3, 1);
    for number in [3, 1, 2] {
        world.command(A, 2_000_000 + number * 100_000, number);
    }
    run_until(&mut world, 5_000);
    assert_eq!(who_has(&world, 1), [0, 2]);
    let told = run_until(&mut world, 6_000);
    let order: Vec<u64> =
        told.iter().filter(|(_, node, _)| *node == B).map(|(_, _, number)| *number).collect();
    assert_eq!(order, [1, 2, 3]);
    assert!(told.iter().all(|(at, ..)| *at >= Instant::from_ms(5_500)));
}

#[test]
fn a_lost_copy_of_gossip_is_repaired_and_nothing_is_repaired_without_peers_outside_the_mesh() {
    let links = LinkRules { loss_ppm: 200_000, ..LinkRules::default() };
    let narrow = GossipRules { mesh: 2, mesh_low: 2, mesh_high: 4, ..GossipRules::default() };
    let mut world = ring(world(false, links, 5).with_gossip(narrow, 5, 0), 60, 12);
    run_until(&mut world, 3_000);
    for number in 1_000..1_020 {
        world.command(A, 0, number);
    }
    run_until(&mut world, 3_900);
    let early: usize = (1_000..1_020).map(|number| who_has(&world, number).len()).sum();
    run_until(&mut world, 20_000);
    let late: usize = (1_000..1_020).map(|number| who_has(&world, number).len()).sum();
    assert!(world.counters().repaired > 0 && late > early, "{early} then {late} of 1200");
    assert!(late >= 1_190, "only {late} of 1200 arrived");
}

#[test]
fn gossip_crosses_each_mesh_link_at_most_once_each_way_and_reaches_everybody() {
    let mut world = ring(world(false, fast(), 2).with_gossip(GossipRules::default(), 2, 0), 200, 20);
    run_until(&mut world, 5_000);
    let before = world.counters();
    let links: usize = (0..200).map(|node| world.mesh(NodeIndex(node)).len()).sum();
    assert!((0..200).all(|node| (5..12).contains(&world.mesh(NodeIndex(node)).len())));
    world.command(A, 0, 42);
    run_until(&mut world, 6_900);
    assert_eq!(who_has(&world, 42).len(), 200);
    let after = world.counters();
    // Everybody sends it to all of its mesh but whom it has it from.
    assert_eq!(after.sends - before.sends, links as u64 - 199);
    assert_eq!(after.bytes - before.bytes, (links as u64 - 199) * 8);
    assert_eq!(after.deliveries - before.deliveries, links as u64 - 199);
}

#[test]
fn a_clock_that_is_wrong_moves_the_deadlines_of_its_node_and_of_no_other() {
    let mut world = world(true, fast(), 1);
    let clocks = [Clock::default(), Clock { offset_us: 5_000_000, drift_ppm: 100_000 }];
    for clock in clocks {
        let node = world.add_node(NodeRules { clock, ..NodeRules::default() });
        world.start(node, 0);
    }
    run_until(&mut world, 10_500);
    let ticks = |node| world.shared.handed.iter().filter(|(_, n, what)| *n == node && what == "Tick").count();
    assert_eq!((ticks(A), ticks(B)), (10, 11), "10 % faster: eleven seconds went by");
    assert_eq!(world.reads(B), Millis(5_000 + 10_000 * 11 / 10));
}

#[test]
fn a_program_that_does_not_start_stays_down_and_says_why() {
    let mut world = world(false, fast(), 1);
    let node = world.add_node(NodeRules::default());
    let value = Some(u64::MAX.to_le_bytes().into());
    world.prepare(node, Write { table: SYNCED, key: vec![0], value, synced: true });
    world.start(node, 0);
    let Some(Step::NotStarted(who, why)) = world.step() else { panic!("it started") };
    assert_eq!(who, node);
    assert!(why.contains("no program starts with"));
    assert!(world.actor(node).is_none());
}

#[test]
fn a_link_that_was_hung_up_for_good_carries_nothing_and_stays_down() {
    let mut world = three(Plan::default());
    run_until(&mut world, 1_000);
    world.part(A, B);
    world.part(A, C);
    world.command(A, 0, 11);
    run_until(&mut world, 20_000);
    assert_eq!(who_has(&world, 11), [0]);
    assert_eq!(world.peers(A), []);
}

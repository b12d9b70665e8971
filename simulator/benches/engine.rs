//! How fast the engine is by itself: its queue against a heap, and a world of toys.

#[path = "../tests/toy/mod.rs"]
mod toy;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use divan::Bencher;
use divan::counter::ItemsCount;
use frith_simulator::engine::{Concern, Instant, Key, LinkRules, NodeIndex, Queue, Random};
use frith_simulator::gossip::GossipRules;

fn main() {
    divan::main();
}

/// What an event of a real run takes: two nodes, a tag, a pointer.
type Event = [u64; 3];
const STEPS: usize = 100_000;
/// Deliveries are at most this far ahead.
const HORIZON_US: u64 = 100_000;

fn key(now: Instant, random: &mut Random, sequence: &mut u64) -> Key {
    *sequence += 1;
    Key {
        time: now.plus_us(random.below(HORIZON_US)),
        source: random.below(1_000) as u32,
        sequence: *sequence,
    }
}

/// Each of `STEPS` events is taken out, and schedules another, while so many wait.
#[divan::bench(args = [10_000, 100_000, 1_000_000], sample_count = 10)]
fn queue(bencher: Bencher<'_, '_>, pending: u64) {
    let (mut random, mut sequence, mut queue) =
        (Random::new(1, 0, Concern::Network), 0, Queue::<Event>::new());
    for _ in 0..pending {
        queue.push(key(Instant::ZERO, &mut random, &mut sequence), [0; 3]);
    }
    bencher.counter(ItemsCount::new(STEPS)).bench_local(|| {
        for _ in 0..STEPS {
            let (at, event) = queue.pop().expect("it is never empty");
            queue.push(key(at.time, &mut random, &mut sequence), event);
        }
    });
}

/// The same with the standard library's heap: the peer to compare with.
#[divan::bench(args = [10_000, 100_000, 1_000_000], sample_count = 10)]
fn heap(bencher: Bencher<'_, '_>, pending: u64) {
    let (mut random, mut sequence) = (Random::new(1, 0, Concern::Network), 0);
    let mut heap = BinaryHeap::<Reverse<(Key, Event)>>::new();
    for _ in 0..pending {
        heap.push(Reverse((key(Instant::ZERO, &mut random, &mut sequence), [0; 3])));
    }
    bencher.counter(ItemsCount::new(STEPS)).bench_local(|| {
        for _ in 0..STEPS {
            let Reverse((at, event)) = heap.pop().expect("it is never empty");
            heap.push(Reverse((key(at.time, &mut random, &mut sequence), event)));
        }
    });
}

/// One message to a thousand nodes: what a delivery costs, duplicates included.
#[divan::bench(sample_count = 20)]
fn gossip_to_a_thousand_toys(bencher: Bencher<'_, '_>) {
    let world = toy::world(false, LinkRules::default(), 1).with_gossip(GossipRules::default(), 1, 0);
    let mut world = toy::ring(world, 1_000, 12);
    toy::run_until(&mut world, 5_000);
    let (before, mut number, mut until) = (world.counters().deliveries, 0, 5_000);
    let mut once = |world: &mut _| {
        number += 1;
        until += 2_000;
        frith_simulator::engine::Simulation::command(world, NodeIndex(3), 0, number);
        toy::run_until(world, until);
        world.shared.handed.clear();
        world.shared.left.clear();
    };
    once(&mut world);
    let deliveries = world.counters().deliveries - before;
    bencher.counter(ItemsCount::new(deliveries)).bench_local(|| once(&mut world));
}

//! The queue of events: ordered by (time, source, source's sequence), and fast with a million pending.
//!
//! A heap alone slows down as it grows out of the cache. Here most events wait in the slots of two wheels, unsorted, and only those
//! of the slot whose time has come are in a heap: [`FINE_SLOTS`] slots of [`FINE_US`] microseconds, then as many as needed of
//! [`COARSE_US`] (one turn of the fine wheel), then a heap for the far future. The order that comes out is that of the keys alone.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::time::Instant;

const FINE_BITS: u32 = 8;
const TURN_BITS: u32 = 20;
/// Width of a slot of the fine wheel, in microseconds.
pub const FINE_US: u64 = 1 << FINE_BITS;
/// Slots of the fine wheel.
pub const FINE_SLOTS: usize = 1 << (TURN_BITS - FINE_BITS);
/// Width of a slot of the coarse wheel, in microseconds: about a second.
pub const COARSE_US: u64 = 1 << TURN_BITS;
/// Slots of the coarse wheel: about 18 minutes.
pub const COARSE_SLOTS: usize = 1 << 10;

/// What an event is ordered by. No two events have equal keys: a source never uses a sequence number twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// When it happens.
    pub time: Instant,
    /// Who caused it.
    pub source: u32,
    /// The how-manieth of that source's events it is.
    pub sequence: u64,
}

struct Pending<E> {
    key: Key,
    event: E,
}

impl<E> PartialEq for Pending<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
impl<E> Eq for Pending<E> {}
impl<E> PartialOrd for Pending<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Pending<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

/// Events that have not happened yet.
pub struct Queue<E> {
    /// Those of the current fine slot, and whatever is scheduled into it or before.
    current: BinaryHeap<Reverse<Pending<E>>>,
    /// Number of the current fine slot since the beginning.
    slot: u64,
    fine: Vec<Vec<Pending<E>>>,
    fine_used: Bits,
    coarse: Vec<Vec<Pending<E>>>,
    coarse_used: Bits,
    far: BinaryHeap<Reverse<Pending<E>>>,
    len: usize,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Queue::new()
    }
}

impl<E> Queue<E> {
    /// An empty queue, at the beginning of time.
    pub fn new() -> Queue<E> {
        Queue {
            current: BinaryHeap::new(),
            slot: 0,
            fine: std::iter::repeat_with(Vec::new).take(FINE_SLOTS).collect(),
            fine_used: Bits::new(FINE_SLOTS),
            coarse: std::iter::repeat_with(Vec::new).take(COARSE_SLOTS).collect(),
            coarse_used: Bits::new(COARSE_SLOTS),
            far: BinaryHeap::new(),
            len: 0,
        }
    }

    /// How many events wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts `event` in its place.
    pub fn push(&mut self, key: Key, event: E) {
        self.len += 1;
        self.place(Pending { key, event });
    }

    fn place(&mut self, pending: Pending<E>) {
        let slot = pending.key.time.0 >> FINE_BITS;
        if slot <= self.slot {
            self.current.push(Reverse(pending));
            return;
        }
        let turns = (slot >> (TURN_BITS - FINE_BITS)) - (self.slot >> (TURN_BITS - FINE_BITS));
        if turns == 0 {
            let index = slot as usize % FINE_SLOTS;
            self.fine[index].push(pending);
            self.fine_used.set(index);
        } else if turns < COARSE_SLOTS as u64 {
            let index = (slot >> (TURN_BITS - FINE_BITS)) as usize % COARSE_SLOTS;
            self.coarse[index].push(pending);
            self.coarse_used.set(index);
        } else {
            self.far.push(Reverse(pending));
        }
    }

    /// The key of the next event.
    pub fn next_key(&mut self) -> Option<Key> {
        self.turn();
        self.current.peek().map(|next| next.0.key)
    }

    /// Takes the next event out.
    pub fn pop(&mut self) -> Option<(Key, E)> {
        self.turn();
        let Reverse(Pending { key, event }) = self.current.pop()?;
        self.len -= 1;
        Some((key, event))
    }

    /// Turns the wheels until the current slot holds an event, or nothing is left.
    fn turn(&mut self) {
        while self.current.is_empty() && self.len > 0 {
            let index = self.slot as usize % FINE_SLOTS;
            if let Some(next) = self.fine_used.first_from(index + 1) {
                self.slot += (next - index) as u64;
                self.fine_used.clear(next);
                // The heap is empty, and gives its space to the slot in return.
                let space = std::mem::take(&mut self.current).into_vec();
                let events = std::mem::replace(&mut self.fine[next], unwrapped(space));
                self.current = events.into_iter().map(Reverse).collect();
                continue;
            }
            self.turn_coarse();
        }
    }

    /// The fine wheel is empty: goes to the beginning of the next turn that has an event, and lays its events out.
    fn turn_coarse(&mut self) {
        let turn = self.slot >> (TURN_BITS - FINE_BITS);
        let index = turn as usize % COARSE_SLOTS;
        let ahead = self
            .coarse_used
            .first_from(index + 1)
            .map(|next| next - index)
            .or_else(|| self.coarse_used.first_from(0).map(|next| next + COARSE_SLOTS - index));
        let far = self.far.peek().map(|next| next.0.key.time.0 >> TURN_BITS);
        let next = match (ahead.map(|ahead| turn + ahead as u64), far) {
            (Some(near), Some(far)) => near.min(far),
            (Some(near), None) => near,
            (None, Some(far)) => far,
            (None, None) => unreachable!("{} events wait, and no wheel holds one", self.len),
        };
        self.slot = next << (TURN_BITS - FINE_BITS);
        let index = next as usize % COARSE_SLOTS;
        self.coarse_used.clear(index);
        for pending in std::mem::take(&mut self.coarse[index]) {
            self.place(pending);
        }
        // What was far when it was scheduled is near by now.
        while self
            .far
            .peek()
            .is_some_and(|first| first.0.key.time.0 >> TURN_BITS < next + COARSE_SLOTS as u64)
        {
            let Reverse(pending) = self.far.pop().expect("it was just looked at");
            self.place(pending);
        }
    }
}

/// The space of a heap that holds nothing any more.
fn unwrapped<E>(space: Vec<Reverse<Pending<E>>>) -> Vec<Pending<E>> {
    debug_assert!(space.is_empty());
    space.into_iter().map(|Reverse(pending)| pending).collect()
}

/// Which slots hold anything.
struct Bits(Vec<u64>);

impl Bits {
    fn new(len: usize) -> Bits {
        Bits(vec![0; len.div_ceil(64)])
    }

    fn set(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    fn clear(&mut self, index: usize) {
        self.0[index / 64] &= !(1 << (index % 64));
    }

    /// The first one at `from` or after.
    fn first_from(&self, from: usize) -> Option<usize> {
        let mut word = from / 64;
        let mut bits = self.0.get(word)? & (u64::MAX << (from % 64));
        while bits == 0 {
            word += 1;
            bits = *self.0.get(word)?;
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::{Concern, Random};
    use super::*;

    /// Pushes and pops at random, beside a plain sorted map.
    fn agrees_with_a_sorted_map(seed: u64, horizon_us: u64) {
        let mut random = Random::new(seed, 0, Concern::Plan);
        let (mut queue, mut model) = (Queue::new(), std::collections::BTreeMap::new());
        let (mut now, mut sequence) = (Instant::ZERO, 0);
        for _ in 0..20_000 {
            if random.chance(520_000) {
                sequence += 1;
                let time = now.plus_us(random.below(horizon_us));
                let key = Key { time, source: random.below(5) as u32, sequence };
                queue.push(key, sequence);
                model.insert(key, sequence);
            } else {
                let expected = model.pop_first();
                assert_eq!(queue.next_key(), expected.map(|(key, _)| key));
                let got = queue.pop();
                assert_eq!(got, expected);
                now = got.map_or(now, |(key, _)| key.time);
            }
            assert_eq!(queue.len(), model.len());
        }
        while let Some(expected) = model.pop_first() {
            assert_eq!(queue.pop(), Some(expected));
        }
        assert!(queue.pop().is_none());
    }

    #[test]
    fn events_come_out_in_the_order_of_their_keys_whatever_the_horizon() {
        for (seed, horizon_us) in [
            (1, 10),
            (2, FINE_US * 3),
            (3, 100_000),
            (4, COARSE_US * 5),
            (5, COARSE_US * 3_000),
            (6, 1 << 50),
        ] {
            agrees_with_a_sorted_map(seed, horizon_us);
        }
    }

    #[test]
    fn equal_times_are_ordered_by_source_and_then_by_sequence() {
        let mut queue = Queue::new();
        let key = |source, sequence| Key { time: Instant(5), source, sequence };
        for (source, sequence) in [(2, 0), (1, 8), (1, 3), (0, 9)] {
            queue.push(key(source, sequence), (source, sequence));
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(_, event)| event).collect();
        assert_eq!(order, [(0, 9), (1, 3), (1, 8), (2, 0)]);
    }

    #[test]
    fn the_end_of_time_can_be_scheduled() {
        let mut queue = Queue::new();
        queue.push(Key { time: Instant(u64::MAX), source: 0, sequence: 0 }, "last");
        queue.push(Key { time: Instant(3), source: 0, sequence: 1 }, "first");
        assert_eq!(queue.pop().map(|(_, event)| event), Some("first"));
        assert_eq!(queue.pop().map(|(_, event)| event), Some("last"));
    }
}

//! Randomness from one seed, one stream per concern, so that a change in one (another fault, say) leaves all the others as they were.
//!
//! Integers only: floating point may round differently on another machine, and a run must be the same everywhere.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// What a stream of random numbers is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Which faults happen, where and when.
    Plan,
    /// Loss, duplication, jitter.
    Network,
    /// What a crash takes from a disk.
    Disks,
    /// Who arrives when, which keys, what operators do.
    Workload,
    /// Whom the gossip overlay picks.
    Gossip,
    /// How wrong clocks are.
    Clocks,
}

impl Concern {
    fn name(self) -> &'static str {
        match self {
            Concern::Plan => "plan",
            Concern::Network => "network",
            Concern::Disks => "disks",
            Concern::Workload => "workload",
            Concern::Gossip => "gossip",
            Concern::Clocks => "clocks",
        }
    }
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The stream for `concern` in part `part` of the run (a domain, say) that `seed` names.
    pub fn new(seed: u64, part: u64, concern: Concern) -> Random {
        let mut hasher = blake3::Hasher::new_derive_key("frith-sim 2026-11 random stream v1");
        hasher.update(&seed.to_le_bytes()).update(&part.to_le_bytes()).update(concern.name().as_bytes());
        Random(ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()))
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Any 32 bytes: a seed for something else.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A number below `bound`; zero if `bound` is. The bias is below 2⁻³² for all bounds in use.
    pub fn below(&mut self, bound: u64) -> u64 {
        scaled(self.bits(), bound)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "no number lies between {low} and {high}");
        low + self.below((high - low).saturating_add(1))
    }

    /// True `ppm` times in a million. Draws nothing if the answer is certain.
    pub fn chance(&mut self, ppm: u32) -> bool {
        match ppm {
            0 => false,
            1_000_000.. => true,
            _ => self.below(1_000_000) < u64::from(ppm),
        }
    }

    /// The wait until the next of events that happen on their own, `mean` apart on average: exponentially distributed.
    ///
    /// John von Neumann's method, which compares and never takes a logarithm: in a run of uniform numbers that goes down for an odd
    /// count of steps, the first is exponentially distributed within its unit; each even run moves on by one unit.
    pub fn exponential(&mut self, mean: u64) -> u64 {
        let mut units: u64 = 0;
        loop {
            let first = self.bits();
            let (mut last, mut steps) = (first, 1u64);
            loop {
                let next = self.bits();
                if next > last {
                    break;
                }
                last = next;
                steps += 1;
            }
            if steps % 2 == 1 {
                let fraction = scaled(first, mean);
                return units.saturating_mul(mean).saturating_add(fraction);
            }
            units += 1;
        }
    }

    /// Puts `items` into any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// Any 64 bits as a number below `bound`; zero if `bound` is.
pub fn scaled(bits: u64, bound: u64) -> u64 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}

/// A number that depends on `words` alone: a table that is never stored.
pub fn mix(words: [u64; 3]) -> u64 {
    let mut hash: u64 = 0x9e37_79b9_7f4a_7c15;
    for word in words {
        hash = (hash ^ word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^= hash >> 31;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_two_concerns_differ_and_each_is_the_same_again() {
        let draw = |concern| Random::new(7, 0, concern).seed();
        assert_eq!(draw(Concern::Plan), draw(Concern::Plan));
        assert_ne!(draw(Concern::Plan), draw(Concern::Network));
        assert_ne!(draw(Concern::Plan), Random::new(7, 1, Concern::Plan).seed());
        assert_ne!(draw(Concern::Plan), Random::new(8, 0, Concern::Plan).seed());
    }

    #[test]
    fn exponential_waits_have_the_mean_and_the_tail_that_they_should() {
        let mut random = Random::new(1, 0, Concern::Workload);
        let (count, mean) = (200_000, 1_000_000);
        let waits: Vec<u64> = (0..count).map(|_| random.exponential(mean)).collect();
        let average = waits.iter().sum::<u64>() / count;
        assert!(average.abs_diff(mean) < mean / 100, "the mean is {average}");
        // e⁻¹ of them are longer than the mean, and e⁻³ longer than three times that.
        let beyond = |units: u64| waits.iter().filter(|wait| **wait > units * mean).count() as u64;
        assert!(beyond(1).abs_diff(count * 36_788 / 100_000) < count / 200, "{}", beyond(1));
        assert!(beyond(3).abs_diff(count * 4_979 / 100_000) < count / 400, "{}", beyond(3));
    }

    #[test]
    fn chance_happens_as_often_as_it_says() {
        let mut random = Random::new(1, 0, Concern::Network);
        assert!(!random.chance(0) && random.chance(1_000_000));
        let happened = (0..100_000).filter(|_| random.chance(250_000)).count();
        assert!(happened.abs_diff(25_000) < 600, "{happened}");
    }
}

//! Two kinds of time: the world's, which orders events, and what the clock of a node says, which may be wrong.

use std::fmt;

/// Microseconds since the world began. Nodes never see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// The beginning of the world.
    pub const ZERO: Instant = Instant(0);

    /// That many milliseconds after the beginning.
    pub const fn from_ms(ms: u64) -> Instant {
        Instant(ms.saturating_mul(1_000))
    }

    /// Whole milliseconds since the beginning.
    pub const fn as_ms(self) -> u64 {
        self.0 / 1_000
    }

    /// `us` microseconds later.
    #[must_use]
    pub const fn plus_us(self, us: u64) -> Instant {
        Instant(self.0.saturating_add(us))
    }

    /// Microseconds since `earlier`; zero if that is later.
    pub const fn since(self, earlier: Instant) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} ms", self.0 / 1_000, self.0 % 1_000)
    }
}

/// What the clock of a node says, in its own milliseconds: all that a program may know of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

/// A node's clock: so much ahead at the beginning of the world, and so much too fast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Microseconds ahead of the world; behind it if negative. A clock stands still at zero rather than show a time before it.
    pub offset_us: i64,
    /// Parts per million too fast; too slow if negative.
    pub drift_ppm: i32,
}

impl Clock {
    /// What the clock says at `now`.
    pub fn reads(&self, now: Instant) -> Millis {
        Millis(self.reads_us(now) / 1_000)
    }

    fn reads_us(&self, now: Instant) -> u64 {
        let world = i128::from(now.0);
        let us = world + world * i128::from(self.drift_ppm) / 1_000_000 + i128::from(self.offset_us);
        u64::try_from(us.max(0)).unwrap_or(u64::MAX)
    }

    /// The first instant at which the clock reads `deadline` or more, but not before `now`.
    pub fn reaches(&self, deadline: Millis, now: Instant) -> Instant {
        if self.reads(now) >= deadline {
            return now;
        }
        let target = i128::from(deadline.0) * 1_000;
        let rate = 1_000_000 + i128::from(self.drift_ppm);
        assert!(rate > 0, "a clock with a drift of {} ppm never goes forward", self.drift_ppm);
        let guess = (target - i128::from(self.offset_us)) * 1_000_000 / rate;
        let mut at = Instant(u64::try_from(guess.max(0)).unwrap_or(u64::MAX)).max(now);
        // Two roundings lie between the guess and the truth: a few steps settle it.
        while at > now && self.reads(Instant(at.0 - 1)) >= deadline {
            at.0 -= 1;
        }
        while self.reads(at) < deadline && at.0 < u64::MAX {
            at.0 += 1;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_at_the_first_microsecond_at_which_the_clock_shows_it() {
        for drift_ppm in [-200, -1, 0, 1, 37, 500] {
            for offset_us in [-1_500_000, -1, 0, 999, 3_600_000_000] {
                let clock = Clock { offset_us, drift_ppm };
                for deadline in [1, 2, 999, 5_000, 86_400_000] {
                    let at = clock.reaches(Millis(deadline), Instant::ZERO);
                    assert!(clock.reads(at) >= Millis(deadline), "{clock:?} {deadline}");
                    if at > Instant::ZERO {
                        assert!(clock.reads(Instant(at.0 - 1)) < Millis(deadline), "{clock:?} {deadline}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_deadline_that_has_passed_is_reached_now() {
        assert_eq!(Clock::default().reaches(Millis(3), Instant::from_ms(9)), Instant::from_ms(9));
    }

    #[test]
    fn a_clock_that_is_behind_the_beginning_stands_at_zero() {
        let clock = Clock { offset_us: -5_000_000, drift_ppm: 0 };
        assert_eq!(clock.reads(Instant::from_ms(4_000)), Millis(0));
        assert_eq!(clock.reads(Instant::from_ms(6_000)), Millis(1_000));
    }
}

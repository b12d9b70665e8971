//! The time that the core is given.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use frith_protocol::time::Timestamp;

/// A step back of less than this is jitter, and nobody's concern.
const JITTER_MS: u64 = 1_000;

/// The time, as this machine's clock has it.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// This machine's clock, of which the core's timers must not depend on its running forwards.
///
/// When the clock is set back, the core is shown so once, and raises its alarm. Then it is given a time that goes on at half the true
/// pace until the clock has caught up: were it given the clock's own, no timer would fire until then.
pub(super) struct Clock {
    latest: Timestamp,
    at: Instant,
    behind: bool,
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock { latest: now(), at: Instant::now(), behind: false }
    }

    /// The time now.
    pub(super) fn now(&mut self) -> Timestamp {
        self.read(now(), Instant::now())
    }

    /// The time as the core has it, as if nothing had come in since.
    pub(super) fn latest(&self) -> Timestamp {
        self.slewed(now(), Instant::now())
    }

    fn slewed(&self, wall: Timestamp, at: Instant) -> Timestamp {
        let passed = u64::try_from(at.saturating_duration_since(self.at).as_millis()).unwrap_or(u64::MAX);
        wall.max(self.latest.plus(if wall < self.latest { passed / 2 } else { 0 }))
    }

    fn read(&mut self, wall: Timestamp, at: Instant) -> Timestamp {
        if self.latest.since(wall) > JITTER_MS && !self.behind {
            self.behind = true;
            return wall;
        }
        let time = self.slewed(wall, at);
        if time > self.latest {
            (self.latest, self.at) = (time, at);
        }
        self.behind &= wall < time;
        time
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn clock(latest: u64) -> (Clock, Instant) {
        let at = Instant::now();
        (Clock { latest: Timestamp(latest), at, behind: false }, at)
    }

    fn after(at: Instant, ms: u64) -> Instant {
        at + Duration::from_millis(ms)
    }

    #[test]
    fn a_clock_that_runs_forwards_is_handed_on_as_it_is() {
        let (mut clock, at) = clock(1_000);
        for ms in [0, 5, 5, 700, 90_000] {
            assert_eq!(clock.read(Timestamp(1_000 + ms), after(at, ms)), Timestamp(1_000 + ms));
        }
    }

    #[test]
    fn a_clock_set_back_is_shown_once_and_then_time_goes_on_slowly_until_it_has_caught_up() {
        let (mut clock, at) = clock(100_000);
        assert_eq!(clock.read(Timestamp(60_000), at), Timestamp(60_000));
        let mut before = Timestamp(100_000);
        for ms in (0..78_000).step_by(1_000) {
            let time = clock.read(Timestamp(60_000 + ms), after(at, ms));
            assert!(time >= before, "it ran back at {ms}");
            assert_eq!(time, Timestamp(100_000 + ms / 2), "at {ms}");
            before = time;
        }
        assert_eq!(clock.read(Timestamp(150_000), after(at, 90_000)), Timestamp(150_000));
        // The next time it is set back is shown again.
        assert_eq!(clock.read(Timestamp(70_000), after(at, 91_000)), Timestamp(70_000));
    }

    #[test]
    fn a_little_jitter_is_smoothed_and_not_shown() {
        let (mut clock, at) = clock(100_000);
        assert_eq!(clock.read(Timestamp(99_990), after(at, 4)), Timestamp(100_002));
    }
}

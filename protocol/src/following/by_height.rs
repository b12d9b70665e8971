//! Things of the log by height: added at the end, dropped at the beginning, and mostly looked for near the end.

use std::collections::VecDeque;
use std::ops::RangeBounds;

/// Values at rising heights, in one ring. A map would do; but a node touches these for every final block, and a thousand simulated
/// nodes share one cache: here a look at the end is one place in memory, and in a tree it is a walk from the root.
#[derive(Clone, Debug)]
pub(super) struct ByHeight<T>(VecDeque<(u64, T)>);

impl<T> Default for ByHeight<T> {
    fn default() -> Self {
        ByHeight(VecDeque::new())
    }
}

impl<T> ByHeight<T> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds one.
    ///
    /// # Panics
    /// If `height` is not above all that are there.
    pub(super) fn push(&mut self, height: u64, value: T) {
        assert!(self.0.back().is_none_or(|(last, _)| *last < height), "a log only grows upwards");
        self.0.push_back((height, value));
    }

    /// Drops all above `height`.
    pub(super) fn truncate(&mut self, height: u64) {
        let keep = self.0.partition_point(|(at, _)| *at <= height);
        self.0.truncate(keep);
    }

    /// Drops the lowest.
    pub(super) fn pop_first(&mut self) -> Option<(u64, T)> {
        self.0.pop_front()
    }

    /// The one at `height`.
    pub(super) fn get(&self, height: u64) -> Option<&T> {
        self.0.get(self.place(height)?).map(|(_, value)| value)
    }

    fn place(&self, height: u64) -> Option<usize> {
        let (last, _) = self.0.back()?;
        let behind = usize::try_from(last.checked_sub(height)?).ok()?;
        // If no height is left out, it is just as far from the end as it is below the last.
        let guess = (self.0.len() - 1).checked_sub(behind);
        guess
            .filter(|guess| self.0[*guess].0 == height)
            .or_else(|| self.0.binary_search_by_key(&height, |(at, _)| *at).ok())
    }

    /// Those at the heights in `range`, upwards.
    pub(super) fn range(&self, range: impl RangeBounds<u64>) -> impl DoubleEndedIterator<Item = (u64, &T)> {
        let below = |height: u64| self.0.partition_point(|(at, _)| *at < height);
        let upto = |height: u64| self.0.partition_point(|(at, _)| *at <= height);
        let from = match range.start_bound() {
            std::ops::Bound::Included(height) => below(*height),
            std::ops::Bound::Excluded(height) => upto(*height),
            std::ops::Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            std::ops::Bound::Included(height) => upto(*height),
            std::ops::Bound::Excluded(height) => below(*height),
            std::ops::Bound::Unbounded => self.0.len(),
        };
        self.0.range(from..to.max(from)).map(|(height, value)| (*height, value))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_answers_as_a_map_does_with_and_without_gaps() {
        for step in [1, 3] {
            let (mut ring, mut map) = (ByHeight::default(), BTreeMap::new());
            for height in (5..90).step_by(step) {
                ring.push(height, height * 2);
                map.insert(height, height * 2);
                if map.len() > 11 {
                    assert_eq!(ring.pop_first(), map.pop_first());
                }
                assert_eq!(ring.len(), map.len());
                for at in 0..100 {
                    assert_eq!(ring.get(at), map.get(&at));
                    assert!(ring.range(at..).eq(map.range(at..).map(|(height, value)| (*height, value))));
                    assert!(ring.range(..at).eq(map.range(..at).map(|(height, value)| (*height, value))));
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "a log only grows upwards")]
    fn nothing_is_put_below_what_is_there() {
        let mut ring = ByHeight::default();
        ring.push(4, ());
        ring.push(4, ());
    }
}

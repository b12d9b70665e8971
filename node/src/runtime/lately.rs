//! What happened lately, numbered, in rings: what many can make happen pushes out nothing but its own kind.
//!
//! **Invariant:** strangers, of whom there may be any number, make a node neither forget an alarm or a block, nor say more than
//! [`NEWCOMERS_TOLD_MAX`] lines of them a [`NEWCOMERS_EVERY_MS`].

use std::collections::{BTreeSet, VecDeque};

use frith_protocol::encoding::Hash;
use frith_protocol::time::Timestamp;

use crate::control::PAGE_MAX;
use crate::control::feed::{FeedView, Happening};
use crate::control::views::BlockView;

/// So many newcomers are told of one by one, in so long a time; how many more there are is told at its end.
const NEWCOMERS_TOLD_MAX: usize = 16;
const NEWCOMERS_EVERY_MS: u64 = 60_000;
/// So many newcomers that nobody was told of are remembered, so that nobody is told that they lapsed either.
const UNTOLD_MAX: usize = 1024;

/// A happening, as it is kept.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    /// The block of this height is final, and has entries.
    Final(u64),
    /// Anything else. It is short.
    Other(Happening),
}

/// Of what kind a happening is. Each has a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ring {
    /// What asks for a person, or changes what anybody may do.
    Weighty,
    /// What members and endorsers do.
    Usual,
    /// What strangers do.
    Newcomers,
}

impl Ring {
    const ALL: [Ring; 3] = [Ring::Weighty, Ring::Usual, Ring::Newcomers];

    /// So many of its happenings are kept, the newest ones.
    const fn size(self) -> usize {
        match self {
            Ring::Weighty | Ring::Usual => 512,
            Ring::Newcomers => 128,
        }
    }

    fn of(happening: &Happening) -> Ring {
        match happening {
            Happening::Here { .. }
            | Happening::Final(_)
            | Happening::Standing { .. }
            | Happening::Held { .. }
            | Happening::Phase { .. }
            | Happening::Alarm { .. }
            | Happening::Missed { .. }
            | Happening::Stopped { .. } => Ring::Weighty,
            Happening::Waiting { .. }
            | Happening::Met { .. }
            | Happening::Lapsed { .. }
            | Happening::Connected { .. }
            | Happening::Disconnected { .. } => Ring::Usual,
            Happening::Newcomers { .. } => Ring::Newcomers,
        }
    }
}

/// What happened lately.
#[derive(Debug, Default)]
pub(super) struct Lately {
    /// With their numbers, which rise in each.
    rings: [VecDeque<(u64, Kept)>; Ring::ALL.len()],
    /// The number of the next one.
    next: u64,
    /// When the newest of those happened that are not kept any more.
    lost_until: Option<Timestamp>,
    /// When the newcomers that are told of one by one began to be counted, and how many there were.
    newcomers: Option<(Timestamp, usize)>,
    /// How many more there are.
    more: u64,
    /// Proposals of newcomers: those that were told of, and others.
    told: BTreeSet<Hash>,
    untold: BTreeSet<Hash>,
}

impl Lately {
    /// The number of the next happening.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// How many are not kept any more, if one of them happened after `time`, and is not in the log.
    pub(super) fn lost_since(&self, time: Timestamp) -> u64 {
        let kept: usize = self.rings.iter().map(VecDeque::len).sum();
        if self.lost_until.is_some_and(|lost| lost > time) { self.next - kept as u64 } else { 0 }
    }

    fn keep(&mut self, ring: Ring, kept: Kept) {
        let (kept_here, size) = (&mut self.rings[ring as usize], ring.size());
        if kept_here.len() == size {
            let lost = kept_here.pop_front();
            self.lost_until = match lost {
                Some((_, Kept::Other(happening))) => self.lost_until.max(Some(happening.time())),
                // The log has it still.
                Some((_, Kept::Final(_))) | None => self.lost_until,
            };
        }
        kept_here.push_back((self.next, kept));
        self.next += 1;
    }

    pub(super) fn block(&mut self, height: u64) {
        self.keep(Ring::Weighty, Kept::Final(height));
    }

    pub(super) fn happened(&mut self, happening: Happening) {
        self.keep(Ring::of(&happening), Kept::Other(happening));
    }

    /// A newcomer waits for the operator.
    pub(super) fn newcomer_waits(&mut self, id: Hash, waits: Happening) {
        let now = waits.time();
        self.count_newcomers(now);
        let (_, told) = self.newcomers.get_or_insert((now, 0));
        if *told < NEWCOMERS_TOLD_MAX {
            *told += 1;
            remember(&mut self.told, id);
            self.keep(Ring::Newcomers, Kept::Other(waits));
        } else {
            self.more += 1;
            remember(&mut self.untold, id);
        }
    }

    /// A proposal came to nothing.
    pub(super) fn lapsed(&mut self, id: Hash, lapsed: Happening) {
        if self.untold.remove(&id) {
            return;
        }
        let ring = if self.told.remove(&id) { Ring::Newcomers } else { Ring::Usual };
        self.keep(ring, Kept::Other(lapsed));
    }

    /// When it is to be told how many newcomers there are that nobody was told of.
    pub(super) fn counts_at(&self) -> Option<Timestamp> {
        self.newcomers.filter(|_| self.more > 0).map(|(since, _)| since.plus(NEWCOMERS_EVERY_MS))
    }

    /// Tells that, if it is time to.
    pub(super) fn count_newcomers(&mut self, now: Timestamp) {
        if self.newcomers.is_none_or(|(since, _)| now < since.plus(NEWCOMERS_EVERY_MS)) {
            return;
        }
        self.newcomers = None;
        let count = std::mem::take(&mut self.more);
        if count > 0 {
            self.happened(Happening::Newcomers { time: now, count });
        }
    }

    /// All that is kept, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Kept> {
        self.from(0).into_iter().map(|(_, kept)| kept)
    }

    fn from(&self, number: u64) -> Vec<(u64, &Kept)> {
        let mut all: Vec<(u64, &Kept)> = Vec::new();
        for ring in &self.rings {
            let first = ring.partition_point(|(at, _)| *at < number);
            all.extend(ring.range(first..).map(|(at, kept)| (*at, kept)));
        }
        all.sort_unstable_by_key(|(at, _)| *at);
        all
    }

    /// What happened from `next` on, as much as fits into an answer.
    pub(super) fn page(&self, next: u64, block_at: impl Fn(u64) -> Option<BlockView>) -> FeedView {
        let (mut missed, mut number) = (0, next);
        let (mut happened, mut items) = (Vec::new(), 0);
        for (at, kept) in self.from(next) {
            let happening = match kept {
                Kept::Other(happening) => Some(happening.clone()),
                Kept::Final(height) => block_at(*height).map(Happening::Final),
            };
            items += match &happening {
                Some(Happening::Final(block)) => 1 + block.entries.len(),
                Some(_) | None => 1,
            };
            if items > PAGE_MAX && !happened.is_empty() {
                break;
            }
            missed += at - number;
            number = at + 1;
            match happening {
                Some(happening) => happened.push(happening),
                // The log was pruned meanwhile.
                None => missed += 1,
            }
        }
        FeedView { next: number, missed, past: Vec::new(), happened }
    }
}

fn remember(known: &mut BTreeSet<Hash>, id: Hash) {
    if known.len() == UNTOLD_MAX {
        known.pop_first();
    }
    known.insert(id);
}

#[cfg(test)]
mod tests {
    use frith_protocol::state::BlockId;

    use super::*;

    fn lapsed(number: u64) -> Happening {
        Happening::Lapsed { time: Timestamp(number), id: Hash([7; 32]) }
    }

    fn id(number: u64) -> Hash {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        Hash(id)
    }

    fn waits(number: u64, time: u64) -> Happening {
        let (asks, note) = ("admit somebody".into(), String::new());
        Happening::Waiting { time: Timestamp(time), id: id(number), asks, note }
    }

    /// All that a watcher is told from `next` on, and how much it missed.
    fn read(
        lately: &Lately,
        mut next: u64,
        block_at: impl Fn(u64) -> Option<BlockView>,
    ) -> (Vec<Happening>, u64) {
        let (mut happened, mut missed) = (Vec::new(), 0);
        while next < lately.next {
            let page = lately.page(next, &block_at);
            assert!(page.next > next, "a watcher would ask for ever");
            (next, missed) = (page.next, missed + page.missed);
            happened.extend(page.happened);
        }
        (happened, missed)
    }

    #[test]
    fn a_watcher_is_told_everything_once_and_one_that_is_too_slow_how_much_it_missed() {
        let mut lately = Lately::default();
        (0..10).for_each(|number| lately.happened(lapsed(number)));
        let none = |_| None;
        assert_eq!(read(&lately, 0, none), ((0..10).map(lapsed).collect(), 0));
        assert_eq!(read(&lately, 7, none), ((7..10).map(lapsed).collect(), 0));
        assert_eq!(read(&lately, 10, none), (vec![], 0));

        let many = 5 * Ring::Usual.size() as u64;
        (10..many).for_each(|number| lately.happened(lapsed(number)));
        let first = many - Ring::Usual.size() as u64;
        assert_eq!(read(&lately, 7, none), ((first..many).map(lapsed).collect(), first - 7));
        assert_eq!(lately.lost_since(Timestamp(first - 2)), first);
        assert_eq!(lately.lost_since(Timestamp(first - 1)), 0);
    }

    #[test]
    fn an_answer_holds_no_more_entries_than_a_page_and_blocks_that_were_pruned_count_as_missed() {
        let mut lately = Lately::default();
        (1..=9).for_each(|height| lately.block(height));
        let entry = crate::control::views::EntryView {
            statement: frith_protocol::state::StatementId([3; 32]),
            kind: "admission".into(),
            subject: None,
            what: "admit".into(),
            endorsed_by: Vec::new(),
        };
        let block = |height| {
            let entries = vec![entry.clone(); PAGE_MAX / 3];
            BlockView { height, block: BlockId([1; 32]), time: Timestamp(height), entries }
        };
        assert_eq!(lately.page(0, |height| Some(block(height))).happened.len(), 2);
        let (told, missed) = read(&lately, 0, |height| (height > 4).then(|| block(height)));
        assert_eq!((told.len(), missed), (5, 4));
        assert_eq!(told[0], Happening::Final(block(5)));
    }

    #[test]
    fn strangers_push_out_no_alarm_and_are_told_of_one_by_one_only_as_long_as_they_are_few() {
        let mut lately = Lately::default();
        let alarm = Happening::Alarm { time: Timestamp(1), why: "a lie".into() };
        lately.happened(alarm.clone());
        lately.happened(lapsed(2));
        for number in 0..100_000 {
            // A new identity each millisecond, and none of them stays.
            lately.newcomer_waits(id(number), waits(number, number));
            lately.lapsed(id(number), lapsed(number));
        }
        let (told, missed) = read(&lately, 0, |_| None);
        assert_eq!((&told[0], &told[1], missed), (&alarm, &lapsed(2), 0));
        let counts = |told: &[Happening]| -> u64 {
            told.iter().map(|one| if let Happening::Newcomers { count, .. } = one { *count } else { 0 }).sum()
        };
        let one_by_one = told.iter().filter(|one| matches!(one, Happening::Waiting { .. })).count();
        assert_eq!(one_by_one, 2 * NEWCOMERS_TOLD_MAX, "in a minute and a bit");
        assert_eq!(
            told.len(),
            2 + 2 * one_by_one + 1,
            "each of those lapsed, and the others were counted once"
        );
        assert_eq!(counts(&told), NEWCOMERS_EVERY_MS - NEWCOMERS_TOLD_MAX as u64);
        // The rest of them is counted when that minute is over, also if nobody else comes.
        let at = lately.counts_at().unwrap();
        lately.count_newcomers(Timestamp(at.0 - 1));
        assert_eq!(lately.counts_at(), Some(at));
        lately.count_newcomers(at);
        let (told, _) = read(&lately, 0, |_| None);
        assert_eq!(counts(&told) + one_by_one as u64, 100_000, "all of them");
        assert_eq!(lately.counts_at(), None);

        // However long that goes on, it pushes out what strangers did before, and nothing else.
        for minute in 10..1_000 {
            lately.newcomer_waits(id(minute), waits(minute, minute * NEWCOMERS_EVERY_MS));
        }
        let (told, missed) = read(&lately, 0, |_| None);
        assert_eq!((&told[0], &told[1]), (&alarm, &lapsed(2)));
        assert_eq!((told.len(), told.len() as u64 + missed), (2 + Ring::Newcomers.size(), lately.next));
    }
}

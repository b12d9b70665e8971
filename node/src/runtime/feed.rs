//! What changed here, for whoever watches ([`crate::control::feed`]).
//!
//! What happened lately is kept once, and not for anybody in particular ([`Lately`]). Of blocks only the height is kept: the log has the rest.
//! **Invariant:** no watcher, however slow, makes the node keep more than that and one answer.

use std::collections::BTreeSet;

use frith_protocol::door::{Core, Phase};
use frith_protocol::encoding::Hash;
use frith_protocol::following::Chain;
use frith_protocol::identity::NodeId;
use frith_protocol::state::{Effective, State};
use frith_protocol::time::Timestamp;
use tokio::sync::oneshot;

use super::answers::to_value;
use super::explain::{block_view, effective_word, is_open, printable, state_of, what_is_asked};
use super::host::Host;
use super::lately::{Kept, Lately};
use crate::control::feed::{FeedView, Happening};
use crate::control::views::{BlockView, Heights};
use crate::control::{PAGE_MAX, Refusal, Reply, Since, WATCHERS_MAX};

/// Somebody who waits for whatever happens next.
struct Watcher {
    next: u64,
    asker: oneshot::Sender<Reply>,
}

/// What happened lately, and who waits for what happens next.
pub(super) struct Feed {
    pub(super) lately: Lately,
    /// Up to which height blocks were told of, or were there when this process began.
    reached: Option<u64>,
    /// When somebody may become something else by time alone. More than that, as entries leave behind what is no more: each is looked at
    /// again when it is due.
    coming: BTreeSet<(Timestamp, NodeId)>,
    /// What was told of this node last.
    told: Option<(Phase, bool)>,
    /// Who was said to be connected.
    connected: BTreeSet<NodeId>,
    watchers: Vec<Watcher>,
}

impl Feed {
    pub(super) fn new() -> Feed {
        Feed {
            lately: Lately::default(),
            reached: None,
            coming: BTreeSet::new(),
            told: None,
            connected: BTreeSet::new(),
            watchers: Vec::new(),
        }
    }

    pub(super) fn happened(&mut self, happening: Happening) {
        self.lately.happened(happening);
    }

    /// Blocks up to `height` were told of. (A recovery may lead to a lower one than before.)
    pub(super) fn reached(&mut self, height: u64) {
        self.reached = Some(height);
    }

    /// The state is that after `height`, whatever came before it.
    fn jumped(&mut self, height: u64, time: Timestamp) {
        if let Some(above) = self.reached.filter(|reached| *reached < height) {
            let blocks = Some(Heights { above, up_to: height });
            self.happened(Happening::Missed { time, count: None, blocks });
        }
        self.reached(height);
    }

    /// When somebody may become something else by time alone, or strangers are counted.
    pub(super) fn next_change(&self) -> Option<Timestamp> {
        self.coming.first().map(|(at, _)| *at).into_iter().chain(self.lately.counts_at()).min()
    }

    /// Remembers when `node` may become something else.
    fn expect(&mut self, state: &State, node: NodeId, now: Timestamp) {
        // What is until the end of time does not come.
        let coming = state.may_change_at(&node, now).filter(|at| *at < Timestamp(u64::MAX));
        self.coming.extend(coming.map(|at| (at, node)));
    }

    fn expect_all(&mut self, state: &State, now: Timestamp) {
        self.coming.clear();
        for (node, _) in state.members() {
            self.expect(state, node, now);
        }
    }
}

/// What `node` became at `at` by time alone, if it did. (No admission begins after its block, but by a clock that is behind.)
/// What it is now is only told if that can be relied on `now`: somebody may have been revoked in a block that has not come.
fn turned(core: &Core, state: &State, node: NodeId, at: Timestamp, now: Timestamp) -> Option<Happening> {
    let before = Timestamp(at.0.checked_sub(1)?);
    let (was, is) = (state.effective(&node, before), state.effective(&node, at));
    let words = |effective| effective_word(effective).to_string();
    (was != is && was != Effective::NotYet).then(|| Happening::Standing {
        time: at,
        node,
        was: words(was),
        is: if core.effective(&node, now).is_none() { "stale".into() } else { words(is) },
    })
}

impl Host {
    // ---- what happens ----

    /// A block with entries is final.
    pub(super) fn feed_block(&mut self, height: u64) {
        let now = self.clock.latest();
        self.feed.lately.block(height);
        let core = self.router.core(&self.domain).expect("the one core is never taken out");
        let Some(chain) = core.chain() else { return };
        match chain.recent_blocks().find(|held| held.block.header.height == height) {
            Some(held) if held.block.entries.iter().all(|entry| entry.statement.subject().is_some()) => {
                for node in held.block.entries.iter().filter_map(|entry| entry.statement.subject()) {
                    self.feed.expect(chain.state(), node, now);
                }
            }
            // A change of charter may touch anybody.
            Some(_) | None => self.feed.expect_all(chain.state(), now),
        }
    }

    /// The state is another than it was, and not by blocks.
    pub(super) fn feed_state(&mut self) {
        let now = self.clock.latest();
        if let Some(state) = self.router.core(&self.domain).expect("the one core is never taken out").state()
        {
            self.feed.expect_all(state, now);
        }
    }

    /// There is a state now, perhaps in the place of blocks that nobody gave to this node.
    pub(super) fn feed_jump(&mut self, height: u64) {
        self.feed.jumped(height, self.clock.latest());
    }

    /// Somebody may have become something else by time, this node too.
    pub(super) fn feed_time(&mut self, now: Timestamp) {
        while let Some((at, node)) = self.feed.coming.first().copied().filter(|(at, _)| *at <= now) {
            self.feed.coming.pop_first();
            let core = self.router.core(&self.domain).expect("the one core is never taken out");
            let Some(state) = core.state() else { break };
            let told = turned(core, state, node, at, now);
            self.feed.expect(state, node, at);
            told.into_iter().for_each(|happening| self.feed.happened(happening));
        }
        self.feed.lately.count_newcomers(now);
        let here = self.phase_and_stale(now);
        if self.feed.told.replace(here).is_some_and(|told| told != here) {
            let (phase, stale) = here;
            self.feed.happened(Happening::Phase { time: now, phase, stale });
        }
    }

    /// Who of those that belong here is connected now, and was not; and the other way round.
    pub(super) fn feed_connections(&mut self) {
        let (core, time) = (self.core(), self.clock.latest());
        let owner = |key| {
            core.state().and_then(|state| state.owner_of(key).filter(|node| state.standing(node).is_some()))
        };
        let now: BTreeSet<NodeId> = self.connected.keys().filter_map(owner).collect();
        let before = std::mem::replace(&mut self.feed.connected, now.clone());
        for node in before.difference(&now).copied() {
            self.feed.happened(Happening::Disconnected { time, node });
        }
        for node in now.difference(&before).copied() {
            self.feed.happened(Happening::Connected { time, node });
        }
    }

    fn phase_and_stale(&self, now: Timestamp) -> (Phase, bool) {
        let core = self.core();
        (core.phase(), core.effective(&core.node_id(), now).is_none())
    }

    // ---- who watches ----

    /// Answers a request to watch, now or as soon as something has happened.
    pub(super) fn watch(
        &mut self,
        next: Option<u64>,
        since: Option<Since>,
        now: Timestamp,
        asker: oneshot::Sender<Reply>,
    ) {
        match next {
            None => {
                let reply = self.feed_begins(since, now).map(|view| to_value(&view));
                self.reply(asker, reply);
            }
            Some(next) if next > self.feed.lately.next() => {
                let why = "nothing has that number yet: this node was restarted; watch anew, with `since`";
                self.reply(asker, Err(Refusal::bad(why)));
            }
            Some(next) => {
                self.feed.watchers.retain(|watcher| !watcher.asker.is_closed());
                if self.feed.watchers.len() >= WATCHERS_MAX {
                    let why = format!("{WATCHERS_MAX} watch this node already");
                    return self.reply(asker, Err(Refusal::refused(why)));
                }
                self.feed.watchers.push(Watcher { next, asker });
            }
        }
    }

    /// Whoever watches is told what happened since it last was.
    pub(super) fn tell_watchers(&mut self) {
        let end = self.feed.lately.next();
        let (told, waiting) =
            std::mem::take(&mut self.feed.watchers).into_iter().partition(|watcher| watcher.next < end);
        self.feed.watchers = waiting;
        for Watcher { next, asker } in told {
            drop(asker.send(Ok(to_value(&self.feed.lately.page(next, |height| self.block_at(height))))));
        }
    }

    fn block_at(&self, height: u64) -> Option<BlockView> {
        self.core().chain()?.held(height).map(|held| block_view(&held.block))
    }

    /// The first answer: what happened after `since`, how it is now, and what waits for the operator.
    fn feed_begins(&self, since: Option<Since>, now: Timestamp) -> Result<FeedView, Refusal> {
        let core = self.core();
        let (mut past, mut missed) = (Vec::new(), 0);
        if let Some(since) = since {
            let after = self.time_of(since)?;
            // What came by time can be told of whoever stands still, also if it came before this process.
            past = self.turned_since(state_of(core)?, after, now);
            let lately = self.feed.lately.all().filter_map(|kept| match kept {
                // Blocks, and which are missing, come from the log; what waits follows below.
                Kept::Final(_)
                | Kept::Other(Happening::Waiting { .. } | Happening::Missed { blocks: Some(_), .. }) => None,
                Kept::Other(happening) => Some(happening).filter(|one| one.time() > after),
            });
            let lately: Vec<Happening> = lately.filter(|one| !past.contains(one)).cloned().collect();
            past.extend(lately);
            past.sort_by_key(Happening::time);
            missed = self.feed.lately.lost_since(after);
            let too_many = past.len().saturating_sub(PAGE_MAX);
            missed += past.drain(..too_many).count() as u64;
        }
        let (phase, stale) = self.phase_and_stale(now);
        let (node, domain, height) = (core.node_id(), self.domain, core.head().map(|head| head.height));
        let mut happened = vec![Happening::Here { time: now, node, domain, phase, stale, height }];
        let open = core.proposals().filter(|(_, proposal)| is_open(core, proposal, now));
        happened.extend(open.take(PAGE_MAX).filter_map(|(id, _)| self.waiting(*id, now)));
        Ok(FeedView { next: self.feed.lately.next(), missed, past, happened })
    }

    /// A moment, from however it was said.
    fn time_of(&self, since: Since) -> Result<Timestamp, Refusal> {
        match since {
            Since::Time(time) => Ok(time),
            Since::Height(height) => {
                let chain: Option<&Chain> = self.core().chain();
                let blocks = chain.into_iter().flat_map(Chain::recent_blocks).map(|held| &held.block.header);
                // Heartbeats are not kept: the newest block with entries up to there is as good.
                let time = blocks.filter(|header| header.height <= height).map(|header| header.time).max();
                Ok(time.unwrap_or_default())
            }
        }
    }

    /// Who became something else by time alone after `after`, in order.
    fn turned_since(&self, state: &State, after: Timestamp, now: Timestamp) -> Vec<Happening> {
        let mut turned_then = BTreeSet::new();
        for (node, _) in state.members() {
            let mut at = after;
            while let Some(next) = state.may_change_at(&node, at).filter(|at| *at <= now) {
                turned_then.insert((next, node));
                at = next;
            }
        }
        turned_then.into_iter().filter_map(|(at, node)| turned(self.core(), state, node, at, now)).collect()
    }

    /// A proposal, as something that waits.
    pub(super) fn waiting(&self, id: Hash, time: Timestamp) -> Option<Happening> {
        let core = self.core();
        let (_, proposal) = core.proposals().find(|(of, _)| **of == id)?;
        let asks = what_is_asked(&proposal.subject, core.state());
        Some(Happening::Waiting { time, id, asks, note: printable(&proposal.note) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_in_the_place_of_blocks_is_told_with_the_heights_that_are_missing() {
        let mut feed = Feed::new();
        let missed = |above, up_to| Happening::Missed {
            time: Timestamp(7),
            count: None,
            blocks: Some(Heights { above, up_to }),
        };
        // A newcomer's first state takes the place of nothing.
        feed.jumped(40, Timestamp(7));
        feed.reached(43);
        feed.jumped(90, Timestamp(7));
        // One that is not newer takes nobody anywhere.
        feed.jumped(90, Timestamp(7));
        feed.reached(91);
        feed.jumped(99, Timestamp(7));
        assert_eq!(feed.lately.page(0, |_| None).happened, [missed(43, 90), missed(91, 99)]);
    }
}

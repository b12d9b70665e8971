//! Holds at the door: given, received, passed on, and acted upon (SPEC 5.24 to 5.26).
//!
//! What a node takes for held follows from what it has received, its newest state and its clock, and from nothing else: not from the order
//! in which holds came. So endorsers that have received the same agree on whom to grant nothing, whatever a liar shows to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::core::Core;
use super::effects::Effects;
use super::input::{Alarm, Error, Event};
use super::message::{Message, Standing};
use super::record::{Record, Table};
use crate::agreement;
use crate::encoding::encode;
use crate::fault::Fault;
use crate::identity::{NodeId, PublicKey, Verified};
use crate::limits;
use crate::planted::{Bug, loosened};
use crate::state::{Block, Effective, Entry, Hold, HoldTerms, Kind, Rank, Reason, State, Statement};
use crate::time::Timestamp;

/// By whom somebody is held, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Each once, as many as it takes at least.
    pub by: BTreeSet<NodeId>,
    /// From then on there are not enough of them.
    pub until: Timestamp,
}

/// A day, a key, and one of its slots of that day. The day comes first: what is old lies in front.
type Place = (u64, PublicKey, u8);

/// What was received for one slot.
#[derive(Clone, Copy, Debug)]
struct Slot {
    first: Hold,
    /// It says something else, so that neither counts: with `first` the proof of a lie.
    second: Option<Hold>,
}

impl Slot {
    fn halves(&self) -> impl Iterator<Item = &Hold> {
        [Some(&self.first), self.second.as_ref()].into_iter().flatten()
    }
}

/// What became of a hold that came.
enum Taken {
    New,
    /// Another was here for that slot.
    Contradicts,
    Known,
}

/// The holds that were received of late, in force or lapsed: a lapsed one stays spent.
#[derive(Debug, Default)]
pub(super) struct Holds {
    slots: BTreeMap<Place, Slot>,
    /// When the next of them lapses.
    lapses: Option<Timestamp>,
    /// The last day of which holds of our own may be lost, with our journal: of it and those before we give none.
    pub(super) lost_on: Option<u64>,
}

/// Where [`Holds::lost_on`] lies in [`Table::Meta`].
pub(super) const LOST_ON_KEY: &[u8] = b"holds lost on";

impl Holds {
    fn take(&mut self, hold: Hold) -> Taken {
        let at = (hold.day(), hold.key, hold.slot);
        let Some(slot) = self.slots.get_mut(&at) else {
            self.slots.insert(at, Slot { first: hold, second: None });
            return Taken::New;
        };
        if slot.second.is_none() && slot.first.contradicts(&hold) {
            slot.second = Some(hold);
            return Taken::Contradicts;
        }
        Taken::Known
    }

    /// Those that nothing contradicts, whether or not they count.
    fn uncontradicted(&self) -> impl Iterator<Item = &Hold> {
        let alone = |slot: &&Slot| slot.second.is_none() || loosened(Bug::ContradictedHoldsCount);
        self.slots.values().filter(alone).map(|slot| &slot.first)
    }

    /// All that were received, both halves of a contradiction among them.
    fn all(&self) -> impl Iterator<Item = &Hold> {
        self.slots.values().flat_map(Slot::halves)
    }

    /// Both halves of each contradiction.
    pub(super) fn lies(&self) -> impl Iterator<Item = (Hold, Hold)> {
        self.slots.values().filter_map(|slot| Some((slot.first, slot.second?)))
    }

    /// Those that count at `now`, or would if nothing contradicted them; what contradicts them, too.
    fn that_would_count<'a>(&'a self, state: &'a State, now: Timestamp) -> impl Iterator<Item = &'a Hold> {
        let counts = move |slot: &&Slot| slot.halves().any(|hold| state.honours(hold, now));
        self.slots.values().filter(counts).flat_map(Slot::halves)
    }

    /// Those that count at `now` as far as `state` knows.
    fn in_force<'a>(&'a self, state: &'a State, now: Timestamp) -> impl Iterator<Item = &'a Hold> {
        self.uncontradicted().filter(move |hold| state.honours(hold, now))
    }

    /// Whether enough endorsers hold `node` (SPEC 5.25).
    pub(super) fn on(&self, node: &NodeId, state: &State, now: Timestamp) -> Option<Held> {
        if self.slots.is_empty() {
            return None;
        }
        let mut ends: BTreeMap<NodeId, Timestamp> = BTreeMap::new();
        for hold in self.uncontradicted().filter(|hold| hold.subject == *node) {
            if state.honours(hold, now) {
                let end = ends.entry(hold.by).or_default();
                *end = hold.until.max(*end);
            }
        }
        let mut latest: Vec<Timestamp> = ends.values().copied().collect();
        latest.sort_unstable_by(|a, b| b.cmp(a));
        // When the last of them lapses whom it needs.
        let until = *latest.get(state.holders_needed(node) - 1)?;
        Some(Held { by: ends.into_keys().collect(), until })
    }

    /// Whether `statement` grants something to somebody who is held; until when.
    pub(super) fn keep_back(
        &self,
        statement: &Statement,
        state: &State,
        now: Timestamp,
    ) -> Option<(NodeId, Timestamp)> {
        if self.slots.is_empty() || statement.rank() != Rank::Grant || loosened(Bug::HeldGranted) {
            return None;
        }
        let subject = statement.subject()?;
        Some((subject, self.on(&subject, state, now)?.until))
    }

    /// Until when a block may not be voted for, and for whose sake: it grants something to whoever is held.
    pub(super) fn keeps_back(
        &self,
        block: &Block,
        state: &State,
        now: Timestamp,
    ) -> Option<(Timestamp, BTreeSet<NodeId>)> {
        // Who is held at all, first: whom an admission is about has to be hashed.
        self.in_force(state, now).next()?;
        let entries = block.entries.iter();
        let kept: Vec<_> = entries.filter_map(|entry| self.keep_back(&entry.statement, state, now)).collect();
        let until = kept.iter().map(|(_, until)| *until).max()?;
        Some((until, kept.into_iter().map(|(subject, _)| subject).collect()))
    }

    /// The first of `by`'s slots of that day that neither it nor all that come after it is used: whatever was received counts, and what the log
    /// recorded, so that what an earlier life of ours gave, and others show, is not given otherwise again.
    fn free_slot(&self, by: &NodeId, day: u64, state: &State) -> Option<u8> {
        let recorded = state.standing(by).and_then(|standing| standing.holds);
        let is_over = |of: u64| day < of;
        if self.lost_on.is_some_and(|lost| day <= lost) || recorded.is_some_and(|it| is_over(it.day)) {
            return None;
        }
        let used = self.slots.iter().filter(|((of, ..), slot)| *of == day && slot.first.by == *by);
        let given = used.map(|((.., slot), _)| slot + 1).max().unwrap_or(0);
        let recorded =
            recorded.filter(|it| it.day == day).map_or(0, |it| u8::BITS - it.slots.leading_zeros());
        let next = if loosened(Bug::SlotsGivenAgain) { 0 } else { given.max(recorded as u8) };
        (next < limits::HOLDS_PER_DAY).then_some(next)
    }

    fn look_for_lapses(&mut self, now: Timestamp) {
        self.lapses = self.uncontradicted().map(|hold| hold.until).filter(|until| *until > now).min();
    }

    /// When what is held may be so no longer.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.lapses
    }

    /// Takes one that was stored.
    pub(super) fn restore(&mut self, hold: Hold, now: Timestamp) {
        self.take(hold);
        self.look_for_lapses(now);
    }

    /// Of a day that is over since a day, nothing can be in force, or come to be.
    fn is_over(day: u64, now: Timestamp) -> bool {
        day.saturating_add(2) <= now.day()
    }
}

/// Where a hold lies in [`Table::Holds`]: both halves of a contradiction find a place.
fn place(hold: &Hold, is_second: bool) -> Vec<u8> {
    let day = hold.day().to_be_bytes();
    [&day[..], &hold.key.0, &[hold.slot, u8::from(is_second)]].concat()
}

fn record_of(hold: &Hold, is_second: bool) -> Record {
    Record { table: Table::Holds, key: place(hold, is_second), value: Some(encode(hold).into()) }
}

impl Core {
    /// By whom `node` is held at `now`, as far as is known here.
    pub fn held(&self, node: &NodeId, now: Timestamp) -> Option<Held> {
        self.holds.on(node, self.state()?, now)
    }

    /// The holds that count at `now`, as far as is known here; of an endorser it takes several.
    pub fn holds(&self, now: Timestamp) -> impl Iterator<Item = &Hold> {
        self.state().into_iter().flat_map(move |state| self.holds.in_force(state, now))
    }

    /// How many holds this node may still give, of the day of its newest final block.
    pub fn holds_left(&self) -> u8 {
        let day = self.chain.as_ref().map(|chain| chain.basis().time.day());
        let next = day.and_then(|day| self.holds.free_slot(&self.me, day, self.state()?));
        next.map_or(0, |next| limits::HOLDS_PER_DAY - next)
    }

    /// What the domain says of `node`, and who holds it.
    pub(super) fn effective_here(&self, state: &State, node: &NodeId, now: Timestamp) -> Effective {
        let said = state.effective(node, now);
        let rests = said == Effective::Yes && self.holds.on(node, state, now).is_some();
        if rests { Effective::Suspended } else { said }
    }

    /// Whether `statement` would grant something to somebody who is held (SPEC 5.26).
    pub(super) fn check_not_held(&self, statement: &Statement) -> Result<(), Fault> {
        let kept = self.state().and_then(|state| self.holds.keep_back(statement, state, self.now));
        kept.map_or(Ok(()), |(subject, until)| Err(Fault::Held { subject, until }))
    }

    /// Our operator wants somebody held, at once.
    pub(super) fn hold(
        &mut self,
        subject: NodeId,
        until: Timestamp,
        reason: Reason,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        self.check_may_endorse()?;
        if self.journal_lost.is_some() {
            // What was lost may have been a hold, too: another in its slot would be a lie.
            return Err(Fault::NotAllowed { what: "a hold without the journal" }.into());
        }
        let Some(chain) = &self.chain else { return Err(Fault::Unknown { what: "the state" }.into()) };
        let (state, basis) = (chain.state(), chain.basis());
        if state.is_gone(&subject) {
            return Err(Fault::SubjectGone { subject }.into());
        }
        if state.standing(&subject).is_none() {
            return Err(Fault::SubjectUnknown { subject }.into());
        }
        let refused = |why| Err(Fault::BadHold { why }.into());
        let bound = state.charter().timing.hold_ms;
        if bound == 0 {
            return refused("the charter allows none");
        }
        let until = until.min(basis.time.plus(bound));
        if until <= self.now {
            return refused("it would be over: the newest final block here is older than a hold may last");
        }
        let Some(slot) = self.holds.free_slot(&self.me, basis.time.day(), state) else {
            return refused(
                "all of this day's are given, or may have been before this node lost its journal",
            );
        };
        let terms = HoldTerms { domain: self.domain, subject, slot, basis, until, reason };
        let hold = Hold::sign(terms, self.me, self.sequence(), &self.keys.identity);
        self.keep_hold(&hold, effects);
        self.act_on(&hold, effects);
        let message = Arc::new(Message::Hold(Box::new(hold)));
        for key in self.endorser_keys() {
            effects.send(key, Arc::clone(&message));
        }
        effects.publish(message);
        let _ = self.submitted(None, &record_entry(&hold), effects);
        Ok(())
    }

    /// Our journal is lost, and holds with it perhaps. A fresh voting key brings none of them back: another in the slot of one would be a lie.
    pub(super) fn holds_may_be_lost(&mut self, effects: &mut Effects) {
        let skew = self.charter().map_or(0, |charter| charter.timing.skew_ms);
        let head = self.chain.as_ref().map_or(Timestamp::ZERO, |chain| chain.head().time);
        let day = Some(self.now.max(head).plus(skew).day());
        if self.holds.lost_on < day {
            self.holds.lost_on = day;
            let value = day.map(|day| encode(&day).into());
            effects.persist(Record { table: Table::Meta, key: LOST_ON_KEY.to_vec(), value });
        }
    }

    /// Somebody brings a hold: its signer, another endorser, or gossip. `from` is `None` if the log does.
    pub(super) fn take_hold(
        &mut self,
        from: Option<PublicKey>,
        hold: &Verified<Hold>,
        by_gossip: bool,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let Some(state) = self.state() else { return Err(Error::Untimely("there is no state yet")) };
        // None of this is the sender's fault: its log or clock may be ahead of ours, or behind.
        if !state.is_of_an_endorser(hold) {
            return Err(Error::Untimely("it is not by an endorser's current key, as far as is known here"));
        }
        let ahead = hold.basis.time > self.now.plus(state.charter().timing.skew_ms);
        if ahead && !loosened(Bug::HoldsOfTomorrow) {
            return Err(Error::Untimely("it rests on a block that is still to come"));
        }
        if Holds::is_over(hold.day(), self.now) {
            return Err(Error::Untimely("its day is over"));
        }
        self.forget_holds(effects);
        let first = self.holds.slots.get(&(hold.day(), hold.key, hold.slot)).map(|slot| slot.first);
        match self.keep_hold(hold, effects) {
            Taken::Known => return Err(Error::Untimely("it is known already")),
            Taken::New => self.act_on(hold, effects),
            Taken::Contradicts => {
                let (node, day, slot) = (hold.by, hold.day(), hold.slot);
                effects.tell(Event::Alarm(Alarm::HoldsContradict { node, day, slot }));
                self.work_changed(effects);
                self.accuse_whoever_held_twice(effects);
            }
        }
        self.pass_on(from, first, hold, by_gossip, effects);
        if let Some(first) = first.filter(|_| self.hall.is_none() && from.is_some() && !by_gossip) {
            self.hand_in_two_holds(first, **hold, effects);
        }
        if first.is_none() && from.is_some() && self.hall.is_some() {
            // As if by its signer, who hands it in itself: nobody else waits for it.
            let _ = self.submitted(Some(hold.key), &record_entry(hold), effects);
        }
        Ok(())
    }

    /// Remembers a hold, and makes it durable before anything that follows from it leaves the node.
    fn keep_hold(&mut self, hold: &Hold, effects: &mut Effects) -> Taken {
        let taken = self.holds.take(*hold);
        match taken {
            Taken::New if loosened(Bug::HoldsForgotten) => {}
            Taken::New => effects.persist(record_of(hold, false)),
            Taken::Contradicts => effects.persist(record_of(hold, true)),
            Taken::Known => {}
        }
        taken
    }

    /// A hold is news here.
    fn act_on(&mut self, hold: &Hold, effects: &mut Effects) {
        let Hold { by, subject, until, .. } = *hold;
        let honouring = self.state().filter(|state| state.honours(hold, self.now));
        if let Some(state) = honouring {
            effects.tell(Event::Held { node: subject, by, until });
            // Whoever is held learns it from this, and not from silence.
            if let Some(key) = state.key_of(&subject).filter(|key| self.connected.contains(key)) {
                effects.send(key, Arc::new(Message::Hold(Box::new(*hold))));
            }
        }
        self.work_changed(effects);
    }

    /// A liar may show its holds to some and not to others; and two for one slot, each to half. So an endorser that got one passes it on to all
    /// others, with what it contradicts; and lets everybody know of it, if it did not come from its signer.
    fn pass_on(
        &self,
        from: Option<PublicKey>,
        first: Option<Hold>,
        hold: &Hold,
        by_gossip: bool,
        effects: &mut Effects,
    ) {
        if self.hall.is_none() || from.is_none() {
            return;
        }
        for hold in first.iter().chain([hold]) {
            let message = Arc::new(Message::Hold(Box::new(*hold)));
            // Of a contradiction both halves, to each: some may have missed the first.
            if !by_gossip || first.is_some() {
                for key in self.endorser_keys().into_iter().filter(|key| Some(*key) != from) {
                    effects.send(key, Arc::clone(&message));
                }
            }
            if !by_gossip && (from != Some(hold.key) || first.is_some()) {
                effects.publish(message);
            }
        }
    }

    /// What may be put into a block, and voted for, is not what it was.
    fn work_changed(&mut self, effects: &mut Effects) {
        self.holds.look_for_lapses(self.now);
        self.waiting.look_again();
        self.agree(agreement::Input::WorkChanged, effects);
    }

    /// Somebody may be held no longer.
    pub(super) fn holds_lapse(&mut self, effects: &mut Effects) {
        if self.holds.lapses.is_some_and(|at| at <= self.now) {
            self.forget_holds(effects);
            self.work_changed(effects);
        }
    }

    /// Forgets what can matter no more: whose day is over since a day, or whose key is nobody's any more. Our own are kept for as long as their
    /// slots are.
    fn forget_holds(&mut self, effects: &mut Effects) {
        let Some(state) = self.chain.as_ref().map(crate::following::Chain::state) else { return };
        let (now, head, me) =
            (self.now, self.chain.as_ref().map_or(self.now, |chain| chain.head().time), self.me);
        self.holds.slots.retain(|(day, ..), slot| {
            let may_count = state.is_of_an_endorser(&slot.first) || slot.first.by == me;
            // A clock that ran ahead for a while would have us forget what we gave, and give it otherwise. Days are those of blocks.
            let now = if slot.first.by == me { head } else { now };
            let keep = may_count && !Holds::is_over(*day, now);
            if !keep {
                for (hold, is_second) in [(Some(slot.first), false), (slot.second, true)] {
                    let Some(hold) = hold else { continue };
                    let key = place(&hold, is_second);
                    effects.persist(Record { table: Table::Holds, key, value: None });
                }
            }
            keep
        });
    }

    /// A member connected, or has just got its state: it is shown the holds in force, and both halves of what would be one, or it would go on
    /// honouring the half that it may have; an endorser is shown all that may matter.
    pub(super) fn show_holds(&self, peer: PublicKey, effects: &mut Effects) {
        if self.holds.slots.is_empty() || self.standing_of(&peer) < Standing::Suspended {
            return;
        }
        let send = |hold: &Hold| effects.send(peer, Arc::new(Message::Hold(Box::new(*hold))));
        if self.is_seated(&peer) {
            self.holds.all().for_each(send);
        } else {
            let Some(state) = self.state() else { return };
            self.holds.that_would_count(state, self.now).for_each(send);
        }
    }

    /// A proposal is not voted for here because these are held: whoever proposed it, and would next, may not know.
    pub(super) fn show_why_not(&self, held: &BTreeSet<NodeId>, effects: &mut Effects) {
        for hold in self.holds(self.now).filter(|hold| held.contains(&hold.subject)) {
            let message = Arc::new(Message::Hold(Box::new(*hold)));
            for key in self.endorser_keys() {
                effects.send(key, Arc::clone(&message));
            }
        }
    }
}

/// The hold as an entry. It proves itself.
fn record_entry(hold: &Hold) -> Verified<Arc<Entry>> {
    let statement = Statement { domain: hold.domain, kind: Kind::Hold(Box::new(*hold)) };
    Verified::of_verified_parts(Arc::new(Entry { statement, endorsements: Vec::new() }))
}

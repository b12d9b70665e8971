//! Going on after the log has forked, or has stood still for too long: when a node takes what the recovery quorum signed, and what it keeps
//! of it (SPEC 9.16 to 9.19).

use std::sync::Arc;

use super::core::Core;
use super::effects::Effects;
use super::finality::FORKED_KEY;
use super::input::{Alarm, Error, Event};
use super::message::Message;
use super::record::{Record, Table};
use super::rotating::Again;
use crate::encoding::encode;
use crate::fault::Fault;
use crate::following::{Chain, NotTaken, Taken, check_certificate};
use crate::identity::{PublicKey, SecretKey, Verified};
use crate::planted::{Bug, loosened};
use crate::state::{Basis, BlockId, FinalChain, Header};
use crate::time::Timestamp;

/// The place in [`Table::Meta`] of a recovery that is not taken yet.
pub(super) const WAITING_KEY: &[u8] = b"recovery";
/// The place of the two certified chains that show a fork.
pub(super) const PROOF_KEY: &[u8] = b"fork proof";

/// What this node knows of a recovery to come.
#[derive(Debug, Default)]
pub(super) struct Recovering {
    /// For how long it has been listening to peers since the last final block came, or since it started.
    listened_ms: u64,
    /// A recovery that is kept until it may be taken.
    pub(super) waiting: Option<Arc<FinalChain>>,
    /// Whether our own operator brought that. Then it is good enough that nobody is there to listen to.
    pub(super) brought: bool,
    /// Two certified chains, without bodies, that contradict each other.
    pub(super) fork: Option<(Arc<FinalChain>, Arc<FinalChain>)>,
    /// The recovery that an operator was told of last.
    told: Option<BlockId>,
    /// When a recovery was taken that the store still names, in case not all of it is written.
    pub(super) taken_at: Option<Timestamp>,
    /// Whether an operator was told that others go on with a branch that was dropped here.
    told_of_dropped: bool,
}

/// The chain as it would be if a recovery were taken.
struct Prospect {
    chain: Chain,
    taken: Taken,
    base: Basis,
}

impl Core {
    /// How long this node has listened. A clock that leaps counts for little: so far from the time of what is final it may be all the same.
    pub(super) fn listen(&mut self, passed_ms: u64) {
        let Some(heartbeat) = self.charter().map(|charter| charter.timing.heartbeat_ms) else { return };
        if self.listens() {
            let counts = if loosened(Bug::ClocksLeap) { passed_ms } else { passed_ms.min(heartbeat) };
            self.recovering.listened_ms = self.recovering.listened_ms.saturating_add(counts);
        }
    }

    /// Whether anybody is there who would know of newer blocks: no stranger. (Without a state nobody is known, and anybody will do.) By now
    /// all admissions may be over, and who stands in the log stands there still.
    fn listens(&self) -> bool {
        let Some(state) = self.state() else { return !self.connected.is_empty() };
        let stands = |key: &PublicKey| {
            state.owner_of(key).is_some_and(|node| node != self.me && state.key_of(&node) == Some(*key))
        };
        self.recovering.brought || self.connected.iter().any(stands)
    }

    /// Something became final in the usual way: the domain lives, and what would have recovered it is void.
    pub(super) fn lives(&mut self, effects: &mut Effects) {
        self.recovering.listened_ms = 0;
        // Not in the call that took it, but in a later one: by then all of it is synced.
        if self.recovering.taken_at.is_some_and(|at| at < self.now) {
            self.recovering.taken_at = None;
            self.forget_waiting(effects);
        }
        let Some(height) = self.chain.as_ref().map(|chain| chain.head().height) else { return };
        let is_void = |waiting: &Arc<FinalChain>| waiting.tip().is_some_and(|tip| tip.height <= height);
        if self.recovering.waiting.as_ref().is_some_and(is_void) {
            self.forget_waiting(effects);
            effects.tell(Event::RecoveryVoid { why: "a newer block became final".into() });
        }
    }

    /// What the store says of a fork or a recovery in a log that is lost would hold for no other.
    pub(super) fn forget_the_lost_log(&self, effects: &mut Effects) {
        for key in [FORKED_KEY, PROOF_KEY, WAITING_KEY] {
            effects.persist(Record { table: Table::Meta, key: key.to_vec(), value: None });
        }
    }

    /// Whether it has halted because the log has.
    fn has_forked(&self) -> bool {
        matches!(self.halted, Some(Alarm::Forked { .. }))
    }

    /// Whether this node may take a recovery now (SPEC 9.16).
    pub(super) fn may_recover(&self) -> bool {
        self.has_forked()
            || loosened(Bug::LivingRecovered)
            || self.recovers_at().is_some_and(|at| at <= self.now)
    }

    /// Whether this node may go by a link across a recovery: without a state it has none to be silent, so it listens first whether somebody has
    /// one for it from before that (SPEC 9.19).
    pub(super) fn may_cross_a_recovery(&self) -> bool {
        if self.chain.is_some() {
            return self.may_recover();
        }
        let freshness_ms = self.charter().map_or(0, |charter| charter.timing.freshness_ms);
        self.recovering.listened_ms >= freshness_ms || loosened(Bug::ThievesLeadOn)
    }

    /// From when on it has been silent for long enough, as far as can be told now; none if that cannot be.
    fn recovers_at(&self) -> Option<Timestamp> {
        let chain = self.chain.as_ref().filter(|_| self.halted.is_none())?;
        let timing = &chain.state().charter().timing;
        let still = timing.freshness_ms.saturating_sub(self.recovering.listened_ms);
        Some(chain.head().time.plus(timing.silence_ms).max(self.now.plus(still)))
    }

    /// When to look whether the recovery that waits here may be taken.
    pub(super) fn recovery_deadline(&self) -> Option<Timestamp> {
        if self.takes_again() {
            return Some(self.now);
        }
        let listens = !self.connected.is_empty() || self.recovering.brought;
        if self.recovering.waiting.is_none() || !listens {
            return None;
        }
        let heartbeat = self.charter()?.timing.heartbeat_ms;
        let at = self.recovers_at()?;
        // Not in one leap: see `listen`.
        Some(if at <= self.now { at } else { at.min(self.now.plus(heartbeat)) })
    }

    /// Takes what waits, if it may be taken by now.
    pub(super) fn recover_when_due(&mut self, effects: &mut Effects) {
        if self.recovering.waiting.is_none() || !self.may_recover() && !self.takes_again() {
            return;
        }
        let Some(waiting) = self.recovering.waiting.take() else { return };
        let proven = Verified::of_verified_parts(waiting);
        if let Err(error) = self.recovery_shown(None, &proven, effects) {
            self.forget_waiting(effects);
            effects.tell(Event::RecoveryVoid { why: error.to_string() });
        }
    }

    fn forget_waiting(&mut self, effects: &mut Effects) {
        (self.recovering.waiting, self.recovering.brought) = (None, false);
        effects.persist(Record { table: Table::Meta, key: WAITING_KEY.to_vec(), value: None });
    }

    /// An operator brings what the recovery quorum signed: it is taken, or waits, and others are shown it.
    pub(super) fn bring_recovery(
        &mut self,
        proven: &Verified<Arc<FinalChain>>,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let waits = self.recovering.waiting.as_deref().and_then(FinalChain::tip).map(Header::id);
        if waits.is_some() && waits == proven.tip().map(Header::id) {
            // A peer was first to bring it.
            self.keep_waiting(Arc::clone(proven), true, effects);
        } else {
            self.recovery_shown(None, proven, effects)?;
        }
        let message = Arc::new(Message::Final(Arc::clone(proven)));
        for peer in self.connected.clone() {
            effects.send(peer, Arc::clone(&message));
        }
        effects.publish(message);
        Ok(())
    }

    /// Somebody (none: our own operator, or the store) shows a block that the recovery quorum signed.
    pub(super) fn recovery_shown(
        &mut self,
        from: Option<PublicKey>,
        proven: &Verified<Arc<FinalChain>>,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let Some(tip) = proven.tip().cloned() else { return Err(Error::Untimely("it is for no block")) };
        let id = tip.id();
        if let Some(error) = self.is_known_recovery(&tip, id) {
            return Err(error);
        }
        self.check_recovery_signatures(proven, &tip, id).map_err(|fault| match (fault, from) {
            (Fault::Unknown { what }, _) => Error::Untimely(what),
            (fault, Some(culprit)) => Error::PeerMisbehaved { culprit, fault },
            (fault, None) => Error::Refused(fault),
        })?;
        let news = self.recovering.told.replace(id) != Some(id);
        let otherwise = self.recovered_otherwise(&tip).filter(|_| !loosened(Bug::RecoveredAgain));
        if let Some((height, ours)) = otherwise {
            if news {
                // Whoever took the other one lives in another domain from here on.
                effects.tell(Event::Alarm(Alarm::RecoveredTwice { height, ours, theirs: id }));
            }
            return Err(Error::Untimely("another recovery was taken here"));
        }
        if news && from.is_some() {
            effects.tell(Event::Alarm(Alarm::RecoveryShown { height: tip.height, block: id }));
        }
        // By links one may have come to its charter already.
        let adopted = self.has_adopted(&tip, id);
        let gone_on = self.chain.as_ref().is_some_and(|chain| tip.time <= chain.head().time);
        if gone_on && !adopted && !self.has_forked() {
            return Err(Error::Untimely("the log has gone on since it was made: it is void"));
        }
        let prospect = match self.prospect(proven, &tip, self.now) {
            Ok(prospect) => prospect,
            Err(Error::Refused(Fault::WouldBeForgotten { subject })) if from.is_some() => {
                if news {
                    effects.tell(Event::Alarm(Alarm::RecoveryForgets { subject }));
                }
                return Err(Error::Untimely("it forgets somebody who is gone or suspended here"));
            }
            // It may be that blocks are missing here. Nobody is to blame for what others signed.
            Err(error) => {
                if let Some(from) = from {
                    self.ask_about_a_gap(from, effects);
                    return Err(Error::Untimely("it cannot be gone on with so from what is final here"));
                }
                return Err(error);
            }
        };
        if self.may_recover() || adopted {
            self.recover(prospect, proven, effects);
            return Ok(());
        }
        let waits = self.recovering.waiting.as_ref().and_then(|waiting| waiting.tip()).map(|tip| tip.height);
        if waits.is_some_and(|height| height >= tip.height) {
            return Err(Error::Untimely("another recovery waits here already"));
        }
        self.keep_waiting(Arc::clone(proven), from.is_none(), effects);
        effects.tell(Event::RecoveryWaits { height: tip.height, block: id });
        Ok(())
    }

    /// A recovery that the store names was taken, if its charter was adopted: whole, or else it is taken again at the first occasion.
    pub(super) fn open_recovery(&mut self) {
        let Some(tip) = self.recovering.waiting.as_deref().and_then(FinalChain::tip).cloned() else { return };
        let begun = self.state().is_some_and(|state| state.charter().epoch > tip.epoch);
        if begun && self.has_adopted(&tip, tip.id()) {
            (self.recovering.waiting, self.recovering.brought) = (None, false);
            self.recovering.taken_at = Some(self.now);
        }
    }

    /// Whether the recovery that waits was taken before a crash, and is not in the log.
    fn takes_again(&self) -> bool {
        let tip = self.recovering.waiting.as_deref().and_then(FinalChain::tip);
        self.chain.is_some() && tip.is_some_and(|tip| self.has_adopted(tip, tip.id()))
    }

    /// Whether the newest charter that is known here is the one that this block began.
    fn has_adopted(&self, tip: &Header, id: BlockId) -> bool {
        let newest = self.charters.as_deref().and_then(|charters| charters.newest().since);
        newest == Some((tip.height, id))
    }

    fn keep_waiting(&mut self, waiting: Arc<FinalChain>, brought: bool, effects: &mut Effects) {
        let value = Some(encode(&(&*waiting, brought)).into());
        effects.persist(Record { table: Table::Meta, key: WAITING_KEY.to_vec(), value });
        (self.recovering.waiting, self.recovering.brought) = (Some(waiting), brought);
    }

    /// Whether a recovery waits here already, or was taken.
    fn is_known_recovery(&self, tip: &Header, id: BlockId) -> Option<Error> {
        let chain = self.chain.as_ref()?;
        let waits = self.recovering.waiting.as_ref().and_then(|waiting| waiting.tip()).map(Header::id);
        if waits == Some(id) {
            return Some(Error::Untimely("it is known already"));
        }
        let begun = self.charters.as_deref()?.after(tip.epoch)?.since?;
        let was_taken = begun == (tip.height, id) && chain.state().charter().epoch > tip.epoch;
        was_taken.then_some(Error::Untimely("it was taken already"))
    }

    /// Another recovery than this one that was taken here, of the same epoch: its height and block.
    fn recovered_otherwise(&self, tip: &Header) -> Option<(u64, BlockId)> {
        let charters = self.charters.as_deref()?;
        let after = charters.after(tip.epoch)?;
        let link = charters.link_to(after.charter.epoch)?;
        let begun = after.since.filter(|begun| *begun != (tip.height, tip.id()))?;
        link.certificate.is_of_recovery().then_some(begun)
    }

    fn check_recovery_signatures(&self, proven: &FinalChain, tip: &Header, id: BlockId) -> Result<(), Fault> {
        let [block] = &proven.blocks[..] else {
            return Err(Fault::BadCertificate { why: "a recovery comes alone" });
        };
        if !block.recovers() || !proven.headers.is_empty() || !block.has_its_entries() {
            return Err(Fault::BadCertificate { why: "its block recovers nothing" });
        }
        let charters = self.charters.as_deref().ok_or(Fault::Unknown { what: "no charter is known here" })?;
        let by =
            charters.of_epoch(tip.epoch).ok_or(Fault::Unknown { what: "its charter is not known here" })?;
        check_certificate(self.domain, &by.charter, &proven.certificate, tip, id)
    }

    /// The chain as it would be.
    fn prospect(
        &self,
        proven: &Verified<Arc<FinalChain>>,
        tip: &Header,
        now: Timestamp,
    ) -> Result<Prospect, Error> {
        let refused = |why| Error::Refused(Fault::BadRecovery { why });
        let none = || refused("there is nothing to recover");
        let chain = self.chain.as_ref().ok_or_else(none)?;
        let recover = proven.blocks.first().and_then(|block| block.recovery()).ok_or_else(none)?;
        let skew = chain.state().charter().timing.skew_ms;
        if tip.time > now.plus(skew) {
            return Err(refused("it was made by a clock that is ahead of ours"));
        }
        // By links one may know that the domain lives, and has gone on.
        let newest = self.charters.as_deref().map(|charters| charters.newest());
        let others = newest.filter(|newest| newest.since != Some((tip.height, tip.id())));
        let begun = others.map_or(0, |newest| newest.charter.epoch).max(chain.state().charter().epoch);
        if recover.charter.epoch <= begun {
            return Err(refused("its epoch is not after all that began here"));
        }
        if others.is_some_and(|newest| newest.charter.epoch > chain.state().charter().epoch) {
            return Err(refused(
                "the log goes on by a charter that is known here, and its blocks are on their way",
            ));
        }
        let mut rolled = self.rolled_back_to(&recover.base)?;
        let (gone, suspended) = chain.state().denials_since(rolled.state(), tip.time);
        let forgotten = recover.forgets(&gone, &suspended);
        if let Some(subject) = forgotten.filter(|_| !loosened(Bug::DenialsForgotten)) {
            return Err(Error::Refused(Fault::WouldBeForgotten { subject }));
        }
        let taken = rolled.take(proven, &*self.workshop).map_err(|why| match why {
            NotTaken::Wrong(fault) | NotTaken::DoesNotExecute { height: _, fault } => Error::Refused(fault),
            NotTaken::PathsMissing { .. } => {
                refused("it touches what this node does not hold of the state: it takes a snapshot after it")
            }
            NotTaken::Known
            | NotTaken::Gap
            | NotTaken::LaterEpoch
            | NotTaken::Void
            | NotTaken::OtherBody
            | NotTaken::Dropped { .. }
            | NotTaken::Forked { .. } => refused("it does not follow the block that it names"),
        })?;
        Ok(Prospect { chain: rolled, taken, base: recover.base })
    }

    /// The chain up to a block of it.
    pub(super) fn rolled_back_to(&self, base: &Basis) -> Result<Chain, Error> {
        let unknown = "the block that it goes on from is not in the log here, or too far back";
        let chain = self.chain.as_ref().ok_or(Error::Refused(Fault::BadRecovery { why: unknown }))?;
        // The epoch that the base lies in: the newest that began at or below it.
        let began = |charters: &&crate::following::Charters, epoch| {
            charters
                .of_epoch(epoch)
                .and_then(|adopted| adopted.since)
                .is_none_or(|(height, _)| height > base.height)
        };
        let mut epoch = chain.state().charter().epoch;
        if let Some(charters) = self.charters.as_deref() {
            while began(&charters, epoch)
                && let Some(before) = charters.before(epoch)
            {
                epoch = before.charter.epoch;
            }
        }
        chain
            .rolled_back_to(base, self.epoch_before(epoch), &*self.workshop)
            .ok_or(Error::Refused(Fault::BadRecovery { why: unknown }))
    }

    /// Takes it: everything in one write, and synced before anything of it is told.
    fn recover(&mut self, prospect: Prospect, proven: &Verified<Arc<FinalChain>>, effects: &mut Effects) {
        let Prospect { chain, taken, base } = prospect;
        let Some(old) = self.chain.replace(chain) else { return };
        let dropped = old.head().height.saturating_sub(base.height);
        let epoch = self.state().map_or(0, |state| state.charter().epoch);

        // Keys that a dropped branch may know vote for nothing any more.
        let mine = self.state().and_then(|state| state.seat_of(&self.me)).map(|seat| seat.voting_key);
        let is_over = |key: PublicKey| Some(key) != mine && old.state().owner_of(&key).is_some();
        let over: Vec<PublicKey> =
            self.keys.voting.iter().map(SecretKey::public).filter(|key| is_over(*key)).collect();
        self.keys.voting.retain(|key| !is_over(key.public()));
        if !over.is_empty() {
            // The log forgets whose they were. Whoever is killed before its host destroys them shall not take them for fresh ones.
            self.retire(over, effects);
        }
        self.leave_seat(base.height);
        // What lies beyond was voted under another charter, and is of a branch that is dropped. Whoever comes to this epoch a second time, since
        // its disk lost the first, has a journal of it.
        self.journals.retain(|of, _| *of >= epoch);
        if let Some(charters) = &mut self.charters {
            let of_base = proven.certificate.ballot.epoch;
            for link in charters.links_of_later(of_base) {
                let key = Core::link_place(&link);
                effects.persist(Record { table: Table::Charters, key, value: None });
            }
            charters.drop_after(of_base);
        }
        if let Some(chain) = &mut self.chain {
            chain.renew_checkpoint();
        }
        let height = base.height.saturating_add(1);
        self.recover_on_disk(height, effects);
        self.keep_proof_of_the_base(height, effects);
        self.drop_from_the_archive(&old, base.height, effects);
        for key in [FORKED_KEY, PROOF_KEY] {
            effects.persist(Record { table: Table::Meta, key: key.to_vec(), value: None });
        }
        self.halted = None;
        self.reached = self.reached.min(height);
        *self.recovering = Recovering::default();
        self.fetch = None;
        self.publications.clear();
        // What is synced first says so: whoever is killed before the rest is written takes it again, by itself, until that is sure.
        let value = Some(encode(&(&***proven, true)).into());
        effects.persist(Record { table: Table::Meta, key: WAITING_KEY.to_vec(), value });
        self.recovering.taken_at = Some(self.now);

        effects.sync_all();
        effects.tell(Event::Recovered { height, epoch, dropped });
        self.became_final(&taken.blocks, proven, effects);
        if self.is_rotating() {
            // What was dropped had our rotation.
            self.rotation_again = Some(Again::from(self.now));
        }
        let jitter = self.jitter();
        self.follower.satisfied(self.now, jitter);
        let message = Arc::new(Message::Final(Arc::clone(proven)));
        for peer in self.endorser_keys().into_iter().filter(|peer| self.connected.contains(peer)) {
            effects.send(peer, Arc::clone(&message));
        }
    }

    /// What proved the newest block below the recovery may be dropped: its record has a proof of its own from now on.
    fn keep_proof_of_the_base(&self, height: u64, effects: &mut Effects) {
        let Some(chain) = &self.chain else { return };
        let Some(held) = chain.entries_below(height).and_then(|at| chain.held(at)) else { return };
        let key = held.block.header.height.to_be_bytes().to_vec();
        let value = Some(self.workshop.final_record(&held.block, held.proof.as_ref()));
        effects.persist(Record { table: Table::Final, key, value });
    }

    /// A peer that connects is shown what it may lack: a recovery that waits here, or that the epoch began with; and a fork.
    pub(super) fn show_recovery(&self, peer: PublicKey, effects: &mut Effects) {
        if let Some(waiting) = &self.recovering.waiting {
            effects.send(peer, Arc::new(Message::Final(Arc::clone(waiting))));
        }
        if let Some((ours, theirs)) = &self.recovering.fork {
            for chain in [ours, theirs] {
                effects.send(peer, Arc::new(Message::Final(Arc::clone(chain))));
            }
        }
        if let Some(taken) = self.recovery_taken() {
            effects.send(peer, Arc::new(Message::Final(Arc::new(taken))));
        }
    }

    /// The recovery by which the epoch in force began, if it did and the block is at hand still.
    fn recovery_taken(&self) -> Option<FinalChain> {
        let (chain, charters) = (self.chain.as_ref()?, self.charters.as_deref()?);
        let epoch = chain.state().charter().epoch;
        charters.link_to(epoch).filter(|link| link.certificate.is_of_recovery())?;
        chain.chain_of(charters.of_epoch(epoch)?.since?.0)
    }

    /// Whoever was shown two certificates alone has halted, and cannot show anybody why: this may be the rest of it.
    pub(super) fn keep_fork_if_shown(&mut self, proven: &Verified<Arc<FinalChain>>, effects: &mut Effects) {
        if !self.has_forked() || self.recovering.fork.is_some() {
            return;
        }
        let Some(chain) = &self.chain else { return };
        if let Err(NotTaken::Forked { height, .. }) = chain.clone().take(proven, &*self.workshop) {
            self.keep_fork(proven, height, effects);
        }
    }

    /// The log has forked: what shows it is kept, and shown to everybody, so that they halt, too, and can be recovered.
    pub(super) fn keep_fork(&mut self, theirs: &FinalChain, height: u64, effects: &mut Effects) {
        let Some(chain) = &self.chain else { return };
        let ours = chain.held(height).and_then(|_| chain.chain_of(height)).or_else(|| chain.tip());
        let Some(ours) = ours else { return };
        let fork = (Arc::new(without_bodies(&ours)), Arc::new(without_bodies(theirs)));
        let value = Some(encode(&fork).into());
        effects.persist(Record { table: Table::Meta, key: PROOF_KEY.to_vec(), value });
        self.recovering.fork = Some(fork);
        for peer in self.connected.clone() {
            self.show_recovery(peer, effects);
        }
    }

    /// Somebody goes on with a branch that was dropped here: told once.
    pub(super) fn shown_what_was_dropped(&mut self, theirs: BlockId, effects: &mut Effects) -> Error {
        if !std::mem::replace(&mut self.recovering.told_of_dropped, true) {
            effects.tell(Event::Alarm(Alarm::DroppedBranch { theirs }));
        }
        Error::Untimely("it is of a branch that a recovery dropped")
    }

    /// What this node would do with a recovery at `now`, without doing it: `true`, take it at once; `false`, keep it until the log has been silent
    /// for long enough.
    ///
    /// # Errors
    /// Why it would do neither.
    pub fn check_recovery(&self, proven: &Verified<Arc<FinalChain>>, now: Timestamp) -> Result<bool, Error> {
        let tip = proven.tip().cloned().ok_or(Error::Untimely("it is for no block"))?;
        self.check_recovery_signatures(proven, &tip, tip.id())?;
        self.prospect(proven, &tip, self.now.max(now))?;
        Ok(self.may_recover())
    }

    /// The height of the recovery that waits here to be taken, and when it may be at the earliest.
    pub fn recovery_waiting(&self) -> Option<(u64, Timestamp)> {
        let waiting = self.recovering.waiting.as_ref()?.tip()?.height;
        Some((waiting, self.recovers_at()?))
    }
}

fn without_bodies(chain: &FinalChain) -> FinalChain {
    let headers = chain.all_headers().cloned().collect();
    FinalChain { blocks: Vec::new(), headers, certificate: chain.certificate.clone() }
}

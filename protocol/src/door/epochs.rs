//! From one charter to the next: adopting it, taking its seat, and helping those who are behind (SPEC 8.18 to 8.21, 9.12).

use std::sync::Arc;

use super::core::{Core, Hall};
use super::effects::Effects;
use super::input::{Error, Event};
use super::message::Message;
use super::rations::Question;
use super::record::{Record, Table};
use crate::agreement::{self, Agreement, Journal, JournalRecord};
use crate::encoding::{encode, encoded_len};
use crate::following::{Before, Chain, Charters, Link};
use crate::identity::{PublicKey, SecretKey, Signature, Verified};
use crate::state::{Block, Header, Subject};

/// A journal as it was stored.
pub(super) type KeptJournal = Vec<JournalRecord<Verified<Arc<Block>>, PublicKey, Signature>>;

/// The place of the first charter that was believed here in [`Table::Meta`].
pub(super) const CHARTER_KEY: &[u8] = b"charter";
/// The place of voting keys that may have signed more than the journal knows.
pub(super) const RETIRED_KEY: &[u8] = b"retired";

const RETIRED: &str =
    "a journal was lost while this voting key was here: it may have signed what is not known";
const NO_VOTING_KEY: &str = "the voting key of this seat is not in this directory; a copy put here without its journal signs nothing either";

impl Core {
    /// Where a journal record lies in [`Table::Journal`]: by epoch first, so that no epoch's records are taken for another's.
    pub(super) fn journal_place(epoch: u64, key: agreement::JournalKey) -> Vec<u8> {
        [&epoch.to_be_bytes()[..], &key.to_bytes()].concat()
    }

    /// Goes on to the charter of the state, if a block that has just become final made it.
    pub(super) fn enter_epoch(&mut self, effects: &mut Effects) {
        let Some((height, epoch)) = self.state().map(|state| (state.last().height, state.charter().epoch))
        else {
            return;
        };
        // It may have been adopted already: written down it is in any case.
        self.adopt_charter_of_the_state();
        if let Some(link) = self.charters.as_deref().and_then(|charters| charters.link_to(epoch)).cloned() {
            self.keep_link(&link, effects);
        }
        self.leave_seat(height);
        // Most are about to see it themselves.
        let seated = self.endorser_keys().into_iter().map(|key| (key, self.now)).collect();
        self.shown_the_end = seated;
        let of_charter = |subject: &Subject| matches!(subject, Subject::Terms(_));
        let over: Vec<_> = self
            .proposals
            .iter()
            .filter(|(_, other)| of_charter(&other.subject))
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            self.proposals.remove(&id);
            effects.persist(Record { table: Table::Proposals, key: id.0.to_vec(), value: None });
        }
        self.take_seat(Journal::Fresh);
        // A key of an epoch that is over signs nothing any more, not even in other hands (SPEC 8.20).
        if let Some(state) = self.chain.as_ref().map(Chain::state) {
            let mine = state.seat_of(&self.me).map(|seat| seat.voting_key);
            let is_over = |key: PublicKey| Some(key) != mine && state.owner_of(&key).is_some();
            self.keys.voting.retain(|key| !is_over(key.public()));
        }
        effects.tell(Event::Amended { epoch, height });
        self.agree(agreement::Input::Tick, effects);
    }

    /// Leaves the seat of an epoch that ended at `height`. Its journal is kept until the table of final blocks is sure to be on the disk, as all
    /// is that agreement needs no more.
    pub(super) fn leave_seat(&mut self, height: u64) {
        let Some(hall) = self.hall.take() else { return };
        let places = hall.journal_keys().map(|key| (height, Core::journal_place(hall.epoch(), key)));
        self.forgotten.extend(places);
    }

    /// Goes on to the charter of the state, if that follows the newest adopted one.
    pub(super) fn adopt_charter_of_the_state(&mut self) {
        let (Some(chain), Some(charters)) = (&self.chain, &mut self.charters) else { return };
        let (state, last) = (chain.state(), chain.state().last());
        let is_next = state.charter().previous == Some(charters.newest().id);
        // Only the block that made it proves it.
        if !is_next || last.epoch >= state.charter().epoch {
            return;
        }
        let Some(proof) = chain.held(last.height).and_then(|held| held.proof.clone()) else { return };
        let link = Arc::new(Link::to(state, last.clone(), proof.certificate.clone()));
        charters.advance(state.charter(), &link);
    }

    pub(super) fn keep_link(&self, link: &Arc<Link>, effects: &mut Effects) {
        let key = Core::link_place(link);
        effects.persist(Record { table: Table::Charters, key, value: Some(encode(&**link).into()) });
    }

    /// Where a link lies in [`Table::Charters`]: after that to the charter that it goes on from.
    pub(super) fn link_place(link: &Link) -> Vec<u8> {
        (link.header.epoch + 1).to_be_bytes().to_vec()
    }

    /// The epoch before that of `epoch`, for a chain that begins in it.
    pub(super) fn epoch_before(&self, epoch: u64) -> Option<Before> {
        let charters = self.charters.as_deref()?;
        let before = charters.before(epoch)?;
        let (end, _) = charters.of_epoch(epoch)?.since?;
        let recovered = charters.link_to(epoch).is_some_and(|link| link.certificate.is_of_recovery());
        Some(Before { charter: Arc::clone(&before.charter), end, recovered })
    }

    /// Takes the seat that the charter in force gives us, if it gives us one, with the journal of its epoch that was stored; `otherwise`, if
    /// none was.
    pub(super) fn take_seat(&mut self, otherwise: Journal<Verified<Arc<Block>>, PublicKey, Signature>) {
        self.hall = None;
        self.journal_lost = None;
        let (Some(chain), Some(charters)) = (&self.chain, self.charters.as_deref()) else { return };
        let state = chain.state();
        let charter = state.charter();
        // Not only of the newest: its journal may hold the blocks that lead there.
        let since = charters.of_epoch(charter.epoch).and_then(|adopted| adopted.since);
        let Some(seat) = state.seat_of(&self.me) else { return };
        let Some((height, block)) = since else {
            self.journal_lost = Some("the block that this epoch began on is not known here".into());
            return;
        };
        let me = seat.voting_key;
        if !self.keys.voting.iter().any(|key| key.public() == me) {
            // Agreement needs somebody to sign for it. Without it the node follows, and says why.
            self.journal_lost = Some(NO_VOTING_KEY.into());
            // Nor does a copy that is put here later, if no journal came with it.
            self.retired_unsaved |= !self.journals.contains_key(&charter.epoch) && self.retired.insert(me);
            return;
        }
        let journal = match (self.journals.remove(&charter.epoch), otherwise) {
            (_, Journal::Lost(why)) if self.retires => Journal::Lost(why),
            _ if self.retired.contains(&me) => Journal::Lost(RETIRED.into()),
            (Some(kept), _) => Journal::Intact(kept),
            (None, Journal::Fresh) if charter.epoch < charters.newest().charter.epoch => return,
            (None, otherwise) => otherwise,
        };
        let config = agreement::Config {
            domain: self.domain,
            epoch: charter.epoch,
            voters: charter.endorsers.iter().map(|seat| seat.voting_key).collect(),
            quorum: charter.quorum(),
            me,
            first_timeout_ms: charter.timing.first_timeout_ms,
            timeout_cap_ms: charter.timing.timeout_cap_ms,
            genesis: block,
            genesis_height: height,
        };
        let hall: Hall = Agreement::start(config, journal, self.now);
        self.hall = Some(Box::new(hall));
    }

    /// Every voting key that is held now may have signed what no journal here knows: none of them votes again (SPEC 8.20).
    pub(super) fn retire_voting_keys(&mut self, effects: &mut Effects) {
        let held = self.keys.voting.iter().map(|key| key.public()).collect();
        self.retire(held, effects);
    }

    pub(super) fn retire(&mut self, over: Vec<PublicKey>, effects: &mut Effects) {
        self.retired.extend(over);
        let keys: Vec<PublicKey> = self.retired.iter().copied().collect();
        let value = Some(encode(&keys).into());
        effects.persist(Record { table: Table::Meta, key: RETIRED_KEY.to_vec(), value });
    }

    /// An endorser spoke of another epoch than ours (SPEC 8.21).
    pub(super) fn heard_of_epoch(&mut self, from: PublicKey, epoch: u64, effects: &mut Effects) -> Error {
        let ours = self.charter().map_or(0, |charter| charter.epoch);
        if epoch > ours {
            self.ask_about_a_gap(from, effects);
            return Error::Untimely("it is of an epoch that is not known here yet");
        }
        let end = self.charters.as_deref().and_then(|charters| charters.after(epoch)?.since);
        // What was on its way when the epoch ended asks for nothing: once a time-out is enough for whoever is behind.
        let timeout = self.charter().map_or(0, |charter| charter.timing.first_timeout_ms);
        let due = self.shown_the_end.get(&from).is_none_or(|at| self.now.since(*at) >= timeout);
        if let Some((height, _)) = end.filter(|_| due) {
            self.shown_the_end.insert(from, self.now);
            // If the tail goes back so far; whoever is further behind asks for links and a snapshot.
            let _ = self.asked(from, Question::Proof { height }, effects);
        }
        Error::Untimely("it is of an epoch that is over")
    }

    /// «How does one come from the charter of this epoch to yours?»
    pub(super) fn answer_links(
        &mut self,
        to: PublicKey,
        epoch: u64,
        effects: &mut Effects,
    ) -> Result<(), Error> {
        let links = self.charters.as_deref().map(|charters| charters.links_after(epoch)).unwrap_or_default();
        if links.first().is_none_or(|first| first.header.epoch != epoch) {
            return Err(Error::Untimely("no links from that charter are known here"));
        }
        self.rations.sent(to, links.iter().map(|link| encoded_len(&**link)).sum(), self.now);
        effects.send(to, Arc::new(Message::Links(links)));
        Ok(())
    }

    /// A peer showed how to come to newer charters.
    pub(super) fn links_shown(
        &mut self,
        from: PublicKey,
        links: &[Verified<Arc<Link>>],
        effects: &mut Effects,
    ) -> Result<(), Error> {
        if let Some(newcomer) = &mut self.newcomer {
            let steps = newcomer.links_shown(from, links, self.now);
            self.take_charters_of_the_newcomer(effects);
            self.walk(steps, effects);
            return Ok(());
        }
        // The next charter of one branch of a fork leads away from the other: only a recovery of what is held here does not.
        if self.chain.is_some() && self.halted.is_some() {
            return Err(Error::Untimely("this node has halted"));
        }
        let may_recover = self.may_cross_a_recovery();
        let height = self.chain.as_ref().map_or(0, |chain| chain.head().height);
        let Some(charters) = &mut self.charters else {
            return Err(Error::Untimely("no charter is known here"));
        };
        let may_recover = |header: &Header| may_recover && header.height > height;
        let (adopted, wrong) = charters.follow(links, self.now, &may_recover);
        match wrong {
            Some(fault) if adopted.is_empty() => return Err(Error::PeerMisbehaved { culprit: from, fault }),
            None if adopted.is_empty() => return Err(Error::Untimely("they lead to nothing new")),
            Some(_) | None => {}
        }
        if self.chain.is_none() {
            effects.tell(Event::CharterLearnt { epoch: charters.newest().charter.epoch });
        }
        for link in &adopted {
            self.keep_link(link, effects);
        }
        if self.chain.is_some() {
            // Our epoch is over, whether or not we have its last block.
            self.leave_seat(adopted.iter().map(|link| link.header.height).max().unwrap_or(0));
            self.ask_what_follows(from, effects);
        }
        if self.fetch.is_none() {
            self.fetch_snapshot_from(from, effects);
        }
        Ok(())
    }

    /// What a newcomer came to believe is what this node believes.
    pub(super) fn take_charters_of_the_newcomer(&mut self, effects: &mut Effects) {
        let Some(charters) = self.newcomer.as_deref().and_then(|newcomer| newcomer.charters()) else {
            return;
        };
        let known = self.charters.as_deref().map(|known| known.newest().charter.epoch);
        if known >= Some(charters.newest().charter.epoch) {
            return;
        }
        let charters = charters.clone();
        if known.is_none() {
            effects.persist(first_charter_record(&charters));
        }
        for link in charters.links_after(known.unwrap_or(0)) {
            self.keep_link(&link, effects);
        }
        effects.tell(Event::CharterLearnt { epoch: charters.newest().charter.epoch });
        self.charters = Some(Box::new(charters));
    }

    /// Whether there is no voting key here for a charter to come: the host should make one ([`Command::FreshVotingKey`](super::Command)).
    pub fn lacks_fresh_voting_key(&self) -> bool {
        self.fresh_voting_key().is_none()
    }

    /// Whether this voting key may have signed what no journal here knows, or what a recovery dropped: it votes for nothing any more.
    pub fn is_retired(&self, key: &PublicKey) -> bool {
        self.retired.contains(key)
    }

    /// A voting key that never voted, and that no log knows.
    pub(super) fn fresh_voting_key(&self) -> Option<&SecretKey> {
        let is_fresh = |key: &&SecretKey| {
            let public = key.public();
            !self.retired.contains(&public) && self.owner_of(&public).is_none()
        };
        self.keys.voting.iter().find(is_fresh)
    }
}

/// What is stored of the first charter that is believed.
pub(super) fn first_charter_record(charters: &Charters) -> Record {
    let first = charters.first();
    let value = Some(encode(&(charters.domain(), &*first.charter)).into());
    Record { table: Table::Meta, key: CHARTER_KEY.to_vec(), value }
}

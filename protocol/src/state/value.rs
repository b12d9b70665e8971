//! One immutable value: all that a domain believes after one block. Cheap to copy, since copies share everything.

use std::sync::Arc;

use super::amend::{Consent, Terms};
use super::block::{BlockId, Header};
use super::charter::{Charter, CharterId, DomainId, Founded, Seat};
use super::maps::{Gone, Maps, Roots, SpineItem, Standing, charter_slot, key_slot, ticket_slot};
use super::merkle::Frontier;
use super::rules::{Facts, Law, Scene};
use super::statement::{Endorsement, Entry, Statement, Subject, TicketTerms};
use crate::encoding::Hash;
use crate::fault::Fault;
use crate::identity::{NodeId, PublicKey, Verified};
use crate::planted::{Bug, loosened};
use crate::time::Timestamp;

/// The state of a domain after its newest block with entries. Heartbeats change nothing in it.
#[derive(Clone)]
pub struct State(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) law: Arc<Law>,
    pub(super) maps: Maps,
    pub(super) roots: Roots,
    pub(super) root: Hash,
    /// The newest block with entries, or genesis.
    pub(super) last: Header,
    pub(super) last_id: BlockId,
    /// The log before that block: what its header's log root is of.
    pub(super) log_before: Frontier,
    /// The log with it.
    pub(super) log: Frontier,
    pub(super) log_root: Hash,
}

impl Inner {
    /// Puts together what belongs together. `last` must name the roots of `maps`: whoever calls this has compared or set them.
    pub(super) fn new(law: Arc<Law>, maps: Maps, roots: Roots, last: Header, log_before: Frontier) -> Inner {
        let last_id = last.id();
        let mut log = log_before.clone();
        log.push(&Hash(last_id.0));
        let log_root = log.log_root();
        Inner { law, maps, roots, root: roots.state_root(), last, last_id, log_before, log, log_root }
    }
}

/// What a domain says of an identity at a time (SPEC 4.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effective {
    /// It is a member, now.
    Yes,
    /// It was never admitted.
    Unknown,
    /// Its window has not begun.
    NotYet,
    /// Its window is over.
    Lapsed,
    /// Its rights rest.
    Suspended,
    /// They rest because one of its keys is proven to have lied (SPEC 4.13).
    Convicted,
    /// It is gone for ever.
    Gone,
}

impl Effective {
    /// Whether it is a member, now.
    pub fn is_yes(self) -> bool {
        self == Effective::Yes
    }
}

impl State {
    /// The state that founders begin with, and its header (SPEC 3.6).
    ///
    /// # Errors
    /// [`Fault::BadCharter`] or [`Fault::BadKey`] if the charter cannot be safe or live, or is no founding charter.
    pub fn genesis(founded: &Verified<Founded>) -> Result<(State, Header), Fault> {
        State::founded_by(&founded.charter)
    }

    /// The same, for whoever was told the domain's id, and so needs no founder's word that `charter` founds it.
    ///
    /// # Errors
    /// As [`State::genesis`].
    pub fn founded_by(charter: &Charter) -> Result<(State, Header), Fault> {
        charter.check()?;
        if charter.epoch != 1 {
            let why = format!("it is of epoch {}, and only epoch 1 can be founded", charter.epoch);
            return Err(Fault::BadCharter { why });
        }
        let law = Arc::new(Law::new(charter.founds(), charter.clone()));
        let mut maps = Maps::default();
        law.found(&mut maps);
        maps.spine.insert(charter_slot(), SpineItem::Charter(Box::new(charter.clone())));
        let roots = maps.roots();
        let log = Frontier::default();
        let header = Header {
            epoch: 1,
            height: 0,
            parent: BlockId::NONE,
            previous: BlockId::NONE,
            time: charter.written,
            entries_root: Hash::ZERO,
            state_root: roots.state_root(),
            spine_root: roots.of(super::MapName::Spine),
            log_root: log.log_root(),
        };
        Ok((State(Arc::new(Inner::new(law, maps, roots, header.clone(), log))), header))
    }

    /// The domain.
    pub fn domain(&self) -> DomainId {
        self.0.law.domain
    }

    /// The charter in force.
    pub fn charter(&self) -> &Charter {
        &self.0.law.charter
    }

    /// Its id.
    pub fn charter_id(&self) -> CharterId {
        self.0.law.charter_id
    }

    /// The header of the newest block with entries; of genesis if there is none.
    pub fn last(&self) -> &Header {
        &self.0.last
    }

    /// That block's id.
    pub fn last_id(&self) -> BlockId {
        self.0.last_id
    }

    /// The state root.
    pub fn root(&self) -> Hash {
        self.0.root
    }

    /// The roots of the maps under it.
    pub fn roots(&self) -> &Roots {
        &self.0.roots
    }

    /// The root of the spine.
    pub fn spine_root(&self) -> Hash {
        self.0.roots.of(super::MapName::Spine)
    }

    /// The log root that a block on top of this state names: that of all blocks with entries up to [`State::last`].
    pub fn log_root_after(&self) -> Hash {
        self.0.log_root
    }

    /// How many blocks that is, genesis among them.
    pub fn log_len(&self) -> u64 {
        self.0.log.count()
    }

    /// What `node` stands with, whether or not its window is open; `None` if it was never admitted, or is gone.
    pub fn standing(&self, node: &NodeId) -> Option<&Standing> {
        self.0.maps.standing.get(&node.0)
    }

    /// Whether `node` is gone for ever.
    pub fn is_gone(&self, node: &NodeId) -> bool {
        self.0.maps.gone.contains(&node.0)
    }

    /// When and why it went.
    pub fn gone_since(&self, node: &NodeId) -> Option<&Gone> {
        self.0.maps.gone.get(&node.0)
    }

    /// The key by which `node` speaks: its current one; if it is gone, its last.
    pub fn key_of(&self, node: &NodeId) -> Option<PublicKey> {
        let current = self.standing(node).map(|standing| standing.keys.current);
        current.or_else(|| self.gone_since(node).map(|gone| gone.key))
    }

    /// Whose key this is or was.
    pub fn owner_of(&self, key: &PublicKey) -> Option<NodeId> {
        self.0.maps.keys.get(&key_slot(key)).copied()
    }

    /// Whether `node` has a seat in the charter, revoked or not.
    pub fn has_seat(&self, node: &NodeId) -> bool {
        self.0.law.has_seat(node)
    }

    /// The seat of `node` in the charter in force. [`Charter::seat_of`] hashes every inception; this looks it up.
    pub fn seat_of(&self, node: &NodeId) -> Option<&Seat> {
        self.0.law.seat_of(node)
    }

    /// Who sits in the charter in force, ordered by identity, as the charter orders them.
    pub fn seats(&self) -> impl Iterator<Item = (&NodeId, &Seat)> {
        self.0.law.seats().filter_map(|node| Some((node, self.seat_of(node)?)))
    }

    /// Everybody who stands, by identity; windows may be closed.
    pub fn members(&self) -> impl Iterator<Item = (NodeId, &Standing)> {
        self.0.maps.standing.iter().map(|(key, standing)| (NodeId(*key), standing))
    }

    /// How many that are.
    pub fn member_count(&self) -> usize {
        self.0.maps.standing.len()
    }

    /// Everybody who is gone, by identity.
    pub fn gone(&self) -> impl Iterator<Item = (NodeId, &Gone)> {
        self.0.maps.gone.iter().map(|(key, gone)| (NodeId(*key), gone))
    }

    /// How many are gone.
    pub fn gone_count(&self) -> usize {
        self.0.maps.gone.len()
    }

    /// How often this ticket was spent. Of an expired ticket that may be forgotten.
    pub fn ticket_uses(&self, terms: &TicketTerms) -> u32 {
        self.0.maps.tickets.get(&ticket_slot(terms.expires, &terms.id())).copied().unwrap_or(0)
    }

    /// What the domain says of `node` at `now`.
    pub fn effective(&self, node: &NodeId, now: Timestamp) -> Effective {
        match self.standing(node) {
            None if self.is_gone(node) => Effective::Gone,
            None => Effective::Unknown,
            Some(standing) if standing.is_convicted() && !loosened(Bug::ConvictedEffective) => {
                Effective::Convicted
            }
            Some(standing) if standing.suspended(now).is_some() && !loosened(Bug::SuspendedEffective) => {
                Effective::Suspended
            }
            Some(_) if self.has_seat(node) && !loosened(Bug::SeatsLapse) => Effective::Yes,
            Some(standing) if now < standing.window.from => Effective::NotYet,
            Some(standing) if standing.window.contains(now) || loosened(Bug::LapsedEffective) => {
                Effective::Yes
            }
            Some(_) => Effective::Lapsed,
        }
    }

    /// When, by time alone, [`State::effective`] may say something else of `node` than it does at `now`: not before then.
    pub fn may_change_at(&self, node: &NodeId, now: Timestamp) -> Option<Timestamp> {
        let standing = self.standing(node)?;
        let lapses = standing.suspended(now).map(|suspension| suspension.until);
        // An endorser's window never lapses. Whoever has lapsed may renew for a while, unless operators limited it.
        let window = (!self.has_seat(node)).then_some([standing.window.from, standing.window.until]);
        let window = window.into_iter().flatten().chain(self.renewable_until(node));
        lapses.into_iter().chain(window).filter(|at| *at > now).min()
    }

    /// How old the newest final block may be for an answer about `node` (SPEC 9.5).
    pub fn freshness_for(&self, node: &NodeId) -> u64 {
        let roles = self.standing(node).map_or(&[][..], |standing| &standing.roles);
        self.charter().freshness_for(roles)
    }

    /// How many endorsements meet the rule of `subject`.
    pub fn threshold_for(&self, subject: &Subject) -> usize {
        self.0.law.threshold(subject)
    }

    /// Whether `endorsements` are of at least `need` distinct endorsers who may endorse at `time`, and of no others (SPEC 4.4).
    ///
    /// # Errors
    /// A [`Fault`] that names the first who may not, or how many are missing.
    pub fn check_endorsers(
        &self,
        time: Timestamp,
        endorsements: &[Endorsement],
        need: usize,
    ) -> Result<(), Fault> {
        self.scene(self.0.last.height.saturating_add(1), time).check_endorsers(endorsements, need)
    }

    /// Whether `entry` would be valid in a block on `parent` at `time`.
    ///
    /// # Errors
    /// The [`Fault`] for which it would not.
    pub fn judge(&self, parent: &Header, time: Timestamp, entry: &Verified<Arc<Entry>>) -> Result<(), Fault> {
        self.scene(parent.height.saturating_add(1), time).judge(entry, &Facts::of(&entry.statement))
    }

    /// Whether `statement` would be valid in a block on `parent` at `time` if only its rule were met (SPEC 5.6).
    ///
    /// # Errors
    /// The [`Fault`] for which it would not.
    pub fn judge_statement(
        &self,
        parent: &Header,
        time: Timestamp,
        statement: &Statement,
    ) -> Result<(), Fault> {
        self.scene(parent.height.saturating_add(1), time).judge_statement(statement, &Facts::of(statement))
    }

    /// Whether a charter of these terms could follow the one in force at `time`, if everybody whom it seats consented (SPEC 4.12).
    ///
    /// # Errors
    /// The [`Fault`] for which it could not.
    pub fn judge_terms(&self, time: Timestamp, terms: &Terms) -> Result<(), Fault> {
        if terms.domain != self.domain() {
            return Err(Fault::OtherDomain { theirs: terms.domain, ours: self.domain() });
        }
        self.scene(self.0.last.height.saturating_add(1), time).judge_terms(&terms.charter)
    }

    /// Whether `consent` is one to these terms in a block on `parent` at `time`. Its signatures were checked.
    ///
    /// # Errors
    /// The [`Fault`] for which it is not.
    pub fn judge_consent(
        &self,
        parent: &Header,
        time: Timestamp,
        terms: &Terms,
        consent: &Consent,
    ) -> Result<(), Fault> {
        self.scene(parent.height.saturating_add(1), time).judge_consent(&terms.charter, consent)
    }

    /// Whether a ticket of these terms could be made, or spent, at `time`: domain, charter, expiry, lifetime, uses left, roles known.
    /// Its countersignatures are for [`State::check_endorsers`].
    ///
    /// # Errors
    /// The [`Fault`] for which it could not.
    pub fn judge_ticket(&self, time: Timestamp, terms: &TicketTerms) -> Result<(), Fault> {
        self.scene(self.0.last.height.saturating_add(1), time).judge_ticket(terms)
    }

    pub(super) fn scene(&self, height: u64, time: Timestamp) -> Scene<'_> {
        Scene {
            law: &self.0.law,
            maps: self.0.maps.clone(),
            height,
            time,
            amended: None,
            recovers: None,
            blind: false,
        }
    }
}

impl PartialEq for State {
    /// Equal to the last byte: one root, one log.
    fn eq(&self, other: &State) -> bool {
        (self.0.root, self.0.last_id) == (other.0.root, other.0.last_id)
    }
}

impl Eq for State {}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State(height {}, {:?}, root {:?})", self.0.last.height, self.0.last_id, self.0.root)
    }
}

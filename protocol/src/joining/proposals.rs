//! The one machine that collects endorsements: for a newcomer's draft that waits for a yes, for a ticket, for a revocation (SPEC 5.7).
//!
//! It keeps what waits, who endorsed it, and what this node's operator said. Judging, signing and sending are its owner's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::encoding::Hash;
use crate::fault::Fault;
use crate::identity::{NodeId, PublicKey};
use crate::limits;
use crate::planted::{Bug, loosened};
use crate::state::{Charter, Consent, Endorsement, Subject};
use crate::time::Timestamp;

use super::ticket::Circulated;

/// Who gathers the endorsements of a proposal. Discriminants are stored format: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The endorsers, among themselves.
    Endorsers,
    /// The newcomer whom it is about, at this key: it asks every endorser itself.
    Newcomer(PublicKey),
}

/// What this node's operator said. Discriminants are stored format: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Nothing yet.
    Open,
    /// Yes.
    Endorsed,
    /// No.
    Declined,
}

/// Something that collects endorsements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// What is to be endorsed.
    pub subject: Subject,
    /// A line for the operators. Signed by nobody.
    pub note: String,
    /// When it lapses.
    pub expires: Timestamp,
    /// Who gathers.
    pub origin: Origin,
    /// What this node's operator said.
    pub decision: Decision,
    /// The endorsements that are known here, ordered by identity.
    pub endorsements: Vec<Endorsement>,
    /// If it is of a charter: the consents that are known here, ordered by identity, the newest of each.
    pub consents: Vec<Consent>,
    /// Whether they met the rule, and that was told.
    pub met: bool,
}

impl Proposal {
    /// What names it everywhere: the digest that endorsers sign.
    pub fn id(&self) -> Hash {
        self.subject.digest()
    }

    /// Adds what is new of `endorsements`, each by a key that is current: those by earlier keys of the same make way (SPEC 4.11). Whether
    /// anything was new.
    pub fn merge(&mut self, endorsements: &[Endorsement]) -> bool {
        let mut anything = false;
        for endorsement in endorsements {
            match self.endorsements.binary_search_by_key(&endorsement.node, |e| e.node) {
                Err(at) => self.endorsements.insert(at, *endorsement),
                Ok(at) if self.endorsements[at].sequence < endorsement.sequence => {
                    self.endorsements[at] = *endorsement;
                }
                Ok(_) => continue,
            }
            anything = true;
        }
        anything
    }

    /// Adds what is new of `consents`, or newer than what is known; whether anything was.
    pub fn merge_consents(&mut self, consents: &[Consent]) -> bool {
        let mut changed = false;
        for consent in consents {
            match self.consents.binary_search_by_key(&consent.node, |known| known.node) {
                Ok(at) if self.consents[at].basis.height < consent.basis.height => {
                    self.consents[at] = *consent;
                    changed = true;
                }
                Ok(_) => {}
                Err(at) => {
                    self.consents.insert(at, *consent);
                    changed = true;
                }
            }
        }
        changed
    }

    /// Whether `node` consented to it, as far as is known here.
    pub fn has_consent_of(&self, node: &NodeId) -> bool {
        self.consents.binary_search_by_key(node, |consent| consent.node).is_ok()
    }

    /// What travels of it among endorsers.
    pub fn circulated(&self) -> Circulated {
        Circulated {
            subject: self.subject.clone(),
            note: self.note.clone(),
            expires: self.expires,
            endorsements: self.endorsements.clone(),
            consents: self.consents.clone(),
        }
    }

    /// Whether `node` endorsed it, as far as is known here.
    pub fn has(&self, node: &NodeId) -> bool {
        self.endorsements.binary_search_by_key(node, |e| e.node).is_ok()
    }
}

/// All that waits at this node.
#[derive(Clone, Debug, Default)]
pub struct Proposals {
    open: BTreeMap<Hash, Proposal>,
    /// When what waits is said again.
    again: Timestamp,
}

impl Proposals {
    /// Adds a proposal that is not there yet.
    ///
    /// # Errors
    /// [`Fault::TooMany`] if no more may wait, or no more from that stranger.
    pub fn insert(&mut self, proposal: Proposal) -> Result<(), Fault> {
        let max = limits::PROPOSALS_MAX;
        match proposal.origin {
            Origin::Newcomer(_) => {
                let of_it = self.open.values().filter(|other| other.origin == proposal.origin).count();
                if of_it >= limits::PROPOSALS_PER_STRANGER_MAX {
                    let max = limits::PROPOSALS_PER_STRANGER_MAX;
                    return Err(Fault::TooMany { what: "drafts of one newcomer", count: of_it, max });
                }
                // Half of the places are for endorsers: strangers cannot keep a revocation out.
                let (strangers, max) = (self.strangers(), max / 2);
                if strangers >= max {
                    return Err(Fault::TooMany { what: "drafts that wait", count: strangers, max });
                }
            }
            Origin::Endorsers => {}
        }
        if self.open.len() >= max {
            return Err(Fault::TooMany { what: "proposals that wait", count: self.open.len(), max });
        }
        self.open.insert(proposal.id(), proposal);
        Ok(())
    }

    fn strangers(&self) -> usize {
        self.open.values().filter(|other| matches!(other.origin, Origin::Newcomer(_))).count()
    }

    /// If all places of newcomers are taken, takes out the draft of one that is not here, whichever would lapse first: so whoever stays has
    /// its place, however many others asked and went (SPEC 5.17).
    pub fn make_room(&mut self, is_here: impl Fn(&PublicKey) -> bool) -> Option<Hash> {
        if self.strangers() < limits::PROPOSALS_MAX / 2 {
            return None;
        }
        let absent = |(_, proposal): &(&Hash, &Proposal)| match proposal.origin {
            Origin::Newcomer(key) => !is_here(&key),
            Origin::Endorsers => false,
        };
        let first = self.open.iter().filter(absent).min_by_key(|(_, proposal)| proposal.expires);
        let id = first.map(|(id, _)| *id)?;
        self.open.remove(&id);
        Some(id)
    }

    /// Whether every endorser of a new proposal has its share open already of such as no honest endorser need have looked at: as few signed
    /// as may lie. So one that makes up proposals fills no more than its own places, and keeps nobody's revocation out, its own least of all.
    pub fn is_beyond_a_share(&self, endorsements: &[Endorsement], charter: &Charter) -> bool {
        let liars = usize::from(charter.faults).max(1);
        if loosened(Bug::NoShares) {
            return false;
        }
        let share = (limits::PROPOSALS_UNVOUCHED_MAX / charter.size()).max(1);
        let open_of = |node: &NodeId| {
            let unvouched = |proposal: &&Proposal| {
                proposal.origin == Origin::Endorsers
                    && proposal.endorsements.len() <= liars
                    && proposal.has(node)
            };
            self.open.values().filter(unvouched).count()
        };
        endorsements.len() <= liars && endorsements.iter().all(|e| open_of(&e.node) >= share)
    }

    /// Whether what waits should be said again at `now`: once in `every_ms`.
    pub fn is_time_again(&mut self, now: Timestamp, every_ms: u64) -> bool {
        let is_time = now >= self.again && !self.open.is_empty();
        if is_time {
            self.again = now.plus(every_ms);
        }
        is_time
    }

    /// The proposal with this id.
    pub fn get(&self, id: &Hash) -> Option<&Proposal> {
        self.open.get(id)
    }

    /// The same, to change.
    pub fn get_mut(&mut self, id: &Hash) -> Option<&mut Proposal> {
        self.open.get_mut(id)
    }

    /// Takes one out.
    pub fn remove(&mut self, id: &Hash) -> Option<Proposal> {
        self.open.remove(id)
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&Hash, &Proposal)> {
        self.open.iter()
    }

    /// When the next one lapses.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.open.values().map(|proposal| proposal.expires.plus(1)).min()
    }

    /// Takes out what has lapsed.
    pub fn lapse(&mut self, now: Timestamp) -> Vec<Hash> {
        let lapsed: Vec<Hash> =
            self.open.iter().filter(|(_, proposal)| proposal.expires < now).map(|(id, _)| *id).collect();
        for id in &lapsed {
            self.open.remove(id);
        }
        lapsed
    }
}

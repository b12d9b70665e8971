//! Holds: what one endorser says at once, and alone (SPEC 4.14, 5.24, 5.25).
//!
//! A hold restrains on receipt, lapses by itself and can never grant. Here are its words, its signature, when it counts, and what the log
//! records of it; the door keeps what was received and acts upon it.
//!
//! **Invariant:** no right that execution knows of depends on a hold.

use serde::{Deserialize, Serialize};

use super::charter::DomainId;
use super::maps::HoldsRecorded;
use super::rules::Scene;
use super::statement::{Basis, Reason};
use super::value::State;
use crate::encoding::{Hash, Label, VERSION, digest_of};
use crate::fault::Fault;
use crate::identity::{Algorithm, KeySequence, NodeId, PublicKey, SecretKey, Sheet, Signature, Stateless};
use crate::limits;
use crate::planted::{Bug, loosened};
use crate::time::Timestamp;

/// «This one does nothing until then»: by one endorser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hold {
    /// In which domain.
    pub domain: DomainId,
    /// Whose it is.
    pub by: NodeId,
    /// With which of its keys.
    pub sequence: KeySequence,
    /// That key, so that the signature can be checked without any state.
    pub key: PublicKey,
    /// Whom it restrains.
    pub subject: NodeId,
    /// Which of its signer's holds of that day it is.
    pub slot: u8,
    /// The newest final block that its signer knew. Its day is the day of that block's time.
    pub basis: Basis,
    /// When it lapses.
    pub until: Timestamp,
    /// Why. Binds nothing.
    pub reason: Reason,
    /// The key's signature over all of it.
    pub signature: Signature,
}

/// What a hold says, before anybody signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldTerms {
    /// In which domain.
    pub domain: DomainId,
    /// Whom it restrains.
    pub subject: NodeId,
    /// Which of its signer's holds of that day it is.
    pub slot: u8,
    /// The newest final block that its signer knows.
    pub basis: Basis,
    /// When it lapses.
    pub until: Timestamp,
    /// Why.
    pub reason: Reason,
}

impl Hold {
    /// Signs it.
    pub fn sign(terms: HoldTerms, by: NodeId, sequence: KeySequence, key: &SecretKey) -> Hold {
        let HoldTerms { domain, subject, slot, basis, until, reason } = terms;
        let signature = key.sign(&hold_digest(&terms, &by, sequence));
        Hold { domain, by, sequence, key: key.public(), subject, slot, basis, until, reason, signature }
    }

    /// What it says, apart from who signed it.
    pub fn terms(&self) -> HoldTerms {
        let Hold { domain, subject, slot, basis, until, reason, .. } = *self;
        HoldTerms { domain, subject, slot, basis, until, reason }
    }

    /// The day whose slot it takes.
    pub fn day(&self) -> u64 {
        self.basis.time.day()
    }

    /// Whether both are by one key, for one slot of one day, and say different things: no honest endorser does that (SPEC 8.15).
    /// Two signatures of the same words are no contradiction.
    pub fn contradicts(&self, other: &Hold) -> bool {
        let slot = |hold: &Hold| (hold.domain, hold.by, hold.sequence, hold.key, hold.day(), hold.slot);
        slot(self) == slot(other) && self.terms() != other.terms()
    }

    /// Whether it lasts for a while, and no longer than a charter of this bound allows.
    fn check_span(&self, bound_ms: u64) -> Result<(), Fault> {
        match self.until.since(self.basis.time) {
            0 => Err(Fault::BadHold { why: "it lasts no time" }),
            span if span > bound_ms => Err(Fault::BadHold { why: "it lasts longer than the charter allows" }),
            _ => Ok(()),
        }
    }
}

fn hold_digest(terms: &HoldTerms, by: &NodeId, sequence: KeySequence) -> Hash {
    let HoldTerms { domain, subject, slot, basis, until, reason } = terms;
    let words = (domain, by, sequence, subject, slot, basis, until, reason);
    digest_of(Label::Hold, &(VERSION, Algorithm::Ed25519, words))
}

impl Stateless for Hold {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        self.check_slot()?;
        if !loosened(Bug::HoldsUnsigned) {
            sheet.claims(self.key, hold_digest(&self.terms(), &self.by, self.sequence), self.signature);
        }
        Ok(())
    }
}

impl Hold {
    fn check_slot(&self) -> Result<(), Fault> {
        let (count, max) = (usize::from(self.slot) + 1, usize::from(limits::HOLDS_PER_DAY));
        if count > max { Err(Fault::TooMany { what: "holds of one day", count, max }) } else { Ok(()) }
    }
}

impl Scene<'_> {
    /// SPEC 4.14.
    pub(super) fn judge_hold(&self, hold: &Hold) -> Result<(), Fault> {
        let (node, ours) = (hold.by, self.law.domain);
        hold.check_slot()?;
        if hold.domain != ours && !loosened(Bug::HoldsOfAnyDomain) {
            return Err(Fault::OtherDomain { theirs: hold.domain, ours });
        }
        if !loosened(Bug::HeldByAnybody) {
            self.check_office(&node, hold.sequence, &hold.key)?;
        }
        if !loosened(Bug::HeldForLong) {
            hold.check_span(self.law.charter.timing.hold_ms)?;
        }
        if !loosened(Bug::HoldsUnbased) {
            self.judge_basis(&hold.basis)?;
        }
        let day = hold.day();
        match self.standing_of(&node)?.holds {
            Some(recorded) if recorded.day > day && !loosened(Bug::HoldsOfEarlierDays) => {
                Err(Fault::BadHold { why: "the log has recorded one of a later day" })
            }
            Some(recorded)
                if recorded.day == day && recorded.has(hold.slot) && !loosened(Bug::SlotsTwice) =>
            {
                Err(Fault::BadHold { why: "its slot is recorded already" })
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn apply_hold(&mut self, hold: &Hold) {
        let (height, day) = (self.height, hold.day());
        if loosened(Bug::HoldsUnrecorded) {
            return;
        }
        self.change(&hold.by, |standing| {
            let before = standing.holds.filter(|recorded| recorded.day == day).map_or(0, |it| it.slots);
            standing.holds = Some(HoldsRecorded { height, day, slots: before | 1 << hold.slot });
        });
    }
}

impl State {
    /// Whether `hold` is by whoever may hold at all: a seat's owner, with the key that it has now. It may be suspended.
    pub fn is_of_an_endorser(&self, hold: &Hold) -> bool {
        let keys = self.standing(&hold.by).map(|standing| (standing.keys.sequence, standing.keys.current));
        hold.domain == self.domain() && self.has_seat(&hold.by) && keys == Some((hold.sequence, hold.key))
    }

    /// Whether `hold` counts at `now`, as far as this state knows (SPEC 5.25).
    pub fn honours(&self, hold: &Hold, now: Timestamp) -> bool {
        let stands = |node: &NodeId| self.standing(node).is_some();
        let rests = self.standing(&hold.by).is_none_or(|standing| standing.restrained(now));
        self.is_of_an_endorser(hold)
            && !rests
            && stands(&hold.subject)
            && now < hold.until
            && hold.check_span(self.charter().timing.hold_ms).is_ok()
    }

    /// How many distinct endorsers must hold `node` (SPEC 5.25).
    pub fn holders_needed(&self, node: &NodeId) -> usize {
        let seated = self.has_seat(node) && !loosened(Bug::OneHoldsAnEndorser);
        if seated { usize::from(self.charter().faults) + 1 } else { 1 }
    }
}

//! Going on although no quorum finalises anything any more, or although the log has forked (SPEC 4.15).
//!
//! A `Recover` is the only entry of its block, which nobody votes for: the recovery quorum signs it. So all that carries a final block carries
//! this one, too.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::amend::{Consent, Terms, inspect_consents};
use super::block::{Block, Header};
use super::charter::{Charter, DomainId};
use super::execute::entries_root;
use super::maps::{Gone, MapName, Suspension};
use super::rules::{Facts, Scene};
use super::statement::{Basis, Entry, Kind, Revoke, Statement, Suspend};
use super::value::{Inner, State};
use crate::fault::Fault;
use crate::identity::{NodeId, PublicKey, Sheet, Stateless as _};
use crate::limits;
use crate::planted::{Bug, loosened};
use crate::time::Timestamp;

/// «The log goes on from this block, under this charter, and these stay out.»
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Recover {
    /// The block that it goes on from: the parent of the one that holds this.
    pub base: Basis,
    /// Who is gone from here on: all who went on a branch that is dropped. Ordered by subject.
    pub gone: Vec<Revoke>,
    /// Whose rights rest: likewise. Ordered by subject.
    pub suspended: Vec<Suspend>,
    /// The next charter without its voting keys.
    pub charter: Charter,
    /// Of everybody whom it seats, each with a fresh voting key. Ordered by identity.
    pub consents: Vec<Consent>,
}

impl Recover {
    /// The terms in it.
    pub fn terms(&self, domain: DomainId) -> Terms {
        Terms { domain, charter: self.charter.clone() }
    }

    pub(super) fn inspect(&self, domain: DomainId, sheet: &mut Sheet) -> Result<(), Fault> {
        self.check_denials()?;
        let terms = self.terms(domain);
        terms.inspect(sheet)?;
        inspect_consents(&self.consents, &terms.id(), sheet)
    }

    fn check_denials(&self) -> Result<(), Fault> {
        for count in [self.gone.len(), self.suspended.len()] {
            let max = limits::RECOVERY_DENIALS_MAX;
            if count > max {
                return Err(Fault::TooMany { what: "denials of a recovery", count, max });
            }
        }
        let ordered = self.gone.is_sorted_by(|a, b| a.subject < b.subject)
            && self.suspended.is_sorted_by(|a, b| a.subject < b.subject);
        if ordered {
            Ok(())
        } else {
            Err(Fault::NotInOrder { what: "the denials of a recovery", rule: "4.15" })
        }
    }
}

impl Block {
    /// Whether it holds a `Recover`: by whatever certificate it is final, it is not by one of ballots (SPEC 9.17).
    pub fn recovers(&self) -> bool {
        self.recovery().is_some()
    }

    /// The `Recover` that it holds, if it does.
    pub fn recovery(&self) -> Option<&Recover> {
        match self.entries.first().map(|entry| &entry.statement.kind) {
            Some(Kind::Recover(recover)) => Some(recover),
            Some(
                Kind::Admit(_)
                | Kind::Revoke(_)
                | Kind::Suspend(_)
                | Kind::Release(_)
                | Kind::Amend(_)
                | Kind::Rotate(_)
                | Kind::Accuse(_)
                | Kind::Hold(_),
            )
            | None => None,
        }
    }
}

impl Scene<'_> {
    /// SPEC 4.15.
    pub(super) fn judge_recover(&self, recover: &Recover) -> Result<(), Fault> {
        let bad = |why| Err(Fault::BadRecovery { why });
        // Nobody votes for one, and no leader packs one.
        let Some(parent) = self.recovers else { return bad("it is no entry for a block that is voted for") };
        let base = &recover.base;
        let follows =
            base.block == parent && Some(self.height) == base.height.checked_add(1) && self.time > base.time;
        if !follows && !loosened(Bug::RecoveryAnywhere) {
            return bad("its block does not follow the block that it names");
        }
        recover.check_denials()?;
        for Revoke { subject, .. } in &recover.gone {
            if self.is_gone(subject)? && !loosened(Bug::GoneTwice) {
                return Err(Fault::SubjectGone { subject: *subject });
            }
        }
        let mut after = self.apart();
        after.deny(recover);
        for suspend in &recover.suspended {
            self.judge_suspended(&after, suspend)?;
        }
        let (terms, law) = (&recover.charter, self.law);
        let steps = terms.epoch.checked_sub(law.charter.epoch);
        let later = steps.is_some_and(|steps| (1..=limits::RECOVERY_EPOCHS_MAX).contains(&steps));
        let later = later || loosened(Bug::RecoveryOfAnyEpoch);
        if (terms.previous != Some(law.charter_id) && !loosened(Bug::RecoveryOfAnyCharter)) || !later {
            let why = "it does not follow the charter in force: its previous charter is another, or its epoch is no later one";
            return Err(Fault::BadCharter { why: why.into() });
        }
        // Nobody could renew anything in a domain that stood still: a window that closed meanwhile does not count.
        after.judge_law(terms, &|_| true)?;
        if !recover.consents.is_sorted_by(|a, b| a.node < b.node) {
            return Err(Fault::NotInOrder { what: "consents", rule: "4.15" });
        }
        for consent in &recover.consents {
            after.judge_consent_but_its_basis(terms, consent)?;
            if consent.basis != *base && !loosened(Bug::RecoveryOnAnyBasis) {
                let why = "it is not on the block that the log goes on from";
                return Err(Fault::BadConsent { node: consent.node, why });
            }
        }
        // A key that stays may have voted on a branch that is dropped.
        let silent = terms
            .endorsers
            .iter()
            .map(|seat| seat.node_id())
            .find(|node| recover.consents.binary_search_by_key(node, |consent| consent.node).is_err());
        if let Some(node) = silent.filter(|_| !loosened(Bug::SilentSeatsKeepKeys)) {
            return Err(Fault::BadConsent { node, why: "it gets a seat, and did not consent" });
        }
        after.seated(terms, &recover.consents)?.check()
    }

    /// The same scene, to try something in.
    fn apart(&self) -> Scene<'_> {
        let Scene { law, maps, height, time, .. } = self;
        Scene {
            law,
            maps: maps.clone(),
            height: *height,
            time: *time,
            amended: None,
            recovers: self.recovers,
            blind: self.blind,
        }
    }

    fn judge_suspended(&self, after: &Scene<'_>, suspend: &Suspend) -> Result<(), Fault> {
        let Suspend { subject, number, until, .. } = *suspend;
        // Whoever goes needs no suspension.
        after.standing_of(&subject)?;
        let before = self.standing_of(&subject)?;
        // Numbers that may have been used on a branch that is dropped are left out, and no more: they have an end.
        let steps = number.checked_sub(before.suspensions);
        let fits = steps.is_some_and(|steps| (1..=limits::RECOVERY_SUSPENSIONS_MAX).contains(&steps));
        if !fits && !loosened(Bug::SuspensionsReplayedByRecovery) {
            return Err(Fault::WrongNumber { subject, theirs: number, expected: before.suspensions + 1 });
        }
        let shorter = before.suspended(self.time).is_some_and(|longer| until < longer.until);
        if (until <= self.time || shorter) && !loosened(Bug::SuspensionsShortenedByRecovery) {
            return Err(Fault::BadSuspension {
                why: "it ends before the block, or before one that is in force",
            });
        }
        Ok(())
    }

    fn deny(&mut self, recover: &Recover) {
        for Revoke { subject, reason } in &recover.gone {
            // Whoever came after the base, and went, is known by its identity alone.
            let stood = self.maps.standing.get(&subject.0).map(|standing| standing.keys.current);
            self.maps.standing.remove(&subject.0);
            let key = stood.unwrap_or(PublicKey::BLANK);
            self.maps.gone.insert(subject.0, Gone { height: self.height, reason: *reason, key });
        }
        for Suspend { subject, number, until, reason } in &recover.suspended {
            if !self.maps.standing.contains(&subject.0) {
                continue;
            }
            let suspension = Suspension { until: *until, height: self.height, reason: *reason };
            self.change(subject, |standing| {
                (standing.suspensions, standing.suspension) = (*number, Some(suspension));
            });
        }
    }

    pub(super) fn apply_recover(&mut self, recover: &Recover) {
        self.deny(recover);
        let charter = self.seated(&recover.charter, &recover.consents);
        let charter = charter.expect("an entry is applied after it was judged");
        // The epoch before may be one of a dropped branch, in which others voted by these keys or none.
        let voters = if loosened(Bug::RecoveredVoters) { self.voters() } else { Vec::new() };
        self.close_epoch(&charter, voters);
        self.adopt(charter);
    }
}

impl State {
    /// The block that goes on from `recover.base` at `time`, and the state after it, if this is the state at the base.
    ///
    /// # Errors
    /// The [`Fault`] for which it cannot.
    pub fn recovered(&self, recover: Recover, time: Timestamp) -> Result<(Block, State), Fault> {
        let base = recover.base;
        let height =
            base.height.checked_add(1).ok_or(Fault::BadRecovery { why: "there is no such height" })?;
        let statement = Statement { domain: self.domain(), kind: Kind::Recover(Box::new(recover)) };
        let entry = Entry { statement, endorsements: Vec::new() };
        let facts = Facts::of(&entry.statement);
        let mut scene = self.open_block(height, time);
        scene.recovers = Some(base.block);
        scene.judge(&entry, &facts)?;
        scene.apply(&entry.statement, &facts);
        let roots = scene.maps.roots();
        let header = Header {
            epoch: self.charter().epoch,
            height,
            parent: base.block,
            previous: self.last_id(),
            time,
            entries_root: entries_root(std::iter::once(&entry)),
            state_root: roots.state_root(),
            spine_root: roots.of(MapName::Spine),
            log_root: self.log_root_after(),
        };
        let (law, log) = (self.law_after(scene.amended), self.0.log.clone());
        let state = State(Arc::new(Inner::new(law, scene.maps, roots, header.clone(), log)));
        Ok((Block { header, entries: vec![entry] }, state))
    }

    /// What this state denies and `base`, from before, does not: what a recovery that goes on from there must name, to be taken by whoever holds
    /// this one (SPEC 9.16).
    pub fn denials_since(&self, base: &State, time: Timestamp) -> (Vec<Revoke>, Vec<Suspend>) {
        // By its height, and not by what `base` says: that may not hold the way to somebody who is gone there.
        let since = base.last().height;
        let gone = self.gone().filter(|(_, gone)| gone.height > since);
        let gone: Vec<Revoke> = gone.map(|(subject, gone)| Revoke { subject, reason: gone.reason }).collect();
        let suspended = self.members().filter_map(|(subject, standing)| {
            let suspension = standing.suspended(time)?;
            let before = base.standing(&subject)?;
            (before.suspended(time) != Some(suspension)).then_some(Suspend {
                subject,
                number: standing.suspensions.max(before.suspensions + 1),
                until: suspension.until,
                reason: suspension.reason,
            })
        });
        (gone, suspended.collect())
    }
}

impl Recover {
    /// Whether it keeps all of these denials; if not, whose it forgets.
    pub fn forgets(&self, gone: &[Revoke], suspended: &[Suspend]) -> Option<NodeId> {
        let goes = |node: &NodeId| self.gone.binary_search_by_key(node, |revoke| revoke.subject).is_ok();
        let rests = |suspend: &Suspend| {
            let at = self.suspended.binary_search_by_key(&suspend.subject, |named| named.subject);
            at.is_ok_and(|at| {
                let named = &self.suspended[at];
                named.until >= suspend.until && named.number >= suspend.number
            })
        };
        let gone = gone.iter().map(|revoke| revoke.subject).find(|node| !goes(node));
        gone.or_else(|| {
            let open = suspended.iter().find(|suspend| !rests(suspend) && !goes(&suspend.subject));
            open.map(|suspend| suspend.subject)
        })
    }
}

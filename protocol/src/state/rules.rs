//! When a statement and its endorsements are valid, and what it changes (SPEC 4, 5.6).
//!
//! Everything here is judged in one [`Scene`]: the maps just before the entry, and the height and time of its block.

use std::collections::BTreeMap;

use super::block::BlockId;
use super::charter::{Charter, CharterId, DomainId, Seat};
use super::map::Key;
use super::maps::{
    AdmittedBy, ConvictedKey, Gone, Keys, Maps, Rotated, Standing, Suspension, key_slot, ticket_slot,
};
use super::statement::{
    Admit, Basis, Endorsement, Entry, Grounds, Kind, Reason, Release, Revoke, Rotate, Statement, Subject,
    Suspend, TicketId, TicketTerms, Window, check_role_order, in_order,
};
use crate::fault::Fault;
use crate::identity::{KeySequence, NodeId, PublicKey};
use crate::limits;
use crate::planted::{Bug, loosened};
use crate::time::Timestamp;

/// A charter in force, with what would be dear to compute anew for each entry.
#[derive(Debug)]
pub(super) struct Law {
    pub(super) domain: DomainId,
    pub(super) charter: Charter,
    pub(super) charter_id: CharterId,
    /// Who has which seat: finding it in the charter would hash every inception.
    seats: BTreeMap<NodeId, usize>,
}

impl Law {
    pub(super) fn new(domain: DomainId, charter: Charter) -> Law {
        let seats = charter.endorsers.iter().enumerate().map(|(i, seat)| (seat.node_id(), i)).collect();
        let charter_id = charter.id();
        Law { domain, charter, charter_id, seats }
    }

    pub(super) fn seats(&self) -> impl Iterator<Item = &NodeId> {
        self.seats.keys()
    }

    pub(super) fn seat_of(&self, node: &NodeId) -> Option<&Seat> {
        self.seats.get(node).map(|at| &self.charter.endorsers[*at])
    }

    pub(super) fn has_seat(&self, node: &NodeId) -> bool {
        self.seats.contains_key(node)
    }

    /// How many endorsements meet the rule of `subject`.
    pub(super) fn threshold(&self, subject: &Subject) -> usize {
        match subject {
            Subject::Statement(statement) => self.statement_threshold(statement),
            Subject::Ticket(_) => usize::from(self.charter.thresholds.admit),
            Subject::Terms(_) => usize::from(self.charter.thresholds.amend),
        }
    }

    fn statement_threshold(&self, statement: &Statement) -> usize {
        usize::from(match &statement.kind {
            Kind::Admit(_) => self.charter.thresholds.admit,
            Kind::Revoke(_) => self.charter.thresholds.revoke,
            Kind::Suspend(_) => self.charter.thresholds.contain,
            Kind::Release(_) => self.charter.thresholds.admit,
            Kind::Amend(_) => self.charter.thresholds.amend,
            // They prove themselves; or whoever holds the recovery keys does.
            Kind::Rotate(_) | Kind::Accuse(_) | Kind::Hold(_) | Kind::Recover(_) => 0,
        })
    }

    /// What every endorser stands with from genesis on (SPEC 3.6).
    pub(super) fn found(&self, maps: &mut Maps) {
        for seat in &self.charter.endorsers {
            let node = seat.node_id();
            maps.keys.insert(key_slot(&seat.inception.key), node);
            maps.keys.insert(key_slot(&seat.voting_key), node);
            let standing = Standing {
                keys: Keys::of(&seat.inception),
                roles: seat.roles.clone(),
                window: Window { from: self.charter.written, until: Timestamp(u64::MAX) },
                number: 0,
                height: 0,
                by: AdmittedBy::Seat,
                suspensions: 0,
                suspension: None,
                rotated: None,
                holds: None,
                limited: false,
                convictions: Vec::new(),
            };
            maps.standing.insert(node.0, standing);
        }
    }
}

/// The digests that a statement is judged and applied by, computed once.
pub(super) struct Facts {
    /// Whom it is about; of no use for the charter.
    pub(super) subject: NodeId,
    /// Where the keys that it introduces lie: the first key of whom it admits, or those that it rotates to.
    key_slots: Vec<Key>,
    /// The ticket that it spends, and where that lies.
    ticket: Option<(TicketId, Key)>,
}

impl Facts {
    pub(super) fn of(statement: &Statement) -> Facts {
        let subject = statement.subject().unwrap_or_default();
        match &statement.kind {
            Kind::Admit(admit) => {
                let ticket = match &admit.grounds {
                    Grounds::Ticket(terms) => {
                        let id = terms.id();
                        Some((id, ticket_slot(terms.expires, &id)))
                    }
                    Grounds::Approval | Grounds::Renewal => None,
                };
                Facts { subject, key_slots: vec![key_slot(&admit.subject.key)], ticket }
            }
            Kind::Rotate(rotate) => {
                let key_slots = rotate.rotations.iter().map(|rotation| key_slot(&rotation.key)).collect();
                Facts { subject, key_slots, ticket: None }
            }
            Kind::Revoke(_)
            | Kind::Suspend(_)
            | Kind::Release(_)
            | Kind::Amend(_)
            | Kind::Accuse(_)
            | Kind::Hold(_)
            | Kind::Recover(_) => Facts { subject, key_slots: Vec::new(), ticket: None },
        }
    }
}

/// Where and when an entry is judged.
pub(super) struct Scene<'a> {
    pub(super) law: &'a Law,
    pub(super) maps: Maps,
    pub(super) height: u64,
    pub(super) time: Timestamp,
    /// The charter that the block's last entry makes.
    pub(super) amended: Option<Charter>,
    /// Of a block that recovers the domain: its parent. No other block may hold a `Recover`.
    pub(super) recovers: Option<BlockId>,
    /// Whether what is not held is taken for absent: to find what is wrong in spite of that.
    pub(super) blind: bool,
}

impl Scene<'_> {
    /// Judges an entry whole.
    pub(super) fn judge(&self, entry: &Entry, facts: &Facts) -> Result<(), Fault> {
        self.judge_statement(&entry.statement, facts)?;
        self.judge_endorsements(entry)
    }

    /// Judges all but the endorsements. Shape is judged again, though [`Stateless::inspect`](crate::identity::Stateless) did: drafts
    /// and proposals of this very node come here without.
    pub(super) fn judge_statement(&self, statement: &Statement, facts: &Facts) -> Result<(), Fault> {
        if statement.domain != self.law.domain && !loosened(Bug::AnyDomain) {
            return Err(Fault::OtherDomain { theirs: statement.domain, ours: self.law.domain });
        }
        match &statement.kind {
            Kind::Admit(admit) => self.judge_admit(admit, facts),
            Kind::Revoke(revoke) => self.judge_revoke(revoke),
            Kind::Suspend(suspend) => self.judge_suspend(suspend),
            Kind::Release(release) => self.judge_release(release),
            Kind::Amend(amend) => self.judge_amend(amend),
            Kind::Rotate(rotate) => self.judge_rotate(rotate, facts),
            Kind::Accuse(accuse) => self.judge_accuse(accuse),
            Kind::Hold(hold) => self.judge_hold(hold),
            Kind::Recover(recover) => self.judge_recover(recover),
        }
    }

    fn judge_endorsements(&self, entry: &Entry) -> Result<(), Fault> {
        let endorsements = &entry.endorsements[..];
        match (&entry.statement.kind, endorsements) {
            // Whoever wants to go needs nobody's leave.
            (Kind::Revoke(revoke), [own])
                if own.node == revoke.subject || loosened(Bug::OneRevokesAnother) =>
            {
                self.check_current_key(&own.node, own.sequence, &own.key)
            }
            (Kind::Rotate(_) | Kind::Accuse(_) | Kind::Hold(_) | Kind::Recover(_), []) => Ok(()),
            (Kind::Rotate(_), _) if loosened(Bug::RotationEndorsed) => Ok(()),
            (Kind::Accuse(_) | Kind::Hold(_) | Kind::Recover(_), _) if loosened(Bug::ProofEndorsed) => Ok(()),
            (Kind::Rotate(_), more) => too_many("endorsements of a rotation", more),
            (Kind::Accuse(_), more) => too_many("endorsements of an accusation", more),
            (Kind::Hold(_), more) => too_many("endorsements of a hold", more),
            (Kind::Recover(_), more) => too_many("endorsements of a recovery", more),
            (Kind::Revoke(_) | Kind::Admit(_) | Kind::Suspend(_) | Kind::Release(_) | Kind::Amend(_), _) => {
                self.check_endorsers(endorsements, self.law.statement_threshold(&entry.statement))
            }
        }
    }

    /// SPEC 4.3, 4.4.
    pub(super) fn check_endorsers(&self, endorsements: &[Endorsement], need: usize) -> Result<(), Fault> {
        if !in_order(endorsements) {
            return Err(Fault::NotInOrder { what: "endorsements", rule: "4.3" });
        }
        for endorsement in endorsements {
            self.check_office(&endorsement.node, endorsement.sequence, &endorsement.key)?;
        }
        let have = endorsements.len() + usize::from(loosened(Bug::OneShort));
        if have < need { Err(Fault::TooFewEndorsements { have, need }) } else { Ok(()) }
    }

    /// SPEC 4.4: whether `node` has a seat, stands, is not suspended, and this is its current key.
    pub(super) fn check_office(
        &self,
        node: &NodeId,
        sequence: KeySequence,
        key: &PublicKey,
    ) -> Result<(), Fault> {
        let node = *node;
        if !self.law.has_seat(&node) && !loosened(Bug::MembersEndorse) {
            return Err(Fault::NotAnEndorser { node });
        }
        self.check_current_key(&node, sequence, key)?;
        if self.is_suspended(&node) && !loosened(Bug::SuspendedEndorse) {
            return Err(Fault::EndorserSuspended { node });
        }
        let convicted = self.maps.standing.get(&node.0).is_some_and(Standing::is_convicted);
        if convicted && !loosened(Bug::ConvictedEndorse) {
            Err(Fault::EndorserConvicted { node })
        } else {
            Ok(())
        }
    }

    fn is_suspended(&self, node: &NodeId) -> bool {
        self.maps.standing.get(&node.0).is_some_and(|standing| standing.suspended(self.time).is_some())
    }

    fn is_restrained(&self, node: &NodeId) -> bool {
        if loosened(Bug::ConvictedAreAble) {
            return self.is_suspended(node);
        }
        self.maps.standing.get(&node.0).is_some_and(|standing| standing.restrained(self.time))
    }

    /// How many endorsers could endorse now.
    fn able(&self) -> usize {
        let able = |seat: &&NodeId| self.maps.standing.contains(&seat.0) && !self.is_restrained(seat);
        self.law.seats().filter(able).count()
    }

    /// Whether enough endorsers remain to amend the charter when `subject` is restrained (SPEC 4.7, 4.9, 4.13).
    pub(super) fn check_leaves_enough(&self, subject: &NodeId) -> Result<(), Fault> {
        if !self.law.has_seat(subject) {
            return Ok(());
        }
        // Whoever is restrained already is missing already.
        let left = self.able() - usize::from(!self.is_restrained(subject));
        let amend = usize::from(self.law.charter.thresholds.amend);
        let stranded = left < amend && !loosened(Bug::Stranded);
        if stranded { Err(Fault::WouldStrandTheCharter { left, amend }) } else { Ok(()) }
    }

    fn check_current_key(&self, node: &NodeId, sequence: KeySequence, key: &PublicKey) -> Result<(), Fault> {
        let node = *node;
        // Whoever is gone stands no more, and nobody has a seat or is known without having stood.
        let Some(standing) = self.maps.standing.get(&node.0) else {
            let endorses = loosened(Bug::GoneEndorse) && self.maps.gone.contains(&node.0);
            return if endorses { Ok(()) } else { Err(Fault::EndorserGone { node }) };
        };
        let keys = &standing.keys;
        let current = (keys.sequence, keys.current) == (sequence, *key);
        if !current && !loosened(Bug::OldKeysEndorse) {
            return Err(Fault::NotTheCurrentKey { node });
        }
        Ok(())
    }

    /// SPEC 4.5.
    fn judge_admit(&self, admit: &Admit, facts: &Facts) -> Result<(), Fault> {
        let subject = facts.subject;
        let charter = &self.law.charter;
        if self.is_gone(&subject)? && !loosened(Bug::GoneReadmitted) {
            return Err(Fault::SubjectGone { subject });
        }
        let standing = self.maps.standing.get(&subject.0);
        let suspended = standing.is_some_and(|standing| standing.suspended(self.time).is_some());
        if suspended && !loosened(Bug::SuspendedReadmitted) {
            return Err(Fault::SubjectSuspended { subject });
        }
        if standing.is_some_and(Standing::is_convicted) && !loosened(Bug::ConvictedReadmitted) {
            return Err(Fault::SubjectConvicted { subject });
        }
        let expected = standing.map_or(0, |standing| standing.number) + 1;
        let used = admit.number.checked_add(1) == Some(expected);
        if admit.number != expected && !(used && loosened(Bug::NumberReused)) {
            return Err(Fault::WrongNumber { subject, theirs: admit.number, expected });
        }
        let key = admit.subject.key;
        let [slot] = &facts.key_slots[..] else { unreachable!("the facts are of another statement") };
        match self.owner_at(slot)? {
            Some(owner) if owner != subject && !loosened(Bug::KeysShared) => {
                return Err(Fault::KeyTaken { key, owner });
            }
            Some(_) | None => {}
        }
        if standing.is_none() && self.maps.standing.len() >= limits::MEMBERS_MAX {
            return Err(Fault::DomainFull { members: self.maps.standing.len() });
        }
        check_role_order(&admit.roles)?;
        let unknown = admit.roles.iter().find(|role| !charter.has_role(role));
        if let Some(role) = unknown.filter(|_| !loosened(Bug::UnknownRoles)) {
            return Err(Fault::UnknownRole { role: role.clone() });
        }
        self.judge_window(&admit.window)?;

        self.judge_basis(&admit.basis)?;
        match (&admit.grounds, &facts.ticket) {
            (Grounds::Ticket(_), _) if !charter.admission.tickets && !loosened(Bug::AnyGrounds) => {
                Err(Fault::GroundsNotAllowed { grounds: "ticket" })
            }
            (Grounds::Approval, _) if !charter.admission.approval => {
                Err(Fault::GroundsNotAllowed { grounds: "approval" })
            }
            (Grounds::Ticket(_), _) if standing.is_some() && !loosened(Bug::TicketsForMembers) => {
                Err(Fault::BadTicket { why: "it is for newcomers, and the subject stands already" })
            }
            (Grounds::Ticket(terms), Some((_, slot))) => self.judge_spending(terms, slot, admit),
            (Grounds::Ticket(_), None) => unreachable!("the facts are of another statement"),
            (Grounds::Approval, _) => Ok(()),
            (Grounds::Renewal, _) if loosened(Bug::RenewedAnyhow) => self.standing_of(&subject).map(|_| ()),
            (Grounds::Renewal, _) => self.judge_renewal(admit, subject),
        }
    }

    pub(super) fn judge_basis(&self, basis: &Basis) -> Result<(), Fault> {
        let bad = |why| Err(Fault::BadBasis { why });
        if basis.height >= self.height && !loosened(Bug::BasisAhead) {
            return bad("it is not below the block");
        }
        if basis.time > self.time && !loosened(Bug::BasisLater) {
            return bad("it is later than the block");
        }
        let old = self.time.since(basis.time) > self.law.charter.timing.basis_ms;
        if old && !loosened(Bug::BasisOld) {
            return bad("it is older than the charter allows");
        }
        Ok(())
    }

    fn judge_window(&self, window: &Window) -> Result<(), Fault> {
        let bad = |why| Err(Fault::BadWindow { why });
        if window.from > self.time {
            return bad("it begins after the block");
        }
        if window.until <= self.time && !loosened(Bug::WindowLapsed) {
            return bad("it ends before the block");
        }
        let long = window.length_ms() > self.law.charter.timing.member_lifetime_ms;
        if long && !loosened(Bug::WindowLong) {
            return bad("it is longer than the charter's member lifetime");
        }
        Ok(())
    }

    /// SPEC 4.6.
    fn judge_spending(&self, terms: &TicketTerms, slot: &Key, admit: &Admit) -> Result<(), Fault> {
        self.judge_uses(terms, slot)?;
        match admit.roles.iter().find(|role| !terms.roles.contains(role)) {
            Some(_) if loosened(Bug::RolesBeyondTicket) => Ok(()),
            Some(role) => Err(Fault::RoleBeyondTicket { role: role.clone() }),
            None => Ok(()),
        }
    }

    fn judge_uses(&self, terms: &TicketTerms, slot: &Key) -> Result<(), Fault> {
        terms.check_shape()?;
        if terms.domain != self.law.domain && !loosened(Bug::TicketOfAnotherDomain) {
            return Err(Fault::OtherDomain { theirs: terms.domain, ours: self.law.domain });
        }
        if self.time > terms.expires && !loosened(Bug::TicketExpired) {
            return Err(Fault::TicketExpired);
        }
        if self.uses_spent(slot) >= terms.uses && !loosened(Bug::TicketSpentTwice) {
            return Err(Fault::TicketSpent { uses: terms.uses });
        }
        Ok(())
    }

    fn uses_spent(&self, slot: &Key) -> u32 {
        self.maps.tickets.get(slot).copied().unwrap_or(0)
    }

    /// Whether endorsers may countersign these terms, or honour them: what spending asks, and what only the living can ask.
    pub(super) fn judge_ticket(&self, terms: &TicketTerms) -> Result<(), Fault> {
        let charter = &self.law.charter;
        if !charter.admission.tickets {
            return Err(Fault::GroundsNotAllowed { grounds: "ticket" });
        }
        self.judge_uses(terms, &ticket_slot(terms.expires, &terms.id()))?;
        if terms.epoch > charter.epoch
            || (terms.epoch == charter.epoch) != (terms.charter == self.law.charter_id)
        {
            return Err(Fault::BadTicket { why: "its anchor names a charter that is not this domain's" });
        }
        // The clock of whoever made it may be ahead by the skew.
        let timing = &charter.timing;
        if terms.expires.since(self.time) > timing.ticket_lifetime_ms.saturating_add(timing.skew_ms) {
            return Err(Fault::BadTicket { why: "it lives longer than the charter allows" });
        }
        match terms.roles.iter().find(|role| !charter.has_role(role)) {
            Some(role) => Err(Fault::UnknownRole { role: role.clone() }),
            None => Ok(()),
        }
    }

    /// SPEC 4.7.
    fn judge_revoke(&self, revoke: &Revoke) -> Result<(), Fault> {
        let subject = revoke.subject;
        self.standing_of(&subject)?;
        self.check_leaves_enough(&subject)
    }

    /// SPEC 4.9.
    fn judge_suspend(&self, suspend: &Suspend) -> Result<(), Fault> {
        let standing = self.standing_of(&suspend.subject)?;
        let (subject, theirs, expected) = (suspend.subject, suspend.number, standing.suspensions + 1);
        if theirs != expected && !loosened(Bug::SuspensionReplayed) {
            return Err(Fault::WrongNumber { subject, theirs, expected });
        }
        if suspend.until <= self.time && !loosened(Bug::SuspensionOver) {
            return Err(Fault::BadSuspension { why: "it ends before the block" });
        }
        let shorter = standing.suspended(self.time).is_some_and(|longer| suspend.until < longer.until);
        if shorter && !loosened(Bug::SuspensionShortened) {
            return Err(Fault::BadSuspension { why: "it ends before the one that is in force: release it" });
        }
        self.check_leaves_enough(&subject)
    }

    /// SPEC 4.10.
    fn judge_release(&self, release: &Release) -> Result<(), Fault> {
        let standing = self.standing_of(&release.subject)?;
        let (subject, theirs, expected) = (release.subject, release.number, standing.suspensions);
        if theirs != expected && !(theirs < expected && loosened(Bug::ReleaseReplayed)) {
            return Err(Fault::WrongNumber { subject, theirs, expected });
        }
        if standing.suspended(self.time).is_none() && !loosened(Bug::ReleaseOfAnybody) {
            return Err(Fault::BadSuspension { why: "the subject is not suspended" });
        }
        if loosened(Bug::ReleaseUnbased) { Ok(()) } else { self.judge_basis(&release.basis) }
    }

    /// SPEC 4.11.
    fn judge_rotate(&self, rotate: &Rotate, facts: &Facts) -> Result<(), Fault> {
        let subject = rotate.subject;
        let standing = self.standing_of(&subject)?;
        rotate.check_count()?;
        let mut keys = standing.keys.clone();
        for (at, rotation) in rotate.rotations.iter().enumerate() {
            keys = keys.rotated(rotation)?;
            let (slot, before) = (&facts.key_slots[at], &facts.key_slots[..at]);
            let owner = self.owner_at(slot)?;
            let owner = owner.or_else(|| before.contains(slot).then_some(subject));
            if let Some(owner) = owner.filter(|_| !loosened(Bug::RotatedToTakenKeys)) {
                return Err(Fault::KeyTaken { key: rotation.key, owner });
            }
        }
        let entries = self.rotated_today(standing);
        if entries >= limits::ROTATE_ENTRIES_PER_DAY && !loosened(Bug::RotatedOften) {
            return Err(Fault::RotatedTooOften { subject, entries });
        }
        Ok(())
    }

    /// How many `Rotate`s of whoever stands so the log took on the day of this block.
    fn rotated_today(&self, standing: &Standing) -> u32 {
        let today = self.time.day();
        standing.rotated.filter(|rotated| rotated.day == today).map_or(0, |rotated| rotated.entries)
    }

    fn apply_rotate(&mut self, rotate: &Rotate, facts: &Facts) {
        let Facts { subject, key_slots, ticket: _ } = facts;
        let standing = self.maps.standing.get(&subject.0).expect("whoever rotates was judged to stand");
        let entries = self.rotated_today(standing) + 1;
        let rotated = Rotated { height: self.height, day: self.time.day(), entries };
        self.change(subject, |standing| {
            for rotation in &rotate.rotations {
                standing.keys = standing.keys.rotated(rotation).expect("the rotations were judged to fit");
            }
            standing.rotated = Some(rotated);
            // What an earlier key signed is held against nobody.
            standing.convictions.retain(|conviction| match conviction.key {
                ConvictedKey::Voting(_) => true,
                ConvictedKey::Identity(_) => loosened(Bug::RotationFreesNobody),
            });
        });
        for slot in key_slots.iter().filter(|_| !loosened(Bug::RotatedKeysForgotten)) {
            self.maps.keys.insert(*slot, *subject);
        }
    }

    pub(super) fn standing_of(&self, subject: &NodeId) -> Result<&Standing, Fault> {
        let subject = *subject;
        if self.is_gone(&subject)? {
            return Err(Fault::SubjectGone { subject });
        }
        self.maps.standing.get(&subject.0).ok_or(Fault::SubjectUnknown { subject })
    }

    /// What a valid statement changes.
    pub(super) fn apply(&mut self, statement: &Statement, facts: &Facts) {
        match &statement.kind {
            Kind::Admit(admit) => self.apply_admit(admit, facts),
            Kind::Revoke(Revoke { subject, reason }) => self.remove(subject, *reason),
            Kind::Suspend(Suspend { subject, number, until, reason }) => {
                let suspension = Suspension { until: *until, height: self.height, reason: *reason };
                self.change(subject, |standing| {
                    (standing.suspensions, standing.suspension) = (*number, Some(suspension));
                });
            }
            Kind::Release(Release { subject, .. }) => {
                self.change(subject, |standing| {
                    standing.suspension = None;
                    standing.suspensions -= u64::from(loosened(Bug::ReleaseFreesNumber));
                });
            }
            Kind::Amend(amend) => self.apply_amend(amend),
            Kind::Rotate(rotate) => self.apply_rotate(rotate, facts),
            Kind::Accuse(accuse) => self.apply_accuse(accuse),
            Kind::Hold(hold) => self.apply_hold(hold),
            Kind::Recover(recover) => self.apply_recover(recover),
        }
    }

    /// For good.
    pub(super) fn remove(&mut self, subject: &NodeId, reason: Reason) {
        let stood = self.maps.standing.get(&subject.0);
        let key = stood.expect("only whoever was judged to stand is removed").keys.current;
        self.maps.standing.remove(&subject.0);
        if loosened(Bug::GoneForgotten) {
            return;
        }
        self.maps.gone.insert(subject.0, Gone { height: self.height, reason, key });
    }

    pub(super) fn change(&mut self, subject: &NodeId, change: impl FnOnce(&mut Standing)) {
        let standing = self.maps.standing.get(&subject.0);
        let mut standing = standing.expect("an entry is applied to whoever it was judged to stand").clone();
        change(&mut standing);
        self.maps.standing.insert(subject.0, standing);
    }

    fn apply_admit(&mut self, admit: &Admit, facts: &Facts) {
        let subject = facts.subject;
        let before = self.maps.standing.get(&subject.0).cloned();
        if before.is_none() {
            for slot in &facts.key_slots {
                self.maps.keys.insert(*slot, subject);
            }
        }
        let by = match (&admit.grounds, facts.ticket) {
            (Grounds::Ticket(_), Some((id, slot))) => {
                self.maps.tickets.insert(slot, self.uses_spent(&slot) + 1);
                AdmittedBy::Ticket(id)
            }
            (Grounds::Approval, None) => AdmittedBy::Approval,
            (Grounds::Renewal, None) => AdmittedBy::Renewal,
            (Grounds::Ticket(_), None) | (Grounds::Approval | Grounds::Renewal, Some(_)) => {
                unreachable!("the facts are of another statement")
            }
        };
        let (suspensions, suspension, rotated, holds) =
            before.as_ref().map_or((0, None, None, None), |standing| {
                (standing.suspensions, standing.suspension, standing.rotated, standing.holds)
            });
        let standing = Standing {
            keys: before
                .filter(|_| !loosened(Bug::RenewalTakesKeys))
                .map_or_else(|| Keys::of(&admit.subject), |standing| standing.keys),
            roles: admit.roles.clone(),
            window: admit.window,
            number: admit.number,
            height: self.height,
            by,
            suspensions,
            suspension,
            rotated,
            holds,
            // By the charter of this block: a later one that gives longer lifetimes makes nobody limited.
            limited: admit.window.length_ms() < self.law.charter.timing.member_lifetime_ms,
            // Whoever is convicted is not admitted anew.
            convictions: Vec::new(),
        };
        self.maps.standing.insert(subject.0, standing);
    }
}

fn too_many(what: &'static str, endorsements: &[Endorsement]) -> Result<(), Fault> {
    Err(Fault::TooMany { what, count: endorsements.len(), max: 0 })
}

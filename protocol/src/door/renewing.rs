//! This node's own renewal: when it is due, and how it comes about (SPEC 5.22, 5.23).
//!
//! Nothing of it is stored. Whether it is due follows from the state, and what was drafted and did not become an entry is drafted anew.

use super::core::Core;
use super::effects::Effects;
use super::input::{Error, Event};
use super::view::Admission;
use crate::identity::PublicKey;
use crate::joining::{Answer, Renewal, Retry, Verdict};
use crate::planted::{Bug, loosened};
use crate::state::{Admit, Endorsement, Grounds, Kind, Standing, Statement, StatementId, Subject, Window};
use crate::time::Timestamp;

/// When whoever stands so begins to renew: between a half and two thirds of its window. Where in between follows from its identity and
/// the number of its admission, so that a fleet which was admitted at once does not renew at once, and a restart changes nothing.
fn begins(standing: &Standing) -> Timestamp {
    let node = standing.keys.inception.node_id();
    let mut bytes = [0; 8];
    let at = 8 * (standing.number % 4) as usize;
    bytes.copy_from_slice(&node.0[at..at + 8]);
    let sixth = if loosened(Bug::RenewedAtOnce) { 1 } else { standing.window.length_ms() / 6 };
    standing.window.middle().plus(u64::from_le_bytes(bytes) % sixth.max(1))
}

impl Core {
    /// When our renewal is due by the state, if there is anything to renew and it is not too late.
    pub(super) fn renewal_due(&self) -> Option<Timestamp> {
        let state = self.state()?;
        let end = state.renewable_until(&self.me)?;
        let standing = state.standing(&self.me)?;
        // No renewal is valid while our rights rest.
        let rests = standing.suspended(self.now).filter(|_| !loosened(Bug::SuspendedRenew));
        let rests = rests.map_or(Timestamp::ZERO, |suspension| suspension.until);
        let ever = !standing.is_convicted() && self.now < end;
        Some(begins(standing).max(rests)).filter(|at| ever && *at < end)
    }

    /// When a renewal needs a tick. Without a connection there is nobody to ask, and the next one that opens is asked.
    pub(super) fn renewal_deadline(&self) -> Option<Timestamp> {
        if self.connected.is_empty() || self.halted.is_some() {
            return None;
        }
        self.renewal.as_deref().map(Renewal::deadline).or(self.renews_at)
    }

    /// A state with other entries, or the first: what there is to renew may be something else.
    pub(super) fn look_after_renewal(&mut self, effects: &mut Effects) {
        self.renews_at = self.renewal_due();
        let Some(renewal) = &self.renewal else { return };
        let wanted = renewal.drafted().and_then(|(statement, _)| number_of(statement));
        let standing = self.state().and_then(|state| state.standing(&self.me));
        let (number, until) = standing.map_or((0, Timestamp::ZERO), |it| (it.number, it.window.until));
        if wanted.is_some_and(|wanted| wanted <= number) {
            self.renewal = None;
            effects.tell(Event::Renewed { number, until });
        } else if self.renews_at.is_none() {
            self.renewal = None;
        }
    }

    /// Time passed, a connection opened, or a block became final: whether there is something to ask, or to ask again.
    pub(super) fn renew_if_due(&mut self, effects: &mut Effects) {
        if self.renewal_deadline().is_none_or(|at| self.now < at) {
            return;
        }
        // It may have become too late, or a suspension may have lapsed.
        self.renews_at = self.renewal_due();
        if self.renews_at.is_none() {
            self.renewal = None;
            return;
        }
        self.renew(effects);
    }

    /// A block became final: whoever waited for one that is recent enough to draft on need wait no longer.
    pub(super) fn renew_on_a_newer_head(&mut self, effects: &mut Effects) {
        if self.renewal.as_deref().is_some_and(|renewal| renewal.drafted().is_none()) {
            self.ask_for_renewal(effects);
        }
    }

    /// Drafts if need be, and asks every endorser that is connected.
    fn renew(&mut self, effects: &mut Effects) {
        let now = self.now;
        self.renewal.get_or_insert_with(|| Box::new(Renewal::new(now))).asks(now);
        self.ask_for_renewal(effects);
    }

    fn ask_for_renewal(&mut self, effects: &mut Effects) {
        self.mend_renewal();
        let peers: Vec<PublicKey> =
            self.connected.iter().copied().filter(|peer| self.is_seated(peer)).collect();
        for peer in peers {
            self.ask_one_for_renewal(peer, effects);
        }
    }

    /// A connection opened while a renewal is on its way.
    pub(super) fn ask_one_for_renewal(&mut self, peer: PublicKey, effects: &mut Effects) {
        let step = self.renewal.as_deref().and_then(|renewal| renewal.step_for(peer));
        self.walk(step.into_iter().collect(), effects);
    }

    /// Leaves out of a renewal what would not do any more, and drafts if there is nothing left.
    fn mend_renewal(&mut self) {
        let Some(mut renewal) = self.renewal.take() else { return };
        if let Some((statement, is_entry)) = renewal.drafted()
            && !self.still_does(statement, is_entry)
        {
            renewal.drop_draft();
        }
        renewal.retain(|endorsement| self.is_entitled(endorsement));
        if renewal.drafted().is_none()
            && let Some(statement) = self.draft_of_renewal()
        {
            let need =
                self.state().map_or(0, |state| state.threshold_for(&Subject::Statement(statement.clone())));
            renewal.draft(statement, need);
        }
        self.renewal = Some(renewal);
    }

    /// Whether a draft can still become an entry, or what endorsers sign.
    fn still_does(&self, statement: &Statement, is_entry: bool) -> bool {
        let (Some(chain), Some(basis)) = (&self.chain, statement.basis()) else { return false };
        let time = self.now.max(chain.head().time.plus(1));
        let is_recent = is_entry || self.now.since(basis.time) <= chain.state().charter().timing.basis_ms / 2;
        is_recent && chain.state().judge_statement(chain.head(), time, statement).is_ok()
    }

    pub(super) fn is_entitled(&self, endorsement: &Endorsement) -> bool {
        self.state().is_some_and(|state| state.check_endorsers(self.now, &[*endorsement], 1).is_ok())
    }

    /// A draft on our newest final block, if that is one to draft on: or no endorser would sign it, and each that we ask for in vain counts.
    fn draft_of_renewal(&self) -> Option<Statement> {
        let chain = self.chain.as_ref()?;
        let timing = &chain.state().charter().timing;
        let age = self.now.since(chain.head().time);
        if age > timing.freshness_ms.min(timing.basis_ms / 2) || self.check_own_key().is_err() {
            return None;
        }
        self.renewal_on_the_head().filter(|statement| self.still_does(statement, false))
    }

    fn renewal_on_the_head(&self) -> Option<Statement> {
        let chain = self.chain.as_ref()?;
        let (state, from) = (chain.state(), chain.head().time);
        let standing = state.standing(&self.me)?;
        let admit = Admit {
            subject: self.keys.inception.clone(),
            number: standing.number.checked_add(1)?,
            roles: standing.roles.clone(),
            window: Window { from, until: from.plus(state.charter().timing.member_lifetime_ms) },
            basis: chain.basis(),
            grounds: Grounds::Renewal,
        };
        Some(Statement { domain: self.domain, kind: Kind::Admit(Box::new(admit)) })
    }

    /// An endorser answered our draft. Its signature was checked; here, whose it is.
    pub(super) fn renewal_answered(&mut self, from: PublicKey, answer: &Answer, effects: &mut Effects) {
        let (by, may_lie) = (self.seat_of(&from), self.charter().map_or(0, |charter| charter.faults.into()));
        match &answer.verdict {
            Verdict::Endorsed(endorsement) if self.is_entitled(endorsement) => {
                let renewal = self.renewal.as_deref_mut();
                if renewal.is_some_and(|renewal| renewal.endorsed(&answer.statement, *endorsement)) {
                    self.ask_for_renewal(effects);
                }
            }
            Verdict::Endorsed(_) | Verdict::Waiting => {}
            Verdict::Declined { why, retry } => {
                self.renewal_declined(from, why, effects);
                if let (Some(renewal), Some(by), Retry::NewerBasis) = (&mut self.renewal, by, retry) {
                    renewal.outdated(&answer.statement, by, may_lie);
                }
            }
        }
    }

    /// An endorser declined our draft or refused our entry. Nothing follows from its word: what is wrong shows in our own state, once that
    /// is as new as the endorser's.
    pub(super) fn renewal_declined(&mut self, by: PublicKey, why: &str, effects: &mut Effects) {
        // All who have a seat are asked, and nobody else.
        let (Some(seat), Some(renewal)) = (self.seat_of(&by), &mut self.renewal) else { return };
        if renewal.declined(seat, why) {
            effects.tell(Event::Declined { by, why: why.to_owned() });
        }
    }

    /// Whether `statement` is what we drafted.
    pub(super) fn is_our_renewal(&self, statement: &StatementId) -> bool {
        let drafted = self.renewal.as_deref().and_then(Renewal::drafted);
        drafted.is_some_and(|(drafted, _)| drafted.id() == *statement)
    }

    /// Our operator wants to renew now rather than when it is due.
    pub(super) fn renew_now(&mut self, effects: &mut Effects) -> Result<(), Error> {
        let Some(state) = self.state() else { return Err(Error::Untimely("there is no state yet")) };
        state.check_renewable(&self.me, self.now)?;
        // If our newest block is too old to draft on, it begins as soon as there is a newer one.
        self.renew(effects);
        Ok(())
    }

    /// Until when our own admission runs, and what is done about it.
    pub(super) fn admission(&self) -> Option<Admission> {
        let state = self.state()?;
        let standing = state.standing(&self.me).filter(|_| !state.has_seat(&self.me))?;
        // What was limited cannot be renewed, and ends.
        let renewable_until = state.renewable_until(&self.me).unwrap_or(standing.window.until);
        let under_way = self.renewal.as_deref();
        Some(Admission {
            number: standing.number,
            until: standing.window.until,
            lapsed: standing.window.until <= self.now,
            limited: standing.limited,
            renews_at: self.renewal_due(),
            renewable_until,
            renewing: under_way.map(Renewal::progress),
            declined: under_way.and_then(Renewal::said).map(str::to_owned),
        })
    }
}

fn number_of(statement: &Statement) -> Option<u64> {
    statement.admission().map(|admit| admit.number)
}

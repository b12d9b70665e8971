//! Renewals: an admission of whoever is in already (SPEC 4.5).
//!
//! No operator looks at one, so what it can do is narrow: the same identity, no new role, under the charter in force. How often is
//! bounded by execution, not by whoever signs: each renewal stays in everybody's log for ever.

use super::charter::Charter;
use super::maps::Standing;
use super::rules::Scene;
use super::statement::Admit;
use super::value::State;
use crate::fault::Fault;
use crate::identity::NodeId;
use crate::time::Timestamp;

/// Until when whoever stands so may renew: its window, and after that the charter's silence bound.
fn renewable_until(standing: &Standing, charter: &Charter) -> Timestamp {
    standing.window.until.plus(charter.timing.silence_ms)
}

impl Scene<'_> {
    /// What a renewal asks beyond what every `Admit` does: its number, its keys, its window and its basis were judged; and that the subject is
    /// neither gone nor suspended.
    pub(super) fn judge_renewal(&self, admit: &Admit, subject: NodeId) -> Result<(), Fault> {
        let bad = |why| Err(Fault::BadRenewal { why });
        let standing = self.standing_of(&subject)?;
        let charter = &self.law.charter;
        if self.law.has_seat(&subject) {
            return bad("the subject has a seat in the charter, which never lapses");
        }
        if self.time >= renewable_until(standing, charter) {
            return bad(
                "the admission lapsed longer ago than the charter's silence bound: operators must approve a new one",
            );
        }
        if admit.roles.iter().any(|role| !standing.roles.contains(role)) {
            return bad("it has a role that the subject does not stand with");
        }
        let middle = standing.window.middle();
        if admit.window.from < middle {
            return Err(Fault::RenewedTooEarly { subject, middle });
        }
        if admit.window.length_ms() != charter.timing.member_lifetime_ms {
            return bad("its window is not just as long as the charter's member lifetime");
        }
        Ok(())
    }
}

impl State {
    /// Until when `node` may renew; `None` if it has nothing to renew: a seat never lapses.
    pub fn renewable_until(&self, node: &NodeId) -> Option<Timestamp> {
        let standing = self.standing(node).filter(|_| !self.has_seat(node))?;
        Some(renewable_until(standing, self.charter()))
    }
}

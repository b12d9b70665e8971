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

/// Until when whoever stands so may renew, if its time is not limited: its window, and after that the charter's silence bound.
fn renewable_until(standing: &Standing, charter: &Charter) -> Timestamp {
    standing.window.until.plus(charter.timing.silence_ms)
}

impl Scene<'_> {
    /// Whether `subject` may renew at all, though perhaps not yet; what stands, if so.
    fn check_renewable(&self, subject: &NodeId) -> Result<&Standing, Fault> {
        let bad = |why| Err(Fault::BadRenewal { why });
        let standing = self.standing_of(subject)?;
        if standing.suspended(self.time).is_some() {
            return Err(Fault::SubjectSuspended { subject: *subject });
        }
        if self.law.has_seat(subject) {
            return bad("the subject has a seat in the charter, which never lapses");
        }
        if standing.limited {
            return bad(
                "the admission was for less than a lifetime, and a renewal does not prolong what was limited: operators of endorsers must admit it anew",
            );
        }
        if self.time >= renewable_until(standing, &self.law.charter) {
            return bad(
                "the admission lapsed longer ago than the charter's silence bound: operators of endorsers must admit it anew",
            );
        }
        Ok(standing)
    }

    /// What a renewal asks beyond what every `Admit` does: its number, its keys, its window and its basis were judged.
    pub(super) fn judge_renewal(&self, admit: &Admit, subject: NodeId) -> Result<(), Fault> {
        let standing = self.check_renewable(&subject)?;
        if admit.roles.iter().any(|role| !standing.roles.contains(role)) {
            return Err(Fault::BadRenewal { why: "it has a role that the subject does not stand with" });
        }
        let middle = standing.window.middle();
        if admit.window.from < middle {
            return Err(Fault::RenewedTooEarly { subject, middle });
        }
        if admit.window.length_ms() != self.law.charter.timing.member_lifetime_ms {
            return Err(Fault::BadRenewal {
                why: "its window is not just as long as the charter's member lifetime",
            });
        }
        Ok(())
    }
}

impl State {
    /// Until when `node` may renew; `None` if it has nothing to renew: a seat never lapses, and what was limited stays so.
    pub fn renewable_until(&self, node: &NodeId) -> Option<Timestamp> {
        let standing = self.standing(node).filter(|standing| !standing.limited && !self.has_seat(node))?;
        Some(renewable_until(standing, self.charter()))
    }

    /// Whether `node` could renew at `time`, if the rest fits.
    ///
    /// # Errors
    /// The [`Fault`] for which it could not.
    pub fn check_renewable(&self, node: &NodeId, time: Timestamp) -> Result<(), Fault> {
        let scene = self.scene(self.last().height.saturating_add(1), time);
        let middle = scene.check_renewable(node)?.window.middle();
        if time < middle { Err(Fault::RenewedTooEarly { subject: *node, middle }) } else { Ok(()) }
    }
}

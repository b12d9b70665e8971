//! Admissions that run out: this node's own, and those that operators make anew.

use frith_protocol::door::Command;
use frith_protocol::state::{Admit, Grounds, Kind, Window};
use frith_protocol::time::Timestamp;
use serde_json::json;

use super::answers::to_value;
use super::host::Host;
use crate::control::{Refusal, Reply};
use crate::words::span;

impl Host {
    /// `frith renew`: how it stands with this node's own admission, and, if that is asked, renew it at once.
    pub(super) fn renew(&mut self, at_once: bool, now: Timestamp) -> Reply {
        if at_once {
            self.act(Command::Renew)?;
        }
        let status = self.core().status(now);
        if !at_once && status.admission.is_none() {
            return Err(Refusal::refused(match self.core().state() {
                None => "this node has no state to answer from yet",
                Some(state) if state.has_seat(&self.core().node_id()) => {
                    "this node has a seat in the charter, and a seat never lapses: there is nothing to renew"
                }
                Some(_) => "this node is no member: there is nothing to renew",
            }));
        }
        Ok(json!({ "begun": at_once, "admission": to_value(&status.admission) }))
    }

    /// `frith readmit`: an admission by the operators' yes of somebody who stands already, under the same identity.
    pub(super) fn readmit(
        &mut self,
        node: &str,
        roles: Option<Vec<String>>,
        for_ms: Option<u64>,
        note: String,
        now: Timestamp,
    ) -> Reply {
        self.propose_about(node, note, now, |state, basis, subject| {
            let gone = || format!("{} is gone for good: no identity comes back", subject.short());
            let standing = state.standing(&subject).ok_or_else(|| Refusal::refused(gone()))?;
            if state.has_seat(&subject) {
                let why =
                    "it has a seat in the charter, which never lapses; its roles are changed by frith amend";
                return Err(Refusal::refused(why));
            }
            let mut roles = roles.unwrap_or_else(|| standing.roles.clone());
            roles.sort();
            roles.dedup();
            // Whatever is less than a whole lifetime is limited: it does not renew (SPEC 4.5).
            let longest = state.charter().timing.member_lifetime_ms;
            let length = for_ms.unwrap_or(longest);
            if length == 0 || length > longest {
                let longest = span(longest);
                return Err(Refusal::bad(format!(
                    "the charter admits for at most {longest}, and for no less than a moment"
                )));
            }
            let until = basis.time.plus(length);
            Ok(Kind::Admit(Box::new(Admit {
                subject: standing.keys.inception.clone(),
                number: standing.number + 1,
                roles,
                window: Window { from: basis.time, until },
                basis,
                grounds: Grounds::Approval,
            })))
        })
    }
}

//! How long it takes until whoever loses its rights is refused everywhere: from the signature that makes it so.

use std::collections::{BTreeMap, BTreeSet};

use frith_protocol::door::Standing;
use frith_protocol::encoding::Hash;
use frith_protocol::identity::NodeId;
use frith_protocol::state::{Kind, Subject};

use super::Run;
use super::watch::Missing;
use crate::engine::{Instant, NodeIndex};
use crate::world::program::Program;

/// What takes rights away, and who does not act upon it yet.
#[derive(Default)]
pub(super) struct Refusals {
    /// Who endorsed what is not signed often enough yet.
    signed: BTreeMap<Hash, BTreeSet<NodeIndex>>,
    /// What is.
    decided: BTreeSet<Hash>,
    open: Vec<Refusal>,
}

struct Refusal {
    subject: NodeId,
    since: Instant,
    missing: Missing,
}

impl Refusals {
    /// Of whoever is down, or gone, nothing is asked any more.
    pub(super) fn forget(&mut self, node: NodeIndex) {
        for refusal in &mut self.open {
            refusal.missing.remove(node);
        }
        self.open.retain(|refusal| !refusal.missing.is_empty());
    }
}

impl Run<'_> {
    /// A node endorsed something: if it is a denial, and that was the last signature that it needed, everybody is to refuse its subject.
    pub(super) fn endorsed(&mut self, node: NodeIndex, id: Hash) {
        if self.refusals.decided.contains(&id) {
            return;
        }
        let Some(core) = self.world.actor(node).map(Program::core) else { return };
        let proposal = core.proposals().find(|(of, _)| **of == id).map(|(_, proposal)| &proposal.subject);
        let (Some(subject), Some(state)) = (proposal, core.state()) else { return };
        let Some(whom) = takes_from(subject) else { return };
        let need = state.threshold_for(subject);
        let by = self.refusals.signed.entry(id).or_default();
        by.insert(node);
        if by.len() >= need {
            self.refusals.signed.remove(&id);
            self.refusals.decided.insert(id);
            self.must_be_refused(whom);
        }
    }

    /// From now on everybody is to refuse it: every member that runs, and lies to nobody.
    pub(super) fn must_be_refused(&mut self, subject: NodeId) {
        let mut missing = Missing::default();
        for node in &self.members {
            if self.is_up(*node) && !self.lies(*node) && self.node_id(*node) != subject {
                missing.insert(*node);
            }
        }
        let since = self.world.now();
        self.refusals.open.push(Refusal { subject, since, missing });
    }

    /// A node learnt something: it may refuse by now whom it took for a member.
    pub(super) fn may_refuse(&mut self, node: NodeIndex) {
        if self.refusals.open.is_empty() {
            return;
        }
        let Some(core) = self.world.actor(node).map(Program::core) else { return };
        let now = self.world.now();
        for refusal in &mut self.refusals.open {
            let key = self.by_id.get(&refusal.subject).map(|at| self.world.shared.names[at.index()]);
            let refuses = key.is_some_and(|key| core.standing_of(&key) < Standing::Member);
            if refuses && refusal.missing.remove(node) {
                self.outcome.refusal_us.push(now.since(refusal.since));
            }
        }
        self.refusals.open.retain(|refusal| !refusal.missing.is_empty());
    }
}

/// Whose rights end or rest, if this is agreed to.
fn takes_from(subject: &Subject) -> Option<NodeId> {
    match subject {
        Subject::Statement(statement) => match &statement.kind {
            Kind::Revoke(revoke) => Some(revoke.subject),
            Kind::Suspend(suspend) => Some(suspend.subject),
            Kind::Admit(_) | Kind::Release(_) | Kind::Amend(_) | Kind::Rotate(_) | Kind::Recover(_) => None,
        },
        Subject::Ticket(_) | Subject::Terms(_) => None,
    }
}

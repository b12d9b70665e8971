//! How long it takes until whoever loses its rights is refused everywhere: from the signature that makes it so.

use std::collections::{BTreeMap, BTreeSet};

use frith_protocol::door::Standing;
use frith_protocol::encoding::Hash;
use frith_protocol::identity::NodeId;
use frith_protocol::state::{Kind, Subject};
use frith_protocol::time::Timestamp;

use super::Run;
use super::watch::Missing;
use crate::engine::{Instant, NodeIndex};
use crate::oracles::Invariant;
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

impl Run<'_> {
    /// A node told that somebody is held. Whoever is its signer began to hold: from then on everybody is to refuse whom it holds.
    pub(super) fn heard_of_a_hold(&mut self, node: NodeIndex, subject: NodeId, by: NodeId, until: Timestamp) {
        if self.by_id.get(&by) == Some(&node) {
            self.outcome.signatures_made += 1;
            // Of an endorser several are needed, and whoever lies shows its holds to whom it likes.
            let core = self.world.actor(node).map(Program::core);
            let now = Timestamp(self.world.reads(node).0);
            let enough = core.is_some_and(|core| core.held(&subject, now).is_some());
            if enough && !self.lies(node) {
                self.must_be_refused(subject);
            }
        }
        self.may_refuse(node);
        if !self.lies(node) && !self.lies_as(&by) {
            self.holds.entry(node).or_default().push(Known { subject, by, until });
            self.knows_the_held(self.world.now(), node);
        }
    }

    fn lies_as(&self, id: &NodeId) -> bool {
        self.by_id.get(id).is_some_and(|node| self.lies(*node))
    }

    /// Nobody who knows of a hold in force takes its subject for effective: as a peer, in an answer, or as itself. (Of whoever has a seat
    /// that takes several, and the core is asked; what a liar holds, it may have contradicted.)
    pub(super) fn knows_the_held(&mut self, now: Instant, node: NodeIndex) {
        let (Some(known), Some(core)) = (self.holds.get(&node), self.world.actor(node).map(Program::core))
        else {
            return;
        };
        let time = Timestamp(self.world.reads(node).0);
        let (state, history) = (core.state(), &self.history);
        let in_force = |hold: &&Known| {
            time < hold.until
                && state.is_some_and(|state| state.standing(&hold.subject).is_some())
                && !history.endorsers().any(|seated| *seated == hold.subject)
                && history.may_endorse(&hold.by, time)
        };
        let treated =
            known.iter().filter(in_force).find(|hold| self.takes_for_effective(core, &hold.subject, time));
        if let Some(Known { subject, by, until: _ }) = treated.copied() {
            self.broke(
                Invariant::S2,
                now,
                node,
                format!("{subject:?} is held by {by:?}, and treated as effective"),
            );
            self.holds.remove(&node);
        }
    }
}

/// A hold that a node knows of.
#[derive(Clone, Copy)]
pub(super) struct Known {
    subject: NodeId,
    by: NodeId,
    until: Timestamp,
}

/// Whose rights end or rest, if this is agreed to.
fn takes_from(subject: &Subject) -> Option<NodeId> {
    match subject {
        Subject::Statement(statement) => match &statement.kind {
            Kind::Revoke(revoke) => Some(revoke.subject),
            Kind::Suspend(suspend) => Some(suspend.subject),
            // Nobody proposes the last three.
            Kind::Admit(_)
            | Kind::Release(_)
            | Kind::Amend(_)
            | Kind::Rotate(_)
            | Kind::Accuse(_)
            | Kind::Hold(_)
            | Kind::Recover(_) => None,
        },
        Subject::Ticket(_) | Subject::Terms(_) => None,
    }
}

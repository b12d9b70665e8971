//! S5: what a node has once signed, it never contradicts, whatever happened to it in between.

use std::collections::{BTreeMap, BTreeSet};

use frith_protocol::agreement::{Ballot, BallotKind, Message as Talk};
use frith_protocol::door::Message;
use frith_protocol::identity::PublicKey;
use frith_protocol::state::BlockId;

use super::{Invariant, Violation};
use crate::engine::{Instant, NodeIndex};

/// What one voting key said in one iteration.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    proposed: Option<BlockId>,
    voted: Option<BlockId>,
    finalised: Option<BlockId>,
    gave_up: bool,
    /// Whether a contradiction in it was told.
    told: bool,
}

/// Watches ballots on their way out.
#[derive(Debug, Default)]
pub struct Ballots {
    domain: u32,
    said: BTreeMap<(PublicKey, u64, u64), Said>,
    keys: BTreeMap<NodeIndex, BTreeSet<PublicKey>>,
    excused: BTreeSet<NodeIndex>,
    distinct: u64,
    violations: Vec<Violation>,
}

impl Ballots {
    /// Watches the endorsers of domain number `domain`, each by its voting keys; but not the `excused`, who count as faulty.
    pub fn new(
        domain: u32,
        keys: impl IntoIterator<Item = (NodeIndex, PublicKey)>,
        excused: BTreeSet<NodeIndex>,
    ) -> Ballots {
        let mut of_nodes: BTreeMap<NodeIndex, BTreeSet<PublicKey>> = BTreeMap::new();
        for (node, key) in keys {
            of_nodes.entry(node).or_default().insert(key);
        }
        Ballots { domain, keys: of_nodes, excused, ..Ballots::default() }
    }

    /// How many distinct ballots were sent.
    pub fn distinct(&self) -> u64 {
        self.distinct
    }

    /// What broke.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// `node` sends `message`.
    pub fn leaves(&mut self, node: NodeIndex, now: Instant, message: &Message) {
        let Message::Talk(talk) = message else { return };
        if !self.keys.contains_key(&node) {
            return;
        }
        match &**talk {
            Talk::Propose(proposal) => {
                self.says(node, now, proposal.vote.voter, &proposal.vote.ballot);
                for certificate in &proposal.grounds {
                    self.certifies(node, now, certificate);
                }
            }
            Talk::Ballot(vote) => self.says(node, now, vote.voter, &vote.ballot),
            Talk::Certificate(certificate) => self.certifies(node, now, certificate),
            Talk::Have(have) => {
                for certificate in &have.certificates {
                    self.certifies(node, now, certificate);
                }
            }
            // What it shows of others is theirs.
            Talk::Want(_) | Talk::AskNewest { .. } | Talk::Newest(_) => {}
        }
    }

    /// Its own signature in a certificate is a ballot of its own.
    fn certifies<P>(
        &mut self,
        node: NodeIndex,
        now: Instant,
        certificate: &frith_protocol::agreement::Certificate<PublicKey, P>,
    ) {
        for (key, _) in &certificate.votes {
            self.says(node, now, *key, &certificate.ballot);
        }
    }

    fn says(&mut self, node: NodeIndex, now: Instant, voter: PublicKey, ballot: &Ballot) {
        if !self.keys.get(&node).is_some_and(|own| own.contains(&voter)) {
            return;
        }
        let said = self.said.entry((voter, ballot.epoch, ballot.iteration)).or_default();
        let before = *said;
        let named = [said.proposed, said.voted, said.finalised];
        let contradicts = match ballot.kind {
            BallotKind::Dummy => said.finalised.is_some(),
            BallotKind::Propose | BallotKind::Vote => {
                named.into_iter().flatten().any(|block| block != ballot.block)
            }
            BallotKind::Finalise => {
                said.gave_up || named.into_iter().flatten().any(|block| block != ballot.block)
            }
        };
        let new = match ballot.kind {
            BallotKind::Propose => said.proposed.replace(ballot.block) != Some(ballot.block),
            BallotKind::Vote => said.voted.replace(ballot.block) != Some(ballot.block),
            BallotKind::Finalise => said.finalised.replace(ballot.block) != Some(ballot.block),
            BallotKind::Dummy => !std::mem::replace(&mut said.gave_up, true),
        };
        self.distinct += u64::from(new);
        // Once for an iteration is enough: repeating a lie is no second one.
        if contradicts && !said.told && !self.excused.contains(&node) {
            said.told = true;
            let what = format!(
                "in iteration {} of epoch {} it said {:?} of {:?} after {before:?}",
                ballot.iteration, ballot.epoch, ballot.kind, ballot.block
            );
            let (invariant, domain, at_ms) = (Invariant::S5, self.domain, now.as_ms());
            self.violations.push(Violation { invariant, domain, at_ms, node, what });
        }
    }
}

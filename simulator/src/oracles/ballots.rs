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
}

/// Watches ballots on their way out.
#[derive(Debug, Default)]
pub struct Ballots {
    domain: u32,
    said: BTreeMap<(PublicKey, u64, u64), Said>,
    keys: BTreeMap<NodeIndex, PublicKey>,
    excused: BTreeSet<NodeIndex>,
    distinct: u64,
    violations: Vec<Violation>,
}

impl Ballots {
    /// Watches the endorsers of domain number `domain`, each by its voting key; but not the `excused`, who count as faulty.
    pub fn new(
        domain: u32,
        keys: impl IntoIterator<Item = (NodeIndex, PublicKey)>,
        excused: BTreeSet<NodeIndex>,
    ) -> Ballots {
        Ballots { domain, keys: keys.into_iter().collect(), excused, ..Ballots::default() }
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
        let Some(own) = self.keys.get(&node).copied() else { return };
        match &**talk {
            Talk::Propose(proposal) => {
                self.says(node, now, proposal.vote.voter, &proposal.vote.ballot);
                for certificate in &proposal.grounds {
                    self.certifies(node, now, own, certificate);
                }
            }
            Talk::Ballot(vote) => self.says(node, now, vote.voter, &vote.ballot),
            Talk::Certificate(certificate) => self.certifies(node, now, own, certificate),
            Talk::Have(have) => {
                for certificate in &have.certificates {
                    self.certifies(node, now, own, certificate);
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
        own: PublicKey,
        certificate: &frith_protocol::agreement::Certificate<PublicKey, P>,
    ) {
        if certificate.votes.iter().any(|(key, _)| *key == own) {
            self.says(node, now, own, &certificate.ballot);
        }
    }

    fn says(&mut self, node: NodeIndex, now: Instant, voter: PublicKey, ballot: &Ballot) {
        if self.keys.get(&node) != Some(&voter) {
            return;
        }
        let said = self.said.entry((voter, ballot.epoch, ballot.iteration)).or_default();
        let before = *said;
        let place = match ballot.kind {
            BallotKind::Propose => Some(&mut said.proposed),
            BallotKind::Vote => Some(&mut said.voted),
            BallotKind::Finalise => Some(&mut said.finalised),
            BallotKind::Dummy => {
                self.distinct += u64::from(!said.gave_up);
                said.gave_up = true;
                None
            }
        };
        if let Some(place) = place {
            self.distinct += u64::from(*place != Some(ballot.block));
            *place = Some(ballot.block);
        }
        if self.excused.contains(&node) {
            return;
        }
        let mut named =
            [before.proposed, before.voted, before.finalised, said.proposed, said.voted, said.finalised]
                .into_iter()
                .flatten();
        let first = named.next();
        let two = named.any(|block| Some(block) != first);
        let both = said.gave_up && said.finalised.is_some();
        let again = (before.gave_up && before.finalised.is_some()) || before.names_two();
        if (two || both) && !again {
            let what = format!(
                "in iteration {} of epoch {} it said {:?} of {:?} after {before:?}",
                ballot.iteration, ballot.epoch, ballot.kind, ballot.block
            );
            let (invariant, domain, at_ms) = (Invariant::S5, self.domain, now.as_ms());
            self.violations.push(Violation { invariant, domain, at_ms, node, what });
        }
    }
}

impl Said {
    fn names_two(&self) -> bool {
        let mut named = [self.proposed, self.voted, self.finalised].into_iter().flatten();
        let first = named.next();
        named.any(|block| Some(block) != first)
    }
}

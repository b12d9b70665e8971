//! Nodes that lie: an honest core whose messages are twisted on their way out, with its own keys.
//!
//! A liar knows all that its core knows, and shares a plot with other liars. What it cannot do is sign for others.

use std::collections::BTreeMap;
use std::sync::Arc;

use frith_protocol::agreement::{Ballot, BallotKind, Message as Said, Proposal, Vote};
use frith_protocol::door::{Keys, Message, Talk};
use frith_protocol::identity::{PublicKey, SecretKey, Signature};
use frith_protocol::state::{Block, BlockId, Entry, Hold, HoldTerms, Rank};
use frith_protocol::time::Timestamp;

use crate::engine::NodeIndex;
use crate::scenario::Lie;

/// What the liars of a domain have agreed on: in which iteration those of even number are shown one block, and those of odd number
/// another.
#[derive(Debug, Default)]
pub(super) struct Plot {
    shown: BTreeMap<u64, (BlockId, BlockId)>,
    /// Whether they lie only once one of them has led: a lie about somebody else's block alone stops more than it forks.
    waits: bool,
}

/// What `message` becomes on its way to `to`; nothing if the liar keeps it to itself.
pub(super) fn twisted(
    lie: Lie,
    plot: &mut Plot,
    keys: &Keys,
    to: NodeIndex,
    message: Arc<Message>,
) -> Option<Arc<Message>> {
    match (lie, &*message) {
        (Lie::Mute, Message::Talk(_)) | (Lie::Stingy, Message::Answer(_) | Message::Circulate(_)) => None,
        (Lie::TwoFaced, Message::Talk(talk)) => {
            if matches!(&**talk, Said::Certificate(_)) && plot.is_of_the_other_face(to, talk) {
                return None;
            }
            let lied = keys.voting.iter().find_map(|voting| two_faced(plot, voting, to, talk));
            match lied {
                Some(other) => Some(Arc::new(Message::Talk(Arc::new(other)))),
                None => Some(message),
            }
        }
        (Lie::Forger, Message::Talk(talk)) => Some(match forged(talk) {
            Some(forged) => Arc::new(Message::Talk(Arc::new(forged))),
            None => message,
        }),
        (Lie::Whisperer | Lie::DoubleDealer, Message::Hold(hold)) if hold.key == keys.identity.public() => {
            let (odd, deals) = (to.0 % 2 == 1, lie == Lie::DoubleDealer);
            let terms = HoldTerms { until: Timestamp(hold.until.0 - 1), ..hold.terms() };
            let other = || Hold::sign(terms, hold.by, hold.sequence, &keys.identity);
            match (odd, deals) {
                (false, _) => Some(message),
                (true, true) => Some(Arc::new(Message::Hold(Box::new(other())))),
                (true, false) => None,
            }
        }
        // Nor does it hand them in, which would show them.
        (Lie::Whisperer | Lie::DoubleDealer, Message::Submit(entry)) if is_hold(entry) => None,
        (
            Lie::Mute
            | Lie::Stingy
            | Lie::TwoFaced
            | Lie::Forger
            | Lie::Whisperer
            | Lie::DoubleDealer
            | Lie::GraveRobber,
            _,
        ) => Some(message),
    }
}

/// Whether a liar keeps a message from its own core: what the other half of the endorsers was led to say would only confuse it.
pub(super) fn unheard(lie: Lie, plot: &Plot, me: NodeIndex, message: &Message) -> bool {
    match (lie, message) {
        (Lie::TwoFaced, Message::Talk(talk)) => plot.is_of_the_other_face(me, talk),
        (
            Lie::Mute
            | Lie::Stingy
            | Lie::TwoFaced
            | Lie::Forger
            | Lie::Whisperer
            | Lie::DoubleDealer
            | Lie::GraveRobber,
            _,
        ) => false,
    }
}

/// Whether a liar does not publish what its core would.
pub(super) fn unpublished(lie: Lie, message: &Message) -> bool {
    match lie {
        Lie::Whisperer | Lie::DoubleDealer => matches!(message, Message::Hold(_)),
        Lie::Mute | Lie::Stingy | Lie::TwoFaced | Lie::Forger | Lie::GraveRobber => false,
    }
}

fn is_hold(entry: &Entry) -> bool {
    entry.statement.rank() == Rank::Record
}

impl Plot {
    /// Of liars who are honest until it is the turn of one of them to lead.
    pub(super) fn that_waits() -> Plot {
        Plot { waits: true, ..Plot::default() }
    }

    /// Whether `talk` is of the block that `node` is not shown.
    fn is_of_the_other_face(&self, node: NodeIndex, talk: &Talk) -> bool {
        let ballot = match talk {
            Said::Certificate(certificate) => &certificate.ballot,
            Said::Ballot(vote) => &vote.ballot,
            Said::Propose(_) | Said::Want(_) | Said::Have(_) | Said::AskNewest { .. } | Said::Newest(_) => {
                return false;
            }
        };
        let Some((even, odd)) = self.shown.get(&ballot.iteration) else { return false };
        ballot.block == if node.0 % 2 == 1 { *even } else { *odd }
    }
}

/// The other face, if `to` is to see it.
fn two_faced(plot: &mut Plot, voting: &SecretKey, to: NodeIndex, talk: &Talk) -> Option<Talk> {
    let odd = to.0 % 2 == 1;
    match talk {
        Said::Propose(proposal) if proposal.vote.voter == voting.public() => {
            let other = other_block(&proposal.block);
            let ballot = proposal.vote.ballot;
            plot.shown.insert(ballot.iteration, (ballot.block, other.id()));
            odd.then(|| {
                let vote = signed(Ballot { block: other.id(), ..ballot }, voting);
                let grounds = proposal.grounds.clone();
                Said::Propose(Box::new(Proposal { vote, block: Arc::new(other), grounds }))
            })
        }
        Said::Ballot(_) if plot.waits && plot.shown.is_empty() => None,
        Said::Ballot(vote) if vote.voter == voting.public() => {
            let ballot = vote.ballot;
            let shown = plot.shown.get(&ballot.iteration).map(|(even, odds)| if odd { *odds } else { *even });
            let other = match (ballot.kind, shown) {
                (BallotKind::Vote | BallotKind::Finalise, Some(block)) => Ballot { block, ..ballot },
                (BallotKind::Vote, None) if odd => Ballot { block: nowhere(&ballot.block), ..ballot },
                (BallotKind::Finalise, None) if odd => {
                    Ballot { kind: BallotKind::Dummy, block: BlockId::NONE, ..ballot }
                }
                (BallotKind::Vote | BallotKind::Finalise | BallotKind::Dummy | BallotKind::Propose, _) => {
                    return None;
                }
            };
            (other != ballot).then(|| Said::Ballot(signed(other, voting)))
        }
        Said::Propose(_)
        | Said::Ballot(_)
        | Said::Certificate(_)
        | Said::Want(_)
        | Said::Have(_)
        | Said::AskNewest { .. }
        | Said::Newest(_) => None,
    }
}

fn signed(ballot: Ballot, voting: &SecretKey) -> Vote<PublicKey, Signature> {
    Vote { ballot, voter: voting.public(), proof: voting.sign(&ballot.digest()) }
}

/// As good a block as the first, a millisecond later.
fn other_block(block: &Block) -> Block {
    let mut other = block.clone();
    other.header.time = other.header.time.plus(1);
    other
}

/// A block that nobody has.
fn nowhere(block: &BlockId) -> BlockId {
    BlockId(block.0.map(|byte| !byte))
}

/// Its own ballot with a bit of the signature flipped.
fn forged(talk: &Talk) -> Option<Talk> {
    let Said::Ballot(vote) = talk else { return None };
    let mut vote = vote.clone();
    vote.proof.bytes[17] ^= 1;
    Some(Said::Ballot(vote))
}

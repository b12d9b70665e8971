//! Between the wire and agreement: there, blocks are plain; here, verified ones.

use std::sync::Arc;

use super::message::{Message, Talk};
use crate::agreement::{Have, JournalRecord, Message as Said, Proposal};
use crate::identity::{PublicKey, Signature, Verified};
use crate::state::Block;

type Checked = Verified<Arc<Block>>;

/// A part of a verified message, as agreement takes it.
pub(super) fn heard(talk: &Talk) -> Said<Checked, PublicKey, Signature> {
    with_blocks(talk.clone(), Verified::of_verified_parts)
}

/// What agreement says, as it travels.
pub(super) fn said(message: Said<Checked, PublicKey, Signature>) -> Arc<Message> {
    Arc::new(Message::Talk(Arc::new(with_blocks(message, Verified::into_inner))))
}

/// Of which epoch a message is; none if it does not say.
pub(super) fn epoch_of(talk: &Talk) -> Option<u64> {
    match talk {
        Said::Propose(proposal) => Some(proposal.vote.ballot.epoch),
        Said::Ballot(vote) => Some(vote.ballot.epoch),
        Said::Certificate(certificate) => Some(certificate.ballot.epoch),
        Said::Want(want) => Some(want.epoch),
        Said::Have(have) => have.certificates.first().map(|certificate| certificate.ballot.epoch),
        Said::AskNewest { epoch } => Some(*epoch),
        Said::Newest(newest) => newest.as_ref().map(|vote| vote.ballot.epoch),
    }
}

fn with_blocks<A, B, V, P>(message: Said<A, V, P>, block: impl Fn(A) -> B) -> Said<B, V, P> {
    match message {
        Said::Propose(proposal) => {
            let Proposal { vote, block: inner, grounds } = *proposal;
            Said::Propose(Box::new(Proposal { vote, block: block(inner), grounds }))
        }
        Said::Ballot(vote) => Said::Ballot(vote),
        Said::Certificate(certificate) => Said::Certificate(certificate),
        Said::Want(want) => Said::Want(want),
        Said::Have(have) => {
            let Have { certificates, blocks } = *have;
            Said::Have(Box::new(Have { certificates, blocks: blocks.into_iter().map(block).collect() }))
        }
        Said::AskNewest { epoch } => Said::AskNewest { epoch },
        Said::Newest(newest) => Said::Newest(newest),
    }
}

/// A journal record with its block read or written otherwise.
pub(super) fn record_with_block<A, B, V, P>(
    record: JournalRecord<A, V, P>,
    with: impl FnOnce(A) -> B,
) -> JournalRecord<B, V, P> {
    match record {
        JournalRecord::Seat { domain, epoch, voter } => JournalRecord::Seat { domain, epoch, voter },
        JournalRecord::Lost { why } => JournalRecord::Lost { why },
        JournalRecord::Block { iteration, block } => JournalRecord::Block { iteration, block: with(block) },
        JournalRecord::Certificate(certificate) => JournalRecord::Certificate(certificate),
        JournalRecord::Ballot(vote) => JournalRecord::Ballot(vote),
    }
}

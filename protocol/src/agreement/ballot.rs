//! What endorsers say to one another (SPEC 8). `V` names a voter, `P` is its proof: a key and a signature in a mesh, less in a model checker.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::encoding::{Hash, Label, digest_of};
use crate::fault::Fault;
use crate::identity::{PublicKey, Sheet, Signature, Stateless};
use crate::limits;
use crate::state::{Block, BlockId, DomainId};

/// What a ballot says of its block. Discriminants are wire format: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BallotKind {
    /// «I lead this iteration, and propose it.»
    Propose,
    /// «It is the first valid proposal that I saw in this iteration.»
    Vote,
    /// «I waited long enough»: of no block.
    Dummy,
    /// «I saw it notarised before I gave up on this iteration.»
    Finalise,
}

/// What one endorser says in one iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// In which domain.
    pub domain: DomainId,
    /// In which epoch.
    pub epoch: u64,
    /// In which iteration of it.
    pub iteration: u64,
    /// What.
    pub kind: BallotKind,
    /// Of which block; [`BlockId::NONE`] for a dummy.
    pub block: BlockId,
}

impl Ballot {
    /// Whether no honest endorser signs both (SPEC 8.15): this closed list, and nothing else.
    pub fn contradicts(&self, other: &Ballot) -> bool {
        use BallotKind::{Dummy, Finalise, Propose, Vote};
        let place = |ballot: &Ballot| (ballot.domain, ballot.epoch, ballot.iteration);
        place(self) == place(other)
            && match (self.kind, other.kind) {
                (Dummy, Finalise) | (Finalise, Dummy) => true,
                (Dummy, Propose | Vote | Dummy) | (Propose | Vote, Dummy) => false,
                (Propose | Vote | Finalise, Propose | Vote | Finalise) => self.block != other.block,
            }
    }

    /// What a voting key signs.
    pub fn digest(&self) -> Hash {
        digest_of(Label::Ballot, &(crate::encoding::VERSION, crate::identity::Algorithm::Ed25519, self))
    }
}

impl Ballot {
    /// What a recovery key signs: that `block`, which goes on from a block of this epoch, is final. No iteration has that number, so
    /// agreement counts none of them (SPEC 9.17).
    pub fn of_recovery(domain: DomainId, epoch: u64, block: BlockId) -> Ballot {
        Ballot { domain, epoch, iteration: 0, kind: BallotKind::Finalise, block }
    }
}

/// A ballot and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Vote<V, P> {
    /// What is said.
    pub ballot: Ballot,
    /// By whom.
    pub voter: V,
    /// The proof that it was.
    pub proof: P,
}

/// Q ballots that say the same (SPEC 8.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Certificate<V, P> {
    /// What they all say. `Vote` makes a notarisation, `Dummy` a dummy certificate, `Finalise` a finality certificate.
    pub ballot: Ballot,
    /// By whom, ordered and distinct.
    pub votes: Vec<(V, P)>,
}

impl<V, P> Certificate<V, P> {
    /// Whether it is by the recovery quorum, and not by endorsers (SPEC 9.17).
    pub fn is_of_recovery(&self) -> bool {
        self.ballot.iteration == 0
    }
}

/// A leader's block for its iteration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Proposal<B, V, P> {
    /// The leader's ballot.
    pub vote: Vote<V, P>,
    /// The block.
    pub block: B,
    /// The newest of the certificates that the proposal stands on: the parent's notarisation, and a dummy certificate for every iteration
    /// since. What does not fit, or was lost, is asked for with [`Want`].
    pub grounds: Vec<Certificate<V, P>>,
}

/// A request between endorsers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Want {
    /// In which epoch.
    pub epoch: u64,
    /// Certificates of this and later iterations; none if zero.
    pub from_iteration: u64,
    /// Blocks.
    pub blocks: Vec<BlockId>,
}

/// The answer to a [`Want`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Have<B, V, P> {
    /// Ascending by iteration.
    pub certificates: Vec<Certificate<V, P>>,
    /// Those that were asked for and are here.
    pub blocks: Vec<B>,
}

/// What endorsers send one another. Discriminants are wire format: append only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Message<B, V, P> {
    /// A leader's proposal.
    Propose(Box<Proposal<B, V, P>>),
    /// A vote, dummy or finalise.
    Ballot(Vote<V, P>),
    /// A certificate, formed or learnt.
    Certificate(Certificate<V, P>),
    /// «Send me these.»
    Want(Want),
    /// «Here they are.»
    Have(Box<Have<B, V, P>>),
    /// «What is the newest ballot that you hold from me in this epoch?» (SPEC 8.14)
    AskNewest {
        /// In which epoch.
        epoch: u64,
    },
    /// «This one; or none.»
    Newest(Option<Vote<V, P>>),
}

impl Stateless for Vote<PublicKey, Signature> {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        sheet.claims(self.voter, self.ballot.digest(), self.proof);
        Ok(())
    }
}

impl Stateless for Certificate<PublicKey, Signature> {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        if self.votes.len() > limits::ENDORSERS_MAX {
            let count = self.votes.len();
            return Err(Fault::TooMany { what: "votes of a certificate", count, max: limits::ENDORSERS_MAX });
        }
        if !self.votes.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(Fault::NotInOrder { what: "the votes of a certificate", rule: "8.1" });
        }
        let digest = self.ballot.digest();
        for (key, signature) in &self.votes {
            sheet.claims(*key, digest, *signature);
        }
        Ok(())
    }
}

impl Stateless for Message<Arc<Block>, PublicKey, Signature> {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        let within = |what, count| {
            let max = limits::WANTED_MAX;
            if count > max { Err(Fault::TooMany { what, count, max }) } else { Ok(()) }
        };
        match self {
            Message::Propose(proposal) => {
                within("certificates of a proposal", proposal.grounds.len())?;
                proposal.vote.inspect(sheet)?;
                proposal.block.inspect(sheet)?;
                proposal.grounds.iter().try_for_each(|certificate| certificate.inspect(sheet))
            }
            Message::Ballot(vote) => vote.inspect(sheet),
            Message::Certificate(certificate) => certificate.inspect(sheet),
            Message::Want(want) => within("blocks that are wanted", want.blocks.len()),
            Message::Have(have) => {
                within("certificates of an answer", have.certificates.len())?;
                within("blocks of an answer", have.blocks.len())?;
                have.certificates.iter().try_for_each(|certificate| certificate.inspect(sheet))?;
                have.blocks.iter().try_for_each(|block| block.inspect(sheet))
            }
            Message::AskNewest { epoch: _ } => Ok(()),
            Message::Newest(newest) => newest.iter().try_for_each(|vote| vote.inspect(sheet)),
        }
    }
}

//! What a liar shows that has dug up the voting keys of an epoch that is long over.

use std::sync::Arc;

use frith_protocol::agreement::{Ballot, BallotKind, Certificate};
use frith_protocol::door::Message;
use frith_protocol::identity::SecretKey;
use frith_protocol::state::{CharterId, DomainId, FinalChain, Header};

/// What a grave robber has: the voting keys of an epoch that is long over.
#[derive(Debug)]
pub(super) struct Grave {
    pub(super) domain: DomainId,
    pub(super) charter: CharterId,
    /// As many as made a block final then, in the order of their public keys.
    pub(super) keys: Vec<SecretKey>,
}

/// Epochs from this one on find those keys retired for longer than one epoch. (Before, such a block is a fork, and halts whoever sees it.)
const LONG_OVER: u64 = 3;

impl Grave {
    /// What becomes of a message that tells what is final: the same of a block that never was, and that the keys of the first epoch certify.
    pub(super) fn robbed(&self, message: &Message) -> Option<Arc<Message>> {
        let forged =
            |chain: &FinalChain| chain.tip().filter(|tip| tip.epoch >= LONG_OVER).map(|tip| self.forged(tip));
        #[allow(clippy::wildcard_enum_match_arm, reason = "whatever else it says is true")]
        let told = match message {
            Message::Final(chain) => Message::Final(Arc::new(forged(chain)?)),
            Message::Head { charter: _, tip: Some(tip) } => {
                Message::Head { charter: self.charter, tip: Some(Box::new(forged(tip)?)) }
            }
            _ => return None,
        };
        Some(Arc::new(told))
    }

    /// A block on the newest one, as if the first epoch had never ended.
    fn forged(&self, tip: &Header) -> FinalChain {
        let header = Header {
            epoch: 1,
            height: tip.height + 1,
            parent: tip.id(),
            time: tip.time.plus(1),
            ..tip.clone()
        };
        let (domain, block) = (self.domain, header.id());
        let ballot = Ballot { domain, epoch: 1, iteration: 1_000_000, kind: BallotKind::Finalise, block };
        let vote = |key: &SecretKey| (key.public(), key.sign(&ballot.digest()));
        let certificate = Certificate { ballot, votes: self.keys.iter().map(vote).collect() };
        FinalChain { blocks: Vec::new(), headers: vec![header], certificate }
    }
}

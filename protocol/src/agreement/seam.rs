//! What the room asks of its owner, what it is given, and what it gives back.

use std::fmt::Debug;
use std::hash::Hash;

use super::ballot::{Ballot, Certificate, Message, Vote};
use super::journal::{JournalKey, JournalRecord};
use crate::fault::Fault;
use crate::state::{BlockId, DomainId};
use crate::time::Timestamp;

/// What can name a voter: a voting key in a mesh, a number in a model checker.
pub trait Voter: Copy + Ord + Hash + Debug {}
impl<T: Copy + Ord + Hash + Debug> Voter for T {}

/// Plain data: a block, or the proof of a ballot (a signature in a mesh, less in a model checker).
pub trait Value: Clone + Eq + Hash + Debug {}
impl<T: Clone + Eq + Hash + Debug> Value for T {}

/// Builds and judges blocks. It knows what they mean; agreement does not.
pub trait Ledger {
    /// A block with its body.
    type Block: Clone + Eq + Hash + Debug;
    /// Its id.
    fn id(&self, block: &Self::Block) -> BlockId;
    /// The id of the block that it extends.
    fn parent(&self, block: &Self::Block) -> BlockId;
    /// Its height.
    fn height(&self, block: &Self::Block) -> u64;
    /// A block on `parent`, with waiting entries if there are any; a heartbeat otherwise. `None` if `parent` was never accepted here.
    fn build(&mut self, now: Timestamp, parent: BlockId) -> Option<Self::Block>;
    /// Executes and remembers the block. Whether the clock agrees with its time is asked apart. A block that is known, or final, is
    /// accepted again.
    fn accept(&mut self, block: &Self::Block) -> Accepted;
    /// Whether the clock agrees with the block's time.
    fn timely(&self, now: Timestamp, block: &Self::Block) -> Timely;
    /// Whether a valid entry waits for a block on `tip`.
    fn entry_waits(&self, tip: BlockId) -> bool;
    /// Whether the block ends its epoch: nothing in that epoch extends it (SPEC 8.18).
    fn ends_epoch(&self, block: &Self::Block) -> bool;
    /// When the newest final block will be too old (SPEC 8.13).
    fn heartbeat_due(&self) -> Timestamp;
}

/// What a ledger says of a block's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It follows from its parent, and is remembered.
    Yes,
    /// Its parent was never accepted here.
    ParentMissing,
    /// It does not follow from its parent.
    Invalid(Fault),
}

/// What a ledger says of a block's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timely {
    /// It may be voted for.
    Yes,
    /// It may be voted for from then on.
    NotBefore(Timestamp),
    /// It may not.
    Never,
}

/// Signs ballots. The room has made them durable in its outputs before they leave.
pub trait Signer<P> {
    /// The proof that this voter says so.
    fn sign(&self, ballot: &Ballot) -> P;
}

/// The seat, and the table that it stands at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config<V> {
    /// Which domain.
    pub domain: DomainId,
    /// Which epoch of it.
    pub epoch: u64,
    /// Every endorser, in the order of the charter's seats.
    pub voters: Vec<V>,
    /// Q: how many ballots make a certificate.
    pub quorum: usize,
    /// Which voter this is.
    pub me: V,
    /// The time-out of an iteration that follows a final one.
    pub first_timeout_ms: u64,
    /// The longest time-out.
    pub timeout_cap_ms: u64,
    /// The block that the epoch starts on, final by definition.
    pub genesis: BlockId,
    /// Its height.
    pub genesis_height: u64,
}

impl<V: Voter> Config<V> {
    /// Who leads `iteration` (SPEC 8.3).
    pub fn leader(&self, iteration: u64) -> V {
        let seats = self.voters.len() as u64;
        let seat = (self.epoch % seats + iteration % seats) % seats;
        self.voters[seat as usize]
    }

    /// n − Q + 1: the fewest endorsers of whom every quorum needs one.
    pub(super) fn blocking(&self) -> usize {
        self.voters.len() - self.quorum + 1
    }
}

/// Everything that can happen to the room. Signatures were checked before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input<B, V, P> {
    /// An endorser said something.
    Message {
        /// Who sent it.
        from: V,
        /// What.
        message: Message<B, V, P>,
    },
    /// A deadline may have passed.
    Tick,
    /// An entry came or went, or a block became final.
    WorkChanged,
    /// A final block was learnt by following; the ledger knows it. Also said once after a start, of the ledger's newest final block.
    Final {
        /// Its finality certificate.
        certificate: Certificate<V, P>,
        /// The block.
        block: B,
    },
    /// A connection to an endorser was opened.
    Connected(V),
}

/// What the room wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<B, V, P> {
    /// Make it durable before whatever follows leaves the node.
    Persist(JournalRecord<B, V, P>),
    /// Remove it from the journal. Not before the blocks of all earlier [`Output::Final`] are durable: until then the journal may be the
    /// only place that has them.
    Forget(JournalKey),
    /// To one endorser.
    Send {
        /// To whom.
        to: V,
        /// What.
        message: Message<B, V, P>,
    },
    /// To all other endorsers.
    Broadcast(Message<B, V, P>),
    /// This block is final, and so are its ancestors, which the ledger knows. After a start it may be one that was final before.
    Final {
        /// The proof.
        certificate: Certificate<V, P>,
        /// The block.
        block: B,
    },
    /// A block is final that is not here: follow the log to it.
    Behind {
        /// The proof.
        certificate: Certificate<V, P>,
    },
    /// The journal is lost: this voter signs nothing more in this epoch (SPEC 8.14).
    Lost {
        /// How it shows.
        why: String,
    },
    /// An endorser contradicted itself (SPEC 8.15).
    Contradiction {
        /// What it said first.
        first: Vote<V, P>,
        /// What it said, too.
        second: Vote<V, P>,
    },
    /// Two blocks are final in one iteration: more endorsers lie than the charter allows for (SPEC 8.12). This voter signs nothing more.
    Forked {
        /// The one taken.
        ours: Certificate<V, P>,
        /// The other.
        theirs: Certificate<V, P>,
    },
    /// A block that had to wait for its parent turned out to be invalid.
    Misbehaved {
        /// Who sent it.
        culprit: V,
        /// What is wrong with it.
        fault: Fault,
    },
}

//! What comes in through the door, and what a core tells whoever watches it.

use std::sync::Arc;

use serde::Serialize;

use super::message::Message;
use crate::encoding::Hash;
use crate::fault::Fault;
use crate::identity::{KeySequence, NodeId, PublicKey, Rotation, SecretKey, Verified};
use crate::state::{BlockId, ConvictedKey, Endorsement, FinalChain, Reason, StatementId, Subject};
use crate::time::Timestamp;

/// Everything that can happen to a core.
#[derive(Clone, Debug)]
pub enum Input {
    /// A peer said something, directly or by gossip.
    Received {
        /// The peer's transport key.
        from: PublicKey,
        /// What, checked.
        message: Arc<Verified<Message>>,
    },
    /// A peer passed on what somebody published. Only final chains and holds are: whoever published anything else would have every node ask or
    /// answer its forwarder.
    Gossiped {
        /// The transport key of the peer that passed it on.
        from: PublicKey,
        /// What, checked.
        message: Arc<Verified<Message>>,
    },
    /// A connection to a peer was opened.
    Connected(PublicKey),
    /// The last connection to a peer was closed.
    Disconnected(PublicKey),
    /// A deadline may have passed.
    Tick,
    /// The host looked up a piece of the archive.
    LookedUp {
        /// For whom.
        to: PublicKey,
        /// What follows which height.
        height: u64,
        /// What it found, in the order of heights; nothing, if nothing is there.
        records: Vec<Arc<[u8]>>,
    },
    /// The operator, or a program on the operator's behalf, wants something.
    Command(Command),
}

/// What an operator can ask of a core.
#[derive(Clone, Debug)]
pub enum Command {
    /// Endorse this ourselves, and ask the other endorsers to.
    Propose {
        /// What.
        subject: Subject,
        /// A line for the other operators.
        note: String,
        /// When it lapses.
        expires: Timestamp,
    },
    /// Endorse a proposal or draft that waits here, by its digest.
    Endorse(Hash),
    /// Decline it.
    Decline(Hash),
    /// Hold somebody at once, alone; until then, or for as long as the charter allows.
    Hold {
        /// Whom.
        subject: NodeId,
        /// Until when at most.
        until: Timestamp,
        /// Why.
        reason: Reason,
    },
    /// Leave the domain for good: revoke ourselves.
    Leave,
    /// Here is what the recovery quorum signed: take it when it may be taken, and show it to others.
    Recover(Verified<Arc<FinalChain>>),
    /// Here is a fresh voting key, durable at the host: for the next charter that gives us a seat.
    FreshVotingKey(SecretKey),
    /// Renew our own admission now, and not only when it is due.
    Renew,
    /// Rotate to another key. The host must have made durable before: the rotation, as the last of [`Keys::rotations`](super::Keys); `key`, as
    /// the successor; and the key that is committed to next. Or it would be an identity of which nobody has the keys.
    Rotate {
        /// Signed by `key`.
        rotation: Box<Rotation>,
        /// The key that was committed to.
        key: Box<SecretKey>,
    },
}

/// What a core tells. None of it needs to be acted upon, but for [`Event::Denied`] and [`Event::Rotated`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// A block became final here.
    Final {
        /// Its height.
        height: u64,
        /// Which.
        block: BlockId,
        /// How many entries it has.
        entries: usize,
    },
    /// The charter was amended: a new epoch begins on this block.
    Amended {
        /// The epoch that begins.
        epoch: u64,
        /// The height of the block.
        height: u64,
    },
    /// This node, which has no state yet, came to believe a newer charter: its endorsers are those to be connected to from now on.
    CharterLearnt {
        /// The epoch of that charter.
        epoch: u64,
    },
    /// A recovery was taken: the log goes on from another block than before, or under other endorsers.
    Recovered {
        /// The height of the block that says so.
        height: u64,
        /// The epoch that begins.
        epoch: u64,
        /// How many blocks that were final here were dropped.
        dropped: u64,
    },
    /// A recovery is kept until the log has been silent for long enough.
    RecoveryWaits {
        /// The height of its block.
        height: u64,
        /// Which.
        block: BlockId,
    },
    /// A recovery that was kept can not be taken any more.
    RecoveryVoid {
        /// Why.
        why: String,
    },
    /// This node is a member now, and holds the certificate.
    Admitted {
        /// Who we are.
        node: NodeId,
        /// The height of the block that says so.
        height: u64,
    },
    /// This node has a state to answer from: snapshot taken or log replayed.
    Synced {
        /// The height of it.
        height: u64,
    },
    /// An endorser refused this node's draft, of its admission or its renewal.
    Declined {
        /// Whose key.
        by: PublicKey,
        /// Why.
        why: String,
    },
    /// This newcomer's entry cannot become final any more.
    JoinFailed {
        /// Why.
        why: String,
    },
    /// Something waits for this node's operator.
    Waiting {
        /// Its digest.
        id: Hash,
        /// A line about it.
        note: String,
    },
    /// This node endorsed something.
    Endorsed {
        /// Its digest.
        id: Hash,
    },
    /// A proposal met its rule.
    Met {
        /// Its digest.
        id: Hash,
        /// What it is.
        subject: Box<Subject>,
        /// Who endorsed it.
        endorsements: Vec<Endorsement>,
    },
    /// A proposal lapsed or was declined here.
    Lapsed {
        /// Its digest.
        id: Hash,
    },
    /// An entry waits for a block here.
    Accepted {
        /// Which statement.
        statement: StatementId,
    },
    /// This node is gone: it was revoked, at this height. It does nothing any more.
    Dismissed {
        /// The height of the block that says so.
        height: u64,
    },
    /// This key belongs to somebody gone: disconnect it at once, and keep it out.
    Denied {
        /// The key.
        key: PublicKey,
        /// Whose.
        node: NodeId,
    },
    /// An endorser holds somebody, as came to be known here just now: what a peer may do may be another from now on, and again from then on.
    Held {
        /// Whom.
        node: NodeId,
        /// Who does.
        by: NodeId,
        /// Until when.
        until: Timestamp,
    },
    /// Our key is another now, and the old one is a stranger's: the transport must speak by this one, and the old one can be destroyed.
    Rotated {
        /// Its number.
        sequence: KeySequence,
        /// The new key.
        key: PublicKey,
    },
    /// Our own admission was renewed.
    Renewed {
        /// Its number.
        number: u64,
        /// Until when it runs now.
        until: Timestamp,
    },
    /// A peer broke a rule, as showed only later.
    Misbehaved {
        /// Its key.
        key: PublicKey,
        /// How.
        why: String,
    },
    /// Something is wrong that an operator must know.
    Alarm(Alarm),
}

/// What an operator must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "alarm")]
#[allow(missing_docs, reason = "fields are what the variant's sentence names")]
pub enum Alarm {
    /// Two final blocks contradict each other: more than `f` endorsers lie (SPEC 8.12).
    Forked { height: u64, ours: BlockId, theirs: BlockId },
    /// A final block does not execute here: our code or store is wrong, or theirs (SPEC 9.2).
    DoesNotExecute { height: u64, why: String },
    /// This endorser's journal is lost: it signs nothing until an `Amend` (SPEC 8.14).
    JournalLost { why: String },
    /// An endorser contradicted itself: the two ballots are proof (SPEC 8.15).
    Contradiction { key: PublicKey, iteration: u64 },
    /// An endorser gave one slot to two holds that differ: neither counts (SPEC 5.25, 8.15).
    HoldsContradict { node: NodeId, day: u64, slot: u8 },
    /// By the block at this height this key of this node is convicted (SPEC 4.13): amend the charter without it, or with a fresh key, if it
    /// is its voting key; if it is its identity key, let it rotate.
    Convicted { node: NodeId, key: ConvictedKey, height: u64 },
    /// Two rotations of one number: the keys of this node have two owners (SPEC 4.13).
    RotatedTwice { node: NodeId, sequence: KeySequence },
    /// The recovery quorum signed that the log goes on otherwise. If no operator knows of it, its keys are in other hands: amend the charter
    /// (SPEC 9.19).
    RecoveryShown { height: u64, block: BlockId },
    /// A recovery forgets somebody who is gone or suspended here: it must be signed anew (SPEC 9.16).
    RecoveryForgets { subject: NodeId },
    /// The recovery quorum signed two ways to go on. The one taken first holds here; whoever took the other is lost to us (SPEC 9.19).
    RecoveredTwice { height: u64, ours: BlockId, theirs: BlockId },
    /// Others go on with a branch that a recovery dropped here: the domain is split (SPEC 9.18).
    DroppedBranch { theirs: BlockId },
    /// Two machines speak by the key of this node, which may be ourselves: stop one of them (SPEC 5.28).
    Cloned { node: NodeId },
    /// The clock ran backwards (SPEC 9.6).
    ClockRanBack { by_ms: u64 },
    /// The clock is far from the newest block's time (SPEC 9.6).
    ClockFarOff { by_ms: u64, ahead: bool },
}

/// Why an input was refused. Nothing has changed but the time, and what was heard of who is awake; there may still be effects to carry
/// out, for the host must be told of whom to disconnect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A peer broke a rule.
    #[error("peer {culprit:?} misbehaved: {fault}")]
    PeerMisbehaved {
        /// Who.
        culprit: PublicKey,
        /// How.
        fault: Fault,
    },
    /// A peer says something of no use now: too old, too early, already known. Nobody's fault.
    #[error("not now: {0}")]
    Untimely(&'static str),
    /// The operator asked for something that cannot be.
    #[error(transparent)]
    Refused(#[from] Fault),
    /// The host used the core wrongly.
    #[error("misuse: {0}")]
    ApiMisuse(&'static str),
}

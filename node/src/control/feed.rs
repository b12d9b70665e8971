//! What a node tells those who watch it: what changed, in order.
//!
//! Nobody is sent anything unasked: whoever watches asks, gets what has happened since it last did, and asks again. So the node keeps no
//! queue for anybody, only what happened lately, once; whoever comes too late for something is told how much it missed.

use frith_protocol::door::Phase;
use frith_protocol::encoding::Hash;
use frith_protocol::identity::NodeId;
use frith_protocol::state::DomainId;
use frith_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::views::{BlockView, Heights};

/// After what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Since {
    /// After the block of this height.
    Height(u64),
    /// After this moment.
    Time(Timestamp),
}

/// What happened since the last answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedView {
    /// Where the next answer begins.
    pub next: u64,
    /// How many happenings the node does not hold any more that would have come first.
    pub missed: u64,
    /// In the first answer: what happened after `since`, but for blocks.
    #[serde(default)]
    pub past: Vec<Happening>,
    /// In the first answer: how it is now. Then: what happened.
    pub happened: Vec<Happening>,
}

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Happening {
    /// What follows is told as it happens; what came before had happened by then.
    Here {
        /// When.
        time: Timestamp,
        /// Which node tells it.
        node: NodeId,
        /// In which domain.
        domain: DomainId,
        /// How that node is.
        phase: Phase,
        /// Whether its head is older than the freshness bound.
        stale: bool,
        /// How high its head is.
        height: Option<u64>,
    },
    /// A block with entries is final.
    Final(BlockView),
    /// Somebody became something else by time alone: a suspension was over, an admission lapsed.
    Standing {
        /// When.
        time: Timestamp,
        /// Who.
        node: NodeId,
        /// What it was, in the words of `frith members`.
        was: String,
        /// What it is.
        is: String,
    },
    /// An endorser holds somebody, on its own word. The log records it later.
    Held {
        /// When it came.
        time: Timestamp,
        /// Whom.
        node: NodeId,
        /// Which endorser.
        by: NodeId,
        /// Until when, if nobody holds it for longer.
        until: Timestamp,
    },
    /// The node that tells it is in another phase, or has become stale or fresh.
    Phase {
        /// When it noticed.
        time: Timestamp,
        /// How it is.
        phase: Phase,
        /// Whether its head is older than the freshness bound.
        stale: bool,
    },
    /// Something asks for a person.
    Alarm {
        /// When.
        time: Timestamp,
        /// What it is, and what to do.
        why: String,
    },
    /// Something waits for the operator of the node that tells it.
    Waiting {
        /// When it came; when it was asked for, of what waited already.
        time: Timestamp,
        /// How to name it: `frith endorse ID`.
        id: Hash,
        /// What it would do, in a line.
        asks: String,
        /// What its proposer says. Signed by nobody.
        note: String,
    },
    /// More newcomers wait than were told of one by one.
    Newcomers {
        /// When they were counted.
        time: Timestamp,
        /// How many more came since the last one that was told of. Some may have gone again.
        count: u64,
    },
    /// Something has all the endorsements that it needs.
    Met {
        /// When.
        time: Timestamp,
        /// What.
        id: Hash,
    },
    /// Something came to nothing in time.
    Lapsed {
        /// When.
        time: Timestamp,
        /// What.
        id: Hash,
    },
    /// Somebody who belongs to the domain is connected.
    Connected {
        /// When.
        time: Timestamp,
        /// Who.
        node: NodeId,
    },
    /// It is not any more.
    Disconnected {
        /// When.
        time: Timestamp,
        /// Who.
        node: NodeId,
    },
    /// Whoever watches was too slow, or came too late; or the node itself took a state in the place of the blocks before it.
    Missed {
        /// When that was noticed.
        time: Timestamp,
        /// How many happenings are lost, at most; none if it is blocks that are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
        /// Which blocks are not to be had from this node, if it is those.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        blocks: Option<Heights>,
    },
    /// The node stops, and the feed ends.
    Stopped {
        /// When.
        time: Timestamp,
    },
}

impl Happening {
    /// When it happened.
    pub fn time(&self) -> Timestamp {
        match self {
            Happening::Final(block) => block.time,
            Happening::Here { time, .. }
            | Happening::Standing { time, .. }
            | Happening::Held { time, .. }
            | Happening::Phase { time, .. }
            | Happening::Alarm { time, .. }
            | Happening::Waiting { time, .. }
            | Happening::Newcomers { time, .. }
            | Happening::Met { time, .. }
            | Happening::Lapsed { time, .. }
            | Happening::Connected { time, .. }
            | Happening::Disconnected { time, .. }
            | Happening::Missed { time, .. }
            | Happening::Stopped { time } => *time,
        }
    }
}

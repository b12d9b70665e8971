//! How local programs talk to a running node: one JSON object a line, over a Unix domain socket that only its user may open.
//!
//! ```text
//! → {"v":1,"op":"status"}
//! ← {"v":1,"ok":{…}}          or {"v":1,"error":"…","kind":"refused"}
//! ```
//!
//! Every command of `frith` that looks or acts goes through here, and so can anybody's script. One request at a time per connection.
//! There is no remote control: who may open the socket may do all that the node's operator may.

mod client;
pub mod feed;
mod server;
#[cfg(test)]
mod tests;
pub mod views;

use std::fmt;
use std::path::PathBuf;

use frith_protocol::identity::NodeId;
use frith_protocol::state::Reason;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::amendment::Wish;
use crate::recovery::RecoveryFile;
pub use client::{Client, ClientError};
pub use feed::Since;
pub use server::{Asked, BindError, Listener};

/// The version of this conversation.
pub const VERSION: u32 = 1;
/// Longest request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 256 * 1024;
const _: () = assert!(REQUEST_BYTES_MAX >= 4 * frith_protocol::limits::CHARTER_BYTES_MAX);
/// Longest reply that a client takes.
pub const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Connections at one time.
pub const CONNECTIONS_MAX: usize = 64;
/// Items in one reply: members, entries of blocks, what happened.
pub const PAGE_MAX: usize = 1000;
/// Requests that wait for something to happen, at one time: others need connections, too.
pub const WATCHERS_MAX: usize = 16;
const _: () = assert!(2 * WATCHERS_MAX <= CONNECTIONS_MAX);

/// What can be asked of a running node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How is it?
    Status {},
    /// Who belongs to the domain? In order of identity, a page at a time.
    Members {
        /// Those after this one.
        #[serde(default)]
        after: Option<NodeId>,
    },
    /// What waits for this operator, or for others'?
    Pending {},
    /// Which final blocks have entries? Newest first; oldest first with `since`. A page at a time, which may be shorter than `limit`.
    Log {
        /// Those below this height.
        #[serde(default)]
        below: Option<u64>,
        /// Those after this height or time.
        #[serde(default)]
        since: Option<Since>,
        /// At most so many.
        limit: usize,
    },
    /// What changes? Answered as soon as something has happened.
    Watch {
        /// Where the last answer ended; none at first, which is answered at once with what is now.
        #[serde(default)]
        next: Option<u64>,
        /// At first: also what happened after this, but for blocks, which `log` gives.
        #[serde(default)]
        since: Option<Since>,
    },
    /// Why is this node what it is here? By its identity or the beginning of it.
    Why {
        /// At least six hex digits.
        node: String,
    },
    /// Endorse what waits under this digest, or the beginning of it.
    Endorse {
        /// At least six hex digits.
        id: String,
    },
    /// Decline it.
    Deny {
        /// At least six hex digits.
        id: String,
    },
    /// Revoke a node for good, as soon as enough endorsers agree.
    Revoke {
        /// At least six hex digits.
        node: String,
        /// For those who look later.
        reason: Reason,
        /// A line for the other operators.
        #[serde(default)]
        note: String,
    },
    /// Hold a node at once, on this endorser's word alone.
    Hold {
        /// At least six hex digits.
        node: String,
        /// For how long; no longer than the charter allows.
        for_ms: u64,
        /// For those who look later.
        reason: Reason,
    },
    /// Let a node's rights rest, as soon as enough endorsers agree.
    Suspend {
        /// At least six hex digits.
        node: String,
        /// For how long; until it is released, if that is not said.
        for_ms: Option<u64>,
        /// For those who look later.
        reason: Reason,
        /// A line for the other operators.
        #[serde(default)]
        note: String,
    },
    /// Let them rest no longer.
    Release {
        /// At least six hex digits.
        node: String,
        /// A line for the other operators.
        #[serde(default)]
        note: String,
    },
    /// All of this node that a backup holds. The answer holds its keys.
    Backup {
        /// Its next key, too.
        next_key: bool,
    },
    /// Until when this node's own admission runs, and what it does about that; begin to renew it at once, if that is asked.
    Renew {
        /// Begin at once.
        #[serde(default)]
        now: bool,
    },
    /// Admit a member anew: one that lapsed too long ago to renew, or with other roles.
    Readmit {
        /// At least six hex digits.
        node: String,
        /// As what; none: as what it stands.
        #[serde(default)]
        roles: Option<Vec<String>>,
        /// For how long; none: for the charter's member lifetime.
        #[serde(default)]
        for_ms: Option<u64>,
        /// A line for the other operators.
        #[serde(default)]
        note: String,
    },
    /// Rotate to the next key.
    Rotate {
        /// The file of that key, if it does not lie where it was made.
        #[serde(default)]
        next_key: Option<PathBuf>,
    },
    /// The charter in force, as it can be edited.
    Charter {},
    /// Propose the next charter, or only say what it would change.
    Amend {
        /// What is wanted.
        wish: Box<Wish>,
        /// Only say it.
        #[serde(default)]
        dry_run: bool,
        /// A line for the other operators.
        #[serde(default)]
        note: String,
    },
    /// Draft a recovery: going on from this node's final block of that height, or from its newest.
    DraftRecovery {
        /// The next charter.
        wish: Box<Wish>,
        /// From which height.
        #[serde(default)]
        base: Option<u64>,
        /// The number of the epoch that begins, if it must be higher than the next.
        #[serde(default)]
        epoch: Option<u64>,
        /// Who else stays out for good.
        #[serde(default)]
        gone: Vec<String>,
    },
    /// Take the seat that a drafted recovery gives this node.
    ConsentToRecovery {
        /// The draft.
        file: Box<RecoveryFile>,
    },
    /// Whether the block in it is what it says.
    CheckRecovery {
        /// The draft.
        file: Box<RecoveryFile>,
    },
    /// Take a signed recovery when it may be taken, and show it to others; or only say what would be done.
    ApplyRecovery {
        /// All of it.
        file: Box<RecoveryFile>,
        /// Only say it.
        #[serde(default)]
        dry_run: bool,
    },
    /// Leave the domain for good.
    Leave {},
    /// Have a ticket countersigned.
    Invite {
        /// Roles at most.
        roles: Vec<String>,
        /// How many may join by it.
        uses: u32,
        /// How long it is good.
        lifetime_ms: u64,
        /// A line for the other operators.
        #[serde(default)]
        note: String,
    },
    /// The text of a ticket that was made here and is countersigned.
    Ticket {
        /// The digest of its terms, or the beginning of it.
        id: String,
    },
    /// Where a newcomer may start to believe: the text of an anchor at the newest head.
    Anchor {},
    /// All counters, as Prometheus reads them.
    Metrics {},
    /// Answer once this holds.
    Wait {
        /// What.
        until: Condition,
        /// Give up after so long.
        timeout_ms: u64,
    },
}

/// What can be waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "condition", rename_all = "snake_case", deny_unknown_fields)]
pub enum Condition {
    /// The newest final block is at least so high.
    Height {
        /// How high.
        at_least: u64,
    },
    /// This node is an effective member and has a state.
    Member {},
    /// A node is a member here.
    Admitted {
        /// At least six hex digits.
        node: String,
    },
    /// A node is gone here.
    Gone {
        /// At least six hex digits.
        node: String,
    },
    /// So many peers are connected.
    Peers {
        /// How many.
        at_least: usize,
    },
    /// So many things wait for operators.
    Waiting {
        /// How many.
        at_least: usize,
    },
    /// This node's key has been rotated so often, and that is final.
    Rotated {
        /// How often.
        at_least: u32,
    },
    /// This node's own admission is of this number or a later one.
    Renewed {
        /// Which.
        at_least: u64,
    },
    /// An entry waits here for a block: agreement is at work.
    Deliberating {},
    /// The charter of this epoch, or a later one, is in force here.
    Epoch {
        /// Which.
        at_least: u64,
    },
    /// A ticket that was made here is countersigned.
    Countersigned {
        /// The digest of its terms, or the beginning of it.
        id: String,
    },
    /// It is known where so many endorsers are, this node not counted.
    Addresses {
        /// How many.
        at_least: usize,
    },
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Height { at_least } => write!(f, "a head at height {at_least} or above"),
            Condition::Member {} => f.write_str("this node as a member"),
            Condition::Admitted { node } => write!(f, "{node} as a member"),
            Condition::Gone { node } => write!(f, "{node} gone"),
            Condition::Peers { at_least } => write!(f, "at least {at_least} connected peers"),
            Condition::Waiting { at_least } => {
                write!(f, "at least {at_least} things that wait for the operator")
            }
            Condition::Rotated { at_least } => write!(f, "this node at its key number {at_least}"),
            Condition::Renewed { at_least } => write!(f, "this node's admission number {at_least}"),
            Condition::Deliberating {} => f.write_str("an entry that waits for a block"),
            Condition::Epoch { at_least } => write!(f, "the charter of epoch {at_least} or a later one"),
            Condition::Countersigned { id } => write!(f, "the ticket {id} countersigned"),
            Condition::Addresses { at_least } => {
                write!(f, "the addresses of at least {at_least} other endorsers")
            }
        }
    }
}

/// A request on its line.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct RequestLine {
    v: u32,
    #[serde(flatten)]
    request: Value,
}

/// A reply on its line.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ReplyLine {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ok: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<RefusalKind>,
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    /// What kind of no.
    pub kind: RefusalKind,
    /// The reason, for people.
    pub why: String,
}

/// What kind of no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The request is not one: the asker's mistake.
    Bad,
    /// It cannot be, as things stand.
    Refused,
    /// It did not come to be in time.
    TimedOut,
    /// The node is stopping.
    Stopping,
}

impl Refusal {
    /// The asker's mistake.
    pub fn bad(why: impl Into<String>) -> Refusal {
        Refusal { kind: RefusalKind::Bad, why: why.into() }
    }

    /// As things stand, no.
    pub fn refused(why: impl Into<String>) -> Refusal {
        Refusal { kind: RefusalKind::Refused, why: why.into() }
    }
}

/// What a node answers.
pub type Reply = Result<Value, Refusal>;

fn to_line(reply: Reply) -> String {
    let line = match reply {
        Ok(value) => ReplyLine { v: VERSION, ok: Some(value), error: None, kind: None },
        Err(Refusal { kind, why }) => ReplyLine { v: VERSION, ok: None, error: Some(why), kind: Some(kind) },
    };
    let mut text = serde_json::to_string(&line).expect("a reply is plain JSON");
    text.push('\n');
    text
}

fn parse_request(line: &[u8]) -> Result<Request, Refusal> {
    let RequestLine { v, request } = serde_json::from_slice(line).map_err(|e| {
        Refusal::bad(format!("a request is one JSON object like {{\"v\":1,\"op\":\"status\"}}: {e}"))
    })?;
    if v != VERSION {
        return Err(Refusal::bad(format!("version {v}; this node speaks {VERSION}")));
    }
    serde_json::from_value(request).map_err(|e| Refusal::bad(format!("no such request: {e}")))
}

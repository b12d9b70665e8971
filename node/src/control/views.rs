//! What a running node shows: the shapes of its answers, in JSON and in `frith`'s own text.

use frith_protocol::door::Standing;
use frith_protocol::encoding::Hash;
use frith_protocol::identity::{NodeId, PublicKey};
use frith_protocol::state::{BlockId, Reason, StatementId};
use frith_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A page of members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersView {
    /// In order of identity.
    pub members: Vec<MemberView>,
    /// Where the next page begins; none if this is the last.
    pub next: Option<NodeId>,
}

/// Somebody who stands in the domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    /// Who.
    pub node: NodeId,
    /// With which key now.
    pub key: PublicKey,
    /// As what.
    pub roles: Vec<String>,
    /// Whether the charter has a seat for it.
    pub endorser: bool,
    /// Whether it is effective now: `yes`, `not yet`, `lapsed`, `suspended`, `held`, `gone`; `stale`, if the newest block known here is too old for an
    /// answer.
    pub effective: String,
    /// Until when; an endorser's seat has no end.
    pub until: Option<Timestamp>,
    /// The height of its newest admission.
    pub height: u64,
    /// By whom it is held, if it is.
    #[serde(default)]
    pub held: Option<HeldView>,
    /// Whether it is connected to the node that was asked. That says nothing of its health.
    pub connected: bool,
}

/// By whom somebody is held, as far as the node that was asked knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldView {
    /// The endorsers that hold it.
    pub by: Vec<NodeId>,
    /// When there are not enough of them any more.
    pub until: Timestamp,
}

/// A hold that was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldView {
    /// Whom.
    pub node: NodeId,
    /// When it lapses.
    pub until: Timestamp,
    /// How many endorsers hold it, as far as is known here.
    pub have: usize,
    /// How many it takes.
    pub needed: usize,
    /// Whether they are enough.
    pub held: bool,
}

/// Something that waits for endorsements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingView {
    /// The digest that endorsers sign: how to name it.
    pub id: Hash,
    /// What it is, in a line.
    pub what: String,
    /// What kind: `admission`, `revocation`, `suspension`, `release`, `amendment`, `ticket`, `hold`.
    pub kind: String,
    /// Whom it is about.
    pub subject: Option<NodeId>,
    /// What whoever proposed it says. Signed by nobody: do not rely on it.
    pub note: String,
    /// What this node's operator said: `open`, `endorsed`, `declined`.
    pub decision: String,
    /// Who endorsed it, as far as is known here.
    pub endorsed_by: Vec<NodeId>,
    /// How many it needs.
    pub needed: usize,
    /// If it is of a charter: what it would change.
    #[serde(default)]
    pub changes: Vec<String>,
    /// Likewise: who consented to the seat that it gets, as far as is known here.
    #[serde(default)]
    pub consented: Vec<NodeId>,
    /// Likewise: who gets a seat and has not consented yet, without whom nothing comes of it.
    #[serde(default)]
    pub must_consent: Vec<NodeId>,
    /// Whether it has them.
    pub met: bool,
    /// Why no operator need look at it any more, if that is so: it is decided, spent, or came to nothing.
    #[serde(default)]
    pub over: Option<String>,
    /// When it lapses.
    pub expires: Timestamp,
}

/// A final block that carries entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockView {
    /// Its height.
    pub height: u64,
    /// Which.
    pub block: BlockId,
    /// When it was made.
    pub time: Timestamp,
    /// What it says.
    pub entries: Vec<EntryView>,
}

/// A piece of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LogItem {
    /// A final block that carries entries.
    Block(BlockView),
    /// What the node does not hold.
    Missed {
        /// Blocks of these heights.
        missed: Heights,
    },
}

/// Heights of which not all blocks with entries are held. There may be none that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heights {
    /// Those above this one,
    pub above: u64,
    /// up to this one.
    pub up_to: u64,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryView {
    /// Which statement.
    pub statement: StatementId,
    /// What kind: `admission`, `revocation`, `suspension`, `release`, `amendment`, `rotation`, `hold`.
    pub kind: String,
    /// About whom; nobody, if it is about the charter.
    pub subject: Option<NodeId>,
    /// What it says, in a line.
    pub what: String,
    /// Who endorsed it.
    pub endorsed_by: Vec<NodeId>,
}

/// Why a node is what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyView {
    /// Who.
    pub node: NodeId,
    /// What it is here: `gone`, `stranger`, `member`, `endorser`.
    pub standing: Standing,
    /// The answer in sentences, the most recent fact last.
    pub because: Vec<String>,
    /// Its membership, if it stands.
    pub member: Option<MemberView>,
    /// The height at which it was revoked, and why, if it is gone.
    pub gone: Option<(u64, Reason)>,
    /// The entries about it that this node still holds, newest first.
    pub entries: Vec<(u64, EntryView)>,
    /// Whether the answer rests on a head older than the freshness bound.
    pub stale: bool,
}

/// A ticket that was proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitedView {
    /// How far it is.
    #[serde(flatten)]
    pub proposed: ProposedView,
    /// The roles that it gives: if none were asked for and the charter has only one, that one.
    pub roles: Vec<String>,
    /// The roles that the charter has.
    pub known_roles: Vec<String>,
}

/// What the next charter would change, or why there can be none like it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmendView {
    /// The digest that endorsers sign.
    pub id: Hash,
    /// The epoch that it would begin.
    pub epoch: u64,
    /// Who gets a seat: each must consent.
    pub seated: Vec<NodeId>,
    /// Who loses its seat, and becomes a member.
    pub unseated: Vec<NodeId>,
    /// What was chosen because nobody said it.
    pub chosen: Vec<String>,
    /// All that changes, a line each.
    pub changes: Vec<String>,
    /// Roles that nobody has any more then, and how many members have each now.
    pub roles_lost: Vec<(String, usize)>,
    /// The endorsers of the charter in force.
    pub now: OfficeView,
    /// The next ones.
    pub next: OfficeView,
    /// Why it would be refused, if it would.
    pub refused: Option<String>,
    /// How far it is, if it was proposed.
    pub proposed: Option<ProposedView>,
}

/// The endorsers of a charter, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfficeView {
    /// How many there are.
    pub endorsers: usize,
    /// How many make a block final.
    pub quorum: usize,
    /// How many may crash before no block becomes final any more.
    pub crashes: usize,
    /// How many may lie before the log can fork.
    pub liars: usize,
    /// How many are connected to this node now, itself counted.
    pub connected: usize,
}

/// Something that was proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposedView {
    /// How to name it: `frith endorse ID`.
    pub id: Hash,
    /// How many endorsements are known here.
    pub have: usize,
    /// How many it needs.
    pub needed: usize,
    /// Whether a newcomer gathers them itself, and shows them to nobody before it has enough.
    #[serde(default)]
    pub newcomers: bool,
}

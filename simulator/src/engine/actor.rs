//! What runs in the world: a program, what happens to it, and what it wants done.

use super::NodeIndex;
use super::disk::{Store, Write};
use super::time::{Instant, Millis};

/// A message on its way. Cloning it must be cheap.
pub trait Parcel: Clone {
    /// How many bytes it has on the wire.
    fn bytes(&self) -> u64;

    /// A hash of those bytes: messages with equal contents are the same.
    fn content(&self) -> u128;
}

/// A node's program.
pub trait Actor: Sized {
    /// What all programs of a run share: caches, and whoever watches them.
    type Shared;
    /// What they say to one another.
    type Message: Parcel;
    /// What an operator can ask.
    type Command;
    /// What a program tells whoever drives the world.
    type Told;

    /// Starts the program of `node` on what its disk holds.
    ///
    /// # Errors
    /// Why it does not start; it then stays down.
    fn start(
        shared: &mut Self::Shared,
        node: NodeIndex,
        store: Store<'_>,
        now: Millis,
    ) -> Result<Self, String>;

    /// Something happened.
    fn handle(
        &mut self,
        shared: &mut Self::Shared,
        now: Millis,
        input: Input<Self::Message, Self::Command>,
        actions: &mut Actions<Self>,
    ) -> Verdict;

    /// When the program wants [`Input::Tick`] next, by its own clock.
    fn next_deadline(&self) -> Option<Millis>;

    /// A message leaves `node`, once for each time it is sent: what a watcher on the wire sees.
    fn leaves(_shared: &mut Self::Shared, _node: NodeIndex, _now: Instant, _message: &Self::Message) {}
}

/// What can happen to a program.
#[derive(Clone, Debug)]
pub enum Input<M, C> {
    /// A peer's message.
    Received {
        /// Whose.
        from: NodeIndex,
        /// What.
        message: M,
    },
    /// A peer passed on what somebody published.
    Gossiped {
        /// Who passed it on.
        from: NodeIndex,
        /// What.
        message: M,
    },
    /// A connection to a peer was opened.
    Connected(NodeIndex),
    /// The connection to a peer was closed, or is found to be dead.
    Disconnected(NodeIndex),
    /// Its deadline has come.
    Tick,
    /// The operator wants something.
    Command(C),
}

/// What a program makes of an input. For gossip it decides whether the message is handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Good.
    Accept,
    /// Of no use; nobody's fault.
    Ignore,
    /// Its sender broke a rule.
    Reject,
}

/// What a program wants done, in this order.
#[derive(Debug)]
pub struct Actions<A: Actor> {
    /// What must be stored.
    pub writes: Vec<Write>,
    /// Whether everything that was ever written must be durable before the rest.
    pub sync_all: bool,
    /// Then, what goes to one peer each. To a peer that is not connected it goes nowhere.
    pub sends: Vec<(NodeIndex, A::Message)>,
    /// What goes to the gossip overlay.
    pub publishes: Vec<A::Message>,
    /// What to tell.
    pub told: Vec<A::Told>,
}

impl<A: Actor> Default for Actions<A> {
    fn default() -> Self {
        Actions {
            writes: Vec::new(),
            sync_all: false,
            sends: Vec::new(),
            publishes: Vec::new(),
            told: Vec::new(),
        }
    }
}

//! What goes wrong, as an explicit list: drawn first, then applied, so that a run that fails can be recorded, replayed and shrunk.

use serde::{Deserialize, Serialize};

use super::NodeIndex;

/// One thing that goes wrong, or is put right again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action", deny_unknown_fields)]
pub enum Action {
    /// The process of a node dies (`kill -9`); its machine goes on.
    Kill {
        /// Whose.
        node: NodeIndex,
    },
    /// The machine of a node loses power: unsynced writes may be gone, and nobody tells its peers.
    LosePower {
        /// Whose.
        node: NodeIndex,
    },
    /// A node starts again from its disk.
    Restart {
        /// Which.
        node: NodeIndex,
    },
    /// A process stands still; what is sent to it waits.
    Pause {
        /// Whose.
        node: NodeIndex,
    },
    /// It goes on.
    Resume {
        /// Whose.
        node: NodeIndex,
    },
    /// Sides stop hearing one another; nodes on none of them are a side together.
    Cut {
        /// To heal it by.
        id: u32,
        /// The sides.
        sides: Vec<Vec<NodeIndex>>,
    },
    /// A cut ends.
    Heal {
        /// Which.
        id: u32,
    },
    /// From now on so many messages in a million are lost.
    Loss {
        /// How many.
        ppm: u32,
    },
    /// From now on so many messages in a million arrive twice.
    Duplicates {
        /// How many.
        ppm: u32,
    },
    /// Somebody copies the disk of a node.
    KeepImage {
        /// Whose.
        node: NodeIndex,
        /// To come back to it by.
        image: u32,
    },
    /// A node that is down gets that copy back.
    RollBack {
        /// Which.
        node: NodeIndex,
        /// Which copy.
        image: u32,
    },
    /// A record of a node that is down is damaged; its host will find out, and set it aside.
    Damage {
        /// Which node.
        node: NodeIndex,
        /// In which table; any, if none is named.
        table: Option<u8>,
    },
    /// Another machine starts from a copy of a node's disk, beside it.
    Twin {
        /// Whose disk.
        node: NodeIndex,
        /// Which node runs from the copy: one that never ran.
        twin: NodeIndex,
    },
    /// The clock of a node is set.
    StepClock {
        /// Whose.
        node: NodeIndex,
        /// By how much, forwards or backwards.
        by_ms: i64,
    },
}

/// A fault and when it happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Microseconds since the world began.
    pub at_us: u64,
    /// What happens.
    #[serde(flatten)]
    pub action: Action,
}

/// All faults of one domain's run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Plan(pub Vec<Fault>);

impl Plan {
    /// Adds a fault.
    pub fn at_ms(&mut self, ms: u64, action: Action) -> &mut Plan {
        self.0.push(Fault { at_us: ms.saturating_mul(1_000), action });
        self
    }

    /// Whether anything will ever start from a disk that this node wrote.
    pub fn is_read_again(&self, node: NodeIndex) -> bool {
        let read = |action: &Action| matches!(action, Action::Restart { node: n } | Action::Twin { node: n, twin: _ } if *n == node);
        self.0.iter().any(|fault| read(&fault.action))
    }

    /// Who runs twice, and which node is the other one.
    pub fn twins(&self) -> impl Iterator<Item = (NodeIndex, NodeIndex)> {
        self.0.iter().filter_map(|fault| {
            let Action::Twin { node, twin } = fault.action else { return None };
            Some((node, twin))
        })
    }

    /// Whose disks go back to an older image.
    pub fn rolled_back(&self) -> impl Iterator<Item = NodeIndex> {
        self.0.iter().filter_map(|fault| match fault.action {
            Action::RollBack { node, image: _ } => Some(node),
            Action::Kill { .. }
            | Action::LosePower { .. }
            | Action::Restart { .. }
            | Action::Pause { .. }
            | Action::Resume { .. }
            | Action::Cut { .. }
            | Action::Heal { .. }
            | Action::Loss { .. }
            | Action::Duplicates { .. }
            | Action::KeepImage { .. }
            | Action::Damage { .. }
            | Action::Twin { .. }
            | Action::StepClock { .. } => None,
        })
    }

    /// When the last fault happens.
    pub fn last_us(&self) -> u64 {
        self.0.iter().map(|fault| fault.at_us).max().unwrap_or(0)
    }
}

//! What this node has signed for others, and to whom it owes word of what became of it (SPEC 5.5, 5.16).
//!
//! **Invariant:** what is signed is durable before it is sent, and is forgotten only when it can never become an entry.

use serde::{Deserialize, Serialize};

use super::core::Core;
use super::effects::Effects;
use super::record::{Record, Table};
use crate::encoding::{Hash, encode};
use crate::identity::{NodeId, PublicKey};
use crate::limits;
use crate::state::{Endorsement, StatementId, TicketId};
use crate::time::Timestamp;

/// An endorsement that this node gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Given {
    pub(super) endorsement: Endorsement,
    /// Until when it can be of use.
    pub(super) until: Timestamp,
    /// Whose admission it is for, and by which ticket, if it is for one.
    pub(super) admits: Option<(NodeId, Option<TicketId>)>,
}

impl Core {
    /// Keeps what this node signed, before it is sent (SPEC 5.5).
    pub(super) fn keep_given(&mut self, id: Hash, given: Given, effects: &mut Effects) {
        let value = Some(encode(&given).into());
        effects.persist(Record { table: Table::Endorsed, key: id.0.to_vec(), value });
        self.given.insert(id, given);
    }

    /// Whoever is in has used its number: what else was signed for it can never become an entry.
    pub(super) fn forget_drafts_of(&mut self, node: &NodeId, effects: &mut Effects) {
        let of_it: Vec<Hash> = self
            .given
            .iter()
            .filter(|(_, given)| given.admits.is_some_and(|(subject, _)| subject == *node))
            .map(|(id, _)| *id)
            .collect();
        for id in of_it {
            self.given.remove(&id);
            effects.persist(Record { table: Table::Endorsed, key: id.0.to_vec(), value: None });
        }
    }

    /// What can no longer become an entry need not be remembered: it would be refused, whoever shows it.
    pub(super) fn forget_useless_endorsements(&mut self, effects: &mut Effects) {
        let now = self.now;
        let old: Vec<Hash> =
            self.given.iter().filter(|(_, given)| given.until < now).map(|(id, _)| *id).collect();
        for id in old {
            self.given.remove(&id);
            effects.persist(Record { table: Table::Endorsed, key: id.0.to_vec(), value: None });
        }
    }

    pub(super) fn promise(&mut self, statement: StatementId, to: PublicKey) {
        if self.promised.len() >= limits::NEWCOMERS_WAITING_MAX && !self.promised.contains_key(&statement) {
            // The newcomer asks again by its own timer.
            self.promised.pop_first();
        }
        let waiting = self.promised.entry(statement).or_default();
        if waiting.len() < limits::PROPOSALS_PER_STRANGER_MAX {
            waiting.insert(to);
        }
    }
}

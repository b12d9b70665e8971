//! Control requests that are answered later: once something holds, or when time is up.

use std::time::{Duration, Instant};

use frith_protocol::door::Phase;
use frith_protocol::identity::PublicKey;
use frith_protocol::joining::{Anchor, Ticket};
use frith_protocol::limits::ADDRESSES_MAX;
use frith_protocol::state::Effective;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::explain::{find, is_open};
use super::host::Host;
use crate::control::{Condition, Refusal, RefusalKind, Reply};
use crate::net::NetStatus;

/// A node that has just started does not know yet where the other endorsers are. A text for newcomers waits so long for that.
const ADDRESSES_PATIENCE: Duration = Duration::from_secs(5);

/// A request that waits.
pub(super) struct Wait {
    until: Condition,
    deadline: Instant,
    asker: oneshot::Sender<Reply>,
    then: Then,
}

/// What is answered.
enum Then {
    /// That it holds; or that it did not in time.
    Say,
    /// This text, in any case.
    Print(Paper),
}

/// What a newcomer is given, still without addresses.
pub(super) enum Paper {
    Anchor(Anchor),
    Ticket(Box<Ticket>),
}

impl Paper {
    fn with(self, addresses: Vec<String>) -> Value {
        match self {
            Paper::Anchor(anchor) => {
                let anchor = Anchor { addresses, ..anchor };
                json!({ "anchor": anchor.to_string(), "domain": anchor.domain, "height": anchor.height })
            }
            Paper::Ticket(ticket) => {
                let ticket = Ticket { addresses, ..*ticket };
                json!({ "ticket": ticket.to_string(), "id": ticket.terms.id() })
            }
        }
    }
}

impl Host {
    pub(super) fn wait(&mut self, until: Condition, patience: Duration, asker: oneshot::Sender<Reply>) {
        // What is only not known yet is waited for; what names nothing would be waited for in vain.
        if let Some(Err(refusal)) = self.named(&until)
            && refusal.kind == RefusalKind::Bad
        {
            return drop(asker.send(Err(refusal)));
        }
        self.waits.push(Wait { until, deadline: Instant::now() + patience, asker, then: Then::Say });
    }

    /// Answers with `paper`, as soon as this node knows where enough endorsers for an admission are.
    pub(super) fn print(&mut self, paper: Paper, asker: oneshot::Sender<Reply>) {
        let until = Condition::Addresses { at_least: self.endorsers_to_name() };
        let deadline = Instant::now() + ADDRESSES_PATIENCE;
        self.waits.push(Wait { until, deadline, asker, then: Then::Print(paper) });
    }

    /// What is due is answered.
    pub(super) fn check_waits(&mut self) {
        let now = Instant::now();
        for wait in std::mem::take(&mut self.waits) {
            let holds = self.holds(&wait.until);
            if !holds && wait.deadline > now {
                if !wait.asker.is_closed() {
                    self.waits.push(wait);
                }
                continue;
            }
            let Wait { until, deadline: _, asker, then } = wait;
            match then {
                Then::Print(paper) => self.print_now(paper, asker),
                Then::Say if holds => drop(asker.send(Ok(json!({})))),
                Then::Say => {
                    let why = format!("it did not come to be in time: {until}; {}", self.in_short());
                    drop(asker.send(Err(Refusal { kind: RefusalKind::TimedOut, why })));
                }
            }
        }
    }

    /// When the next one is due, if nothing happens before.
    pub(super) fn next_wait(&self) -> Option<Instant> {
        self.waits.iter().map(|wait| wait.deadline).min()
    }

    fn holds(&self, condition: &Condition) -> bool {
        let core = self.core();
        match condition {
            Condition::Height { at_least } => core.head().is_some_and(|head| head.height >= *at_least),
            Condition::Member {} => self.is_member(),
            Condition::Admitted { .. } | Condition::Gone { .. } | Condition::Countersigned { .. } => {
                matches!(self.named(condition), Some(Ok(true)))
            }
            Condition::Peers { at_least } => self.connected.len() >= *at_least,
            Condition::Epoch { at_least } => {
                core.state().is_some_and(|state| state.charter().epoch >= *at_least)
            }
            Condition::Waiting { at_least } => self.open_proposals() >= *at_least,
            // Not before the old key is destroyed, and the transport speaks by the new one.
            Condition::Rotated { at_least } => {
                let status = core.status(self.clock.latest());
                status.key_sequence >= *at_least && status.key == self.network.key()
            }
            Condition::Renewed { at_least } => {
                let standing = core.state().and_then(|state| state.standing(&core.node_id()));
                standing.is_some_and(|standing| standing.number >= *at_least)
            }
            Condition::Deliberating {} => core.status(self.clock.latest()).waiting > 0,
            Condition::Addresses { at_least } => self.named_endorsers().len() >= *at_least,
        }
    }

    /// Of a condition that names a node or a ticket by its first digits: whether it holds of the one that is meant.
    fn named(&self, condition: &Condition) -> Option<Result<bool, Refusal>> {
        let core = self.core();
        let members = || core.state().into_iter().flat_map(|state| state.members()).map(|(node, _)| node);
        let gone = || core.state().into_iter().flat_map(|state| state.gone()).map(|(node, _)| node);
        let known = |node: &str| find("node", node, members().chain(gone()));
        match condition {
            Condition::Admitted { node } => Some(known(node).map(|node| members().any(|one| one == node))),
            Condition::Gone { node } => Some(known(node).map(|node| gone().any(|one| one == node))),
            Condition::Countersigned { id } => {
                let met = |id| core.proposals().any(|(of, proposal)| *of == id && proposal.met);
                Some(find("ticket", id, core.proposals().map(|(id, _)| *id)).map(met))
            }
            Condition::Height { .. }
            | Condition::Member {}
            | Condition::Peers { .. }
            | Condition::Waiting { .. }
            | Condition::Rotated { .. }
            | Condition::Renewed { .. }
            | Condition::Deliberating {}
            | Condition::Epoch { .. }
            | Condition::Addresses { .. } => None,
        }
    }

    /// How many proposals wait for this node's operator.
    pub(super) fn open_proposals(&self) -> usize {
        let (core, now) = (self.core(), self.clock.latest());
        core.proposals().filter(|(_, proposal)| is_open(core, proposal, now)).count()
    }

    pub(super) fn is_member(&self) -> bool {
        let (core, now) = (self.core(), self.clock.latest());
        match core.phase() {
            // Whoever has lapsed follows, too.
            Phase::Following | Phase::Endorsing => {
                core.effective(&core.node_id(), now) == Some(Effective::Yes)
            }
            Phase::Joining | Phase::Syncing | Phase::Restrained | Phase::Gone | Phase::Halted => false,
        }
    }

    fn in_short(&self) -> String {
        let core = self.core();
        let height = core.head().map_or("none".into(), |head| head.height.to_string());
        let phase = format!("{:?}", core.phase()).to_lowercase();
        let peers = crate::words::count(self.connected.len(), "peer");
        format!("the node is {phase}, at height {height}, with {peers} connected")
    }

    // ---- where newcomers find endorsers ----

    /// Of how many endorsers, this node not counted, a newcomer should know where they are.
    fn endorsers_to_name(&self) -> usize {
        let core = self.core();
        let Some(charter) = core.charter() else { return 0 };
        let here = usize::from(charter.seat_of(&core.node_id()).is_some());
        usize::from(charter.thresholds.admit).saturating_sub(here)
    }

    /// The other endorsers of which this node knows where they are.
    fn named_endorsers(&self) -> Vec<(PublicKey, Vec<String>)> {
        let all = self.core().endorser_keys().into_iter();
        all.map(|key| (key, self.contacts.addresses_of(&key)))
            .filter(|(_, known)| !known.is_empty())
            .collect()
    }

    fn print_now(&self, paper: Paper, asker: oneshot::Sender<Reply>) {
        let others = self.named_endorsers();
        let (named, wanted) = (others.len(), self.endorsers_to_name());
        let network = self.network.clone();
        tokio::spawn(async move {
            // A node that has just started may listen and not have told anybody yet.
            let said = |status: NetStatus| {
                if status.announced.is_empty() { status.listening } else { status.announced }
            };
            let ours = network.status().await.map_or_else(Vec::new, said);
            let ours: Vec<String> = ours.iter().map(ToString::to_string).collect();
            let others: Vec<Vec<String>> = others.into_iter().map(|(_, known)| known).collect();
            let mut printed = paper.with(in_turn(&ours, &others));
            printed["too_few_addresses"] = (named < wanted).into();
            drop(asker.send(Ok(printed)));
        });
    }
}

/// The first address of each, then the second of each, and so on, as many as a ticket has room for: our own first.
fn in_turn(ours: &[String], others: &[Vec<String>]) -> Vec<String> {
    let all: Vec<&[String]> = std::iter::once(ours).chain(others.iter().map(Vec::as_slice)).collect();
    let longest = all.iter().map(|some| some.len()).max().unwrap_or(0);
    let mut addresses: Vec<String> = Vec::new();
    for nth in 0..longest {
        for address in all.iter().filter_map(|some| some.get(nth)) {
            if addresses.len() < ADDRESSES_MAX && !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_names_every_endorser_before_it_names_one_twice() {
        let list = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let turned = in_turn(&list(&["a1", "a2"]), &[list(&["b1"]), list(&[]), list(&["c1", "a1", "c3"])]);
        assert_eq!(turned, list(&["a1", "b1", "c1", "a2", "c3"]));
        let many: Vec<Vec<String>> = (0..40).map(|i| vec![format!("x{i}")]).collect();
        assert_eq!(in_turn(&[], &many).len(), ADDRESSES_MAX);
    }
}

//! What the control socket is told, request by request.

use std::collections::BTreeSet;
use std::time::Duration;

use frith_protocol::door::{Command, Error, Input, Standing};
use frith_protocol::encoding::Hash;
use frith_protocol::fault::Fault;
use frith_protocol::following::Chain;
use frith_protocol::identity::NodeId;
use frith_protocol::joining::{Decision, Origin, Proposal, Ticket};
use frith_protocol::limits::{NOTE_BYTES_MAX, TICKET_USES_MAX};
use frith_protocol::state::{
    Basis, Endorsement, Kind, Reason, Release, Revoke, State, Statement, Subject, Suspend, TicketTerms,
};
use frith_protocol::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::explain::{find, over, state_of};
use super::host::Host;
use super::waits::Paper;
use crate::control::views::{InvitedView, ProposedView};
use crate::control::{Refusal, RefusalKind, Reply, Request};
use crate::keys;

/// The longest that a request may wait.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

pub(super) fn to_value(view: &impl Serialize) -> Value {
    serde_json::to_value(view).expect("views are plain JSON")
}

impl Host {
    /// Answers a control request, now or later.
    pub(super) fn answer(&mut self, request: Request, asker: oneshot::Sender<Reply>) {
        let now = self.clock.now();
        let reply = match request {
            Request::Status {} => return self.answer_status(now, asker),
            Request::Anchor {} => return self.answer_anchor(asker),
            Request::Ticket { id } => return self.answer_ticket(&id, asker),
            Request::Wait { until, timeout_ms } => {
                return self.wait(until, Duration::from_millis(timeout_ms).min(WAIT_MAX), asker);
            }
            Request::Watch { next, since } => return self.watch(next, since, now, asker),
            Request::Metrics {} => Ok(json!({ "prometheus": self.network.metrics() })),
            Request::Members { after } => self.members(after, now).map(|view| to_value(&view)),
            Request::Pending {} => Ok(to_value(&self.pending(now))),
            Request::Log { below, since, limit } => self.log(below, since, limit).map(|view| to_value(&view)),
            Request::Why { node } => self.why(&node, now).map(|view| to_value(&view)),
            Request::Endorse { id } => self.endorse(&id, now),
            Request::Deny { id } => self.decline(&id),
            Request::Revoke { node, reason, note } => self.revoke(&node, reason, note, now),
            Request::Hold { node, for_ms, reason } => self.hold(&node, for_ms, reason, now),
            Request::Suspend { node, for_ms, reason, note } => self.suspend(&node, for_ms, reason, note, now),
            Request::Release { node, note } => self.release(&node, note, now),
            Request::Renew { now: at_once } => self.renew(at_once, now),
            Request::Readmit { node, roles, for_ms, note } => self.readmit(&node, roles, for_ms, note, now),
            Request::Rotate { next_key } => self.rotate(next_key.as_deref()),
            Request::Backup { next_key } => self.back_up(next_key, now),
            Request::Charter {} => self.charter_file(),
            Request::Amend { wish, dry_run, note } => self.amend(*wish, dry_run, note, now),
            Request::DraftRecovery { wish, base, epoch, gone } => {
                self.draft_recovery(*wish, base, epoch, &gone, now)
            }
            Request::ConsentToRecovery { file } => self.consent_to_recovery(*file, now),
            Request::CheckRecovery { file } => self.check_recovery_file(&file).map(|()| json!({})),
            Request::ApplyRecovery { file, dry_run } => self.apply_recovery(&file, dry_run, now),
            Request::Leave {} => self.act(Command::Leave).map(|()| json!({})),
            Request::Invite { roles, uses, lifetime_ms, note } => {
                self.invite(roles, uses, lifetime_ms, note, now)
            }
        };
        self.reply(asker, reply);
    }

    pub(super) fn act(&mut self, command: Command) -> Result<(), Refusal> {
        self.handle(Input::Command(command)).map_err(|error| match error {
            Error::Refused(fault @ Fault::WouldStrandTheCharter { .. }) => {
                Refusal::refused(format!("{fault}; `frith amend --remove NODE` takes its seat first"))
            }
            Error::Refused(fault) => Refusal::refused(fault.to_string()),
            Error::Untimely(why) => Refusal::refused(format!("not now: {why}")),
            Error::ApiMisuse(why) => Refusal::refused(format!("a fault of frith, please report it: {why}")),
            Error::PeerMisbehaved { culprit: _, fault } => Refusal::refused(fault.to_string()),
        })
    }

    fn endorse(&mut self, id: &str, now: Timestamp) -> Reply {
        let proposal = self.proposal(id)?;
        let (id, over) = (proposal.id(), over(self.core(), proposal, now));
        // One that has all its endorsements takes another: it may be of use if an endorser loses its office before the block.
        if let Some(why) = over.filter(|_| !proposal.met) {
            return Err(Refusal::refused(format!("there is nothing to endorse any more: {why}")));
        }
        if matches!(proposal.subject, Subject::Terms(_)) {
            self.have_voting_key()?;
        }
        self.act(Command::Endorse(id))?;
        Ok(to_value(&self.proposed(id)))
    }

    fn decline(&mut self, id: &str) -> Reply {
        let proposal = self.proposal(id)?;
        let id = proposal.id();
        if proposal.decision == Decision::Endorsed {
            return Err(Refusal::refused("it is endorsed already, and what is signed stays signed"));
        }
        self.act(Command::Decline(id))?;
        Ok(to_value(&self.proposed(id)))
    }

    /// The proposal whose id begins so.
    fn proposal(&self, id: &str) -> Result<&Proposal, Refusal> {
        let core = self.core();
        let id = find("proposal", id, core.proposals().map(|(id, _)| *id))
            .map_err(|refusal| self.in_the_log(id).map_or(refusal, Refusal::refused))?;
        let (_, proposal) = core.proposals().find(|(of, _)| **of == id).expect("it was found a moment ago");
        Ok(proposal)
    }

    /// How far a proposal is. One that is not there any more has become what it was to become.
    fn proposed(&self, id: Hash) -> ProposedView {
        let core = self.core();
        let proposal = core.proposals().find(|(of, _)| **of == id).map(|(_, proposal)| proposal);
        let have = proposal.map_or(0, |proposal| proposal.endorsements.len());
        let needed = proposal
            .and_then(|proposal| core.state().map(|state| state.threshold_for(&proposal.subject)))
            .unwrap_or(0);
        let newcomers = proposal.is_some_and(|proposal| matches!(proposal.origin, Origin::Newcomer(_)));
        ProposedView { id, have, needed, newcomers }
    }

    pub(super) fn propose(
        &mut self,
        subject: Subject,
        note: String,
        expires: Timestamp,
    ) -> Result<ProposedView, Refusal> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(Refusal::bad(format!("a note has at most {NOTE_BYTES_MAX} bytes")));
        }
        let id = subject.digest();
        self.act(Command::Propose { subject, note, expires })?;
        Ok(self.proposed(id))
    }

    pub(super) fn propose_about(
        &mut self,
        node: &str,
        note: String,
        now: Timestamp,
        kind: impl FnOnce(&State, Basis, NodeId) -> Result<Kind, Refusal>,
    ) -> Reply {
        let state = state_of(self.core())?;
        let basis = self.core().chain().map(Chain::basis);
        let basis = basis.ok_or_else(|| Refusal::refused("this node has no head yet"))?;
        let lifetime = state.charter().timing.proposal_lifetime_ms;
        let known = state.members().map(|(node, _)| node).chain(state.gone().map(|(node, _)| node));
        let kind = kind(state, basis, find("node", node, known)?)?;
        let subject = Subject::Statement(Statement { domain: self.domain, kind });
        self.propose(subject, note, now.plus(lifetime)).map(|proposed| to_value(&proposed))
    }

    fn revoke(&mut self, node: &str, reason: Reason, note: String, now: Timestamp) -> Reply {
        self.propose_about(node, note, now, |_, _, subject| Ok(Kind::Revoke(Revoke { subject, reason })))
    }

    fn suspend(
        &mut self,
        node: &str,
        for_ms: Option<u64>,
        reason: Reason,
        note: String,
        now: Timestamp,
    ) -> Reply {
        let until = for_ms.map_or(Timestamp(u64::MAX), |ms| now.plus(ms));
        self.propose_about(node, note, now, |state, _, subject| {
            let number = state.standing(&subject).map_or(0, |standing| standing.suspensions) + 1;
            Ok(Kind::Suspend(Suspend { subject, number, until, reason }))
        })
    }

    fn release(&mut self, node: &str, note: String, now: Timestamp) -> Reply {
        self.propose_about(node, note, now, |state, basis, subject| {
            let standing = state.standing(&subject).filter(|standing| standing.suspended(now).is_some());
            let standing = standing.ok_or_else(|| {
                Refusal::refused(format!("{} is not suspended: there is nothing to release", subject.short()))
            })?;
            Ok(Kind::Release(Release { subject, number: standing.suspensions, basis }))
        })
    }

    fn invite(
        &mut self,
        mut roles: Vec<String>,
        uses: u32,
        lifetime_ms: u64,
        note: String,
        now: Timestamp,
    ) -> Reply {
        let anchor = self.core().anchor(Vec::new());
        let state = state_of(self.core())?;
        let charter = state.charter();
        if charter.seat_of(&self.core().node_id()).is_none() {
            let why =
                "only an endorser can invite: its own signature is the first on the ticket; ask one of them";
            return Err(Refusal::refused(why));
        }
        if !(1..=TICKET_USES_MAX).contains(&uses) {
            return Err(Refusal::bad(format!("a ticket is for 1 to {TICKET_USES_MAX} newcomers")));
        }
        let longest = charter.timing.ticket_lifetime_ms;
        if lifetime_ms == 0 || lifetime_ms > longest {
            let longest = crate::words::span(longest);
            return Err(Refusal::refused(format!(
                "the charter allows tickets to be good for at most {longest}"
            )));
        }
        if let ([], [only]) = (&roles[..], &charter.roles[..]) {
            roles.push(only.name.clone());
        }
        roles.sort();
        roles.dedup();
        let given = roles.clone();
        let known: Vec<String> = charter.roles.iter().map(|role| role.name.clone()).collect();
        let anchor = anchor.ok_or_else(|| Refusal::refused("there is no head yet"))?;
        let expires = now.plus(charter.timing.proposal_lifetime_ms.min(lifetime_ms));
        let key = keys::random_key().map_err(|e| Refusal::refused(e.to_string()))?;
        let terms = TicketTerms {
            domain: self.domain,
            charter: anchor.charter,
            epoch: anchor.epoch,
            height: anchor.height,
            roles,
            uses,
            expires: now.plus(lifetime_ms),
            key: key.public(),
        };
        let id = terms.id();
        // Before the proposal: a countersigned ticket without its key would be of no use to anybody.
        tokio::task::block_in_place(|| keys::keep_ticket_key(&self.home, &id, &key))
            .map_err(|e| Refusal::refused(e.to_string()))?;
        let proposed = self.propose(Subject::Ticket(terms), note, expires);
        let proposed = proposed.inspect_err(|_| keys::forget_ticket_key(&self.home, &id))?;
        Ok(to_value(&InvitedView { proposed, roles: given, known_roles: known }))
    }

    /// The key of a ticket is kept as long as the ticket can be printed here and may be of use to somebody, and no longer: whoever has it
    /// has the ticket.
    pub(super) fn forget_ticket_keys(&self) {
        let core = self.core();
        let alive = core.proposals().filter_map(|(_, proposal)| match &proposal.subject {
            Subject::Ticket(terms) => {
                let spent = core.state().is_some_and(|state| state.ticket_uses(terms) >= terms.uses);
                (!spent).then(|| terms.id())
            }
            Subject::Statement(_) | Subject::Terms(_) => None,
        });
        let alive = alive.collect();
        if let Err(error) = tokio::task::block_in_place(|| keys::forget_ticket_keys_but(&self.home, &alive)) {
            tracing::warn!(%error, "keys of tickets that are over may still lie here");
        }
    }

    fn answer_anchor(&mut self, asker: oneshot::Sender<Reply>) {
        match self.core().anchor(Vec::new()) {
            Some(anchor) => self.print(Paper::Anchor(anchor), asker),
            None => {
                drop(asker.send(Err(Refusal::refused("this node has no head yet to anchor to"))));
            }
        }
    }

    fn answer_ticket(&mut self, id: &str, asker: oneshot::Sender<Reply>) {
        match self.ticket(id) {
            Ok(ticket) => self.print(Paper::Ticket(Box::new(ticket)), asker),
            Err(refusal) => drop(asker.send(Err(refusal))),
        }
    }

    /// A ticket that was made here and is countersigned, still without addresses.
    fn ticket(&self, id: &str) -> Result<Ticket, Refusal> {
        let core = self.core();
        let tickets = core.proposals().filter_map(|(id, proposal)| match &proposal.subject {
            Subject::Ticket(terms) => Some((*id, terms, proposal)),
            Subject::Statement(_) | Subject::Terms(_) => None,
        });
        let tickets: Vec<_> = tickets.collect();
        let id = find("ticket", id, tickets.iter().map(|(id, _, _)| *id))?;
        let (_, terms, proposal) =
            tickets.iter().find(|(of, _, _)| *of == id).expect("it was found a moment ago");
        if !proposal.met {
            let need = core.state().map_or(0, |state| state.threshold_for(&proposal.subject));
            let have = proposal.endorsements.len();
            let why = format!(
                "the ticket has {have} of {need} countersignatures; the other operators run: frith endorse {}",
                &id.to_string()[..16]
            );
            return Err(Refusal::refused(why));
        }
        // Whoever lost its office since cannot vouch for it any more.
        let (state, now) = (state_of(core)?, self.clock.latest());
        let may = |one: &&Endorsement| state.check_endorsers(now, &[**one], 1).is_ok();
        let countersignatures: Vec<Endorsement> = proposal.endorsements.iter().filter(may).copied().collect();
        if countersignatures.len() < state.threshold_for(&proposal.subject) {
            return Err(Refusal::refused(
                "the ticket is void: one of its countersigners lost its office, or the charter asks for more of them; make another",
            ));
        }
        let key = keys::ticket_key(&self.home, &terms.id()).map_err(|e| Refusal::refused(e.to_string()))?;
        let key = key.ok_or_else(|| {
            let spent = core.state().is_some_and(|state| state.ticket_uses(terms) >= terms.uses);
            Refusal::refused(if spent {
                "the ticket is spent: its key is forgotten; make another"
            } else {
                "the ticket was made at another node: only there lies its key; print it there"
            })
        })?;
        Ok(Ticket { terms: (*terms).clone(), countersignatures, addresses: Vec::new(), secret: key.seed() })
    }

    fn answer_status(&self, now: Timestamp, asker: oneshot::Sender<Reply>) {
        let core = self.core();
        let mut status = to_value(&core.status(now));
        let fields = status.as_object_mut().expect("a status is an object");
        // Without those over which nothing is left to decide.
        fields.insert("pending".into(), self.open_proposals().into());
        fields.insert("charter".into(), self.charter_status());
        fields.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        fields.insert("running_ms".into(), (self.started.elapsed().as_millis() as u64).into());
        fields.insert("remembered".into(), self.contacts.remembered().into());
        fields.insert("alarms".into(), to_value(&self.alarms));
        fields.insert("restored".into(), to_value(&self.restored));
        fields.insert("damage".into(), to_value(&self.damage));
        fields.insert("join_failed".into(), to_value(&self.joining.failed));
        fields.insert("declined".into(), to_value(&self.joining.declined));
        let network = self.network.clone();
        let seated = core.endorser_keys();
        tokio::spawn(async move {
            let reply = match network.status().await {
                Some(mut net) => {
                    // To a newcomer without a state everybody is a stranger; whom the charter seats it knows.
                    for peer in net.peers.iter_mut().filter(|peer| peer.standing == Standing::Stranger) {
                        if seated.contains(&peer.key) {
                            peer.standing = Standing::Endorser;
                        }
                    }
                    // One may be both configured and listened at.
                    let mut seen = BTreeSet::new();
                    net.announced.retain(|address| seen.insert(address.clone()));
                    status["net"] = to_value(&net);
                    Ok(status)
                }
                None => Err(Refusal { kind: RefusalKind::Stopping, why: "the transport has stopped".into() }),
            };
            drop(asker.send(reply));
        });
    }
}

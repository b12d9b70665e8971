//! What a core knows, as views: for `members`, `pending`, `log` and `why`.

use std::collections::BTreeMap;

use frith_protocol::door::{Core, Standing};
use frith_protocol::identity::NodeId;
use frith_protocol::joining::{Decision, Proposal};
use frith_protocol::state::{
    Admit, AdmittedBy, Block, Charter, Effective, Entry, Grounds, Kind, Place, Reason, Release, Revoke,
    Rotate, State, Statement, StatementId, Subject, Suspend, TicketTerms,
};
use frith_protocol::time::Timestamp;

use super::accusations::{accusation_words, conviction_words};
use super::amending::{add_changes, seat_that_waits};
use super::holding::{held_view, holds_in_words, pending_holds};
use super::host::Host;
use super::rotating::key_in_words;
use crate::control::views::{BlockView, EntryView, MemberView, MembersView, PendingView, WhyView};
use crate::control::{PAGE_MAX, Refusal};
use crate::words::{count, rough_span};

/// Fewer digits of an identity are too few to name it by.
const PREFIX_MIN: usize = 6;

/// Whether a proposal waits for this node's operator.
pub(super) fn is_open(core: &Core, proposal: &Proposal, now: Timestamp) -> bool {
    proposal.decision == Decision::Open && over(core, proposal, now).is_none()
}

/// Why no operator need look at a proposal any more, if that is so.
pub(super) fn over(core: &Core, proposal: &Proposal, now: Timestamp) -> Option<String> {
    let state = core.state()?;
    let me = core.node_id();
    let seats_us = matches!(&proposal.subject, Subject::Terms(terms) if terms.seats(&me));
    if !state.has_seat(&me) && !seats_us {
        return Some("this node has no seat, and can endorse nothing".into());
    }
    let decided = || proposal.met.then(|| "it has all its endorsements".to_string());
    match &proposal.subject {
        Subject::Ticket(terms) if state.ticket_uses(terms) >= terms.uses => Some("it is spent".into()),
        Subject::Ticket(terms) if terms.expires < now => Some("it has expired".into()),
        Subject::Ticket(_) => proposal.met.then(|| "it is countersigned".into()),
        Subject::Statement(Statement { kind: Kind::Admit(admit), .. }) => {
            let node = admit.subject.node_id();
            let is_too_old = now.since(admit.basis.time) > state.charter().timing.basis_ms / 2;
            if let Some(gone) = state.gone_since(&node) {
                Some(format!("{} is gone for good, since height {}", node.short(), gone.height))
            } else if let Some(standing) = state.standing(&node).filter(|one| one.number >= admit.number) {
                Some(format!("{} is a member already, since height {}", node.short(), standing.height))
            } else if is_too_old {
                Some("it is too old to endorse: its newcomer asks anew once it is back".into())
            } else {
                decided()
            }
        }
        Subject::Terms(terms) if terms.charter.previous != Some(state.charter_id()) => {
            Some("the charter was amended since it was proposed".into())
        }
        Subject::Terms(_) | Subject::Statement(Statement { kind: Kind::Amend(_), .. }) => decided(),
        Subject::Statement(Statement { kind: Kind::Revoke(revoke), .. }) => {
            match state.gone_since(&revoke.subject) {
                Some(gone) => {
                    Some(format!("{} is gone already, since height {}", revoke.subject.short(), gone.height))
                }
                None => decided(),
            }
        }
        Subject::Statement(Statement { kind: Kind::Suspend(Suspend { subject, number, .. }), .. }) => {
            match state.standing(subject) {
                Some(standing) if standing.suspensions < *number => decided(),
                Some(_) => Some(format!("{} was suspended since it was proposed", subject.short())),
                None => Some(format!("{} is no member any more", subject.short())),
            }
        }
        Subject::Statement(Statement { kind: Kind::Release(Release { subject, number, .. }), .. }) => {
            let standing = state.standing(subject).filter(|standing| standing.suspensions == *number);
            match standing.and_then(|standing| standing.suspended(now)) {
                Some(_) => decided(),
                None => Some(format!("{} is not suspended so any more", subject.short())),
            }
        }
        // They are never proposed.
        Subject::Statement(Statement {
            kind: Kind::Rotate(_) | Kind::Accuse(_) | Kind::Hold(_) | Kind::Recover(_),
            ..
        }) => decided(),
    }
}

/// The one of `candidates` whose hex begins with `prefix`.
pub(super) fn find<T: Copy + Ord + std::fmt::Display>(
    what: &str,
    prefix: &str,
    candidates: impl Iterator<Item = T>,
) -> Result<T, Refusal> {
    let prefix = prefix.trim().to_ascii_lowercase();
    if prefix.len() < PREFIX_MIN || prefix.chars().any(|c| !c.is_ascii_hexdigit()) {
        return Err(Refusal::bad(format!(
            "a {what} is named by at least {PREFIX_MIN} hex digits, not {prefix:?}"
        )));
    }
    let mut found: Vec<T> = candidates.filter(|one| one.to_string().starts_with(&prefix)).collect();
    found.sort();
    found.dedup();
    match found[..] {
        [one] => Ok(one),
        [] => Err(Refusal::refused(format!("no {what} that begins with {prefix} is known here"))),
        _ => Err(Refusal::refused(format!("{} {what}s begin with {prefix}: use more digits", found.len()))),
    }
}

pub(super) fn state_of(core: &Core) -> Result<&State, Refusal> {
    core.state().ok_or_else(|| {
        Refusal::refused(
            format!("this node has no state to answer from yet: it is {:?}", core.phase()).to_lowercase(),
        )
    })
}

pub(super) fn effective_word(effective: Effective) -> &'static str {
    match effective {
        Effective::Yes => "yes",
        Effective::Unknown => "unknown",
        Effective::NotYet => "not yet",
        Effective::Lapsed => "lapsed",
        Effective::Suspended => "suspended",
        Effective::Convicted => "convicted",
        Effective::Gone => "gone",
    }
}

impl Host {
    pub(super) fn members(&self, after: Option<NodeId>, now: Timestamp) -> Result<MembersView, Refusal> {
        let state = state_of(self.core())?;
        let mut members: Vec<MemberView> = state
            .members()
            .filter(|(node, _)| after.is_none_or(|after| *node > after))
            .take(PAGE_MAX + 1)
            .map(|(node, _)| node)
            .filter_map(|node| self.member(state, node, now))
            .collect();
        let more = members.len() > PAGE_MAX;
        members.truncate(PAGE_MAX);
        let next = if more { members.last().map(|member| member.node) } else { None };
        Ok(MembersView { members, next })
    }

    fn member(&self, state: &State, node: NodeId, now: Timestamp) -> Option<MemberView> {
        let standing = state.standing(&node)?;
        let endorser = state.charter().seat_of(&node).is_some();
        // What the log says counts for more.
        let said = state.effective(&node, now);
        let held = held_view(self.core(), &node, now).filter(|_| said != Effective::Suspended);
        Some(MemberView {
            node,
            key: standing.keys.current,
            roles: standing.roles.clone(),
            endorser,
            // Nothing may be taken for valid on a block that is too old (SPEC 9.5).
            effective: match self.core().effective(&node, now) {
                Some(Effective::Suspended) if held.is_some() => "held",
                Some(effective) => effective_word(effective),
                None => "stale",
            }
            .into(),
            until: (!endorser).then_some(standing.window.until),
            height: standing.height,
            held,
            connected: node == self.core().node_id() || self.is_connected(&standing.keys.current),
        })
    }

    pub(super) fn pending(&self, now: Timestamp) -> Vec<PendingView> {
        let core = self.core();
        let plain = |proposal: &Proposal| PendingView {
            id: proposal.id(),
            what: what_is_asked(&proposal.subject, core.state()),
            kind: kind_of(&proposal.subject).into(),
            subject: match &proposal.subject {
                Subject::Statement(statement) => statement.subject(),
                Subject::Ticket(_) | Subject::Terms(_) => None,
            },
            note: printable(&proposal.note),
            decision: match proposal.decision {
                Decision::Open => "open",
                Decision::Endorsed => "endorsed",
                Decision::Declined => "declined",
            }
            .into(),
            endorsed_by: proposal.endorsements.iter().map(|endorsement| endorsement.node).collect(),
            needed: core.state().map_or(0, |state| state.threshold_for(&proposal.subject)),
            changes: Vec::new(),
            consented: Vec::new(),
            must_consent: Vec::new(),
            met: proposal.met,
            over: over(core, proposal, now),
            expires: proposal.expires,
        };
        let view = |proposal: &Proposal| {
            let mut view = plain(proposal);
            add_changes(&mut view, core, proposal);
            view
        };
        let proposals = core.proposals().map(|(_, proposal)| view(proposal));
        proposals.chain(pending_holds(core, now)).collect()
    }

    /// What became of a proposal that is none any more, if it is in a block that this node still holds.
    pub(super) fn in_the_log(&self, prefix: &str) -> Option<String> {
        let blocks = self.core().chain().into_iter().flat_map(|chain| chain.recent_blocks());
        let entries = blocks.flat_map(|held| {
            let height = held.block.header.height;
            held.block.entries.iter().map(move |entry| (height, entry))
        });
        let by_id: BTreeMap<StatementId, (u64, &Entry)> =
            entries.map(|(height, entry)| (entry.statement.id(), (height, entry))).collect();
        let (height, entry) = by_id[&find("statement", prefix, by_id.keys().copied()).ok()?];
        let what = what_is_said(&entry.statement, NodeId::short);
        Some(format!("it is in the log already, at height {height}: {what}"))
    }

    pub(super) fn why(&self, prefix: &str, now: Timestamp) -> Result<WhyView, Refusal> {
        let core = self.core();
        let state = state_of(core)?;
        let waiting = core.proposals().filter_map(|(_, proposal)| match &proposal.subject {
            Subject::Statement(statement) => statement.subject(),
            Subject::Ticket(_) | Subject::Terms(_) => None,
        });
        let known = state
            .members()
            .map(|(node, _)| node)
            .chain(state.gone().map(|(node, _)| node))
            .chain(waiting)
            .chain([core.node_id()]);
        let node = find("node", prefix, known)?;
        let blocks = core.chain().into_iter().flat_map(|chain| chain.recent_blocks()).map(|held| &held.block);
        let entries: Vec<(u64, EntryView)> = blocks
            .flat_map(|block| {
                let height = block.header.height;
                let about = block.entries.iter().filter(|entry| entry.statement.subject() == Some(node));
                about.map(move |entry| (height, entry_view(entry)))
            })
            .collect();
        let member = self.member(state, node, now);
        let gone = state.gone_since(&node).map(|gone| (gone.height, gone.reason));
        // As the log has it; `stale` says whether that can still be relied on.
        let standing = match state.effective(&node, now) {
            Effective::Gone => Standing::Gone,
            Effective::Suspended | Effective::Convicted => Standing::Suspended,
            Effective::Yes if core.held(&node, now).is_some() => Standing::Suspended,
            Effective::Yes if state.has_seat(&node) => Standing::Endorser,
            Effective::Yes => Standing::Member,
            Effective::Lapsed if state.renewable_until(&node).is_some_and(|end| now < end) => {
                Standing::Lapsed
            }
            Effective::Unknown | Effective::NotYet | Effective::Lapsed => Standing::Stranger,
        };
        let because = self.reasons(state, node, now, &entries);
        let stale = core.effective(&node, now).is_none();
        Ok(WhyView { node, standing, because, member, gone, entries, stale })
    }

    fn reasons(
        &self,
        state: &State,
        node: NodeId,
        now: Timestamp,
        entries: &[(u64, EntryView)],
    ) -> Vec<String> {
        let mut because = Vec::new();
        let endorsers_at = |height: u64, kind: &str| {
            let held = entries.iter().find(|(at, entry)| *at == height && entry.kind == kind);
            held.map_or_else(
                || "this node does not hold that block any more".to_string(),
                |(_, entry)| {
                    let by: Vec<String> = entry.endorsed_by.iter().map(NodeId::short).collect();
                    format!("endorsed by {}", by.join(", "))
                },
            )
        };
        if let Some(standing) = state.standing(&node) {
            match standing.by {
                AdmittedBy::Seat => {}
                AdmittedBy::Ticket(ticket) => because.push(format!(
                    "Admitted at height {} by ticket {}; {}.",
                    standing.height,
                    ticket.short(),
                    endorsers_at(standing.height, "admission")
                )),
                AdmittedBy::Approval => because.push(format!(
                    "Admitted at height {} by the endorsers' operators; {}.",
                    standing.height,
                    endorsers_at(standing.height, "admission")
                )),
                AdmittedBy::Renewal => because.push(format!(
                    "Renewed at height {}, for the time numbered {}; {}.",
                    standing.height,
                    standing.number,
                    endorsers_at(standing.height, "admission")
                )),
            }
            because.extend(self.seat_in_words(state, node, standing.by == AdmittedBy::Seat));
            because.extend(key_in_words(standing));
            if let Some(suspension) = standing.suspended(now) {
                because.push(format!(
                    "Suspended at height {}{}, {}; {}.",
                    suspension.height,
                    reason_words(suspension.reason),
                    until_words(suspension.until, now),
                    endorsers_at(suspension.height, "suspension")
                ));
            }
            // Only the log knows of one that is over.
            let released =
                entries.iter().find(|(_, entry)| entry.kind == "suspension" || entry.kind == "release");
            if let Some((height, entry)) = released.filter(|(_, entry)| entry.kind == "release") {
                let by: Vec<String> = entry.endorsed_by.iter().map(NodeId::short).collect();
                because.push(format!(
                    "Released from a suspension at height {height}; endorsed by {}.",
                    by.join(", ")
                ));
            }
            because.extend(holds_in_words(self.core(), state, node, now));
            because.extend(standing.convictions.iter().map(conviction_words));
            match state.effective(&node, now) {
                Effective::Lapsed => because.push(lapsed_in_words(state, node, standing.window.until, now)),
                Effective::NotYet => because.push("Its admission has not begun.".into()),
                Effective::Yes
                | Effective::Unknown
                | Effective::Gone
                | Effective::Suspended
                | Effective::Convicted => {}
            }
        }
        if let Some(gone) = state.gone_since(&node) {
            because.push(self.how_it_came(state, node, gone.height, entries));
        }
        for (_, proposal) in self.core().proposals() {
            match &proposal.subject {
                Subject::Statement(statement)
                    if statement.subject() == Some(node) && over(self.core(), proposal, now).is_none() =>
                {
                    because.push(format!(
                        "Waiting: {} ({} of {} endorsements known here).",
                        what_is_asked(&proposal.subject, Some(state)),
                        proposal.endorsements.len(),
                        state.threshold_for(&proposal.subject)
                    ));
                }
                Subject::Terms(terms) if over(self.core(), proposal, now).is_none() => {
                    because.extend(seat_that_waits(state, &terms.charter, node, proposal.endorsements.len()));
                }
                Subject::Statement(_) | Subject::Ticket(_) | Subject::Terms(_) => {}
            }
        }
        if let Some(gone) = state.gone_since(&node) {
            let by_proof = entries.iter().any(|(at, entry)| *at == gone.height && entry.kind == "accusation");
            because.push(match by_proof {
                true => format!(
                    "Removed for good at height {}: two rotations of one number prove that its keys have two owners.",
                    gone.height
                ),
                false => format!(
                    "Revoked for good at height {}{}; {}.",
                    gone.height,
                    reason_words(gone.reason),
                    endorsers_at(gone.height, "revocation")
                ),
            });
        }
        if because.is_empty() {
            because.push(match state.holds(&Place::of_node(&node)) {
                true => "It was never admitted.".into(),
                false => {
                    "It does not stand here. Whether it is gone this node does not hold: ask an endorser."
                        .into()
                }
            });
        }
        because
    }

    /// How a node that is gone had become a member, as far as this node still holds it.
    fn how_it_came(&self, state: &State, node: NodeId, gone: u64, entries: &[(u64, EntryView)]) -> String {
        if state.has_seat(&node) {
            return "The charter has a seat for it: it stood without admission.".into();
        }
        let mut admissions = entries.iter().filter(|(_, entry)| entry.kind == "admission");
        match admissions.find(|(height, _)| *height <= gone) {
            Some((height, entry)) => {
                let by: Vec<String> = entry.endorsed_by.iter().map(NodeId::short).collect();
                format!("Admitted at height {height} ({}); endorsed by {}.", entry.what, by.join(", "))
            }
            None => "By whom it was admitted is in a block that this node does not hold any more.".into(),
        }
    }
}

fn kind_of(subject: &Subject) -> &'static str {
    match subject {
        Subject::Statement(Statement { kind: Kind::Admit(_), .. }) => "admission",
        Subject::Statement(Statement { kind: Kind::Revoke(_), .. }) => "revocation",
        Subject::Statement(Statement { kind: Kind::Suspend(_), .. }) => "suspension",
        Subject::Statement(Statement { kind: Kind::Release(_), .. }) => "release",
        Subject::Statement(Statement { kind: Kind::Amend(_), .. }) | Subject::Terms(_) => "amendment",
        Subject::Statement(Statement { kind: Kind::Rotate(_), .. }) => "rotation",
        Subject::Statement(Statement { kind: Kind::Accuse(_), .. }) => "accusation",
        Subject::Statement(Statement { kind: Kind::Hold(_), .. }) => "hold",
        Subject::Statement(Statement { kind: Kind::Recover(_), .. }) => "recovery",
        Subject::Ticket(_) => "ticket",
    }
}

pub(super) fn what_is_asked(subject: &Subject, state: Option<&State>) -> String {
    match subject {
        // Whole, since operators compare it with what a newcomer's machine prints.
        Subject::Statement(statement) => what_is_said(statement, NodeId::to_string),
        Subject::Terms(terms) => amend_words(&terms.charter),
        Subject::Ticket(terms) => {
            let TicketTerms { roles, uses, expires, .. } = terms;
            let spent = state.map_or(0, |state| state.ticket_uses(terms));
            let left = expires.since(super::now());
            format!(
                "a ticket for {} ({spent} joined) as {}, good for {}",
                count(*uses as usize, "newcomer"),
                list(roles),
                rough_span(left)
            )
        }
    }
}

/// What whoever has lapsed can do about it.
fn lapsed_in_words(state: &State, node: NodeId, since: Timestamp, now: Timestamp) -> String {
    let ago = rough_span(now.since(since));
    if state.standing(&node).is_some_and(|standing| standing.limited) {
        return format!(
            "Its admission lapsed {ago} ago, and was for less than a whole lifetime: so it does not renew, and operators of endorsers admit it anew."
        );
    }
    match state.renewable_until(&node).filter(|end| now < *end) {
        Some(end) => format!(
            "Its admission lapsed {ago} ago: it renews by itself when it reaches endorsers within the next {}.",
            rough_span(end.since(now))
        ),
        None => format!(
            "Its admission lapsed {ago} ago, too long to renew by itself: operators of endorsers admit it anew."
        ),
    }
}

fn what_is_said(statement: &Statement, name: fn(&NodeId) -> String) -> String {
    match &statement.kind {
        Kind::Admit(admit) => {
            let Admit { subject, roles, window, grounds, number, .. } = &**admit;
            let again = if *number > 1 { format!(" (admission {number})") } else { String::new() };
            let by = match grounds {
                Grounds::Ticket(terms) => format!("by ticket {}", terms.id().short()),
                Grounds::Approval => "by approval".into(),
                Grounds::Renewal => "by renewal".into(),
            };
            let length = rough_span(window.until.since(window.from));
            format!("admit {} as {} for {length}, {by}{again}", name(&subject.node_id()), list(roles))
        }
        Kind::Revoke(Revoke { subject, reason }) => {
            format!("revoke {} for good{}", name(subject), reason_words(*reason))
        }
        Kind::Suspend(Suspend { subject, until, reason, .. }) => {
            let until = until_words(*until, super::now());
            format!("suspend {}{}, {until}", name(subject), reason_words(*reason))
        }
        Kind::Release(Release { subject, .. }) => format!("release {} again", name(subject)),
        Kind::Amend(amend) => amend_words(&amend.charter),
        Kind::Hold(hold) => format!(
            "{} held {}{}, {}",
            name(&hold.by),
            name(&hold.subject),
            reason_words(hold.reason),
            until_words(hold.until, super::now())
        ),
        Kind::Recover(recover) => crate::recovery::in_words(recover),
        Kind::Rotate(Rotate { subject, rotations }) => match &rotations[..] {
            [] => format!("the key of {} stays what it is", name(subject)),
            [.., last] => {
                format!("the key of {} is now {}, number {}", name(subject), last.key, last.sequence)
            }
        },
        Kind::Accuse(accuse) => accusation_words(accuse, &name(&accuse.subject)),
    }
}

fn amend_words(charter: &Charter) -> String {
    let seats: Vec<String> = charter.endorsers.iter().map(|seat| seat.node_id().short()).collect();
    format!(
        "amend the charter: epoch {}, endorsers {}, f = {}",
        charter.epoch,
        seats.join(", "),
        charter.faults
    )
}

pub(super) fn until_words(until: Timestamp, now: Timestamp) -> String {
    match until {
        Timestamp(u64::MAX) => "until it is released".into(),
        until if until <= now => "which is over".into(),
        until => format!("for {} more", rough_span(until.since(now))),
    }
}

pub(super) fn reason_words(reason: Reason) -> &'static str {
    match reason {
        Reason::Unspecified => "",
        Reason::Compromised => " (compromised)",
        Reason::Retired => " (retired)",
        Reason::Misbehaved => " (misbehaved)",
    }
}

fn list(roles: &[String]) -> String {
    if roles.is_empty() { "no role".into() } else { printable(&roles.join(", ")) }
}

pub(super) fn block_view(block: &Block) -> BlockView {
    BlockView {
        height: block.header.height,
        block: block.id(),
        time: block.header.time,
        entries: block.entries.iter().map(entry_view).collect(),
    }
}

fn entry_view(entry: &Entry) -> EntryView {
    EntryView {
        statement: entry.statement.id(),
        kind: kind_of(&Subject::Statement(entry.statement.clone())).into(),
        subject: entry.statement.subject(),
        what: what_is_said(&entry.statement, NodeId::short),
        endorsed_by: match &entry.statement.kind {
            // It proves itself: by its signer.
            Kind::Hold(hold) => vec![hold.by],
            Kind::Admit(_)
            | Kind::Revoke(_)
            | Kind::Suspend(_)
            | Kind::Release(_)
            | Kind::Amend(_)
            | Kind::Rotate(_)
            | Kind::Accuse(_)
            | Kind::Recover(_) => entry.endorsements.iter().map(|endorsement| endorsement.node).collect(),
        },
    }
}

/// What others wrote, without what could play tricks on a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

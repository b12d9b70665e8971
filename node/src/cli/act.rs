//! `invite`, `endorse`, `deny`, `revoke`, `hold`, `suspend`, `release`, `rotate`, `leave`: what an operator does.

use frith_protocol::encoding::Hash;
use serde_json::{Value, json};

use super::args::{
    HoldArgs, IdArgs, InviteArgs, LeaveArgs, ReleaseArgs, RevokeArgs, RotateArgs, SuspendArgs,
};
use super::look::{ask, read};
use super::output::Out;
use super::{CommandError, Done};
use crate::control::views::{HoldView, InvitedView, ProposedView};
use crate::control::{Client, Condition, Request};
use crate::home::Home;
use crate::runtime::now;
use crate::words::{count, rough_span};

pub(super) fn short(id: &Hash) -> String {
    id.to_string()[..16].to_string()
}

pub(super) fn invite(home: &Home, args: InviteArgs, out: Out) -> Done {
    let InviteArgs { roles, uses, lifetime_ms, note, wait_ms, ticket } = args;
    let mut client = Client::connect(&home.socket())?;
    let id = match ticket {
        Some(id) => id,
        None => {
            let invited: InvitedView =
                read(client.ask(&Request::Invite { roles, uses, lifetime_ms, note })?)?;
            let InvitedView { proposed: ProposedView { id, have, needed, .. }, roles, known_roles } = invited;
            if roles.is_empty() {
                let known = known_roles.join(", ");
                out.note(&format!(
                    "the ticket gives no role: whoever joins by it is a member and nothing more; --role gives one of: {known}"
                ));
            }
            if have < needed {
                out.note(&format!(
                    "the ticket has {have} of {needed} countersignatures; the operators of other endorsers run: frith endorse {}",
                    short(&id)
                ));
                if wait_ms == 0 {
                    return out
                        .result(&json!({ "id": id, "have": have, "needed": needed }), || id.to_string());
                }
                client
                    .ask(&Request::Wait {
                        until: Condition::Countersigned { id: id.to_string() },
                        timeout_ms: wait_ms,
                    })
                    .inspect_err(|_| {
                        out.note(&format!(
                            "once it is countersigned, print it: frith invite --ticket {}",
                            short(&id)
                        ))
                    })?;
            }
            id.to_string()
        }
    };
    let ticket = client.ask(&Request::Ticket { id })?;
    warn_of_too_few_addresses(&ticket, out);
    out.result(&ticket, || ticket["ticket"].as_str().unwrap_or_default().to_string())
}

/// A newcomer must ask whomever it reaches where the others are, and that may be nobody by then.
pub(super) fn warn_of_too_few_addresses(printed: &Value, out: Out) {
    if printed["too_few_addresses"] == true {
        out.note(
            "this node does not know where enough endorsers for an admission are, so the text does not say: print it again \
             once `frith status` shows more of them connected",
        );
    }
}

pub(super) fn endorse(home: &Home, args: IdArgs, out: Out) -> Done {
    let proposed: ProposedView = read(ask(home, &Request::Endorse { id: args.id })?)?;
    show_progress(&proposed, "endorsed", out)
}

fn show_progress(proposed: &ProposedView, done: &str, out: Out) -> Done {
    let ProposedView { id, have, needed, newcomers } = proposed;
    out.result(proposed, || {
        let progress = if *newcomers {
            format!("; the newcomer gathers {} itself", count(*needed, "endorsement"))
        } else if have < needed {
            format!("; {have} of {needed} endorsements known here")
        } else {
            String::new()
        };
        format!("{done} {}{progress}", short(id))
    })
}

pub(super) fn deny(home: &Home, args: IdArgs, out: Out) -> Done {
    let proposed: ProposedView = read(ask(home, &Request::Deny { id: args.id })?)?;
    out.result(&proposed, || format!("declined {}", short(&proposed.id)))
}

pub(super) fn revoke(home: &Home, args: RevokeArgs, out: Out) -> Done {
    let RevokeArgs { node, reason, note } = args;
    propose(home, &Request::Revoke { node, reason: reason.into(), note }, out)
}

pub(super) fn hold(home: &Home, args: HoldArgs, out: Out) -> Done {
    let HoldArgs { node, for_ms, reason } = args;
    let given: HoldView = read(ask(home, &Request::Hold { node, for_ms, reason: reason.into() })?)?;
    let HoldView { node, until, have, needed, held } = &given;
    let shown = out.result(&given, || {
        let span = rough_span(until.since(now()));
        let who = node.short();
        match held {
            true => format!("{who} is held, for {span}"),
            false => {
                format!("{who} is not held yet: {have} of {needed} endorsers hold it, this one for {span}")
            }
        }
    })?;
    if !held {
        out.note(&format!(
            "it has a seat: the operators of other endorsers run: frith hold {}",
            node.short()
        ));
    }
    Ok(shown)
}

pub(super) fn suspend(home: &Home, args: SuspendArgs, out: Out) -> Done {
    let SuspendArgs { node, for_ms, reason, note } = args;
    propose(home, &Request::Suspend { node, for_ms, reason: reason.into(), note }, out)
}

pub(super) fn release(home: &Home, args: ReleaseArgs, out: Out) -> Done {
    let ReleaseArgs { node, note } = args;
    propose(home, &Request::Release { node, note }, out)
}

pub(super) fn propose(home: &Home, request: &Request, out: Out) -> Done {
    let proposed: ProposedView = read(ask(home, request)?)?;
    let shown = show_progress(&proposed, "proposed", out)?;
    if proposed.have < proposed.needed {
        out.note(&format!("the operators of other endorsers run: frith endorse {}", short(&proposed.id)));
    }
    Ok(shown)
}

pub(super) fn rotate(home: &Home, args: RotateArgs, out: Out) -> Done {
    let RotateArgs { next_key, wait_ms } = args;
    // The node has another working directory than whoever asks.
    let next_key = next_key.map(std::path::absolute).transpose();
    let next_key = next_key.map_err(|e| CommandError::usage(format!("--next-key: {e}")))?;
    let mut client = Client::connect(&home.socket())?;
    let mut begun = client.ask(&Request::Rotate { next_key })?;
    let sequence = begun["sequence"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or_default();
    begun["final"] = (wait_ms > 0).into();
    if wait_ms > 0 {
        let until = Condition::Rotated { at_least: sequence };
        client.ask(&Request::Wait { until, timeout_ms: wait_ms }).inspect_err(|_| {
            out.note("the rotation goes on by itself until it is final: see `frith status`");
        })?;
    }
    out.result(&begun, || match wait_ms {
        0 => format!("rotating to key {sequence}"),
        _ => format!(
            "rotated to key {sequence}; move {} elsewhere again",
            home.keys().join("next.key").display()
        ),
    })
}

pub(super) fn leave(home: &Home, args: LeaveArgs, out: Out) -> Done {
    if !args.yes {
        return Err(CommandError::usage(
            "leaving is for good: this identity can never be a member again; say --yes if that is meant",
        ));
    }
    ask(home, &Request::Leave {})?;
    out.result(&json!({ "leaving": true }), || {
        "asked the endorsers to revoke this node; stop it once `frith status` says that it is gone. (An endorser becomes \
         `restrained`: it keeps its vote until the charter is amended, so leave it running.)"
            .to_string()
    })
}

//! `status`, `members`, `pending`, `why`, `anchor`, `metrics`, `wait`: looking at a running node.

use std::time::{Duration, Instant};

use frith_protocol::identity::NodeId;
use frith_protocol::time::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::act::warn_of_too_few_addresses;
use super::args::{NodeArgs, PendingArgs, WaitArgs, WaitFor};
use super::output::{Out, table};
use super::{CommandError, Done};
use crate::control::views::{MemberView, MembersView, PendingView, WhyView};
use crate::control::{Client, ClientError, Condition, Request};
use crate::home::Home;
use crate::runtime::now;
use crate::words::{rough_span, utc};

/// Between two looks at whether a node has started.
const GLANCE: Duration = Duration::from_millis(20);

/// Asks the node that runs in `home`.
pub(super) fn ask(home: &Home, request: &Request) -> Result<Value, CommandError> {
    Ok(Client::connect(&home.socket())?.ask(request)?)
}

pub(super) fn read<T: DeserializeOwned>(value: Value) -> Result<T, CommandError> {
    serde_json::from_value(value).map_err(|e| {
        CommandError::usage(format!("the node answers in another shape than this frith knows: {e}"))
    })
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

pub(super) fn status(home: &Home, out: Out) -> Done {
    let status = ask(home, &Request::Status {})?;
    out.result(&status, || status_text(&status))
}

fn status_text(status: &Value) -> String {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.into(), value]);
    row("node", text(&status["node"]));
    row("domain", format!("{} ({})", text(&status["domain"]), text(&status["name"])));
    let stale = if status["stale"] == true { ", stale: it answers no question of who is who" } else { "" };
    row("phase", format!("{}{stale}", text(&status["phase"])));
    let rotating = if status["rotating"] == true { "; a rotation to the next one is on its way" } else { "" };
    row("key", format!("number {}: {}{rotating}", text(&status["key_sequence"]), text(&status["key"])));
    let head = &status["head"];
    if head.is_null() {
        row("head", "none yet".into());
    } else {
        let age = rough_span(number(&head["age_ms"]));
        row("head", format!("height {}, {age} old, block {}", text(&head["height"]), text(&head["block"])));
        row("state root", text(&head["state_root"]));
    }
    let charter = &status["charter"];
    if !charter.is_null() {
        row("charter", format!("epoch {}, {}", text(&charter["epoch"]), text(&charter["id"])));
    }
    if !status["admission"].is_null() {
        row("admission", super::renew::in_words(&status["admission"]));
    }
    // A newcomer has no state to count in.
    row(
        "members",
        match head.is_null() {
            true => "not known yet".into(),
            false => format!("{}, and {} gone", text(&status["members"]), text(&status["gone"])),
        },
    );
    let endorsers = &status["endorsers"];
    if endorsers.is_null() {
        row("endorsers", "not known yet".into());
    } else {
        let liars = match number(&endorsers["liars_tolerated"]) {
            0 => "no liar".to_string(),
            1 => "1 liar".to_string(),
            more => format!("{more} liars"),
        };
        row(
            "endorsers",
            format!(
                "{} of {} connected; {} make a block final; bears {} down and {liars}",
                text(&endorsers["connected"]),
                text(&endorsers["count"]),
                text(&endorsers["quorum"]),
                text(&endorsers["crashes_tolerated"]),
            ),
        );
    }
    if let [have, need] = &status["joining"].as_array().map_or(&[][..], Vec::as_slice) {
        row("joining", format!("{have} of {need} endorsements"));
    }
    let remembered = text(&status["remembered"]);
    row("peers", format!("{} connected; where {remembered} are is remembered", text(&status["connected"])));
    let holds = number(&status["holds"]);
    if holds > 0 {
        row("holds", format!("{holds} in force: see `frith pending --all`"));
    }
    let held = &status["held"];
    if !held.is_null() {
        let at = Timestamp(number(&held["until"]));
        let by: Vec<String> = held["by"].as_array().into_iter().flatten().map(text).collect();
        row("held", format!("by {}, until {}", by.join(", "), until(at)));
    }
    let cloned = status["cloned"].as_array().map_or(&[][..], Vec::as_slice);
    if !cloned.is_empty() {
        let whom: Vec<String> = cloned.iter().map(text).collect();
        row(
            "TWICE",
            format!("{}: two machines run it; see «Two machines run one identity»", whom.join(", ")),
        );
    }
    let pending = number(&status["pending"]);
    let hint = if pending > 0 { ": see `frith pending`" } else { "" };
    row("waiting", format!("{pending} for you{hint}; {} for a block", text(&status["waiting"])));
    for address in status["net"]["listening"].as_array().into_iter().flatten() {
        row("listens", text(address));
    }
    let restored = &status["restored"];
    if !restored.is_null() {
        let (at, made) = (utc(number(&restored["at"])), utc(number(&restored["made"])));
        row("restored", format!("{at}, from a backup made {made}; the machine that it is of must not run"));
    }
    for (name, field) in [("journal lost", "journal_lost"), ("cannot join", "join_failed")] {
        if !status[field].is_null() {
            row(name, text(&status[field]));
        }
    }
    if !status["journal_lost"].is_null() {
        row(
            "",
            "it signs no block until an amendment gives it a fresh voting key: frith amend --fresh-keys"
                .into(),
        );
    }
    if charter["fresh_voting_key"] == false {
        row("voting key", "none is ready for the next charter: see the log".into());
    }
    for (name, field) in [("alarm", "alarms"), ("damage", "damage")] {
        for line in status[field].as_array().into_iter().flatten() {
            row(name, text(line));
        }
    }
    table(&rows)
}

pub(super) fn members(home: &Home, out: Out) -> Done {
    let mut client = Client::connect(&home.socket())?;
    let (mut members, mut after): (Vec<MemberView>, _) = (Vec::new(), None);
    loop {
        let page: MembersView = read(client.ask(&Request::Members { after })?)?;
        members.extend(page.members);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    out.result(&members, || {
        let mut rows =
            vec![["NODE", "ROLES", "SEAT", "EFFECTIVE", "UNTIL", "CONNECTED"].map(String::from).to_vec()];
        rows.extend(members.iter().map(|member| {
            vec![
                member.node.to_string(),
                member.roles.join(","),
                if member.endorser { "endorser" } else { "-" }.into(),
                member.effective.clone(),
                member.until.map_or("-".into(), until),
                if member.connected { "yes" } else { "-" }.into(),
            ]
        }));
        table(&rows)
    })
}

pub(super) fn until(at: Timestamp) -> String {
    let now = now();
    if at < now {
        format!("{} ago", rough_span(now.since(at)))
    } else {
        format!("in {}", rough_span(at.since(now)))
    }
}

pub(super) fn pending(home: &Home, args: PendingArgs, out: Out) -> Done {
    let all: Vec<PendingView> = read(ask(home, &Request::Pending {})?)?;
    let known = all.len();
    let pending: Vec<PendingView> = all.into_iter().filter(|one| args.all || one.over.is_none()).collect();
    if pending.len() < known && !out.json {
        let over = known - pending.len();
        let (are, them) = if over == 1 { ("is", "it") } else { ("are", "them") };
        out.note(&format!(
            "{over} more {are} decided or came to nothing; to see {them}: frith pending --all"
        ));
    }
    out.result(&pending, || {
        if pending.is_empty() {
            return "nothing waits\n".into();
        }
        let line = |one: &PendingView| {
            let state = match (&one.over, one.decision.as_str()) {
                (Some(why), _) => why,
                (None, "open") => "waits for you",
                (None, "endorsed") => "endorsed here, waits for others",
                (None, "declined") => "declined here",
                (None, other) => other,
            };
            let state = match &one.must_consent[..] {
                missing if one.over.is_none() && !missing.is_empty() => {
                    let names: Vec<String> = missing.iter().map(NodeId::short).collect();
                    format!("{state}, and for the consent of {}", names.join(", "))
                }
                _ => state.to_string(),
            };
            let note =
                if one.note.is_empty() { String::new() } else { format!("\n  they say: {}", one.note) };
            format!(
                "{}  {} of {} endorsements, {state}, lapses {}\n  {}{note}\n{}",
                one.id,
                one.endorsed_by.len(),
                one.needed,
                until(one.expires),
                one.what,
                one.changes.iter().map(|change| format!("    {change}\n")).collect::<String>(),
            )
        };
        pending.iter().map(line).collect()
    })
}

pub(super) fn why(home: &Home, args: NodeArgs, out: Out) -> Done {
    let why: WhyView = read(ask(home, &Request::Why { node: args.node })?)?;
    out.result(&why, || {
        let standing = serde_json::to_value(why.standing).map(|value| text(&value)).unwrap_or_default();
        let mut text = format!("{}: {standing}\n", why.node);
        for sentence in &why.because {
            text.push_str(&format!("  {sentence}\n"));
        }
        if why.stale {
            text.push_str("  But that is stale: this node's head is older than the freshness bound for it. Do not rely on it.\n");
        }
        text
    })
}

pub(super) fn anchor(home: &Home, out: Out) -> Done {
    let anchor = ask(home, &Request::Anchor {})?;
    warn_of_too_few_addresses(&anchor, out);
    out.result(&anchor, || text(&anchor["anchor"]))
}

pub(super) fn metrics(home: &Home, out: Out) -> Done {
    let metrics = ask(home, &Request::Metrics {})?;
    out.result(&metrics, || text(&metrics["prometheus"]))
}

pub(super) fn wait(home: &Home, args: WaitArgs, out: Out) -> Done {
    let until = match args.until {
        WaitFor::Member => Condition::Member {},
        WaitFor::Height { height } => Condition::Height { at_least: height },
        WaitFor::Peers { count } => Condition::Peers { at_least: count },
        WaitFor::Epoch { epoch } => Condition::Epoch { at_least: epoch },
        WaitFor::Pending => Condition::Waiting { at_least: 1 },
        WaitFor::Countersigned { id } => Condition::Countersigned { id },
        WaitFor::Admitted { node } => Condition::Admitted { node },
        WaitFor::Gone { node } => Condition::Gone { node },
    };
    let deadline = Instant::now() + Duration::from_millis(args.timeout_ms);
    let mut client = loop {
        match Client::connect(&home.socket()) {
            // Whoever starts a node and waits for it need not know when it has opened its socket.
            Err(ClientError::NotRunning { .. }) if Instant::now() < deadline => std::thread::sleep(GLANCE),
            connected => break connected?,
        }
    };
    let left = deadline.saturating_duration_since(Instant::now());
    client.ask(&Request::Wait { until, timeout_ms: left.as_millis() as u64 })?;
    out.result(&json!({ "holds": true }), String::new)
}

//! `renew` and `readmit`, and how a status tells of an admission that runs out.

use serde_json::Value;

use super::Done;
use super::act::propose;
use super::args::{ReadmitArgs, RenewArgs};
use super::look::{text, until};
use super::output::Out;
use crate::control::{Client, Condition, Request};
use crate::home::Home;
use frith_protocol::time::Timestamp;

pub(super) fn renew(home: &Home, args: RenewArgs, out: Out) -> Done {
    let RenewArgs { now, wait_ms } = args;
    let mut client = Client::connect(&home.socket())?;
    let mut told = client.ask(&Request::Renew { now })?;
    if now && wait_ms > 0 {
        let number = told["admission"]["number"].as_u64().unwrap_or_default();
        let until = Condition::Renewed { at_least: number + 1 };
        client.ask(&Request::Wait { until, timeout_ms: wait_ms }).inspect_err(|_| {
            out.note("it goes on by itself until it is final: see `frith status`");
        })?;
        told = client.ask(&Request::Renew { now: false })?;
        told["begun"] = true.into();
    }
    out.result(&told, || in_words(&told["admission"]))
}

pub(super) fn readmit(home: &Home, args: ReadmitArgs, out: Out) -> Done {
    let ReadmitArgs { node, roles, for_ms, note } = args;
    let roles = (!roles.is_empty()).then_some(roles);
    propose(home, &Request::Readmit { node, roles, for_ms, note }, out)?;
    out.note("others must endorse it soon: an admission rests on a recent block");
    Ok(super::Exit::Holds)
}

/// An admission as a status shows it.
pub(super) fn in_words(admission: &Value) -> String {
    let at = |field: &str| admission[field].as_u64().map(Timestamp);
    let end = at("until").map_or("never".into(), until);
    let number = text(&admission["number"]);
    let lapsed = admission["lapsed"] == true;
    let mut words = if lapsed {
        format!("number {number}, lapsed {end}")
    } else {
        format!("number {number}, until {end}")
    };
    if admission["limited"] == true {
        words.push_str(if lapsed {
            "; it was for less than a whole lifetime, and does not renew: operators of endorsers admit it anew by frith readmit"
        } else {
            "; it is for less than a whole lifetime, and does not renew"
        });
        return words;
    }
    match (admission["renewing"].as_array().map(Vec::as_slice), at("renews_at")) {
        (Some([have, need]), _) => {
            words.push_str(&format!("; it is being renewed: {have} of {need} endorsements"))
        }
        (_, None) if lapsed => {
            words.push_str(
                "; too long ago to renew it by itself: operators of endorsers admit it anew by frith readmit",
            );
        }
        (_, None) => words.push_str("; it cannot be renewed while its rights rest"),
        (_, Some(_)) if lapsed => words.push_str("; it is renewed as soon as endorsers are reached"),
        (_, Some(at)) => words.push_str(&format!("; it renews by itself {}", until(at))),
    }
    if let Some(why) = admission["declined"].as_str() {
        words.push_str(&format!("; an endorser declined: {why}"));
    }
    words
}

//! The draft of a founding charter: a file that people read before they sign.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use frith_protocol::identity::NodeId;
use frith_protocol::state::{AdmissionPolicy, Charter, Recovery, Role, Seat, Thresholds, Timing};
use frith_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::files::{Card, FORMAT, check_kind};
use super::{FoundingError, check_addresses, read};
use crate::words::{from_toml, span, span_ms, suggestion};

const DAY_MS: u64 = 24 * 3600 * 1000;

/// A charter that is to be signed, and where its founders will be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    draft: u32,
    /// What is signed.
    pub charter: Charter,
    /// Where each founder will be reached. Hints, which nobody signs.
    pub addresses: BTreeMap<NodeId, Vec<String>>,
}

/// What a draft is made from, besides the cards. `f` is as large as the number of founders allows unless it is
/// given; thresholds that are left open get the smallest value that is safe.
#[derive(Clone, Debug)]
pub struct DraftOptions {
    /// What people call the domain.
    pub name: String,
    /// `f`; by default as many as the number of founders allows.
    pub faults: Option<u8>,
    /// How many endorsers an admission needs.
    pub admit: Option<u8>,
    /// How many a revocation needs.
    pub revoke: Option<u8>,
    /// How many a restraint needs.
    pub contain: Option<u8>,
    /// How many the next charter needs.
    pub amend: Option<u8>,
    /// What members may be. Founders get the first.
    pub roles: Vec<Role>,
    /// After what age of the newest block answers about whoever has a role are stale, if not after the charter's bound.
    pub role_freshness: Vec<(String, Option<u64>)>,
    /// Bounds on time.
    pub timing: Timing,
    /// On which grounds endorsers admit.
    pub admission: AdmissionPolicy,
    /// Who can recover the domain: offline keys.
    pub recovery: Recovery,
    /// How long the charter binds those who wake up later.
    pub lasts_ms: u64,
}

impl Default for DraftOptions {
    fn default() -> DraftOptions {
        DraftOptions {
            name: String::new(),
            faults: None,
            admit: None,
            revoke: None,
            contain: None,
            amend: None,
            roles: Vec::new(),
            role_freshness: Vec::new(),
            timing: Timing {
                heartbeat_ms: 60 * 1000,
                freshness_ms: 10 * 60 * 1000,
                silence_ms: 30 * DAY_MS,
                skew_ms: 10 * 1000,
                first_timeout_ms: 2 * 1000,
                timeout_cap_ms: 30 * 1000,
                member_lifetime_ms: 365 * DAY_MS,
                basis_ms: 3600 * 1000,
                ticket_lifetime_ms: 30 * DAY_MS,
                proposal_lifetime_ms: 7 * DAY_MS,
                hold_ms: 3600 * 1000,
            },
            admission: AdmissionPolicy { tickets: true, approval: true },
            lasts_ms: 10 * 365 * DAY_MS,
            recovery: Recovery::default(),
        }
    }
}

/// A field of [`Timing`], by the name that `--timing` uses.
type TimingField = (&'static str, fn(&mut Timing) -> &mut u64);

/// The bounds on time that `--timing NAME=SPAN` sets.
pub const TIMINGS: [TimingField; 11] = [
    ("heartbeat", |timing| &mut timing.heartbeat_ms),
    ("freshness", |timing| &mut timing.freshness_ms),
    ("silence", |timing| &mut timing.silence_ms),
    ("skew", |timing| &mut timing.skew_ms),
    ("first-timeout", |timing| &mut timing.first_timeout_ms),
    ("timeout-cap", |timing| &mut timing.timeout_cap_ms),
    ("member-lifetime", |timing| &mut timing.member_lifetime_ms),
    ("basis", |timing| &mut timing.basis_ms),
    ("ticket-lifetime", |timing| &mut timing.ticket_lifetime_ms),
    ("proposal-lifetime", |timing| &mut timing.proposal_lifetime_ms),
    ("hold", |timing| &mut timing.hold_ms),
];

/// Sets one bound from a text like `heartbeat=60s`.
///
/// # Errors
/// If the name or the span is not one.
pub fn parse_timing(timing: &mut Timing, text: &str) -> Result<(), FoundingError> {
    let bad = |why: String| FoundingError::BadTiming(format!("--timing {text}: {why}"));
    let (name, value) =
        text.split_once('=').ok_or_else(|| bad("write NAME=SPAN, as in heartbeat=60s".into()))?;
    let names = TIMINGS.map(|(name, _)| name);
    let (_, field) = TIMINGS.iter().find(|(known, _)| *known == name).ok_or_else(|| {
        let (list, meant) = (names.join(", "), suggestion(name, names));
        bad(format!("there is no such bound; they are {list}{meant}"))
    })?;
    *field(timing) = span_ms(value).map_err(bad)?;
    Ok(())
}

/// A role from a text like `gateway=relay,route` or `member`.
///
/// # Errors
/// If the name is empty.
pub fn parse_role(text: &str) -> Result<Role, FoundingError> {
    let (name, capabilities) = text.split_once('=').unwrap_or((text, ""));
    let mut capabilities: Vec<String> =
        capabilities.split(',').filter(|part| !part.is_empty()).map(str::to_string).collect();
    capabilities.sort();
    capabilities.dedup();
    if name.is_empty() {
        return Err(FoundingError::BadRole { text: text.into() });
    }
    Ok(Role { name: name.into(), capabilities, freshness_ms: None })
}

/// A role and its bound on freshness, from a text like `gateway=2m`; `gateway=none` takes it away.
///
/// # Errors
/// If it is none.
pub fn parse_role_freshness(text: &str) -> Result<(String, Option<u64>), FoundingError> {
    let bad = |why: String| FoundingError::BadRoleFreshness { text: text.into(), why };
    let (name, span) =
        text.rsplit_once('=').ok_or_else(|| bad("write ROLE=SPAN, as in gateway=2m".into()))?;
    let bound = if span == "none" { None } else { Some(span_ms(span).map_err(bad)?) };
    Ok((name.into(), bound))
}

/// Gives roles other bounds on freshness.
///
/// # Errors
/// If there is no such role.
pub(crate) fn freshen(roles: &mut [Role], bounds: &[(String, Option<u64>)]) -> Result<(), String> {
    for (name, freshness_ms) in bounds {
        let known: Vec<&str> = roles.iter().map(|role| role.name.as_str()).collect();
        let none = format!("the charter has no role {name:?}; it has {}", known.join(", "));
        let role = roles.iter_mut().find(|role| role.name == *name).ok_or(none)?;
        role.freshness_ms = *freshness_ms;
    }
    Ok(())
}

/// A draft from the founders' cards.
///
/// # Errors
/// If a founder comes twice, or the charter could not be safe or live: the reason says which rule.
pub fn draft(
    cards: &[(PathBuf, Card)],
    options: DraftOptions,
    now: Timestamp,
) -> Result<Draft, FoundingError> {
    if cards.is_empty() {
        return Err(FoundingError::NoCards);
    }
    let mut roles = options.roles;
    if roles.is_empty() {
        roles.push(Role { name: "member".into(), capabilities: Vec::new(), freshness_ms: None });
    }
    freshen(&mut roles, &options.role_freshness).map_err(FoundingError::NoSuchRole)?;
    let founders_role = roles[0].name.clone();
    roles.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = roles.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(FoundingError::TwiceTheRole { name: pair[0].name.clone() });
    }

    let mut seats: BTreeMap<NodeId, (&PathBuf, &Card)> = BTreeMap::new();
    for (path, card) in cards {
        if let Some((first, _)) = seats.insert(card.node, (path, card)) {
            let (first, second) = (first.clone(), path.clone());
            return Err(FoundingError::TwiceTheSame { node: card.node, first, second });
        }
    }
    let n = seats.len();
    let small = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    let faults = options.faults.unwrap_or(small((n - 1) / 3));
    let f = usize::from(faults);
    let mut charter = Charter {
        previous: None,
        epoch: 1,
        name: options.name,
        written: now,
        endorsers: seats
            .values()
            .map(|(_, card)| Seat {
                inception: card.inception.clone(),
                voting_key: card.voting_key,
                roles: vec![founders_role.clone()],
            })
            .collect(),
        faults,
        thresholds: Thresholds {
            admit: options.admit.unwrap_or(small((f + 1).max(n.min(2)))),
            revoke: options.revoke.unwrap_or(small(f + 1)),
            contain: options.contain.unwrap_or(small(f + 1)),
            amend: 0,
        },
        recovery: options.recovery,
        roles,
        timing: options.timing,
        admission: options.admission,
        last_day: now.plus(options.lasts_ms),
    };
    charter.thresholds.amend = options.amend.unwrap_or(small(charter.quorum()));
    charter.check().map_err(FoundingError::Charter)?;
    let addresses = seats.iter().map(|(node, (_, card))| (*node, card.addresses.clone())).collect();
    Ok(Draft { draft: FORMAT, charter, addresses })
}

impl Draft {
    /// Reads the draft at `path`. Whether its charter can be safe is asked by whoever signs it.
    ///
    /// # Errors
    /// If it is not a draft.
    pub fn read(path: &Path) -> Result<Draft, FoundingError> {
        let text = read(path, "read the draft")?;
        check_kind(&text, path, "a draft of a charter")?;
        let draft: Draft = from_toml(&text, path)?;
        for addresses in draft.addresses.values() {
            check_addresses(addresses).map_err(|why| FoundingError::BadCard { path: path.into(), why })?;
        }
        Ok(draft)
    }

    /// The file, with what each line means.
    pub fn to_commented_toml(&self) -> String {
        let body = toml::to_string(self).expect("a draft is plain TOML");
        let charter = &self.charter;
        let mut text = format!(
            "\
# Draft of the founding charter of {:?}.
#
# It may be edited until the first founder signs it. Then every founder must sign these very bytes of meaning: whatever
# else than comments and [addresses] is changed makes another domain. Read it, compare the domain's id with the other
# founders by another way than the one by which you got this file, and sign it: frith found sign FILE --dir D
#
# The domain's id, as it stands: {}

",
            charter.name,
            charter.founds(),
        );
        let mut seats = charter.endorsers.iter();
        text.push_str(&explain(&body, &COMMENTS, |line| {
            let seat = (line == "[[charter.endorsers]]").then(|| seats.next()).flatten()?;
            Some(format!("node {}", seat.node_id()))
        }));
        text
    }

    /// What a founder should know before signing, in a few lines.
    pub fn summary(&self) -> String {
        let charter = &self.charter;
        let Thresholds { admit, revoke, contain, amend } = charter.thresholds;
        let (n, f, q) = (charter.size(), charter.faults, charter.quorum());
        let mut text = format!(
            "domain     {} ({:?})\nendorsers  {n}, of which {f} may be faulty; {q} make a block final\n",
            charter.founds(),
            charter.name
        );
        text.push_str(&format!(
            "needed     {admit} to admit, {revoke} to revoke, {contain} to restrain, {amend} to amend\n"
        ));
        if f == 0 {
            text.push_str(
                "warning    f = 0: this domain survives crashes of a minority, and no endorser that lies\n",
            );
        }
        for seat in &charter.endorsers {
            let node = seat.node_id();
            let addresses = self.addresses.get(&node).map_or(String::new(), |all| all.join(" "));
            text.push_str(&format!("founder    {node} {addresses}\n"));
        }
        text
    }
}

/// The lines of `body`, each with what it means before it, and with what `remark` says of it, or how long it is, behind it. What repeats,
/// as seats do, is explained once.
pub(crate) fn explain(
    body: &str,
    comments: &[Comment],
    mut remark: impl FnMut(&str) -> Option<String>,
) -> String {
    let (mut text, mut section) = (String::new(), String::new());
    let mut left: Vec<_> = comments.iter().collect();
    for line in body.lines() {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_matches(['[', ']']).to_string();
        }
        let key = line.split_once(" = ").map_or("", |(key, _)| key);
        if let Some(at) = left.iter().position(|(at, name, _)| *at == section && *name == key) {
            let (_, _, comment) = left.swap_remove(at);
            text.push_str(&format!("# {comment}\n"));
        }
        text.push_str(line);
        let span = || line.split_once("_ms = ").and_then(|(_, ms)| ms.parse().ok()).map(span);
        if let Some(remark) = remark(line).or_else(span) {
            text.push_str(&format!("  # {remark}"));
        }
        text.push('\n');
    }
    text
}

/// (section, key, comment): an empty key comments on the section's beginning.
pub(crate) type Comment = (&'static str, &'static str, &'static str);

/// What the lines of a charter mean, in section `charter` of a draft.
pub(crate) const COMMENTS: [Comment; 28] = [
    ("", "draft", "The format of this file."),
    ("charter", "epoch", "1 when founding."),
    ("charter", "name", "What people call the domain. Binds nothing."),
    ("charter", "written", "When this was drafted, in milliseconds since 1970: the time of the first block."),
    ("charter", "faults", "f: how many endorsers may be faulty or lie. Needs 3f+1 endorsers."),
    ("charter", "last_day", "Whoever wakes up after this moment needs a newer charter."),
    ("charter.thresholds", "admit", "How many endorsers it takes to admit a member, and to issue a ticket."),
    ("charter.thresholds", "revoke", "… to revoke one, for good."),
    ("charter.thresholds", "contain", "… to restrain one for a while."),
    ("charter.thresholds", "amend", "… to change this charter."),
    (
        "charter.recovery",
        "keys",
        "Offline keys that can re-anchor the domain once its log has stopped for good; none: nothing can.",
    ),
    ("charter.recovery", "threshold", "How many of them it takes."),
    ("charter.timing", "heartbeat_ms", "An idle domain makes a block this often."),
    ("charter.timing", "freshness_ms", "Whoever knows of no newer final block than this answers «stale»."),
    ("charter.timing", "silence_ms", "After this long without a final block, recovery may be taken."),
    ("charter.timing", "skew_ms", "How far apart correct clocks may be."),
    ("charter.timing", "first_timeout_ms", "How long a leader has, at first …"),
    ("charter.timing", "timeout_cap_ms", "… and at most, after several that failed."),
    ("charter.timing", "member_lifetime_ms", "The longest admission."),
    ("charter.timing", "basis_ms", "How old the knowledge that an admission rests on may be."),
    ("charter.timing", "ticket_lifetime_ms", "The longest life of a ticket."),
    ("charter.timing", "proposal_lifetime_ms", "The longest life of a proposal that waits for endorsers."),
    (
        "charter.timing",
        "hold_ms",
        "The longest hold, counted from the newest final block; with 0 there are none.",
    ),
    ("charter.admission", "tickets", "Whether endorsers admit whoever brings a ticket."),
    ("charter.admission", "approval", "Whether endorsers admit on their operators' yes."),
    ("charter.endorsers", "", "One founder's seat: its voting key, its roles, its identity."),
    (
        "charter.roles",
        "",
        "What members may be. With freshness_ms, answers about whoever has the role go stale earlier.",
    ),
    ("addresses", "", "Where the founders are reached: hints, which nobody signs."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_a_draft_that_needs_a_comment_has_one() {
        let cards = [1, 2].map(|nth| ("card".into(), super::super::tests::founder(nth).card));
        let draft =
            draft(&cards, DraftOptions { name: "home".into(), ..Default::default() }, Timestamp(7)).unwrap();
        let text = draft.to_commented_toml();
        for (section, key, comment) in COMMENTS {
            let times = text.matches(&format!("# {comment}\n")).count();
            assert_eq!(times, 1, "the comment of [{section}] {key} in:\n{text}");
        }
        let lines: Vec<&str> = text.lines().collect();
        for (bound, line) in (1..).zip(&lines[1..]).filter(|(_, line)| line.contains("_ms = ")) {
            assert!(lines[bound - 1].starts_with("# "), "nothing says what this is: {line}");
        }
        assert!(text.contains("heartbeat_ms = 60000  # 1m"), "{text}");
        let seat = format!("[[charter.endorsers]]  # node {}\n", draft.charter.endorsers[0].node_id());
        assert!(text.contains(&seat), "{text}");
    }
}

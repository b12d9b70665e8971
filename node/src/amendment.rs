//! The next charter, as operators write it and as they read what it changes.
//!
//! Operators name endorsers by identity alone: who that is, the state knows, and a voting key each brings itself, when it says yes.

use std::collections::BTreeSet;
use std::path::Path;

use frith_protocol::identity::{NodeId, PublicKey};
use frith_protocol::state::{
    AdmissionPolicy, Charter, CharterId, Recovery, Role, Seat, State, Thresholds, Timing,
};
use frith_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::founding::{COMMENTS, Comment, FoundingError, TIMINGS, explain, freshen, read};
use crate::words::{from_toml, span};

/// The format of the file.
const FORMAT: u32 = 1;

/// What an operator wants of the next charter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wish {
    /// All of it, as a file says it; otherwise the charter in force, and what follows.
    pub charter: Option<CharterFile>,
    /// Who gets a seat, by the first digits.
    pub add: Vec<String>,
    /// Who loses one.
    pub remove: Vec<String>,
    /// Another `f`.
    pub faults: Option<u8>,
    /// Other thresholds.
    pub thresholds: SomeThresholds,
    /// Other bounds on freshness, by role; none: the charter's own.
    pub role_freshness: Vec<(String, Option<u64>)>,
    /// Also if nothing changes but the voting keys of those who say yes.
    pub fresh_keys: bool,
}

/// Those thresholds that somebody named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "they are those of a charter")]
pub struct SomeThresholds {
    pub admit: Option<u8>,
    pub revoke: Option<u8>,
    pub contain: Option<u8>,
    pub amend: Option<u8>,
}

/// A charter without what the node knows better: epoch, dates, keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CharterFile {
    amendment: u32,
    /// The charter that it was made from.
    pub amends: CharterId,
    /// What people call the domain.
    pub name: String,
    /// `f`.
    pub faults: u8,
    /// Whoever wakes up after it needs a newer charter.
    pub last_day: Timestamp,
    /// How many endorsers each kind of statement needs.
    pub thresholds: Thresholds,
    /// Who can re-anchor the domain.
    pub recovery: Recovery,
    /// Bounds on time.
    pub timing: Timing,
    /// On which grounds endorsers admit.
    pub admission: AdmissionPolicy,
    /// Who endorses.
    pub endorsers: Vec<SeatLine>,
    /// What members may be.
    pub roles: Vec<Role>,
}

/// A seat, by whoever sits there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeatLine {
    /// Who.
    pub node: NodeId,
    /// The roles that it has as a member.
    pub roles: Vec<String>,
}

impl CharterFile {
    /// The charter in force, to be edited.
    pub fn of(state: &State) -> CharterFile {
        let charter = state.charter();
        let line = |seat: &Seat| SeatLine { node: seat.node_id(), roles: seat.roles.clone() };
        CharterFile {
            amendment: FORMAT,
            amends: state.charter_id(),
            name: charter.name.clone(),
            faults: charter.faults,
            last_day: charter.last_day,
            thresholds: charter.thresholds,
            recovery: charter.recovery.clone(),
            timing: charter.timing,
            admission: charter.admission,
            endorsers: charter.endorsers.iter().map(line).collect(),
            roles: charter.roles.clone(),
        }
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// If it is not one.
    pub fn read(path: &Path) -> Result<CharterFile, FoundingError> {
        let text = read(path, "read the next charter")?;
        let file: CharterFile = from_toml(&text, path)?;
        if file.amendment > FORMAT {
            let (theirs, ours) = (file.amendment, FORMAT);
            return Err(FoundingError::Newer { path: path.into(), theirs, ours });
        }
        Ok(file)
    }

    /// The file, with what each line means.
    pub fn to_commented_toml(&self) -> String {
        let body = toml::to_string(self).expect("a charter is plain TOML");
        let own: [Comment; 3] = [
            ("", "amendment", "The format of this file."),
            (
                "",
                "amends",
                "The charter that this was made from. Should another be in force by then, this is refused.",
            ),
            (
                "endorsers",
                "",
                "Who endorses: any member can be given a seat. Its roles are those that it has as a member.",
            ),
        ];
        let of_a_draft = COMMENTS.iter().filter_map(|(section, key, comment)| {
            let section = section.strip_prefix("charter")?;
            Some((section.strip_prefix('.').unwrap_or(section), *key, *comment))
        });
        let is_said_better =
            |(section, key, _): &Comment| own.iter().any(|(at, of, _)| (at, of) == (section, key));
        let of_a_draft = of_a_draft.filter(|comment| !is_said_better(comment));
        let comments: Vec<Comment> = own.into_iter().chain(of_a_draft).collect();
        format!(
            "\
# The charter in force. Edit it to what the next one should be, see what that changes, and propose it:
#
#   frith amend FILE --dry-run --dir D
#   frith amend FILE --dir D
#
# Epoch, dates of writing and voting keys are not here: nodes fill them in.

{}",
            explain(&body, &comments, |_| None)
        )
    }

    /// Gives `node` a seat, with the roles that it has.
    ///
    /// # Errors
    /// If it has one, or is no member.
    pub fn add(&mut self, state: &State, node: NodeId) -> Result<(), String> {
        if self.endorsers.iter().any(|line| line.node == node) {
            return Err(format!("{} has a seat already: there is nothing to add", node.short()));
        }
        let standing = state.standing(&node).ok_or_else(|| no_member(&node))?;
        self.endorsers.push(SeatLine { node, roles: standing.roles.clone() });
        Ok(())
    }

    /// Takes the seat of `node`.
    ///
    /// # Errors
    /// If it has none.
    pub fn remove(&mut self, node: NodeId) -> Result<(), String> {
        let before = self.endorsers.len();
        self.endorsers.retain(|line| line.node != node);
        if self.endorsers.len() == before {
            return Err(format!("{} has no seat: there is nothing to remove", node.short()));
        }
        Ok(())
    }

    /// Gives roles other bounds on freshness.
    ///
    /// # Errors
    /// If there is no such role.
    pub fn freshen(&mut self, bounds: &[(String, Option<u64>)]) -> Result<(), String> {
        freshen(&mut self.roles, bounds)
    }

    /// Sets what was named, and whatever was not and would be unsound with so many endorsers to the nearest that is sound. Says which.
    pub fn fit(&mut self, faults: Option<u8>, named: SomeThresholds) -> Vec<String> {
        let mut chosen = Vec::new();
        let n = self.endorsers.len();
        let small = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        let bearable = small(n.saturating_sub(1) / 3);
        if faults.is_none() && self.faults > bearable {
            chosen.push(format!("f = {bearable} instead of {}: {n} endorsers bear no more", self.faults));
        }
        self.faults = faults.unwrap_or(self.faults.min(bearable));
        let f = usize::from(self.faults);
        let quorum = (n + f) / 2 + 1;
        let most = small(n.saturating_sub(f));
        let SomeThresholds { admit, revoke, contain, amend } = named;
        let Thresholds { admit: admits, revoke: revokes, contain: contains, amend: amends } =
            &mut self.thresholds;
        for (name, value, named, least) in [
            ("admit", admits, admit, (f + 1).max(n.min(2))),
            ("revoke", revokes, revoke, f + 1),
            ("contain", contains, contain, f + 1),
            ("amend", amends, amend, quorum),
        ] {
            let sound = (*value).max(small(least)).min(most);
            if named.is_none() && sound != *value {
                chosen.push(format!(
                    "the threshold `{name}` = {sound} instead of {value}: with n = {n}, f = {f} it must be {least} to {most}"
                ));
            }
            *value = named.unwrap_or(sound);
        }
        chosen
    }

    /// The charter that this becomes, with no voting keys.
    ///
    /// # Errors
    /// If it was made from another than the one in force, or seats somebody unknown.
    pub fn next(&self, state: &State, written: Timestamp) -> Result<Charter, String> {
        let law = state.charter();
        if self.amends != state.charter_id() {
            return Err(format!(
                "it was made from the charter {}, and {} is in force (epoch {}): start again from `frith amend --show`",
                self.amends.short(),
                state.charter_id().short(),
                law.epoch
            ));
        }
        let seat = |line: &SeatLine| {
            let of_seat = law.seat_of(&line.node).map(|seat| &seat.inception);
            let inception = of_seat.or_else(|| Some(&state.standing(&line.node)?.keys.inception));
            let inception = inception.ok_or_else(|| no_member(&line.node))?.clone();
            Ok(Seat { inception, voting_key: PublicKey::BLANK, roles: sorted(&line.roles) })
        };
        let mut lines = self.endorsers.clone();
        lines.sort_by_key(|line| line.node);
        let mut roles = self.roles.clone();
        roles.iter_mut().for_each(|role| role.capabilities = sorted(&role.capabilities));
        roles.sort_by(|a, b| a.name.cmp(&b.name));
        let recovery = Recovery { keys: sorted(&self.recovery.keys), ..self.recovery };
        Ok(Charter {
            previous: Some(self.amends),
            epoch: law.epoch + 1,
            name: self.name.clone(),
            written,
            endorsers: lines.iter().map(seat).collect::<Result<_, String>>()?,
            faults: self.faults,
            thresholds: self.thresholds,
            recovery,
            roles,
            timing: self.timing,
            admission: self.admission,
            last_day: self.last_day,
        })
    }
}

fn no_member(node: &NodeId) -> String {
    format!("{} is no member here: only a member can be given a seat; let it join first", node.short())
}

fn sorted<T: Clone + Ord>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    items.sort();
    items
}

/// Who has a seat in `of` and none in `other`.
pub fn seated_only(of: &Charter, other: &Charter) -> Vec<NodeId> {
    let nodes = of.endorsers.iter().map(Seat::node_id);
    nodes.filter(|node| other.seat_of(node).is_none()).collect()
}

/// What changes from `old` to `new`, a line each; voting keys aside.
pub fn differences(old: &Charter, new: &Charter) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |text: String| lines.push(text);
    for node in seated_only(new, old) {
        line(format!("{} gets a seat", node.short()));
    }
    for node in seated_only(old, new) {
        line(format!("{} loses its seat, and is a member like others", node.short()));
    }
    let mut was = |name: &str, old: String, new: String| {
        if old != new {
            lines.push(format!("{name}: {new} instead of {old}"));
        }
    };
    was("name", old.name.clone(), new.name.clone());
    was("endorsers (n)", old.size().to_string(), new.size().to_string());
    was("faulty ones borne (f)", old.faults.to_string(), new.faults.to_string());
    was("quorum", old.quorum().to_string(), new.quorum().to_string());
    let (Thresholds { admit, revoke, contain, amend }, next) = (old.thresholds, new.thresholds);
    was("to admit", admit.to_string(), next.admit.to_string());
    was("to revoke", revoke.to_string(), next.revoke.to_string());
    was("to suspend", contain.to_string(), next.contain.to_string());
    was("to amend", amend.to_string(), next.amend.to_string());
    let (mut of_old, mut of_new) = (old.timing, new.timing);
    for (name, field) in TIMINGS {
        was(name, span(*field(&mut of_old)), span(*field(&mut of_new)));
    }
    let allowed = |yes: bool| if yes { "allowed" } else { "not allowed" }.to_string();
    was("admission by ticket", allowed(old.admission.tickets), allowed(new.admission.tickets));
    was("admission by approval", allowed(old.admission.approval), allowed(new.admission.approval));
    let keys = |recovery: &Recovery| match &recovery.keys[..] {
        [] => "none".to_string(),
        keys => {
            let names: Vec<String> = keys.iter().map(|key| key.to_string()[..8].to_string()).collect();
            format!("{} of {}", recovery.threshold, names.join(", "))
        }
    };
    was("recovery", keys(&old.recovery), keys(&new.recovery));
    was("last day (ms since 1970)", old.last_day.0.to_string(), new.last_day.0.to_string());
    let names: BTreeSet<&String> = old.roles.iter().chain(&new.roles).map(|role| &role.name).collect();
    let can = |charter: &Charter, name: &String| {
        let role = charter.roles.iter().find(|role| role.name == *name);
        role.map_or("no role".to_string(), |role| {
            let fresh = role.freshness_ms.map_or(String::new(), |ms| format!(", stale after {}", span(ms)));
            format!("[{}]{fresh}", role.capabilities.join(", "))
        })
    };
    for name in names {
        was(&format!("role {name:?}"), can(old, name), can(new, name));
    }
    for (before, seat) in old.endorsers.iter().filter_map(|seat| Some((seat, new.seat_of(&seat.node_id())?)))
    {
        was(&format!("roles of {}", seat.node_id().short()), list(&before.roles), list(&seat.roles));
    }
    lines
}

fn list(roles: &[String]) -> String {
    if roles.is_empty() { "none".into() } else { roles.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::founding::{DraftOptions, draft};

    fn state(founders: u8, options: DraftOptions) -> State {
        let card = |number| (format!("{number}").into(), crate::founding::tests::founder(number).card);
        let cards: Vec<_> = (1..=founders).map(card).collect();
        let options = DraftOptions { name: "home".into(), ..options };
        let draft = draft(&cards, options, Timestamp(7)).unwrap();
        State::founded_by(&draft.charter).unwrap().0
    }

    #[test]
    fn the_file_of_a_charter_becomes_that_charter_again_and_every_line_is_explained() {
        let state = state(4, DraftOptions::default());
        let text = CharterFile::of(&state).to_commented_toml();
        let file: CharterFile = toml::from_str(&text).unwrap();
        let next = file.next(&state, Timestamp(8)).unwrap();
        assert_eq!(differences(state.charter(), &next), Vec::<String>::new());
        assert_eq!((next.epoch, next.previous), (2, Some(state.charter_id())));
        for comment in ["How many endorsers it takes to admit", "Who endorses: any member", "# 1m"] {
            assert_eq!(text.matches(comment).count(), 1, "{comment} in:\n{text}");
        }
        assert!(!text.contains("voting_key"), "{text}");
    }

    #[test]
    fn what_is_sound_stays_and_what_is_not_becomes_the_nearest_that_is() {
        let state = state(4, DraftOptions { admit: Some(3), ..DraftOptions::default() });
        let mut file = CharterFile::of(&state);
        assert_eq!(file.fit(None, SomeThresholds::default()), Vec::<String>::new());
        file.endorsers.pop();
        let chosen = file.fit(None, SomeThresholds::default());
        assert_eq!(chosen, ["f = 0 instead of 1: 3 endorsers bear no more"]);
        assert_eq!((file.faults, file.thresholds.admit, file.thresholds.amend), (0, 3, 3));
        file.endorsers.pop();
        let chosen = file.fit(None, SomeThresholds { admit: Some(1), ..SomeThresholds::default() });
        assert!(
            chosen.iter().any(|line| line.starts_with("the threshold `amend` = 2 instead of 3")),
            "{chosen:?}"
        );
        // What is named is taken as it is, and refused by whoever judges it.
        assert_eq!(file.thresholds.admit, 1);
    }

    #[test]
    fn a_file_made_from_an_older_charter_is_refused_and_says_what_to_do() {
        let state = state(4, DraftOptions::default());
        let mut file = CharterFile::of(&state);
        file.amends = CharterId([7; 32]);
        let why = file.next(&state, Timestamp(8)).unwrap_err();
        assert!(why.contains("is in force (epoch 1): start again from `frith amend --show`"), "{why}");
    }
}

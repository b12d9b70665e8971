//! Reading scenario files: whatever is wrong is named with its line, and a key that is almost right with the key that was meant.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::{By, NodeName, Script};

/// A scenario and the text that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Its name: the path below `scenarios/`, without the ending.
    pub name: String,
    /// The file's text, to be recorded with a failing run.
    pub text: String,
    /// What it says.
    pub script: Script,
}

/// Why a file is no scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadScenario {
    /// The file cannot be read.
    #[error("{path}: {why}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// Something in it is wrong.
    #[error("{origin}:{line}: {what}\n    {quoted}")]
    At {
        /// Which file.
        origin: String,
        /// Counted from 1.
        line: usize,
        /// What.
        what: String,
        /// That line.
        quoted: String,
    },
}

impl Scenario {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`BadScenario`] says what is wrong, and where.
    pub fn read(path: &Path) -> Result<Scenario, BadScenario> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| BadScenario::Unreadable { path: path.to_owned(), why: e.to_string() })?;
        Scenario::parse(&name_of(path), &path.display().to_string(), text)
    }

    /// Reads `text`, which came from `origin`.
    ///
    /// # Errors
    /// [`BadScenario`] says what is wrong, and where.
    pub fn parse(name: &str, origin: &str, text: String) -> Result<Scenario, BadScenario> {
        let script: Script =
            toml::from_str(&text).map_err(|e| at(origin, &text, e.span(), &explain(e.message())))?;
        let scenario = Scenario { name: name.to_owned(), text, script };
        scenario.check(origin)?;
        Ok(scenario)
    }

    /// The same with another number of newcomers.
    ///
    /// # Errors
    /// [`BadScenario`] if it speaks of newcomers that do not come then.
    pub fn with_newcomers(mut self, newcomers: u32) -> Result<Scenario, BadScenario> {
        self.script.mesh.newcomers = newcomers;
        let origin = self.name.clone();
        self.check(&origin)?;
        Ok(self)
    }

    /// What the types alone do not catch.
    fn check(&self, origin: &str) -> Result<(), BadScenario> {
        let script = &self.script;
        let wrong = |key: &str, what: String| Err(at(origin, &self.text, self.find(key), &what));
        let mesh = &script.mesh;
        if mesh.endorsers == 0 {
            return wrong("endorsers", "a domain has at least one endorser".into());
        }
        if let Some(max) = mesh.members_max
            && max <= mesh.endorsers.into()
        {
            let what =
                format!("{} endorsers leave no place for a newcomer among {max} members", mesh.endorsers);
            return wrong("members_max", what);
        }
        if script.arrivals.per_second == 0 {
            return wrong("per_second", "nobody would ever come: set at least 1".into());
        }
        if script.arrivals.recent_anchors && script.arrivals.by == By::Ticket {
            return wrong(
                "recent_anchors",
                "the anchor of a ticket is in its terms: come by approval".into(),
            );
        }
        let ordered = [
            ("latency_ms", script.network.latency_ms),
            ("approve_after_ms", script.arrivals.approve_after_ms),
            ("between_ms", script.chaos.between_ms),
            ("lasting_ms", script.chaos.lasting_ms),
        ];
        for (key, [low, high]) in ordered {
            if low > high {
                return wrong(
                    key,
                    format!("`{key}` goes from {low} down to {high}: the smaller comes first"),
                );
            }
        }
        for (key, ppm) in
            [("loss_ppm", script.network.loss_ppm), ("duplicate_ppm", script.network.duplicate_ppm)]
        {
            if ppm > 1_000_000 {
                return wrong(key, format!("`{key}` is {ppm}, and a million is every message"));
            }
        }
        if script.clocks.drift_ppm >= 500_000 {
            return wrong("drift_ppm", "a clock that is wrong by half is no clock".into());
        }
        let gossip = &script.gossip;
        if !(gossip.mesh_low <= gossip.mesh && gossip.mesh <= gossip.mesh_high) || gossip.heartbeat_ms == 0 {
            let what = "a mesh has mesh_low <= mesh <= mesh_high, and a heartbeat_ms above 0".into();
            return wrong("[gossip]", what);
        }
        self.check_names(origin)
    }

    fn check_names(&self, origin: &str) -> Result<(), BadScenario> {
        let newcomers = self.script.newcomers_by_domain();
        let mut named: Vec<(u32, &Spanned<NodeName>)> = Vec::new();
        for act in &self.script.act {
            let whom = [&act.revoke, &act.leave, &act.suspend, &act.release, &act.renew, &act.rotate];
            named.extend(whom.iter().filter_map(|name| name.as_ref()).map(|name| (act.domain, name)));
            let seats = [&act.seat, &act.unseat, &act.hold, &act.recover, &act.faction];
            named.extend(act.by.iter().map(|name| (act.domain, name)));
            named.extend(
                seats.iter().filter_map(|list| list.as_ref()).flatten().map(|name| (act.domain, name)),
            );
            let acts = whom.iter().filter(|name| name.is_some()).count()
                + usize::from(act.amends())
                + usize::from(act.hold.is_some())
                + usize::from(act.recover.is_some());
            let what = if acts != 1 {
                let keys = "`revoke`, `leave`, `suspend`, `hold`, `release`, `renew`, `rotate`, `recover`, or `seat` and `unseat`";
                format!("the act at {} ms needs exactly one of {keys}", act.at_ms)
            } else if act.stolen && act.recover.is_none() {
                "in an act, `stolen` goes with `recover`".into()
            } else if act.for_ms.is_some() && act.suspend.is_none() && act.hold.is_none() {
                "in an act, `for_ms` goes with `suspend` or `hold`".into()
            } else if act.by.is_some() && act.hold.is_none() {
                "in an act, `by` goes with `hold`".into()
            } else if act.faction.is_some() && act.suspend.is_none() && act.revoke.is_none() {
                "`faction` goes with `revoke` or `suspend`".into()
            } else if act
                .faction
                .as_ref()
                .is_some_and(|by| by.is_empty() || by.iter().any(|name| !is_endorser(name)))
            {
                "`faction` names endorsers, one at least".into()
            } else if act.and_next > 0 && act.whom().is_none_or(is_endorser) {
                "`and_next` goes with an act that is about a newcomer".into()
            } else if (act.and_next > 0) != (act.every_ms > 0) {
                "`and_next` and `every_ms` go together".into()
            } else {
                continue;
            };
            return Err(at(origin, &self.text, self.find("[[act]]"), &what));
        }
        for fault in &self.script.fault {
            let lists = [
                &fault.kill,
                &fault.lose_power,
                &fault.pause,
                &fault.cut_off,
                &fault.roll_back,
                &fault.damage,
                &fault.twin,
                &fault.step_clock,
            ];
            named.extend(
                lists.iter().filter_map(|list| list.as_ref()).flatten().map(|name| (fault.domain, name)),
            );
            let numbers = [fault.loss_ppm, fault.duplicate_ppm];
            let kinds = lists.iter().filter(|list| list.is_some()).count()
                + numbers.iter().filter(|number| number.is_some()).count();
            let what = if kinds != 1 {
                format!("the fault at {} ms is {kinds} things at once, and must be one", fault.at_ms)
            } else if fault.roll_back.is_some() != fault.as_of_ms.is_some() {
                "`roll_back` and `as_of_ms` go together".into()
            } else if fault.step_clock.is_some() != fault.by_ms.is_some() {
                "`step_clock` and `by_ms` go together".into()
            } else if fault.twin.is_some() && fault.for_ms.is_some() {
                "a `twin` stays: it takes no `for_ms`".into()
            } else if fault.table.is_some() && fault.damage.is_none() {
                "`table` goes with `damage`".into()
            } else {
                continue;
            };
            return Err(at(origin, &self.text, self.find("[[fault]]"), &what));
        }
        named.extend(self.script.liar.iter().map(|liar| (liar.domain, &liar.node)));
        for (domain, name) in named {
            let Some(coming) = newcomers.get(domain as usize) else {
                let what =
                    format!("there is no domain {domain}: there are {}, counted from 0", newcomers.len());
                return Err(at(origin, &self.text, Some(name.span()), &what));
            };
            let (number, count, kind) = match name.as_ref() {
                NodeName::Endorser(number) => (*number, self.script.mesh.endorsers.into(), "endorsers"),
                NodeName::Newcomer(number) => (*number, *coming, "newcomers"),
            };
            if number >= count {
                let what = format!(
                    "there is no {}: domain {domain} has {count} {kind}, counted from 0",
                    name.as_ref()
                );
                return Err(at(origin, &self.text, Some(name.span()), &what));
            }
        }
        Ok(())
    }

    /// Where the file first speaks of `key`.
    fn find(&self, key: &str) -> Option<Range<usize>> {
        self.text.find(key).map(|start| start..start + key.len())
    }
}

fn is_endorser(name: &Spanned<NodeName>) -> bool {
    matches!(name.as_ref(), NodeName::Endorser(_))
}

/// The path below `scenarios/`, without the ending; the whole path if it lies elsewhere.
fn name_of(path: &Path) -> String {
    let path = path.with_extension("");
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    match parts.iter().rposition(|part| part == "scenarios") {
        Some(at) => parts[at + 1..].join("/"),
        None => parts.last().map_or_else(String::new, ToString::to_string),
    }
}

fn at(origin: &str, text: &str, span: Option<Range<usize>>, what: &str) -> BadScenario {
    let start = span.map_or(0, |span| span.start).min(text.len());
    let line = text[..start].matches('\n').count() + 1;
    let quoted = text.lines().nth(line - 1).unwrap_or_default().trim().chars().take(120).collect();
    BadScenario::At { origin: origin.to_owned(), line, what: what.to_owned(), quoted }
}

/// Rewrites the reader's message about an unknown key into one that says which was meant.
fn explain(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(unknown) = quoted.next().filter(|_| message.starts_with("unknown field")) else {
        return message.lines().collect::<Vec<_>>().join("; ");
    };
    let known: Vec<&str> = quoted.collect();
    match nearest(unknown, &known) {
        Some(meant) => format!("unknown key `{unknown}`: did you mean `{meant}`?"),
        None => format!("unknown key `{unknown}`: known here are {}", known.join(", ")),
    }
}

fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .map(|(_, candidate)| candidate)
}

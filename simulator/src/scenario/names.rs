//! What a scenario calls its nodes: `endorser 2`, `newcomer 17`, counted from 0.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// A node of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeName {
    /// An endorser, in the order of the charter's seats.
    Endorser(u32),
    /// A newcomer, in the order of arrival.
    Newcomer(u32),
}

impl NodeName {
    /// The one of its kind that comes so much later.
    #[must_use]
    pub fn next(self, nth: u32) -> NodeName {
        match self {
            NodeName::Endorser(number) => NodeName::Endorser(number.saturating_add(nth)),
            NodeName::Newcomer(number) => NodeName::Newcomer(number.saturating_add(nth)),
        }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeName::Endorser(number) => write!(f, "endorser {number}"),
            NodeName::Newcomer(number) => write!(f, "newcomer {number}"),
        }
    }
}

/// A text that names no node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no node: write \"endorser 2\" or \"newcomer 17\", counted from 0")]
pub struct NotAName(String);

impl FromStr for NodeName {
    type Err = NotAName;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotAName(text.chars().take(80).collect());
        let (kind, number) = text.split_once(' ').ok_or_else(wrong)?;
        let number = number.parse().map_err(|_| wrong())?;
        match kind {
            "endorser" => Ok(NodeName::Endorser(number)),
            "newcomer" => Ok(NodeName::Newcomer(number)),
            _ => Err(wrong()),
        }
    }
}

impl<'de> Deserialize<'de> for NodeName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

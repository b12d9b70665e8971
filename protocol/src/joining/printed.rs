//! Tickets and anchors as text that survives mail, chat and paper (SPEC 5.3).

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ticket::{Anchor, Ticket};
use crate::encoding::{self, Label, Malformed, digest};
use crate::fault::Fault;
use crate::identity::{SecretKey, Sheet, Stateless};
use crate::limits;
use crate::state::Subject;

const CHECKSUM_BYTES: usize = 5;
const TICKET_PREFIX: &str = "frith-ticket-";
const ANCHOR_PREFIX: &str = "frith-anchor-";

/// Why a text is no ticket or anchor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPrinted {
    /// It does not begin as one.
    #[error("a {what} begins with {prefix:?}; this text does not: was the beginning left out?")]
    Prefix {
        /// What it should have been.
        what: &'static str,
        /// How that begins.
        prefix: &'static str,
    },
    /// A character that none has.
    #[error(
        "character {position} of the {what} is {character:?}, which no {what} contains: was it mistyped?"
    )]
    Character {
        /// What it should have been.
        what: &'static str,
        /// Counted from 1, spaces and line breaks left out.
        position: usize,
        /// The character.
        character: char,
    },
    /// It is too short to be one, or its length is one that none has.
    #[error("the {what} has {chars} characters, which no {what} has: was a part of it lost?")]
    Length {
        /// What it should have been.
        what: &'static str,
        /// How many there are.
        chars: usize,
    },
    /// The checksum is not that of the rest.
    #[error("the checksum of the {what} does not match: it was mistyped, or a part of it was lost")]
    Checksum {
        /// What it should have been.
        what: &'static str,
    },
    /// The checksum is right, and yet the bytes are no ticket: another version made it, or it is a forgery.
    #[error("the {what} was not made by this version: {why}")]
    Content {
        /// What it should have been.
        what: &'static str,
        /// What is wrong.
        why: Malformed,
    },
}

fn print<T: Serialize>(prefix: &str, value: &T, to: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut bytes = encoding::encode(value);
    let sum = digest(Label::Printed, &bytes);
    bytes.extend_from_slice(&sum.0[..CHECKSUM_BYTES]);
    write!(to, "{prefix}{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
}

fn parse<T: Serialize + DeserializeOwned>(
    what: &'static str,
    prefix: &'static str,
    text: &str,
) -> Result<T, NotPrinted> {
    if text.len() > limits::PRINTED_TICKET_CHARS_MAX {
        return Err(NotPrinted::Length { what, chars: text.len() });
    }
    let text: String = text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_lowercase()).collect();
    let body = text.strip_prefix(prefix).ok_or(NotPrinted::Prefix { what, prefix })?;
    if let Some((at, character)) = body.chars().enumerate().find(|(_, c)| !matches!(c, 'a'..='z' | '2'..='7'))
    {
        return Err(NotPrinted::Character { what, position: prefix.len() + at + 1, character });
    }
    let chars = text.len();
    let bytes = BASE32_NOPAD
        .decode(body.to_ascii_uppercase().as_bytes())
        .map_err(|_| NotPrinted::Length { what, chars })?;
    let Some(split) = bytes.len().checked_sub(CHECKSUM_BYTES) else {
        return Err(NotPrinted::Length { what, chars });
    };
    let (content, sum) = bytes.split_at(split);
    if digest(Label::Printed, content).0[..CHECKSUM_BYTES] != *sum {
        return Err(NotPrinted::Checksum { what });
    }
    encoding::decode(what, content, limits::PRINTED_TICKET_CHARS_MAX)
        .map_err(|why| NotPrinted::Content { what, why })
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(TICKET_PREFIX, self, f)
    }
}

impl FromStr for Ticket {
    type Err = NotPrinted;
    fn from_str(text: &str) -> Result<Ticket, NotPrinted> {
        parse("ticket", TICKET_PREFIX, text)
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(ANCHOR_PREFIX, self, f)
    }
}

impl FromStr for Anchor {
    type Err = NotPrinted;
    fn from_str(text: &str) -> Result<Anchor, NotPrinted> {
        parse("anchor", ANCHOR_PREFIX, text)
    }
}

impl Ticket {
    /// The newcomer's anchor, which the ticket carries.
    pub fn anchor(&self) -> Anchor {
        Anchor {
            domain: self.terms.domain,
            charter: self.terms.charter,
            epoch: self.terms.epoch,
            height: self.terms.height,
            addresses: self.addresses.clone(),
        }
    }

    /// The key that spends it.
    pub fn secret_key(&self) -> SecretKey {
        SecretKey::from_seed(self.secret)
    }
}

impl Stateless for Ticket {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        if self.secret_key().public() != self.terms.key {
            return Err(Fault::BadTicket { why: "its secret is not that of its key" });
        }
        sheet.introduces(self.terms.key);
        let digest = Subject::Ticket(self.terms.clone()).digest();
        crate::state::inspect_endorsements(&self.countersignatures, &digest, sheet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{CharterId, DomainId};

    fn anchor() -> Anchor {
        Anchor {
            domain: DomainId([7; 32]),
            charter: CharterId([8; 32]),
            epoch: 1,
            height: 12,
            addresses: vec!["/ip4/127.0.0.1/udp/4100/quic-v1".into()],
        }
    }

    #[test]
    fn rule_5_3_a_printed_anchor_reads_back_through_spaces_line_breaks_and_capitals() {
        let text = anchor().to_string();
        let folded: String =
            text.chars().enumerate().flat_map(|(i, c)| [if i % 40 == 39 { '\n' } else { ' ' }, c]).collect();
        assert_eq!(folded.parse::<Anchor>().unwrap(), anchor());
        assert_eq!(text.to_uppercase().parse::<Anchor>().unwrap(), anchor());
    }

    #[test]
    fn rule_5_3_every_single_mistyped_character_is_noticed() {
        let text = anchor().to_string();
        for at in 0..text.len() {
            let mut typed: Vec<char> = text.chars().collect();
            typed[at] = if typed[at] == 'q' { 'r' } else { 'q' };
            let typed: String = typed.into_iter().collect();
            assert!(typed.parse::<Anchor>().is_err(), "character {at} of {typed}");
        }
    }

    #[test]
    fn rule_5_3_every_truncation_is_noticed() {
        let text = anchor().to_string();
        for end in 0..text.len() {
            assert!(text[..end].parse::<Anchor>().is_err(), "the first {end} characters");
        }
    }

    #[test]
    fn a_character_that_no_ticket_has_is_named_with_its_place() {
        let mut text = anchor().to_string();
        text.replace_range(20..21, "0");
        assert_eq!(
            text.parse::<Anchor>(),
            Err(NotPrinted::Character { what: "anchor", position: 21, character: '0' })
        );
        assert!(matches!(text.parse::<Ticket>(), Err(NotPrinted::Prefix { what: "ticket", .. })));
    }
}

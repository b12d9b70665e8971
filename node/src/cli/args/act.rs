//! To decide about others, and about this node.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use frith_protocol::state::Reason;

use crate::amendment::{CharterFile, SomeThresholds, Wish};
use crate::founding::{FoundingError, parse_role_freshness};
use crate::words::span_ms;

#[derive(Debug, Args)]
pub(in crate::cli) struct RevokeArgs {
    /// Its identity, or the first digits of it.
    pub(in crate::cli) node: String,
    /// For those who look later.
    #[arg(long, value_enum, default_value_t = ReasonArg::Unspecified)]
    pub(in crate::cli) reason: ReasonArg,
    /// A line for the other operators.
    #[arg(long, default_value = "")]
    pub(in crate::cli) note: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct HoldArgs {
    /// Its identity, or the first digits of it.
    pub(in crate::cli) node: String,
    /// For how long. The charter has a bound, counted from the newest final block.
    #[arg(long = "for", value_name = "SPAN", default_value = "10m", value_parser = span_ms)]
    pub(in crate::cli) for_ms: u64,
    /// For those who look later.
    #[arg(long, value_enum, default_value_t = ReasonArg::Unspecified)]
    pub(in crate::cli) reason: ReasonArg,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SuspendArgs {
    /// Its identity, or the first digits of it.
    pub(in crate::cli) node: String,
    /// For how long; until it is released, if that is not said.
    #[arg(long = "for", value_name = "SPAN", value_parser = span_ms)]
    pub(in crate::cli) for_ms: Option<u64>,
    /// For those who look later.
    #[arg(long, value_enum, default_value_t = ReasonArg::Unspecified)]
    pub(in crate::cli) reason: ReasonArg,
    /// A line for the other operators.
    #[arg(long, default_value = "")]
    pub(in crate::cli) note: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ReleaseArgs {
    /// Its identity, or the first digits of it.
    pub(in crate::cli) node: String,
    /// A line for the other operators.
    #[arg(long, default_value = "")]
    pub(in crate::cli) note: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RenewArgs {
    /// Renew now, and not only when it is due. Not before half of the time is over.
    #[arg(long)]
    pub(in crate::cli) now: bool,
    /// With --now: how long to wait until it is final; 0s only begins it.
    #[arg(long = "wait", value_name = "SPAN", default_value = "1m", value_parser = span_ms)]
    pub(in crate::cli) wait_ms: u64,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ReadmitArgs {
    /// Its identity, or the first digits of it.
    pub(in crate::cli) node: String,
    /// As what, if not as what it was admitted before. May be repeated.
    #[arg(long = "role", value_name = "ROLE")]
    pub(in crate::cli) roles: Vec<String>,
    /// For how long, if not for the charter's member lifetime: less than that is not renewed, and ends.
    #[arg(long = "for", value_name = "SPAN", value_parser = span_ms)]
    pub(in crate::cli) for_ms: Option<u64>,
    /// A line for the other operators.
    #[arg(long, default_value = "")]
    pub(in crate::cli) note: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RotateArgs {
    /// The file of the next key, if it does not lie in keys/ any more.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) next_key: Option<PathBuf>,
    /// How long to wait until it is final; 0s only begins it.
    #[arg(long = "wait", value_name = "SPAN", default_value = "1m", value_parser = span_ms)]
    pub(in crate::cli) wait_ms: u64,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct BackupArgs {
    /// Write it to this file, which must not be there yet; or into this directory, as a file that is named after node and time.
    #[arg(long, value_name = "FILE|DIR")]
    pub(in crate::cli) out: PathBuf,
    /// Leave the next key out: then only whoever has its file can rotate.
    #[arg(long)]
    pub(in crate::cli) without_next_key: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RestoreArgs {
    /// The backup.
    pub(in crate::cli) file: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct AmendArgs {
    /// The next charter, edited from what --show prints.
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: Option<PathBuf>,
    /// Print the charter in force as a file to edit.
    #[arg(long, conflicts_with_all = ["file", "dry_run", "note", "change", "fresh_keys"])]
    pub(in crate::cli) show: bool,
    #[command(flatten)]
    pub(in crate::cli) change: Change,
    /// Propose it even if nothing changes but the voting keys of those who say yes.
    #[arg(long)]
    pub(in crate::cli) fresh_keys: bool,
    /// Only say what it would change.
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// A line for the other operators.
    #[arg(long, default_value = "")]
    pub(in crate::cli) note: String,
}

/// A change without a file. Thresholds that are not named and would be unsound become the nearest that are sound.
#[derive(Debug, Args)]
#[group(id = "change", multiple = true, conflicts_with = "file")]
pub(in crate::cli) struct Change {
    /// A member that gets a seat. May be repeated.
    #[arg(long, value_name = "NODE")]
    pub(in crate::cli) add: Vec<String>,
    /// An endorser that loses its seat. May be repeated.
    #[arg(long, value_name = "NODE")]
    pub(in crate::cli) remove: Vec<String>,
    /// f: how many endorsers may be faulty. [default: as now, or as many as there can be]
    #[arg(long, value_name = "F")]
    pub(in crate::cli) faults: Option<u8>,
    /// How many endorsers it takes to admit a member, and to issue a ticket.
    #[arg(long, value_name = "K")]
    pub(in crate::cli) admit: Option<u8>,
    /// How many it takes to revoke one.
    #[arg(long, value_name = "K")]
    pub(in crate::cli) revoke: Option<u8>,
    /// How many it takes to suspend one.
    #[arg(long, value_name = "K")]
    pub(in crate::cli) contain: Option<u8>,
    /// How many it takes to change the charter.
    #[arg(long, value_name = "K")]
    pub(in crate::cli) amend: Option<u8>,
    /// After what age of the newest block answers about whoever has a role are stale, as in gateway=2m; gateway=none: after the charter's own. May be repeated.
    #[arg(long, value_name = "ROLE=SPAN")]
    pub(in crate::cli) role_freshness: Vec<String>,
}

impl Change {
    /// What an operator wants so, of the charter in this file or of that in force.
    pub(in crate::cli) fn wish(self, file: Option<&Path>, fresh_keys: bool) -> Result<Wish, FoundingError> {
        let Change { add, remove, faults, admit, revoke, contain, amend, role_freshness } = self;
        let thresholds = SomeThresholds { admit, revoke, contain, amend };
        let role_freshness = role_freshness.iter().map(|text| parse_role_freshness(text));
        Ok(Wish {
            charter: file.map(CharterFile::read).transpose()?,
            add,
            remove,
            faults,
            thresholds,
            role_freshness: role_freshness.collect::<Result<_, _>>()?,
            fresh_keys,
        })
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LeaveArgs {
    /// Yes, for good.
    #[arg(long)]
    pub(in crate::cli) yes: bool,
}

/// Why somebody is revoked, as a word.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum ReasonArg {
    /// No reason given.
    Unspecified,
    /// Its keys are, or may be, in other hands.
    Compromised,
    /// It was taken out of service.
    Retired,
    /// It broke the rules.
    Misbehaved,
}

impl From<ReasonArg> for Reason {
    fn from(word: ReasonArg) -> Reason {
        match word {
            ReasonArg::Unspecified => Reason::Unspecified,
            ReasonArg::Compromised => Reason::Compromised,
            ReasonArg::Retired => Reason::Retired,
            ReasonArg::Misbehaved => Reason::Misbehaved,
        }
    }
}

//! To make an identity, and to found a domain.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use libp2p::Multiaddr;

use crate::addresses::{parse, parse_dialable};
use crate::cli::recover::RecoveryQuorum;

#[derive(Debug, Args)]
pub(in crate::cli) struct InitArgs {
    /// Where others reach this node. May be repeated; written into D/frith.toml.
    #[arg(long = "address", value_name = "ADDR", value_parser = parse_dialable)]
    pub(in crate::cli) addresses: Vec<Multiaddr>,
    /// Where it listens, if not at port 5747 of all interfaces. May be repeated; written into D/frith.toml.
    #[arg(long, value_name = "ADDR", value_parser = parse)]
    pub(in crate::cli) listen: Vec<Multiaddr>,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum FoundCommand {
    /// Write this founder's card: its identity, its voting key, its addresses. Public.
    #[command(after_help = "Example: frith found card --dir D --out a.card")]
    Card(CardArgs),
    /// Draft the charter from the founders' cards.
    #[command(after_help = "\
Example: frith found draft a.card b.card c.card d.card --name home --faults 1 --admit 2 --role member --out home.draft

f is as large as the number of founders allows, unless it is given; thresholds that are left open get the smallest safe value. A charter that could not be safe or live is refused.")]
    Draft(DraftArgs),
    /// Sign a draft as one of its founders.
    #[command(after_help = "Example: frith found sign home.draft --dir D --out a.sig")]
    Sign(SignArgs),
    /// Open the domain in this founder's directory, with the signatures of all.
    #[command(after_help = "Example: frith found open home.draft a.sig b.sig c.sig d.sig --dir D")]
    Open(OpenArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CardArgs {
    /// Where others reach this founder, instead of what D/frith.toml says. May be repeated.
    #[arg(long = "address", value_name = "ADDR", value_parser = parse_dialable)]
    pub(in crate::cli) addresses: Vec<Multiaddr>,
    /// Write to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DraftArgs {
    /// The founders' cards.
    #[arg(required = true, value_name = "CARD")]
    pub(in crate::cli) cards: Vec<PathBuf>,
    /// What people call the domain.
    #[arg(long)]
    pub(in crate::cli) name: String,
    /// f: how many endorsers may be faulty. Needs 3f+1 of them. [default: as many as that allows]
    #[arg(long, value_name = "F")]
    pub(in crate::cli) faults: Option<u8>,
    /// How many endorsers it takes to admit a member, and to issue a ticket.
    #[arg(long, value_name = "K")]
    pub(in crate::cli) admit: Option<u8>,
    /// How many it takes to revoke one.
    #[arg(long, value_name = "K")]
    pub(in crate::cli) revoke: Option<u8>,
    /// How many it takes to restrain one for a while.
    #[arg(long, value_name = "K")]
    pub(in crate::cli) contain: Option<u8>,
    /// How many it takes to change the charter.
    #[arg(long, value_name = "K")]
    pub(in crate::cli) amend: Option<u8>,
    /// A role, and what it may do: NAME or NAME=CAPABILITY,… May be repeated; founders get the first. [default: member]
    #[arg(long = "role", value_name = "ROLE")]
    pub(in crate::cli) roles: Vec<String>,
    /// After what age of the newest block answers about whoever has a role are stale, as in gateway=2m, if not after the charter's own bound. May be repeated.
    #[arg(long, value_name = "ROLE=SPAN")]
    pub(in crate::cli) role_freshness: Vec<String>,
    #[command(flatten)]
    pub(in crate::cli) recovery: RecoveryQuorum,
    /// A bound on time, as in heartbeat=60s. May be repeated.
    #[arg(long = "timing", value_name = "NAME=SPAN")]
    pub(in crate::cli) timing: Vec<String>,
    /// Admit nobody by ticket.
    #[arg(long)]
    pub(in crate::cli) no_tickets: bool,
    /// Admit nobody by approval.
    #[arg(long)]
    pub(in crate::cli) no_approval: bool,
    /// Write to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) out: Option<PathBuf>,
    /// Write over a file that is there. Signatures of the draft that it held are worth nothing for another.
    #[arg(long)]
    pub(in crate::cli) force: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SignArgs {
    /// The draft.
    pub(in crate::cli) draft: PathBuf,
    /// Write to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct OpenArgs {
    /// The draft.
    pub(in crate::cli) draft: PathBuf,
    /// The signatures of all founders.
    #[arg(required = true, value_name = "SIG")]
    pub(in crate::cli) signatures: Vec<PathBuf>,
}

//! To run, to join, and to invite others.

use clap::Args;
use libp2p::Multiaddr;

use crate::addresses::{parse, parse_dialable};
use crate::config::{LogFormat, Overrides};
use crate::words::span_ms;

#[derive(Debug, Args)]
pub(in crate::cli) struct RunArgs {
    /// Where to listen. May be repeated.
    #[arg(long, value_name = "ADDR", env = "FRITH_LISTEN", value_delimiter = ',', value_parser = parse)]
    pub(in crate::cli) listen: Option<Vec<Multiaddr>>,
    /// Where others reach this node, if that is not where it listens. May be repeated.
    #[arg(long, value_name = "ADDR", env = "FRITH_EXTERNAL", value_delimiter = ',', value_parser = parse_dialable)]
    pub(in crate::cli) external: Option<Vec<Multiaddr>>,
    /// An address to try besides those that the node remembers. May be repeated.
    #[arg(long = "peer", value_name = "ADDR", env = "FRITH_PEERS", value_delimiter = ',', value_parser = parse_dialable)]
    pub(in crate::cli) peers: Option<Vec<Multiaddr>>,
    /// Look for nodes of the domain in the local network.
    #[arg(long, env = "FRITH_MDNS", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub(in crate::cli) mdns: Option<bool>,
    /// What is worth a log line: error, warn, info, debug, trace, or by module.
    #[arg(long = "log", value_name = "FILTER", env = "FRITH_LOG")]
    pub(in crate::cli) log_filter: Option<String>,
    /// Stop when stdin is closed: so that a node never outlives the program that started it.
    #[arg(long, hide = true)]
    pub(in crate::cli) until_stdin_closes: bool,
    /// How log lines look.
    #[arg(long, value_name = "FORMAT", env = "FRITH_LOG_FORMAT")]
    pub(in crate::cli) log_format: Option<LogFormat>,
}

impl RunArgs {
    pub(in crate::cli) fn overrides(self) -> Overrides {
        let RunArgs { listen, external, peers, mdns, log_filter, log_format, until_stdin_closes: _ } = self;
        Overrides { listen, external, peers, mdns, log_filter, log_format }
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct JoinArgs {
    /// The text of a ticket or an anchor, or the file that it is in; `-` reads it from stdin.
    #[arg(value_name = "TICKET|ANCHOR")]
    pub(in crate::cli) text: String,
    /// A role to ask for. May be repeated. Without any, all that a ticket gives; by approval, none.
    #[arg(long = "role", value_name = "ROLE")]
    pub(in crate::cli) roles: Vec<String>,
    /// A line for the operators who judge it.
    #[arg(long, default_value = "")]
    pub(in crate::cli) note: String,
    /// Exit once this node is a member, rather than go on running. Stopped before that, it exits with 5.
    #[arg(long)]
    pub(in crate::cli) exit: bool,
    #[command(flatten)]
    pub(in crate::cli) run: RunArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct InviteArgs {
    /// A role that whoever joins by it may have. May be repeated. Without any, the charter's only role; none, if it has several.
    #[arg(long = "role", value_name = "ROLE")]
    pub(in crate::cli) roles: Vec<String>,
    /// How many may join by it.
    #[arg(long, default_value_t = 1)]
    pub(in crate::cli) uses: u32,
    /// How long it is good.
    #[arg(long = "for", value_name = "SPAN", default_value = "1d", value_parser = span_ms)]
    pub(in crate::cli) lifetime_ms: u64,
    /// A line for the other operators.
    #[arg(long, default_value = "")]
    pub(in crate::cli) note: String,
    /// How long to wait for the other endorsers; 0s only proposes it.
    #[arg(long = "wait", value_name = "SPAN", default_value = "10m", value_parser = span_ms)]
    pub(in crate::cli) wait_ms: u64,
    /// Print this ticket, which was proposed here before, instead of proposing another.
    #[arg(long, value_name = "ID", conflicts_with_all = ["roles", "uses", "lifetime_ms", "note"])]
    pub(in crate::cli) ticket: Option<String>,
}

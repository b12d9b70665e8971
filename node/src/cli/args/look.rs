//! To look, and to wait.

use clap::{Args, Subcommand};
use frith_protocol::time::Timestamp;

use crate::control::Since;
use crate::runtime::now;
use crate::words::{span_ms, utc_ms};

#[derive(Debug, Args)]
pub(in crate::cli) struct PendingArgs {
    /// Also what is decided, spent or came to nothing, and was not forgotten yet.
    #[arg(long)]
    pub(in crate::cli) all: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LogArgs {
    /// At most so many blocks. [default: 20; with --since: all]
    #[arg(long, value_parser = at_least_one)]
    pub(in crate::cli) limit: Option<usize>,
    /// Only blocks below this height.
    #[arg(long)]
    pub(in crate::cli) below: Option<u64>,
    /// Only blocks after this height, or after this time: 2h ago, 2026-11-28T12:30:00Z, @MILLISECONDS. Oldest first.
    #[arg(long, value_name = "HEIGHT|TIME", value_parser = parse_since)]
    pub(in crate::cli) since: Option<Since>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct WatchArgs {
    /// First what happened after this height, or after this time: 2h ago, 2026-11-28T12:30:00Z, @MILLISECONDS.
    #[arg(long, value_name = "HEIGHT|TIME", value_parser = parse_since)]
    pub(in crate::cli) since: Option<Since>,
}

/// A height, a span before now, or a moment.
fn parse_since(text: &str) -> Result<Since, String> {
    let moment = |ms: u64| Since::Time(Timestamp(ms));
    if let Some(ms) = text.strip_prefix('@') {
        return ms.parse().map(moment).map_err(|e| format!("milliseconds since 1970, as JSON has them: {e}"));
    }
    if text.chars().all(|c| c.is_ascii_digit()) {
        return text.parse().map(Since::Height).map_err(|e| format!("a height: {e}"));
    }
    if let Some(ms) = utc_ms(text) {
        return Ok(moment(ms));
    }
    let ago = span_ms(text).map_err(|_| {
        "a height like 41, a span before now like 2h, a moment like 2026-11-28T12:30:00Z, or @ and milliseconds since 1970".to_string()
    })?;
    Ok(moment(now().0.saturating_sub(ago)))
}

#[derive(Debug, Args)]
pub(in crate::cli) struct NodeArgs {
    /// Its identity, or the first digits of it.
    pub(in crate::cli) node: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct IdArgs {
    /// What `frith pending` calls it, or the first digits of that.
    pub(in crate::cli) id: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct WaitArgs {
    #[command(subcommand)]
    pub(in crate::cli) until: WaitFor,
    /// Give up after so long (exit code 4).
    #[arg(long = "timeout", value_name = "SPAN", default_value = "60s", value_parser = span_ms, global = true)]
    pub(in crate::cli) timeout_ms: u64,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum WaitFor {
    /// Until this node is a member.
    Member,
    /// Until the head is at least so high.
    Height {
        /// How high.
        height: u64,
    },
    /// Until so many peers are connected.
    Peers {
        /// How many.
        count: usize,
    },
    /// Until something waits for this node's operator.
    Pending,
    /// Until the charter of this epoch, or a later one, is in force here.
    Epoch {
        /// Which.
        epoch: u64,
    },
    /// Until a ticket that was proposed here can be printed.
    Countersigned {
        /// Its id, or the first digits of it.
        id: String,
    },
    /// Until a node is a member here.
    Admitted {
        /// Its identity, or the first digits of it.
        node: String,
    },
    /// Until a node is gone here.
    Gone {
        /// Its identity, or the first digits of it.
        node: String,
    },
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|e| format!("{e}"))?;
    if number == 0 { Err("at least 1".into()) } else { Ok(number) }
}

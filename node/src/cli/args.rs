//! The command line's words.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use frith_protocol::state::Reason;
use frith_protocol::time::Timestamp;
use libp2p::Multiaddr;

use super::recover::{RecoverCommand, RecoveryQuorum};
use crate::addresses::{parse, parse_dialable};
use crate::config::{LogFormat, Overrides};
use crate::control::Since;
use crate::runtime::now;
use crate::words::{span_ms, utc_ms};

const TOUR: &str = "\
A domain on four machines (a, b, c, d), each with a directory of its own:

  each:  frith init --dir D --address /ip4/192.0.2.1/udp/5747/quic-v1
  each:  frith found card --dir D --out a.card             mail it to whoever drafts
  one:   frith found draft a.card b.card c.card d.card --name home --out home.draft
  each:  frith found sign home.draft --dir D --out a.sig   read the draft first
  each:  frith found open home.draft *.sig --dir D         once all have signed
  each:  frith run --dir D

A newcomer:  frith join TICKET --dir D      with the text that `frith invite` prints at an endorser
Look:        frith status · members · pending · log · watch · why NODE
Act:         frith invite · endorse ID · deny ID · revoke NODE · hold NODE · suspend NODE · release NODE
             renew · readmit NODE · rotate · amend · backup · leave

Exit codes: 0 it holds · 1 it failed or was refused · 2 bad usage or input, nothing was done ·
            4 it did not come to be in time · 5 told to stop before it was done (join --exit)";

/// A node of a trust mesh in which nobody is in charge: members vouch for one another.
#[derive(Debug, Parser)]
#[command(name = "frith", version, after_help = TOUR, max_term_width = 110)]
pub(super) struct Frith {
    /// The node's directory: its keys, its store, its socket.
    #[arg(long, global = true, env = "FRITH_DIR", value_name = "D")]
    pub(super) dir: Option<PathBuf>,

    /// Print the result as JSON, and nothing else, to stdout.
    #[arg(long, global = true)]
    pub(super) json: bool,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a node's identity: its keys, and a configuration to edit.
    #[command(after_help = "\
Examples: frith init --dir D --address /dns4/a.example/udp/5747/quic-v1
          frith init --dir D --address /dns4/a.example/tcp/7000 --listen /ip4/0.0.0.0/tcp/7000      another port")]
    Init(InitArgs),
    /// Found a domain on several machines, by files that can be mailed.
    #[command(subcommand)]
    Found(FoundCommand),
    /// Run the node until it is told to stop (Ctrl-C or SIGTERM).
    #[command(after_help = "Example: frith run --dir D --log info,frith_node=debug")]
    Run(RunArgs),
    /// Join a domain by a ticket, or by its operators' approval; then run as a member.
    #[command(after_help = "\
Examples: frith join frith-ticket-… --dir D
          frith join ticket.txt --dir D     a ticket is a secret: so it stays out of the list of processes
          frith join frith-anchor-… --dir D --role member --note 'rack 7, Jane'      wait for approval")]
    Join(JoinArgs),
    /// Have a ticket countersigned by enough endorsers, and print it.
    #[command(after_help = "\
Examples: frith invite --role member --uses 3 --for 1d --dir D
          frith invite --ticket 4f9c21aa --dir D     print one that was countersigned meanwhile")]
    Invite(InviteArgs),
    /// How the node is.
    #[command(after_help = "Example: frith status --dir D --json | jq .head.height")]
    Status,
    /// Who belongs to the domain.
    #[command(after_help = "Example: frith members --dir D")]
    Members,
    /// What waits for operators.
    #[command(after_help = "Example: frith pending --dir D, then: frith endorse ID --dir D")]
    Pending(PendingArgs),
    /// The log's blocks that carry entries, newest first.
    #[command(after_help = "\
Examples: frith log --limit 5 --dir D
          frith log --since 41 --json --dir D     all after height 41, oldest first
          frith log --since 2h --dir D")]
    Log(LogArgs),
    /// Tell what changes, as it happens: blocks, standings, alarms, what waits for the operator, who is connected.
    #[command(after_help = "\
Examples: frith watch --dir D
          frith watch --json --since 41 --dir D | while read -r line; do …; done

With --json each line is one JSON object; `what` names its kind: here, final, standing, phase, alarm, waiting, newcomers, met, lapsed, connected, \
disconnected, missed, stopped. It goes on until Ctrl-C or SIGTERM, or until the node stops.")]
    Watch(WatchArgs),
    /// Why a node is what it is: who admitted it, when, under what; who revoked it.
    #[command(after_help = "Example: frith why 3fa921 --dir D")]
    Why(NodeArgs),
    /// Endorse what waits.
    #[command(after_help = "Example: frith endorse 4f9c21aa --dir D")]
    Endorse(IdArgs),
    /// Decline what waits.
    #[command(after_help = "Example: frith deny 4f9c21aa --dir D")]
    Deny(IdArgs),
    /// Revoke a node for good, as soon as enough endorsers agree.
    #[command(
        after_help = "Example: frith revoke 3fa921 --reason compromised --note 'stolen from rack 7' --dir D"
    )]
    Revoke(RevokeArgs),
    /// Hold a node at once, on this endorser's word alone: briefly, until the others agree on more.
    #[command(after_help = "\
Example: frith hold 3fa921 --for 10m --reason compromised --dir D
A member is held by one endorser; an endorser is held when f+1 endorsers hold it.")]
    Hold(HoldArgs),
    /// Let a node's rights rest, as soon as enough endorsers agree: for a while, or until it is released.
    #[command(after_help = "Example: frith suspend 3fa921 --for 8h --reason compromised --dir D")]
    Suspend(SuspendArgs),
    /// Give a suspended node its rights back, as soon as enough endorsers agree.
    #[command(after_help = "Example: frith release 3fa921 --note 'found in the lab' --dir D")]
    Release(ReleaseArgs),
    /// Until when this node is a member, and when it renews that by itself; with --now, renew at once.
    #[command(after_help = "Examples: frith renew --dir D\n          frith renew --now --dir D")]
    Renew(RenewArgs),
    /// Admit a member anew under the same identity: one that lapsed too long ago to renew by itself, or with other roles.
    #[command(
        after_help = "Examples: frith readmit 3fa921 --note 'back from repair' --dir D\n          frith readmit 3fa921 --role gateway --dir D"
    )]
    Readmit(ReadmitArgs),
    /// Rotate to the next key, and commit to another: on a schedule, or when the running key may be in other hands.
    #[command(after_help = "Example: frith rotate --dir D")]
    Rotate(RotateArgs),
    /// Change the charter: who endorses, thresholds, bounds, roles. Takes effect as soon as enough endorsers agree.
    #[command(after_help = "\
Examples: frith amend --add 3fa921 --remove 90bb1c --dry-run --dir D      what it would change
          frith amend --add 3fa921 --remove 90bb1c --dir D
          frith amend --admit 3 --dir D
          frith amend --show --dir D > next.toml     edit it, then:
          frith amend next.toml --dir D

Endorsers say yes by `frith endorse ID`; so does whoever gets a seat, on its own node, or nothing comes of it. \
Each who says yes gets a fresh voting key.")]
    Amend(AmendArgs),
    /// Write a backup of this node: its keys, its charters, where others are. It is a secret. Works while the node runs.
    #[command(after_help = "\
Example: frith backup --out /mnt/stick/ash.frith --dir D

What the node has signed is not in it, and no voting key: an endorser that is restored signs no block until the charter is \
amended (frith amend --fresh-keys). Back up anew after each rotation.")]
    Backup(BackupArgs),
    /// Make a node again from a backup, in a directory of its own.
    #[command(after_help = "\
Example: frith restore /mnt/stick/ash.frith --dir D, then: frith run --dir D

The machine that the backup is of must never run again: two machines under one identity contradict each other.")]
    Restore(RestoreArgs),
    /// The way back, once too many endorsers are lost for good, or the log has forked: others take the seats, by the recovery keys.
    #[command(subcommand)]
    Recover(RecoverCommand),
    /// Leave the domain for good. This identity can never come back.
    #[command(after_help = "Example: frith leave --yes --dir D")]
    Leave(LeaveArgs),
    /// Print where a newcomer may begin to believe, for `frith join` by approval.
    #[command(after_help = "Example: frith anchor --dir D")]
    Anchor,
    /// Print the node's counters, as Prometheus reads them.
    #[command(after_help = "Example: frith metrics --dir D")]
    Metrics,
    /// Wait until something holds, for scripts.
    #[command(after_help = "Example: frith wait member --timeout 60s --dir D")]
    Wait(WaitArgs),
    /// Show the whole story on this machine: real nodes, real sockets, real stores. Under a minute; leaves nothing behind.
    #[command(after_help = "Examples: frith demo\n          frith demo --json | jq .steps[].name")]
    Demo,
    /// Print the configuration of the node in D, commented; without --dir, the defaults.
    #[command(after_help = "Examples: frith config > D/frith.toml\n          frith config --dir D")]
    Config,
    /// Print completions for a shell.
    #[command(after_help = "Example: frith completions bash > /etc/bash_completion.d/frith")]
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Where others reach this node. May be repeated; written into D/frith.toml.
    #[arg(long = "address", value_name = "ADDR", value_parser = parse_dialable)]
    pub(super) addresses: Vec<Multiaddr>,
    /// Where it listens, if not at port 5747 of all interfaces. May be repeated; written into D/frith.toml.
    #[arg(long, value_name = "ADDR", value_parser = parse)]
    pub(super) listen: Vec<Multiaddr>,
}

#[derive(Debug, Subcommand)]
pub(super) enum FoundCommand {
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
pub(super) struct CardArgs {
    /// Where others reach this founder, instead of what D/frith.toml says. May be repeated.
    #[arg(long = "address", value_name = "ADDR", value_parser = parse_dialable)]
    pub(super) addresses: Vec<Multiaddr>,
    /// Write to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct DraftArgs {
    /// The founders' cards.
    #[arg(required = true, value_name = "CARD")]
    pub(super) cards: Vec<PathBuf>,
    /// What people call the domain.
    #[arg(long)]
    pub(super) name: String,
    /// f: how many endorsers may be faulty. Needs 3f+1 of them. [default: as many as that allows]
    #[arg(long, value_name = "F")]
    pub(super) faults: Option<u8>,
    /// How many endorsers it takes to admit a member, and to issue a ticket.
    #[arg(long, value_name = "K")]
    pub(super) admit: Option<u8>,
    /// How many it takes to revoke one.
    #[arg(long, value_name = "K")]
    pub(super) revoke: Option<u8>,
    /// How many it takes to restrain one for a while.
    #[arg(long, value_name = "K")]
    pub(super) contain: Option<u8>,
    /// How many it takes to change the charter.
    #[arg(long, value_name = "K")]
    pub(super) amend: Option<u8>,
    /// A role, and what it may do: NAME or NAME=CAPABILITY,… May be repeated; founders get the first. [default: member]
    #[arg(long = "role", value_name = "ROLE")]
    pub(super) roles: Vec<String>,
    #[command(flatten)]
    pub(super) recovery: RecoveryQuorum,
    /// A bound on time, as in heartbeat=60s. May be repeated.
    #[arg(long = "timing", value_name = "NAME=SPAN")]
    pub(super) timing: Vec<String>,
    /// Admit nobody by ticket.
    #[arg(long)]
    pub(super) no_tickets: bool,
    /// Admit nobody by approval.
    #[arg(long)]
    pub(super) no_approval: bool,
    /// Write to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// Write over a file that is there. Signatures of the draft that it held are worth nothing for another.
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, Args)]
pub(super) struct SignArgs {
    /// The draft.
    pub(super) draft: PathBuf,
    /// Write to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct OpenArgs {
    /// The draft.
    pub(super) draft: PathBuf,
    /// The signatures of all founders.
    #[arg(required = true, value_name = "SIG")]
    pub(super) signatures: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Where to listen. May be repeated.
    #[arg(long, value_name = "ADDR", env = "FRITH_LISTEN", value_delimiter = ',', value_parser = parse)]
    pub(super) listen: Option<Vec<Multiaddr>>,
    /// Where others reach this node, if that is not where it listens. May be repeated.
    #[arg(long, value_name = "ADDR", env = "FRITH_EXTERNAL", value_delimiter = ',', value_parser = parse_dialable)]
    pub(super) external: Option<Vec<Multiaddr>>,
    /// An address to try besides those that the node remembers. May be repeated.
    #[arg(long = "peer", value_name = "ADDR", env = "FRITH_PEERS", value_delimiter = ',', value_parser = parse_dialable)]
    pub(super) peers: Option<Vec<Multiaddr>>,
    /// Look for nodes of the domain in the local network.
    #[arg(long, env = "FRITH_MDNS", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub(super) mdns: Option<bool>,
    /// What is worth a log line: error, warn, info, debug, trace, or by module.
    #[arg(long = "log", value_name = "FILTER", env = "FRITH_LOG")]
    pub(super) log_filter: Option<String>,
    /// Stop when stdin is closed: so that a node never outlives the program that started it.
    #[arg(long, hide = true)]
    pub(super) until_stdin_closes: bool,
    /// How log lines look.
    #[arg(long, value_name = "FORMAT", env = "FRITH_LOG_FORMAT")]
    pub(super) log_format: Option<LogFormat>,
}

impl RunArgs {
    pub(super) fn overrides(self) -> Overrides {
        let RunArgs { listen, external, peers, mdns, log_filter, log_format, until_stdin_closes: _ } = self;
        Overrides { listen, external, peers, mdns, log_filter, log_format }
    }
}

#[derive(Debug, Args)]
pub(super) struct JoinArgs {
    /// The text of a ticket or an anchor, or the file that it is in; `-` reads it from stdin.
    #[arg(value_name = "TICKET|ANCHOR")]
    pub(super) text: String,
    /// A role to ask for. May be repeated. Without any, all that a ticket gives; by approval, none.
    #[arg(long = "role", value_name = "ROLE")]
    pub(super) roles: Vec<String>,
    /// A line for the operators who judge it.
    #[arg(long, default_value = "")]
    pub(super) note: String,
    /// Exit once this node is a member, rather than go on running. Stopped before that, it exits with 5.
    #[arg(long)]
    pub(super) exit: bool,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Debug, Args)]
pub(super) struct InviteArgs {
    /// A role that whoever joins by it may have. May be repeated. Without any, the charter's only role; none, if it has several.
    #[arg(long = "role", value_name = "ROLE")]
    pub(super) roles: Vec<String>,
    /// How many may join by it.
    #[arg(long, default_value_t = 1)]
    pub(super) uses: u32,
    /// How long it is good.
    #[arg(long = "for", value_name = "SPAN", default_value = "1d", value_parser = span_ms)]
    pub(super) lifetime_ms: u64,
    /// A line for the other operators.
    #[arg(long, default_value = "")]
    pub(super) note: String,
    /// How long to wait for the other endorsers; 0s only proposes it.
    #[arg(long = "wait", value_name = "SPAN", default_value = "10m", value_parser = span_ms)]
    pub(super) wait_ms: u64,
    /// Print this ticket, which was proposed here before, instead of proposing another.
    #[arg(long, value_name = "ID", conflicts_with_all = ["roles", "uses", "lifetime_ms", "note"])]
    pub(super) ticket: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct PendingArgs {
    /// Also what is decided, spent or came to nothing, and was not forgotten yet.
    #[arg(long)]
    pub(super) all: bool,
}

#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// At most so many blocks. [default: 20; with --since: all]
    #[arg(long, value_parser = at_least_one)]
    pub(super) limit: Option<usize>,
    /// Only blocks below this height.
    #[arg(long)]
    pub(super) below: Option<u64>,
    /// Only blocks after this height, or after this time: 2h ago, 2026-11-28T12:30:00Z, @MILLISECONDS. Oldest first.
    #[arg(long, value_name = "HEIGHT|TIME", value_parser = parse_since)]
    pub(super) since: Option<Since>,
}

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// First what happened after this height, or after this time: 2h ago, 2026-11-28T12:30:00Z, @MILLISECONDS.
    #[arg(long, value_name = "HEIGHT|TIME", value_parser = parse_since)]
    pub(super) since: Option<Since>,
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
pub(super) struct NodeArgs {
    /// Its identity, or the first digits of it.
    pub(super) node: String,
}

#[derive(Debug, Args)]
pub(super) struct IdArgs {
    /// What `frith pending` calls it, or the first digits of that.
    pub(super) id: String,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// Its identity, or the first digits of it.
    pub(super) node: String,
    /// For those who look later.
    #[arg(long, value_enum, default_value_t = ReasonArg::Unspecified)]
    pub(super) reason: ReasonArg,
    /// A line for the other operators.
    #[arg(long, default_value = "")]
    pub(super) note: String,
}

#[derive(Debug, Args)]
pub(super) struct HoldArgs {
    /// Its identity, or the first digits of it.
    pub(super) node: String,
    /// For how long. The charter has a bound, counted from the newest final block.
    #[arg(long = "for", value_name = "SPAN", default_value = "10m", value_parser = span_ms)]
    pub(super) for_ms: u64,
    /// For those who look later.
    #[arg(long, value_enum, default_value_t = ReasonArg::Unspecified)]
    pub(super) reason: ReasonArg,
}

#[derive(Debug, Args)]
pub(super) struct SuspendArgs {
    /// Its identity, or the first digits of it.
    pub(super) node: String,
    /// For how long; until it is released, if that is not said.
    #[arg(long = "for", value_name = "SPAN", value_parser = span_ms)]
    pub(super) for_ms: Option<u64>,
    /// For those who look later.
    #[arg(long, value_enum, default_value_t = ReasonArg::Unspecified)]
    pub(super) reason: ReasonArg,
    /// A line for the other operators.
    #[arg(long, default_value = "")]
    pub(super) note: String,
}

#[derive(Debug, Args)]
pub(super) struct ReleaseArgs {
    /// Its identity, or the first digits of it.
    pub(super) node: String,
    /// A line for the other operators.
    #[arg(long, default_value = "")]
    pub(super) note: String,
}

#[derive(Debug, Args)]
pub(super) struct RenewArgs {
    /// Renew now, and not only when it is due. Not before half of the time is over.
    #[arg(long)]
    pub(super) now: bool,
    /// With --now: how long to wait until it is final; 0s only begins it.
    #[arg(long = "wait", value_name = "SPAN", default_value = "1m", value_parser = span_ms)]
    pub(super) wait_ms: u64,
}

#[derive(Debug, Args)]
pub(super) struct ReadmitArgs {
    /// Its identity, or the first digits of it.
    pub(super) node: String,
    /// As what, if not as what it was admitted before. May be repeated.
    #[arg(long = "role", value_name = "ROLE")]
    pub(super) roles: Vec<String>,
    /// A line for the other operators.
    #[arg(long, default_value = "")]
    pub(super) note: String,
}

#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    /// The file of the next key, if it does not lie in keys/ any more.
    #[arg(long, value_name = "FILE")]
    pub(super) next_key: Option<PathBuf>,
    /// How long to wait until it is final; 0s only begins it.
    #[arg(long = "wait", value_name = "SPAN", default_value = "1m", value_parser = span_ms)]
    pub(super) wait_ms: u64,
}

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Write it to this file, which must not be there yet.
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// Leave the next key out: then only whoever has its file can rotate.
    #[arg(long)]
    pub(super) without_next_key: bool,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The backup.
    pub(super) file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct AmendArgs {
    /// The next charter, edited from what --show prints.
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// Print the charter in force as a file to edit.
    #[arg(long, conflicts_with_all = ["file", "dry_run", "note", "change", "fresh_keys"])]
    pub(super) show: bool,
    #[command(flatten)]
    pub(super) change: Change,
    /// Propose it even if nothing changes but the voting keys of those who say yes.
    #[arg(long)]
    pub(super) fresh_keys: bool,
    /// Only say what it would change.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// A line for the other operators.
    #[arg(long, default_value = "")]
    pub(super) note: String,
}

/// A change without a file. Thresholds that are not named and would be unsound become the nearest that are sound.
#[derive(Debug, Args)]
#[group(id = "change", multiple = true, conflicts_with = "file")]
pub(super) struct Change {
    /// A member that gets a seat. May be repeated.
    #[arg(long, value_name = "NODE")]
    pub(super) add: Vec<String>,
    /// An endorser that loses its seat. May be repeated.
    #[arg(long, value_name = "NODE")]
    pub(super) remove: Vec<String>,
    /// f: how many endorsers may be faulty. [default: as now, or as many as there can be]
    #[arg(long, value_name = "F")]
    pub(super) faults: Option<u8>,
    /// How many endorsers it takes to admit a member, and to issue a ticket.
    #[arg(long, value_name = "K")]
    pub(super) admit: Option<u8>,
    /// How many it takes to revoke one.
    #[arg(long, value_name = "K")]
    pub(super) revoke: Option<u8>,
    /// How many it takes to suspend one.
    #[arg(long, value_name = "K")]
    pub(super) contain: Option<u8>,
    /// How many it takes to change the charter.
    #[arg(long, value_name = "K")]
    pub(super) amend: Option<u8>,
}

#[derive(Debug, Args)]
pub(super) struct LeaveArgs {
    /// Yes, for good.
    #[arg(long)]
    pub(super) yes: bool,
}

#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    #[command(subcommand)]
    pub(super) until: WaitFor,
    /// Give up after so long (exit code 4).
    #[arg(long = "timeout", value_name = "SPAN", default_value = "60s", value_parser = span_ms, global = true)]
    pub(super) timeout_ms: u64,
}

#[derive(Debug, Subcommand)]
pub(super) enum WaitFor {
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

/// Why somebody is revoked, as a word.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ReasonArg {
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

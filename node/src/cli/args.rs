//! The command line's words.

mod act;
mod found;
mod look;
mod run;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use super::recover::RecoverCommand;

pub(super) use act::*;
pub(super) use found::*;
pub(super) use look::*;
pub(super) use run::*;

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
Act:         frith invite · endorse ID · deny ID · revoke NODE · hold NODE · suspend NODE
             release NODE · renew · readmit NODE · rotate · amend · backup · leave

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

With --json each line is one JSON object; `what` names its kind: here, final, standing, held, phase, alarm, waiting, newcomers, met, lapsed, connected, \
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
    /// Admit a member anew under the same identity: one that lapsed too long ago to renew by itself, with other roles, or for a while only.
    #[command(
        after_help = "Examples: frith readmit 3fa921 --note 'back from repair' --dir D\n          frith readmit 3fa921 --role gateway --dir D\n          frith readmit 3fa921 --for 8h --dir D"
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

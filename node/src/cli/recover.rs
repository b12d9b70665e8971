//! `recover`: a domain's way back. Drafted and consented to on nodes, signed wherever the offline keys are.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use frith_protocol::identity::PublicKey;
use frith_protocol::state::Recovery;
use serde_json::json;

use super::args::Change;
use super::look::{ask, read};
use super::output::Out;
use super::{CommandError, Done, Exit, no_dir, write_out};
use crate::control::Request;
use crate::home::Home;
use crate::keys::{self, KeyKind};
use crate::recovery::RecoveryFile;

/// What there is to do, in this order.
#[derive(Debug, Subcommand)]
pub(super) enum RecoverCommand {
    /// Make a recovery key: on a machine that is offline, and before it is needed. Founders, and later charters, name its public half.
    #[command(after_help = "Example: frith recover key --out /media/safe/recovery-1.key")]
    Key(KeyArgs),
    /// Draft a recovery on a node that has the newest final block of all: going on from there, with everybody who is gone kept out.
    #[command(after_help = "\
Example: frith recover draft --remove 3fa921 --remove 90bb1c --add 77ab00 --out way-back.json --dir D")]
    Draft(RecoveryDraftArgs),
    /// Take the seat that a draft gives this node, by a fresh voting key. The last to do so makes the block that is signed.
    #[command(after_help = "Example: frith recover consent way-back.json --dir D")]
    Consent(FileArgs),
    /// Sign with a recovery key. Needs no node; with --dir, asks that one first whether the block is what the file says.
    #[command(after_help = "Example: frith recover sign way-back.json --key /media/safe/recovery-1.key")]
    Sign(RecoverySignArgs),
    /// Hand it to a running node, which takes it as soon as it may, and shows it to the others.
    #[command(after_help = "\
Examples: frith recover apply way-back.json --dry-run --dir D     what this node would do
          frith recover apply way-back.json --dir D")]
    Apply(ApplyArgs),
}

/// Who can recover a domain that is founded.
#[derive(Debug, Args)]
pub(super) struct RecoveryQuorum {
    /// The public half of an offline key that can recover the domain: see `frith recover key`. May be repeated.
    #[arg(long = "recovery", value_name = "KEY")]
    recovery: Vec<PublicKey>,
    /// How many of them it takes. [default: more than half]
    #[arg(long, value_name = "K", requires = "recovery")]
    recovery_threshold: Option<u8>,
}

impl From<RecoveryQuorum> for Recovery {
    fn from(quorum: RecoveryQuorum) -> Recovery {
        let RecoveryQuorum { recovery: mut keys, recovery_threshold } = quorum;
        keys.sort();
        let majority = if keys.is_empty() { 0 } else { keys.len() / 2 + 1 };
        let threshold = recovery_threshold.unwrap_or(u8::try_from(majority).unwrap_or(u8::MAX));
        Recovery { keys, threshold }
    }
}

#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// Where to write it. Nobody else should be able to read it there.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RecoveryDraftArgs {
    /// The next charter, edited from what `frith amend --show` prints.
    #[arg(long = "charter", id = "file", value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    change: Change,
    /// Go on from this final block. [default: the newest; after a fork, the newest that both branches have]
    #[arg(long, value_name = "HEIGHT")]
    base: Option<u64>,
    /// The number of the epoch that begins. [default: one more than the newest known here; higher if another branch went further]
    #[arg(long, value_name = "EPOCH")]
    epoch: Option<u64>,
    /// Keep this one out for good, too: revoked on another branch. Whoever is gone here is named anyhow. May be repeated.
    #[arg(long, value_name = "NODE")]
    gone: Vec<String>,
    /// Write to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct FileArgs {
    /// The draft. It is written back, unless --out says otherwise.
    file: PathBuf,
    /// Write to this file instead.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct RecoverySignArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The recovery key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// What was drafted, consented to and signed.
    file: PathBuf,
    /// Only say what this node would do.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn recover(dir: Option<Home>, command: RecoverCommand, out: Out) -> Done {
    let home = || dir.as_ref().ok_or_else(no_dir);
    match command {
        RecoverCommand::Key(args) => key(&args.out, out),
        RecoverCommand::Draft(args) => draft(home()?, args, out),
        RecoverCommand::Consent(FileArgs { file, out: to }) => {
            let value =
                ask(home()?, &Request::ConsentToRecovery { file: Box::new(RecoveryFile::read(&file)?) })?;
            keep(&read::<RecoveryFile>(value)?, Some(&to.unwrap_or(file)), out)
        }
        RecoverCommand::Sign(args) => sign(dir.as_ref(), args, out),
        RecoverCommand::Apply(args) => apply(home()?, &args, out),
    }
}

fn key(path: &Path, out: Out) -> Done {
    if path.exists() {
        return Err(CommandError::usage(format!("{}: it is there already", path.display())));
    }
    let key = keys::random_key()?;
    keys::write_key(path, KeyKind::Recovery, &key)?;
    out.result(&json!({ "key": key.public(), "file": path }), || {
        format!("{}\n\nfrith found draft --recovery {}\n", key.public(), key.public())
    })
}

fn draft(home: &Home, args: RecoveryDraftArgs, out: Out) -> Done {
    let RecoveryDraftArgs { file, change, base, epoch, gone, out: to } = args;
    let wish = Box::new(change.wish(file.as_deref(), true)?);
    let drafted = read::<RecoveryFile>(ask(home, &Request::DraftRecovery { wish, base, epoch, gone })?)?;
    keep(&drafted, to.as_ref(), out)
}

fn sign(home: Option<&Home>, args: RecoverySignArgs, out: Out) -> Done {
    let RecoverySignArgs { file: FileArgs { file: path, out: to }, key } = args;
    let mut file = RecoveryFile::read(&path)?;
    if let Some(home) = home {
        ask(home, &Request::CheckRecovery { file: Box::new(file.clone()) })?;
    } else {
        out.note(
            "no node was asked whether the block is what the file says: compare its id with what an operator reads whose node you trust",
        );
    }
    file.sign(&keys::read_key(&key, KeyKind::Recovery)?).map_err(CommandError::failed)?;
    keep(&file, Some(&to.unwrap_or(path)), out)
}

/// Writes the file, and says what is in it.
fn keep(file: &RecoveryFile, path: Option<&PathBuf>, out: Out) -> Done {
    let written = write_out(path, &file.to_json())?;
    out.note(&file.lines().join("\n"));
    if path.is_some() && out.json {
        let signed: Vec<&PublicKey> = file.signatures.iter().map(|(key, _)| key).collect();
        let block = file.header.as_ref().map(frith_protocol::state::Header::id);
        return out
            .result(&json!({ "block": block, "missing": file.silent(), "signed": signed }), String::new);
    }
    Ok(written)
}

fn apply(home: &Home, args: &ApplyArgs, out: Out) -> Done {
    let file = Box::new(RecoveryFile::read(&args.file)?);
    let done = ask(home, &Request::ApplyRecovery { file: file.clone(), dry_run: args.dry_run })?;
    out.note(&file.lines().join("\n"));
    let at_once = done["may_be_taken_at_once"].as_bool() == Some(true);
    out.result(&done, || {
        let drops = match done["drops"].as_u64() {
            Some(0) | None => String::new(),
            Some(drops) => format!(", and drops {drops} blocks that are final here"),
        };
        match (at_once, args.dry_run) {
            (true, true) => format!("this node would take it at once{drops}"),
            (true, false) => format!("taken{drops}"),
            (false, true) => {
                format!("this node would keep it until its log has been silent for long enough{drops}")
            }
            (false, false) => {
                "kept: taken as soon as the log has been silent for long enough; a newer final block voids it"
                    .into()
            }
        }
    })?;
    Ok(Exit::Holds)
}

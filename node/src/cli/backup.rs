//! `backup` and `restore`.

use serde_json::json;

use super::args::{BackupArgs, RestoreArgs};
use super::look::read;
use super::output::Out;
use super::{CommandError, Done};
use crate::backup::{self, Backup};
use crate::control::{Client, ClientError, Request};
use crate::home::Home;
use crate::runtime::now;
use crate::words::utc;

pub(super) fn backup(home: &Home, args: BackupArgs, out: Out) -> Done {
    let BackupArgs { out: path, without_next_key } = args;
    let backup: Backup = match Client::connect(&home.socket()) {
        Ok(mut client) => read(client.ask(&Request::Backup { next_key: !without_next_key })?)?,
        Err(ClientError::NotRunning { .. }) if home.store().exists() => {
            return Err(CommandError::usage(format!(
                "only a running node can be backed up; start it: frith run --dir {}",
                home.dir().display()
            )));
        }
        // It has joined nothing yet: there is nothing but its keys.
        Err(ClientError::NotRunning { .. }) => backup::take(home, None, now(), !without_next_key)?,
        Err(other) => return Err(other.into()),
    };
    let path = if path.is_dir() { path.join(file_name(&backup)) } else { path };
    backup.write(&path)?;
    if !backup.has_next_key() && !without_next_key {
        out.note("the next key is not in it: its file was moved away; keep that one safe, too");
    }
    let mut facts = facts(&backup);
    facts["file"] = json!(path);
    out.result(&facts, || {
        format!(
            "{}: backup of node {}, key number {}; whoever has this file has the node\n",
            path.display(),
            backup.node,
            backup.key_sequence
        )
    })
}

/// So that whoever backs up by the clock writes no file twice, and finds the newest last.
fn file_name(backup: &Backup) -> String {
    format!("{}-{}.frith", backup.node.short(), utc(backup.made.0).replace([':', '-'], ""))
}

fn facts(backup: &Backup) -> serde_json::Value {
    json!({
        "node": backup.node,
        "domain": backup.domain,
        "made": backup.made,
        "key_sequence": backup.key_sequence,
        "height": backup.height,
        "next_key": backup.has_next_key(),
    })
}

pub(super) fn restore(home: &Home, args: RestoreArgs, out: Out) -> Done {
    let backup = Backup::read(&args.file)?;
    backup::restore(home, &backup, &args.file, now())?;
    out.note(
        "the machine that this backup is of must never run again: two machines under one identity contradict each other",
    );
    if backup.domain.is_some() {
        out.note(
            "if it is an endorser, it signs no block until the charter is amended: once it has caught up, propose \
             `frith amend --fresh-keys` on it",
        );
    }
    let sequence = backup.key_sequence;
    out.note(&format!(
        "its key is number {sequence}, as on {}: if it has rotated since, the others take it for a stranger, and only a newer backup helps",
        utc(backup.made.0)
    ));
    out.result(&facts(&backup), || {
        format!(
            "node {} is restored in {}; start it: frith run --dir {}\n",
            backup.node,
            home.dir().display(),
            home.dir().display()
        )
    })
}

//! `run` and `join`: a node at work.

use std::io::Read;

use frith_protocol::door::{anchor_records, joining_records};
use frith_protocol::joining::{Anchor, Application, Ticket};
use frith_protocol::limits::{NOTE_BYTES_MAX, PRINTED_TICKET_CHARS_MAX};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{JoinArgs, RunArgs};
use super::output::Out;
use super::{CommandError, Done, Exit};
use crate::addresses::{unheard, warning};
use crate::config::Config;
use crate::home::Home;
use crate::keys::{self, KeyError};
use crate::runtime::{self, Ended, Hints, Until, now};
use crate::store::{Opened, Owner, Store};
use crate::words::rough_span;

pub(super) fn run(home: Home, args: RunArgs) -> Done {
    let leash = args.until_stdin_closes;
    let config = Config::load(&home.config(), args.overrides())?;
    match live(home, config, Until::JoinFails, leash)? {
        Ended::Stopped | Ended::Joined => Ok(Exit::Holds),
        Ended::JoinFailed(why) => Err(CommandError::failed(format!("this node cannot join: {why}"))),
    }
}

/// Runs the node, until a signal or as `until` says; on a `leash`, also until stdin is closed.
fn live(home: Home, config: Config, until: Until, leash: bool) -> Result<Ended, CommandError> {
    crate::log::start(&config.log)?;
    if let Some(warning) = warning(&unheard(&config.external, &config.listen)) {
        tracing::warn!("{warning}");
    }
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|why| CommandError::usage(format!("cannot start the asynchronous runtime: {why}")))?;
    let ended = tokio.block_on(async {
        let stop = stop_signal(leash)?;
        Ok::<_, CommandError>(runtime::run(home, config, until, stop).await?)
    });
    // What is left are conversations on the control socket that nobody will answer.
    tokio.shutdown_background();
    ended
}

/// Done when the process is told to stop. A second signal does not wait for the first.
fn stop_signal(leash: bool) -> Result<impl Future<Output = ()>, CommandError> {
    let listen =
        |kind| signal(kind).map_err(|why| CommandError::usage(format!("cannot listen for signals: {why}")));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    if leash {
        std::thread::spawn(move || {
            // However it ends, nobody holds the other end any more.
            drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
            // Nobody listens if the node ended first.
            let _ = tell.send(());
        });
    }
    Ok(async move {
        let let_go = async {
            // Without a leash nobody tells, and the channel is closed from the start.
            if told.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            // A signal may come with it, and is no second one.
            () = let_go => return,
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            // What was acknowledged is on the disk already.
            std::process::exit(130);
        });
    })
}

/// What the text that somebody was given turned out to be.
enum Paper {
    Ticket(Ticket),
    Anchor(Anchor),
}

fn read_paper(text: &str) -> Result<Paper, CommandError> {
    let mut read = String::new();
    let text = if text == "-" {
        std::io::stdin()
            .take(PRINTED_TICKET_CHARS_MAX as u64 + 1)
            .read_to_string(&mut read)
            .map_err(|why| CommandError::usage(format!("cannot read the ticket from stdin: {why}")))?;
        &read
    } else if text.trim_start().to_ascii_lowercase().starts_with("frith-") {
        text
    } else {
        let path = std::path::Path::new(text);
        let file = std::fs::File::open(path).map_err(|why| {
            CommandError::usage(format!(
                "{text:?} is no ticket or anchor (they begin with frith-ticket- and frith-anchor-), and no file: {why}"
            ))
        })?;
        file.take(PRINTED_TICKET_CHARS_MAX as u64 + 1)
            .read_to_string(&mut read)
            .map_err(|why| CommandError::usage(format!("{text}: cannot read it: {why}")))?;
        &read
    };
    let is_anchor = text.trim_start().to_ascii_lowercase().starts_with("frith-anchor");
    let paper = if is_anchor { text.parse().map(Paper::Anchor) } else { text.parse().map(Paper::Ticket) };
    paper.map_err(CommandError::usage)
}

pub(super) fn join(home: Home, args: JoinArgs, out: Out) -> Done {
    let application = application(&args)?;
    let leash = args.run.until_stdin_closes;
    let config = Config::load(&home.config(), args.run.overrides())?;
    let anchor = &application.anchor;
    if anchor.addresses.is_empty() && config.peers.is_empty() && !config.mdns {
        return Err(CommandError::usage(
            "the text names no address at which an endorser could be asked; say one: --peer /ip4/192.0.2.1/tcp/5747",
        ));
    }
    let keys = match keys::load(&home) {
        Ok(keys) => keys,
        Err(KeyError::Missing { .. }) => {
            let keys = keys::create(&home)?;
            out.note(&format!("made a new identity in {}", home.dir().display()));
            keys
        }
        Err(other) => return Err(other.into()),
    };
    let owner = Owner { node: keys.inception.node_id(), domain: anchor.domain };
    let stage = prepare_store(&home, owner, &application)?;
    let by = if application.ticket.is_some() { "by ticket" } else { "by the operators' approval" };
    match stage {
        Stage::Admitted => {
            let from = match application.ticket {
                Some(_) => "",
                None => {
                    "; if it finds no way on from what it holds, it goes on from the anchor, if that is newer"
                }
            };
            out.note(&format!(
                "node {} was admitted to domain {} before: it runs on, and asks for nothing{from}",
                owner.node, owner.domain
            ));
        }
        Stage::New | Stage::Asking => {
            out.note(&format!("node {} joins domain {} {by}", owner.node, owner.domain));
            if application.ticket.is_none() && application.roles.is_empty() {
                out.note(
                    "it asks for no role: once admitted it is a member and nothing more; --role asks for one",
                );
            }
        }
    }
    if stage == Stage::Asking && application.ticket.is_none() && !application.note.is_empty() {
        out.note("it asked before: operators who have that request already go on seeing the note that came with it");
    }
    let until = if args.exit { Until::JoinSettles } else { Until::JoinFails };
    match live(home, config, until, leash)? {
        Ended::Joined => out
            .result(&json!({ "joined": true, "node": owner.node, "domain": owner.domain }), || {
                format!("node {} is a member of domain {}", owner.node, owner.domain)
            }),
        Ended::Stopped if args.exit => Err(CommandError::cut_off(
            "it was told to stop before this node was a member; it goes on where it was with the same command",
        )),
        Ended::Stopped => Ok(Exit::Holds),
        Ended::JoinFailed(why) => Err(CommandError::failed(format!("this node cannot join: {why}"))),
    }
}

/// How far a node that is told to join has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Asking,
    Admitted,
}

/// A store with this application in it, unless the node has come further than that already.
fn prepare_store(home: &Home, owner: Owner, application: &Application) -> Result<Stage, CommandError> {
    let hints = Hints { of: Vec::new(), anybody: application.anchor.addresses.clone() };
    let (note, hints) = hints.note();
    let records = joining_records(application);
    if Store::owner_of(&home.store())? != Some(owner) {
        Store::create(&home.store(), owner, &records, &[(note, hints)])?;
        return Ok(Stage::New);
    }
    // Told to join before. If it had only asked so far, it asks anew, with what it was given now.
    let Opened { mut store, records: there, damage: _ } =
        Store::open(&home.store(), owner.node, Some(owner.domain))?;
    // The core takes the application away once it is granted.
    let still_asking =
        there.iter().any(|old| records.iter().any(|new| (new.table, &new.key) == (old.table, &old.key)));
    if still_asking {
        store.commit(&records)?;
        store.set_note(note, &hints)?;
    } else if application.ticket.is_none() {
        // Where nothing leads on from what it holds, it goes on from there; an anchor that is not newer changes nothing.
        store.commit(&anchor_records(&application.anchor))?;
        store.set_note(note, &hints)?;
    }
    store.close()?;
    Ok(if still_asking { Stage::Asking } else { Stage::Admitted })
}

/// What to ask for, with all that can be known to be wrong refused before anybody is asked.
fn application(args: &JoinArgs) -> Result<Application, CommandError> {
    if args.note.len() > NOTE_BYTES_MAX {
        return Err(CommandError::usage(format!("a note has at most {NOTE_BYTES_MAX} bytes")));
    }
    let mut roles = args.roles.clone();
    roles.sort();
    roles.dedup();
    let (anchor, ticket) = match read_paper(&args.text)? {
        Paper::Anchor(anchor) => (anchor, None),
        Paper::Ticket(ticket) => {
            let (expires, now) = (ticket.terms.expires, now());
            if expires < now {
                let ago = rough_span(now.since(expires));
                return Err(CommandError::usage(format!(
                    "the ticket expired {ago} ago (SPEC 4.6); ask for a new one"
                )));
            }
            if let Some(role) = roles.iter().find(|role| !ticket.terms.roles.contains(role)) {
                let given = ticket.terms.roles.join(", ");
                let why = format!("the ticket does not give the role {role:?} (SPEC 4.6); it gives: {given}");
                return Err(CommandError::usage(why));
            }
            (ticket.anchor(), Some(ticket))
        }
    };
    Ok(Application { anchor, ticket, roles, note: args.note.clone() })
}

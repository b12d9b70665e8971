//! `amend`: the next charter, from a file or from a few words.

use super::act::short;
use super::args::AmendArgs;
use super::look::{ask, read};
use super::output::Out;
use super::{CommandError, Done, Exit};
use crate::amendment::CharterFile;
use crate::control::Request;
use crate::control::views::{AmendView, OfficeView};
use crate::home::Home;
use crate::words::count;

pub(super) fn amend(home: &Home, args: AmendArgs, out: Out) -> Done {
    let AmendArgs { file, show, change, fresh_keys, dry_run, note } = args;
    if show {
        let charter: CharterFile = read(ask(home, &Request::Charter {})?)?;
        return out.result(&charter, || charter.to_commented_toml());
    }
    let wish = Box::new(change.wish(file.as_deref(), fresh_keys)?);
    let answer = ask(home, &Request::Amend { wish, dry_run, note }).map_err(|error| match &file {
        // Whatever is wrong with it is to be mended there.
        Some(path) => CommandError { why: format!("{}: {}", path.display(), error.why), ..error },
        None => error,
    })?;
    let view: AmendView = read(answer)?;
    let shown = out.result(&view, || in_words(&view))?;
    if let Some(proposed) = &view.proposed {
        out.note(&format!(
            "the operators of other endorsers{} run: frith endorse {}",
            if view.seated.is_empty() { "" } else { ", and of whoever gets a seat," },
            short(&proposed.id)
        ));
    }
    Ok(if view.refused.is_some() { Exit::Failed } else { shown })
}

fn in_words(view: &AmendView) -> String {
    let AmendView { now, next, .. } = view;
    let mut text = match &view.proposed {
        Some(proposed) => format!(
            "proposed {}: the charter of epoch {}; {} of {} endorsements\n",
            short(&proposed.id),
            view.epoch,
            proposed.have,
            proposed.needed
        ),
        None => format!("the charter of epoch {} would change:\n", view.epoch),
    };
    let mut line = |line: String| text.push_str(&format!("  {line}\n"));
    if view.changes.is_empty() {
        line("nothing but the voting keys of those who say yes".into());
    }
    view.changes.iter().cloned().for_each(&mut line);
    for (role, members) in &view.roles_lost {
        line(format!("{} would have the role {role:?} no more", count(*members, "member")));
    }
    view.chosen.iter().for_each(|chosen| line(format!("chosen: {chosen}")));
    line(format!("now:  {}", bears(now)));
    line(format!("then: {}", bears(next)));
    line(match next.connected.checked_sub(next.quorum) {
        None => format!(
            "of the next endorsers {} of {} are connected here: {} more are needed before a block becomes final",
            next.connected,
            next.endorsers,
            next.quorum - next.connected
        ),
        Some(0) => format!(
            "of the next endorsers {} of {} are connected here: should one of them fail, no block becomes final",
            next.connected, next.endorsers
        ),
        Some(spare) => format!(
            "of the next endorsers {} of {} are connected here: {spare} of them can fail before no block becomes final",
            next.connected, next.endorsers
        ),
    });
    if let Some(why) = &view.refused {
        line(format!("it would be refused: {why}"));
    }
    text
}

fn bears(office: &OfficeView) -> String {
    let OfficeView { endorsers, quorum, crashes, liars, connected: _ } = office;
    format!(
        "{}, {quorum} make a block final; bears {crashes} down and {}",
        count(*endorsers, "endorser"),
        count(*liars, "liar")
    )
}

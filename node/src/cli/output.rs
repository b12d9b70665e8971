//! What goes where: results to stdout, as text or as JSON alone; everything else to stderr.

use std::io::{self, Write as _};

use serde::Serialize;
use serde_json::json;

use super::{CommandError, Done, Exit};

/// How results are shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Out {
    /// As JSON: one value on stdout, and nothing else there.
    pub(super) json: bool,
}

impl Out {
    /// A result, in the form that was asked for.
    pub(super) fn result(self, json: &impl Serialize, text: impl FnOnce() -> String) -> Done {
        let mut shown =
            if self.json { serde_json::to_string(json).expect("results are plain JSON") } else { text() };
        if !shown.ends_with('\n') && !shown.is_empty() {
            shown.push('\n');
        }
        print(&shown)
    }

    /// A remark for whoever sits there.
    pub(super) fn note(self, text: &str) {
        tell(text);
    }

    /// Why it came to nothing.
    pub(super) fn error(self, why: &str) {
        tell(&format!("frith: {why}"));
        if self.json {
            tell_json(why);
        }
    }
}

/// Why it came to nothing, for programs.
pub(super) fn tell_json(why: &str) {
    // That it failed is known already, and said by the exit code.
    drop(to_stdout(&format!("{}\n", json!({ "error": why }))));
}

/// A line on stderr. Where nobody can read it, it is not said.
pub(super) fn tell(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}

/// Text on stdout, as all that a command does.
pub(super) fn print(text: &str) -> Done {
    to_stdout(text).map_err(|why| CommandError::failed(format!("stdout: cannot write to it: {why}")))?;
    Ok(Exit::Holds)
}

/// Text on stdout. A reader that has seen enough and went away is no error; a disk that is full is one.
pub(crate) fn to_stdout(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Lines of a table, each column as wide as its widest cell.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

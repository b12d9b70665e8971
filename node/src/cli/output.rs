//! What goes where: results to stdout, as text or as JSON alone; everything else to stderr.

use serde::Serialize;
use serde_json::json;

/// How results are shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Out {
    /// As JSON: one value on stdout, and nothing else there.
    pub(super) json: bool,
}

impl Out {
    /// A result, in the form that was asked for.
    pub(super) fn result(self, json: &impl Serialize, text: impl FnOnce() -> String) {
        if self.json {
            println!("{}", serde_json::to_string(json).expect("results are plain JSON"));
        } else {
            let text = text();
            print!("{text}");
            if !text.ends_with('\n') && !text.is_empty() {
                println!();
            }
        }
    }

    /// A remark for whoever sits there.
    pub(super) fn note(self, text: &str) {
        eprintln!("{text}");
    }

    /// Why it came to nothing.
    pub(super) fn error(self, why: &str) {
        eprintln!("frith: {why}");
        if self.json {
            println!("{}", json!({ "error": why }));
        }
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

//! Small things that operators write: spans of time, names that may be mistyped.

use std::path::Path;

use serde::de::DeserializeOwned;

/// The name among `known` that somebody who wrote `word` probably meant.
fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(word, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}

/// «; did you mean X?», or nothing.
pub fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    meant(word, known).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// A TOML file that cannot be used. The message names the file, shows the line, and suggests what was meant.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {why}{suggestion}")]
pub struct BadToml {
    origin: String,
    why: String,
    suggestion: String,
}

/// Reads `text`, which came from `origin`. Keys that are not known are refused.
///
/// # Errors
/// [`BadToml`] if it is not TOML, or not what `T` asks for.
pub fn from_toml<T: DeserializeOwned>(text: &str, origin: &Path) -> Result<T, BadToml> {
    toml::from_str(text).map_err(|e| {
        // serde's message lists in backquotes the key that it met and then those that it knows.
        let mut quoted = e.message().split('`').skip(1).step_by(2);
        let suggestion = match quoted.next() {
            Some(word) if e.message().starts_with("unknown ") => suggestion(word, quoted),
            Some(_) | None => String::new(),
        };
        BadToml {
            origin: origin.display().to_string(),
            why: e.to_string().trim_end().to_string(),
            suggestion,
        }
    })
}

const UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60 * 1000),
    ("h", 3600 * 1000),
    ("d", 24 * 3600 * 1000),
    ("w", 7 * 24 * 3600 * 1000),
];

/// Milliseconds from a text like `90s`, `15m`, `36h`, `30d`.
///
/// # Errors
/// A sentence that says how spans are written.
pub fn span_ms(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("a span of time is a number and one of ms, s, m, h, d, w, like 90s or 30d, not {text:?}");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    number.checked_mul(*unit_ms).ok_or_else(|| format!("{text} is longer than time itself"))
}

/// A span as people write it: in the largest unit that divides it.
pub fn span(ms: u64) -> String {
    let (name, unit) =
        UNITS.iter().rev().find(|(_, unit)| ms.is_multiple_of(*unit)).expect("1 ms divides all");
    format!("{}{name}", ms / unit)
}

/// How long ago or how soon, roughly: what fits into a column.
pub fn rough_span(ms: u64) -> String {
    let (name, unit) = UNITS.iter().rev().find(|(_, unit)| ms >= 2 * unit).unwrap_or(&UNITS[0]);
    format!("{} {name}", ms / unit)
}

/// A number of things: `1 peer`, `2 peers`.
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_they_are_written() {
        for (text, ms) in
            [("0ms", 0), ("90s", 90_000), ("15m", 900_000), ("36h", 129_600_000), ("2w", 1_209_600_000)]
        {
            assert_eq!(span_ms(text), Ok(ms));
        }
        for ms in [1, 999, 1000, 60_000, 90_000, 86_400_000, 31_536_000_000] {
            assert_eq!(span_ms(&span(ms)), Ok(ms));
        }
        for text in
            ["", "10", "s", "-1s", "1.5h", "10 s", "10y", "99999999999999999999s", "9999999999999999d"]
        {
            span_ms(text).expect_err(text);
        }
    }

    #[test]
    fn what_was_meant_is_guessed_from_close_by_and_not_from_afar() {
        let known = ["listen", "external", "mdns"];
        assert_eq!(meant("lisen", known), Some("listen"));
        assert_eq!(meant("extrenal", known), Some("external"));
        assert_eq!(meant("password", known), None);
    }
}

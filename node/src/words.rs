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

const DAY_MS: u64 = 24 * 3600 * 1000;

/// A moment as people and programs write it: `2026-11-28T12:30:00.000Z`, from milliseconds since 1970.
pub fn utc(ms: u64) -> String {
    let (mut day, of_day) = (ms / DAY_MS, ms % DAY_MS);
    let mut year = 1970;
    // Whole cycles of the calendar first, so that no moment takes long.
    let (cycles, in_cycle) = (day / 146_097, day % 146_097);
    (year, day) = (year + 400 * cycles, in_cycle);
    while day >= days_of_year(year) {
        day -= days_of_year(year);
        year += 1;
    }
    let mut month = 0;
    while day >= days_of_month(year, month) {
        day -= days_of_month(year, month);
        month += 1;
    }
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, milli) = (of_day / 1000 % 60, of_day % 1000);
    format!("{year:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z", month + 1, day + 1)
}

/// Milliseconds since 1970 from a moment as [`utc`] writes it, with or without its fraction; `None` if it is none.
pub fn utc_ms(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let number = |text: &str, digits: usize| {
        (text.len() == digits && text.bytes().all(|c| c.is_ascii_digit()))
            .then(|| text.parse::<u64>().ok())?
    };
    let mut date = date.split('-');
    let (year, month) = (number(date.next()?, 4)?, number(date.next()?, 2)?.checked_sub(1)?);
    let day = number(date.next()?, 2)?.checked_sub(1)?;
    let (time, milli) =
        time.split_once('.').map_or(Some((time, 0)), |(time, ms)| Some((time, number(ms, 3)?)))?;
    let mut time = time.split(':');
    let [hour, minute, second] = [time.next()?, time.next()?, time.next()?].map(|part| number(part, 2));
    let (hour, minute, second) = (hour?, minute?, second?);
    let is_moment = date.next().is_none()
        && time.next().is_none()
        && year >= 1970
        && month < 12
        && day < days_of_month(year, month)
        && hour < 24
        && minute < 60
        && second < 60;
    let days: u64 = (1970..year).map(days_of_year).sum::<u64>()
        + (0..month.min(12)).map(|month| days_of_month(year, month)).sum::<u64>()
        + day;
    is_moment.then_some(days * DAY_MS + hour * 3_600_000 + minute * 60_000 + second * 1000 + milli)
}

fn days_of_year(year: u64) -> u64 {
    if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) { 366 } else { 365 }
}

/// Months are counted from zero.
fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        1 => days_of_year(year) - 337,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
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
    fn moments_are_read_as_they_are_written() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_764_333_000_123, "2025-11-28T12:30:00.123Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(ms), text);
            assert_eq!(utc_ms(text), Some(ms));
        }
        assert_eq!(utc_ms("2025-11-28T12:30:00Z"), Some(1_764_333_000_000));
        assert_eq!(utc(u64::MAX).len(), "584556019-04-03T14:25:51.615Z".len());
        for text in [
            "2025-11-28",
            "2025-02-29T00:00:00Z",
            "2025-13-01T00:00:00Z",
            "2025-00-01T00:00:00Z",
            "2025-11-28T24:00:00Z",
            "2025-11-28T12:30:00",
            "1969-12-31T23:59:59Z",
            "2025-11-28T12:30:00.1Z",
            "2025-11-+8T12:30:00Z",
            "Z",
            "TZ",
        ] {
            assert_eq!(utc_ms(text), None, "{text}");
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

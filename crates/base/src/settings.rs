//! Reading the file without stopping at the first mistake.
//!
//! `app` parses the TOML into [`Value`]s that know their line; each room reads its own section through [`Section`],
//! which collects a [`Problem`] (file line, key, what is wrong, what to do) for everything that does not fit and
//! goes on. Keys nobody asked for are problems too, with the nearest known key named.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A value of the file and the line it stands on (from 1).
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// The line, from 1.
    pub line: usize,
    /// What stands there.
    pub data: Data,
}

/// What a value of the file can be.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// A string.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// A list.
    Array(Vec<Value>),
    /// A table, inline or not.
    Table(BTreeMap<String, Value>),
}

impl Data {
    /// What it is, as mistakes tell it.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Text(text) => format!("the string {text:?}"),
            Self::Integer(number) => format!("the number {number}"),
            Self::Float(number) => format!("the number {number}"),
            Self::Bool(value) => format!("{value}"),
            Self::Array(_) => "a list".to_owned(),
            Self::Table(_) => "a table".to_owned(),
        }
    }
}

/// The size that is shown as an example where it may stand.
const SIZE_EXAMPLE: u64 = 64 << 20;

/// One mistake in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The full key, e.g. `table.clicks.flush.every`.
    pub key: String,
    /// What is wrong: what was expected and what came.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {}. {}", self.line, self.key, self.what, self.remedy)
    }
}

/// A table of the file while a room reads it.
#[derive(Debug)]
pub struct Section<'a> {
    path: String,
    line: usize,
    rest: BTreeMap<String, Value>,
    known: Vec<&'static str>,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Section<'a> {
    /// Starts to read `value`, which stands at the key `path`. A value that is no table is a problem and reads as empty.
    pub fn new(path: impl Into<String>, value: Value, problems: &'a mut Vec<Problem>) -> Self {
        let path = path.into();
        let line = value.line;
        let rest = match value.data {
            Data::Table(table) => table,
            other => {
                problems.push(Problem {
                    line,
                    what: format!("expected a table, found {}", other.kind()),
                    remedy: format!("Write it as [{path}] with keys below it"),
                    key: path.clone(),
                });
                BTreeMap::new()
            }
        };
        Self { path, line, rest, known: Vec::new(), problems }
    }

    /// The full key of this section, e.g. `table.clicks`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The line of this section.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Takes the value of `key`, if there is one.
    pub fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.rest.remove(key)
    }

    /// What stands at `key`, left there for the next to take.
    pub fn look(&self, key: &str) -> Option<&Data> {
        self.rest.get(key).map(|value| &value.data)
    }

    /// Takes all that is left as name and value, for sections whose keys are names (`[stream.NAME]`).
    pub fn take_all(&mut self) -> BTreeMap<String, Value> {
        std::mem::take(&mut self.rest)
    }

    /// Notes a mistake at `key` of this section.
    pub fn problem(&mut self, line: usize, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        let key = if key.is_empty() { self.path.clone() } else { format!("{}.{key}", self.path) };
        self.problems.push(Problem { line, key, what: what.into(), remedy: remedy.into() });
    }

    /// A value of `key` made by `read` from what stands there; a mistake (`Err`: what is wrong, what to do) is noted and reads as `None`.
    pub fn read<T>(&mut self, key: &'static str, read: impl FnOnce(&Data) -> Result<T, (String, String)>) -> Option<T> {
        let value = self.take(key)?;
        match read(&value.data) {
            Ok(read) => Some(read),
            Err((what, remedy)) => {
                self.problem(value.line, key, what, remedy);
                None
            }
        }
    }

    /// The string at `key`.
    pub fn text(&mut self, key: &'static str) -> Option<String> {
        self.read(key, |data| match data {
            Data::Text(text) => Ok(text.clone()),
            other => Err((format!("expected a string, found {}", other.kind()), format!("Write {key} = \"…\""))),
        })
    }

    /// The string at `key`, which must be there.
    pub fn required_text(&mut self, key: &'static str, example: &str) -> Option<String> {
        if !self.rest.contains_key(key) {
            self.known.push(key);
            let line = self.line;
            self.problem(line, key, "is missing", format!("Add {key} = {example:?}"));
            return None;
        }
        self.text(key)
    }

    /// The whole number at `key`, within `range`.
    pub fn integer(&mut self, key: &'static str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        self.read(key, |data| match data {
            Data::Integer(number) if range.contains(number) => Ok(*number),
            other => Err((
                format!("expected a whole number from {} to {}, found {}", range.start(), range.end(), other.kind()),
                format!("Write for example {key} = {}", range.start()),
            )),
        })
    }

    /// `true` or `false` at `key`.
    pub fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.read(key, |data| match data {
            Data::Bool(value) => Ok(*value),
            other => Err((format!("expected true or false, found {}", other.kind()), format!("Write {key} = true"))),
        })
    }

    /// The list of strings at `key`.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        self.read(key, |data| {
            let wrong = |found: &Data| {
                (format!("expected a list of strings, found {}", found.kind()), format!("Write {key} = [\"…\", \"…\"]"))
            };
            let Data::Array(items) = data else { return Err(wrong(data)) };
            items
                .iter()
                .map(|item| match &item.data {
                    Data::Text(text) => Ok(text.clone()),
                    other => Err(wrong(other)),
                })
                .collect()
        })
    }

    /// The duration at `key`, as `"500ms"`, `"10s"`, `"5m"`, `"24h"` or `"7d"`, within `range`.
    pub fn duration(&mut self, key: &'static str, range: std::ops::RangeInclusive<Duration>) -> Option<Duration> {
        self.read(key, |data| {
            let read = if let Data::Text(text) = data { parse_duration(text) } else { None };
            read.filter(|duration| range.contains(duration)).ok_or_else(|| {
                let (least, most) = (show_duration(*range.start()), show_duration(*range.end()));
                (
                    format!("expected a duration from {least} to {most}, found {}", data.kind()),
                    format!("Write a number with ms, s, m, h or d, for example {key} = {least:?}"),
                )
            })
        })
    }

    /// The number of bytes at `key`, as `"64MiB"`, `"1GiB"`, `"500kB"` or a plain number, within `range`.
    pub fn size(&mut self, key: &'static str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        self.read(key, |data| {
            let read = match data {
                Data::Text(text) => parse_size(text),
                Data::Integer(number) => u64::try_from(*number).ok(),
                _ => None,
            };
            read.filter(|size| range.contains(size)).ok_or_else(|| {
                let example = if range.contains(&SIZE_EXAMPLE) { SIZE_EXAMPLE } else { *range.start() };
                let within = match (show_size(*range.start()), *range.end()) {
                    (least, u64::MAX) => format!("of at least {least}"),
                    (least, most) => format!("from {least} to {}", show_size(most)),
                };
                (
                    format!("expected a size {within}, found {}", data.kind()),
                    format!("Write a number with KiB, MiB or GiB, for example {key} = {:?}", show_size(example)),
                )
            })
        })
    }

    /// The section at `key`, read by `read`; `None` if the file has none.
    pub fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_>) -> T) -> Option<T> {
        let value = self.take(key)?;
        let mut section = Section::new(format!("{}.{key}", self.path), value, self.problems);
        let made = read(&mut section);
        section.finish();
        Some(made)
    }

    /// Ends the reading: every key that nobody took is a problem.
    pub fn finish(self) {
        for (key, value) in &self.rest {
            let remedy = match nearest(key, &self.known) {
                Some(near) => format!("Did you mean {near}?"),
                None => format!("Known here: {}", self.known.join(", ")),
            };
            self.problems.push(Problem {
                line: value.line,
                key: format!("{}.{key}", self.path),
                what: "is not a known key".to_owned(),
                remedy,
            });
        }
    }
}

/// A duration as the file writes it.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(ms).map(Duration::from_millis)
}

/// A size in bytes as the file writes it.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let bytes = match unit {
        "" | "B" => 1,
        "kB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(bytes)
}

/// A duration in the largest unit that divides it.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    for (unit, name) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")] {
        if ms > 0 && ms.is_multiple_of(unit) {
            return format!("{}{name}", ms / unit);
        }
    }
    format!("{ms}ms")
}

/// A number of bytes in the largest unit that divides it.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    for (unit, name) in [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes > 0 && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes}B")
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim()))
}

/// The known word that differs least from `word`, if it differs little enough to be meant.
#[must_use]
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|candidate| (edits(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance over bytes: names in the file are ASCII.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let here = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = here;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: Vec<(&str, usize, Data)>) -> Value {
        let entries = entries.into_iter().map(|(key, line, data)| (key.to_owned(), Value { line, data }));
        Value { line: 1, data: Data::Table(entries.collect()) }
    }

    #[test]
    fn every_mistake_is_told_with_its_line_and_remedy() {
        let mut problems = Vec::new();
        let value = table(vec![
            ("shards", 2, Data::Integer(0)),
            ("retention", 3, Data::Text("7 weeks".into())),
            ("retenton", 4, Data::Text("7d".into())),
        ]);
        let mut section = Section::new("stream.clicks", value, &mut problems);
        assert_eq!(section.integer("shards", 1..=1000), None);
        assert_eq!(
            section.duration("retention", Duration::from_secs(86_400)..=Duration::from_secs(365 * 86_400)),
            None
        );
        section.finish();
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "line 2: stream.clicks.shards: expected a whole number from 1 to 1000, found the number 0. Write for example shards = 1",
                "line 3: stream.clicks.retention: expected a duration from 1d to 365d, found the string \"7 weeks\". Write a number with ms, s, m, h or d, for example retention = \"1d\"",
                "line 4: stream.clicks.retenton: is not a known key. Did you mean retention?",
            ]
        );
    }

    #[test]
    fn the_example_of_a_size_lies_within_its_bounds() {
        let told = |range| {
            let mut problems = Vec::new();
            let value = table(vec![("record_size", 2, Data::Text("lots".into()))]);
            Section::new("stream.s", value, &mut problems).size("record_size", range);
            format!("{}. {}", problems[0].what, problems[0].remedy)
        };
        assert_eq!(
            told(1 << 10..=10 << 20),
            "expected a size from 1KiB to 10MiB, found the string \"lots\". Write a number with KiB, MiB or GiB, for example record_size = \"1KiB\""
        );
        assert!(told(1 << 20..=1 << 30).contains("from 1MiB to 1GiB, ") && told(0..=1 << 30).ends_with("\"64MiB\""));
        assert!(told(1 << 20..=u64::MAX).starts_with("expected a size of at least 1MiB, "));
        assert_eq!((show_size(0).as_str(), show_size(1500).as_str()), ("0B", "1500B"));
    }

    #[test]
    fn units_are_read_and_shown() {
        assert_eq!(parse_duration("24h"), Some(Duration::from_secs(86_400)));
        assert_eq!(parse_duration("24"), None);
        assert_eq!(parse_size("64MiB"), Some(64 << 20));
        assert_eq!(parse_size("64 MiB"), Some(64 << 20));
        assert_eq!(parse_size("lots"), None);
        assert_eq!(show_duration(Duration::from_secs(86_400)), "1d");
        assert_eq!(show_duration(Duration::from_millis(1500)), "1500ms");
    }
}

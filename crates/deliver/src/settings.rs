//! `[table.NAME]` of the file.

use std::collections::BTreeMap;
use std::time::Duration;

use base::Format;
use base::cdn::{CDN_FIELDS, CdnField};
use base::limits::NAME_CHARS_MAX;
use base::settings::{Data, Section, nearest};

use crate::columns::{ColumnType, Own};
use crate::plan::Plan;

/// The only order of partition columns there is: every reader of the lake may rely on it.
const PARTITION_BY: [&str; 4] = ["year", "month", "day", "hour"];

/// How a table is fed.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSettings {
    /// The table's name.
    pub name: String,
    /// The stream it is fed from. Whether there is one of that name is for `app` to check.
    pub from: String,
    /// How records are read that do not say it themselves. Default: JSON.
    pub format: Format,
    /// For CDN lines without a `fields` header: the published numbers of their fields, in the order on the line.
    pub fields: Vec<u8>,
    /// Declared types of columns of a JSON record.
    pub columns: BTreeMap<String, ColumnType>,
    /// The column that has the event time. Default: `event_time` or `timestamp` of a JSON record, the time of a log line.
    pub event_time: Option<String>,
    /// The row-wise query over the relation `record` that makes the rows. Default: see [`TableSettings::sql`].
    pub sql: Option<String>,
    /// When rows go from the tail into the lake.
    pub flush: FlushSettings,
    /// Where a new table begins to read.
    pub start: StartAt,
}

/// When rows go from the tail into the lake: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushSettings {
    /// Age of the oldest row in the tail. Default 10 s.
    pub every: Duration,
    /// Bytes of the rows in the tail, in memory. Default 64 MiB.
    pub size: u64,
}

impl Default for FlushSettings {
    fn default() -> Self {
        Self { every: Duration::from_secs(10), size: 64 << 20 }
    }
}

/// Where a table begins to read when the lake does not know it yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartAt {
    /// At the first record that the stream still has.
    #[default]
    Earliest,
    /// Behind the last record there is.
    Latest,
}

impl TableSettings {
    /// A table of that name fed from the stream `from`, all else as by default.
    #[must_use]
    pub fn new(name: impl Into<String>, from: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            from: from.into(),
            format: Format::Json,
            fields: Vec::new(),
            columns: BTreeMap::new(),
            event_time: None,
            sql: None,
            flush: FlushSettings::default(),
            start: StartAt::default(),
        }
    }

    /// Reads `[table.NAME]`; the name is the last part of the section's path. Mistakes are noted and read as the
    /// default. The SQL is planned, so that every mistake in it is told too.
    pub fn read(section: &mut Section<'_>) -> Self {
        let name = section.path().split_once('.').map_or(section.path(), |(_, name)| name).to_owned();
        check_name(section, &name);
        let from = section.required_text("from", "clicks").unwrap_or_default();
        let mut table = Self::new(name, from);
        if let Some(format) = section.read("format", read_format) {
            table.format = format;
        }
        read_fields(section, &mut table);
        table.columns = section.section("columns", read_columns).unwrap_or_default();
        table.event_time = read_event_time(section, &table);
        table.flush = section.section("flush", FlushSettings::read).unwrap_or_default();
        if let Some(start) = section.read("start", read_start) {
            table.start = start;
        }
        let _ = section.read("partition_by", read_partition_by);
        read_sql(section, &mut table);
        table
    }

    /// The SQL that makes the rows. Without one in the file: for JSON the event time, the arrival time, the id, the
    /// declared columns and the payload; for log lines their fields (`fields`, or all there are).
    #[must_use]
    pub fn sql(&self) -> String {
        if let Some(sql) = &self.sql {
            return sql.clone();
        }
        let mut names: Vec<String> = ["event_time", "arrival_time", "id"].map(str::to_owned).into();
        match self.format {
            Format::Json => {
                names.extend(self.columns.keys().cloned());
                names.push("payload".to_owned());
            }
            Format::Cdn => {
                names.push("simulated".to_owned());
                let chosen = |field: &&CdnField| self.fields.is_empty() || self.fields.contains(&field.number);
                names.extend(CDN_FIELDS.iter().filter(chosen).map(CdnField::column));
                // The stem's query string is a column of its own.
                if names.iter().any(|name| name == "cs_uri_stem") && !names.iter().any(|name| name == "cs_uri_query") {
                    names.push("cs_uri_query".to_owned());
                }
            }
            Format::Combined => names.extend(crate::decode::combined::COLUMNS.map(str::to_owned)),
        }
        let names: Vec<String> = names.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
        format!("select {} from record", names.join(", "))
    }
}

impl FlushSettings {
    fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let every = section.duration("every", Duration::from_millis(100)..=Duration::from_secs(900));
        let size = section.size("size", 64 << 10..=1 << 30);
        Self { every: every.unwrap_or(default.every), size: size.unwrap_or(default.size) }
    }
}

fn check_name(section: &mut Section<'_>, name: &str) {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts = |c: char| c.is_ascii_lowercase() || c == '_';
    if name.len() > NAME_CHARS_MAX || !name.starts_with(starts) || !name.chars().all(plain) {
        let line = section.line();
        section.problem(
            line,
            "",
            format!("{name:?} cannot name a table"),
            "Use lower-case letters, digits and _, starting with a letter, so that SQL takes it without quotes",
        );
    }
}

fn read_format(data: &Data) -> Result<Format, (String, String)> {
    let names = Format::ALL.map(Format::name);
    word(data, "format", &names).map(|index| Format::ALL[index])
}

fn read_start(data: &Data) -> Result<StartAt, (String, String)> {
    word(data, "start", &["earliest", "latest"])
        .map(|index| if index == 0 { StartAt::Earliest } else { StartAt::Latest })
}

/// The place in `names` of the word that stands there.
fn word(data: &Data, key: &str, names: &[&str]) -> Result<usize, (String, String)> {
    let found = match data {
        Data::Text(text) => match names.iter().position(|name| name == text) {
            Some(index) => return Ok(index),
            None => format!("{text:?}"),
        },
        _ => "something else".to_owned(),
    };
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    Err((format!("expected one of {}, found {found}", quoted.join(", ")), format!("Write {key} = {}", quoted[0])))
}

fn read_fields(section: &mut Section<'_>, table: &mut TableSettings) {
    let Some(value) = section.take("fields") else { return };
    if table.format != Format::Cdn {
        section.problem(
            value.line,
            "fields",
            format!("is only for format = \"cdn\", and this table's is {:?}", table.format.name()),
            "Remove it, or write format = \"cdn\"",
        );
        return;
    }
    let example = "Write fields = [\"timestamp\", \"c-ip\", …] with the published names, in the order on the line";
    let Data::Array(items) = &value.data else {
        section.problem(value.line, "fields", "expected a list of field names", example);
        return;
    };
    for item in items {
        let Data::Text(name) = &item.data else {
            section.problem(item.line, "fields", "expected a list of field names", example);
            continue;
        };
        match CdnField::by_name(name) {
            Some(field) if table.fields.contains(&field.number) => {
                section.problem(item.line, "fields", format!("{name:?} is there twice"), "Remove one of them");
            }
            Some(field) => table.fields.push(field.number),
            None => {
                let names: Vec<&str> = CDN_FIELDS.iter().map(|field| field.name).collect();
                let remedy = match nearest(&name.replace('_', "-"), &names) {
                    Some(near) => format!("Did you mean {near:?}?"),
                    None => format!("The published names are {}", names.join(", ")),
                };
                section.problem(item.line, "fields", format!("there is no field {name:?}"), remedy);
            }
        }
    }
}

fn read_columns(section: &mut Section<'_>) -> BTreeMap<String, ColumnType> {
    let mut columns = BTreeMap::new();
    let names = ColumnType::ALL.map(ColumnType::name);
    for (name, value) in section.take_all() {
        if Own::by_name(&name).is_some() {
            section.problem(
                value.line,
                &name,
                "every record has a column of this name already",
                "Remove it; docs/deliver.md says what the column holds",
            );
            continue;
        }
        let kind = match &value.data {
            Data::Text(text) => ColumnType::by_name(text),
            _ => None,
        };
        let Some(kind) = kind else {
            let near = match &value.data {
                Data::Text(text) => nearest(text, &names),
                _ => None,
            };
            let remedy = match near {
                Some(near) => format!("Did you mean {near:?}?"),
                None => format!("Write {name} = \"text\""),
            };
            section.problem(value.line, &name, format!("expected one of {}", names.join(", ")), remedy);
            continue;
        };
        columns.insert(name, kind);
    }
    columns
}

fn read_event_time(section: &mut Section<'_>, table: &TableSettings) -> Option<String> {
    let value = section.take("event_time")?;
    let Data::Text(name) = value.data else {
        section.problem(value.line, "event_time", "expected the name of a column", "Write event_time = \"…\"");
        return None;
    };
    match table.format {
        Format::Json => Some(name),
        Format::Cdn if CDN_FIELDS.iter().any(|field| field.column() == name) => Some(name),
        Format::Cdn => {
            let what = format!("a CDN line has no column {name:?}");
            section.problem(value.line, "event_time", what, "Remove it: \"timestamp\" is taken");
            None
        }
        Format::Combined => {
            let what = "an access log line has its time at one place only";
            section.problem(value.line, "event_time", what, "Remove it");
            None
        }
    }
}

fn read_partition_by(data: &Data) -> Result<(), (String, String)> {
    let wrong = |found: String| {
        let only = PARTITION_BY.map(|name| format!("{name:?}")).join(", ");
        (
            format!("expected [{only}], found {found}"),
            format!(
                "Write partition_by = [{only}]: tables are partitioned by the hour of the event time, and nothing else yet"
            ),
        )
    };
    let Data::Array(items) = data else { return Err(wrong("no list".to_owned())) };
    let names: Vec<&str> = items
        .iter()
        .map(|item| match &item.data {
            Data::Text(text) => text.as_str(),
            _ => "?",
        })
        .collect();
    if names == PARTITION_BY { Ok(()) } else { Err(wrong(format!("{names:?}"))) }
}

fn read_sql(section: &mut Section<'_>, table: &mut TableSettings) {
    let line = section.line();
    let (line, given) = match section.take("sql") {
        None => (line, None),
        Some(value) => match value.data {
            Data::Text(sql) => (value.line, Some(sql)),
            _ => {
                section.problem(value.line, "sql", "expected a query", "Write sql = '''select … from record'''");
                return;
            }
        },
    };
    table.sql = given;
    if let Err(error) = Plan::new(table) {
        let place = error.place().map(|place| format!(" (line {}, column {} of the SQL)", place.line, place.column));
        let remedy = Some(error.remedy()).filter(|remedy| !remedy.is_empty());
        section.problem(
            line,
            "sql",
            format!("{}{}", error.message(), place.unwrap_or_default()),
            remedy.unwrap_or("See docs/deliver.md for what a table's SQL may do"),
        );
        table.sql = None;
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;

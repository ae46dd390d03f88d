//! One CDN real-time log line → the values of a row.
//!
//! A line has the values of the fields that its header (or the table) names, in that order, separated by tabs and
//! percent-encoded; `-` stands for none. Percent-encoding is taken off once, so `cs_uri_stem` and `cs_uri_query` are as
//! the client sent them. `cs_uri_stem` is the path alone: its query string is `cs_uri_query`, which is filled from the
//! stem on lines that lack the field.

use std::borrow::Cow;
use std::sync::Arc;

use base::cdn::{CS_URI_QUERY, CS_URI_STEM, CdnField, X_EDGE_REQUEST_ID};
use percent_encoding::percent_decode;

use super::Found;
use super::cell::{Cell, MOMENT};
use super::moment;
use crate::columns::{Kind, Own, RecordColumns};

/// Line layouts remembered. Edges change theirs now and then; a producer that sends a new one with every record is only
/// slower.
const LAYOUTS_MAX: usize = 64;

/// Reads CDN log lines for one table.
#[derive(Debug)]
pub(crate) struct CdnReader {
    columns: RecordColumns,
    event_time: String,
    table: Option<Arc<Layout>>,
    seen: Vec<(Vec<u8>, Arc<Layout>)>,
}

/// What to do with the value at each place of a line.
#[derive(Debug)]
struct Layout {
    values: Vec<Use>,
    event_time: Option<usize>,
    id: Option<usize>,
    /// The column of the query string, on lines that have it only within the stem.
    query_of_stem: Option<(usize, Kind)>,
}

#[derive(Debug)]
struct Use {
    field: &'static CdnField,
    column: Option<(usize, Kind)>,
}

impl CdnReader {
    /// `fields` are the numbers of the fields on lines without a header; `event_time` is the column that has it.
    pub(crate) fn new(columns: &RecordColumns, fields: &[u8], event_time: Option<&str>) -> Self {
        let event_time = event_time.unwrap_or("timestamp").to_owned();
        let mut reader = Self { columns: columns.clone(), event_time, table: None, seen: Vec::new() };
        if !fields.is_empty() {
            let fields = fields.iter().filter_map(|number| CdnField::by_number(*number)).collect();
            reader.table = Some(Arc::new(reader.lay_out(fields)));
        }
        reader
    }

    /// Reads one line into `cells`. On a mistake the cells are worth nothing.
    pub(crate) fn read<'a>(
        &mut self,
        payload: &'a [u8],
        fields: Option<&[u8]>,
        cells: &mut [Cell<'a>],
    ) -> Result<Found<'a>, String> {
        let layout = self.layout(fields)?;
        let line = payload.strip_suffix(b"\n").unwrap_or(payload);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut found = Found::default();
        let mut values = line.split(|byte| *byte == b'\t');
        for (place, used) in layout.values.iter().enumerate() {
            let Some(value) = values.next() else { return Err(wrong_count(&layout, line)) };
            if value == b"-" || value.is_empty() {
                continue;
            }
            if layout.event_time == Some(place) {
                found.event_time = Some(read_moment(used.field, value)?);
            }
            if layout.id == Some(place) {
                found.id = Some(decode(value));
            }
            if used.field.number == CS_URI_STEM {
                layout.read_stem(used, value, cells)?;
            } else if let Some((column, kind)) = used.column {
                cells[column] =
                    Cell::from_text(kind, decode(value)).map_err(|expected| mistake(used.field, expected, value))?;
            }
        }
        if values.next().is_some() {
            return Err(wrong_count(&layout, line));
        }
        Ok(found)
    }

    fn layout(&mut self, fields: Option<&[u8]>) -> Result<Arc<Layout>, String> {
        let Some(fields) = fields else {
            return self.table.clone().ok_or_else(|| {
                "the record does not say which fields its line has (header `fields`), and neither does the table"
                    .to_owned()
            });
        };
        if let Some((_, layout)) = self.seen.iter().find(|(seen, _)| seen == fields) {
            return Ok(Arc::clone(layout));
        }
        let layout = Arc::new(self.lay_out(read_numbers(fields)?));
        if self.seen.len() >= LAYOUTS_MAX {
            self.seen.clear();
        }
        self.seen.push((fields.to_vec(), Arc::clone(&layout)));
        Ok(layout)
    }

    fn lay_out(&self, fields: Vec<&'static CdnField>) -> Layout {
        let column = |field: &CdnField| {
            let index = self.columns.payload_index(&field.column())?;
            Some((index, self.columns.iter().nth(index)?.kind))
        };
        let wants_id = self.columns.iter().any(|column| column.own == Some(Own::Id));
        let place = |number: u8| fields.iter().position(|field| field.number == number);
        let query = CdnField::by_number(CS_URI_QUERY).and_then(column).filter(|_| place(CS_URI_QUERY).is_none());
        Layout {
            event_time: fields.iter().position(|field| field.column() == self.event_time),
            id: place(X_EDGE_REQUEST_ID).filter(|_| wants_id),
            query_of_stem: query,
            values: fields.into_iter().map(|field| Use { field, column: column(field) }).collect(),
        }
    }
}

impl Layout {
    fn read_stem<'a>(&self, used: &Use, value: &'a [u8], cells: &mut [Cell<'a>]) -> Result<(), String> {
        // The `?` that starts the query is never encoded; one that is belongs to the path.
        let (path, query) = match memchr::memchr(b'?', value) {
            Some(at) => (&value[..at], &value[at + 1..]),
            None => (value, &b""[..]),
        };
        for (column, value) in [(used.column, path), (self.query_of_stem, query)] {
            if let Some((column, kind)) = column.filter(|_| !value.is_empty()) {
                cells[column] =
                    Cell::from_text(kind, decode(value)).map_err(|expected| mistake(used.field, expected, value))?;
            }
        }
        Ok(())
    }
}

fn read_numbers(header: &[u8]) -> Result<Vec<&'static CdnField>, String> {
    let text = String::from_utf8_lossy(header);
    text.split(',')
        .map(|number| {
            let number = number.trim();
            number.parse().ok().and_then(CdnField::by_number).ok_or_else(|| {
                format!("header `fields`: expected numbers from 1 to 69 with commas between, found {number:?}")
            })
        })
        .collect()
}

fn read_moment(field: &CdnField, value: &[u8]) -> Result<i64, String> {
    moment::from_text(&decode(value)).ok_or_else(|| mistake(field, MOMENT, value))
}

fn mistake(field: &CdnField, expected: &str, value: &[u8]) -> String {
    let found: String = decode(value).chars().take(40).collect();
    format!("{}: expected {expected}, found {found:?}", field.name)
}

fn wrong_count(layout: &Layout, line: &[u8]) -> String {
    let found = 1 + memchr::memchr_iter(b'\t', line).count();
    format!("expected {} values separated by tabs, found {found}", layout.values.len())
}

/// Takes percent-encoding off. What is no escape stays as it is; bytes that are no UTF-8 become U+FFFD.
fn decode(value: &[u8]) -> Cow<'_, str> {
    if memchr::memchr(b'%', value).is_none() {
        return String::from_utf8_lossy(value);
    }
    percent_decode(value).decode_utf8_lossy()
}

#[cfg(test)]
#[path = "cdn_tests.rs"]
mod tests;

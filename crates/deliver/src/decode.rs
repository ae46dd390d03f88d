//! Records → an Arrow batch of the columns that the table's SQL reads, and the records that cannot be read.
//!
//! A row's values are all read before the first goes into a column, so a record that fails in the middle leaves nothing
//! behind. What a value must look like is told in the reason; the record's bytes stay as they came. A record into which a
//! producer packed many (see `aggregate`) is read as those many.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use base::{Format, Header, Millis, Offset, ShardId};

use crate::columns::{Own, RecordColumns};

pub(crate) mod aggregate;
pub(crate) mod cdn;
pub(crate) mod cell;
pub(crate) mod combined;
pub(crate) mod json;
pub(crate) mod moment;

use cdn::CdnReader;
use cell::{Builder, Cell};
use combined::CombinedReader;
use json::JsonReader;

/// How far a record's event time may lie after its arrival. Clocks of producers go wrong; a row of next year would open a
/// partition of next year. A day covers every time zone taken for another.
const AHEAD_MS_MAX: i64 = 24 * 60 * 60 * 1000;

/// A record as the decoders see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a> {
    pub(crate) offset: Offset,
    /// Its place among the user records of an aggregated record, from 0; 0 of a plain record.
    pub(crate) sub_sequence: u32,
    pub(crate) arrival: Millis,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) payload: &'a [u8],
    pub(crate) headers: Headers<'a>,
}

/// The headers that mean something here.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Headers<'a> {
    pub(crate) format: Option<&'a [u8]>,
    pub(crate) fields: Option<&'a [u8]>,
    pub(crate) id: Option<&'a [u8]>,
    pub(crate) simulated: bool,
}

impl<'a> Headers<'a> {
    pub(crate) fn read(headers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut read = Self::default();
        for (name, value) in headers {
            if name == Header::FORMAT.as_bytes() {
                read.format = Some(value);
            } else if name == Header::FIELDS.as_bytes() {
                read.fields = Some(value);
            } else if name == Header::ID.as_bytes() {
                read.id = Some(value);
            } else if name == Header::SIMULATED.as_bytes() {
                read.simulated = value == b"1";
            }
        }
        read
    }
}

/// What a payload says besides its columns.
#[derive(Debug, Default)]
pub(crate) struct Found<'a> {
    /// Milliseconds since 1970.
    pub(crate) event_time: Option<i64>,
    pub(crate) id: Option<Cow<'a, str>>,
}

/// A record that became no row, and why.
#[derive(Clone, Debug)]
pub(crate) struct Refused<'a> {
    pub(crate) raw: Raw<'a>,
    pub(crate) reason: String,
}

/// Decoded records: row n of `batch` is the record `raws[n]` with the event time `event_times[n]`.
#[derive(Debug)]
pub(crate) struct Decoded<'a> {
    pub(crate) batch: RecordBatch,
    pub(crate) raws: Vec<Raw<'a>>,
    pub(crate) event_times: Vec<i64>,
    pub(crate) refused: Vec<Refused<'a>>,
    /// How many more these are than the records of the stream they came in.
    pub(crate) unpacked: u64,
}

/// A batch while its records are read.
struct Draft<'a> {
    builders: Vec<Builder>,
    /// The values of one row, all null between two records.
    cells: Vec<Cell<'a>>,
    texts: Vec<Option<&'a str>>,
    raws: Vec<Raw<'a>>,
    event_times: Vec<i64>,
    refused: Vec<Refused<'a>>,
}

/// Reads the records of one shard of one table.
#[derive(Debug)]
pub(crate) struct Decoder {
    columns: RecordColumns,
    schema: SchemaRef,
    shard: ShardId,
    format: Format,
    json: JsonReader,
    cdn: CdnReader,
    combined: CombinedReader,
}

impl Decoder {
    /// `fields` are the numbers of the fields of CDN lines without a header; `event_time` names the column that has the
    /// event time, if the table says so.
    pub(crate) fn new(
        columns: RecordColumns,
        shard: ShardId,
        format: Format,
        fields: &[u8],
        event_time: Option<&str>,
    ) -> Self {
        Self {
            schema: columns.schema(),
            json: JsonReader::new(&columns, event_time),
            cdn: CdnReader::new(&columns, fields, event_time),
            combined: CombinedReader::new(&columns),
            columns,
            shard,
            format,
        }
    }

    /// Reads all records; `expected` is about how many they are.
    pub(crate) fn decode<'a>(&mut self, records: impl Iterator<Item = Raw<'a>>, expected: usize) -> Decoded<'a> {
        let mut draft = Draft {
            builders: self.columns.iter().map(|column| Builder::new(column.kind, expected)).collect(),
            cells: vec![Cell::Null; self.columns.len()],
            texts: Vec::new(),
            raws: Vec::with_capacity(expected),
            event_times: Vec::with_capacity(expected),
            refused: Vec::new(),
        };
        let mut unpacked = 0;
        for raw in records {
            match aggregate::unpack(raw.payload) {
                None => self.add(raw, &mut draft),
                Some(Ok(users)) => {
                    unpacked += users.len() as u64 - 1;
                    for (sub_sequence, user) in (0..).zip(users) {
                        // The door's id is that of the whole; each of the many may bring its own.
                        let headers = Headers { id: None, ..raw.headers };
                        let user = Raw { sub_sequence, key: Some(user.key), payload: user.data, headers, ..raw };
                        self.add(user, &mut draft);
                    }
                }
                Some(Err(broken)) => draft.refused.push(Refused { raw, reason: broken.to_string() }),
            }
        }
        let columns = draft.builders.into_iter().map(Builder::finish).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .expect("each builder has the type of its column and one value per row");
        Decoded { batch, raws: draft.raws, event_times: draft.event_times, refused: draft.refused, unpacked }
    }

    /// Reads one record as a row of the draft, or notes why it is none.
    fn add<'a>(&mut self, raw: Raw<'a>, draft: &mut Draft<'a>) {
        match self.read(raw, &mut draft.texts, &mut draft.cells) {
            Ok(event_time) => {
                for (builder, cell) in draft.builders.iter_mut().zip(&mut draft.cells) {
                    builder.push(std::mem::take(cell));
                }
                draft.raws.push(raw);
                draft.event_times.push(event_time);
            }
            Err(reason) => {
                draft.cells.fill(Cell::Null);
                draft.refused.push(Refused { raw, reason });
            }
        }
    }

    /// Reads one record into `cells`, which are all null before; the answer is its event time.
    fn read<'a>(
        &mut self,
        raw: Raw<'a>,
        texts: &mut Vec<Option<&'a str>>,
        cells: &mut [Cell<'a>],
    ) -> Result<i64, String> {
        let found = match self.format_of(raw)? {
            Format::Json => self.json.read(raw.payload, texts, cells)?,
            Format::Cdn => self.cdn.read(raw.payload, raw.headers.fields, cells)?,
            Format::Combined => self.combined.read(raw.payload, cells)?,
        };
        let event_time = found.event_time.unwrap_or(raw.arrival.0);
        check_event_time(event_time, raw.arrival)?;
        let mut id = found.id;
        for (cell, column) in cells.iter_mut().zip(self.columns.iter()) {
            let Some(own) = column.own else { continue };
            *cell = match own {
                Own::EventTime => Cell::Timestamp(event_time),
                Own::ArrivalTime => Cell::Timestamp(raw.arrival.0),
                Own::PartitionKey => text(raw.key),
                Own::Shard => Cell::Int(i32::try_from(self.shard.0).unwrap_or(i32::MAX)),
                Own::Offset => Cell::Long(i64::try_from(raw.offset.0).unwrap_or(i64::MAX)),
                Own::SubSequence => Cell::Long(i64::from(raw.sub_sequence)),
                Own::Payload => text(Some(raw.payload)),
                Own::Simulated => Cell::Boolean(raw.headers.simulated),
                Own::Id => match raw.headers.id {
                    Some(id) => text(Some(id)),
                    None => id.take().map_or(Cell::Null, Cell::Text),
                },
            };
        }
        Ok(event_time)
    }

    /// The record's own word on its format wins over the table's.
    fn format_of(&self, raw: Raw<'_>) -> Result<Format, String> {
        let Some(name) = raw.headers.format else { return Ok(self.format) };
        std::str::from_utf8(name).ok().and_then(Format::by_name).ok_or_else(|| {
            let known: Vec<&str> = Format::ALL.into_iter().map(Format::name).collect();
            format!("header `format`: expected {}, found {:?}", known.join(", "), String::from_utf8_lossy(name))
        })
    }
}

fn text(bytes: Option<&[u8]>) -> Cell<'_> {
    bytes.map_or(Cell::Null, |bytes| Cell::Text(String::from_utf8_lossy(bytes)))
}

/// Whether a row of that event time may go into the table.
pub(crate) fn check_event_time(event_time: i64, arrival: Millis) -> Result<(), String> {
    if event_time < 0 {
        return Err(format!("event_time: expected a time after 1970, found {}", show_time(event_time)));
    }
    if event_time > arrival.plus_ms(AHEAD_MS_MAX).0 {
        return Err(format!(
            "event_time: expected at most a day after the arrival ({}), found {}",
            show_time(arrival.0),
            show_time(event_time)
        ));
    }
    Ok(())
}

fn show_time(ms: i64) -> String {
    match chrono::DateTime::from_timestamp_millis(ms) {
        Some(time) => time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        None => format!("{ms} ms since 1970"),
    }
}

#[cfg(test)]
#[path = "decode/aggregate_tests.rs"]
pub(crate) mod aggregate_tests;
#[cfg(test)]
#[path = "decode/tests.rs"]
mod tests;

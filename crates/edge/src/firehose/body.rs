//! The body of a delivery: `{requestId, timestamp, records: [{data}]}`. All records are decoded into one buffer, so that
//! a body of many empty records costs little more than itself.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::kinesis::wire::append_base64;

/// Records of one delivery: each costs four bytes beside its own.
pub(crate) const RECORDS_MAX: usize = 500_000;

/// Lines of one delivery: those of sixteen bytes in the largest. Each costs four bytes beside its own.
pub(crate) const LINES_MAX: usize = 4_000_000;

/// Characters of the JSON around a record.
const AROUND_RECORD: usize = r#"{"data":""}"#.len();

/// Bytes of memory for where a record ends, while the list of them grows.
const END_BYTES: usize = 2 * size_of::<u32>();

/// A delivery, read.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    pub(crate) request_id: Option<String>,
    pub(crate) timestamp: Option<i64>,
    pub(crate) records: Option<Records>,
}

/// Records one after the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Records {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<u32>,
}

impl Records {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The records of that range of numbers.
    pub(crate) fn range(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> + Clone {
        range.map(|number| self.get(number))
    }

    fn get(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.bytes[start..self.ends[number] as usize]
    }

    /// The number up to which records from `from` on are one batch of at most so many records and bytes, at least one.
    pub(crate) fn chunk_end(&self, from: usize, records_max: usize, bytes_max: usize) -> usize {
        let mut bytes = 0;
        let within = (from..self.len()).take(records_max).take_while(|number| {
            bytes += self.get(*number).len();
            bytes <= bytes_max
        });
        (from + within.count().max(1)).min(self.len())
    }

    /// Bytes of memory held.
    pub(crate) fn room(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<u32>()
    }

    /// How many lines there are at most: empty ones are counted here.
    pub(crate) fn lines_most(&self) -> usize {
        self.len() + memchr::memchr_iter(b'\n', &self.bytes).count()
    }

    /// Bytes of memory for so many lines of these records.
    pub(crate) fn room_for_lines(&self, lines: usize) -> usize {
        self.bytes.len() + lines * size_of::<u32>()
    }

    /// Each line as a record of its own, without its end; empty lines are none. `most` is what [`Self::lines_most`] says.
    pub(crate) fn lines(&self, most: usize) -> Self {
        let mut lines = Self { bytes: Vec::with_capacity(self.bytes.len()), ends: Vec::with_capacity(most) };
        for line in self.range(0..self.len()).flat_map(|record| record.split(|byte| *byte == b'\n')) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() {
                lines.bytes.extend_from_slice(line);
                // No longer than the records, whose length fits.
                lines.ends.push(u32::try_from(lines.bytes.len()).unwrap_or(u32::MAX));
            }
        }
        lines
    }
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    data: Cow<'a, str>,
}

/// Bytes of memory that the records of a body may need, at most: three for four characters of base64.
pub(crate) fn room_for(body_bytes: usize) -> usize {
    body_bytes.div_ceil(4) * 3 + (body_bytes / AROUND_RECORD + 4).min(RECORDS_MAX) * END_BYTES
}

/// Reads records into one buffer, which is made for all of them.
#[derive(Clone, Copy)]
struct Reading {
    body_bytes: usize,
}

impl<'de> DeserializeSeed<'de> for Reading {
    type Value = Records;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Records, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Reading {
    type Value = Records;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Records, A::Error> {
        let mut records = Records { bytes: Vec::with_capacity(self.body_bytes.div_ceil(4) * 3), ends: Vec::new() };
        while let Some(record) = list.next_element::<Record<'_>>()? {
            if records.len() == RECORDS_MAX {
                return Err(A::Error::custom(format_args!("more than {RECORDS_MAX} records")));
            }
            append_base64(&record.data, &mut records.bytes).map_err(A::Error::custom)?;
            let end = u32::try_from(records.bytes.len()).map_err(|_| A::Error::custom("more than 4 GiB"))?;
            records.ends.push(end);
        }
        Ok(records)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Member {
    RequestId,
    Timestamp,
    Records,
    #[serde(other)]
    Other,
}

impl<'de> Visitor<'de> for Whole {
    type Value = Delivery;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{requestId, timestamp, records}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Delivery, A::Error> {
        let mut delivery = Delivery::default();
        let twice = |known: bool, name| if known { Err(A::Error::duplicate_field(name)) } else { Ok(()) };
        while let Some(member) = members.next_key::<Member>()? {
            match member {
                Member::RequestId => {
                    twice(delivery.request_id.is_some(), "requestId")?;
                    delivery.request_id = members.next_value()?;
                }
                Member::Timestamp => {
                    twice(delivery.timestamp.is_some(), "timestamp")?;
                    delivery.timestamp = members.next_value()?;
                }
                Member::Records => {
                    twice(delivery.records.is_some(), "records")?;
                    delivery.records = Some(members.next_value_seed(Reading { body_bytes: self.body_bytes })?);
                }
                Member::Other => drop(members.next_value::<serde::de::IgnoredAny>()?),
            }
        }
        Ok(delivery)
    }
}

/// Reads a delivery.
struct Whole {
    body_bytes: usize,
}

/// Reads a body. The records hold no more than [`room_for`] says.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn parse(body: &[u8]) -> Result<Delivery, String> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = reader.deserialize_map(Whole { body_bytes: body.len() });
    read.and_then(|delivery| reader.end().map(|()| delivery)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_body_needs_more_memory_than_was_said() {
        let many = |record: &str, times: usize| format!("{{\"records\":[{}]}}", vec![record; times].join(","));
        for body in [
            "{\"records\":[]}".to_owned(),
            many("{\"data\":\"\"}", 100_000),
            many("{\"data\":\"YQ==\"}", 77_777),
            many("{\"data\":\"YWJj\"}", 3),
            many(&format!("{{\"data\":\"{}\"}}", "YQpi".repeat(100_000)), 2),
        ] {
            let records = parse(body.as_bytes()).expect("a delivery").records.expect("records");
            assert!(records.room() <= room_for(body.len()), "{} of {}", records.room(), room_for(body.len()));
            let most = records.lines_most();
            let lines = records.lines(most);
            assert!(lines.len() <= most && lines.room() <= records.room_for_lines(most));
        }
    }

    #[test]
    fn members_come_in_any_order_once_each_and_others_are_passed_over() {
        let read = |body: &str| parse(body.as_bytes());
        let delivery =
            read(r#"{"x":[{}],"records":[{"data":"YQ==","y":1}],"timestamp":7,"requestId":"a"}"#).expect("one");
        assert_eq!((delivery.request_id.as_deref(), delivery.timestamp), (Some("a"), Some(7)));
        assert_eq!(delivery.records.map(|records| records.len()), Some(1));
        assert!(read(r#"{"requestId":null}"#).is_ok_and(|delivery| delivery.request_id.is_none()));
        for wrong in [
            "[]",
            "[\"a\",1,[]]",
            "{} {}",
            r#"{"records":null}"#,
            r#"{"records":[],"records":[]}"#,
            r#"{"requestId":"a","requestId":"b"}"#,
            r#"{"timestamp":1,"timestamp":1}"#,
            r#"{"timestamp":"1"}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}

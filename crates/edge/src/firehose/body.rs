//! The body of a delivery: `{requestId, timestamp, records: [{data}]}`. All records are decoded into one buffer, so that
//! a body of many empty records costs little more than itself.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use crate::kinesis::wire::append_base64;

/// Records of one delivery: each costs four bytes beside its own.
pub(crate) const RECORDS_MAX: usize = 500_000;

/// A delivery, read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Delivery {
    #[serde(rename = "requestId")]
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

    /// Each line as a record of its own, without its end; empty lines are none.
    pub(crate) fn lines(&self) -> Self {
        let mut lines = Self { bytes: Vec::with_capacity(self.bytes.len()), ends: Vec::with_capacity(self.len()) };
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

impl<'de> Deserialize<'de> for Records {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Taking;
        impl<'de> Visitor<'de> for Taking {
            type Value = Records;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of records")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Records, A::Error> {
                let mut records = Records::default();
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
        deserializer.deserialize_seq(Taking)
    }
}

/// Reads a body.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn parse(body: &[u8]) -> Result<Delivery, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

//! Reading records out of a batch, without copying.

use base::{Millis, Offset};

use super::header::{Damage, Header};
use crate::varint;

/// A record as it lies in fetched bytes.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// Its place in the shard.
    pub offset: Offset,
    /// Arrival time; never earlier than that of the record before it.
    pub timestamp: Millis,
    /// Partition key.
    pub key: Option<&'a [u8]>,
    /// Payload. (A null payload, which only foreign producers write, reads as empty.)
    pub value: &'a [u8],
    /// Whether it lies encrypted in the log.
    pub encrypted: bool,
    headers: &'a [u8],
    headers_count: u32,
}

impl<'a> RecordView<'a> {
    /// The value of the first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
    }

    /// All headers, names and values, in order.
    pub fn headers(&self) -> HeaderViews<'a> {
        HeaderViews { rest: self.headers, left: self.headers_count }
    }
}

/// The headers of a record.
#[derive(Clone, Debug)]
pub struct HeaderViews<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Iterator for HeaderViews<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let name = take_bytes(&mut self.rest)??;
        let value = take_bytes(&mut self.rest)?;
        Some((name, value.unwrap_or_default()))
    }
}

/// The records of one batch whose CRC was right. Ends after the first malformed one.
#[derive(Clone, Debug)]
pub(crate) struct Records<'a> {
    base_offset: u64,
    base_timestamp: i64,
    /// The one time of all records, if the batch carries it instead of theirs.
    append_time: Option<i64>,
    encrypted: bool,
    count: u32,
    index: u32,
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// Over `records`, the bytes after the header, inflated.
    pub(crate) fn new(header: &Header, records: &'a [u8]) -> Self {
        Self {
            base_offset: header.base_offset,
            base_timestamp: header.base_timestamp,
            append_time: header.is_log_append_time().then_some(header.max_timestamp),
            encrypted: header.is_encrypted(),
            count: header.count,
            index: 0,
            rest: records,
        }
    }

    fn read(&mut self) -> Option<RecordView<'a>> {
        let length = varint::take_length(&mut self.rest)??;
        let (mut body, rest) = self.rest.split_at(length);
        self.rest = rest;
        let (_attributes, after) = body.split_first()?;
        body = after;
        let time_delta = varint::take(&mut body)?;
        let offset_delta = varint::take(&mut body)?;
        if offset_delta != i64::from(self.index) {
            return None;
        }
        let key = take_bytes(&mut body)?;
        let value = take_bytes(&mut body)?.unwrap_or_default();
        let headers_count = u32::try_from(varint::take(&mut body)?).ok()?;
        let headers = body;
        for _ in 0..headers_count {
            take_bytes(&mut body)??;
            take_bytes(&mut body)?;
        }
        let last = self.index + 1 == self.count;
        if !body.is_empty() || (last && !self.rest.is_empty()) {
            return None;
        }
        let timestamp = self.append_time.unwrap_or_else(|| self.base_timestamp.saturating_add(time_delta));
        let offset = Offset(self.base_offset + u64::from(self.index));
        let encrypted = self.encrypted;
        Some(RecordView { offset, timestamp: Millis(timestamp), key, value, encrypted, headers, headers_count })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.count {
            return None;
        }
        let Some(record) = self.read() else {
            let damage = Damage::Record { index: self.index };
            self.index = self.count;
            return Some(Err(damage));
        };
        self.index += 1;
        Some(Ok(record))
    }
}

/// A length and that many bytes; `Some(None)` for null.
fn take_bytes<'a>(from: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let Some(length) = varint::take_length(from)? else { return Some(None) };
    let (bytes, rest) = from.split_at(length);
    *from = rest;
    Some(Some(bytes))
}

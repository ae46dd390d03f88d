//! Building a batch: all encoding happens in the caller's thread.

use base::Millis;
use base::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, KEY_BYTES_MAX};

use super::compress::{Compression, inflate};
use super::header::{self, Damage, HEADER_BYTES, Header};
use super::read::Records;
use super::stamp::Stamp;
use crate::error::BatchError;
use crate::limit::{HEADERS_BYTES_MAX, HEADERS_MAX, RECORD_BYTES_POSSIBLE};
use crate::varint;

/// A record as it is put into a batch; everything is borrowed and copied once.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordRef<'a> {
    /// Arrival time, given by the door.
    pub timestamp: Millis,
    /// Partition key.
    pub key: Option<&'a [u8]>,
    /// Payload.
    pub value: &'a [u8],
    /// Headers, names and values, in order.
    pub headers: &'a [(&'a [u8], &'a [u8])],
}

/// A batch being built.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    bytes: Vec<u8>,
    count: u32,
    first_timestamp: i64,
    last_timestamp: i64,
    sizes: Sizes,
    compression: Compression,
    stamp: Option<Stamp>,
}

/// An encoded batch, ready to be appended. Only its offset is still open.
#[derive(Clone, Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    count: u32,
    first_timestamp: i64,
    last_timestamp: i64,
    sizes: Sizes,
    stamp: Option<Stamp>,
}

/// What the records of a batch carry.
#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    /// Bytes of keys and payloads.
    sum: u64,
    /// Bytes of the largest payload.
    largest: usize,
}

impl Sizes {
    fn add(&mut self, key: Option<&[u8]>, value: &[u8]) {
        let bytes = key.map_or(0, <[u8]>::len) + value.len();
        self.sum += bytes as u64;
        self.largest = self.largest.max(value.len());
    }
}

impl BatchBuilder {
    /// Stores the records compressed, where that makes them smaller.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Says who sends the batch, and which of theirs it is: the log then stores it once, however often it is appended.
    #[must_use]
    pub fn stamp(mut self, stamp: Stamp) -> Self {
        self.stamp = Some(stamp);
        self
    }

    /// Makes room for about `bytes` of records at once.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes.min(BATCH_BYTES_MAX));
    }

    /// Adds a record. Its arrival time is raised to that of the record before it, if it is earlier.
    ///
    /// # Errors
    /// [`BatchError::Full`]: finish this batch and start another. [`BatchError::TooLarge`]: the record fits no batch.
    pub fn push(&mut self, record: RecordRef<'_>) -> Result<(), BatchError> {
        check_sizes(&record)?;
        let timestamp = if self.count == 0 { record.timestamp.0 } else { record.timestamp.0.max(self.last_timestamp) };
        let first = if self.count == 0 { timestamp } else { self.first_timestamp };
        let time_delta = timestamp.saturating_sub(first);
        let body = body_size(&record, time_delta, self.count);
        let size = varint::size(body as i64) + body;
        if self.len() >= BATCH_RECORDS_MAX || self.bytes.len() + size > BATCH_BYTES_MAX {
            return Err(BatchError::Full { records: self.len(), bytes: self.bytes() });
        }
        self.bytes.reserve(size);
        write_record(&mut self.bytes, body, &record, time_delta, self.count);
        self.first_timestamp = first;
        self.last_timestamp = timestamp;
        self.sizes.add(record.key, record.value);
        self.count += 1;
        Ok(())
    }

    /// Records so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether no record was pushed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Encoded bytes so far, before compression.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The batch. Appending an empty one does nothing.
    #[must_use]
    pub fn finish(mut self) -> Batch {
        let mut codec = Compression::None.codec();
        if let Some(deflated) = self.compression.deflate(&self.bytes[HEADER_BYTES..]) {
            self.bytes.truncate(HEADER_BYTES);
            self.bytes.extend_from_slice(&deflated);
            codec = self.compression.codec();
        }
        let header = Header {
            base_offset: 0,
            bytes: self.bytes.len(),
            leader_epoch: 0,
            crc: 0,
            attributes: codec,
            base_timestamp: self.first_timestamp,
            max_timestamp: self.last_timestamp,
            producer: self.stamp.map_or((-1, -1, -1), |stamp| (stamp.producer(), stamp.epoch(), stamp.sequence())),
            count: self.count.max(1),
        };
        header.write(self.bytes.first_chunk_mut().expect("a builder starts with room for the header"));
        header::seal(&mut self.bytes);
        Batch {
            bytes: self.bytes,
            count: self.count,
            first_timestamp: self.first_timestamp,
            last_timestamp: self.last_timestamp,
            sizes: self.sizes,
            stamp: self.stamp,
        }
    }
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self {
            bytes: vec![0; HEADER_BYTES],
            count: 0,
            first_timestamp: 0,
            last_timestamp: 0,
            sizes: Sizes::default(),
            compression: Compression::None,
            stamp: None,
        }
    }
}

impl Batch {
    /// Starts a batch.
    #[must_use]
    pub fn builder() -> BatchBuilder {
        BatchBuilder::default()
    }

    /// Takes a batch that somebody else encoded, after checking every byte of it: the door for producers that speak
    /// this format. Offset and leader epoch are ignored; producer id, epoch and sequence are kept, and judged when the
    /// batch is appended.
    ///
    /// # Errors
    /// [`BatchError::Malformed`] or [`BatchError::TooLarge`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BatchError> {
        if bytes.len() > BATCH_BYTES_MAX {
            return Err(BatchError::TooLarge { part: "batch", found: bytes.len(), max: BATCH_BYTES_MAX });
        }
        let header = Header::parse(&bytes).map_err(BatchError::Malformed)?;
        header::verify_crc(&bytes, &header).map_err(BatchError::Malformed)?;
        if header.is_encrypted() {
            return Err(BatchError::Malformed(Damage::Encrypted));
        }
        let stamp = header.check_stamp().map_err(BatchError::Malformed)?;
        let inflated = inflate(header.codec(), &bytes[HEADER_BYTES..]).map_err(BatchError::Malformed)?;
        let mut ordered = true;
        let mut last = i64::MIN;
        let mut sizes = Sizes::default();
        for record in Records::new(&header, inflated.as_deref().unwrap_or(&bytes[HEADER_BYTES..])) {
            let record = record.map_err(BatchError::Malformed)?;
            sizes.add(record.key, record.value);
            let timestamp = record.timestamp.0;
            ordered &= timestamp >= last;
            last = last.max(timestamp);
        }
        ordered &= last == header.max_timestamp && header.first_timestamp() <= last;
        // Times that go backward within the batch are clamped by the log like those that go backward between batches.
        let first_timestamp = if ordered { header.first_timestamp() } else { i64::MIN };
        Ok(Self { count: header.count, first_timestamp, last_timestamp: last, sizes, stamp, bytes })
    }

    /// Records in the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is no record in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Encoded bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Who sent it and which of theirs it is, if an idempotent producer did.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }

    /// Bytes of all keys and payloads, before compression.
    pub(crate) fn weight(&self) -> u64 {
        self.sizes.sum
    }

    /// Bytes of the largest payload.
    pub(crate) fn largest(&self) -> usize {
        self.sizes.largest
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Has `seal` change the records in place and say what follows them, about `more` bytes.
    pub(crate) fn seal_records(&mut self, more: usize, seal: impl FnOnce(&mut [u8], &mut Vec<u8>)) {
        let mut trailer = Vec::with_capacity(more);
        seal(&mut self.bytes[HEADER_BYTES..], &mut trailer);
        self.bytes.extend_from_slice(&trailer);
        header::set_encrypted(&mut self.bytes);
        header::seal(&mut self.bytes);
    }

    /// Gives the batch its place. `last` is the greatest arrival time of the shard so far: if any record here is
    /// earlier, all get the greater of `last` and the batch's own latest time, as *log append time*. (Shifting the batch
    /// instead would let times creep ahead of the clock when many appenders overlap.) Returns the latest time now.
    pub(crate) fn place(&mut self, offset: u64, leader_epoch: i32, last: i64) -> i64 {
        header::place(&mut self.bytes, offset, leader_epoch);
        if self.is_early(last) {
            self.first_timestamp = last.max(self.last_timestamp);
            self.last_timestamp = self.first_timestamp;
            header::set_log_append_time(&mut self.bytes, self.last_timestamp);
            header::seal(&mut self.bytes);
        }
        self.last_timestamp
    }

    /// Whether any record may have arrived before `last`.
    pub(crate) fn is_early(&self, last: i64) -> bool {
        self.first_timestamp < last || self.first_timestamp == i64::MIN
    }

    /// Arrival times of the first and the last record. The first is `i64::MIN` while they are known to be out of order.
    pub(crate) fn times(&self) -> (i64, i64) {
        (self.first_timestamp, self.last_timestamp)
    }
}

fn check_sizes(record: &RecordRef<'_>) -> Result<(), BatchError> {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    let checks = [
        ("payload", record.value.len(), RECORD_BYTES_POSSIBLE),
        ("key", record.key.map_or(0, <[u8]>::len), KEY_BYTES_MAX),
        ("headers", headers, HEADERS_BYTES_MAX),
        ("list of headers", record.headers.len(), HEADERS_MAX),
    ];
    match checks.into_iter().find(|(_, found, max)| found > max) {
        Some((part, found, max)) => Err(BatchError::TooLarge { part, found, max }),
        None => Ok(()),
    }
}

fn body_size(record: &RecordRef<'_>, time_delta: i64, offset_delta: u32) -> usize {
    let sized = |bytes: &[u8]| varint::size(bytes.len() as i64) + bytes.len();
    let headers: usize = record.headers.iter().map(|(name, value)| sized(name) + sized(value)).sum();
    1 + varint::size(time_delta)
        + varint::size(i64::from(offset_delta))
        + record.key.map_or(1, sized)
        + sized(record.value)
        + varint::size(record.headers.len() as i64)
        + headers
}

fn write_record(into: &mut Vec<u8>, body: usize, record: &RecordRef<'_>, time_delta: i64, offset_delta: u32) {
    varint::put(into, body as i64);
    into.push(0); // attributes of a record: none are defined
    varint::put(into, time_delta);
    varint::put(into, i64::from(offset_delta));
    match record.key {
        Some(key) => put_bytes(into, key),
        None => varint::put(into, -1),
    }
    put_bytes(into, record.value);
    varint::put(into, record.headers.len() as i64);
    for (name, value) in record.headers {
        put_bytes(into, name);
        put_bytes(into, value);
    }
}

fn put_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    varint::put(into, bytes.len() as i64);
    into.extend_from_slice(bytes);
}

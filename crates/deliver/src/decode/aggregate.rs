//! Aggregated records: many user records that a producer library packed into one record of the stream.
//!
//! Layout (awslabs/amazon-kinesis-producer, *KPL Aggregated Record Format*): the magic `F3 89 9A C2`, a protobuf message,
//! and the MD5 of that message. The message (proto2) is
//! `AggregatedRecord { 1: repeated string partition_key_table, 2: repeated string explicit_hash_key_table,
//! 3: repeated Record }`, and a `Record { 1: required uint64 partition_key_index, 2: optional uint64
//! explicit_hash_key_index, 3: required bytes data, 4: repeated Tag }`. Keys stand in their table once; records name them
//! by their place in it.
//!
//! A record that only begins like one, and whose checksum is not that of its message, is a plain record: so the consumer
//! library reads it, too. Nothing is copied: user records are parts of the record they came in.

use md5::{Digest, Md5};

/// How an aggregated record begins. No UTF-8 text begins so.
const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// Bytes of the checksum at the end.
const CHECKSUM_BYTES: usize = 16;

/// User records of one aggregated record, and entries of each of its tables. The smallest record takes six bytes, so a
/// record of 1 MiB cannot have more; of larger ones this bounds the memory that their bytes are unpacked into.
pub(crate) const USER_RECORDS_MAX: usize = 180_000;

/// One of the records in an aggregated record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UserRecord<'a> {
    /// The producer's partition key.
    pub(crate) key: &'a [u8],
    /// The payload.
    pub(crate) data: &'a [u8],
}

/// An aggregated record whose checksum is right and whose message is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error("aggregated record: expected {expected} at byte {at} of its message, which has {len} bytes")]
    Malformed { expected: &'static str, at: usize, len: usize },
    #[error("aggregated record: user record {index} names key {key} of {keys}")]
    NoSuchKey { index: usize, key: u64, keys: usize },
    #[error("aggregated record: user record {index} has no {what}")]
    Missing { index: usize, what: &'static str },
    #[error("aggregated record: expected at most {USER_RECORDS_MAX} user records and keys, found more")]
    TooMany,
    #[error("aggregated record: it has no user record")]
    Empty,
}

/// Whether it begins like an aggregated record.
pub(crate) fn begins_like_one(payload: &[u8]) -> bool {
    payload.starts_with(&MAGIC)
}

/// The user records of an aggregated record, in their order, at least one; `None` for a plain record.
pub(crate) fn unpack(payload: &[u8]) -> Option<Result<Vec<UserRecord<'_>>, Broken>> {
    let (message, checksum) = payload.strip_prefix(&MAGIC)?.split_last_chunk::<CHECKSUM_BYTES>()?;
    if message.is_empty() || Md5::digest(message).as_slice() != checksum {
        return None;
    }
    Some(read_message(message))
}

/// A `Record` as it stands in the message, its keys still numbers.
struct Packed<'a> {
    key: u64,
    explicit_hash_key: Option<u64>,
    data: &'a [u8],
}

fn read_message<'a>(message: &'a [u8]) -> Result<Vec<UserRecord<'a>>, Broken> {
    let (mut keys, mut explicit_hash_keys, mut records) = (Vec::new(), 0usize, Vec::new());
    let mut fields = Fields::new(message, 0);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes { bytes, .. }) => keys.push(bytes),
            (2, Value::Bytes { .. }) => explicit_hash_keys += 1,
            (3, Value::Bytes { bytes, at }) => records.push(read_record(bytes, at, records.len())?),
            (1..=3, Value::Number(_) | Value::Other) => return Err(fields.malformed("a field with its length")),
            _ => {} // fields of a later version
        }
        if keys.len().max(explicit_hash_keys).max(records.len()) > USER_RECORDS_MAX {
            return Err(Broken::TooMany);
        }
    }
    if records.is_empty() {
        return Err(Broken::Empty);
    }
    // Only now: the tables may stand behind the records that refer to them.
    let user = |(index, record): (usize, &Packed<'a>)| {
        if let Some(hash) = record.explicit_hash_key.filter(|hash| *hash >= explicit_hash_keys as u64) {
            return Err(Broken::NoSuchKey { index, key: hash, keys: explicit_hash_keys });
        }
        let key = usize::try_from(record.key).ok().and_then(|place| keys.get(place).copied());
        let key = key.ok_or(Broken::NoSuchKey { index, key: record.key, keys: keys.len() })?;
        Ok(UserRecord { key, data: record.data })
    };
    records.iter().enumerate().map(user).collect()
}

fn read_record(bytes: &[u8], at: usize, index: usize) -> Result<Packed<'_>, Broken> {
    let (mut key, mut explicit_hash_key, mut data) = (None, None, None);
    let mut fields = Fields::new(bytes, at);
    while let Some((number, value)) = fields.next()? {
        // As everywhere in protobuf, the last of a repeated single field counts.
        match (number, value) {
            (1, Value::Number(number)) => key = Some(number),
            (2, Value::Number(number)) => explicit_hash_key = Some(number),
            (3, Value::Bytes { bytes, .. }) => data = Some(bytes),
            (1 | 2, _) => return Err(fields.malformed("a number")),
            (3, _) => return Err(fields.malformed("a field with its length")),
            _ => {} // tags, and fields of a later version
        }
    }
    Ok(Packed {
        key: key.ok_or(Broken::Missing { index, what: "partition key" })?,
        explicit_hash_key,
        data: data.ok_or(Broken::Missing { index, what: "data" })?,
    })
}

/// The value of one protobuf field.
enum Value<'a> {
    Number(u64),
    Bytes {
        bytes: &'a [u8],
        /// Where they begin in the message.
        at: usize,
    },
    /// Of a fixed width, which no field here has.
    Other,
}

/// The fields of a protobuf message, one after the other.
struct Fields<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Where these bytes begin in the whole message, for what is told.
    begin: usize,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8], begin: usize) -> Self {
        Self { bytes, position: 0, begin }
    }

    /// The next field's number and value; `None` at the end.
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Broken> {
        if self.position == self.bytes.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Other)?,
            2 => {
                let length = self.varint()?;
                let at = self.begin + self.position;
                let bytes = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
                Value::Bytes { bytes, at }
            }
            5 => self.take(4).map(|_| Value::Other)?,
            _ => return Err(self.malformed("a wire type of protobuf")),
        };
        Ok(Some((tag >> 3, value)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Broken> {
        let end = self.position.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| self.malformed("as many bytes as the length before them says"))?;
        let bytes = &self.bytes[self.position..end];
        self.position = end;
        Ok(bytes)
    }

    /// A number of up to ten bytes, seven bits each, the lowest first.
    fn varint(&mut self) -> Result<u64, Broken> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let Some(byte) = self.bytes.get(self.position) else { break };
            self.position += 1;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.malformed("a number of 64 bits"))
    }

    fn malformed(&self, expected: &'static str) -> Broken {
        Broken::Malformed { expected, at: self.begin + self.position, len: self.begin + self.bytes.len() }
    }
}

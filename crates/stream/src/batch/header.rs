//! The fixed 61 bytes at the front of every batch.

use super::stamp::Stamp;
use crate::limit::BATCH_ON_DISK_BYTES_MAX;

/// Bytes of a batch before its records.
pub(crate) const HEADER_BYTES: usize = 61;
/// Bytes before and including the length field, which the length does not count.
const UNCOUNTED_BYTES: usize = 12;
/// Where the bytes that the CRC covers begin.
const CRC_FROM: usize = 21;
const MAGIC: u8 = 2;

const CODEC_MASK: i16 = 0b111;
const LOG_APPEND_TIME: i16 = 0b1000;
/// Ours: unused in the published format, whose attributes end at bit 6.
const ENCRYPTED: i16 = 1 << 14;

/// What is wrong with bytes that should be a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// Fewer bytes than the batch says it has.
    #[error("expected {expected} bytes, only {found} are there")]
    Short {
        /// Bytes needed.
        expected: usize,
        /// Bytes there.
        found: usize,
    },
    /// The format number is not 2.
    #[error("expected record batch format 2, found {0}")]
    Magic(u8),
    /// A length no batch has.
    #[error("the batch claims a length of {0} bytes")]
    Length(i32),
    /// The batch is not the one that belongs here.
    #[error("expected the batch of offset {expected}, found that of {found}")]
    Offset {
        /// The offset that belongs here.
        expected: u64,
        /// The offset found.
        found: i64,
    },
    /// The group number does not continue that of the batch before.
    #[error("the batch does not continue the commit before it")]
    Group,
    /// The number of records and the offsets do not agree.
    #[error("the batch claims {count} records and a last offset delta of {last_delta}")]
    Count {
        /// Records claimed.
        count: i32,
        /// Last offset delta claimed.
        last_delta: i32,
    },
    /// The bytes are not those that were written.
    #[error("expected CRC {stored:08x}, found {computed:08x}")]
    Crc {
        /// As stored.
        stored: u32,
        /// Of the bytes there.
        computed: u32,
    },
    /// A compression this log cannot read.
    #[error("compression {0} is not supported: use none, lz4 or zstd")]
    Codec(i16),
    /// The compressed bytes do not inflate, or to too much.
    #[error("decompressing failed: {0}")]
    Inflate(String),
    /// The records are sealed, and not for this place: another shard's, or changed.
    #[error("the encrypted records do not open: they belong to another shard, or were changed")]
    Sealed,
    /// A batch from outside claims to be encrypted by this log.
    #[error("the batch claims to be encrypted: expected records that can be read")]
    Encrypted,
    /// A producer with a negative epoch or sequence number.
    #[error("the batch names producer {producer} with epoch {epoch} and sequence {sequence}: expected none below 0")]
    Stamp {
        /// The producer's id.
        producer: i64,
        /// Its epoch.
        epoch: i16,
        /// The first sequence number.
        sequence: i32,
    },
    /// A record within the batch is malformed, although the CRC is right.
    #[error("record {index} of the batch is malformed")]
    Record {
        /// Its place in the batch, from 0.
        index: u32,
    },
    /// The file ends before what is known to have been synced.
    #[error("expected at least {expected} bytes of synced records, the file has {found}")]
    Truncated {
        /// Bytes known to have been synced.
        expected: u64,
        /// Bytes there.
        found: u64,
    },
    /// All segments are missing, although some were kept.
    #[error("expected the segment of offset {start}, there is none")]
    Missing {
        /// The first offset kept.
        start: u64,
    },
    /// A closed shard does not end where it was closed.
    #[error("the shard was closed at offset {expected}, its records end at {found}")]
    Ended {
        /// Where it was closed.
        expected: u64,
        /// Where its records end.
        found: u64,
    },
    /// A segment is missing: the next one begins later than this one ends.
    #[error("expected the segment of offset {expected}, the next one begins at {found}")]
    Gap {
        /// The offset that the next segment should begin with.
        expected: u64,
        /// The offset it begins with.
        found: u64,
    },
}

/// The header of a batch, decoded and found plausible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) base_offset: u64,
    /// Bytes of the whole batch, header included.
    pub(crate) bytes: usize,
    pub(crate) leader_epoch: i32,
    pub(crate) crc: u32,
    pub(crate) attributes: i16,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    /// Producer id, epoch and first sequence number, -1 where the producer is not idempotent.
    pub(crate) producer: (i64, i16, i32),
    /// Records, at least 1.
    pub(crate) count: u32,
}

impl Header {
    /// Decodes the front of `bytes`, which need not hold the whole batch.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Damage> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(Damage::Short { expected: HEADER_BYTES, found: bytes.len() });
        };
        if bytes[16] != MAGIC {
            return Err(Damage::Magic(bytes[16]));
        }
        let length = i32_at(bytes, 8);
        let total = usize::try_from(length).unwrap_or(0) + UNCOUNTED_BYTES;
        if !(HEADER_BYTES..=BATCH_ON_DISK_BYTES_MAX).contains(&total) {
            return Err(Damage::Length(length));
        }
        let (count, last_delta) = (i32_at(bytes, 57), i32_at(bytes, 23));
        if count < 1 || last_delta != count - 1 {
            return Err(Damage::Count { count, last_delta });
        }
        let base_offset = i64_at(bytes, 0);
        if base_offset < 0 || base_offset.checked_add(i64::from(count)).is_none() {
            return Err(Damage::Offset { expected: 0, found: base_offset });
        }
        Ok(Self {
            base_offset: base_offset as u64,
            bytes: total,
            leader_epoch: i32_at(bytes, 12),
            crc: i32_at(bytes, 17) as u32,
            attributes: i16_at(bytes, 21),
            base_timestamp: i64_at(bytes, 27),
            max_timestamp: i64_at(bytes, 35),
            producer: (i64_at(bytes, 43), i16_at(bytes, 51), i32_at(bytes, 53)),
            count: count as u32,
        })
    }

    /// Writes all but the offset, the leader epoch and the CRC, which are put in place by [`place`] and [`seal`].
    pub(crate) fn write(&self, into: &mut [u8; HEADER_BYTES]) {
        let length = (self.bytes - UNCOUNTED_BYTES) as i32;
        into[8..12].copy_from_slice(&length.to_be_bytes());
        into[16] = MAGIC;
        into[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        into[23..27].copy_from_slice(&(self.count as i32 - 1).to_be_bytes());
        into[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        into[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        into[43..51].copy_from_slice(&self.producer.0.to_be_bytes());
        into[51..53].copy_from_slice(&self.producer.1.to_be_bytes());
        into[53..57].copy_from_slice(&self.producer.2.to_be_bytes());
        into[57..61].copy_from_slice(&(self.count as i32).to_be_bytes());
    }

    /// Who sent it, if an idempotent producer did.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        let (producer, epoch, sequence) = self.producer;
        Stamp::new(producer, epoch, sequence)
    }

    /// Like [`Header::stamp`], of a batch from outside.
    pub(crate) fn check_stamp(&self) -> Result<Option<Stamp>, Damage> {
        let (producer, epoch, sequence) = self.producer;
        match self.stamp() {
            None if producer >= 0 => Err(Damage::Stamp { producer, epoch, sequence }),
            stamp => Ok(stamp),
        }
    }

    /// The offset after the last record.
    pub(crate) fn end_offset(&self) -> u64 {
        self.base_offset + u64::from(self.count)
    }

    /// The number of the compression codec.
    pub(crate) fn codec(&self) -> i16 {
        self.attributes & CODEC_MASK
    }

    /// Whether every record carries the batch's greatest timestamp instead of its own.
    pub(crate) fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    /// Whether the records are sealed.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.attributes & ENCRYPTED != 0
    }

    /// The attributes as they were before the log placed the batch, and before it was sealed.
    pub(crate) fn fixed_attributes(header: &[u8; HEADER_BYTES]) -> i16 {
        i16_at(header, 21) & !(LOG_APPEND_TIME | ENCRYPTED)
    }

    /// The arrival time of the first record.
    pub(crate) fn first_timestamp(&self) -> i64 {
        if self.is_log_append_time() { self.max_timestamp } else { self.base_timestamp }
    }
}

/// Sets the two fields that the CRC does not cover.
pub(crate) fn place(batch: &mut [u8], base_offset: u64, leader_epoch: i32) {
    batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Makes every record of the batch carry `timestamp`, by the format's own means (*log append time*). The CRC must be
/// sealed anew.
pub(crate) fn set_log_append_time(batch: &mut [u8], timestamp: i64) {
    let attributes = i16::from_be_bytes([batch[21], batch[22]]) | LOG_APPEND_TIME;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[35..43].copy_from_slice(&timestamp.to_be_bytes());
}

/// Notes that the records of a whole batch are sealed, and how long it is now. The CRC must be sealed anew.
pub(crate) fn set_encrypted(batch: &mut [u8]) {
    let attributes = i16::from_be_bytes([batch[21], batch[22]]) | ENCRYPTED;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    let length = (batch.len() - UNCOUNTED_BYTES) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
}

/// The CRC-32C that belongs into bytes 17 to 20 of a whole batch; of fewer than 61 bytes, 0.
#[must_use]
pub fn checksum(batch: &[u8]) -> u32 {
    if batch.len() < HEADER_BYTES { 0 } else { crc32c::crc32c(&batch[CRC_FROM..]) }
}

/// Computes and sets the CRC of a whole batch.
pub(crate) fn seal(batch: &mut [u8]) {
    let crc = checksum(batch);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// Checks the CRC of a whole batch (exactly its bytes).
pub(crate) fn verify_crc(batch: &[u8], header: &Header) -> Result<(), Damage> {
    if batch.len() != header.bytes {
        return Err(Damage::Short { expected: header.bytes, found: batch.len() });
    }
    let computed = crc32c::crc32c(&batch[CRC_FROM..]);
    if computed == header.crc { Ok(()) } else { Err(Damage::Crc { stored: header.crc, computed }) }
}

fn i16_at(bytes: &[u8; HEADER_BYTES], at: usize) -> i16 {
    i16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn i32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> i32 {
    i32::from_be_bytes(*bytes[at..].first_chunk().expect("the header has 61 bytes"))
}

fn i64_at(bytes: &[u8; HEADER_BYTES], at: usize) -> i64 {
    i64::from_be_bytes(*bytes[at..].first_chunk().expect("the header has 61 bytes"))
}

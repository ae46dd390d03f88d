//! What can go wrong, one enum per operation.

use std::io;
use std::path::{Path, PathBuf};

use base::{ErrorKind, Offset, ShardId};

use crate::batch::Damage;
use crate::range::HashRange;
use crate::seal::KeyId;

/// Opening the log or a stream failed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk refused.
    #[error("{doing} {} failed: {source}. Check that the folder exists, is writable and has room", path.display())]
    Io {
        /// What was tried, e.g. `reading`.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the folder open.
    #[error("{} is in use by another process. Stop that one, or use another data folder", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// Not a name for a stream.
    #[error(
        "{name:?} cannot name a stream: expected 1 to {} letters, digits, '_', '-' or '.', not starting with '.'",
        base::limits::NAME_CHARS_MAX
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A setting outside its range.
    #[error("stream {name}: {what}")]
    Settings {
        /// The stream.
        name: String,
        /// What was expected and what was found.
        what: String,
    },
    /// There is a stream of that name.
    #[error("there is a stream {name} already: use it, or choose another name")]
    Exists {
        /// The stream.
        name: String,
    },
    /// There is no stream of that name, or no longer.
    #[error("there is no stream {name} any more")]
    Deleted {
        /// The stream.
        name: String,
    },
    /// Encryption was asked for, and the log was opened without a key.
    #[error("stream {name} cannot be encrypted: no key was given. Start with a key file, or without encryption")]
    NoKey {
        /// The stream.
        name: String,
    },
    /// Changing the number of shards failed.
    #[error("stream {name}: {source}")]
    Reshard {
        /// The stream.
        name: String,
        /// Why.
        source: Box<ReshardError>,
    },
    /// `stream.json` or `start.json` is damaged or of a later version.
    #[error("{}: {what}. Restore the file from a copy", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        what: String,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

impl OpenError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } if is_full(source) => ErrorKind::Full,
            Self::Io { .. } | Self::Closed => ErrorKind::Unavailable,
            Self::Locked { .. } | Self::Exists { .. } => ErrorKind::Conflict,
            Self::Deleted { .. } => ErrorKind::NotFound,
            Self::Reshard { source, .. } => source.kind(),
            Self::Name { .. } | Self::Settings { .. } | Self::NoKey { .. } => ErrorKind::Invalid,
            Self::Metadata { .. } => ErrorKind::Corrupt,
        }
    }
}

/// The shards of a stream were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ReshardError {
    /// There is no such shard.
    #[error("there is no shard {shard}")]
    NoShard {
        /// The shard asked for.
        shard: ShardId,
    },
    /// The shard was closed before.
    #[error("shard {shard} is closed: its keys belong to its children")]
    ShardClosed {
        /// The shard asked for.
        shard: ShardId,
    },
    /// No place to split.
    #[error(
        "shard {shard} has the hashes {} to {}: expected a place to split above the first and up to the last of them, found {at}",
        range.start,
        range.end
    )]
    Point {
        /// The shard asked for.
        shard: ShardId,
        /// The place asked for.
        at: u128,
        /// The hashes of the shard.
        range: HashRange,
    },
    /// The two do not lie side by side.
    #[error("shards {a} and {b} cannot be merged: expected two whose hashes adjoin")]
    Apart {
        /// One of them.
        a: ShardId,
        /// The other.
        b: ShardId,
    },
    /// More than a stream may have.
    #[error("expected 1 to {max} {what}, {asked} are asked for")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// How many there would be.
        asked: usize,
        /// How many there may be.
        max: usize,
    },
    /// The shard's end is not known for certain.
    #[error("shard {shard} cannot be closed: {error}")]
    Shard {
        /// The shard.
        shard: ShardId,
        /// Why it takes no records.
        error: AppendError,
    },
    /// A mistake of ours, found before it did harm.
    #[error("the shards would not fit together: {what}")]
    Wrong {
        /// What does not fit.
        what: String,
    },
    /// The stream was deleted, or the log closed.
    #[error("the stream was deleted or the log closed")]
    Gone,
    /// The disk refused. Unless it had no room, the shards that were to be closed take no records until restart.
    #[error(transparent)]
    Disk(#[from] OpenError),
}

impl ReshardError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoShard { .. } => ErrorKind::NotFound,
            Self::ShardClosed { .. } => ErrorKind::Conflict,
            Self::Point { .. } | Self::Apart { .. } => ErrorKind::Invalid,
            Self::TooMany { .. } => ErrorKind::Full,
            Self::Shard { error, .. } => error.kind(),
            Self::Wrong { .. } => ErrorKind::Internal,
            Self::Gone => ErrorKind::Unavailable,
            Self::Disk(error) => error.kind(),
        }
    }
}

/// A record does not fit a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The batch has its number of records or bytes: finish it and start another.
    #[error("the batch is full with {records} records and {bytes} bytes: finish it and start another")]
    Full {
        /// Records in the batch.
        records: usize,
        /// Encoded bytes of the batch.
        bytes: usize,
    },
    /// A part of the record is larger than any batch may carry.
    #[error("the {part} has {found}, at most {max} are allowed")]
    TooLarge {
        /// `payload`, `key` or `headers`.
        part: &'static str,
        /// Its bytes (or number).
        found: usize,
        /// The limit.
        max: usize,
    },
    /// The batch carries a producer's sequence for one shard, which its records in several shards would not.
    #[error(
        "the batch is numbered by producer {producer} for one shard: its records must be sent anew, numbered for theirs"
    )]
    Stamped {
        /// The producer's id.
        producer: i64,
    },
    /// Bytes that claim to be a batch are none.
    #[error("the batch is malformed: {0}")]
    Malformed(Damage),
}

impl BatchError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Full { .. } => ErrorKind::Full,
            Self::TooLarge { .. } | Self::Malformed(_) => ErrorKind::Invalid,
            Self::Stamped { .. } => ErrorKind::Conflict,
        }
    }
}

/// An append was not done: nothing of the batch counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Too much is waiting already.
    #[error("{waiting} bytes are waiting to be written, at most {max} may: slow down and try again")]
    Throttled {
        /// Bytes in the queue.
        waiting: usize,
        /// Its limit.
        max: usize,
    },
    /// There is no such shard, or no longer.
    #[error("stream {stream} has no shard {shard}")]
    NoShard {
        /// The stream.
        stream: String,
        /// The shard asked for.
        shard: ShardId,
    },
    /// The shard was split or merged: its keys belong to others now. Ask for the shard of each key again, and append
    /// there.
    #[error("shard {shard} is closed: its keys belong to its children")]
    ShardClosed {
        /// The shard.
        shard: ShardId,
    },
    /// The batch does not follow the last one of its producer: one in between is missing, or it is older than the five
    /// that are remembered, or cut otherwise than it was first. Kafka's `OUT_OF_ORDER_SEQUENCE_NUMBER`.
    #[error(
        "producer {producer} sent sequence {found} in epoch {epoch}: expected {expected}, or one of its last five batches again; send what lies between, or begin a new epoch"
    )]
    OutOfSequence {
        /// The producer's id.
        producer: i64,
        /// Its epoch.
        epoch: i16,
        /// The sequence that follows what is stored.
        expected: i32,
        /// The first sequence of the batch.
        found: i32,
    },
    /// The producer has stored in a higher epoch: this one's time is over. Kafka's `INVALID_PRODUCER_EPOCH`.
    #[error("producer {producer} has gone on in epoch {known}: what still sends in epoch {found} must stop")]
    Fenced {
        /// The producer's id.
        producer: i64,
        /// Its epoch here.
        known: i16,
        /// The epoch of the batch.
        found: i16,
    },
    /// The producer has stored nothing in this shard, and yet does not begin at 0. Kafka's `UNKNOWN_PRODUCER_ID`.
    #[error(
        "producer {producer} has stored nothing in this shard: expected sequence 0, found {found}; begin a new epoch"
    )]
    UnknownProducer {
        /// The producer's id.
        producer: i64,
        /// The first sequence of the batch.
        found: i32,
    },
    /// The shard remembers as many producers as it may, none of them idle for long.
    #[error("the shard remembers {max} producers already: use fewer, or try again in a quarter of an hour")]
    TooManyProducers {
        /// How many it may.
        max: usize,
    },
    /// A record is larger than this stream takes.
    #[error("the payload of a record has {found} bytes, the stream takes at most {max}")]
    RecordTooLarge {
        /// Its bytes.
        found: usize,
        /// The stream's limit.
        max: usize,
    },
    /// The stream is to be encrypted, and the log was opened without a key.
    #[error("the stream is encrypted and no key was given: start with the key file; nothing is written in the clear")]
    NoKey,
    /// The disk has no room. Appends go on as soon as there is.
    #[error("the disk is full ({why}): make room, or lower retention; nothing of this batch was kept")]
    Full {
        /// What the system said.
        why: String,
    },
    /// A write or sync failed before: what the disk holds is unknown until the log is opened anew.
    #[error("the shard takes no more records since a write failed ({why}): check the disk, then restart")]
    Poisoned {
        /// What the system said.
        why: String,
    },
    /// The stored bytes of this shard are damaged, its end is unknown.
    #[error("the shard takes no records: {0}")]
    Corrupt(Corrupt),
    /// The stream was deleted.
    #[error("the stream was deleted")]
    Deleted,
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

impl AppendError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Throttled { .. } | Self::TooManyProducers { .. } => ErrorKind::Throttled,
            Self::NoShard { .. } | Self::Deleted => ErrorKind::NotFound,
            Self::ShardClosed { .. } | Self::OutOfSequence { .. } | Self::UnknownProducer { .. } => ErrorKind::Conflict,
            Self::Fenced { .. } => ErrorKind::Fenced,
            Self::RecordTooLarge { .. } => ErrorKind::Invalid,
            Self::NoKey => ErrorKind::Unavailable,
            Self::Full { .. } => ErrorKind::Full,
            Self::Poisoned { .. } => ErrorKind::Poisoned,
            Self::Corrupt(_) => ErrorKind::Corrupt,
            Self::Closed => ErrorKind::Unavailable,
        }
    }
}

/// Stored bytes that fail their check. Nothing at or after `offset` is served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{segment} is damaged at byte {position}, where offset {offset} should stand: {damage}. Restore the file from a copy, or read on from a later offset and lose what lies between"
)]
pub struct Corrupt {
    /// The file, `SHARD/BASEOFFSET.log` below the stream's folder.
    pub segment: String,
    /// The byte where the damaged batch begins.
    pub position: u64,
    /// The first offset that cannot be served.
    pub offset: Offset,
    /// What is wrong with it.
    pub damage: Damage,
}

/// A fetch gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There is no such shard, or no longer.
    #[error("stream {stream} has no shard {shard}")]
    NoShard {
        /// The stream.
        stream: String,
        /// The shard asked for.
        shard: ShardId,
    },
    /// The stream was deleted.
    #[error("the stream was deleted")]
    Deleted,
    /// Retention has removed that offset.
    #[error("offset {from} was removed by retention; the first one kept is {start}")]
    Removed {
        /// The offset asked for.
        from: Offset,
        /// The first offset kept.
        start: Offset,
    },
    /// No such offset yet.
    #[error("offset {from} lies beyond the end {end}")]
    Beyond {
        /// The offset asked for.
        from: Offset,
        /// The offset that the next record will get.
        end: Offset,
    },
    /// The records there are encrypted with a key that was not given.
    #[error(
        "the records of {segment} at offset {offset} are encrypted with the key {key}, which was not given: add it to the key file and start again"
    )]
    NoKey {
        /// The file.
        segment: String,
        /// The first offset that cannot be served.
        offset: Offset,
        /// Which key.
        key: KeyId,
    },
    /// The bytes there are damaged.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// The disk refused.
    #[error("reading {segment} failed: {source}")]
    Io {
        /// The file.
        segment: String,
        /// What the system said.
        source: io::Error,
    },
}

impl FetchError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoShard { .. } | Self::Deleted | Self::Removed { .. } => ErrorKind::NotFound,
            Self::Beyond { .. } => ErrorKind::Invalid,
            Self::Corrupt(_) => ErrorKind::Corrupt,
            Self::Io { .. } | Self::NoKey { .. } => ErrorKind::Unavailable,
        }
    }
}

/// Whether an error of the disk means that there is no room, so that the same write may succeed later.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

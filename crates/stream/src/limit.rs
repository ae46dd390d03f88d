//! Limits of this room, each with its reason.

use std::time::Duration;

use base::limits::BATCH_BYTES_MAX;

/// Bytes of one encoded batch on disk, header included. A little above what one append may carry, so that a batch that
/// was accepted is always readable.
pub(crate) const BATCH_ON_DISK_BYTES_MAX: usize = BATCH_BYTES_MAX + 64 * 1024;

/// Headers of one record, bytes of their names and values: doors write four short ones.
pub(crate) const HEADERS_BYTES_MAX: usize = 64 * 1024;

/// Headers of one record.
pub(crate) const HEADERS_MAX: usize = 256;

/// Bytes that one compressed batch may inflate to. Four times what an uncompressed batch may hold: real click data
/// compresses better than that, but a batch is bounded by what its producer had in memory, too.
pub(crate) const INFLATED_BYTES_MAX: usize = 4 * BATCH_BYTES_MAX;

/// Bytes of one fetch; a larger wish is cut to this. Enough to amortise the call a thousandfold.
pub(crate) const FETCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes written and synced together. The disk alone wrote more MB/s in pieces of 8 MiB than of 1 MiB (larger ones were
/// not tried), and a larger group makes everyone in it wait longer.
pub(crate) const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes that may wait for one shard: two of the largest appends, or four full groups.
pub(crate) const SHARD_QUEUE_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX;

/// Bytes that may wait for all shards of a log together: the queue's part of the process' memory cap.
pub(crate) const LOG_QUEUE_BYTES_MAX: usize = 4 * BATCH_BYTES_MAX;

/// Appends that may wait for one shard: each costs a wake-up, and the tail of a longer queue would time out anyway.
pub(crate) const SHARD_QUEUE_APPENDS_MAX: usize = 65_536;

/// Payload of one record, bytes, where the stream allows it: the most that the published Kinesis API can be told to take
/// (`MaxRecordSizeInKiB` of 10,240). Without being told, a stream takes [`base::limits::RECORD_BYTES_MAX`].
pub(crate) const RECORD_BYTES_POSSIBLE: usize = 10 * 1024 * 1024;

/// Shards of one stream that are listed, closed ones included: the list is rewritten at every change, and this is about
/// 2 MiB of it. A stream of the most shards can be cut anew a few times within its retention.
pub(crate) const SHARDS_LISTED_MAX: usize = 10_000;

/// Notes of one stream, and bytes of one: they are for what a door must remember, not for records.
pub(crate) const NOTES_MAX: usize = 64;
/// See [`NOTES_MAX`].
pub(crate) const NOTE_BYTES_MAX: usize = 1024 * 1024;

/// Open shards of one stream.
pub(crate) const SHARDS_MAX: u32 = 1000;

/// Log bytes between two entries of an index. A fetch reads at most this much in vain; a full segment of 256 MiB has
/// 16,384 entries, 256 KiB in memory.
pub(crate) const INDEX_INTERVAL_BYTES: u64 = 16 * 1024;

/// Log bytes after which the index of the segment being written is saved: recovery after a crash scans at most this
/// much, plus one group.
pub(crate) const CHECKPOINT_BYTES: u64 = 32 * 1024 * 1024;

/// Segments of at most this many bytes: positions in the index are 32 bits wide.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Closed segments kept open with their index, for all streams of a log: 64 × 256 KiB of index.
pub(crate) const OPEN_SEGMENTS_MAX: usize = 64;

/// Threads that commit. Each is asleep in `fdatasync` most of the time; several, so that the syncs of many shards overlap.
/// One short run each on a busy two-core machine, 1,000 shards with one appender each: 74 appends/s with one thread,
/// 8,400 with 4, 15,200 with 16, 16,700 with 48. The order is clear, the figures are rough, and why one thread did so
/// badly was not looked into.
pub(crate) const COMMITTERS: usize = 16;

/// Batches of a producer that a shard remembers: as many as the published clients have on the way at once
/// (`max.in.flight.requests.per.connection` of an idempotent producer), hence as many as they may send again.
pub(crate) const PRODUCER_BATCHES: usize = 5;

/// Idempotent producers that a shard remembers, about 200 bytes each. Beyond it the one that was idle longest is forgotten, if
/// it was for [`PRODUCER_KEPT_LEAST`]; otherwise the new one is refused.
pub(crate) const PRODUCERS_MAX: usize = 5_000;

/// How long a producer may store nothing before it is forgotten: the published `producer.id.expiration.ms`. Time during which
/// the log is closed does not count.
pub(crate) const PRODUCER_IDLE_MAX: Duration = Duration::from_secs(86_400);

/// How long a producer is remembered however many there are: several times what published clients try to deliver a batch
/// for (`delivery.timeout.ms`, two minutes).
pub(crate) const PRODUCER_KEPT_LEAST: Duration = Duration::from_secs(15 * 60);

/// Groups of at most this many bytes have zeros written ahead of them, larger ones only have room reserved. A sync that
/// finds its blocks written before has nothing to tell the file system: a probe (ext4, 1.1 KB every millisecond) took the
/// 99th percentile of a sync from 0.8–1.0 ms, with room reserved, to 0.5–0.8. But zeros must be written, too: groups of
/// 500 KiB came to half the bandwidth with them. A thread of a runtime that brings so little may commit it.
pub(crate) const SMALL_GROUP_BYTES: u64 = 32 * 1024;

/// Bytes of the last group of a shard that are held for who waits for it: a few records, so that a thousand shards hold 4 MiB.
/// A larger group takes long enough for reading it to matter little.
pub(crate) const NEWEST_BYTES_MAX: u64 = 4 * 1024;

/// How much is prepared at once behind what a segment holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    /// So many times what it holds,
    pub(crate) times: u64,
    /// but at least so many bytes,
    pub(crate) least: u64,
    /// and at most.
    pub(crate) most: u64,
}

/// Zeros ahead of small groups: a shard that hardly grows must not take much. 16 KiB took 0.7 ms and 1 MiB 1 to 2, since the
/// file system has as much to note for either: so it soon becomes many at a time.
pub(crate) const BLANK: Ahead = Ahead { times: 4, least: 16 * 1024, most: 1024 * 1024 };

/// Space reserved ahead of large groups. In one probe on a busy disk it took the median sync of 64 KiB appends from 2.8 to
/// 1.7 ms; at 1 MiB it made no difference.
pub(crate) const RESERVE: Ahead = Ahead { times: 1, least: 1024 * 1024, most: 32 * 1024 * 1024 };

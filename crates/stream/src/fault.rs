//! Planted bugs: what the tests must catch.

use std::time::Duration;

/// Bugs that can be planted into a log, **only to test the tests**: a kill test or a crash sweep that passes with one of
/// these is worth nothing. [`Faults::default`] plants none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Acknowledge a group when it is taken from the queue, and write and sync it later: the write-behind of brokers that
    /// do not sync each append.
    pub acknowledge_before_sync: bool,
    /// How much later. A tenth of a second, the default, is enough for a kill test to see it.
    pub late_by: Duration,
    /// After a failed sync, sync again and acknowledge if that succeeds: the kernel has dropped the pages by then.
    pub retry_failed_sync: bool,
    /// Sync a group as if it overwrote blank room, also where the file has grown for it.
    pub grow_in_place: bool,
    /// Take damage in the middle of a segment for its end and cut everything after it.
    pub cut_at_damage: bool,
    /// Let new shards take records before it is durable that the old ones are closed.
    pub close_unsynced: bool,
    /// After a failed write of `stream.json`, go on with the shards that were to be closed, although the write may have
    /// reached the disk.
    pub reopen_after_failed_close: bool,
    /// Serve bytes without checking their CRC.
    pub skip_crc: bool,
    /// Begin with no memory of producers when the log is opened.
    pub forget_producers: bool,
    /// Acknowledge the repeat of a batch that is about to be written at once, instead of with it.
    pub acknowledge_repeat_early: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            acknowledge_before_sync: false,
            late_by: Duration::from_millis(100),
            retry_failed_sync: false,
            grow_in_place: false,
            cut_at_damage: false,
            close_unsynced: false,
            reopen_after_failed_close: false,
            skip_crc: false,
            forget_producers: false,
            acknowledge_repeat_early: false,
        }
    }
}

//! Planted bugs: what the tests must catch.

/// Bugs that can be planted into a log, **only to test the tests**: a kill test or a crash sweep that passes with one of
/// these is worth nothing. [`Faults::default`] plants none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Acknowledge a group when it is taken from the queue, and write and sync it a tenth of a second later: the
    /// write-behind that brokers without per-append sync do.
    pub acknowledge_before_sync: bool,
    /// After a failed sync, sync again and acknowledge if that succeeds: the kernel has dropped the pages by then.
    pub retry_failed_sync: bool,
    /// Take damage in the middle of a segment for its end and cut everything after it.
    pub cut_at_damage: bool,
    /// Serve bytes without checking their CRC.
    pub skip_crc: bool,
}

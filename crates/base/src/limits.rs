//! Limits that more than one room obeys, each with its reason. A limit of one room alone stands in that room.

/// Payload of one record, bytes. 1 MiB is what the published Kinesis API takes by default (`MaxRecordSizeInKiB`), so
/// that any producer written for it fits.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// Partition key, bytes: 256 characters in the Kinesis API, up to four bytes each.
pub const KEY_BYTES_MAX: usize = 1024;

/// Records of one append. A batch is decoded and acknowledged as a whole, so it must stay small enough for both.
pub const BATCH_RECORDS_MAX: usize = 100_000;

/// Bytes of one append, after encoding. Larger requests are cut into several appends.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Names of streams, tables, views: what fits a folder name, a URL and an SQL identifier without quoting.
pub const NAME_CHARS_MAX: usize = 128;

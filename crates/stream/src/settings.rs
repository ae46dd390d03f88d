//! The settings of one stream: `[stream.NAME]` of the file.

use std::time::Duration;

use base::settings::Section;

use crate::limit::{SEGMENT_BYTES_MAX, SHARDS_MAX};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How a stream is laid out and how long it keeps its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSettings {
    /// Number of shards, 1 to 1000. Fixed when the stream is made.
    pub shards: u32,
    /// How long a record is kept at least. Whole segments are removed, so it may be kept somewhat longer.
    pub retention: Duration,
    /// Bytes of all shards together above which the oldest segments are removed even earlier.
    pub retention_bytes: Option<u64>,
    /// Bytes after which a segment is closed and the next begun.
    pub segment_bytes: u64,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self { shards: 1, retention: 7 * DAY, retention_bytes: None, segment_bytes: 256 << 20 }
    }
}

impl StreamSettings {
    /// Reads `shards`, `retention`, `retention_size` and `segment_size`; mistakes are noted and read as the default.
    pub fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        Self {
            shards: section
                .integer("shards", 1..=i64::from(SHARDS_MAX))
                .and_then(|shards| u32::try_from(shards).ok())
                .unwrap_or(default.shards),
            retention: section.duration("retention", DAY..=365 * DAY).unwrap_or(default.retention),
            retention_bytes: section.size("retention_size", 1 << 20..=u64::MAX),
            segment_bytes: section.size("segment_size", 1 << 20..=SEGMENT_BYTES_MAX).unwrap_or(default.segment_bytes),
        }
    }

    /// What is wrong with these settings, if anything: the last line of defence, for callers without a file.
    pub(crate) fn problem(&self) -> Option<String> {
        if !(1..=SHARDS_MAX).contains(&self.shards) {
            return Some(format!("expected 1 to {SHARDS_MAX} shards, found {}", self.shards));
        }
        if !(1..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            return Some(format!("expected segments of 1 to {SEGMENT_BYTES_MAX} bytes, found {}", self.segment_bytes));
        }
        None
    }
}

//! The settings of one stream: `[stream.NAME]` of the file.

use std::time::Duration;

use base::limits::RECORD_BYTES_MAX;
use base::settings::{Data, Section};

use crate::limit::{RECORD_BYTES_POSSIBLE, SEGMENT_BYTES_MAX, SHARDS_MAX};
use crate::topology::ShardMode;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long records may be kept: 24 to 8,760 hours, as in the published API.
pub(crate) const RETENTION: std::ops::RangeInclusive<Duration> = DAY..=Duration::from_secs(365 * 24 * 60 * 60);

/// How a stream is laid out and how long it keeps its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSettings {
    /// Number of open shards, 1 to 1000: at first, and again whenever the file names another number than before. In
    /// between it may be changed by splits and merges.
    pub shards: u32,
    /// Who decides how many shards there are later on.
    pub mode: ShardMode,
    /// Whether records are encrypted from now on; what lies there stays as it is.
    pub encryption: bool,
    /// How long a record is kept at least. Whole segments are removed, so it may be kept somewhat longer.
    pub retention: Duration,
    /// Bytes of all shards together above which the oldest segments are removed even earlier.
    pub retention_bytes: Option<u64>,
    /// Bytes after which a segment is closed and the next begun.
    pub segment_bytes: u64,
    /// Bytes of the payload of one record, 1 KiB to 10 MiB.
    pub record_bytes_max: u32,
}

/// Shards of an on-demand stream that does not say how many: as in the published API.
pub(crate) const ON_DEMAND_SHARDS: u32 = 4;

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            shards: 1,
            mode: ShardMode::Provisioned,
            encryption: false,
            retention: 7 * DAY,
            retention_bytes: None,
            segment_bytes: 256 << 20,
            record_bytes_max: RECORD_BYTES_MAX as u32,
        }
    }
}

impl StreamSettings {
    /// Reads `shards`, `mode`, `encryption`, `retention`, `retention_size`, `segment_size` and `record_size`; mistakes are
    /// noted and read as the default.
    pub fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let mode = section.read("mode", read_mode).unwrap_or_default();
        let few = if mode == ShardMode::OnDemand { ON_DEMAND_SHARDS } else { default.shards };
        Self {
            shards: section
                .integer("shards", 1..=i64::from(SHARDS_MAX))
                .and_then(|shards| u32::try_from(shards).ok())
                .unwrap_or(few),
            mode,
            encryption: section.boolean("encryption").unwrap_or_default(),
            retention: section.duration("retention", RETENTION).unwrap_or(default.retention),
            retention_bytes: section.size("retention_size", 1 << 20..=u64::MAX),
            segment_bytes: section.size("segment_size", 1 << 20..=SEGMENT_BYTES_MAX).unwrap_or(default.segment_bytes),
            record_bytes_max: section
                .size("record_size", 1 << 10..=RECORD_BYTES_POSSIBLE as u64)
                .and_then(|bytes| u32::try_from(bytes).ok())
                .unwrap_or(default.record_bytes_max),
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
        if !(1 << 10..=RECORD_BYTES_POSSIBLE).contains(&(self.record_bytes_max as usize)) {
            let most = RECORD_BYTES_POSSIBLE;
            return Some(format!("expected records of 1024 to {most} bytes at most, found {}", self.record_bytes_max));
        }
        None
    }
}

fn read_mode(data: &Data) -> Result<ShardMode, (String, String)> {
    match data {
        Data::Text(text) if text == "provisioned" => Ok(ShardMode::Provisioned),
        Data::Text(text) if text == "on-demand" => Ok(ShardMode::OnDemand),
        other => Err((
            format!("expected \"provisioned\" or \"on-demand\", found {}", other.kind()),
            "Write mode = \"on-demand\" to have shards split and merged by load, or leave it out".to_owned(),
        )),
    }
}

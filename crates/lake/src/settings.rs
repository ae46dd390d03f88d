//! `[lake]` of the file.

use std::time::Duration;

use base::settings::Section;

/// How the lake keeps its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LakeSettings {
    /// How long files of older versions are kept after a newer version no longer needs them, so that running queries
    /// and readers of older versions still find them. Default 7 days.
    pub retention: Duration,
    /// Small files of one hour are merged up to about this many bytes. Default 128 MiB.
    pub file_bytes: u64,
    /// How often maintenance looks for work. Default 30 s.
    pub maintain_every: Duration,
    /// Rows of one table that may wait in its tail, in bytes of Arrow memory; beyond it a push is refused. Default 256 MiB.
    pub tail_bytes: usize,
}

impl Default for LakeSettings {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(7 * 86_400),
            file_bytes: 128 << 20,
            maintain_every: Duration::from_secs(30),
            tail_bytes: 256 << 20,
        }
    }
}

impl LakeSettings {
    /// Reads `[lake]`: `retention`, `file_size`, `maintain_every`, `tail_size`, all optional.
    pub fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        // A file that a query has listed must outlive the query: an hour is far above any query time-out.
        let retention = section.duration("retention", Duration::from_secs(3600)..=Duration::from_secs(365 * 86_400));
        let file_bytes = section.size("file_size", 1 << 20..=1 << 30);
        let maintain_every = section.duration("maintain_every", Duration::from_secs(1)..=Duration::from_secs(3600));
        let tail_bytes = section.size("tail_size", 16 << 20..=16 << 30);
        Self {
            retention: retention.unwrap_or(default.retention),
            file_bytes: file_bytes.unwrap_or(default.file_bytes),
            maintain_every: maintain_every.unwrap_or(default.maintain_every),
            tail_bytes: tail_bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(default.tail_bytes),
        }
    }
}

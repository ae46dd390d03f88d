//! The `[query]` section of the file.

use std::path::PathBuf;
use std::time::Duration;

use base::settings::Section;

/// What bounds all queries together and each alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuerySettings {
    /// Bytes that all running queries may hold together before they spill to disk.
    pub memory: u64,
    /// Bytes of intermediate rows on disk, all running queries together.
    pub spill_max: u64,
    /// Where intermediate rows go; `None`: a new folder in the system's temporary folder.
    pub spill_dir: Option<PathBuf>,
    /// How long one query may take, waiting included.
    pub timeout: Duration,
    /// Rows of one answer; more are cut off and the answer says so.
    pub rows_max: usize,
    /// Queries running at the same time.
    pub concurrency: usize,
    /// Queries waiting for their turn; more are refused at once.
    pub queue_max: usize,
    /// Threads that work on queries. They are apart from those that take records in, so that a heavy query cannot
    /// keep a click waiting.
    pub threads: usize,
}

impl Default for QuerySettings {
    fn default() -> Self {
        Self {
            // Enough for the distinct users of ten million rows, and below the room that a 2 GiB machine leaves.
            memory: 512 << 20,
            spill_max: 20 << 30,
            spill_dir: None,
            timeout: Duration::from_secs(60),
            // What a browser can still hold; exports ask for more.
            rows_max: 100_000,
            concurrency: 4,
            queue_max: 64,
            threads: std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get),
        }
    }
}

impl QuerySettings {
    /// Reads `[query]`; what is missing keeps its default.
    pub fn read(section: &mut Section<'_>) -> Self {
        let usual = Self::default();
        let count = |number: Option<i64>, usual: usize| number.and_then(|n| usize::try_from(n).ok()).unwrap_or(usual);
        Self {
            memory: section.size("memory", 16 << 20..=1 << 40).unwrap_or(usual.memory),
            spill_max: section.size("spill_max", 0..=1 << 50).unwrap_or(usual.spill_max),
            spill_dir: section.text("spill_dir").map(PathBuf::from),
            timeout: section
                .duration("timeout", Duration::from_millis(100)..=Duration::from_secs(24 * 3600))
                .unwrap_or(usual.timeout),
            rows_max: count(section.integer("rows_max", 1..=100_000_000), usual.rows_max),
            concurrency: count(section.integer("concurrency", 1..=256), usual.concurrency),
            queue_max: count(section.integer("queue_max", 0..=10_000), usual.queue_max),
            threads: count(section.integer("threads", 1..=1024), usual.threads),
        }
    }
}

//! What a maintenance run did: a row of `system.runs`.

use std::fmt;
use std::time::{Duration, Instant};

use base::{Clock, Millis};

/// What kind of run it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunKind {
    /// Small files were merged.
    Compaction,
    /// Files that no kept version needs were deleted.
    Vacuum,
    /// The state of the table was written as one file of the log.
    Checkpoint,
}

impl fmt::Display for RunKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compaction => "compaction",
            Self::Vacuum => "vacuum",
            Self::Checkpoint => "checkpoint",
        })
    }
}

/// What a maintenance run did.
#[derive(Clone, Debug, PartialEq)]
pub struct RunReport {
    /// The table.
    pub table: String,
    /// What kind of run it was.
    pub kind: RunKind,
    /// When it began.
    pub started: Millis,
    /// How long it took.
    pub duration: Duration,
    /// Files it worked on (vacuum: files in the folder) as they were before.
    pub files_before: u64,
    /// The same after it.
    pub files_after: u64,
    /// Bytes of those files before.
    pub bytes_before: u64,
    /// Bytes after.
    pub bytes_after: u64,
    /// Rows rewritten (compaction), else 0.
    pub rows: u64,
    /// Why it ended early, if it did.
    pub error: Option<String>,
}

impl RunReport {
    /// Whether the run is worth a row: a compaction that found nothing to merge is not, for it looks every few seconds.
    #[must_use]
    pub fn is_worth_telling(&self) -> bool {
        self.kind != RunKind::Compaction || self.files_before > 0 || self.error.is_some()
    }
}

/// A run under way.
pub(crate) struct Run {
    pub(crate) report: RunReport,
    began: Instant,
}

impl Run {
    pub(crate) fn begin(table: &str, kind: RunKind, clock: &dyn Clock) -> Self {
        let report = RunReport {
            table: table.to_owned(),
            kind,
            started: clock.now(),
            duration: Duration::ZERO,
            files_before: 0,
            files_after: 0,
            bytes_before: 0,
            bytes_after: 0,
            rows: 0,
            error: None,
        };
        Self { report, began: Instant::now() }
    }

    pub(crate) fn end(mut self) -> RunReport {
        self.report.duration = self.began.elapsed();
        self.report
    }
}

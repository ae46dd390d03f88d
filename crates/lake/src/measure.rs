//! The numbers of a table.

use base::{Counter, Histogram, Measured, Sample};

use crate::table::Table;

/// What a table has counted since it was opened.
#[derive(Debug, Default)]
pub struct TableCounts {
    /// Commits of this process, of all kinds.
    pub commits: Counter,
    /// Commits whose outcome was uncertain and turned out to have happened.
    pub settled: Counter,
    /// Versions of other writers met while committing.
    pub overtaken: Counter,
    /// Rows that flushes committed.
    pub rows: Counter,
    /// Files that flushes committed.
    pub files: Counter,
    /// Bytes of those files.
    pub bytes: Counter,
    /// Flushes that failed; their rows stay in the tail.
    pub flush_failures: Counter,
    /// How long flushes took that committed something, microseconds.
    pub flush_us: Histogram,
    /// Compactions that committed.
    pub compactions: Counter,
    /// Files they merged.
    pub compacted_files: Counter,
    /// Bytes they wrote.
    pub compacted_bytes: Counter,
    /// Files that vacuums deleted.
    pub vacuumed_files: Counter,
    /// Bytes of those files.
    pub vacuumed_bytes: Counter,
    /// Maintenance runs that failed.
    pub maintenance_failures: Counter,
}

impl Measured for Table {
    fn measure(&self, samples: &mut Vec<Sample>) {
        let counts = &self.counts;
        let (version, files, tail_rows, tail_bytes, fenced, unsettled) = {
            let state = self.state.lock();
            let (rows, bytes) = (state.tail_rows(), state.tail_bytes());
            (state.version, state.files.len(), rows, bytes, state.fenced.is_some(), state.unsettled.is_some())
        };
        let mut tell =
            |name: &'static str, value: u64| samples.push(Sample::new(name, &[("table", &self.name)], value));
        tell("riverrun_lake_version", version);
        tell("riverrun_lake_files", files as u64);
        tell("riverrun_lake_tail_rows", tail_rows as u64);
        tell("riverrun_lake_tail_bytes", tail_bytes as u64);
        tell("riverrun_lake_fenced", fenced.into());
        tell("riverrun_lake_unsettled", unsettled.into());
        tell("riverrun_lake_commits_total", counts.commits.get());
        tell("riverrun_lake_commits_settled_total", counts.settled.get());
        tell("riverrun_lake_commits_overtaken_total", counts.overtaken.get());
        tell("riverrun_lake_flushed_rows_total", counts.rows.get());
        tell("riverrun_lake_flushed_files_total", counts.files.get());
        tell("riverrun_lake_flushed_bytes_total", counts.bytes.get());
        tell("riverrun_lake_flush_failures_total", counts.flush_failures.get());
        tell("riverrun_lake_compactions_total", counts.compactions.get());
        tell("riverrun_lake_compacted_files_total", counts.compacted_files.get());
        tell("riverrun_lake_compacted_bytes_total", counts.compacted_bytes.get());
        tell("riverrun_lake_vacuumed_files_total", counts.vacuumed_files.get());
        tell("riverrun_lake_vacuumed_bytes_total", counts.vacuumed_bytes.get());
        tell("riverrun_lake_maintenance_failures_total", counts.maintenance_failures.get());
        tell("riverrun_lake_flush_duration_us_count", counts.flush_us.count());
        tell("riverrun_lake_flush_duration_us_sum", counts.flush_us.sum_us());
        for (quantile, q) in [("0.5", 0.5), ("0.99", 0.99)] {
            if let Some(us) = counts.flush_us.quantile_us(q) {
                let labels = [("table", self.name.as_str()), ("quantile", quantile)];
                samples.push(Sample::new("riverrun_lake_flush_duration_us", &labels, us));
            }
        }
    }
}

//! The loop that keeps the tables in shape.

use std::collections::HashMap;
use std::pin::pin;
use std::time::{Duration, Instant};

use crate::lake::Lake;
use crate::report::RunReport;

/// How often each table is vacuumed: old files cost only space, and a vacuum lists them all.
const VACUUM_EVERY: Duration = Duration::from_secs(3600);

impl Lake {
    /// Writes checkpoints, merges small files and deletes old ones, one run after the other, until `stop` is ready.
    /// Every run is told to `on_report`, but for compactions that found nothing to merge.
    pub async fn maintain(&self, stop: impl Future<Output = ()> + Send, on_report: impl Fn(RunReport) + Send + Sync) {
        let mut stop = pin!(stop);
        let mut vacuumed: HashMap<String, Instant> = HashMap::new();
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = tokio::time::sleep(self.settings().maintain_every) => {}
            }
            // A run under way is not cut short by `stop`: it ends on its own, or with the process, and leaves at
            // most files that the next vacuum finds.
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = self.maintain_once(&mut vacuumed, &on_report) => {}
            }
        }
    }

    async fn maintain_once(&self, vacuumed: &mut HashMap<String, Instant>, on_report: &(impl Fn(RunReport) + Sync)) {
        let tell = |report: Result<RunReport, _>| match report {
            Ok(report) if report.is_worth_telling() => on_report(report),
            _ => {}
        };
        for table in self.tables() {
            tell(table.compact().await);
            if table.wants_checkpoint() {
                tell(table.checkpoint().await);
            }
            let due = vacuumed.get(table.name()).is_none_or(|at| at.elapsed() >= VACUUM_EVERY);
            if due {
                tell(table.vacuum().await);
                vacuumed.insert(table.name().to_owned(), Instant::now());
            }
        }
    }
}

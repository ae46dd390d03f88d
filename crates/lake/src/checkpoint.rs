//! Checkpoints: the state of a table as one file of its log, so that opening it reads one file and a few commits.

use deltalake::DeltaTable;
use deltalake::checkpoints::create_checkpoint;
use tracing::{info, warn};

use crate::error::LakeError;
use crate::report::{Run, RunKind, RunReport};
use crate::table::Table;

/// Commits from one checkpoint to the next: opening a table reads at most about as many small files.
const CHECKPOINT_EVERY: u64 = 50;

impl Table {
    /// Whether a checkpoint is due.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        let state = self.state.lock();
        state.version >= state.checkpoint.unwrap_or(0) + CHECKPOINT_EVERY
    }

    /// Writes a checkpoint of the newest version.
    ///
    /// # Errors
    /// None of its own: what went wrong stands in the report; the table works without a checkpoint, it only opens slower.
    pub async fn checkpoint(&self) -> Result<RunReport, LakeError> {
        let _one = self.maintaining.lock().await;
        let mut run = Run::begin(&self.name, RunKind::Checkpoint, self.clock.as_ref());
        let version = self.state.lock().version;
        match self.write_checkpoint(version).await {
            Ok(()) => {
                self.state.lock().checkpoint = Some(version);
                info!(table = self.name, version, "checkpoint written");
            }
            Err(error) => {
                warn!(table = self.name, %error, "a checkpoint failed");
                self.counts.maintenance_failures.inc();
                run.report.error = Some(error.to_string());
            }
        }
        Ok(run.end())
    }

    async fn write_checkpoint(&self, version: u64) -> Result<(), LakeError> {
        let failed = |error| LakeError::reading(&self.name, "writing a checkpoint", error);
        let mut table = DeltaTable::new(self.log.clone());
        table.load_version(version).await.map_err(failed)?;
        create_checkpoint(&table, None).await.map_err(failed)
    }
}

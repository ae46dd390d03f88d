//! Vacuum: deletes files that no kept version needs, and what crashes left behind.
//!
//! A file goes only if the newest version in the log does not name it, this process is not writing it, it did not
//! leave the table within the last hour of this process's own time (running queries may read it; the wall clock may
//! have jumped), and both its age and the time since it left are above the retention by the wall clock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltalake::checkpoints::cleanup_expired_logs_for;
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStore};
use tracing::{info, warn};

use crate::error::LakeError;
use crate::lake::load;
use crate::log;
use crate::report::{Run, RunKind, RunReport};
use crate::table::Table;

/// A file that left the table stays at least this long, counted by a clock that cannot jump: longer than any query.
const LEFT_KEPT: Duration = Duration::from_secs(3600);

/// What decides whether a file may go.
struct Kept {
    /// Named by the newest version, or being written.
    live: HashSet<String>,
    /// Left the table within [`LEFT_KEPT`].
    recent: HashSet<String>,
    /// When files left the table, epoch milliseconds.
    removed: HashMap<String, i64>,
    /// Older than this is beyond retention, epoch milliseconds.
    cutoff: i64,
}

impl Kept {
    fn may_go(&self, path: &str, modified_ms: i64) -> bool {
        let removed = self.removed.get(path).copied().unwrap_or(i64::MIN);
        !self.live.contains(path) && !self.recent.contains(path) && modified_ms < self.cutoff && removed < self.cutoff
    }
}

impl Table {
    /// Deletes files that no version within the retention needs, orphans of crashes among them, and log entries older
    /// than the retention that a checkpoint covers.
    ///
    /// # Errors
    /// None of its own: what went wrong stands in the report.
    pub async fn vacuum(&self) -> Result<RunReport, LakeError> {
        let _one = self.maintaining.lock().await;
        let mut run = Run::begin(&self.name, RunKind::Vacuum, self.clock.as_ref());
        if let Err(error) = self.vacuum_into(&mut run.report).await {
            warn!(table = self.name, %error, "a vacuum failed");
            self.counts.maintenance_failures.inc();
            run.report.error = Some(error.to_string());
        }
        Ok(run.end())
    }

    async fn vacuum_into(&self, report: &mut RunReport) -> Result<(), LakeError> {
        let retention = i64::try_from(self.settings.retention.as_millis()).unwrap_or(i64::MAX);
        let cutoff = self.clock.now().0.saturating_sub(retention);
        // Listed first, judged later: whatever is committed in between is judged as part of the table.
        let found = self.data_objects().await?;
        let newest = load(&self.name, &self.log, &self.store).await?;
        let newest = newest.ok_or_else(|| LakeError::corrupt(&self.name, "its log is gone"))?;
        let removed = log::replay(&self.name, &self.store, newest.version).await?.removed;
        let kept = {
            let mut state = self.state.lock();
            state.left.retain(|_, left| left.elapsed() < LEFT_KEPT);
            let known = newest.files.iter().chain(state.files.iter()).map(|file| file.path.clone());
            let live = known.chain(state.in_flight.iter().cloned()).collect();
            Kept { live, recent: state.left.keys().cloned().collect(), removed, cutoff }
        };
        report.files_before = found.len() as u64;
        report.bytes_before = found.iter().map(|object| object.size).sum();
        (report.files_after, report.bytes_after) = (report.files_before, report.bytes_before);
        let gone = found
            .into_iter()
            .filter(|object| kept.may_go(object.location.as_ref(), object.last_modified.timestamp_millis()));
        let gone: Vec<ObjectMeta> = gone.collect();
        let sizes: HashMap<_, u64> = gone.iter().map(|object| (object.location.clone(), object.size)).collect();
        let mut deleted = self.store.delete_stream(stream::iter(gone).map(|object| Ok(object.location)).boxed());
        let begun = Instant::now();
        while let Some(path) = deleted.next().await {
            let path = path.map_err(LakeError::store(format!("table {}: deleting old files", self.name)))?;
            let bytes = sizes.get(&path).copied().unwrap_or_default();
            report.files_after -= 1;
            report.bytes_after -= bytes;
            self.counts.vacuumed_files.inc();
            self.counts.vacuumed_bytes.add(bytes);
        }
        let entries = cleanup_expired_logs_for(newest.version, self.log.as_ref(), cutoff, None).await;
        let entries = entries.map_err(|error| LakeError::reading(&self.name, "deleting old log entries", error))?;
        let files = report.files_before - report.files_after;
        if files > 0 || entries > 0 {
            info!(table = self.name, files, entries, took = ?begun.elapsed(), "vacuumed");
        }
        Ok(())
    }

    /// All objects of the table but those of its log.
    async fn data_objects(&self) -> Result<Vec<ObjectMeta>, LakeError> {
        let store: &Arc<dyn ObjectStore> = &self.store;
        let all: Vec<ObjectMeta> = store
            .list(None)
            .try_collect()
            .await
            .map_err(LakeError::store(format!("table {}: listing its files", self.name)))?;
        let of_log = |object: &ObjectMeta| object.location.as_ref().starts_with("_delta_log/");
        Ok(all.into_iter().filter(|object| !of_log(object)).collect())
    }
}

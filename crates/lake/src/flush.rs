//! Flush: the tail becomes files of the next version.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::TableVersion;
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::actions::{self, Operation};
use crate::error::LakeError;
use crate::file::DataFile;
use crate::parquet::{self, Slice};
use crate::partition::{self, Hour};
use crate::state::Effect;
use crate::stats::FileStats;
use crate::table::{Flushed, Table};
use crate::tail::Tail;

/// Progress without rows (all were filtered or rejected) is committed this often: a restart then reads a minute of
/// the stream again, and a stream of which nothing is kept does not fill the log with empty versions.
const EMPTY_COMMIT_EVERY: Duration = Duration::from_secs(60);

/// Files of one flush on their way to the store at once: enough to hide its latency, few enough for memory.
const UPLOADS_AT_ONCE: usize = 8;

impl Table {
    /// Commits the tail as it is when this begins: its rows as files, its progress with them. Progress without rows is
    /// committed only about once a minute; [`Table::drain`] does not wait.
    ///
    /// # Errors
    /// After an error the rows are still in the tail and visible; call again later, unless it is fenced.
    pub async fn flush(&self) -> Result<Flushed, LakeError> {
        self.flush_counted(Some(EMPTY_COMMIT_EVERY)).await
    }

    /// [`Table::flush`] that also commits progress without rows at once: for the end of a process.
    ///
    /// # Errors
    /// As for [`Table::flush`].
    pub async fn drain(&self) -> Result<Flushed, LakeError> {
        self.flush_counted(None).await
    }

    async fn flush_counted(&self, empty_every: Option<Duration>) -> Result<Flushed, LakeError> {
        let _one = self.flushing.lock().await;
        let begun = Instant::now();
        let flushed = self.flush_once(empty_every).await;
        match &flushed {
            Ok(Flushed { version: Some(version), rows, files, bytes }) => {
                let took = begun.elapsed();
                self.counts.flush_us.record_us(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
                self.counts.rows.add(*rows);
                self.counts.files.add(*files);
                self.counts.bytes.add(*bytes);
                debug!(table = self.name, version = version.0, rows, files, bytes, ?took, "flushed");
            }
            Ok(_) => {}
            Err(_) => self.counts.flush_failures.inc(),
        }
        flushed
    }

    async fn flush_once(&self, empty_every: Option<Duration>) -> Result<Flushed, LakeError> {
        let nothing = Flushed { version: None, rows: 0, files: 0, bytes: 0 };
        self.settle_unsettled().await?;
        let (frozen, shape) = {
            let mut state = self.state.lock();
            state.check_fence(&self.name)?;
            // A flush that was dropped half-way, before its commit began.
            state.thaw();
            let recent = |every| state.last_commit.is_some_and(|at| at.elapsed() < every);
            if state.tail.is_empty() || (state.tail.rows() == 0 && empty_every.is_some_and(recent)) {
                return Ok(nothing);
            }
            (state.freeze(), state.shape.clone())
        };
        let slices = parquet::by_hour(&frozen.chunks);
        let added = match self.write(&frozen, slices, &shape.data).await {
            Ok(added) => added,
            Err(error) => {
                warn!(table = self.name, %error, "a flush failed; its rows stay in the tail");
                self.state.lock().thaw();
                return Err(error);
            }
        };
        let rows = frozen.rows() as u64;
        let (files, bytes) = (added.len() as u64, added.iter().map(|file| file.bytes).sum());
        let written: u64 = added.iter().filter_map(|file| file.rows).sum();
        if written != rows {
            self.state.lock().thaw();
            return Err(LakeError::internal(&self.name, format!("{rows} rows became {written} in files")));
        }
        let effect = Effect { added, progress: frozen.progress.clone(), takes_frozen: true, ..Effect::default() };
        let (forget, clock) = (self.faults.forget_offsets_in_commit, self.clock.as_ref());
        let commit = actions::commit(&self.name, Operation::Write, Vec::new(), effect, Vec::new(), forget, clock);
        let commit = commit.inspect_err(|_| self.state.lock().thaw())?;
        let version = self.commit(commit).await?;
        Ok(Flushed { version: Some(TableVersion(version)), rows, files, bytes })
    }

    /// Writes one file per hour. What was written when it fails is left for the vacuum.
    async fn write(
        &self,
        frozen: &Arc<Tail>,
        slices: BTreeMap<Hour, Slice>,
        data: &arrow::datatypes::SchemaRef,
    ) -> Result<Vec<Arc<DataFile>>, LakeError> {
        stream::iter(slices)
            .map(|(hour, slice)| {
                let (frozen, data) = (Arc::clone(frozen), Arc::clone(data));
                async move {
                    let schema = Arc::clone(&data);
                    let encoded = tokio::task::spawn_blocking(move || parquet::encode(&frozen.chunks, &slice, &schema));
                    let encoded = encoded.await.map_err(|error| LakeError::internal(&self.name, error))?;
                    let encoded = encoded.map_err(|error| LakeError::internal(&self.name, error))?;
                    let file = DataFile {
                        path: self.new_path(self.partitioned.then(|| hour.parts())),
                        bytes: encoded.bytes.len() as u64,
                        rows: Some(encoded.rows),
                        partition: self.partitioned.then(|| hour.parts()),
                        stats: FileStats::from_footer(&encoded.footer, &data),
                        written: self.clock.now().0,
                    };
                    let put = self.store.put(&Path::from(file.path.as_str()), encoded.bytes.into()).await;
                    put.map_err(LakeError::store(format!("table {}: writing {}", self.name, file.path)))?;
                    Ok(Arc::new(file))
                }
            })
            .buffered(UPLOADS_AT_ONCE)
            .try_collect()
            .await
    }

    /// A path that no file has had, known to be in flight from now on.
    pub(crate) fn new_path(&self, partition: Option<[i32; 4]>) -> String {
        let name = format!("{}.zstd.parquet", Uuid::now_v7());
        let path = match partition {
            Some(parts) => format!("{}/{name}", partition::folder(parts)),
            None => name,
        };
        self.state.lock().in_flight.insert(path.clone());
        path
    }
}

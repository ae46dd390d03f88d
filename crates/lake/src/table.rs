//! A table: its tail, its newest version, and the face of both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use base::{Clock, TableVersion};
use deltalake::logstore::LogStoreRef;
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, watch};

use crate::error::LakeError;
use crate::file::DataFile;
use crate::lake::Faults;
use crate::measure::TableCounts;
use crate::partition::Hours;
use crate::schema::conform;
use crate::settings::LakeSettings;
use crate::state::State;

/// How far rows stand for their source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The application id of the Delta `txn` action, e.g. `<stream uuid>/<shard>`: unique per source and table.
    pub app_id: String,
    /// The next offset to read after these rows: all before it are in the table, filtered or rejected.
    pub next: i64,
}

/// Rows for the tail.
#[derive(Clone, Debug)]
pub struct TailBatch {
    /// The rows, with columns of the table by name; missing columns are null.
    pub rows: RecordBatch,
    /// Per row the event time in epoch milliseconds, by which it is placed; ignored if the table is not partitioned.
    pub event_time: Vec<i64>,
    /// What the rows stand for. Rows may be none if all were filtered or rejected.
    pub progress: Vec<Progress>,
}

/// What a flush did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// The version that now holds the rows; `None` if there was nothing to commit.
    pub version: Option<TableVersion>,
    /// Rows that left the tail.
    pub rows: u64,
    /// Files written.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
}

/// A table at one instant: every pushed row is either in exactly one file or in exactly one batch of the tail.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The version of the files.
    pub version: TableVersion,
    /// The table's columns and, if partitioned, year, month, day, hour.
    pub schema: SchemaRef,
    /// The data files of that version; they do not contain the partition columns.
    pub files: Arc<[Arc<DataFile>]>,
    /// The rows pushed and not in that version, with all columns of `schema`, in the order they were pushed.
    pub tail: Vec<RecordBatch>,
    /// Grows with every push of rows and every commit: two snapshots with the same number are the same.
    pub changed: u64,
}

/// A table of the lake. All methods may be called from many tasks at once.
pub struct Table {
    pub(crate) name: String,
    pub(crate) partitioned: bool,
    /// The object store at the table's folder.
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) log: LogStoreRef,
    pub(crate) settings: LakeSettings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) faults: Faults,
    pub(crate) state: Mutex<State>,
    pub(crate) changes: watch::Sender<u64>,
    pub(crate) counts: Arc<TableCounts>,
    /// Held while a flush runs.
    pub(crate) flushing: AsyncMutex<()>,
    /// Held while a commit is written and settled: versions are taken one after the other.
    pub(crate) committing: AsyncMutex<()>,
    /// Held while a compaction, a vacuum or a checkpoint runs.
    pub(crate) maintaining: AsyncMutex<()>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Table {
    /// The table's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether rows are placed by the hour of their event time.
    #[must_use]
    pub fn is_partitioned(&self) -> bool {
        self.partitioned
    }

    /// The table's columns and, if partitioned, year, month, day, hour. Changes when the table gains columns.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.state.lock().shape.full)
    }

    /// The columns that a pushed batch may have: [`Table::schema`] without the partition columns.
    #[must_use]
    pub fn data_schema(&self) -> SchemaRef {
        Arc::clone(&self.state.lock().shape.data)
    }

    /// Where to resume `app_id`: its progress in the newest committed version.
    #[must_use]
    pub fn progress(&self, app_id: &str) -> Option<i64> {
        self.state.lock().progress.get(app_id).copied()
    }

    /// The progress of every source in the newest committed version.
    #[must_use]
    pub fn all_progress(&self) -> BTreeMap<String, i64> {
        self.state.lock().progress.clone()
    }

    /// Puts rows into the tail: every snapshot taken after this returns has them.
    ///
    /// # Errors
    /// Rows that do not fit the table, progress that goes backwards, a full tail, a fenced table. Nothing was taken then.
    pub fn push(&self, batch: TailBatch) -> Result<(), LakeError> {
        let rows = batch.rows.num_rows();
        let misfit = |what: String| LakeError::Rows { table: self.name.clone(), what };
        if self.partitioned && batch.event_time.len() != rows {
            return Err(misfit(format!("{rows} rows came with {} event times", batch.event_time.len())));
        }
        // Casting and the partition columns are made outside the lock; if the table gains a column in between,
        // the state adds it as nulls.
        let shape = self.state.lock().shape.clone();
        let data = conform(&shape.data, &batch.rows).map_err(misfit)?;
        let hours = if self.partitioned { Hours::of(&batch.event_time) } else { Hours::of(&[]) };
        let mut columns = data.columns().to_vec();
        if self.partitioned {
            columns.extend(hours.columns(rows));
        }
        let full = RecordBatch::try_new_with_options(
            Arc::clone(&shape.full),
            columns,
            &arrow::array::RecordBatchOptions::new().with_row_count(Some(rows)),
        );
        let full = full.map_err(|error| LakeError::internal(&self.name, error))?;
        let mut state = self.state.lock();
        let changed = state.push(&self.name, full, hours, batch.progress, self.settings.tail_bytes)?;
        self.changes.send_replace(changed);
        Ok(())
    }

    /// Bytes of Arrow memory in the tail, rows of a flush under way included.
    #[must_use]
    pub fn tail_bytes(&self) -> usize {
        self.state.lock().tail_bytes()
    }

    /// Rows in the tail, rows of a flush under way included.
    #[must_use]
    pub fn tail_rows(&self) -> usize {
        self.state.lock().tail_rows()
    }

    /// How long the oldest row or progress that no flush has taken yet has been waiting; `None` if there is none.
    #[must_use]
    pub fn tail_age(&self) -> Option<Duration> {
        self.state.lock().tail.since().map(|since| since.elapsed())
    }

    /// The table now. Costs a few reference counts per tail batch; the tail is kept in few batches.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.state.lock().snapshot()
    }

    /// Follows [`Snapshot::changed`]: wakes whoever must look again.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Where a file of this table lies in [`crate::Lake::store`].
    #[must_use]
    pub fn location(&self, file: &DataFile) -> Path {
        let full = format!("{}/{}", self.name, file.path);
        Path::parse(&full).unwrap_or_else(|_| Path::from(full))
    }

    /// What this table has counted.
    #[must_use]
    pub fn counts(&self) -> Arc<TableCounts> {
        Arc::clone(&self.counts)
    }
}

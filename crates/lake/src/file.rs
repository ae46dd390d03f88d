//! A data file of a table, as the newest version names it.

use std::collections::HashMap;
use std::sync::Arc;

use deltalake::kernel::{Add, Remove};

use crate::partition;
use crate::schema::PARTITION_COLUMNS;
use crate::stats::{ColumnBounds, FileStats};

/// A data file and what is known of it without opening it.
#[derive(Clone, Debug, PartialEq)]
pub struct DataFile {
    /// The path below the table's folder, e.g. `year=2026/month=11/day=22/hour=07/….parquet`.
    pub path: String,
    /// Bytes.
    pub bytes: u64,
    /// Rows; `None` only for a file of another writer that did not count them.
    pub rows: Option<u64>,
    /// Year, month, day, hour of all its rows; `None` in a table that is not partitioned.
    pub partition: Option<[i32; 4]>,
    pub(crate) stats: FileStats,
    /// When it was written, epoch milliseconds.
    pub(crate) written: i64,
}

impl DataFile {
    /// Bounds of a column of the table, by name: every value lies within them, but they need not occur. `None` if
    /// nothing is known, as for a column that was added after the file was written (all its values are null).
    #[must_use]
    pub fn bounds(&self, column: &str) -> Option<&ColumnBounds> {
        self.stats.column(column)
    }

    pub(crate) fn add(&self, data_change: bool) -> Add {
        Add {
            path: self.path.clone(),
            partition_values: self.partition_values(),
            size: self.bytes.cast_signed(),
            modification_time: self.written,
            data_change,
            stats: Some(self.stats.to_json(self.rows.unwrap_or_default())),
            ..Add::default()
        }
    }

    pub(crate) fn remove(&self, now_ms: i64) -> Remove {
        Remove {
            path: self.path.clone(),
            data_change: false,
            deletion_timestamp: Some(now_ms),
            extended_file_metadata: Some(true),
            partition_values: Some(self.partition_values()),
            size: Some(self.bytes.cast_signed()),
            ..Remove::default()
        }
    }

    fn partition_values(&self) -> HashMap<String, Option<String>> {
        let Some(parts) = self.partition else { return HashMap::new() };
        let pairs = PARTITION_COLUMNS.iter().zip(parts);
        pairs.map(|(name, part)| ((*name).to_owned(), Some(part.to_string()))).collect()
    }

    /// A file from what the Delta log says of it.
    pub(crate) fn from_log(
        path: String,
        bytes: i64,
        written: i64,
        values: &HashMap<String, Option<String>>,
        stats: Option<&str>,
        shape: &crate::schema::Shape,
    ) -> Result<Arc<Self>, String> {
        let (rows, stats) = match stats {
            Some(json) => {
                FileStats::from_json(json, &shape.data).map_err(|what| format!("statistics of {path}: {what}"))?
            }
            None => (None, FileStats::default()),
        };
        let partition = if shape.partitioned {
            let value = |name: &str| values.get(name)?.as_ref()?.parse().ok();
            let parts = partition::from_values(value);
            Some(parts.ok_or_else(|| format!("file {path} lacks a value of year, month, day or hour"))?)
        } else {
            None
        };
        let bytes = u64::try_from(bytes).map_err(|_| format!("file {path} has the size {bytes}"))?;
        Ok(Arc::new(Self { path, bytes, rows, partition, stats, written }))
    }
}

//! The data files of one version, ready to plan with: what the lake knows of each, in the planner's words.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ColumnStatistics, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::error::Result;
use lake::{Bound, DataFile, PARTITION_COLUMNS, Table};

/// Bytes of a data file's end that are read at once for its footer: enough for a few row groups of some dozen columns.
const FOOTER_BYTES: usize = 64 * 1024;

/// The files of a version.
pub(crate) struct Files {
    /// What these were made from, to tell whether they still hold.
    source: Arc<[Arc<DataFile>]>,
    schema: SchemaRef,
    ready: Vec<PartitionedFile>,
    total: Statistics,
}

impl Files {
    pub(crate) fn new(table: &Table, source: &Arc<[Arc<DataFile>]>, schema: &SchemaRef) -> Result<Self> {
        let ready: Vec<PartitionedFile> = source.iter().map(|file| ready(table, file, schema)).collect();
        let total = total(&ready, schema)?;
        Ok(Self { source: Arc::clone(source), schema: Arc::clone(schema), ready, total })
    }

    /// Whether these are the files of `source` under `schema`.
    pub(crate) fn are(&self, source: &Arc<[Arc<DataFile>]>, schema: &SchemaRef) -> bool {
        Arc::ptr_eq(&self.source, source) && self.schema == *schema
    }

    pub(crate) fn len(&self) -> usize {
        self.ready.len()
    }

    /// All files with the statistics of all.
    pub(crate) fn all(&self) -> (Vec<PartitionedFile>, Statistics) {
        (self.ready.clone(), self.total.clone())
    }

    /// The files for which `keep` says true, with their statistics.
    pub(crate) fn some(&self, keep: &[bool]) -> Result<(Vec<PartitionedFile>, Statistics)> {
        if keep.iter().all(|keep| *keep) {
            return Ok(self.all());
        }
        let kept = self.ready.iter().zip(keep).filter(|(_, keep)| **keep);
        let kept: Vec<PartitionedFile> = kept.map(|(file, _)| file.clone()).collect();
        let total = total(&kept, &self.schema)?;
        Ok((kept, total))
    }

    /// The bounds of each file in a column, one value per file, null where unknown.
    fn bounds(&self, column: &Column, end: fn(&DataFile, &str) -> Option<Bound>) -> Option<ArrayRef> {
        let field = self.schema.field_with_name(column.name()).ok()?;
        let part = PARTITION_COLUMNS.iter().position(|name| *name == column.name());
        let values = self.source.iter().map(|file| {
            let bound = match (part, file.partition) {
                (Some(part), Some(parts)) => Some(Bound::Integer(i64::from(parts[part]))),
                _ => end(file, column.name()),
            };
            let scalar = bound.and_then(|bound| bound.scalar(field.data_type()));
            scalar.map_or_else(|| ScalarValue::try_from(field.data_type()), Ok)
        });
        let values: Vec<ScalarValue> = values.collect::<Result<_>>().ok()?;
        ScalarValue::iter_to_array(values).ok()
    }
}

impl PruningStatistics for Files {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |file, name| file.bounds(name)?.min.clone())
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |file, name| file.bounds(name)?.max.clone())
    }

    fn num_containers(&self) -> usize {
        self.source.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let partitioned = PARTITION_COLUMNS.contains(&column.name());
        let counts = self.source.iter().map(|file| match file.partition {
            Some(_) if partitioned => Some(0),
            _ => file.bounds(column.name())?.nulls,
        });
        Some(Arc::new(counts.collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.source.iter().map(|file| file.rows).collect::<UInt64Array>()))
    }

    fn contained(&self, _: &Column, _: &std::collections::HashSet<ScalarValue>) -> Option<arrow::array::BooleanArray> {
        None
    }
}

fn ready(table: &Table, file: &DataFile, schema: &SchemaRef) -> PartitionedFile {
    let mut ready = PartitionedFile::new(String::new(), file.bytes).with_metadata_size_hint(FOOTER_BYTES);
    ready.object_meta.location = table.location(file);
    if let Some(parts) = file.partition {
        ready = ready.with_partition_values(parts.map(|part| ScalarValue::Int32(Some(part))).to_vec());
    }
    let partitions = ready.partition_values.len();
    let data = schema.fields().iter().take(schema.fields().len() - partitions);
    let columns = data.map(|field| column(file, field.name(), field.data_type()));
    let rows = file.rows.and_then(|rows| usize::try_from(rows).ok()).map_or(Precision::Absent, Precision::Exact);
    let bytes = usize::try_from(file.bytes).map_or(Precision::Absent, Precision::Inexact);
    let statistics = Statistics { num_rows: rows, total_byte_size: bytes, column_statistics: columns.collect() };
    ready.with_statistics(Arc::new(statistics))
}

fn column(file: &DataFile, name: &str, data_type: &arrow::datatypes::DataType) -> ColumnStatistics {
    let mut statistics = ColumnStatistics::new_unknown();
    let Some(bounds) = file.bounds(name) else { return statistics };
    if let Some(nulls) = bounds.nulls.and_then(|nulls| usize::try_from(nulls).ok()) {
        statistics.null_count = Precision::Exact(nulls);
    }
    let value = |bound: &Option<Bound>| {
        let Some(bound) = bound else { return Precision::Absent };
        match (bound.scalar(data_type), bound) {
            (None, _) => Precision::Absent,
            // Text is cut, times are widened to the millisecond, floats may hide a NaN: bounds, not values.
            (Some(value), Bound::Text(_) | Bound::Timestamp(_) | Bound::Float(_)) => Precision::Inexact(value),
            (Some(value), _) => Precision::Exact(value),
        }
    };
    statistics.min_value = value(&bounds.min);
    statistics.max_value = value(&bounds.max);
    statistics
}

fn total(files: &[PartitionedFile], schema: &SchemaRef) -> Result<Statistics> {
    let each = files.iter().filter_map(|file| file.statistics.as_deref());
    if files.is_empty() {
        return Ok(Statistics::new_unknown(schema).with_num_rows(Precision::Exact(0)));
    }
    Statistics::try_merge_iter(each, schema)
}

//! A table of the lake in SQL: the files of one version and the rows that are not yet in it, as one.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use base::TableVersion;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::common::config::TableParquetOptions;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use lake::{Snapshot, Table};
use object_store::ObjectStore;

use crate::files::Files;

/// Rows of the tail that are worked on at once, as many as the engine's own batches have.
const TAIL_BATCH_ROWS: usize = 8192;

/// From this weight on, columns that a filter does not need are decoded only for the rows it lets through. Deciding row
/// by row costs about as much as decoding three columns of numbers or one and a half of text, so narrow queries are
/// faster without (measured over ten million rows: counts by product 1.7 times slower with it, five columns of the
/// few rows that pass a filter 2 times faster, whole rows 9 times).
const LATE_WEIGHT_MIN: usize = 6;

/// A table of the lake.
pub(crate) struct LakeTable {
    table: Arc<Table>,
    store: Arc<dyn ObjectStore>,
    url: ObjectStoreUrl,
    /// The files of the version that was planned with last.
    files: ArcSwapOption<Files>,
}

impl LakeTable {
    pub(crate) fn new(table: Arc<Table>, store: Arc<dyn ObjectStore>, url: ObjectStoreUrl) -> Arc<Self> {
        Arc::new(Self { table, store, url, files: ArcSwapOption::empty() })
    }

    /// The columns as queries see them.
    pub(crate) fn schema(&self) -> SchemaRef {
        viewed(&self.table.schema())
    }

    /// The table as it is now. The snapshot is held as long as the result is.
    pub(crate) fn pin(self: &Arc<Self>) -> Pinned {
        let snapshot = self.table.snapshot();
        Pinned { schema: viewed(&snapshot.schema), snapshot, of: Arc::clone(self) }
    }

    fn files(&self, snapshot: &Snapshot, schema: &SchemaRef) -> Result<Arc<Files>> {
        if let Some(files) = self.files.load_full()
            && files.are(&snapshot.files, schema)
        {
            return Ok(files);
        }
        let files = Arc::new(Files::new(&self.table, &snapshot.files, schema)?);
        self.files.store(Some(Arc::clone(&files)));
        Ok(files)
    }
}

/// A table at one instant.
pub(crate) struct Pinned {
    of: Arc<LakeTable>,
    snapshot: Snapshot,
    schema: SchemaRef,
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at version {}", self.of.table.name(), self.snapshot.version)
    }
}

impl Pinned {
    pub(crate) fn name(&self) -> &str {
        self.of.table.name()
    }

    pub(crate) fn version(&self) -> TableVersion {
        self.snapshot.version
    }

    fn scan_files(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        limit: Option<usize>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let files = self.of.files(&self.snapshot, &self.schema)?;
        let (kept, statistics) = match &filter {
            Some(filter) => {
                let pruning = PruningPredicateBuilder::new()
                    .with_file_schema(Arc::clone(&self.schema))
                    .try_build(Arc::clone(filter))?;
                files.some(&pruning.prune(files.as_ref())?)?
            }
            None => files.all(),
        };
        tracing::debug!(table = self.name(), files = files.len(), kept = kept.len(), "files chosen");
        if kept.is_empty() {
            return Ok(None);
        }
        let partitions = if self.of.table.is_partitioned() { lake::PARTITION_COLUMNS.len() } else { 0 };
        let (data, parts) = self.schema.fields().split_at(self.schema.fields().len() - partitions);
        let columns = TableSchema::builder(Arc::new(Schema::new(data.to_vec())))
            .with_table_partition_cols(parts.to_vec())
            .build();
        let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
        let reader = CachedParquetFileReaderFactory::new(Arc::clone(&self.of.store), cache);
        let mut options =
            TableParquetOptions { global: state.config_options().execution.parquet.clone(), ..Default::default() };
        // The lake writes no bloom filters, and looking for them in every row group took a tenth of a join's time.
        options.global.bloom_filter_on_read = false;
        let mut source = ParquetSource::new(columns)
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(reader));
        if let Some(filter) = filter {
            // The filter itself is handed to the source by the engine, when it has made its plan.
            source = source.with_pushdown_filters(self.weight_beyond(projection, &filter) >= LATE_WEIGHT_MIN);
        }
        let groups = FileGroup::new(kept).split_files(state.config().target_partitions());
        let scan = FileScanConfigBuilder::new(self.of.url.clone(), Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(Some(DataSourceExec::from_data_source(scan)))
    }

    /// What decoding the wanted columns costs beyond those that the filter needs anyway: 1 for each column of numbers,
    /// 2 for text.
    fn weight_beyond(&self, projection: Option<&Vec<usize>>, filter: &Arc<dyn PhysicalExpr>) -> usize {
        let needed = collect_columns(filter);
        let beyond = self.schema.fields().iter().enumerate().filter(|(index, _)| {
            let wanted = projection.is_none_or(|wanted| wanted.contains(index));
            wanted && needed.iter().all(|column| column.index() != *index)
        });
        beyond.map(|(_, field)| if field.data_type().primitive_width().is_some() { 1 } else { 2 }).sum()
    }

    fn scan_tail(&self, partitions: usize, projection: Option<&Vec<usize>>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if self.snapshot.tail.iter().all(|batch| batch.num_rows() == 0) {
            return Ok(None);
        }
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        let mut slices = vec![Vec::new(); partitions.max(1)];
        let mut next = 0;
        for batch in &self.snapshot.tail {
            let batch = as_viewed(batch, projection, &schema)?;
            for start in (0..batch.num_rows()).step_by(TAIL_BATCH_ROWS) {
                let rows = TAIL_BATCH_ROWS.min(batch.num_rows() - start);
                slices[next % partitions.max(1)].push(batch.slice(start, rows));
                next += 1;
            }
        }
        slices.retain(|slices| !slices.is_empty());
        Ok(Some(MemorySourceConfig::try_new_exec(&slices, schema, None)?))
    }
}

#[async_trait]
impl TableProvider for Pinned {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Filters choose files, row groups and pages; what they let through is filtered again.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = DFSchema::try_from(Arc::clone(&self.schema))?;
        let filter = conjunction(filters.to_vec());
        let filter = filter.map(|filter| state.create_physical_expr(filter, &columns)).transpose()?;
        let files = self.scan_files(state, projection, filter, limit)?;
        let tail = self.scan_tail(state.config().target_partitions(), projection)?;
        match (files, tail) {
            (Some(files), Some(tail)) => UnionExec::try_new(vec![files, tail]),
            (Some(one), None) | (None, Some(one)) => Ok(one),
            (None, None) => {
                let schema = match projection {
                    Some(columns) => Arc::new(self.schema.project(columns)?),
                    None => Arc::clone(&self.schema),
                };
                Ok(Arc::new(EmptyExec::new(schema)))
            }
        }
    }
}

/// The columns of a table as queries see them: text and bytes as views, which the engine compares, groups and passes
/// on without copying.
fn viewed(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match viewed_type(field.data_type()) {
        Some(view) => Arc::new(Field::clone(field).with_data_type(view)),
        None => Arc::clone(field),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn viewed_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => Some(DataType::Utf8View),
        DataType::Binary | DataType::LargeBinary => Some(DataType::BinaryView),
        _ => None,
    }
}

/// The wanted columns of a batch of the tail, as queries see them.
fn as_viewed(batch: &RecordBatch, projection: Option<&Vec<usize>>, schema: &SchemaRef) -> Result<RecordBatch> {
    let all: Vec<usize>;
    let wanted = match projection {
        Some(wanted) => wanted,
        None => {
            all = (0..batch.num_columns()).collect();
            &all
        }
    };
    let columns = wanted.iter().zip(schema.fields()).map(|(index, field)| -> Result<ArrayRef> {
        let column = batch.column(*index);
        if column.data_type() == field.data_type() {
            Ok(Arc::clone(column))
        } else {
            Ok(cast(column, field.data_type())?)
        }
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

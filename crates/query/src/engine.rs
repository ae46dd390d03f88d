//! The engine: takes SQL in, waits for a turn, plans, runs, and watches the limits.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use base::{ErrorKind, Measured, Sample, TableVersion};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{FutureExt, StreamExt};
use lake::Lake;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::answer::{Answer, Outcome, Part};
use crate::catalog::{CATALOG, Catalog, ListedTable, PUBLIC, Virtual, as_lake};
use crate::counts::QueryCounts;
use crate::error::QueryError;
use crate::grouping::FormGroups;
use crate::settings::QuerySettings;
use crate::table::LakeTable;
use crate::turns::{Turn, Turns};
use crate::{diagnose, functions, statement};

/// Batches that wait between the working side and the one that takes the answer. A slow taker stops the work here.
const BATCHES_AHEAD: usize = 2;

/// Memory consumers that an error names when memory is short.
const CONSUMERS_NAMED: usize = 3;

/// Bytes of Parquet footers kept, so that a file's footer is read once.
const FOOTERS_BYTES: usize = 64 << 20;

/// What one caller asks for beyond the SQL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryOptions {
    /// How long the query may take; at most the setting, which is also the default.
    pub timeout: Option<Duration>,
    /// How many rows the answer may have; default is the setting. An answer is handed over a batch at a time, so any
    /// number is safe for the server.
    pub rows_max: Option<usize>,
}

/// Runs queries. Has threads of its own; dropping it ends all queries.
pub struct Engine {
    inner: Arc<Inner>,
    runtime: Option<Runtime>,
}

struct Inner {
    context: SessionContext,
    catalog: Arc<Catalog>,
    lake: Arc<Lake>,
    url: ObjectStoreUrl,
    settings: QuerySettings,
    counts: Arc<QueryCounts>,
    turns: Turns,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Engine {
    /// An engine over the tables of `lake` that are added with [`Engine::add_table`].
    ///
    /// # Errors
    /// The folder for intermediate rows cannot be made, or threads cannot be started.
    pub fn new(settings: QuerySettings, lake: Arc<Lake>) -> Result<Arc<Self>, QueryError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(settings.threads)
            .thread_name("query")
            .enable_all()
            .build()
            .map_err(|error| QueryError::new(ErrorKind::Unavailable, format!("No query threads: {error}"), ""))?;
        let catalog = Arc::new(Catalog::new());
        let url = ObjectStoreUrl::parse(lake.url()).map_err(|error| diagnose::engine(&error, "", &[]))?;
        let context = context(&settings, &catalog, &url, &lake)?;
        let counts = Arc::<QueryCounts>::default();
        let turns = Turns::new(&settings, Arc::clone(&counts));
        let inner = Inner { context, catalog, lake, url, settings, counts, turns };
        Ok(Arc::new(Self { inner: Arc::new(inner), runtime: Some(runtime) }))
    }

    /// Makes a table of the lake known: `clicks` in the schema `public`, `system.rejected` in `system`.
    pub fn add_table(&self, table: Arc<lake::Table>) {
        let full = table.name().to_owned();
        let (schema, name) = full.split_once('.').unwrap_or((PUBLIC, &full));
        let table = LakeTable::new(table, self.inner.lake.store(), self.inner.url.clone());
        self.inner.catalog.add_lake(schema, name, table);
    }

    /// Makes a computed table known.
    pub fn add_view(&self, schema: &str, name: &str, rows: Arc<dyn Virtual>) {
        self.inner.catalog.add_virtual(schema, name, rows);
    }

    /// All tables with their columns.
    pub fn tables(&self) -> Vec<ListedTable> {
        self.inner.catalog.listed()
    }

    /// What was counted.
    pub fn counts(&self) -> Arc<QueryCounts> {
        Arc::clone(&self.inner.counts)
    }

    /// The settings it runs with.
    pub fn settings(&self) -> &QuerySettings {
        &self.inner.settings
    }

    /// Runs one statement that reads. Returns when the first rows are there, or the end.
    ///
    /// # Errors
    /// `Invalid`: not one reading statement, or wrong in itself (with the place); `Throttled`: too many are waiting;
    /// `TimedOut`; `Full`: memory and disk do not suffice; `Unavailable`, `Corrupt`: the lake cannot be read.
    pub async fn query(&self, sql: &str, options: QueryOptions) -> Result<Answer, QueryError> {
        let (parts, rest) = mpsc::channel(BATCHES_AHEAD);
        let job = Job::new(Arc::clone(&self.inner), sql, options, parts);
        let runtime = self.runtime.as_ref().ok_or_else(|| QueryError::internal("the engine has ended"))?;
        drop(runtime.spawn(job.run()));
        Answer::begin(rest).await
    }
}

impl Measured for Engine {
    fn measure(&self, samples: &mut Vec<Sample>) {
        self.inner.counts.measure(samples);
        let pool = &self.inner.context.runtime_env().memory_pool;
        samples.push(Sample::new("riverrun_query_memory_bytes", &[], pool.reserved() as u64));
        samples.push(Sample::new("riverrun_query_memory_max_bytes", &[], self.inner.settings.memory));
    }
}

fn context(
    settings: &QuerySettings,
    catalog: &Arc<Catalog>,
    url: &ObjectStoreUrl,
    lake: &Lake,
) -> Result<SessionContext, QueryError> {
    let wrong = |error: DataFusionError| diagnose::engine(&error, "", &[]);
    let memory = usize::try_from(settings.memory).unwrap_or(usize::MAX);
    let named = std::num::NonZeroUsize::new(CONSUMERS_NAMED).expect("a constant above 0");
    let mode = match &settings.spill_dir {
        Some(dir) => {
            sweep(dir).map_err(|error| wrong(DataFusionError::IoError(error)))?;
            DiskManagerMode::Directories(vec![dir.clone()])
        }
        None => DiskManagerMode::OsTmpDirectory,
    };
    let disk = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(settings.spill_max);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(TrackConsumersPool::new(FairSpillPool::new(memory), named)))
        .with_disk_manager_builder(disk)
        .with_metadata_cache_limit(FOOTERS_BYTES)
        .build_arc()
        .map_err(wrong)?;
    runtime.register_object_store(url.as_ref(), lake.store());
    let builder = SessionStateBuilder::new()
        .with_config(config(settings))
        .with_runtime_env(runtime)
        .with_physical_optimizer_rule(Arc::new(FormGroups::default()));
    let context = functions::session(builder);
    context.register_catalog(CATALOG, Arc::clone(catalog) as _);
    Ok(context)
}

/// Removes what an earlier process left behind; the folder belongs to this one alone.
fn sweep(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("datafusion-") {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn config(settings: &QuerySettings) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, PUBLIC)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true)
        .with_target_partitions(settings.threads);
    let options = config.options_mut();
    options.sql_parser.collect_spans = true;
    config
}

/// One query from arrival to end. Whatever happens, it is counted once.
struct Job {
    inner: Arc<Inner>,
    sql: String,
    parts: mpsc::Sender<Result<Part, QueryError>>,
    started: Instant,
    deadline: Instant,
    timeout: Duration,
    rows_max: usize,
}

enum Ended {
    Answered(Outcome),
    Failed(QueryError),
    TimedOut,
    Cancelled,
}

impl Job {
    fn new(inner: Arc<Inner>, sql: &str, options: QueryOptions, parts: mpsc::Sender<Result<Part, QueryError>>) -> Self {
        let timeout = options.timeout.map_or(inner.settings.timeout, |asked| asked.min(inner.settings.timeout));
        let started = Instant::now();
        Self {
            sql: sql.to_owned(),
            parts,
            started,
            deadline: started + timeout,
            timeout,
            rows_max: options.rows_max.unwrap_or(inner.settings.rows_max),
            inner,
        }
    }

    async fn run(self) {
        let counts = &self.inner.counts;
        // A send fails only if nobody takes the answer any more; then nobody waits for its end either.
        let Some(mut turn) = self.inner.turns.take_in() else {
            let _ = self.parts.send(Err(throttled(self.inner.settings.queue_max))).await;
            return;
        };
        let work = tokio::time::timeout_at(self.deadline.into(), self.work(&mut turn));
        let ended = tokio::select! {
            biased;
            () = self.parts.closed() => Ended::Cancelled,
            ended = work => ended.unwrap_or(Ended::TimedOut),
        };
        counts.duration.record_us(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX));
        let last = match ended {
            Ended::Answered(outcome) => {
                counts.answered.inc();
                counts.rows.add(outcome.rows);
                counts.truncated.add(u64::from(outcome.truncated));
                counts.spilled_bytes.add(outcome.spilled_bytes);
                Ok(Part::End(outcome))
            }
            Ended::Failed(error) => {
                counts.failed.inc();
                Err(error)
            }
            Ended::TimedOut => {
                counts.timed_out.inc();
                Err(timed_out(self.timeout))
            }
            Ended::Cancelled => {
                counts.cancelled.inc();
                return;
            }
        };
        // Not kept from others by one who takes the last rows slowly.
        drop(turn);
        let _ = self.parts.send(last).await;
    }

    async fn work(&self, turn: &mut Turn) -> Ended {
        turn.comes().await;
        // A panic has been told where it happened; here it becomes an answer and a count, as any error.
        let panicked = |_| Err(QueryError::internal("the query's code panicked"));
        match AssertUnwindSafe(self.answer()).catch_unwind().await.unwrap_or_else(panicked) {
            Ok(Some(outcome)) => Ended::Answered(outcome),
            Ok(None) => Ended::Cancelled,
            Err(error) => Ended::Failed(error),
        }
    }

    /// `None` if nobody takes the answer any more.
    async fn answer(&self) -> Result<Option<Outcome>, QueryError> {
        let planning = Instant::now();
        let state = self.inner.context.state();
        let statement = statement::read_only(&self.sql)?;
        let told = |error: DataFusionError| diagnose::engine(&error, &self.sql, &self.inner.catalog.names());
        let logical = state.statement_to_plan(statement).await.map_err(told)?;
        read_only_plan(&logical).map_err(told)?;
        let versions = versions(&logical);
        let plan = self.physical(&state, logical).await.map_err(told)?;
        self.inner.counts.planning.record_us(u64::try_from(planning.elapsed().as_micros()).unwrap_or(u64::MAX));
        let planned = Part::Planned { schema: plan.schema(), versions: versions.into() };
        if self.parts.send(Ok(planned)).await.is_err() {
            return Ok(None);
        }
        let mut batches = execute_stream(Arc::clone(&plan), state.task_ctx()).map_err(told)?;
        let mut rows = 0;
        let mut truncated = false;
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(told)?;
            let (batch, more) = cut(batch, self.rows_max - rows);
            rows += batch.num_rows();
            truncated = more;
            if batch.num_rows() > 0 && self.parts.send(Ok(Part::Rows(batch))).await.is_err() {
                return Ok(None);
            }
            if truncated {
                break;
            }
        }
        drop(batches);
        let mut outcome = Outcome {
            rows: rows as u64,
            truncated,
            elapsed: self.started.elapsed(),
            spilled_bytes: 0,
            scanned_bytes: 0,
        };
        add_metrics(plan.as_ref(), &mut outcome);
        Ok(Some(outcome))
    }

    async fn physical(
        &self,
        state: &SessionState,
        plan: LogicalPlan,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        // One row more than may be given, so that the answer knows whether there were more. A sort below then keeps
        // only as many.
        let limited = match (&plan, self.rows_max.checked_add(1)) {
            (LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_), _) | (_, None) => plan,
            (_, Some(rows)) => LogicalPlanBuilder::from(plan).limit(0, Some(rows))?.build()?,
        };
        state.create_physical_plan(&limited).await
    }
}

fn read_only_plan(plan: &LogicalPlan) -> Result<(), DataFusionError> {
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false).verify_plan(plan)
}

/// The first `left` rows of a batch, and whether that cut rows off.
fn cut(batch: RecordBatch, left: usize) -> (RecordBatch, bool) {
    if batch.num_rows() <= left { (batch, false) } else { (batch.slice(0, left), true) }
}

/// The tables of the lake that a plan reads, each once.
fn versions(plan: &LogicalPlan) -> Vec<(String, TableVersion)> {
    let mut found: Vec<(String, TableVersion)> = Vec::new();
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(provider) = source_as_provider(&scan.source)
            && let Some(table) = as_lake(provider.as_ref())
            && found.iter().all(|(name, _)| name != table.name())
        {
            found.push((table.name().to_owned(), table.version()));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

fn add_metrics(plan: &dyn ExecutionPlan, outcome: &mut Outcome) {
    if let Some(metrics) = plan.metrics() {
        outcome.spilled_bytes += metrics.spilled_bytes().unwrap_or(0) as u64;
        outcome.scanned_bytes += metrics.sum_by_name("bytes_scanned").map_or(0, |sum| sum.as_usize()) as u64;
    }
    for child in plan.children() {
        add_metrics(child.as_ref(), outcome);
    }
}

fn timed_out(timeout: Duration) -> QueryError {
    QueryError::new(
        ErrorKind::TimedOut,
        format!("The query took longer than {}", base::settings::show_duration(timeout)),
        "Query a shorter time, or raise [query] timeout",
    )
}

fn throttled(waiting: usize) -> QueryError {
    QueryError::new(
        ErrorKind::Throttled,
        format!("{waiting} queries are waiting already"),
        "Try again in a moment, or raise [query] concurrency",
    )
}

//! The work of one partition.

use std::mem;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, PhysicalGroupBy, aggregate_expressions, evaluate_group_by};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, RecordOutput};
use futures::{Stream, StreamExt, stream};

use super::keys::Keys;

/// From how many groups to a row on it does not pay to group before a join. Forming a group costs a row about as much as
/// being joined, and only what is left over is saved.
pub(super) const EARLY_GROUPS_MAX: f64 = 1.0 / 32.0;

/// How many groups to be merged are formed before they are handed on and begun anew: so many that their table lies in the
/// cache of a core. Most sessions, requests and visits end soon after they began, so that hardly any comes back; a table of
/// all of them would miss the cache with every new one.
pub(super) const LOT_GROUPS: usize = 1 << 16;

/// Rows to a group below which a lot is not handed on, but may become twice as large: keys that come back from anywhere
/// would else be handed on again and again.
const LOT_ROWS: usize = 4;

/// What groups are formed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be joined, all of them.
    Join,
    /// To be merged with those of the other partitions, at first in lots of so many.
    Merge { lot: usize },
}

pub(super) struct Work {
    engine: Arc<AggregateExec>,
    purpose: Purpose,
    context: Arc<TaskContext>,
    metrics: BaselineMetrics,
    by: PhysicalGroupBy,
    measures: Vec<Measure>,
    keys: Keys,
    groups: Vec<usize>,
    /// Rows in these groups.
    rows: usize,
    reservation: MemoryReservation,
    phase: Phase,
    /// What is to be handed on, in slices.
    ready: Option<RecordBatch>,
}

/// What is computed for each group.
struct Measure {
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    accumulator: Box<dyn GroupsAccumulator>,
}

enum Phase {
    /// Rows go into groups.
    Grouping(SendableRecordBatchStream),
    /// There are too many groups: each row is handed on as a group of its own.
    Passing(SendableRecordBatchStream),
    Ended,
}

impl Work {
    pub(super) fn begin(
        engine: &Arc<AggregateExec>,
        purpose: Purpose,
        partition: usize,
        context: Arc<TaskContext>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Self> {
        let by = engine.group_expr().clone();
        let arguments = aggregate_expressions(engine.aggr_expr(), engine.mode(), by.num_group_exprs())?;
        let measures = engine.aggr_expr().iter().zip(arguments).zip(engine.filter_expr());
        let measures = measures.map(|((measure, arguments), filter)| {
            Ok(Measure { arguments, filter: filter.clone(), accumulator: measure.create_groups_accumulator()? })
        });
        let measures = measures.collect::<Result<_>>()?;
        let keys = Keys::new(engine.schema().fields().iter().take(by.expr().len()).map(|key| key.data_type().clone()));
        let reservation = MemoryConsumer::new(format!("Grouping[{partition}]")).register(context.memory_pool());
        let input = engine.input().execute(partition, Arc::clone(&context))?;
        Ok(Self {
            engine: Arc::clone(engine),
            purpose,
            metrics: BaselineMetrics::new(metrics, partition),
            by,
            measures,
            keys,
            groups: Vec::new(),
            rows: 0,
            reservation,
            phase: Phase::Grouping(input),
            ready: None,
            context,
        })
    }

    /// The groups with their states.
    pub(super) fn batches(self) -> impl Stream<Item = Result<RecordBatch>> {
        stream::try_unfold(self, |mut work| async move {
            let batch = work.next().await?;
            Ok(batch.map(|batch| (batch.record_output(&work.metrics), work)))
        })
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(slice) = self.slice() {
                return Ok(Some(slice));
            }
            match &mut self.phase {
                Phase::Ended => return Ok(None),
                Phase::Passing(input) => {
                    let Some(batch) = input.next().await.transpose()? else {
                        self.phase = Phase::Ended;
                        continue;
                    };
                    return self.pass(&batch).map(Some);
                }
                Phase::Grouping(input) => match input.next().await.transpose()? {
                    Some(batch) => self.group(&batch)?,
                    None => {
                        self.phase = Phase::Ended;
                        self.take()?;
                    }
                },
            }
        }
    }

    fn slice(&mut self) -> Option<RecordBatch> {
        let ready = self.ready.take()?;
        let size = self.context.session_config().batch_size();
        if ready.num_rows() <= size {
            self.reservation.free();
            return (ready.num_rows() > 0).then_some(ready);
        }
        self.ready = Some(ready.slice(size, ready.num_rows() - size));
        Some(ready.slice(0, size))
    }

    fn group(&mut self, batch: &RecordBatch) -> Result<()> {
        let timer = self.metrics.elapsed_compute().clone();
        let _timer = timer.timer();
        let columns = evaluate_group_by(&self.by, batch)?.pop().unwrap_or_default();
        self.keys.number(&columns, &mut self.groups)?;
        let total = self.keys.len();
        for measure in &mut self.measures {
            let (arguments, filter) = (measure.arguments(batch)?, measure.filter(batch)?);
            let filter = filter.as_ref().map(|filter| filter.as_boolean());
            measure.accumulator.update_batch(&arguments, &self.groups, filter, total)?;
        }
        self.rows += batch.num_rows();
        if self.in_vain(total) {
            self.take()?;
            if let Phase::Grouping(input) = mem::replace(&mut self.phase, Phase::Ended) {
                self.phase = Phase::Passing(input);
            }
        } else if self.reservation.try_resize(self.size()).is_err() {
            // Whoever merges them can use the disk; here groups begin anew.
            self.take()?;
        } else if let Purpose::Merge { lot } = &mut self.purpose
            && total >= *lot
        {
            if self.rows < LOT_ROWS * total {
                *lot *= 2;
            } else {
                self.take()?;
            }
        }
        Ok(())
    }

    /// Whether there are so many groups that it does not pay to form them.
    fn in_vain(&self, groups: usize) -> bool {
        let options = &self.context.session_config().options().execution;
        let most = match self.purpose {
            Purpose::Join => EARLY_GROUPS_MAX,
            Purpose::Merge { .. } => options.skip_partial_aggregation_probe_ratio_threshold,
        };
        self.rows >= options.skip_partial_aggregation_probe_rows_threshold && groups as f64 > self.rows as f64 * most
    }

    fn size(&self) -> usize {
        let measures: usize = self.measures.iter().map(|measure| measure.accumulator.size()).sum();
        measures + self.keys.size() + self.groups.capacity() * size_of::<usize>()
    }

    /// Makes ready all groups with their states. None are left.
    fn take(&mut self) -> Result<()> {
        let timer = self.metrics.elapsed_compute().clone();
        let _timer = timer.timer();
        let mut columns = self.keys.take()?;
        for measure in &mut self.measures {
            columns.extend(measure.accumulator.state(EmitTo::All)?);
        }
        let batch = RecordBatch::try_new(self.engine.schema(), columns)?;
        self.reservation.resize(batch.get_array_memory_size());
        self.ready = Some(batch);
        self.rows = 0;
        Ok(())
    }

    /// Each row as the state of a group.
    fn pass(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let timer = self.metrics.elapsed_compute().clone();
        let _timer = timer.timer();
        let mut columns = evaluate_group_by(&self.by, batch)?.pop().unwrap_or_default();
        for measure in &self.measures {
            let filter = measure.filter(batch)?;
            let filter = filter.as_ref().map(|filter| filter.as_boolean());
            columns.extend(measure.accumulator.convert_to_state(&measure.arguments(batch)?, filter)?);
        }
        Ok(RecordBatch::try_new(self.engine.schema(), columns)?)
    }
}

impl Measure {
    fn arguments(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.arguments.iter().map(|argument| argument.evaluate(batch)?.into_array(batch.num_rows())).collect()
    }

    fn filter(&self, batch: &RecordBatch) -> Result<Option<ArrayRef>> {
        self.filter.as_ref().map(|filter| filter.evaluate(batch)?.into_array(batch.num_rows())).transpose()
    }
}

//! The work of one partition.

use std::mem;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, PhysicalGroupBy, evaluate_group_by};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, RecordOutput};
use futures::{Stream, StreamExt, stream};

use super::input::Input;
use super::keys::Keys;
use super::measure::Measure;
use super::slices::Slices;

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
    ready: Option<Slices>,
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
        input: &Input,
        purpose: Purpose,
        partition: usize,
        context: Arc<TaskContext>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Self> {
        let groups = engine.group_expr().expr().iter();
        let groups = groups.map(|(group, name)| Ok((input.over(Arc::clone(group))?, name.clone())));
        let by = PhysicalGroupBy::new_single(groups.collect::<Result<_>>()?);
        let measures = Measure::all(engine, |expr| input.over(expr))?;
        let types = engine.schema().fields().iter().take(by.expr().len()).map(|key| key.data_type().clone()).collect();
        let keys = Keys::new(types, 0);
        let reservation = MemoryConsumer::new(format!("Grouping[{partition}]")).register(context.memory_pool());
        let input = input.plan.execute(partition, Arc::clone(&context))?;
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
            if let Some(slice) = self.ready.as_mut().and_then(Iterator::next) {
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
                        self.take(0)?;
                    }
                },
            }
        }
    }

    fn group(&mut self, batch: &RecordBatch) -> Result<()> {
        let timer = self.metrics.elapsed_compute().clone();
        let _timer = timer.timer();
        let columns = evaluate_group_by(&self.by, batch)?.pop().unwrap_or_default();
        self.keys.number(&columns, &mut self.groups)?;
        let total = self.keys.len();
        self.measures.iter_mut().try_for_each(|measure| measure.add(batch, &self.groups, total))?;
        self.rows += batch.num_rows();
        if self.in_vain(total) {
            self.take(0)?;
            if let Phase::Grouping(input) = mem::replace(&mut self.phase, Phase::Ended) {
                self.phase = Phase::Passing(input);
            }
        } else if self.reservation.try_resize(self.size()).is_err() {
            // Whoever merges them can use the disk; here groups begin anew.
            self.take(0)?;
        } else if let Purpose::Merge { lot } = &mut self.purpose
            && total >= *lot
        {
            if self.rows < LOT_ROWS * total {
                *lot *= 2;
            } else {
                self.take(total)?;
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
        let measures: usize = self.measures.iter().map(Measure::size).sum();
        measures + self.keys.size() + self.groups.capacity() * size_of::<usize>()
    }

    /// Makes ready all groups with their states. None are left, but room for as many as are expected.
    fn take(&mut self, expected: usize) -> Result<()> {
        let timer = self.metrics.elapsed_compute().clone();
        let _timer = timer.timer();
        let mut columns = self.keys.take(expected)?;
        for measure in &mut self.measures {
            columns.extend(measure.states()?);
        }
        let batch = RecordBatch::try_new(self.engine.schema(), columns)?;
        let size = self.context.session_config().batch_size();
        self.ready = Some(Slices::new(batch, size, self.reservation.take()));
        self.rows = 0;
        Ok(())
    }

    /// Each row as the state of a group.
    fn pass(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let timer = self.metrics.elapsed_compute().clone();
        let _timer = timer.timer();
        let schema = self.engine.schema();
        let keys = evaluate_group_by(&self.by, batch)?.pop().unwrap_or_default();
        let keys = keys.into_iter().zip(schema.fields()).map(|(key, field)| match key.data_type() {
            plain if plain == field.data_type() => Ok(key),
            _ => cast(&key, field.data_type()),
        });
        let mut columns = keys.collect::<Result<Vec<_>, _>>()?;
        for measure in &self.measures {
            columns.extend(measure.states_of(batch)?);
        }
        Ok(RecordBatch::try_new(schema, columns)?)
    }
}

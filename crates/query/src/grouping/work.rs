//! The work of one partition.

use std::mem;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, RecordOutput};
use futures::{Stream, StreamExt, stream};

use super::groups::Groups;
use super::input::Input;
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
    groups: Groups,
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
        let groups = Groups::of(engine, |expr| input.over(expr))?;
        let reservation = MemoryConsumer::new(format!("Grouping[{partition}]")).register(context.memory_pool());
        let input = input.plan.execute(partition, Arc::clone(&context))?;
        Ok(Self {
            engine: Arc::clone(engine),
            purpose,
            metrics: BaselineMetrics::new(metrics, partition),
            groups,
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
        self.groups.add(batch)?;
        let total = self.groups.len();
        self.rows += batch.num_rows();
        if self.in_vain(total) {
            self.take(0)?;
            if let Phase::Grouping(input) = mem::replace(&mut self.phase, Phase::Ended) {
                self.phase = Phase::Passing(input);
            }
        } else if self.reservation.try_resize(self.groups.size()).is_err() {
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

    /// Makes ready all groups with their states. None are left, but room for as many as are expected.
    fn take(&mut self, expected: usize) -> Result<()> {
        let timer = self.metrics.elapsed_compute().clone();
        let _timer = timer.timer();
        let batch = RecordBatch::try_new(self.engine.schema(), self.groups.states(expected)?)?;
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
        let columns = self.groups.states_of(batch, &schema)?;
        Ok(RecordBatch::try_new(schema, columns)?)
    }
}

//! Groups of several partitions and lots, merged.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_datafusion_err, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, InputOrderMode, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;

use super::groups::Groups;
use super::plan::Grouping;
use super::slices::Slices;

/// Merges groups as the engine's final aggregate that it is made from, while they find room. When memory is short it hands
/// what it has, and what is still to come, to the engine's, which can use the disk.
#[derive(Debug)]
pub(super) struct Merging {
    engine: Arc<AggregateExec>,
    input: Arc<dyn ExecutionPlan>,
    metrics: ExecutionPlanMetricsSet,
    /// Who went on where memory was short.
    successors: Arc<Mutex<Vec<Arc<AggregateExec>>>>,
}

impl Merging {
    /// `None` if what is merged does not come from [`Grouping`], whose kinds of groups are those that this can merge, and for
    /// groups by several columns, of which the engine's table holds the rows at one place and ours at several.
    pub(super) fn of(engine: &AggregateExec) -> Option<Self> {
        let repartition = engine.input().downcast_ref::<RepartitionExec>()?;
        let ours = repartition.input().downcast_ref::<Grouping>().is_some_and(Grouping::is_merged);
        let plain = *engine.mode() == AggregateMode::FinalPartitioned
            && *engine.input_order_mode() == InputOrderMode::Linear
            && engine.limit_options().is_none()
            && engine.group_expr().expr().len() == 1;
        (ours && plain).then(|| Self::new(Arc::new(engine.clone()), Arc::clone(engine.input())))
    }

    fn new(engine: Arc<AggregateExec>, input: Arc<dyn ExecutionPlan>) -> Self {
        Self { engine, input, metrics: ExecutionPlanMetricsSet::new(), successors: Arc::default() }
    }
}

impl DisplayAs for Merging {
    fn fmt_as(&self, form: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Merging groups: ")?;
        self.engine.fmt_as(form, f)
    }
}

impl ExecutionPlan for Merging {
    fn name(&self) -> &str {
        "Merging"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.engine.properties()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.engine.input_distribution_requirements()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.engine.apply_expressions(f)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([input]) = <[_; 1]>::try_from(children) else { return internal_err!("Merging has one child") };
        Ok(Arc::new(Self::new(Arc::clone(&self.engine), input)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let engine = &self.engine;
        // As the engine's, it gives up what it has when it is asked for more than its share.
        let consumer = MemoryConsumer::new(format!("Merging[{partition}]")).with_can_spill(true);
        let work = Work {
            groups: Groups::of(engine, Ok)?,
            reservation: consumer.register(context.memory_pool()),
            metrics: BaselineMetrics::new(&self.metrics, partition),
            rows: self.input.execute(partition, Arc::clone(&context))?,
            engine: Arc::clone(engine),
            successors: Arc::clone(&self.successors),
            context,
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(work.done()).try_flatten())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let mut all = self.metrics.clone_inner();
        for successor in self.successors.lock().iter() {
            successor.metrics().iter().flat_map(MetricsSet::iter).for_each(|metric| all.push(Arc::clone(metric)));
        }
        Some(all)
    }
}

/// The work of one partition.
struct Work {
    engine: Arc<AggregateExec>,
    groups: Groups,
    reservation: MemoryReservation,
    metrics: BaselineMetrics,
    rows: SendableRecordBatchStream,
    successors: Arc<Mutex<Vec<Arc<AggregateExec>>>>,
    context: Arc<TaskContext>,
}

impl Work {
    async fn done(mut self) -> Result<SendableRecordBatchStream> {
        while let Some(batch) = self.rows.next().await.transpose()? {
            self.merge(&batch)?;
            if self.reservation.try_resize(self.groups.size()).is_err() {
                return self.hand_over();
            }
        }
        self.results()
    }

    fn merge(&mut self, batch: &RecordBatch) -> Result<()> {
        let _timer = self.metrics.elapsed_compute().timer();
        self.groups.merge(batch)
    }

    fn results(mut self) -> Result<SendableRecordBatchStream> {
        let timer = self.metrics.elapsed_compute().timer();
        let columns = self.groups.results()?;
        drop(timer);
        let metrics = self.metrics.clone();
        let slices = self.slices(RecordBatch::try_new(self.engine.schema(), columns)?);
        let slices = stream::iter(slices.map(move |slice| Ok(slice.record_output(&metrics))));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.engine.schema(), slices)))
    }

    /// The engine's aggregate over the states of the groups so far and what is still to come.
    fn hand_over(mut self) -> Result<SendableRecordBatchStream> {
        let columns = self.groups.states(0)?;
        let engine = Arc::clone(&self.engine);
        let schema = engine.input().schema();
        let states = self.slices(RecordBatch::try_new(Arc::clone(&schema), columns)?);
        let rows = stream::iter(states.map(Ok)).chain(self.rows);
        let rows = Rest {
            rows: Mutex::new(Some(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), rows)))),
            schema: Arc::clone(&schema),
        };
        let rows = StreamingTableExec::try_new(schema, vec![Arc::new(rows)], None, vec![], false, None)?;
        let successor = AggregateExec::try_new(
            *engine.mode(),
            engine.group_expr().clone(),
            engine.aggr_expr().to_vec(),
            engine.filter_expr().to_vec(),
            Arc::new(rows),
            Arc::clone(&engine.input_schema),
        )?;
        let successor = Arc::new(successor);
        self.successors.lock().push(Arc::clone(&successor));
        successor.execute(0, self.context)
    }

    fn slices(&mut self, batch: RecordBatch) -> Slices {
        Slices::new(batch, self.context.session_config().batch_size(), self.reservation.take())
    }
}

/// Rows that are there to be taken once.
struct Rest {
    schema: SchemaRef,
    rows: Mutex<Option<SendableRecordBatchStream>>,
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rest")
    }
}

impl PartitionStream for Rest {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let taken = || Err(internal_datafusion_err!("What was left of the groups is taken twice"));
        match self.rows.lock().take() {
            Some(rows) => rows,
            None => {
                Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream::once(async move { taken() })))
            }
        }
    }
}

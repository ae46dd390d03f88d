//! The operator as the planner sees it.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, InputOrderMode, PlanProperties,
    replace_children_if_necessary,
};

use super::keys::Keys;
use super::work::{Purpose, Work};

/// Groups rows as the partial aggregate of the engine's that it is made from, but may hand on several groups of one key, and
/// rows ungrouped.
#[derive(Debug)]
pub(super) struct Grouping {
    engine: Arc<AggregateExec>,
    purpose: Purpose,
    metrics: ExecutionPlanMetricsSet,
}

impl Grouping {
    /// Groups to be joined; `None` if the aggregate is of a kind that is left to the engine.
    pub(super) fn before_join(engine: &AggregateExec) -> Option<Self> {
        Self::of(engine, Purpose::Join)
    }

    /// Groups by a text alone, to be merged, at first in lots of so many; `None` for others.
    pub(super) fn by_text(engine: &AggregateExec, lot: usize) -> Option<Self> {
        let schema = engine.schema();
        let text = engine.group_expr().expr().len() == 1
            && schema.fields().first().is_some_and(|key| *key.data_type() == DataType::Utf8View);
        text.then(|| Self::of(engine, Purpose::Merge { lot })).flatten()
    }

    fn of(engine: &AggregateExec, purpose: Purpose) -> Option<Self> {
        let groups = engine.group_expr();
        // Grouping sets, none at all, input that is sorted by the groups, the top few only: each has its own way.
        let plain = *engine.mode() == AggregateMode::Partial
            && groups.is_single()
            && !groups.is_empty()
            && *engine.input_order_mode() == InputOrderMode::Linear
            && engine.limit_options().is_none();
        let mut measures = engine.aggr_expr().iter();
        // A row alone, handed on as a group, must not become much more than it was.
        let small = |state: &FieldRef| {
            let data_type = state.data_type();
            !data_type.is_nested()
                && !matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
        };
        let measured = measures.all(|measure| {
            measure.groups_accumulator_supported()
                && measure.order_bys().is_empty()
                && measure.state_fields().is_ok_and(|states| states.iter().all(small))
        });
        let schema = engine.schema();
        let keys = schema.fields().iter().take(groups.expr().len()).all(|key| Keys::supports(key.data_type()));
        (plain && measured && keys).then(|| Self::new(Arc::new(engine.clone()), purpose))
    }

    fn new(engine: Arc<AggregateExec>, purpose: Purpose) -> Self {
        Self { engine, purpose, metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl DisplayAs for Grouping {
    fn fmt_as(&self, form: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.purpose {
            Purpose::Join => "Grouping before a join: ",
            Purpose::Merge { .. } => "Grouping in lots: ",
        })?;
        self.engine.fmt_as(form, f)
    }
}

impl ExecutionPlan for Grouping {
    fn name(&self) -> &str {
        "Grouping"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.engine.properties()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.engine.input_distribution_requirements()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.engine.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.engine.apply_expressions(f)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let engine = replace_children_if_necessary(Arc::clone(&self.engine) as Arc<dyn ExecutionPlan>, children)?;
        match engine.downcast_ref::<AggregateExec>() {
            Some(engine) => Ok(Arc::new(Self::new(Arc::new(engine.clone()), self.purpose))),
            None => internal_err!("an aggregate with another input is no aggregate any more"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let work = Work::begin(&self.engine, self.purpose, partition, context, &self.metrics)?;
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), work.batches())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

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
use super::work::Work;

/// Groups rows as the partial aggregate of the engine's that it is made from, but may hand them on ungrouped.
#[derive(Debug)]
pub(super) struct Grouping {
    engine: Arc<AggregateExec>,
    metrics: ExecutionPlanMetricsSet,
}

impl Grouping {
    /// `None` if the aggregate is of a kind that is left to the engine.
    pub(super) fn of(engine: &AggregateExec) -> Option<Self> {
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
        (plain && measured && keys).then(|| Self::new(Arc::new(engine.clone())))
    }

    fn new(engine: Arc<AggregateExec>) -> Self {
        Self { engine, metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl DisplayAs for Grouping {
    fn fmt_as(&self, form: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grouping before a join: ")?;
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
            Some(engine) => Ok(Arc::new(Self::new(Arc::new(engine.clone())))),
            None => internal_err!("an aggregate with another input is no aggregate any more"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let work = Work::begin(&self.engine, partition, context, &self.metrics)?;
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), work.batches())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

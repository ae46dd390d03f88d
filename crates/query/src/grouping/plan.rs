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
};

use super::input::Input;
use super::keys::Keys;
use super::work::{Purpose, Work};

/// Groups rows as the partial aggregate of the engine's that it is made from, but may hand on several groups of one key, and
/// rows ungrouped.
#[derive(Debug)]
pub(super) struct Grouping {
    engine: Arc<AggregateExec>,
    input: Input,
    purpose: Purpose,
    metrics: ExecutionPlanMetricsSet,
}

impl Grouping {
    /// Groups to be joined; `None` if the aggregate is of a kind that is left to the engine.
    pub(super) fn before_join(engine: &AggregateExec) -> Result<Option<Self>> {
        Ok(match Self::of(engine, Purpose::Join) {
            Some(grouping) => Some(grouping.over_dictionaries()?.0),
            None => None,
        })
    }

    /// Whether [`Self::before_join`] gives one.
    pub(super) fn can(engine: &AggregateExec) -> bool {
        Self::of(engine, Purpose::Join).is_some()
    }

    /// Groups to be merged, at first in lots of so many, where ours are faster: by a text alone, and by several columns with a
    /// text among them that can be read as a dictionary. `None` for others.
    pub(super) fn in_lots(engine: &AggregateExec, lot: usize) -> Result<Option<Self>> {
        let Some(grouping) = Self::of(engine, Purpose::Merge { lot }) else { return Ok(None) };
        let schema = engine.schema();
        let alone = engine.group_expr().expr().len() == 1
            && schema.fields().first().is_some_and(|key| *key.data_type() == DataType::Utf8View);
        let (grouping, dictionary) = grouping.over_dictionaries()?;
        Ok((alone || dictionary).then_some(grouping))
    }

    /// Whether its groups are to be merged, and not to be joined.
    pub(super) fn is_merged(&self) -> bool {
        matches!(self.purpose, Purpose::Merge { .. })
    }

    fn over_dictionaries(mut self) -> Result<(Self, bool)> {
        let (input, dictionary) = self.input.over_dictionaries(&self.engine)?;
        self.input = input;
        Ok((self, dictionary))
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
        (plain && measured && keys).then(|| Self::new(Arc::new(engine.clone()), Input::of(engine), purpose))
    }

    fn new(engine: Arc<AggregateExec>, input: Input, purpose: Purpose) -> Self {
        Self { engine, input, purpose, metrics: ExecutionPlanMetricsSet::new() }
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
        vec![&self.input.plan]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.engine.apply_expressions(f)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Ok([input]) = <[_; 1]>::try_from(children) else { return internal_err!("Grouping has one child") };
        Ok(Arc::new(Self::new(Arc::clone(&self.engine), self.input.from(input), self.purpose)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let work = Work::begin(&self.engine, &self.input, self.purpose, partition, context, &self.metrics)?;
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), work.batches())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

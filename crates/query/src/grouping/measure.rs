//! What is computed for each group.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use datafusion::common::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::aggregates::{AggregateExec, aggregate_expressions};

pub(super) type Expr = Arc<dyn PhysicalExpr>;

/// One count, sum or the like, of all groups.
pub(super) struct Measure {
    arguments: Vec<Expr>,
    filter: Option<Expr>,
    accumulator: Box<dyn GroupsAccumulator>,
}

impl Measure {
    /// Those of an aggregate, its expressions made into ones over the rows at hand by `over`.
    pub(super) fn all(engine: &AggregateExec, over: impl Fn(Expr) -> Result<Expr>) -> Result<Vec<Self>> {
        let groups = engine.group_expr().num_group_exprs();
        let arguments = aggregate_expressions(engine.aggr_expr(), engine.mode(), groups)?;
        let measures = engine.aggr_expr().iter().zip(arguments).zip(engine.filter_expr());
        let measures = measures.map(|((measure, arguments), filter)| {
            let arguments = arguments.into_iter().map(&over).collect::<Result<_>>()?;
            let filter = filter.clone().map(&over).transpose()?;
            Ok(Self { arguments, filter, accumulator: measure.create_groups_accumulator()? })
        });
        measures.collect()
    }

    /// Adds rows to their groups, of which there are now `total`.
    pub(super) fn add(&mut self, batch: &RecordBatch, groups: &[usize], total: usize) -> Result<()> {
        let (arguments, filter) = (self.arguments(batch)?, self.filter(batch)?);
        self.accumulator.update_batch(&arguments, groups, filter.as_ref(), total)
    }

    /// Adds the states of groups likewise.
    pub(super) fn merge(&mut self, batch: &RecordBatch, groups: &[usize], total: usize) -> Result<()> {
        let states = self.arguments(batch)?;
        self.accumulator.merge_batch(&states, groups, total)
    }

    /// Each row as the state of a group.
    pub(super) fn states_of(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.accumulator.convert_to_state(&self.arguments(batch)?, self.filter(batch)?.as_ref())
    }

    /// The states of all groups; none are left.
    pub(super) fn states(&mut self) -> Result<Vec<ArrayRef>> {
        self.accumulator.state(EmitTo::All)
    }

    /// What came out for all groups; none are left.
    pub(super) fn results(&mut self) -> Result<ArrayRef> {
        self.accumulator.evaluate(EmitTo::All)
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        self.accumulator.size()
    }

    fn arguments(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.arguments.iter().map(|argument| argument.evaluate(batch)?.into_array(batch.num_rows())).collect()
    }

    fn filter(&self, batch: &RecordBatch) -> Result<Option<BooleanArray>> {
        let Some(filter) = &self.filter else { return Ok(None) };
        Ok(Some(filter.evaluate(batch)?.into_array(batch.num_rows())?.as_boolean().clone()))
    }
}

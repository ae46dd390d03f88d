//! What groups are formed of, read in the form that is fastest to group.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExpr;

use crate::dictionaries::{self, AsDictionary, compared};

type Expr = Arc<dyn PhysicalExpr>;

/// The rows that an aggregate groups. Texts may come as dictionaries, and comparisons of texts may be made already.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) plan: Arc<dyn ExecutionPlan>,
    /// Comparisons, and the column that holds what came out.
    comparisons: Arc<[(Expr, Column)]>,
}

impl Input {
    /// As the aggregate has it.
    pub(super) fn of(engine: &AggregateExec) -> Self {
        Self { plan: Arc::clone(engine.input()), comparisons: Arc::default() }
    }

    /// Likewise from another plan that gives the same.
    pub(super) fn from(&self, plan: Arc<dyn ExecutionPlan>) -> Self {
        Self { plan, comparisons: Arc::clone(&self.comparisons) }
    }

    /// The same rows with dictionaries and comparisons from where files are read, and whether that gave a dictionary to group by.
    ///
    /// A text that is grouped by, and only compared beside that, comes as a dictionary. One that is only compared does not come
    /// at all: what its comparisons gave comes in its place.
    pub(super) fn over_dictionaries(self, engine: &AggregateExec) -> Result<(Self, bool)> {
        let schema = self.plan.schema();
        let is_text = |column: &Column| *schema.field(column.index()).data_type() == DataType::Utf8View;
        let mut needs = Needs::default();
        let mut grouped: Vec<usize> = Vec::new();
        for (group, _) in engine.group_expr().expr() {
            match group.downcast_ref::<Column>().filter(|column| is_text(column)) {
                Some(column) => grouped.push(column.index()),
                None => needs.add(group)?,
            }
        }
        for measure in engine.aggr_expr() {
            measure.expressions().iter().try_for_each(|argument| needs.add(argument))?;
        }
        engine.filter_expr().iter().flatten().try_for_each(|filter| needs.add(filter))?;
        let mut comparisons = needs.comparisons;
        if self.plan.downcast_ref::<FilterExec>().is_some() {
            // They are made of fewer rows above it: dictionaries alone can be had from below a filter.
            needs.others.extend(comparisons.drain(..).map(|(_, column)| column.index()));
        }
        grouped.retain(|index| !needs.others.contains(index));
        comparisons.retain(|(_, column)| is_text(column) && !needs.others.contains(&column.index()));

        let mut wanted: Vec<ProjectionExpr> = Vec::new();
        let mut made: Vec<(Expr, Column)> = Vec::new();
        for (index, field) in schema.fields().iter().enumerate() {
            let column: Expr = Arc::new(Column::new(field.name(), index));
            let mut own = comparisons.iter().filter(|(_, column)| column.index() == index);
            let (expr, alias) = match own.next() {
                _ if grouped.contains(&index) => (Arc::new(AsDictionary { text: column }) as _, field.name().clone()),
                Some((comparison, _)) => {
                    let alias = comparison.to_string();
                    made.push((Arc::clone(comparison), Column::new(&alias, index)));
                    (Arc::clone(comparison), alias)
                }
                None => (column, field.name().clone()),
            };
            wanted.push(ProjectionExpr { expr, alias });
        }
        for (comparison, _) in comparisons {
            if made.iter().all(|(made, _)| !made.eq(&comparison)) {
                let alias = comparison.to_string();
                made.push((Arc::clone(&comparison), Column::new(&alias, wanted.len())));
                wanted.push(ProjectionExpr { expr: comparison, alias });
            }
        }
        if grouped.is_empty() && made.is_empty() {
            return Ok((self, false));
        }
        match dictionaries::push(&self.plan, &wanted)? {
            Some(plan) => Ok((Self { plan, comparisons: made.into() }, !grouped.is_empty())),
            None => Ok((self, false)),
        }
    }

    /// The expression that gives over these rows what `expr` gives over the aggregate's.
    pub(super) fn over(&self, expr: Expr) -> Result<Expr> {
        let done = expr.transform_down(|expr| match self.comparisons.iter().find(|(made, _)| made.eq(&expr)) {
            Some((_, column)) => Ok(Transformed::new(Arc::new(column.clone()) as Expr, true, TreeNodeRecursion::Jump)),
            None => Ok(Transformed::no(expr)),
        });
        Ok(done?.data)
    }
}

/// What expressions need of the rows.
#[derive(Default)]
struct Needs {
    comparisons: Vec<(Expr, Column)>,
    /// Columns that are needed as they are.
    others: Vec<usize>,
}

impl Needs {
    fn add(&mut self, expr: &Expr) -> Result<()> {
        expr.apply(|expr| {
            if let Some(column) = compared(expr) {
                if self.comparisons.iter().all(|(comparison, _)| comparison != expr) {
                    self.comparisons.push((Arc::clone(expr), column.clone()));
                }
                return Ok(TreeNodeRecursion::Jump);
            }
            self.others.extend(expr.downcast_ref::<Column>().map(Column::index));
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(())
    }
}

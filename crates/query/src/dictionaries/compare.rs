//! Comparisons of a text with one that is written in the query.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};

/// The column, if the expression is such a comparison.
pub(crate) fn compared(expr: &Arc<dyn PhysicalExpr>) -> Option<&Column> {
    let comparison = expr.downcast_ref::<BinaryExpr>()?;
    let sides = [comparison.left(), comparison.right()];
    let column = sides.iter().find_map(|side| side.downcast_ref::<Column>())?;
    let text = sides.iter().find_map(|side| text(side))?;
    (compares(*comparison.op()) && text.is_some()).then_some(column)
}

/// The comparison that gives the same where the file has dictionaries of texts in the place of texts.
pub(super) fn over_dictionary(expr: &Arc<dyn PhysicalExpr>, column: Column) -> Option<Arc<dyn PhysicalExpr>> {
    let comparison = expr.downcast_ref::<BinaryExpr>()?;
    let side = |side: &Arc<dyn PhysicalExpr>| -> Arc<dyn PhysicalExpr> {
        match text(side) {
            Some(text) => Arc::new(Literal::new(ScalarValue::Utf8(text.map(str::to_owned)))),
            None => Arc::new(column.clone()),
        }
    };
    Some(Arc::new(BinaryExpr::new(side(comparison.left()), *comparison.op(), side(comparison.right()))))
}

fn text(expr: &Arc<dyn PhysicalExpr>) -> Option<Option<&str>> {
    expr.downcast_ref::<Literal>()?.value().try_as_str()
}

fn compares(operator: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(operator, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

//! Expressions over a table's columns, made into those over a file's.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};

use super::compare::{compared, over_dictionary};
use super::data_type;
use super::expr::AsDictionary;

/// The engine's own, but for [`AsDictionary`] of a column that the file gives as a dictionary, and comparisons with one.
#[derive(Debug)]
pub(super) struct Adapters;

impl PhysicalExprAdapterFactory for Adapters {
    fn create(&self, table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let engine = DefaultPhysicalExprAdapterFactory.create(table, Arc::clone(&file))?;
        Ok(Arc::new(Adapter { engine, file }))
    }
}

#[derive(Debug)]
struct Adapter {
    engine: Arc<dyn PhysicalExprAdapter>,
    file: SchemaRef,
}

impl PhysicalExprAdapter for Adapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        if let Some(column) = self.stored(&expr) {
            return Ok(column);
        }
        let mut within = false;
        expr.apply(|expr| {
            within = self.stored(expr).is_some();
            Ok(if within { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })?;
        if !within {
            return self.engine.rewrite(expr);
        }
        let children = expr.children().into_iter().map(|child| self.rewrite(Arc::clone(child)));
        let children = children.collect::<Result<Vec<_>>>()?;
        expr.with_new_children(children)
    }
}

impl Adapter {
    /// What the expression is over the file's column, if that is a dictionary and the expression can do with one.
    fn stored(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>> {
        let as_it_is = expr.downcast_ref::<AsDictionary>().and_then(|expr| expr.text.downcast_ref::<Column>());
        let name = as_it_is.or_else(|| compared(expr))?.name();
        let (index, field) = self.file.column_with_name(name)?;
        if *field.data_type() != data_type() {
            return None;
        }
        let column = Column::new(name, index);
        if as_it_is.is_some() { Some(Arc::new(column)) } else { over_dictionary(expr, column) }
    }
}

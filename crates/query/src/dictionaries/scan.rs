//! Plans whose scans read dictionaries.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::union::UnionExec;

use super::adapter::Adapters;
use super::compare::compared;
use super::expr::AsDictionary;
use super::readers::{Columns, Readers};

/// The plan that gives `wanted` of what `plan` gives, computed where files are read. `None` if it reads none directly.
pub(crate) fn push(plan: &Arc<dyn ExecutionPlan>, wanted: &[ProjectionExpr]) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let project = |plan| ProjectionExec::try_new(wanted.to_vec(), plan);
    if let Some(union) = plan.downcast_ref::<UnionExec>() {
        let pushed = union.inputs().iter().map(|input| push(input, wanted)).collect::<Result<Vec<_>>>()?;
        if pushed.iter().all(Option::is_none) {
            return Ok(None);
        }
        let inputs = pushed.into_iter().zip(union.inputs()).map(|(pushed, input)| match pushed {
            Some(pushed) => Ok(pushed),
            None => Ok(Arc::new(project(Arc::clone(input))?) as _),
        });
        return UnionExec::try_new(inputs.collect::<Result<Vec<_>>>()?).map(Some);
    }
    match files(plan) {
        Some(_) => {
            Ok(plan.try_swapping_with_projection(&project(Arc::clone(plan))?)?.map(|plan| open(&plan).unwrap_or(plan)))
        }
        None => Ok(None),
    }
}

/// The scan that opens its files as holding dictionaries where that is of use to what it gives and filters by; `None` if it is
/// of no use, or no scan of files.
pub(crate) fn open(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let (config, source) = files(plan)?;
    let (mut given, mut filtered) = (Uses::default(), Uses::default());
    source.projection()?.as_ref().iter().for_each(|given_expr| given.add(&given_expr.expr));
    if let Some(filter) = source.filter() {
        filtered.add(&filter);
    }
    // A filter that is not applied to rows only looks at bounds.
    let by_row = source.table_parquet_options().global.pushdown_filters;
    let any = given.dictionaries.iter().filter(|name| !by_row || !filtered.texts.contains(*name));
    let short = given.compared.iter().chain(filtered.compared.iter().filter(|_| by_row));
    let short = short.filter(|name| !given.texts.contains(*name) && !filtered.texts.contains(*name));
    let columns = Columns { any: any.cloned().collect(), short: short.cloned().collect() };
    if columns.any.is_empty() && columns.short.is_empty() {
        return None;
    }
    let files = Arc::clone(source.parquet_file_reader_factory()?);
    let readers = Readers { files, columns: Arc::new(columns) };
    let source = source.clone().with_parquet_file_reader_factory(Arc::new(readers));
    let config = FileScanConfigBuilder::from(config.clone())
        .with_source(Arc::new(source))
        .with_expr_adapter(Some(Arc::new(Adapters)));
    Some(DataSourceExec::from_data_source(config.build()))
}

fn files(plan: &Arc<dyn ExecutionPlan>) -> Option<(&FileScanConfig, &ParquetSource)> {
    plan.downcast_ref::<DataSourceExec>()?.downcast_to_file_source::<ParquetSource>()
}

/// The columns that expressions need, by name.
#[derive(Default)]
struct Uses {
    /// As dictionaries.
    dictionaries: BTreeSet<String>,
    /// To be compared with texts of the query.
    compared: BTreeSet<String>,
    /// As texts, or whatever they are.
    texts: BTreeSet<String>,
}

impl Uses {
    fn add(&mut self, expr: &Arc<dyn PhysicalExpr>) {
        let dictionary = expr.downcast_ref::<AsDictionary>().and_then(|expr| expr.text.downcast_ref::<Column>());
        if let Some(column) = dictionary {
            self.dictionaries.insert(column.name().to_owned());
        } else if let Some(column) = compared(expr) {
            self.compared.insert(column.name().to_owned());
        } else if let Some(column) = expr.downcast_ref::<Column>() {
            self.texts.insert(column.name().to_owned());
        } else {
            expr.children().into_iter().for_each(|child| self.add(child));
        }
    }
}

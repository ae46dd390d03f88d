//! Plans whose scans read dictionaries.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};

use super::adapter::Adapters;
use super::compare::compared;
use super::expr::AsDictionary;
use super::readers::{Columns, Readers};

/// The plan that gives `wanted` of what `plan` gives, computed where files are read; perhaps with texts in the place of dictionaries.
/// `None` if that would be of no use.
pub(crate) fn push(plan: &Arc<dyn ExecutionPlan>, wanted: &[ProjectionExpr]) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        return through(filter, plan, wanted);
    }
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
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let types = |input: &Arc<dyn ExecutionPlan>| -> Vec<DataType> {
            input.schema().fields().iter().map(|field| field.data_type().clone()).collect()
        };
        // A filter below one input may have kept a text that comes as a dictionary from another.
        let alike = inputs.windows(2).all(|pair| types(&pair[0]) == types(&pair[1]));
        return if alike { UnionExec::try_new(inputs).map(Some) } else { Ok(None) };
    }
    if files(plan).is_none() {
        return Ok(None);
    }
    let pushed = plan.try_swapping_with_projection(&project(Arc::clone(plan))?)?;
    Ok(pushed.and_then(|plan| open(&plan)))
}

/// Likewise below a filter, which passes dictionaries on as it does texts; those that it looks at stay texts. Only for what keeps
/// the columns where they are: comparisons would be made of rows that the filter leaves out.
fn through(
    filter: &FilterExec,
    plan: &Arc<dyn ExecutionPlan>,
    wanted: &[ProjectionExpr],
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let input = filter.input().schema();
    let mut below: Vec<ProjectionExpr> = Vec::new();
    for (index, field) in input.fields().iter().enumerate() {
        below.push(ProjectionExpr { expr: Arc::new(Column::new(field.name(), index)), alias: field.name().clone() });
    }
    let looked_at = collect_columns(filter.predicate());
    let mut some = false;
    for (index, wanted) in wanted.iter().enumerate() {
        let dictionary = dictionary(&wanted.expr);
        let column = dictionary.or_else(|| wanted.expr.downcast_ref::<Column>());
        if column.is_none_or(|column| column.index() != index) {
            return Ok(None);
        }
        let place = filter.projection().as_ref().map_or(index, |places| places[index]);
        if dictionary.is_some() && looked_at.iter().all(|column| column.index() != place) {
            some = true;
            below[place].expr = Arc::new(AsDictionary { text: Arc::clone(&below[place].expr) });
        }
    }
    match if some { push(filter.input(), &below)? } else { None } {
        Some(input) => replace_children_if_necessary(Arc::clone(plan), vec![input]).map(Some),
        None => Ok(None),
    }
}

/// The scan that opens its files as holding dictionaries where that is of use to what it gives and filters by; `None` if it is
/// of no use, is done already, or for no scan of files.
pub(crate) fn open(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let (config, source) = files(plan)?;
    if config.expr_adapter_factory.is_some() {
        return None;
    }
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
    // To make dictionaries here that no file has would serve nobody.
    if columns.any.len() < given.dictionaries.len() || (columns.any.is_empty() && columns.short.is_empty()) {
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

/// The column that is wanted as a dictionary, if the expression wants one.
fn dictionary(expr: &Arc<dyn PhysicalExpr>) -> Option<&Column> {
    expr.downcast_ref::<AsDictionary>()?.text.downcast_ref()
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
        if let Some(column) = dictionary(expr) {
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

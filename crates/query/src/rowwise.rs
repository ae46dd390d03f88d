//! Row-wise SQL for delivery: `select … from record [where …]`, planned once and then evaluated on batch after batch.
//!
//! Every output row depends on one input row and on nothing else: no aggregate, join, sort, limit, subquery, clock or
//! random number. So the same records give the same rows whenever and in whatever batches they are read, and one bad
//! record can be found by trying parts of its batch. What a plan evaluates are the engine's own expressions, without
//! an execution plan, streams or tasks around them: a batch of one row costs microseconds.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use base::ErrorKind;
use datafusion::catalog::TableProvider;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{self, SetExpr, Visit, Visitor};
use futures::FutureExt;

use crate::error::QueryError;
use crate::place::Words;
use crate::{diagnose, functions, statement};

/// The one table such SQL reads.
pub const RECORD: &str = "record";

/// What to write instead of what is refused.
const SHAPE: &str = "Write select … from record [where …]; each row of the table comes from one record alone";

/// Planned row-wise SQL.
pub struct Projection {
    /// Which columns of a record batch are read, by name, in order.
    columns: Vec<String>,
    steps: Vec<Step>,
    schema: SchemaRef,
}

enum Step {
    /// Keeps the rows for which it is true.
    Keep(Arc<dyn PhysicalExpr>),
    /// Makes new columns.
    Make(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
    /// No row can pass.
    Nothing(SchemaRef),
}

/// The rows made from a batch.
#[derive(Debug)]
pub struct Applied {
    /// The rows, with the columns of [`Projection::schema`].
    pub rows: RecordBatch,
    /// For each row, the index of the input row it comes from; growing.
    pub kept: Vec<u32>,
}

/// Why a batch could not be worked on. Its rows may be good but for one: try parts of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ApplyError {
    reason: String,
    kind: ErrorKind,
}

impl ApplyError {
    fn new(error: DataFusionError) -> Self {
        let told = diagnose::engine(&error, "", &[]);
        Self { reason: told.message().to_owned(), kind: told.kind() }
    }

    /// `Invalid`: a value does not fit the SQL; anything else is not the record's fault.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Debug for Projection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Projection").field("columns", &self.columns).field("schema", &self.schema).finish()
    }
}

/// The names that stand for columns in row-wise SQL, in the order they first stand there; `None` if it selects `*`.
/// For sources whose columns are found out by what the SQL asks for.
///
/// # Errors
/// As [`Projection::plan`], as far as that can be said without the columns.
pub fn columns_named(sql: &str) -> Result<Option<Vec<String>>, QueryError> {
    let statement = statement::read_only(sql)?;
    let select = check_shape(&statement, &Words::of(sql))?;
    let mut names = Names::default();
    let _ = select.visit(&mut names);
    Ok((!names.all).then_some(names.found))
}

impl Projection {
    /// Plans `sql` over records with the columns of `record`.
    ///
    /// # Errors
    /// `Invalid`, with the place: what is no `select … from record [where …]`, unknown columns or functions, types
    /// that do not fit, and anything whose value does not depend on the record alone.
    pub fn plan(sql: &str, record: SchemaRef) -> Result<Self, QueryError> {
        let statement = statement::read_only(sql)?;
        let words = Words::of(sql);
        check_shape(&statement, &words)?;
        let told = |error: DataFusionError| diagnose::engine(&error, sql, &[RECORD.to_owned()]);
        let state = state(record).map_err(told)?;
        // Planning over tables that are at hand never waits.
        let planned = state.statement_to_plan(statement).now_or_never();
        let logical = planned.ok_or_else(|| QueryError::internal("planning waited for something"))?.map_err(told)?;
        check_plan(&logical, &words)?;
        let optimized = state.optimize(&logical).map_err(told)?;
        let mut projection = Self { columns: Vec::new(), steps: Vec::new(), schema: Arc::new(Schema::empty()) };
        projection.add(&state, &optimized).map_err(|error| match error {
            Misfit::Engine(error) => told(error),
            Misfit::Told(error) => error,
        })?;
        Ok(projection)
    }

    /// The names of the record columns it reads.
    pub fn columns_used(&self) -> &[String] {
        &self.columns
    }

    /// The columns of the rows it makes. All text is `Utf8` and all bytes are `Binary`, whatever the engine uses within.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Makes rows from a batch that has at least the columns of [`Projection::columns_used`], of the types given to
    /// [`Projection::plan`].
    ///
    /// # Errors
    /// A value does not fit. Nothing was made then.
    pub fn apply(&self, batch: &RecordBatch) -> Result<Applied, ApplyError> {
        self.run(batch).map_err(ApplyError::new)
    }

    fn run(&self, batch: &RecordBatch) -> Result<Applied, DataFusionError> {
        let indices = self.columns.iter().map(|name| batch.schema_ref().index_of(name));
        let mut rows = batch.project(&indices.collect::<Result<Vec<_>, _>>()?)?;
        // `None` while all rows are kept.
        let mut kept: Option<UInt32Array> = None;
        for step in &self.steps {
            match step {
                Step::Keep(condition) => {
                    let mask = mask(condition, &rows)?;
                    if mask.true_count() < rows.num_rows() {
                        let before = kept.unwrap_or_else(|| counting(rows.num_rows()));
                        kept = Some(filter(&before, &mask)?.as_primitive().clone());
                        rows = filter_record_batch(&rows, &mask)?;
                    }
                }
                Step::Make(expressions, schema) => rows = make(expressions, schema, &rows)?,
                Step::Nothing(schema) => {
                    kept = Some(counting(0));
                    rows = RecordBatch::new_empty(Arc::clone(schema));
                }
            }
        }
        let kept = kept.unwrap_or_else(|| counting(rows.num_rows()));
        Ok(Applied { rows: plain(&rows, &self.schema)?, kept: kept.values().to_vec() })
    }

    /// Adds the steps of `plan`, inputs first.
    fn add(&mut self, state: &SessionState, plan: &LogicalPlan) -> Result<(), Misfit> {
        for input in plan.inputs() {
            self.add(state, input)?;
        }
        let expression = |expression: &Expr, over: &DFSchema| state.create_physical_expr(expression.clone(), over);
        match plan {
            LogicalPlan::TableScan(scan) => {
                let fields = scan.projected_schema.fields().iter();
                self.columns = fields.map(|field| field.name().clone()).collect();
                for filter in &scan.filters {
                    self.steps.push(Step::Keep(expression(filter, &scan.projected_schema)?));
                }
            }
            LogicalPlan::Filter(filter) => {
                self.steps.push(Step::Keep(expression(&filter.predicate, filter.input.schema())?));
            }
            LogicalPlan::Projection(projection) => {
                let over = projection.input.schema();
                let made = projection.expr.iter().map(|made| expression(made, over));
                let made = made.collect::<Result<Vec<_>, _>>()?;
                self.steps.push(Step::Make(made, Arc::clone(projection.schema.inner())));
            }
            LogicalPlan::SubqueryAlias(_) => {}
            LogicalPlan::EmptyRelation(empty) if !empty.produce_one_row => {
                self.steps.push(Step::Nothing(Arc::clone(empty.schema.inner())));
            }
            other => {
                let message = format!("Row-wise SQL cannot do this: {}", other.display());
                return Err(Misfit::Told(QueryError::invalid(message, SHAPE)));
            }
        }
        let fields = plan.schema().inner().fields().iter();
        let fields = fields.map(|field| match plain_type(field.data_type()) {
            Some(plain) => Arc::new(field.as_ref().clone().with_data_type(plain)),
            None => Arc::clone(field),
        });
        self.schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(())
    }
}

enum Misfit {
    Engine(DataFusionError),
    Told(QueryError),
}

impl From<DataFusionError> for Misfit {
    fn from(error: DataFusionError) -> Self {
        Self::Engine(error)
    }
}

fn state(record: SchemaRef) -> Result<SessionState, DataFusionError> {
    let mut config = SessionConfig::new();
    config.options_mut().sql_parser.collect_spans = true;
    let context = functions::session(SessionStateBuilder::new().with_config(config));
    let records: Arc<dyn TableProvider> = Arc::new(EmptyTable::new(record));
    context.register_table(RECORD, records)?;
    Ok(context.state())
}

fn counting(rows: usize) -> UInt32Array {
    UInt32Array::from_iter_values(0..u32::try_from(rows).unwrap_or(u32::MAX))
}

/// Which rows a condition keeps: those for which it is true, not null.
fn mask(condition: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<BooleanArray, DataFusionError> {
    let mask = condition.evaluate(rows)?.into_array(rows.num_rows())?;
    let mask = mask.as_boolean();
    Ok(if mask.null_count() == 0 { mask.clone() } else { arrow::compute::prep_null_mask_filter(mask) })
}

fn make(
    expressions: &[Arc<dyn PhysicalExpr>],
    schema: &SchemaRef,
    rows: &RecordBatch,
) -> Result<RecordBatch, DataFusionError> {
    let columns = expressions.iter().map(|made| made.evaluate(rows)?.into_array(rows.num_rows()));
    let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// The rows with text and bytes in the layout that every reader of Arrow knows.
fn plain(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, DataFusionError> {
    let columns = rows.columns().iter().zip(schema.fields()).map(|(column, field)| {
        if column.data_type() == field.data_type() {
            return Ok(Arc::clone(column));
        }
        arrow::compute::cast(column, field.data_type())
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

fn plain_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => Some(DataType::Utf8),
        DataType::BinaryView | DataType::LargeBinary => Some(DataType::Binary),
        DataType::Dictionary(_, values) => Some(plain_type(values).unwrap_or_else(|| values.as_ref().clone())),
        _ => None,
    }
}

/// Refuses what the text alone shows not to be row-wise.
fn check_shape<'s>(statement: &'s Statement, words: &Words) -> Result<&'s ast::Select, QueryError> {
    let refuse = |what: &str, at: &[&str]| {
        let message = format!("{what} is not row-wise");
        Err(QueryError::invalid(message, SHAPE).at(words.keywords(at)))
    };
    let Statement::Statement(statement) = statement else { return refuse("This statement", &["explain"]) };
    let ast::Statement::Query(query) = statement.as_ref() else {
        let first = words.first().map(|(word, _)| word).unwrap_or_default();
        return refuse(&first, &[&first]);
    };
    if query.with.is_some() {
        return refuse("WITH", &["with"]);
    }
    if query.order_by.is_some() {
        return refuse("ORDER BY", &["order", "by"]);
    }
    if query.limit_clause.is_some() || query.fetch.is_some() {
        let word = ["limit", "offset", "fetch"].into_iter().find(|word| words.keywords(&[word]).is_some());
        return refuse("LIMIT", &[word.unwrap_or("limit")]);
    }
    let select = match query.body.as_ref() {
        SetExpr::Select(select) => select.as_ref(),
        SetExpr::SetOperation { op, .. } => return refuse(&op.to_string(), &[&op.to_string()]),
        SetExpr::Values(_) => return refuse("VALUES", &["values"]),
        _ => return refuse("This query", &["("]),
    };
    check_select(select, words)?;
    let mut inner = Inner::default();
    if select.visit(&mut inner).is_break() {
        let at = inner.word.and_then(|word| words.keywords(&[word])).or_else(|| words.keywords(&["(", "select"]));
        return Err(QueryError::invalid("A subquery is not row-wise", SHAPE).at(at));
    }
    Ok(select)
}

fn check_select(select: &ast::Select, words: &Words) -> Result<(), QueryError> {
    let refuse = |what: &str, at: &[&str]| {
        let message = format!("{what} is not row-wise");
        Err(QueryError::invalid(message, SHAPE).at(words.keywords(at)))
    };
    if select.distinct.is_some() {
        return refuse("DISTINCT", &["distinct"]);
    }
    let grouped =
        !matches!(&select.group_by, ast::GroupByExpr::Expressions(by, with) if by.is_empty() && with.is_empty());
    if grouped {
        return refuse("GROUP BY", &["group", "by"]);
    }
    if select.having.is_some() {
        return refuse("HAVING", &["having"]);
    }
    if select.qualify.is_some() {
        return refuse("QUALIFY", &["qualify"]);
    }
    let from_at = words.keywords(&["from"]);
    let from_record = |message: String| Err(QueryError::invalid(message, SHAPE).at(from_at));
    let [from] = select.from.as_slice() else {
        let found = if select.from.is_empty() { "no FROM".to_owned() } else { format!("{} tables", select.from.len()) };
        return from_record(format!("Expected from record, found {found}"));
    };
    if !from.joins.is_empty() {
        return refuse("JOIN", &["join"]);
    }
    match &from.relation {
        ast::TableFactor::Table { name, args: None, .. } if is_record(name) => Ok(()),
        ast::TableFactor::Table { name, .. } => {
            let message = format!("Expected from record, found from {name}");
            Err(QueryError::invalid(message, SHAPE).at(words.identifier(&name.to_string()).or(from_at)))
        }
        _ => from_record("Expected from record, found something else".to_owned()),
    }
}

fn is_record(name: &ast::ObjectName) -> bool {
    name.to_string().eq_ignore_ascii_case(RECORD)
}

/// Stops at the first subquery.
#[derive(Default)]
struct Inner {
    word: Option<&'static str>,
}

impl Visitor for Inner {
    type Break = ();

    fn pre_visit_query(&mut self, _: &ast::Query) -> ControlFlow<()> {
        ControlFlow::Break(())
    }

    fn pre_visit_expr(&mut self, expression: &ast::Expr) -> ControlFlow<()> {
        match expression {
            ast::Expr::Exists { .. } => {
                self.word = Some("exists");
                ControlFlow::Break(())
            }
            ast::Expr::Subquery(_) | ast::Expr::InSubquery { .. } => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Collects the names of columns.
#[derive(Default)]
struct Names {
    found: Vec<String>,
    all: bool,
}

impl Names {
    fn note(&mut self, identifier: &ast::Ident) {
        let name =
            if identifier.quote_style.is_some() { identifier.value.clone() } else { identifier.value.to_lowercase() };
        if !self.found.contains(&name) {
            self.found.push(name);
        }
    }
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_select(&mut self, select: &ast::Select) -> ControlFlow<()> {
        let star = |item: &ast::SelectItem| {
            matches!(item, ast::SelectItem::Wildcard(_) | ast::SelectItem::QualifiedWildcard(..))
        };
        self.all = self.all || select.projection.iter().any(star);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &ast::Expr) -> ControlFlow<()> {
        match expression {
            ast::Expr::Identifier(identifier) => self.note(identifier),
            ast::Expr::CompoundIdentifier(parts) => {
                if let Some(last) = parts.last() {
                    self.note(last);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Refuses what only the plan shows: aggregates, windows, and functions that look at more than their arguments.
fn check_plan(plan: &LogicalPlan, words: &Words) -> Result<(), QueryError> {
    let mut wrong = None;
    let _ = plan.apply(|node| {
        let _ = node.apply_expressions(|expression| {
            expression.apply(|part| {
                wrong = wrong.take().or_else(|| not_row_wise(part, words));
                Ok(if wrong.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
            })
        });
        Ok(if wrong.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    wrong.map_or(Ok(()), Err)
}

fn not_row_wise(expression: &Expr, words: &Words) -> Option<QueryError> {
    let refuse = |name: &str, why: &str, remedy: &str| {
        Some(
            QueryError::invalid(format!("{name} {why}"), remedy)
                .at(words.call(name).or_else(|| words.identifier(name))),
        )
    };
    match expression {
        Expr::AggregateFunction(call) => refuse(call.func.name(), "needs more than one row", SHAPE),
        Expr::WindowFunction(call) => refuse(call.fun.name(), "needs more than one row", SHAPE),
        Expr::Unnest(_) => refuse("unnest", "makes several rows of one", SHAPE),
        Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
            let remedy =
                "Rows must be the same when records are read again: use arrival_time or event_time of the record";
            refuse(call.func.name(), "does not depend on the record alone", remedy)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;

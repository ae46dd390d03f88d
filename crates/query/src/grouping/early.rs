//! Groups that are formed before a join instead of after it.
//!
//! A query that counts events by a property of their product joins every event with the products only to forget which product
//! it was. Where all that is computed comes from the one side of the join and the groups from the other, the events are
//! first grouped by what they are joined by; what is joined are then the states of a few groups, which merge into those
//! that were asked for. A group that meets several rows of the other side is merged as often as each of its events
//! would have been counted. Where the events turn out to have nearly as many keys as rows, they are handed on one by one
//! after a short try (see [`super::work::EARLY_GROUPS_MAX`]).

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::projection::ProjectionExec;

use super::plan::Grouping;

type Expr = Arc<dyn PhysicalExpr>;

/// The plan that gives what `after` gives, with groups formed before the join below it. `None` if there is none, or
/// something is asked for that this cannot do.
pub(super) fn before_join(after: &AggregateExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(join) = after.input().downcast_ref::<HashJoinExec>() else { return Ok(None) };
    let joined = *join.join_type() == JoinType::Inner
        && *join.partition_mode() == PartitionMode::CollectLeft
        && join.filter().is_none()
        && join.fetch().is_none();
    // What can be grouped before can be merged after.
    if !joined || !Grouping::can(after) {
        return Ok(None);
    }
    let sides = Sides::of(join);
    let Some(groups) = groups(after, &sides) else { return Ok(None) };
    let Some(measures) = measures(after, &sides)? else { return Ok(None) };
    let Some(filters) = filters(after, &sides)? else { return Ok(None) };

    // What the right side is grouped by: the keys of the join, and its columns among the groups.
    let mut by: Vec<Column> = Vec::new();
    let mut places: Vec<usize> = Vec::new();
    for (_, key) in join.on() {
        let Some(key) = key.downcast_ref::<Column>() else { return Ok(None) };
        if !by.contains(key) {
            by.push(key.clone());
            places.push(key.index());
        }
    }
    for place in &groups {
        if let Place::Right(column) = place
            && !by.contains(column)
        {
            by.push(column.clone());
        }
    }
    let named = by.iter().map(|column| (Arc::new(column.clone()) as Expr, column.name().to_owned())).collect();
    let right = join.right();
    let before = AggregateExec::try_new(
        AggregateMode::Partial,
        PhysicalGroupBy::new_single(named),
        measures,
        filters,
        Arc::clone(right),
        right.schema(),
    )?;
    let Some(before) = Grouping::before_join(&before)? else { return Ok(None) };
    let before: Arc<dyn ExecutionPlan> = Arc::new(before);

    // The keys stay where they were, for the filter that the join gives the scan is told in their places.
    let Some(order) = order(before.schema().fields().len(), &places) else { return Ok(None) };
    let place_of = |index: usize| order.iter().position(|from| *from == index);
    let right: Arc<dyn ExecutionPlan> =
        Arc::new(ProjectionExec::try_new(columns(&before.schema(), &order), Arc::clone(&before))?);

    let mut wanted = Vec::new();
    for place in &groups {
        let index = match place {
            Place::Left(index) => Some(*index),
            Place::Right(column) => {
                by.iter().position(|by| by == column).and_then(place_of).map(|index| sides.left + index)
            }
        };
        let Some(index) = index else { return Ok(None) };
        wanted.push(index);
    }
    for state in by.len()..before.schema().fields().len() {
        let Some(index) = place_of(state) else { return Ok(None) };
        wanted.push(sides.left + index);
    }
    let join = join.builder().with_projection(None).with_new_children(vec![Arc::clone(join.left()), right])?;
    let join = join.with_projection(Some(wanted)).recompute_properties().build_exec()?;

    let names = join.schema();
    let again = after
        .group_expr()
        .expr()
        .iter()
        .enumerate()
        .map(|(index, (_, name))| (Arc::new(Column::new(names.field(index).name(), index)) as Expr, name.clone()));
    let merged = AggregateExec::try_new(
        AggregateMode::PartialReduce,
        PhysicalGroupBy::new_single(again.collect()),
        after.aggr_expr().to_vec(),
        vec![None; after.aggr_expr().len()],
        join,
        Arc::clone(&after.input_schema),
    )?;
    let same = same_columns(&merged.schema(), &after.schema());
    Ok(same.then(|| Arc::new(merged) as _))
}

/// Where a column of the join's output comes from.
enum Place {
    Left(usize),
    Right(Column),
}

struct Sides {
    /// How many columns the left side has.
    left: usize,
    /// For each column of the output, its place among those of the left and then the right side.
    output: Vec<usize>,
    right: Arc<Schema>,
}

impl Sides {
    fn of(join: &HashJoinExec) -> Self {
        let left = join.left().schema().fields().len();
        let output = match &join.projection {
            Some(projection) => projection.to_vec(),
            None => (0..join.schema().fields().len()).collect(),
        };
        Self { left, output, right: join.right().schema() }
    }

    fn place(&self, column: &Column) -> Place {
        match self.output[column.index()].checked_sub(self.left) {
            None => Place::Left(self.output[column.index()]),
            Some(index) => Place::Right(Column::new(self.right.field(index).name(), index)),
        }
    }

    /// The expression over the right side alone; `None` if it needs the left.
    fn right(&self, expr: &Expr) -> Result<Option<Expr>> {
        if collect_columns(expr).iter().any(|column| matches!(self.place(column), Place::Left(_))) {
            return Ok(None);
        }
        let done = Arc::clone(expr).transform_up(|node| {
            Ok(match node.downcast_ref::<Column>().map(|column| self.place(column)) {
                Some(Place::Right(column)) => Transformed::yes(Arc::new(column) as Expr),
                _ => Transformed::no(node),
            })
        });
        Ok(Some(done?.data))
    }
}

/// Columns alone, of which one at least is from the left.
fn groups(after: &AggregateExec, sides: &Sides) -> Option<Vec<Place>> {
    let groups = after.group_expr().expr().iter();
    let groups: Vec<Place> = groups
        .map(|(group, _)| group.downcast_ref::<Column>().map(|column| sides.place(column)))
        .collect::<Option<_>>()?;
    groups.iter().any(|place| matches!(place, Place::Left(_))).then_some(groups)
}

fn measures(after: &AggregateExec, sides: &Sides) -> Result<Option<Vec<Arc<AggregateFunctionExpr>>>> {
    let mut measures = Vec::new();
    for measure in after.aggr_expr() {
        let mut arguments = Vec::new();
        for argument in measure.expressions() {
            let Some(argument) = sides.right(&argument)? else { return Ok(None) };
            arguments.push(argument);
        }
        let Some(measure) = measure.with_new_expressions(arguments, Vec::new()) else { return Ok(None) };
        measures.push(Arc::new(measure));
    }
    Ok(Some(measures))
}

fn filters(after: &AggregateExec, sides: &Sides) -> Result<Option<Vec<Option<Expr>>>> {
    let mut filters = Vec::new();
    for filter in after.filter_expr() {
        let Some(filter) = filter else {
            filters.push(None);
            continue;
        };
        let Some(filter) = sides.right(filter)? else { return Ok(None) };
        filters.push(Some(filter));
    }
    Ok(Some(filters))
}

/// An order of `count` columns in which the first ones stand at `places`.
fn order(count: usize, places: &[usize]) -> Option<Vec<usize>> {
    let mut order = vec![None; count];
    for (from, place) in places.iter().enumerate() {
        *order.get_mut(*place)? = Some(from);
    }
    let mut rest = places.len()..count;
    order.into_iter().map(|taken| taken.or_else(|| rest.next())).collect()
}

fn columns(schema: &Schema, order: &[usize]) -> Vec<(Expr, String)> {
    let column = |index: &usize| {
        let name = schema.field(*index).name();
        (Arc::new(Column::new(name, *index)) as Expr, name.clone())
    };
    order.iter().map(column).collect()
}

fn same_columns(one: &Schema, other: &Schema) -> bool {
    let columns = one.fields().iter().zip(other.fields());
    one.fields().len() == other.fields().len()
        && columns.into_iter().all(|(one, other)| one.name() == other.name() && one.data_type() == other.data_type())
}

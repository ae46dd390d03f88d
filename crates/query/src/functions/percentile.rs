//! `percentile_cont`, with all percentiles of one column from one collection of its values.
//!
//! The engine collects the values once for every call, so that a median beside a 95th percentile costs twice the memory
//! and the time. Here an optimizer rule gives the calls of an aggregate that look at the same values one function, and
//! takes the answers out of its list. The values are kept as integers of the same order, which are quicker to select from.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BinaryViewBuilder, BooleanArray, Float64Array, ListArray,
};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, Result, ScalarValue, resources_datafusion_err};
use datafusion::functions_nested::expr_fn::array_element;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, Aggregate, AggregateUDF, AggregateUDFImpl, EmitTo, Expr, ExprSchemable, GroupsAccumulator,
    LogicalPlan, Projection, Signature, Volatility, lit,
};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// The engine's function that is replaced.
const REPLACED: &str = "percentile_cont";

/// Gives calls of `percentile_cont` over the same values one collection.
#[derive(Debug, Default)]
pub(crate) struct SharePercentiles;

impl OptimizerRule for SharePercentiles {
    fn name(&self) -> &str {
        "share_percentiles"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = plan else { return Ok(Transformed::no(plan)) };
        let calls: Vec<Option<Call>> =
            aggregate.aggr_expr.iter().map(|expr| Call::of(expr, aggregate.input.schema())).collect();
        // Grouping sets have a column of their own behind the groups.
        let sets = aggregate.group_expr.iter().any(|group| matches!(group, Expr::GroupingSet(_)));
        if sets || calls.iter().all(Option::is_none) {
            return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
        }
        Ok(Transformed::yes(shared(aggregate, &calls)?))
    }
}

/// A call that can be replaced.
struct Call {
    value: Expr,
    filter: Option<Box<Expr>>,
    /// 0 to 1, of the values in ascending order.
    at: f64,
}

impl Call {
    fn of(expr: &Expr, input: &DFSchema) -> Option<Self> {
        let Expr::AggregateFunction(AggregateFunction { func, params }) = expr else { return None };
        if func.name() != REPLACED || params.distinct || params.null_treatment.is_some() || params.order_by.len() > 1 {
            return None;
        }
        let [value, Expr::Literal(ScalarValue::Float64(Some(at)), _)] = params.args.as_slice() else { return None };
        if value.get_type(input).ok()? != DataType::Float64 || !(0.0..=1.0).contains(at) {
            return None;
        }
        let descending = params.order_by.first().is_some_and(|order| !order.asc);
        let at = if descending { 1.0 - at } else { *at };
        Some(Self { value: value.clone(), filter: params.filter.clone(), at })
    }
}

/// Calls over the same values.
struct Shared<'a> {
    call: &'a Call,
    at: Vec<f64>,
}

/// The aggregate with shared collections, and above it what the calls of the old one gave, under their names.
fn shared(aggregate: Aggregate, calls: &[Option<Call>]) -> Result<LogicalPlan> {
    let mut all: Vec<Shared<'_>> = Vec::new();
    // For each expression: which collection, and which of its answers.
    let places: Vec<Option<(usize, usize)>> = calls
        .iter()
        .map(|call| {
            let call = call.as_ref()?;
            let same = |shared: &Shared<'_>| shared.call.value == call.value && shared.call.filter == call.filter;
            let collection = all.iter().position(same).unwrap_or_else(|| {
                all.push(Shared { call, at: Vec::new() });
                all.len() - 1
            });
            let known = &mut all[collection].at;
            let answer = known.iter().position(|at| at.to_bits() == call.at.to_bits()).unwrap_or_else(|| {
                known.push(call.at);
                known.len() - 1
            });
            Some((collection, answer))
        })
        .collect();
    let lists: Vec<Expr> = all.iter().map(Shared::expr).collect();
    let kept =
        aggregate.aggr_expr.iter().zip(&places).filter(|(_, place)| place.is_none()).map(|(expr, _)| expr.clone());
    let aggr_expr = kept.chain(lists.iter().cloned()).collect();

    let groups = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
    let columns = aggregate.schema.iter().enumerate().map(|(index, (qualifier, field))| {
        let place = index.checked_sub(groups).and_then(|index| places[index]);
        match place {
            None => Expr::Column(Column::from((qualifier, field))),
            Some((collection, answer)) => {
                let list = Expr::Column(Column::from_name(lists[collection].schema_name().to_string()));
                array_element(list, lit(answer as i64 + 1)).alias_qualified(qualifier.cloned(), field.name())
            }
        }
    });
    let columns = columns.collect();
    let below = LogicalPlan::Aggregate(Aggregate::try_new(aggregate.input, aggregate.group_expr, aggr_expr)?);
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(below))?))
}

impl Shared<'_> {
    fn expr(&self) -> Expr {
        let function = Arc::new(AggregateUDF::from(Percentiles::new(self.at.clone())));
        let arguments = vec![self.call.value.clone()];
        Expr::AggregateFunction(AggregateFunction::new_udf(
            function,
            arguments,
            false,
            self.call.filter.clone(),
            Vec::new(),
            None,
        ))
    }
}

/// The percentiles of the values, as a list; nulls do not count, and without values each is null.
#[derive(Debug)]
struct Percentiles {
    signature: Signature,
    at: Vec<f64>,
}

impl Percentiles {
    fn new(at: Vec<f64>) -> Self {
        Self { signature: Signature::exact(vec![DataType::Float64], Volatility::Immutable), at }
    }

    fn bits(&self) -> impl Iterator<Item = u64> {
        self.at.iter().map(|at| at.to_bits())
    }
}

impl PartialEq for Percentiles {
    fn eq(&self, other: &Self) -> bool {
        self.bits().eq(other.bits())
    }
}

impl Eq for Percentiles {}

impl Hash for Percentiles {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits().for_each(|bits| bits.hash(state));
    }
}

impl AggregateUDFImpl for Percentiles {
    fn name(&self) -> &str {
        "percentiles"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::new_list(DataType::Float64, true))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let name = format!("{}[{}]", args.name, self.name());
        Ok(vec![Arc::new(Field::new(name, DataType::BinaryView, true))])
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Whole { keys: Vec::new(), at: self.at.clone() }))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups { keys: Vec::new(), held: 0, at: self.at.clone() }))
    }
}

/// An integer that orders as the number does (IEEE 754 total order), and back.
fn key_of(value: f64) -> i64 {
    turned(value.to_bits().cast_signed())
}

fn value_of(key: i64) -> f64 {
    f64::from_bits(turned(key).cast_unsigned())
}

fn turned(bits: i64) -> i64 {
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// The percentiles `at` of the keys, which are left in another order.
fn percentiles(keys: &mut [i64], at: &[f64]) -> impl Iterator<Item = Option<f64>> {
    let mut found = vec![None; at.len()];
    // From the lowest up: what is below the one before need not be looked at again.
    let ordered: BTreeMap<i64, usize> = at.iter().enumerate().map(|(index, at)| (key_of(*at), index)).collect();
    let mut from = 0;
    if let Some(last) = keys.len().checked_sub(1) {
        for index in ordered.into_values() {
            let place = at[index] * last as f64;
            let lower = (place.floor() as usize).min(last);
            let (_, key, above) = keys[from..].select_nth_unstable(lower - from);
            let value = value_of(*key);
            let fraction = place - lower as f64;
            let next = if fraction > 0.0 { above.iter().min() } else { None };
            found[index] = Some(next.map_or(value, |next| value + (value_of(*next) - value) * fraction));
            from = lower;
        }
    }
    found.into_iter()
}

/// From this size on, the keys of a group are handed on where they lie; fewer are laid together, for each place costs more
/// than its copy.
const OWN_BLOCK_BYTES: usize = 4096;

/// The keys of each group as bytes. As bytes they can be shared out and passed on without being copied, which as lists they
/// cannot: ten million keys were copied three times on their way.
fn states_of(groups: Vec<Vec<i64>>) -> Result<BinaryViewArray> {
    let mut states = BinaryViewBuilder::with_capacity(groups.len());
    for keys in groups {
        let bytes = Buffer::from_vec(keys);
        if bytes.len() < OWN_BLOCK_BYTES {
            states.append_value(bytes.as_slice());
            continue;
        }
        let length = i32::try_from(bytes.len()).map_err(|_| {
            resources_datafusion_err!("A percentile of more than {} values", i32::MAX as usize / size_of::<i64>())
        })?;
        let block = states.append_block(bytes);
        states.try_append_view(block, 0, length.cast_unsigned())?;
    }
    Ok(states.finish())
}

fn keys_in(state: &[u8]) -> impl ExactSizeIterator<Item = i64> {
    state.as_chunks::<{ size_of::<i64>() }>().0.iter().map(|key| i64::from_ne_bytes(*key))
}

/// Values without groups.
#[derive(Debug)]
struct Whole {
    keys: Vec<i64>,
    at: Vec<f64>,
}

impl Accumulator for Whole {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = values[0].as_primitive::<Float64Type>();
        if values.null_count() == 0 {
            self.keys.extend(values.values().iter().map(|value| key_of(*value)));
        } else {
            self.keys.extend(values.iter().flatten().map(key_of));
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let found: Vec<ScalarValue> = percentiles(&mut self.keys, &self.at).map(ScalarValue::Float64).collect();
        Ok(ScalarValue::List(ScalarValue::new_list_nullable(&found, &DataType::Float64)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.keys.capacity() * size_of::<i64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let state = states_of(vec![std::mem::take(&mut self.keys)])?;
        Ok(vec![ScalarValue::BinaryView(Some(state.value(0).to_vec()))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        states[0].as_binary_view().iter().flatten().for_each(|state| self.keys.extend(keys_in(state)));
        Ok(())
    }
}

/// Values of many groups.
#[derive(Debug)]
struct Groups {
    keys: Vec<Vec<i64>>,
    /// Bytes of all keys, counted as they grow: there may be millions of groups.
    held: usize,
    at: Vec<f64>,
}

impl Groups {
    fn take(&mut self, emit_to: EmitTo) -> Vec<Vec<i64>> {
        let taken = emit_to.take_needed(&mut self.keys);
        self.held -= taken.iter().map(|keys| keys.capacity() * size_of::<i64>()).sum::<usize>();
        taken
    }

    fn add(&mut self, group: usize, keys: impl Iterator<Item = i64>) {
        let known = &mut self.keys[group];
        let before = known.capacity();
        known.extend(keys);
        self.held += (known.capacity() - before) * size_of::<i64>();
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.keys.resize(total, Vec::new());
        let values = values[0].as_primitive::<Float64Type>();
        if values.null_count() == 0 && filter.is_none() {
            // Rows that lie together are often of one group, an hour for example.
            let mut rest = values.values().as_ref();
            for run in groups.chunk_by(PartialEq::eq) {
                let (values, after) = rest.split_at(run.len());
                self.add(run[0], values.iter().map(|value| key_of(*value)));
                rest = after;
            }
        } else {
            for (row, group) in groups.iter().enumerate() {
                if counts(values, filter, row) {
                    self.add(*group, std::iter::once(key_of(values.value(row))));
                }
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let mut taken = self.take(emit_to);
        let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(self.at.len(), taken.len()));
        let found: Float64Array = taken.iter_mut().flat_map(|keys| percentiles(keys, &self.at)).collect();
        let field = Arc::new(Field::new_list_field(DataType::Float64, true));
        Ok(Arc::new(ListArray::new(field, offsets, Arc::new(found), None)))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(states_of(self.take(emit_to))?)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.keys.resize(total, Vec::new());
        for (state, group) in states[0].as_binary_view().iter().zip(groups) {
            state.into_iter().for_each(|state| self.add(*group, keys_in(state)));
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<Float64Type>();
        let state = |row: usize| {
            if counts(values, filter, row) { key_of(values.value(row)).to_ne_bytes().to_vec() } else { Vec::new() }
        };
        Ok(vec![Arc::new(BinaryViewArray::from_iter_values((0..values.len()).map(state)))])
    }

    fn size(&self) -> usize {
        self.held + self.keys.capacity() * size_of::<Vec<i64>>()
    }
}

/// Whether the value of this row is one.
fn counts(values: &Float64Array, filter: Option<&BooleanArray>, row: usize) -> bool {
    values.is_valid(row) && filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;
    use arrow::compute::concat_batches;
    use datafusion::execution::session_state::SessionStateBuilder;
    use datafusion::prelude::{SessionConfig, SessionContext};
    use proptest::prelude::*;

    use super::*;

    /// By the definition: the place among the sorted values, between two of them in proportion.
    fn by_definition(values: &[f64], at: f64) -> Option<f64> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let place = at * (sorted.len().checked_sub(1)?) as f64;
        let (lower, upper) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
        Some(if lower.to_bits() == upper.to_bits() { lower } else { lower + (upper - lower) * place.fract() })
    }

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_definition(
            values in prop::collection::vec(prop_oneof![-1e9..1e9, Just(0.0), Just(-0.0), -3.0..3.0], 0..60),
            at in prop::collection::btree_set(prop_oneof![0..=1000u32, Just(0), Just(500), Just(1000)], 1..6),
        ) {
            let at: Vec<f64> = at.into_iter().rev().map(|at| f64::from(at) / 1000.0).collect();
            let mut keys: Vec<i64> = values.iter().copied().map(key_of).collect();
            prop_assert!(keys.iter().zip(&values).all(|(key, value)| value_of(*key).to_bits() == value.to_bits()));
            for (found, at) in percentiles(&mut keys, &at).zip(&at) {
                prop_assert_eq!(found, by_definition(&values, *at), "at {}", at);
            }
        }
    }

    /// Some groups without values, some with one, filters, both orders, the alias, and no groups at all.
    const QUESTIONS: [&str; 7] = [
        "select g, percentile_cont(0.5) within group (order by x) as p50, count(*) as n, \
         percentile_cont(0.95) within group (order by x) as p95, percentile_cont(0.5) within group (order by x) as again \
         from t group by g order by g",
        "select percentile_cont(0.25) within group (order by x), percentile_cont(0.25) within group (order by x desc) from t",
        "select percentile_cont(0.5) within group (order by x), max(x), percentile_cont(1.0) within group (order by y) from t",
        "select g, quantile_cont(x, 0.75), quantile_cont(y, 0.75) from t group by g order by g",
        "select g % 2 as odd, percentile_cont(0.1) within group (order by x) filter (where y > 10) as a, \
         percentile_cont(0.1) within group (order by x) as b from t group by 1 order by 1",
        "select percentile_cont(0.5) within group (order by x) from t where g > 1000",
        "select g, percentile_cont(0.9) within group (order by cast(y as double)) from t group by grouping sets ((g), ()) order by g",
    ];

    async fn answers(context: &SessionContext) -> Vec<RecordBatch> {
        let values = "select value % 7 as g, case when value % 7 = 3 or value % 11 = 0 then null else value * 7919 % 1000 / 8.0 end as x, \
                      value * 31 % 97 as y from generate_series(1, 500)";
        context.sql(&format!("create table t as {values}")).await.expect("is made").collect().await.expect("is filled");
        let mut answers = Vec::new();
        for question in QUESTIONS {
            let rows = context.sql(question).await.expect(question).collect().await.expect(question);
            answers.push(concat_batches(&rows[0].schema(), &rows).expect("of one schema"));
        }
        answers
    }

    /// The engine cuts the share of the upper value to six digits; ours is exact.
    fn agree(ours: &RecordBatch, theirs: &RecordBatch) -> bool {
        let columns = ours.columns().iter().zip(theirs.columns());
        let mut columns = columns.map(|(ours, theirs)| {
            match (ours.as_primitive_opt::<Float64Type>(), theirs.as_primitive_opt::<Float64Type>()) {
                (Some(ours), Some(theirs)) => ours.iter().zip(theirs).all(|pair| match pair {
                    (Some(ours), Some(theirs)) => (ours - theirs).abs() < 1e-3,
                    (ours, theirs) => ours == theirs,
                }),
                _ => ours == theirs,
            }
        });
        ours.schema() == theirs.schema() && ours.num_rows() == theirs.num_rows() && columns.all(|agree| agree)
    }

    #[tokio::test]
    async fn shared_collections_answer_what_the_engine_answers_alone() {
        let config = || SessionConfig::new().with_target_partitions(3).with_batch_size(64);
        let ours = crate::functions::session(SessionStateBuilder::new().with_config(config()));
        let plan = ours.sql("explain select percentile_cont(0.5) within group (order by x), percentile_cont(0.9) within group (order by x) from (values (1.0)) as t (x)");
        let plan = plan.await.expect("plans").to_string().await.expect("prints");
        assert!(plan.contains("percentiles") && !plan.contains("aggr=[[percentile_cont"), "{plan}");
        let theirs = SessionContext::new_with_config(config());
        for ((question, ours), theirs) in QUESTIONS.iter().zip(answers(&ours).await).zip(answers(&theirs).await) {
            assert!(agree(&ours, &theirs), "{question}\n{ours:?}\n{theirs:?}");
        }
    }
}

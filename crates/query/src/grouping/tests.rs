//! Groups against a model, and queries against the engine without us.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    StringViewArray, TimestampMicrosecondArray,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Int64Type};
use arrow::util::display::array_value_to_string;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, collect, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;

use super::FormGroups;
use super::keys::Keys;

/// The rows of columns as texts, null told apart from all.
fn rows(columns: &[ArrayRef]) -> Vec<Vec<Option<String>>> {
    let cell =
        |column: &ArrayRef, row| column.is_valid(row).then(|| array_value_to_string(column, row).expect("prints"));
    (0..columns[0].len()).map(|row| columns.iter().map(|column| cell(column, row)).collect()).collect()
}

fn text() -> impl Strategy<Value = Option<String>> {
    // Short and long ones, some of which begin alike and are of one length.
    let long = (0..4u32, 0..3u32).prop_map(|(a, b)| format!("a long beginning {a} and an end {b}"));
    prop_oneof![Just(None), Just(Some(String::new())), "[ab]{0,13}".prop_map(Some), long.prop_map(Some)]
}

type Row = (Option<String>, Option<i64>, Option<bool>);

fn batch() -> impl Strategy<Value = Vec<Row>> {
    let number = prop_oneof![Just(None), Just(Some(i64::MIN)), (-2..3i64).prop_map(Some)];
    prop::collection::vec((text(), number, prop::option::of(any::<bool>())), 1..40)
}

/// A dictionary that all batches share. It holds a text twice, and one that no row has.
static POOL: LazyLock<ArrayRef> = LazyLock::new(|| {
    let texts = ["", "a", "b", "a", "a long beginning 0 and an end 0", "a long beginning 0 and an end 1", "never"];
    Arc::new(StringArray::from_iter_values(texts))
});

fn columns(rows: &[Row], wanted: &[usize]) -> Vec<ArrayRef> {
    let texts: ArrayRef = Arc::new(rows.iter().map(|row| row.0.as_deref()).collect::<StringArray>());
    let numbers = rows.iter().map(|row| row.1);
    let short = rows.iter().map(|row| row.0.as_deref().unwrap_or_default());
    let short = short.map(|text| Some(&text[..text.len().min(12)]));
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let of_pool: Int32Array = rows.iter().map(|row| row.1.map(|number| number.rem_euclid(6) as i32)).collect();
    let all: [ArrayRef; 10] = [
        cast(&texts, &DataType::Utf8View).expect("casts"),
        Arc::new(numbers.clone().collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.2).collect::<BooleanArray>()),
        Arc::new(numbers.clone().collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
        cast(&numbers.map(|n| n.map(|n| n.clamp(-100, 100))).collect::<Int64Array>(), &DataType::Int8).expect("casts"),
        cast(&texts, &DataType::BinaryView).expect("casts"),
        Arc::clone(&texts),
        Arc::new(short.collect::<StringViewArray>()),
        cast(&texts, &dictionary).expect("casts"),
        Arc::new(DictionaryArray::new(of_pool, Arc::clone(&POOL))),
    ];
    wanted.iter().map(|index| Arc::clone(&all[*index])).collect()
}

proptest! {
    #[test]
    fn rows_have_the_number_of_their_group_and_groups_are_given_back_in_the_order_of_their_numbers(
        batches in prop::collection::vec(batch(), 1..6),
        wanted in prop::collection::vec(0..10usize, 1..4),
    ) {
        let plain = |data_type: &DataType| match data_type {
            DataType::Dictionary(..) => DataType::Utf8View,
            plain => plain.clone(),
        };
        let types: Vec<DataType> = columns(&batches[0], &wanted).iter().map(|column| plain(column.data_type())).collect();
        let mut keys = Keys::new(types.clone(), 3);
        for expected in [0, 100] {
            let mut given: Vec<(usize, Vec<Option<String>>)> = Vec::new();
            let mut groups = Vec::new();
            for batch in &batches {
                let columns = columns(batch, &wanted);
                keys.number(&columns, &mut groups).expect("numbers");
                prop_assert_eq!(groups.len(), batch.len());
                given.extend(groups.iter().copied().zip(rows(&columns)));
            }
            let different: HashSet<_> = given.iter().map(|(_, row)| row).collect();
            prop_assert_eq!(keys.len(), different.len());
            let taken = keys.take(expected).expect("are taken");
            prop_assert!(taken.iter().zip(&types).all(|(taken, data_type)| taken.data_type() == data_type));
            let taken = rows(&taken);
            prop_assert_eq!(taken.len(), different.len());
            for (group, row) in &given {
                prop_assert_eq!(&taken[*group], row);
            }
            // What was taken is forgotten, also which texts of a dictionary were met.
            prop_assert_eq!(keys.len(), 0);
        }
    }
}

#[test]
fn a_hundred_thousand_groups_keep_their_numbers_while_their_table_grows() {
    let mut keys = Keys::new(vec![DataType::Utf8View, DataType::Int64], 0);
    let columns = |rows: std::ops::Range<i64>| -> Vec<ArrayRef> {
        let texts =
            rows.clone().map(|n| if n % 2 == 0 { format!("s{n}") } else { format!("a session's long name {n}") });
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        vec![
            cast(&texts, &DataType::Utf8View).expect("casts"),
            Arc::new(Int64Array::from_iter_values(rows.map(|n| n / 3))),
        ]
    };
    let mut groups = Vec::new();
    for _ in 0..2 {
        for start in (0..100_000).step_by(5_000) {
            keys.number(&columns(start..start + 5_000), &mut groups).expect("numbers");
            assert!(groups.iter().copied().eq(start as usize..start as usize + 5_000));
        }
    }
    assert!(keys.size() > 100_000 * 16, "{}", keys.size());
    assert_eq!(rows(&keys.take(0).expect("are taken")), rows(&columns(0..100_000)));
}

/// Of one product or several, with duplicates among the names, some without any event.
const JOINED: [&str; 9] = [
    "select name, count(*), sum(y), avg(x), max(s) from t join names on t.g = names.id group by name order by name",
    "select name, g, count(*) from t join names on t.g = names.id group by name, g order by name, g",
    "select name, odd, count(*), sum(x) filter (where y > 50) from t join names on t.g = names.id group by name, odd order by name, odd",
    "select upper(name), count(*) from t join names on t.g = names.id group by 1 order by 1",
    "select name, count(distinct s) from t join names on t.g = names.id group by name order by name",
    "select name, percentile_cont(0.5) within group (order by y) from t join names on t.g = names.id group by name order by name",
    "select name, sum(x + id) from t join names on t.g = names.id group by name order by name",
    "select name, count(*), sum(y) from t join names on t.g = names.id and t.y > names.id group by name order by name",
    "select name, count(*), sum(y) from t left join names on t.g = names.id group by name order by name",
];

async fn context(ours: Option<FormGroups>, config: SessionConfig, memory: Option<usize>) -> SessionContext {
    let runtime = match memory {
        Some(memory) => RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(memory))),
        None => RuntimeEnvBuilder::new(),
    };
    let builder = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime.build_arc().expect("runs"));
    let builder = match ours {
        Some(rule) => builder.with_physical_optimizer_rule(Arc::new(rule)),
        None => builder,
    };
    let context = crate::functions::session(builder);
    let values = "select arrow_cast('s' || (value / 10), 'Utf8View') as session, arrow_cast('r' || value, 'Utf8View') as request, \
                  arrow_cast('a visit with a long name ' || (value / 500 * 25 + value % 25), 'Utf8View') as visit, \
                  value % 7 as g, case when value % 11 = 0 then null else value end as x, \
                  arrow_cast(case when value % 13 = 0 then null when value % 3 = 0 then 'a session with a long name ' || (value % 997) \
                  else 's' || (value % 997) end, 'Utf8View') as s, value % 2 = 1 as odd, value * 31 % 97 / 4.0 as y, \
                  to_timestamp_seconds(value % 5) as at from generate_series(1, 6000)";
    let names = "select * from (values (0, 'none'), (1, 'one'), (2, 'two'), (2, 'two'), (3, 'two'), (9, 'nine')) as n (id, name)";
    for (table, rows) in [("t", values), ("names", names)] {
        let made = context.sql(&format!("create table {table} as {rows}")).await.expect("is made");
        made.collect().await.expect("is filled");
    }
    context
}

async fn plan(context: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    context.sql(sql).await.expect(sql).create_physical_plan().await.expect(sql)
}

fn told(plan: &Arc<dyn ExecutionPlan>) -> String {
    displayable(plan.as_ref()).indent(false).to_string()
}

async fn answer(context: &SessionContext, sql: &str) -> RecordBatch {
    let batches = context.sql(sql).await.expect(sql).collect().await.expect(sql);
    concat_batches(&batches[0].schema(), &batches).expect("of one schema")
}

fn small() -> SessionConfig {
    SessionConfig::new().with_target_partitions(3).with_batch_size(64)
}

async fn agree(config: SessionConfig, questions: &[&str]) {
    let ours = context(Some(FormGroups { lot: 64 }), config.clone(), None).await;
    let theirs = context(None, config, None).await;
    for question in questions {
        let (ours, theirs) = (answer(&ours, question).await, answer(&theirs, question).await);
        let texts = |batch: &RecordBatch| rows(batch.columns());
        assert_eq!(texts(&ours), texts(&theirs), "{question}");
        assert_eq!(ours.schema().fields(), theirs.schema().fields(), "{question}");
    }
}

#[tokio::test]
async fn groups_formed_before_a_join_are_those_formed_after_it() {
    agree(small(), &JOINED).await;
    // Rows go through the join one by one after a short try.
    let mut config = small();
    config.options_mut().execution.skip_partial_aggregation_probe_rows_threshold = 10;
    agree(config, &JOINED).await;
    let ours = context(Some(FormGroups::default()), small(), None).await;
    for (question, early) in JOINED.iter().zip([true, true, true, false, true, false, false, false, false]) {
        let plan = told(&plan(&ours, question).await);
        assert_eq!(plan.contains("Grouping before a join"), early, "{question}\n{plan}");
    }
}

/// By keys that come back in every lot, in some, in one; long, short and missing; fewer and more of them than rows.
const BY_TEXT: [&str; 7] = [
    "select s, count(*), sum(x), max(y) from t group by s order by s",
    "select s, count(*) filter (where odd), min(at) from t where x > 100 group by s order by s",
    "select distinct s from t order by s",
    "select session, count(*), avg(y) from t group by session order by session",
    "select visit, count(*), min(s) from t group by visit order by visit",
    "select request, sum(y) from t group by request order by request",
    "select n, count(*) from (select s, count(*) as n from t group by s) as counted group by n order by n",
];

#[tokio::test]
async fn groups_by_a_text_that_are_handed_on_in_lots_merge_into_those_of_the_engine() {
    agree(small(), &BY_TEXT).await;
    let mut config = small();
    config.options_mut().execution.skip_partial_aggregation_probe_rows_threshold = 10;
    agree(config, &BY_TEXT).await;
    let ours = context(Some(FormGroups::default()), small(), None).await;
    for question in BY_TEXT {
        let plan = told(&plan(&ours, question).await);
        assert!(plan.contains("Grouping in lots"), "{question}\n{plan}");
    }
}

#[tokio::test]
async fn lots_are_handed_on_where_keys_end_and_grow_where_they_come_back() {
    let all = async |lot, key: &str| {
        let ours = context(Some(FormGroups { lot }), small(), None).await;
        given(&ours, &format!("select {key}, count(*) from t group by {key}")).await
    };
    // Twenty-five at a time, each of which every partition meets some seven times.
    let (whole, lots) = (all(usize::MAX, "visit").await, all(64, "visit").await);
    assert!(whole.0 <= 3 * 325 && whole.1 == 6000, "{whole:?}");
    assert!(lots.0 > whole.0 && lots.0 < 2 * whole.0 && lots.1 == 6000, "{lots:?} of {whole:?}");
    assert_eq!(all(64, "s").await, all(usize::MAX, "s").await);
}

/// How many rows our operator gives, and how many rows of its input they stand for.
async fn given(context: &SessionContext, sql: &str) -> (usize, i64) {
    let mut node = plan(context, sql).await;
    while node.name() != "Grouping" {
        let below = node.children().into_iter().next_back().expect("it is further below");
        node = Arc::clone(below);
    }
    let (mut rows, mut counted) = (0, 0);
    for partition in 0..node.output_partitioning().partition_count() {
        let stream = node.execute(partition, context.task_ctx()).expect("begins");
        for batch in datafusion::physical_plan::common::collect(stream).await.expect("a group fits") {
            rows += batch.num_rows();
            counted += batch.columns().last().expect("counts").as_primitive::<Int64Type>().values().iter().sum::<i64>();
        }
    }
    assert_eq!(context.runtime_env().memory_pool.reserved(), 0);
    (rows, counted)
}

#[tokio::test]
async fn groups_before_a_join_that_outgrow_the_memory_are_handed_on_and_begun_anew() {
    let sql = "select name, odd, at, count(*) from t join names on t.g = names.id group by name, odd, at";
    let mut config = small();
    config.options_mut().execution.skip_partial_aggregation_probe_rows_threshold = usize::MAX;
    // In each of three partitions, of seven, two and five values.
    let enough = given(&context(Some(FormGroups::default()), config.clone(), Some(1 << 20)).await, sql).await;
    assert!(enough.0 <= 3 * 70 && enough.1 == 6000, "{enough:?}");
    // Less than the tables of the columns take, so that every batch fills it.
    let little = given(&context(Some(FormGroups::default()), config, Some(20_000)).await, sql).await;
    assert!(little.0 > 1000 && little.1 == 6000, "{little:?}");
}

#[tokio::test]
async fn groups_to_be_merged_that_outgrow_the_memory_go_on_with_the_engine_which_uses_the_disk() {
    let mut config = small();
    config.options_mut().execution.skip_partial_aggregation_probe_rows_threshold = usize::MAX;
    let theirs = context(None, config.clone(), None).await;
    let ours = context(Some(FormGroups::default()), config, Some(400_000)).await;
    for (question, outgrows) in [
        ("select request, count(*), sum(x), min(s), avg(y) from t group by request", true),
        ("select visit, count(*) filter (where odd), max(at) from t group by visit", false),
    ] {
        let plan = plan(&ours, question).await;
        assert!(told(&plan).contains("Merging groups"), "{}", told(&plan));
        let batches = collect(Arc::clone(&plan), ours.task_ctx()).await.expect("memory and disk suffice");
        let expected = answer(&theirs, question).await;
        let batch = concat_batches(&expected.schema(), &batches).expect("of one schema");
        let sorted = |batch: &RecordBatch| {
            let mut rows = rows(batch.columns());
            rows.sort();
            rows
        };
        assert_eq!(sorted(&batch), sorted(&expected), "{question}");
        assert_eq!(spilled(&plan, "Merging") > 0, outgrows, "{question}");
        drop(plan);
        assert_eq!(ours.runtime_env().memory_pool.reserved(), 0);
    }
}

/// Bytes that operators of this name wrote to the disk.
fn spilled(plan: &Arc<dyn ExecutionPlan>, name: &str) -> usize {
    let own = if plan.name() == name { plan.metrics().and_then(|all| all.spilled_bytes()).unwrap_or(0) } else { 0 };
    own + plan.children().into_iter().map(|child| spilled(child, name)).sum::<usize>()
}

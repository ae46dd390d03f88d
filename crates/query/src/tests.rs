//! The engine over a real lake in a temporary folder.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use base::{ErrorKind, SystemClock};
use futures::TryStreamExt;
use lake::{Lake, LakeSettings, Progress, Table, TableSpec, TailBatch};
use tempfile::TempDir;

use crate::{Engine, Outcome, Place, QueryError, QueryOptions, QuerySettings, Virtual};

mod turns;

/// 2026-11-22T10:00:00Z.
const TEN_O_CLOCK: i64 = 1_795_341_600_000;
const HOUR_MS: i64 = 3_600_000;

struct House {
    folder: TempDir,
    lake: Arc<Lake>,
    table: Arc<Table>,
    engine: Arc<Engine>,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("event_time", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
        Field::new("number", DataType::Int64, true),
        Field::new("product_id", DataType::Utf8, true),
        Field::new("price", DataType::Float64, true),
    ]))
}

async fn house(settings: QuerySettings) -> House {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::open(folder.path(), LakeSettings::default(), Arc::new(SystemClock)).await.expect("opens");
    let spec = TableSpec { name: "clicks".to_owned(), schema: schema(), partitioned: true };
    let table = lake.ensure(spec).await.expect("is made");
    let settings = QuerySettings { threads: 2, spill_dir: Some(folder.path().join("tmp")), ..settings };
    let engine = Engine::new(settings, Arc::clone(&lake)).expect("starts");
    engine.add_table(Arc::clone(&table));
    House { folder, lake, table, engine }
}

/// Rows `numbers` a second apart from `from_ms` on.
fn rows(numbers: std::ops::Range<i64>, from_ms: i64) -> TailBatch {
    let times: Vec<i64> = numbers.clone().map(|n| from_ms + (n - numbers.start) * 1000).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from(times.clone()).with_timezone("UTC")),
        Arc::new(Int64Array::from_iter_values(numbers.clone())),
        Arc::new(StringArray::from_iter_values(numbers.clone().map(|n| format!("p{:02}", n % 10)))),
        Arc::new(Float64Array::from_iter_values(numbers.clone().map(|n| n as f64 / 2.0))),
    ];
    let rows = RecordBatch::try_new(schema(), columns).expect("columns fit");
    let progress = vec![Progress { app_id: "stream/0".to_owned(), next: numbers.end }];
    TailBatch { rows, event_time: times, progress }
}

impl House {
    async fn ask(&self, sql: &str) -> Result<(Vec<RecordBatch>, Outcome), QueryError> {
        let mut answer = self.engine.query(sql, QueryOptions::default()).await?;
        let batches = (&mut answer).try_collect().await?;
        Ok((batches, answer.outcome().expect("ended")))
    }

    async fn text(&self, sql: &str) -> String {
        let (batches, _) = self.ask(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        pretty_format_batches(&batches).expect("prints").to_string()
    }

    async fn number(&self, sql: &str) -> i64 {
        let (batches, _) = self.ask(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        batches[0].column(0).as_primitive::<Int64Type>().value(0)
    }

    async fn refused(&self, sql: &str) -> QueryError {
        self.ask(sql).await.map(|_| ()).expect_err(sql)
    }
}

#[tokio::test]
async fn rows_in_the_tail_and_rows_in_files_are_one_table() {
    let house = house(QuerySettings::default()).await;
    assert_eq!(house.number("select count(*) from clicks").await, 0);
    house.table.push(rows(0..100, TEN_O_CLOCK)).expect("pushed");
    house.table.flush().await.expect("flushed");
    house.table.push(rows(100..150, TEN_O_CLOCK + HOUR_MS)).expect("pushed");
    assert_eq!(house.number("select count(*) from clicks").await, 150);
    let table = house.text("select product_id, count(*) as n, sum(number) as s, max(hour) as h from clicks group by 1 order by 1 limit 2").await;
    assert!(table.contains("| p00        | 15 | 1050 | 11 |"), "{table}");
    assert_eq!(house.number("select count(distinct number) from clicks where product_id like 'p%'").await, 150);
    let answer =
        house.engine.query("select 1 from clicks c join clicks d using (number)", QueryOptions::default()).await;
    let versions = answer.expect("answers").versions().to_vec();
    assert_eq!(versions, [("clicks".to_owned(), house.table.snapshot().version)]);
}

#[tokio::test]
async fn a_join_by_a_column_that_is_not_the_first_finds_its_rows_in_every_file() {
    let house = house(QuerySettings::default()).await;
    for hour in 0..4 {
        house.table.push(rows(hour * 100..hour * 100 + 100, TEN_O_CLOCK + hour * HOUR_MS)).expect("pushed");
        house.table.flush().await.expect("flushed");
    }
    house.table.push(rows(400..500, TEN_O_CLOCK + 4 * HOUR_MS)).expect("pushed");
    // The join tells the scan which numbers it wants, by the place of the column, and groups are formed between them.
    let sql = "select name, max(event_time) as last, count(*) as n from clicks \
               join (values (3, 'a'), (205, 'b'), (207, 'b'), (450, 'c'), (999, 'd')) as names (id, name) on clicks.number = names.id \
               group by name order by name";
    let plan = house.text(&format!("explain {sql}")).await;
    assert!(plan.contains("Grouping before a join"), "{plan}");
    let table = house.text(sql).await;
    for row in [
        "| a    | 2026-11-22T10:00:03Z | 1 |",
        "| b    | 2026-11-22T12:00:07Z | 2 |",
        "| c    | 2026-11-22T14:00:50Z | 1 |",
    ] {
        assert!(table.contains(row), "{table}");
    }
    assert!(!table.contains("| d "), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_rows_move_from_the_tail_to_files_every_query_counts_each_exactly_once() {
    let house = Arc::new(house(QuerySettings::default()).await);
    let done = Arc::new(AtomicBool::new(false));
    let writer = {
        let (house, done) = (Arc::clone(&house), Arc::clone(&done));
        tokio::spawn(async move {
            for round in 0..60i64 {
                house.table.push(rows(round * 50..round * 50 + 50, TEN_O_CLOCK + round * 60_000)).expect("pushed");
                if round % 4 == 3 {
                    house.table.flush().await.expect("flushed");
                }
                tokio::task::yield_now().await;
            }
            done.store(true, Ordering::Release);
        })
    };
    let sql = "select count(*) as n, count(distinct number) as d, min(number) as a, max(number) as z from clicks";
    let both = "select (select count(*) from clicks) - (select count(number + 0) from clicks) as difference";
    let mut last = 0;
    loop {
        let finished = done.load(Ordering::Acquire);
        let (batches, _) = house.ask(sql).await.expect("answers");
        let value = |column: usize| batches[0].column(column).as_primitive::<Int64Type>().value(0);
        let count = value(0);
        assert_eq!((value(1), count % 50), (count, 0), "a row is missing or there twice");
        assert!(count == 0 || (value(2), value(3)) == (0, count - 1), "rows are a prefix");
        assert!(count >= last, "rows that were seen stay");
        last = count;
        assert_eq!(house.number(both).await, 0, "two uses of a table in one query see the same rows");
        if finished {
            break;
        }
    }
    writer.await.expect("the writer ends well");
    assert_eq!(last, 3000);
}

#[tokio::test]
async fn counts_and_bounds_of_partitions_come_from_what_is_known_without_opening_a_file() {
    let house = house(QuerySettings::default()).await;
    for hour in 0..4 {
        house.table.push(rows(hour * 100..hour * 100 + 100, TEN_O_CLOCK + hour * HOUR_MS)).expect("pushed");
    }
    house.table.flush().await.expect("flushed");
    for sql in ["select count(*) from clicks", "select max(number) from clicks", "select min(hour) from clicks"] {
        let plan = house.text(&format!("explain {sql}")).await;
        assert!(!plan.contains("parquet"), "{sql}: {plan}");
    }
    assert_eq!(house.number("select max(number) from clicks").await, 399);
}

#[tokio::test]
async fn filters_by_time_and_by_partition_open_only_the_files_that_can_match() {
    let house = house(QuerySettings::default()).await;
    for hour in 0..5 {
        house.table.push(rows(hour * 100..hour * 100 + 100, TEN_O_CLOCK + hour * HOUR_MS)).expect("pushed");
    }
    house.table.flush().await.expect("flushed");
    assert_eq!(house.table.snapshot().files.len(), 5);
    for (filter, files, count) in [
        ("event_time >= timestamp '2026-11-22 12:00:00'", 3, 300),
        ("event_time >= timestamp '2026-11-22 12:00:00' and event_time < timestamp '2026-11-22 12:00:10'", 1, 10),
        ("hour = 13", 1, 100),
        ("year = 2026 and month = 11 and day = 22 and hour in (10, 14)", 2, 200),
        ("number between 250 and 260", 1, 11),
        ("product_id = 'p03'", 5, 50),
        ("product_id = 'zebra'", 0, 0),
        ("hour = 9", 0, 0),
    ] {
        let sql = format!("select count(number + 0) from clicks where {filter}");
        let plan = house.text(&format!("explain {sql}")).await;
        assert_eq!(plan.matches(".parquet").count(), files, "{filter}: {plan}");
        assert_eq!(house.number(&sql).await, count, "{filter}");
    }
}

#[tokio::test]
async fn filters_pushed_into_the_files_hold_for_the_tail_too() {
    let house = house(QuerySettings::default()).await;
    house.table.push(rows(0..100, TEN_O_CLOCK)).expect("pushed");
    house.table.flush().await.expect("flushed");
    house.table.push(rows(100..200, TEN_O_CLOCK + 100_000)).expect("pushed");
    // Wide enough that the columns beyond the filter are decoded late.
    let (batches, _) = house.ask("select * from clicks where number % 50 = 7 order by number").await.expect("answers");
    let numbers: Vec<i64> =
        batches.iter().flat_map(|batch| batch["number"].as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!(numbers, [7, 57, 107, 157]);
}

#[tokio::test]
async fn a_column_added_later_is_null_in_older_rows() {
    let house = house(QuerySettings::default()).await;
    house.table.push(rows(0..10, TEN_O_CLOCK)).expect("pushed");
    house.table.flush().await.expect("flushed");
    let mut fields: Vec<_> = schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("country", DataType::Utf8, true)));
    let spec = TableSpec { name: "clicks".to_owned(), schema: Arc::new(Schema::new(fields)), partitioned: true };
    house.lake.ensure(spec).await.expect("grows");
    assert_eq!(house.number("select count(*) from clicks where country is null").await, 10);
    assert_eq!(house.number("select count(country) from clicks").await, 0);
}

#[tokio::test]
async fn more_rows_than_the_limit_are_cut_off_and_told() {
    let house = house(QuerySettings { rows_max: 100, ..QuerySettings::default() }).await;
    house.table.push(rows(0..250, TEN_O_CLOCK)).expect("pushed");
    for (sql, rows, truncated) in [
        ("select * from clicks", 100, true),
        ("select number from clicks order by number desc", 100, true),
        ("select * from clicks limit 100", 100, false),
        ("select * from clicks where number < 100", 100, false),
        ("select * from clicks where number < 101", 100, true),
        ("select * from generate_series(1, 100000000)", 100, true),
    ] {
        let (batches, outcome) = house.ask(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let given: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!((given, outcome.rows, outcome.truncated), (rows, rows as u64, truncated), "{sql}");
    }
    let options = QueryOptions { rows_max: Some(usize::MAX), timeout: None };
    let answer = house.engine.query("select * from clicks", options).await.expect("answers");
    let all: Vec<RecordBatch> = answer.try_collect().await.expect("all");
    assert_eq!(all.iter().map(RecordBatch::num_rows).sum::<usize>(), 250);
}

#[tokio::test]
async fn what_does_not_fit_memory_goes_to_disk_and_is_cleaned_up() {
    let house = house(QuerySettings { memory: 24 << 20, rows_max: usize::MAX, ..QuerySettings::default() }).await;
    let sql =
        "select value, repeat('x', 100) as filler from generate_series(1, 400000) order by value % 1000, value desc";
    let (batches, outcome) = house.ask(sql).await.expect("sorts");
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 400_000);
    assert!(outcome.spilled_bytes > 0, "{outcome:?}");
    assert_eq!(house.engine.counts().spilled_bytes.get(), outcome.spilled_bytes);
    assert_eq!(files_below(&house.folder.path().join("tmp")), 0);
}

fn files_below(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).map(|entries| entries.filter_map(Result::ok).collect::<Vec<_>>());
    let entries = entries.unwrap_or_default().into_iter().map(|entry| entry.path());
    entries.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
}

#[tokio::test]
async fn what_fits_neither_memory_nor_disk_is_refused_with_a_remedy() {
    let house = house(QuerySettings { memory: 16 << 20, spill_max: 0, ..QuerySettings::default() }).await;
    let sql = "select value, repeat('x', 100) as filler from generate_series(1, 400000) order by value % 1000, value desc limit 300000";
    let error = house.refused(sql).await;
    assert_eq!(error.kind(), ErrorKind::Full, "{error:?}");
    assert!(error.remedy().contains("memory"), "{error:?}");
    assert_eq!(house.number("select count(*) from clicks").await, 0);
}

#[tokio::test]
async fn an_error_names_its_place_and_a_remedy() {
    let house = house(QuerySettings::default()).await;
    house.engine.add_view("system", "ledger", Arc::new(Ledger));
    house.table.push(rows(0..10, TEN_O_CLOCK)).expect("pushed");
    for (sql, line, column, says, remedy) in [
        ("select numbr from clicks", 1, 8, "numbr", "Did you mean number?"),
        ("select number\nfrom clikcs", 2, 6, "clikcs", "Did you mean clicks?"),
        ("select number from system.ledgr", 1, 20, "system.ledgr", "system.ledger"),
        ("select numbre(number) from clicks", 1, 8, "numbre", ""),
        ("select ua_brwser(product_id) from clicks", 1, 8, "ua_brwser", "Did you mean ua_browser?"),
        ("select c.number, d.nope from clicks c, clicks d", 1, 18, "nope", ""),
        ("select number from clicks a, clicks b", 1, 8, "number", "a.number"),
        ("select product_id, count(*) from clicks", 1, 8, "product_id", "GROUP BY"),
        ("select number,, price from clicks", 1, 15, "", ""),
        ("select number from clicks where", 1, 32, "", ""),
        ("select number from clicks where product_id + 1 = price", 1, 44, "text + bigint", ""),
        ("select number from clicks where tumble(number, interval '1 minute') = 1", 1, 33, "tumble", ""),
        ("select query_param(number, 'a') from clicks", 1, 8, "query_param", ""),
        ("select 10 / (number - number) from clicks", 1, 11, "zero", "nullif"),
        ("select cast(product_id as bigint) from clicks", 1, 8, "p00", "try_cast"),
    ] {
        let error = house.refused(sql).await;
        assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}: {error:?}");
        assert!(error.message().contains(says), "{sql}: {error:?}");
        assert!(!error.remedy().is_empty() && error.remedy().contains(remedy), "{sql}: {error:?}");
        assert_eq!(error.place(), Some(Place { line, column }), "{sql}: {error:?}");
    }
}

#[tokio::test]
async fn nothing_can_be_written_or_changed_by_sql() {
    let house = house(QuerySettings::default()).await;
    for sql in [
        "insert into clicks select * from clicks",
        "delete from clicks",
        "create table a as select 1",
        "copy clicks to '/tmp/a.csv'",
        "set datafusion.execution.batch_size = 1",
        "drop table clicks",
        "explain analyze insert into clicks select * from clicks",
    ] {
        let error = house.refused(sql).await;
        assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}");
        assert!(error.message().contains("Only queries"), "{sql}: {error}");
    }
    let secret = house.folder.path().join("secret.csv");
    std::fs::write(&secret, "a\n1\n").expect("written");
    let error = house.refused(&format!("select * from '{}'", secret.display())).await;
    assert!(error.message().contains("There is no table"), "{error:?}");
}

struct Ledger;

impl Virtual for Ledger {
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("table", DataType::Utf8, false),
            Field::new("received", DataType::Int64, false),
        ]))
    }

    fn rows(&self) -> Result<RecordBatch, QueryError> {
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(vec!["clicks", "orders"])), Arc::new(Int64Array::from(vec![7, 35]))];
        RecordBatch::try_new(self.schema(), columns).map_err(|error| QueryError::internal(error.to_string()))
    }
}

#[tokio::test]
async fn the_systems_own_tables_are_tables_like_any_other() {
    let house = house(QuerySettings::default()).await;
    house.engine.add_view("system", "ledger", Arc::new(Ledger));
    assert_eq!(house.number("select sum(received) from system.ledger").await, 42);
    assert_eq!(house.number("select received from system.ledger where \"table\" = 'orders'").await, 35);
    let spec = TableSpec { name: "system.rejected".to_owned(), schema: schema(), partitioned: true };
    let rejected = house.lake.ensure(spec).await.expect("is made");
    house.engine.add_table(Arc::clone(&rejected));
    rejected.push(rows(0..3, TEN_O_CLOCK)).expect("pushed");
    rejected.flush().await.expect("flushed");
    rejected.push(rows(3..4, TEN_O_CLOCK)).expect("pushed");
    assert_eq!(house.number("select count(number + 0) from system.rejected").await, 4);
    let listed = house.text("select table_schema, table_name from information_schema.tables where table_schema <> 'information_schema' order by 1, 2").await;
    let names: Vec<&str> = listed.lines().filter(|line| line.contains("system") || line.contains("public")).collect();
    assert_eq!(names.len(), 3, "{listed}");
    let columns = house.text("describe clicks").await;
    assert!(columns.contains("product_id") && columns.contains("hour"), "{columns}");
    let tables: Vec<String> =
        house.engine.tables().into_iter().map(|table| format!("{}.{}", table.schema, table.name)).collect();
    assert_eq!(tables, ["public.clicks", "system.ledger", "system.rejected"]);
}

#[tokio::test]
async fn our_functions_and_the_engines_work_together() {
    let house = house(QuerySettings::default()).await;
    house.table.push(rows(0..3600, TEN_O_CLOCK)).expect("pushed");
    house.table.flush().await.expect("flushed");
    let sql =
        "select count(*) from (select tumble(event_time, interval '10 minutes') as w, count(*) from clicks group by 1)";
    assert_eq!(house.number(sql).await, 6);
    assert_eq!(house.number("select count(distinct date_trunc('minute', event_time)) from clicks").await, 60);
    assert_eq!(house.number("select count(*) from clicks where extract(minute from event_time) = 30").await, 60);
    assert_eq!(house.number("select count(*) from clicks where is_bot('curl/8')").await, 3600);
    let row = house
        .text("select round(avg(price), 1) as a, approx_percentile_cont(price, 0.5) > 890 as p, approx_distinct(product_id) as d, sum(number) filter (where number < 3) as f from clicks")
        .await;
    assert!(row.contains("| 899.8 | true | 10 | 3 |"), "{row}");
}

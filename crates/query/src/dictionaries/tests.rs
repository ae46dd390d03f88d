//! Footers, and queries over a real lake against the engine without us.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use base::SystemClock;
use bytes::Bytes;
use datafusion::datasource::MemTable;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use datafusion::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::collect;
use datafusion::physical_plan::projection::ProjectionExpr;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use lake::{Lake, LakeSettings, Progress, Table, TableSpec, TailBatch};
use tempfile::TempDir;

use super::expr::AsDictionary;
use super::readers::{Columns, told};
use super::{data_type, push};
use crate::table::LakeTable;
use crate::{Engine, QueryOptions, QuerySettings};

/// A file of 20,000 rows in two groups: a few texts; many, but each often; ones of which no dictionary was made; ones of which it
/// was given up half way; numbers.
fn file() -> (RecordBatch, Bytes) {
    let texts =
        |text: &dyn Fn(usize) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values((0..20_000).map(text))) };
    let batch = RecordBatch::try_from_iter([
        ("few", texts(&|row| format!("f{}", row % 3))),
        ("many", texts(&|row| format!("one of many texts {}", row % 1000))),
        ("plain", texts(&|row| format!("p{}", row % 3))),
        ("given_up", texts(&|row| format!("a text of a row of its own {row}"))),
        ("number", Arc::new(Int64Array::from_iter_values((0..20_000).map(|row| row % 3)))),
    ]);
    let batch = batch.expect("columns fit");
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(10_000))
        .set_dictionary_page_size_limit(50_000)
        .set_write_batch_size(100)
        .set_column_dictionary_enabled("plain".into(), false);
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties.build())).expect("begins");
    writer.write(&batch).expect("is written");
    (batch, writer.into_inner().expect("ends").into())
}

fn columns(any: &[&str], short: &[&str]) -> Columns {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Columns { any: names(any), short: names(short) }
}

fn dictionaries(footer: Option<ParquetMetaData>) -> Vec<String> {
    let Some(footer) = footer else { return Vec::new() };
    let opened = ArrowReaderMetadata::try_new(Arc::new(footer), ArrowReaderOptions::new()).expect("is a footer");
    let fields = opened.schema().fields().iter().filter(|field| *field.data_type() == data_type());
    fields.map(|field| field.name().clone()).collect()
}

#[test]
fn a_footer_says_dictionary_of_texts_that_the_file_holds_in_no_other_form() {
    const ALL: [&str; 6] = ["few", "many", "plain", "given_up", "number", "unknown"];
    let (batch, bytes) = file();
    let footer = ParquetMetaDataReader::new().parse_and_finish(&bytes).expect("is a file");
    assert_eq!(dictionaries(told(&footer, &columns(&ALL, &[])).expect("is told")), ["few", "many"]);
    assert_eq!(dictionaries(told(&footer, &columns(&["many"], &ALL)).expect("is told")), ["few", "many"]);
    assert_eq!(dictionaries(told(&footer, &columns(&[], &ALL)).expect("is told")), ["few"]);
    assert!(told(&footer, &columns(&["plain", "given_up", "number"], &["many"])).expect("is told").is_none());

    let told = told(&footer, &columns(&ALL, &[])).expect("is told").expect("some are");
    let opened = ArrowReaderMetadata::try_new(Arc::new(told), ArrowReaderOptions::new()).expect("is a footer");
    let rows = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, opened).with_batch_size(1_000).build();
    let mut first = 0;
    for read in rows.expect("opens") {
        let read = read.expect("is read");
        assert!(read.column(1).as_any_dictionary().values().len() <= 1_000);
        for (read, column) in read.columns().iter().zip(batch.columns()) {
            let texts = cast(read, column.data_type()).expect("casts");
            assert_eq!(*texts, *column.slice(first, read.len()));
        }
        first += read.num_rows();
    }
    assert_eq!(first, batch.num_rows());
}

/// 2026-11-22T10:00:00Z.
const TEN_O_CLOCK: i64 = 1_795_341_600_000;
const ROWS: i64 = 60_000;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("event_time", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
        Field::new("number", DataType::Int64, true),
        Field::new("session", DataType::Utf8, true),
        Field::new("action", DataType::Utf8, true),
        Field::new("request", DataType::Utf8, true),
        Field::new("price", DataType::Float64, true),
    ]))
}

/// Sessions that come and go, some of which are missing; four actions or none; requests of which each is the only one.
fn rows(numbers: std::ops::Range<i64>) -> TailBatch {
    let texts =
        |text: fn(i64) -> Option<String>| -> ArrayRef { Arc::new(numbers.clone().map(text).collect::<StringArray>()) };
    let times: Vec<i64> = numbers.clone().map(|n| TEN_O_CLOCK + n * 150).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from(times.clone()).with_timezone("UTC")),
        Arc::new(Int64Array::from_iter_values(numbers.clone())),
        texts(|n| {
            (n % 17 != 0).then(|| {
                if n % 5 == 0 {
                    format!("a session with a long name {}", n / 300)
                } else {
                    format!("s{}", n / 100 + n % 7)
                }
            })
        }),
        texts(|n| Some(["view", "view", "view", "add", "buy", "return"].get(n as usize * 7 % 8)?.to_string())),
        texts(|n| Some(format!("request with a name of forty-eight letters {n:05}"))),
        Arc::new(Float64Array::from_iter_values(numbers.clone().map(|n| (n % 400) as f64 / 2.0))),
    ];
    let rows = RecordBatch::try_new(schema(), columns).expect("columns fit");
    TailBatch { rows, event_time: times, progress: vec![Progress { app_id: "stream/0".to_owned(), next: numbers.end }] }
}

struct House {
    _folder: TempDir,
    lake: Arc<Lake>,
    table: Arc<Table>,
    engine: Arc<Engine>,
    theirs: SessionContext,
}

async fn house() -> House {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = Lake::open(folder.path(), LakeSettings::default(), Arc::new(SystemClock)).await.expect("opens");
    let spec = TableSpec { name: "clicks".to_owned(), schema: schema(), partitioned: true };
    let table = lake.ensure(spec).await.expect("is made");
    let settings = QuerySettings { threads: 2, spill_dir: Some(folder.path().join("tmp")), ..QuerySettings::default() };
    let engine = Engine::new(settings, Arc::clone(&lake)).expect("starts");
    engine.add_table(Arc::clone(&table));
    let theirs = crate::functions::session(SessionStateBuilder::new());
    let memory = MemTable::try_new(schema(), vec![vec![rows(0..ROWS).rows]]).expect("is a table");
    theirs.register_table("clicks", Arc::new(memory)).expect("is new");
    House { _folder: folder, lake, table, engine, theirs }
}

impl House {
    async fn text(&self, sql: &str) -> String {
        let answer = self.engine.query(sql, QueryOptions::default()).await;
        let batches: Vec<_> = answer.expect(sql).try_collect().await.expect(sql);
        pretty_format_batches(&batches).expect("prints").to_string()
    }

    async fn agrees(&self, sql: &str) {
        let theirs = self.theirs.sql(sql).await.expect(sql).collect().await.expect(sql);
        assert_eq!(self.text(sql).await, pretty_format_batches(&theirs).expect("prints").to_string(), "{sql}");
    }
}

const QUESTIONS: [&str; 27] = [
    "select session, count(*), min(event_time), sum(price) from clicks group by session order by session nulls first",
    "select action, session, count(*) from clicks group by 1, 2 order by 1, 2",
    "select date_trunc('hour', event_time) as hour, session, max(price) from clicks group by 1, 2 order by 1, 2",
    "select date_trunc('hour', event_time) as hour, count(distinct session) from clicks group by 1 order by 1",
    "select distinct session from clicks order by 1",
    "select session, sum(case when action = 'buy' then 1 else 0 end), count(*) filter (where 'view' <> action) from clicks group by 1 order by 1",
    "select session, min(case when action = 'view' then event_time end), count(*) filter (where action = null) from clicks group by 1 order by 1",
    "select action, count(*) filter (where action > 'b'), count(*) filter (where action <= 'buy') from clicks group by 1 order by 1",
    "select session, max(action), count(*) filter (where action = 'buy') from clicks group by 1 order by 1",
    "select session, count(*) filter (where action in ('buy', 'add')), count(*) filter (where action like 'v%') from clicks group by 1 order by 1",
    "select action, max(action || session) from clicks group by action order by 1",
    "select request, count(*) from clicks group by request order by request desc limit 20",
    "select action, count(*) filter (where request < 'request with a name of forty-eight letters 3') from clicks group by 1 order by 1",
    "select session, count(*) from clicks where action = 'buy' group by session order by 1",
    "select session, count(*) from clicks where session > 's30' and event_time > '2026-11-22 10:30:00' group by session order by 1",
    "select number, session, request, price, event_time from clicks where action = 'buy' and price > 150 order by number limit 50",
    "select number, session, request, price, event_time, action from clicks where action <> 'view' and session = 's31' order by number",
    "select number, session, request, price, event_time from clicks where action is null or action = 'return' order by number desc limit 50",
    "select name, count(*), sum(price) from clicks join (values ('s5', 'five'), ('s305', 'many'), ('none', 'none')) as names (id, name) on session = id group by name order by name",
    "select session, action, max(price) from clicks where event_time > '2026-11-22 10:30:00' and number % 3 > 0 group by 1, 2 order by 1, 2",
    "select session, count(*) filter (where action = 'buy') from clicks where price > 20 and action <> 'add' group by session order by 1",
    "select session, min(number), count(*) filter (where session < 's3') from clicks where price > 20 group by session order by 1",
    "select session, action = 'buy', count(*) from clicks group by 1, 2 order by 1, 2",
    "select session, session = 's31', count(*) from clicks group by 1, 2 order by 1, 2",
    "select session, case when action in ('buy', 'add') then 'x' else 'y' end, count(*) filter (where action = 'buy') from clicks group by 1, 2 order by 1, 2",
    "select session, action, count(*) from clicks where session > 's30' group by 1, 2 order by 1, 2",
    "select session, max(price), max(number), max(event_time), max(request) from clicks where session like 's3%' and action = 'buy' group by session order by 1",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_are_answered_from_dictionaries_as_they_are_from_texts() {
    let house = house().await;
    house.table.push(rows(0..40_000)).expect("pushed");
    house.table.flush().await.expect("flushed");
    house.table.push(rows(40_000..ROWS)).expect("pushed");
    assert!(house.table.snapshot().files.len() > 1);
    for sql in QUESTIONS {
        house.agrees(sql).await;
    }
    house.table.flush().await.expect("flushed");
    for sql in QUESTIONS {
        house.agrees(sql).await;
    }
}

#[tokio::test]
async fn scans_give_dictionaries_to_group_by_and_what_comparisons_gave() {
    let house = house().await;
    house.table.push(rows(0..40_000)).expect("pushed");
    house.table.flush().await.expect("flushed");
    house.table.push(rows(40_000..ROWS)).expect("pushed");
    for (question, told) in [
        (0, vec!["AsDictionary(session@2) as session", "Merging groups"]),
        (1, vec!["AsDictionary(action@3) as action", "AsDictionary(session@2) as session"]),
        (3, vec!["AsDictionary(session@2) as session"]),
        (5, vec!["AsDictionary(session@2) as session", "action@3 = buy as", "action@3 != view as"]),
        (13, vec!["AsDictionary(session@2) as session"]),
        (18, vec!["AsDictionary(session@2) as session"]),
        (19, vec!["AsDictionary(session@2) as session", "AsDictionary(action@3) as action"]),
    ] {
        let plan = house.text(&format!("explain {}", QUESTIONS[question])).await;
        let scan = plan.lines().find(|line| line.contains("file_type=parquet")).expect("reads files");
        for told in told {
            assert!(scan.contains(told) || (told.contains("Merging") && plan.contains(told)), "{told}: {plan}");
        }
    }
}

#[tokio::test]
async fn rows_from_one_group_of_a_file_share_the_dictionary_that_it_holds() {
    let house = house().await;
    house.table.push(rows(0..24_000)).expect("pushed");
    house.table.flush().await.expect("flushed");
    let url = ObjectStoreUrl::parse(house.lake.url()).expect("is an address");
    house.theirs.runtime_env().register_object_store(url.as_ref(), house.lake.store());
    let table = LakeTable::new(Arc::clone(&house.table), house.lake.store(), url);
    let scan = house.theirs.read_table(Arc::new(table.pin())).expect("is a table");
    let scan = scan.select_columns(&["session", "request"]).expect("are there").create_physical_plan().await;
    let columns = ["session", "request"].into_iter().enumerate().map(|(index, name)| {
        let text = Arc::new(Column::new(name, index));
        ProjectionExpr { expr: Arc::new(AsDictionary { text }), alias: name.to_owned() }
    });
    let pushed =
        push(&scan.expect("is planned"), &columns.collect::<Vec<_>>()).expect("is planned").expect("is of use");
    let batches = collect(pushed, house.theirs.task_ctx()).await.expect("is read");
    assert!(batches.len() > 1);
    for batch in batches {
        let texts = |column: usize| batch.column(column).as_any_dictionary().values().len();
        assert!(texts(0) < 500, "{} sessions", texts(0));
        // The writer gave up the dictionary of requests, so each batch has one of its own.
        assert_eq!(texts(1), batch.num_rows());
    }
}

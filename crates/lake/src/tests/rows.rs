//! What a table holds: columns, hours, progress, statistics.

use std::collections::BTreeSet;

use super::*;
use crate::{Bound, LakeError};
use arrow::array::{Float64Array, TimestampMicrosecondArray};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_visible_at_once_with_their_hour_and_lie_in_its_folder_after_a_flush() {
    let dir = tempfile::tempdir().expect("a folder");
    let lake = open(dir.path()).await;
    let table = clicks(&lake).await;
    let changes = table.changes();
    table.push(batch(0, 12, 3)).expect("pushed");
    assert!(changes.has_changed().expect("alive"));
    let snapshot = table.snapshot();
    assert_eq!(snapshot.schema, table.schema());
    let hours = snapshot.tail[0].column_by_name("hour").expect("there").as_primitive::<arrow::datatypes::Int32Type>();
    assert_eq!(hours.values().iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([10, 11, 12]));

    let flushed = table.flush().await.expect("committed");
    assert_eq!((flushed.rows, flushed.files), (12, 3));
    let snapshot = table.snapshot();
    assert!(snapshot.tail.is_empty());
    let partitions: BTreeSet<_> = snapshot.files.iter().map(|file| file.partition).collect();
    let wanted = [10, 11, 12].map(|hour| Some([2026, 11, 22, hour]));
    assert_eq!(partitions, BTreeSet::from(wanted));
    assert!(snapshot.files.iter().all(|file| file.path.starts_with("year=2026/month=11/day=22/hour=1")));
    assert_holds(&lake, &table, 12, "after the flush").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_resumes_where_the_lake_says_also_from_a_checkpoint() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut to = 0;
    for round in 0..4 {
        let lake = open(dir.path()).await;
        let table = clicks(&lake).await;
        assert_eq!(table.progress(SOURCE).unwrap_or(0), to);
        for _ in 0..30 {
            table.push(batch(to, to + 5, 2)).expect("pushed");
            to += 5;
            table.flush().await.expect("committed");
        }
        if round > 0 {
            assert_eq!(table.wants_checkpoint(), round == 1, "60 commits without one, later 30");
            assert_eq!(table.checkpoint().await.expect("a report").error, None);
            assert!(!table.wants_checkpoint());
        }
        table.push(batch(to, to + 3, 2)).expect("pushed and lost with the process");
    }
    let lake = open(dir.path()).await;
    let table = clicks(&lake).await;
    assert_holds(&lake, &table, to, "after four restarts").await;
    let before = table.snapshot();
    assert!(before.files.iter().all(|file| file.rows.is_some() && file.bounds("offset").is_some()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_planted_bug_of_forgotten_offsets_is_seen_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let faults = Faults { forget_offsets_in_commit: true, ..Faults::default() };
    let lake = open_with(dir.path(), faults).await;
    resume(&clicks(&lake).await.clone(), 10).await;
    let lake = open(dir.path()).await;
    let table = clicks(&lake).await;
    assert_eq!(table.progress(SOURCE), None);
    resume(&table, 10).await;
    assert_eq!(offsets_of(&*lake.store(), &table, &table.snapshot()).await.len(), 20, "every row twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_without_rows_is_committed_by_a_drain() {
    let dir = tempfile::tempdir().expect("a folder");
    let lake = open(dir.path()).await;
    let table = clicks(&lake).await;
    table.push(batch(0, 10, 1)).expect("pushed");
    table.flush().await.expect("committed");
    let mut filtered = batch(10, 10, 1);
    filtered.progress[0].next = 500;
    table.push(filtered.clone()).expect("pushed");
    assert_eq!(table.flush().await.expect("too soon").version, None);
    assert_eq!(table.progress(SOURCE), Some(10));
    assert!(table.tail_age().is_some());
    table.drain().await.expect("committed");
    assert_eq!(table.progress(SOURCE), Some(500));
    table.push(filtered).expect("nothing new");
    assert_eq!(table.tail_age(), None);
    assert_eq!(table.drain().await.expect("nothing to do").version, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_that_goes_back_and_rows_that_do_not_fit_are_refused_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let lake = open(dir.path()).await;
    let table = clicks(&lake).await;
    table.push(batch(0, 10, 1)).expect("pushed");
    table.flush().await.expect("committed");
    let error = table.push(batch(3, 6, 1)).expect_err("backwards");
    assert!(matches!(error, LakeError::Backwards { last: 10, next: 6, .. }), "{error}");
    let mut short = batch(10, 12, 1);
    short.event_time.pop();
    assert!(matches!(table.push(short), Err(LakeError::Rows { .. })));
    assert_eq!(table.tail_rows(), 0);
    assert_holds(&lake, &table, 10, "as before").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_tail_refuses_rows_until_a_flush() {
    let dir = tempfile::tempdir().expect("a folder");
    let small = LakeSettings { tail_bytes: 1000, ..settings() };
    let lake = Lake::open(dir.path(), small, Arc::new(SystemClock)).await.expect("opens");
    let table = clicks(&lake).await;
    table.push(batch(0, 100, 1)).expect("there was room");
    assert!(matches!(table.push(batch(100, 101, 1)), Err(LakeError::Full { .. })));
    table.flush().await.expect("committed");
    table.push(batch(100, 101, 1)).expect("there is room again");
    assert_holds(&lake, &table, 101, "no gap").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_gains_columns_while_rows_wait_and_old_files_read_as_null() {
    let dir = tempfile::tempdir().expect("a folder");
    let lake = open(dir.path()).await;
    let table = clicks(&lake).await;
    for part in 0..4 {
        table.push(batch(part * 10, part * 10 + 10, 1)).expect("pushed");
        table.flush().await.expect("committed");
    }
    table.push(batch(40, 50, 1)).expect("pushed");
    let mut wider = spec();
    let mut fields: Vec<Field> = wider.schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new("price", DataType::Float64, true));
    wider.schema = Arc::new(Schema::new(fields));
    let same = lake.ensure(wider.clone()).await.expect("grows");
    assert!(Arc::ptr_eq(&table, &same));
    let names: Vec<String> = table.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["event_time", "offset", "action", "price", "year", "month", "day", "hour"]);
    assert!(table.snapshot().tail.iter().all(|rows| rows.schema() == table.schema()));

    for part in 5..9 {
        let mut rows = batch(part * 10, part * 10 + 10, 1);
        if part > 6 {
            let mut columns: Vec<(String, ArrayRef)> = rows
                .rows
                .schema()
                .fields()
                .iter()
                .map(|f| f.name().clone())
                .zip(rows.rows.columns().iter().cloned())
                .collect();
            columns.push(("price".to_owned(), Arc::new(Float64Array::from(vec![9.5; 10]))));
            rows.rows = RecordBatch::try_from_iter(columns).expect("rows");
        }
        table.push(rows).expect("pushed");
        table.flush().await.expect("committed");
    }
    let report = table.compact().await.expect("a report");
    assert_eq!((report.error, report.files_after), (None, 1));
    let file = &table.snapshot().files[0];
    let price = file.bounds("price").expect("known");
    assert_eq!((price.nulls, price.max.clone()), (Some(70), Some(Bound::Float(9.5))));

    let lake = open(dir.path()).await;
    let table = lake.ensure(spec()).await.expect("the narrower spec still fits");
    assert_eq!(table.schema().fields().len(), 8);
    assert_holds(&lake, &table, 90, "all rows").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_type_for_a_column_is_refused_with_a_remedy() {
    let dir = tempfile::tempdir().expect("a folder");
    let lake = open(dir.path()).await;
    clicks(&lake).await;
    let mut other = spec();
    other.schema = Arc::new(Schema::new(vec![Field::new("action", DataType::Int64, true)]));
    let error = lake.ensure(other).await.expect_err("refused");
    assert_eq!(error.kind(), base::ErrorKind::Invalid);
    assert!(
        error.to_string().contains("the lake has it as action Utf8, now it is to be action Int64. Cast it"),
        "{error}"
    );
    let mut flat = spec();
    flat.partitioned = false;
    assert!(matches!(lake.ensure(flat).await, Err(LakeError::Unsupported { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_without_partitions_keeps_rows_of_all_times_in_one_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let lake = open(dir.path()).await;
    let mut flat = spec();
    (flat.name, flat.partitioned) = ("system.runs".to_owned(), false);
    let table = lake.ensure(flat.clone()).await.expect("opens");
    let mut rows = batch(0, 20, 5);
    rows.event_time.clear();
    table.push(rows).expect("pushed");
    assert_eq!(table.flush().await.expect("committed").files, 1);
    assert_eq!(table.schema().fields().len(), 3);
    let lake = open(dir.path()).await;
    let table = lake.ensure(flat).await.expect("opens again");
    assert_eq!(table.snapshot().files[0].partition, None);
    assert_holds(&lake, &table, 20, "one file").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounds_hold_every_value_and_are_the_same_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let long = "z".repeat(200);
    let fields = vec![
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("text", DataType::Utf8, true),
        Field::new("number", DataType::Float64, true),
        Field::new("yes", DataType::Boolean, true),
        Field::new("day_of", DataType::Date32, true),
        Field::new("none", DataType::Int64, true),
    ];
    let wanted = TableSpec { name: "t".to_owned(), schema: Arc::new(Schema::new(fields)), partitioned: false };
    let rows = RecordBatch::try_from_iter([
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), Some(1_500), None]).with_timezone("UTC"))
                as ArrayRef,
        ),
        ("text", Arc::new(StringArray::from(vec![Some("ä"), Some(long.as_str()), Some("")]))),
        ("number", Arc::new(Float64Array::from(vec![Some(f64::NEG_INFINITY), Some(2.0), Some(f64::NAN)]))),
        ("yes", Arc::new(arrow::array::BooleanArray::from(vec![Some(true), None, None]))),
        ("day_of", Arc::new(arrow::array::Date32Array::from(vec![Some(-400), Some(20_000), None]))),
        ("none", Arc::new(Int64Array::from(vec![None, None, None]))),
    ])
    .expect("rows");
    let lake = open(dir.path()).await;
    let table = lake.ensure(wanted.clone()).await.expect("opens");
    table.push(TailBatch { rows, event_time: Vec::new(), progress: Vec::new() }).expect("pushed");
    table.flush().await.expect("committed");
    let written = Arc::clone(&table.snapshot().files[0]);
    let bounds = |column: &str| written.bounds(column).cloned().expect("known");
    assert_eq!((bounds("at").min, bounds("at").max), (Some(Bound::Timestamp(-1000)), Some(Bound::Timestamp(1999))));
    assert_eq!(bounds("at").nulls, Some(1));
    let Some(Bound::Text(greatest)) = bounds("text").max else { panic!("no bound of the text") };
    assert!(greatest.as_ref() > long.as_str() && greatest.len() <= 64, "{greatest}");
    assert_eq!(bounds("day_of").min, Some(Bound::Date(-400)));
    assert_eq!((bounds("none").nulls, bounds("none").min), (Some(3), None));
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    assert!(bounds("at").max.is_some_and(|max| max.scalar(&utc).is_some()));

    let lake = open(dir.path()).await;
    let table = lake.ensure(wanted).await.expect("opens again");
    let read = Arc::clone(&table.snapshot().files[0]);
    for column in ["at", "text", "yes", "day_of", "none"] {
        assert_eq!(read.bounds(column), written.bounds(column), "{column}");
    }
}

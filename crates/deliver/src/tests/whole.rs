//! From records to what SQL sees, and what a start finds.

use arrow::array::Array;
use base::{Format, Measured, Offset};

use super::*;
use crate::{StartAt, StartError};

fn events(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|n| format!(r#"{{"n":{n},"color":"red"}}"#)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_in_sql_before_any_flush_and_in_the_lake_after_a_stop() {
    let ground = Ground::new(1);
    let lake = ground.lake().await;
    let mut settings = table("select shard, \"offset\", event_time, color from record");
    settings.flush.every = Duration::from_secs(600);
    let delivery = ground.deliver(&settings, &lake).await;
    ground.append(0, &events(0..10)).await;
    until_read(&delivery).await;
    assert_eq!(places(&lake, "t where color = 'red'").await.len(), 10);
    assert_eq!(delivery.table().snapshot().files.len(), 0);
    let mut samples = Vec::new();
    delivery.counts().measure(&mut samples);
    let value = |name: &str| samples.iter().find(|sample| sample.name == name).map(|sample| sample.value);
    assert_eq!(value("riverrun_deliver_rows_total"), Some(10.0));
    assert_eq!(value("riverrun_deliver_in_flight_records"), Some(0.0));
    assert!(value("riverrun_deliver_to_tail_us").is_some());
    delivery.stop().await;
    let lake = ground.lake().await;
    let delivery = ground.deliver(&settings, &lake).await;
    assert!(!delivery.table().snapshot().files.is_empty() && delivery.table().tail_rows() == 0);
    assert_eq!(places(&lake, "t").await.len(), 10);
    delivery.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_delivers_what_came_just_before() {
    let ground = Ground::new(2);
    let lake = ground.lake().await;
    let settings = table("select shard, \"offset\" from record");
    let delivery = ground.deliver(&settings, &lake).await;
    ground.append(0, &events(0..500)).await;
    ground.append(1, &events(0..500)).await;
    let counts = delivery.counts();
    delivery.stop().await;
    let ledger = counts.ledger();
    assert_eq!((ledger.received, ledger.delivered, ledger.in_flight, ledger.unaccounted), (1000, 1000, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_table_on_an_old_stream_gets_all_that_is_kept_or_only_what_is_new() {
    let ground = Ground::new(1);
    ground.append(0, &events(0..50)).await;
    let lake = ground.lake().await;
    let mut late = table("select shard, \"offset\" from record");
    late.name = "late".into();
    late.start = StartAt::Latest;
    let all = ground.deliver(&table("select shard, \"offset\" from record"), &lake).await;
    let new = ground.deliver(&late, &lake).await;
    assert_eq!(until_read(&all).await.delivered, 50);
    assert_eq!(new.ledger(), LedgerRow { table: "late".into(), stream: "s".into(), ..LedgerRow::default() });
    // Where it began stands in the lake, so a crash before its first row changes nothing.
    new.abandon().await;
    ground.append(0, &events(50..60)).await;
    let lake = ground.lake().await;
    let new = ground.deliver(&late, &lake).await;
    let ledger = until_read(&new).await;
    assert_eq!((ledger.received, ledger.delivered, ledger.unaccounted), (10, 10, 0));
    all.stop().await;
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_retention_removed_first_are_counted_as_expired() {
    let settings = StreamSettings { retention_bytes: Some(1), segment_bytes: 4 << 10, ..StreamSettings::default() };
    let ground = Ground::with(&settings);
    let lake = ground.lake().await;
    let settings = table("select shard, \"offset\" from record");
    let delivery = ground.deliver(&settings, &lake).await;
    ground.append(0, &events(0..20)).await;
    until_read(&delivery).await;
    delivery.stop().await;
    for n in 0..50 {
        ground.append(0, &events(n * 20..n * 20 + 20)).await;
    }
    ground.log.sweep();
    let start = ground.stream.bounds(ShardId(0)).start.0;
    assert!(start > 20, "retention removed nothing: {start}");
    let lake = ground.lake().await;
    let delivery = ground.deliver(&settings, &lake).await;
    let ledger = until_read(&delivery).await;
    assert_eq!((ledger.received, ledger.expired, ledger.unaccounted), (1020, start - 20, 0));
    assert_eq!(ledger.delivered, 1020 - ledger.expired);
    delivery.abandon().await;
    let delivery = ground.deliver(&settings, &ground.lake().await).await;
    assert_eq!(until_read(&delivery).await, ledger);
    delivery.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_lost_what_the_lake_has_is_not_read_as_if_nothing_had_happened() {
    let ground = Ground::new(1);
    ground.append(0, &events(0..10)).await;
    let lake = ground.lake().await;
    let settings = table("select shard, \"offset\" from record");
    let delivery = ground.deliver(&settings, &lake).await;
    until_read(&delivery).await;
    delivery.stop().await;
    let id = format!("{}/0", ground.stream.uuid());
    let lake = ground.lake().await;
    let spec = lake::TableSpec {
        name: "t".into(),
        schema: crate::plan::Plan::new(&settings).expect("plans").schema(),
        partitioned: true,
    };
    let t = lake.ensure(spec).await.expect("it opens");
    let rows = RecordBatch::new_empty(t.data_schema());
    let progress = vec![lake::Progress { app_id: id, next: 11 }];
    t.push(lake::TailBatch { rows, event_time: vec![], progress }).expect("pushed");
    t.drain().await.expect("committed");
    let started = Delivery::start(settings, Arc::clone(&ground.stream), Arc::clone(&lake), clock()).await;
    match started {
        Err(StartError::Ahead { known, end, .. }) => assert_eq!((known, end), (Offset(11), Offset(10))),
        other => panic!("it started: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_record_has_its_bytes_its_place_and_the_reason() {
    let ground = Ground::new(1);
    let lake = ground.lake().await;
    let delivery = ground.deliver(&table("select cast(n as bigint) as n from record"), &lake).await;
    let mut batch = Batch::builder();
    for value in [&b"{\"n\":\"x\"}"[..], b"{\"n\":1}", b"\xff\xfe", b"{\"n\":2"] {
        let record = RecordRef { timestamp: SystemClock.now(), key: None, value, headers: &[] };
        batch.push(record).expect("it fits");
    }
    ground.stream.append(ShardId(0), batch.finish()).await.expect("appended");
    let ledger = until_read(&delivery).await;
    assert_eq!((ledger.delivered, ledger.rejected), (1, 3));
    let sql = "select \"offset\", payload, payload_bytes, reason, stream, format, event_time = arrival_time as same
        from system.rejected order by 1";
    let rows = query(&lake, sql).await;
    let rows = arrow::compute::concat_batches(&rows[0].schema(), &rows).expect("one schema");
    assert_eq!(rows.column(0).as_primitive::<Int64Type>().values(), &[0, 2, 3]);
    let text = |column: usize, row: usize| {
        let column = arrow::compute::cast(rows.column(column), &arrow::datatypes::DataType::Utf8).expect("text");
        column.as_string::<i32>().value(row).to_owned()
    };
    assert_eq!((text(1, 0), text(1, 2)), ("{\"n\":\"x\"}".to_owned(), "{\"n\":2".to_owned()));
    assert_eq!(text(1, 1), "\u{fffd}\u{fffd}");
    let bytes = arrow::compute::cast(rows.column(2), &arrow::datatypes::DataType::Binary).expect("bytes");
    assert!(bytes.is_null(0) && bytes.is_null(2));
    assert_eq!(bytes.as_binary::<i32>().value(1), b"\xff\xfe");
    assert!(text(3, 0).contains('x'), "{}", text(3, 0));
    assert_eq!(text(3, 1), "not valid UTF-8 at byte 0");
    assert!(text(3, 2).starts_with("not valid JSON: EOF"), "{}", text(3, 2));
    assert_eq!((text(4, 0), text(5, 0)), ("s".to_owned(), "json".to_owned()));
    assert!((0..3).all(|row| rows.column(6).as_boolean().value(row)));
    delivery.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_stream_feeds_log_lines_of_any_kind_into_one_table() {
    let ground = Ground::new(1);
    let lake = ground.lake().await;
    let mut settings =
        table("select shard, \"offset\", c_ip, cs_uri_stem as path, sc_status as status, simulated from record");
    settings.format = Format::Combined;
    let delivery = ground.deliver(&settings, &lake).await;
    let mut batch = Batch::builder();
    type Line = (&'static [u8], &'static [(&'static [u8], &'static [u8])]);
    let lines: [Line; 3] = [
        (b"1.2.3.4 - - [17/May/2015:10:05:03 +0000] \"GET /a?b=c HTTP/1.1\" 200 12", &[]),
        (b"5.6.7.8\t/d?e=f\t304", &[(b"format", b"cdn"), (b"fields", b"2,10,5"), (b"simulated", b"1")]),
        (b"{\"c_ip\":\"9.9.9.9\",\"cs_uri_stem\":\"/g\",\"sc_status\":201}", &[(b"format", b"json")]),
    ];
    for (value, headers) in lines {
        let record = RecordRef { timestamp: SystemClock.now(), key: None, value, headers };
        batch.push(record).expect("it fits");
    }
    ground.stream.append(ShardId(0), batch.finish()).await.expect("appended");
    assert_eq!(until_read(&delivery).await.delivered, 3);
    for wanted in [
        "c_ip = '1.2.3.4' and path = '/a' and status = 200",
        "path = '/d' and status = 304 and simulated",
        "path = '/g' and status = 201",
    ] {
        assert_eq!(places(&lake, &format!("t where {wanted}")).await.len(), 1, "{wanted}");
    }
    delivery.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_writer_of_the_same_table_stops_this_one() {
    let ground = Ground::new(1);
    let settings = table("select shard, \"offset\" from record");
    let (first, second) = (ground.lake().await, ground.lake().await);
    let old = ground.deliver(&settings, &first).await;
    let new = ground.deliver(&settings, &second).await;
    ground.append(0, &events(0..10)).await;
    until("one of them to give way", || {
        let gave_way = |delivery: &Delivery| matches!(delivery.counts().state(), DeliveryState::Stopped(_));
        gave_way(&old) || gave_way(&new)
    })
    .await;
    old.stop().await;
    new.stop().await;
    let lake = ground.lake().await;
    let delivery = ground.deliver(&settings, &lake).await;
    until_read(&delivery).await;
    assert_eq!(places(&lake, "t").await.len(), 10);
    delivery.stop().await;
}

//! Shards that come and go while a table is fed: what becomes of their records, and in which order.

use std::collections::BTreeMap;

use arrow::array::StringArray;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use stream::ShardInfo;

use super::*;

/// Open shards by the order of their hashes.
pub(crate) fn open_shards(stream: &Stream) -> Vec<ShardInfo> {
    let mut open: Vec<ShardInfo> = stream.shard_infos().into_iter().filter(|info| info.closed.is_none()).collect();
    open.sort_by_key(|info| info.range.start);
    open
}

/// Splits the nth open shard in the middle of its hashes, unless there are many.
pub(crate) fn split(stream: &Stream, nth: usize) {
    let open = open_shards(stream);
    let info = open[nth % open.len()];
    if open.len() < 6 && info.range.end > info.range.start {
        let middle = info.range.start + (info.range.end - info.range.start) / 2 + 1;
        stream.split(info.id, middle).expect("it splits");
    }
}

/// Merges the nth open shard with the one behind it, if there is one.
pub(crate) fn merge(stream: &Stream, nth: usize) {
    let open = open_shards(stream);
    if open.len() > 1 {
        let at = nth % (open.len() - 1);
        stream.merge(open[at].id, open[at + 1].id).expect("it merges");
    }
}

const KEYS: usize = 8;

#[derive(Clone, Debug)]
enum Act {
    /// So many records, key by key.
    Put(u32),
    Split(usize),
    Merge(usize),
    Reshape(u32),
    Crash,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (1u32..80).prop_map(Act::Put),
        2 => (0usize..8).prop_map(Act::Split),
        2 => (0usize..8).prop_map(Act::Merge),
        1 => (1u32..6).prop_map(Act::Reshape),
        1 => Just(Act::Crash),
    ];
    proptest::collection::vec(act, 1..20)
}

/// Puts one record of `key` with the number `n`, wherever the key belongs now.
async fn put(stream: &Stream, key: &str, n: u64) {
    let payload = format!("{{\"n\":{n}}}");
    let mut batch = Batch::builder();
    let key = key.as_bytes();
    let record = RecordRef { timestamp: SystemClock.now(), key: Some(key), value: payload.as_bytes(), headers: &[] };
    batch.push(record).expect("it fits");
    stream.append(stream.shard_for(Some(key)), batch.finish()).await.expect("it is appended");
}

/// Per key the numbers of its rows, in the order in which the table got them.
fn rows_by_key(delivery: &Delivery) -> BTreeMap<String, Vec<i64>> {
    let mut rows: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for batch in delivery.table().snapshot().tail {
        let column = |name: &str| batch.column_by_name(name).expect("it is selected");
        let keys = arrow::compute::cast(column("k"), &arrow::datatypes::DataType::Utf8).expect("text");
        let keys: &StringArray = keys.as_string();
        for (key, n) in keys.iter().zip(column("n").as_primitive::<Int64Type>().values()) {
            rows.entry(key.expect("a key").to_owned()).or_default().push(*n);
        }
    }
    rows
}

async fn play(acts: Vec<Act>) {
    let ground = Ground::new(2);
    let mut settings = table("select partition_key as k, cast(n as bigint) as n from record");
    // Nothing is flushed: all rows stay in the tail, in the order of their coming.
    settings.flush.every = Duration::from_secs(600);
    let mut delivery = ground.deliver(&settings, &ground.lake().await).await;
    let mut sent = 0u64;
    for act in acts {
        match act {
            Act::Put(count) => {
                for _ in 0..count {
                    put(&ground.stream, &format!("k{}", sent as usize % KEYS), sent).await;
                    sent += 1;
                }
            }
            Act::Split(nth) => split(&ground.stream, nth),
            Act::Merge(nth) => merge(&ground.stream, nth),
            Act::Reshape(shards) => ground.stream.reshape(shards).expect("it is reshaped"),
            Act::Crash => {
                delivery.abandon().await;
                delivery = ground.deliver(&settings, &ground.lake().await).await;
            }
        }
        assert_eq!(delivery.ledger().unaccounted, 0, "{:?}", delivery.ledger());
    }
    let ledger = until_read(&delivery).await;
    assert_eq!((ledger.received, ledger.delivered, ledger.unaccounted), (sent, sent, 0));
    let wanted = (0..sent as i64).fold(BTreeMap::new(), |mut rows: BTreeMap<String, Vec<i64>>, n| {
        rows.entry(format!("k{}", n as usize % KEYS)).or_default().push(n);
        rows
    });
    assert_eq!(rows_by_key(&delivery), wanted);
    delivery.stop().await;
}

#[test]
fn the_rows_of_a_key_stay_in_order_however_its_shards_are_split_and_merged() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let config = Config { cases: 24, max_shrink_iters: 40, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&acts(), |acts| {
        runtime.block_on(play(acts));
        Ok(())
    });
    result.expect("in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_reads_the_children_too_whose_parents_it_still_has_to_read() {
    let ground = Ground::new(1);
    let lake = ground.lake().await;
    let settings = table("select shard, \"offset\" from record");
    let payloads: Vec<String> = (0..500).map(|n| format!("{{\"n\":{n}}}")).collect();
    ground.append(0, &payloads).await;
    split(&ground.stream, 0);
    ground.append(1, &payloads).await;
    ground.append(2, &payloads).await;
    merge(&ground.stream, 0);
    ground.append(3, &payloads).await;
    let delivery = ground.deliver(&settings, &lake).await;
    let counts = delivery.counts();
    delivery.stop().await;
    let ledger = counts.ledger();
    assert_eq!((ledger.received, ledger.delivered, ledger.in_flight, ledger.unaccounted), (2000, 2000, 0, 0));
    // What the stream says of it now is enough to go on.
    let lake = ground.lake().await;
    let delivery = ground.deliver(&settings, &lake).await;
    ground.append(3, &payloads).await;
    assert_eq!(until_read(&delivery).await.delivered, 2500);
    assert_eq!(places(&lake, "t").await.len(), 2500);
    delivery.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_retention_took_stays_in_the_ledger() {
    let few = StreamSettings { retention: Duration::from_millis(1), ..StreamSettings::default() };
    let ground = Ground::with(&few);
    let lake = ground.lake().await;
    let settings = table("select shard, \"offset\" from record");
    let delivery = ground.deliver(&settings, &lake).await;
    let payloads: Vec<String> = (0..50).map(|n| format!("{{\"n\":{n}}}")).collect();
    ground.append(0, &payloads).await;
    until_read(&delivery).await;
    split(&ground.stream, 0);
    until("shard 0 to be taken", || {
        ground.log.sweep();
        ground.stream.shard_infos().iter().all(|info| info.id != ShardId(0))
    })
    .await;
    ground.append(1, &payloads).await;
    let ledger = until_read(&delivery).await;
    assert_eq!((ledger.received, ledger.unaccounted), (100, 0));
    assert_eq!(ledger.delivered + ledger.expired, 100);
    delivery.stop().await;
    let delivery = ground.deliver(&settings, &ground.lake().await).await;
    assert_eq!(until_read(&delivery).await, ledger);
    delivery.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_stream_ends_its_delivery_and_one_made_anew_begins_another() {
    let ground = Ground::new(2);
    let lake = ground.lake().await;
    let settings = table("select shard, \"offset\" from record");
    let delivery = ground.deliver(&settings, &lake).await;
    let payloads: Vec<String> = (0..50).map(|n| format!("{{\"n\":{n}}}")).collect();
    ground.append(0, &payloads).await;
    until_read(&delivery).await;
    ground.append(1, &payloads).await;
    assert!(ground.log.delete("s").expect("it is deleted"));
    until("the end", || matches!(delivery.counts().state(), DeliveryState::Ended(_))).await;
    let ledger = delivery.ledger();
    assert_eq!((ledger.received, ledger.in_flight, ledger.unaccounted), (100, 0, 0));
    assert_eq!(ledger.delivered + ledger.expired, 100);
    delivery.stop().await;
    let anew = ground.log.ensure("s", &StreamSettings::default()).expect("the stream is made");
    let lake = ground.lake().await;
    let delivery = Delivery::start(settings, Arc::clone(&anew), lake, clock()).await.expect("delivery starts");
    let mut batch = Batch::builder();
    let record = RecordRef { timestamp: SystemClock.now(), key: None, value: b"{}", headers: &[] };
    batch.push(record).expect("it fits");
    anew.append(ShardId(0), batch.finish()).await.expect("it is appended");
    let anew = until_read(&delivery).await;
    assert_eq!((anew.received, anew.delivered, anew.unaccounted), (1, 1, 0));
    delivery.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_the_latest_gets_all_of_the_shards_that_come_later() {
    let ground = Ground::new(1);
    let payloads: Vec<String> = (0..50).map(|n| format!("{{\"n\":{n}}}")).collect();
    ground.append(0, &payloads).await;
    let mut settings = table("select shard, \"offset\" from record");
    settings.start = crate::StartAt::Latest;
    let delivery = ground.deliver(&settings, &ground.lake().await).await;
    delivery.abandon().await;
    // While nobody looks.
    split(&ground.stream, 0);
    ground.append(1, &payloads).await;
    let delivery = ground.deliver(&settings, &ground.lake().await).await;
    let ledger = until_read(&delivery).await;
    assert_eq!((ledger.received, ledger.delivered, ledger.unaccounted), (50, 50, 0));
    delivery.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aggregated_records_become_rows_of_their_own_once_whatever_happens() {
    let ground = Ground::new(1);
    let lake = ground.lake().await;
    let mut settings = table(
        "select shard, \"offset\", sub_sequence, partition_key as k, cast(n as bigint) as n from record where n <> '3'",
    );
    settings.flush.every = Duration::from_secs(600);
    let delivery = ground.deliver(&settings, &lake).await;
    let mut packer = crate::decode::aggregate_tests::Packer::default();
    for n in 0..10 {
        let payload = if n == 7 { "{\"n\":\"x\"}".to_owned() } else { format!("{{\"n\":{n}}}") };
        packer.add(format!("k{}", n % 3).as_bytes(), payload.as_bytes());
    }
    let aggregated = packer.pack();
    let mut batch = Batch::builder();
    for value in [&b"{\"n\":100}"[..], &aggregated, b"{\"n\":101}"] {
        let record = RecordRef { timestamp: SystemClock.now(), key: None, value, headers: &[] };
        batch.push(record).expect("it fits");
    }
    ground.stream.append(ShardId(0), batch.finish()).await.expect("it is appended");
    let ledger = until_read(&delivery).await;
    assert_eq!((ledger.received, ledger.delivered, ledger.filtered, ledger.rejected), (12, 10, 1, 1));
    assert_eq!(ledger.unaccounted, 0);
    // Once from the tail that a crash takes, once from the lake.
    delivery.abandon().await;
    for _ in 0..2 {
        let lake = ground.lake().await;
        let delivery = ground.deliver(&settings, &lake).await;
        assert_eq!(until_read(&delivery).await, ledger);
        let rows = query(&lake, "select sub_sequence, n from t where \"offset\" = 1 order by 1").await;
        let rows: Vec<(i64, i64)> = rows
            .iter()
            .flat_map(|batch| {
                let numbers = |column: usize| batch.column(column).as_primitive::<Int64Type>().values().to_vec();
                numbers(0).into_iter().zip(numbers(1)).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(rows, [0, 1, 2, 4, 5, 6, 8, 9].map(|n| (n, n)));
        delivery.stop().await;
        assert_eq!(places(&lake, &format!("{REJECTED} where sub_sequence = 7")).await.len(), 1);
    }
}

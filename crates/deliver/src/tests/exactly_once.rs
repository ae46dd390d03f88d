//! Whatever ends it wherever: every record is a row once, filtered once or rejected once, and the ledger always closes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::shards::{merge, open_shards, split};
use super::store::Weather;
use super::*;

const SQL: &str =
    "select shard, \"offset\", event_time, cast(price as double) as price from record where kind = 'keep'";

/// What a record is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Row,
    Filtered,
    /// The decoder refuses it.
    Unreadable,
    /// The SQL fails on it.
    Untransformable,
}

impl Fate {
    fn payload(self) -> String {
        match self {
            Self::Row => r#"{"kind":"keep","price":"1.5"}"#,
            Self::Filtered => r#"{"kind":"drop","price":"free"}"#,
            Self::Unreadable => r#"{"kind":"keep","#,
            Self::Untransformable => r#"{"kind":"keep","price":"free"}"#,
        }
        .to_owned()
    }
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        10 => Just(Fate::Row),
        4 => Just(Fate::Filtered),
        1 => Just(Fate::Unreadable),
        1 => Just(Fate::Untransformable),
    ];
    proptest::collection::vec(fate, 1..120)
}

#[derive(Clone, Debug)]
enum Act {
    /// To the nth open shard.
    Append(usize, Vec<Fate>),
    Split(usize),
    Merge(usize),
    /// Wait until all is read.
    Read,
    /// Wait until the lake has so many more versions.
    Flush,
    Crash,
    Stop,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    proptest::collection::vec(
        prop_oneof![
            6 => (0usize..8, fates()).prop_map(|(nth, fates)| Act::Append(nth, fates)),
            1 => (0usize..8).prop_map(Act::Split),
            1 => (0usize..8).prop_map(Act::Merge),
            2 => Just(Act::Read),
            2 => Just(Act::Flush),
            2 => Just(Act::Crash),
            1 => Just(Act::Stop),
        ],
        1..18,
    )
}

/// The fates of all shards' records, by offset.
#[derive(Default)]
struct Model {
    shards: BTreeMap<u32, Vec<Fate>>,
}

impl Model {
    fn places(&self, wanted: impl Fn(Fate) -> bool) -> BTreeSet<(i32, i64)> {
        let places = self.shards.iter().flat_map(|(shard, fates)| {
            fates.iter().enumerate().map(move |(offset, fate)| (*fate, (*shard as i32, offset as i64)))
        });
        places.filter(|(fate, _)| wanted(*fate)).map(|(_, place)| place).collect()
    }

    fn records(&self) -> u64 {
        self.shards.values().map(|fates| fates.len() as u64).sum()
    }
}

async fn play(acts: Vec<Act>, weather: Arc<Weather>) {
    let ground = Ground::new(2);
    let settings = table(SQL);
    let mut model = Model::default();
    let open = || async { ground.lake_with(LakeSettings::default(), weather.faults()).await };
    let mut lake = open().await;
    let mut delivery = start(&ground, &settings, &lake).await;
    for act in acts {
        match act {
            Act::Append(nth, fates) => {
                let payloads: Vec<String> = fates.iter().map(|fate| fate.payload()).collect();
                let open = open_shards(&ground.stream);
                let shard = open[nth % open.len()].id.0;
                ground.append(shard, &payloads).await;
                model.shards.entry(shard).or_default().extend(fates);
            }
            Act::Split(nth) => split(&ground.stream, nth),
            Act::Merge(nth) => merge(&ground.stream, nth),
            Act::Read => {
                until_read(&delivery).await;
            }
            Act::Flush => {
                let version = delivery.table().snapshot().version;
                let table = delivery.table();
                until("a flush", || table.tail_rows() == 0 || table.snapshot().version > version).await;
            }
            Act::Crash | Act::Stop => {
                match act {
                    Act::Crash => delivery.abandon().await,
                    _ => delivery.stop().await,
                }
                lake = open().await;
                delivery = start(&ground, &settings, &lake).await;
            }
        }
        assert_eq!(delivery.ledger().unaccounted, 0, "{:?}", delivery.ledger());
    }
    weather.fail_each(0);
    let ledger = until_read(&delivery).await;
    let is_bad = |fate| matches!(fate, Fate::Unreadable | Fate::Untransformable);
    let (rows, bad) = (model.places(|fate| fate == Fate::Row), model.places(is_bad));
    // Before the last flush and after it, from the lake alone.
    assert_eq!(places(&lake, "t").await, rows);
    assert_eq!(rejected(&lake).await, bad);
    delivery.stop().await;
    let lake = ground.lake().await;
    let delivery = ground.deliver(&settings, &lake).await;
    assert_eq!(places(&lake, "t").await, rows);
    assert_eq!(rejected(&lake).await, bad);
    let wanted = LedgerRow {
        table: "t".into(),
        stream: "s".into(),
        received: model.records(),
        delivered: rows.len() as u64,
        filtered: model.places(|fate| fate == Fate::Filtered).len() as u64,
        rejected: bad.len() as u64,
        ..LedgerRow::default()
    };
    assert_eq!(ledger, wanted);
    assert_eq!(delivery.ledger(), wanted);
    delivery.stop().await;
}

/// A store that fails may fail the start too, which a person then repeats.
async fn start(ground: &Ground, settings: &TableSettings, lake: &Arc<Lake>) -> Delivery {
    let mut last = None;
    for _ in 0..50 {
        match Delivery::start(settings.clone(), Arc::clone(&ground.stream), Arc::clone(lake), clock()).await {
            Ok(delivery) => return delivery,
            Err(error) => last = Some(error),
        }
    }
    panic!("delivery does not start: {last:?}");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

#[test]
fn whatever_ends_it_every_record_goes_to_one_place_once() {
    let runtime = runtime();
    let mut runner =
        TestRunner::new(Config { cases: 24, max_shrink_iters: 40, failure_persistence: None, ..Config::default() });
    let result = runner.run(&acts(), |acts| {
        runtime.block_on(play(acts, Weather::fair()));
        Ok(())
    });
    result.expect("exactly once");
}

#[test]
fn a_store_that_fails_now_and_then_changes_nothing() {
    let runtime = runtime();
    let mut runner =
        TestRunner::new(Config { cases: 12, max_shrink_iters: 20, failure_persistence: None, ..Config::default() });
    let result = runner.run(&(acts(), 2u64..7), |(acts, nth)| {
        let weather = Weather::fair();
        weather.fail_each(nth);
        runtime.block_on(play(acts, weather));
        Ok(())
    });
    result.expect("exactly once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_closes_at_every_moment_while_records_pour_in() {
    let ground = Ground::new(2);
    let lake = ground.lake().await;
    let mut settings = table(SQL);
    settings.flush.size = 64 << 10;
    let delivery = ground.deliver(&settings, &lake).await;
    let counts = delivery.counts();
    let over = Arc::new(AtomicBool::new(false));
    let looks = Arc::new(AtomicU64::new(0));
    let watcher = tokio::task::spawn_blocking({
        let (over, looks) = (Arc::clone(&over), Arc::clone(&looks));
        move || {
            while !over.load(Ordering::SeqCst) {
                let ledger = counts.ledger();
                assert_eq!(ledger.unaccounted, 0, "{ledger:?}");
                looks.fetch_add(1, Ordering::SeqCst);
                std::thread::yield_now();
            }
        }
    });
    let all = [Fate::Row, Fate::Row, Fate::Filtered, Fate::Row, Fate::Unreadable, Fate::Row, Fate::Untransformable];
    let payloads: Vec<String> = all.iter().cycle().take(700).map(|fate| fate.payload()).collect();
    for round in 0..40 {
        ground.append(round % 2, &payloads).await;
        // However busy the machine is, it is looked at while these pour in.
        let before = looks.load(Ordering::SeqCst);
        let looked = || looks.load(Ordering::SeqCst) > before + 1 || watcher.is_finished();
        until("a look at the ledger", looked).await;
    }
    let ledger = until_read(&delivery).await;
    let table = delivery.table();
    until("the last flush", || table.tail_rows() == 0).await;
    over.store(true, Ordering::SeqCst);
    watcher.await.expect("it always closed");
    assert_eq!((ledger.received, ledger.delivered, ledger.filtered, ledger.rejected), (28_000, 16_000, 4_000, 8_000));
    assert_eq!(rejected(&lake).await.len(), 8_000);
    delivery.stop().await;
}

/// Delivery that flushes only when the test says so, with one rejected record among ten.
async fn ten_with_one_bad(ground: &Ground) -> (TableSettings, Arc<Lake>, Delivery) {
    let mut settings = table(SQL);
    settings.flush.every = Duration::from_secs(600);
    let lake = ground.lake().await;
    let delivery = ground.deliver(&settings, &lake).await;
    let fates: Vec<Fate> = (0..10).map(|n| if n == 4 { Fate::Unreadable } else { Fate::Row }).collect();
    ground.append(0, &fates.iter().map(|fate| fate.payload()).collect::<Vec<_>>()).await;
    until_read(&delivery).await;
    (settings, lake, delivery)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_after_the_tables_commit_and_before_that_of_the_rejected_loses_no_rejection() {
    let ground = Ground::new(1);
    let (settings, lake, delivery) = ten_with_one_bad(&ground).await;
    lake.table("t").expect("it is open").flush().await.expect("flushed");
    delivery.abandon().await;
    let lake = ground.lake().await;
    let delivery = ground.deliver(&settings, &lake).await;
    let ledger = delivery.ledger();
    assert_eq!((ledger.delivered, ledger.rejected, ledger.in_flight, ledger.unaccounted), (9, 1, 0, 0));
    let again = lake.table(REJECTED).expect("it is open");
    until("the rejection to be read again", || again.tail_rows() == 1).await;
    delivery.stop().await;
    let lake = ground.lake().await;
    ground.deliver(&settings, &lake).await.stop().await;
    assert_eq!(rejected(&lake).await, BTreeSet::from([(0, 4)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_after_the_commit_of_the_rejected_and_before_the_tables_doubles_no_rejection() {
    let ground = Ground::new(1);
    let (settings, lake, delivery) = ten_with_one_bad(&ground).await;
    lake.table(REJECTED).expect("it is open").flush().await.expect("flushed");
    delivery.abandon().await;
    let lake = ground.lake().await;
    let delivery = ground.deliver(&settings, &lake).await;
    let ledger = until_read(&delivery).await;
    assert_eq!((ledger.delivered, ledger.rejected, ledger.unaccounted), (9, 1, 0));
    assert_eq!(lake.table(REJECTED).expect("it is open").tail_rows(), 0);
    assert_eq!(rejected(&lake).await, BTreeSet::from([(0, 4)]));
    delivery.stop().await;
}

//! Delivery as a whole, over a real stream and a real lake in a temporary folder. Here is what the stories share.

mod exactly_once;
mod limits;
mod shards;
mod store;
mod whole;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use base::{Clock, LedgerRow, ShardId, SystemClock};
use futures::StreamExt;
use lake::{Faults, Lake, LakeSettings};
use query::{Engine, QueryOptions, QuerySettings};
use stream::{Batch, Log, RecordRef, Stream, StreamSettings};
use tempfile::TempDir;

use crate::rejected::REJECTED;
use crate::{Delivery, DeliveryState, FlushSettings, TableSettings};

/// A data folder with its log; the lake is opened again and again.
pub(crate) struct Ground {
    dir: TempDir,
    pub(crate) log: Arc<Log>,
    pub(crate) stream: Arc<Stream>,
}

impl Ground {
    pub(crate) fn new(shards: u32) -> Self {
        Self::with(&StreamSettings { shards, ..StreamSettings::default() })
    }

    pub(crate) fn with(settings: &StreamSettings) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let log = Log::open(dir.path(), clock()).expect("the log opens");
        let stream = log.ensure("s", settings).expect("the stream is made");
        Self { dir, log, stream }
    }

    pub(crate) async fn lake(&self) -> Arc<Lake> {
        self.lake_with(LakeSettings::default(), Faults::default()).await
    }

    pub(crate) async fn lake_with(&self, settings: LakeSettings, faults: Faults) -> Arc<Lake> {
        let lake = Lake::open_with(&self.dir.path().join("lake"), settings, clock(), faults).await;
        lake.expect("the lake opens")
    }

    pub(crate) async fn deliver(&self, settings: &TableSettings, lake: &Arc<Lake>) -> Delivery {
        let started = Delivery::start(settings.clone(), Arc::clone(&self.stream), Arc::clone(lake), clock()).await;
        started.expect("delivery starts")
    }

    /// Appends the payloads to a shard in one batch.
    pub(crate) async fn append(&self, shard: u32, payloads: &[String]) {
        let mut batch = Batch::builder();
        for payload in payloads {
            let record = RecordRef { timestamp: SystemClock.now(), key: None, value: payload.as_bytes(), headers: &[] };
            batch.push(record).expect("it fits");
        }
        self.stream.append(ShardId(shard), batch.finish()).await.expect("it is appended");
    }
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// A table of JSON events that flushes often.
pub(crate) fn table(sql: &str) -> TableSettings {
    let mut table = TableSettings::new("t", "s");
    table.flush = FlushSettings { every: Duration::from_millis(100), size: 1 << 20 };
    table.sql = Some(sql.to_owned());
    table
}

/// The rows of a query.
pub(crate) async fn query(lake: &Arc<Lake>, sql: &str) -> Vec<RecordBatch> {
    let settings = QuerySettings { threads: 1, rows_max: 10_000_000, ..QuerySettings::default() };
    let engine = Engine::new(settings, Arc::clone(lake)).expect("the engine starts");
    for table in lake.tables() {
        engine.add_table(table);
    }
    let mut answer = engine.query(sql, QueryOptions::default()).await.expect("it is a query");
    let mut rows = Vec::new();
    while let Some(batch) = answer.next().await {
        rows.push(batch.expect("rows"));
    }
    rows
}

/// Pairs of shard and offset, each checked to be there once.
pub(crate) async fn places(lake: &Arc<Lake>, from: &str) -> BTreeSet<(i32, i64)> {
    let mut places = BTreeSet::new();
    for batch in query(lake, &format!("select shard, \"offset\" from {from}")).await {
        let shards = batch.column(0).as_primitive::<Int32Type>().values().iter();
        let offsets = batch.column(1).as_primitive::<Int64Type>().values().iter();
        for place in shards.copied().zip(offsets.copied()) {
            assert!(places.insert(place), "{place:?} is twice in {from}");
        }
    }
    places
}

pub(crate) async fn rejected(lake: &Arc<Lake>) -> BTreeSet<(i32, i64)> {
    places(lake, &format!("{REJECTED} where \"table\" = 't'")).await
}

/// Waits until `reached`; half a minute is an error.
pub(crate) async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not come");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until everything in the stream has become something.
pub(crate) async fn until_read(delivery: &Delivery) -> LedgerRow {
    until("the end of the stream", || delivery.ledger().in_flight == 0).await;
    delivery.ledger()
}

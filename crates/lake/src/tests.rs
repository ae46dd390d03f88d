//! The table as a whole: crashes, faults, races, restarts. Here is what the stories share.

mod crash;
mod damage;
mod fault;
mod keep;
mod race;
mod rows;

use std::path::Path as FsPath;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use base::{Clock, Millis, SystemClock};
use object_store::{ObjectStore, ObjectStoreExt};

use crate::{Faults, Lake, LakeSettings, Progress, Snapshot, Table, TableSpec, TailBatch};

/// A clock that stands where it is put.
#[derive(Debug)]
pub(crate) struct StillClock(AtomicI64);

impl StillClock {
    pub(crate) fn at_now() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(SystemClock.now().0)))
    }

    pub(crate) fn forward(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).expect("small"), Ordering::SeqCst);
    }
}

impl Clock for StillClock {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) fn settings() -> LakeSettings {
    LakeSettings { retention: Duration::from_secs(3600), ..LakeSettings::default() }
}

pub(crate) async fn open(dir: &FsPath) -> Arc<Lake> {
    open_with(dir, Faults::default()).await
}

pub(crate) async fn open_with(dir: &FsPath, faults: Faults) -> Arc<Lake> {
    Lake::open_with(dir, settings(), Arc::new(SystemClock), faults).await.expect("the lake opens")
}

pub(crate) fn spec() -> TableSpec {
    let fields = vec![
        Field::new("event_time", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        Field::new("offset", DataType::Int64, false),
        Field::new("action", DataType::Utf8, true),
    ];
    TableSpec { name: "clicks".to_owned(), schema: Arc::new(Schema::new(fields)), partitioned: true }
}

pub(crate) async fn clicks(lake: &Lake) -> Arc<Table> {
    lake.ensure(spec()).await.expect("the table opens")
}

/// 2026-11-22T10:00Z.
pub(crate) const TEN: i64 = 1_795_341_600_000;

pub(crate) const SOURCE: &str = "stream-1/0";

/// Rows of the offsets `from..to`, whose event times jump among `hours` hours.
pub(crate) fn batch(from: i64, to: i64, hours: i64) -> TailBatch {
    let offsets: Vec<i64> = (from..to).collect();
    let times: Vec<i64> = offsets.iter().map(|offset| TEN + offset % hours * 3_600_000 + offset).collect();
    let actions: Vec<&str> = offsets.iter().map(|offset| if offset % 3 == 0 { "buy" } else { "view" }).collect();
    let rows = RecordBatch::try_from_iter([
        ("event_time", Arc::new(TimestampMillisecondArray::from(times.clone())) as ArrayRef),
        ("offset", Arc::new(Int64Array::from(offsets)) as ArrayRef),
        ("action", Arc::new(StringArray::from(actions)) as ArrayRef),
    ]);
    let progress = vec![Progress { app_id: SOURCE.to_owned(), next: to }];
    TailBatch { rows: rows.expect("equal lengths"), event_time: times, progress }
}

fn offsets_in(rows: &RecordBatch) -> Vec<i64> {
    rows.column_by_name("offset").expect("the column").as_primitive::<Int64Type>().values().to_vec()
}

/// The offsets of all rows a snapshot has, sorted: twice if twice there.
///
/// Reads from `store`, which may be the disk beneath a store with faults: a look is not to fail, only what is looked at.
pub(crate) async fn offsets_of(store: &dyn ObjectStore, table: &Table, snapshot: &Snapshot) -> Vec<i64> {
    let mut offsets: Vec<i64> = snapshot.tail.iter().flat_map(offsets_in).collect();
    for file in snapshot.files.iter() {
        let found = store.get(&table.location(file)).await.expect("the file is there");
        let bytes = found.bytes().await.expect("read");
        assert_eq!(bytes.len() as u64, file.bytes);
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("parquet").build().expect("reader");
        let mut rows = 0;
        for batch in reader {
            let batch = batch.expect("decodes");
            rows += batch.num_rows() as u64;
            offsets.extend(offsets_in(&batch));
        }
        assert_eq!(file.rows, Some(rows));
    }
    offsets.sort_unstable();
    offsets
}

/// Fails unless the table has exactly the offsets `0..to`, each once.
pub(crate) async fn assert_holds(lake: &Lake, table: &Table, to: i64, story: &str) {
    let found = offsets_of(&*lake.store(), table, &table.snapshot()).await;
    assert_eq!(found, (0..to).collect::<Vec<_>>(), "{story}");
}

/// What delivery does after a restart: goes on where the lake says, up to `to`.
pub(crate) async fn resume(table: &Table, to: i64) {
    let from = table.progress(SOURCE).unwrap_or(0);
    if from < to {
        table.push(batch(from, to, 3)).expect("pushed");
    }
    table.drain().await.expect("committed");
}

//! The face on a real disk.

use std::path::Path;
use std::sync::Arc;

use base::{Millis, Offset, ShardId, SystemClock};

use crate::{Batch, FetchError, Log, RecordRef, Stream, StreamSettings};

const SHARD: ShardId = ShardId(0);

fn batch(values: &[&str], time: i64) -> Batch {
    let mut builder = Batch::builder();
    for value in values {
        let record = RecordRef { timestamp: Millis(time), value: value.as_bytes(), ..RecordRef::default() };
        builder.push(record).expect("fits");
    }
    builder.finish()
}

fn open(dir: &Path, settings: &StreamSettings) -> (Arc<Log>, Arc<Stream>) {
    let log = Log::open(dir, Arc::new(SystemClock)).expect("opens");
    let stream = log.ensure("clicks", settings).expect("is made");
    (log, stream)
}

fn read(stream: &Stream, from: Offset) -> Vec<(u64, String)> {
    let mut from = from;
    let mut all = Vec::new();
    loop {
        let fetched = stream.fetch(SHARD, from, 1000).expect("reads");
        if fetched.is_empty() {
            return all;
        }
        for record in fetched.records() {
            let record = record.expect("whole");
            all.push((record.offset.0, String::from_utf8(record.value.to_vec()).expect("text")));
        }
        from = fetched.next();
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = StreamSettings { segment_bytes: 1000, ..StreamSettings::default() };
    let mut expected = Vec::new();
    for round in 0..3 {
        let (log, stream) = open(dir.path(), &settings);
        assert_eq!(read(&stream, Offset::ZERO), expected);
        for number in 0..50 {
            let value = format!("{round}/{number}");
            let range = stream.append(SHARD, batch(&[&value, "and"], number)).await.expect("appends");
            assert_eq!(range, Offset(expected.len() as u64)..Offset(expected.len() as u64 + 2));
            expected.push((expected.len() as u64, value));
            expected.push((expected.len() as u64, "and".to_owned()));
        }
        assert_eq!(read(&stream, Offset::ZERO), expected);
        assert_eq!(read(&stream, Offset(37)), expected[37..]);
        log.close();
        assert!(stream.append(SHARD, batch(&["late"], 0)).await.is_err());
        assert!(!stream.wait_beyond(SHARD, Offset(1_000_000)).await);
    }
}

#[tokio::test]
async fn an_offset_is_found_by_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = StreamSettings { segment_bytes: 500, ..StreamSettings::default() };
    let (_log, stream) = open(dir.path(), &settings);
    for time in 0..100 {
        stream.append(SHARD, batch(&["a", "b"], time * 10)).await.expect("appends");
    }
    for time in 0..100u64 {
        assert_eq!(stream.offset_at(SHARD, Millis(time as i64 * 10)).expect("finds"), Offset(time * 2));
        assert_eq!(stream.offset_at(SHARD, Millis(time as i64 * 10 + 1)).expect("finds"), Offset(time * 2 + 2));
    }
    assert_eq!(stream.offset_at(SHARD, Millis(-5)).expect("finds"), Offset::ZERO);
    assert!(matches!(stream.fetch(SHARD, Offset(500), 1), Err(FetchError::Beyond { .. })));
}

#[tokio::test]
async fn a_waiting_reader_wakes_when_the_record_is_durable() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_log, stream) = open(dir.path(), &StreamSettings::default());
    let waiting = tokio::spawn({
        let stream = Arc::clone(&stream);
        async move { stream.wait_beyond(SHARD, Offset(1)).await }
    });
    stream.append(SHARD, batch(&["0"], 0)).await.expect("appends");
    stream.append(SHARD, batch(&["1"], 0)).await.expect("appends");
    assert!(waiting.await.expect("ends"));
    assert_eq!(read(&stream, Offset(1)), [(1, "1".to_owned())]);
}

#[tokio::test]
async fn arrival_times_never_go_backward() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_log, stream) = open(dir.path(), &StreamSettings::default());
    for time in [100, 50, 170, 160, 3] {
        stream.append(SHARD, batch(&["x"], time)).await.expect("appends");
    }
    let fetched = stream.fetch(SHARD, Offset::ZERO, 1 << 20).expect("reads");
    let times: Vec<i64> = fetched.records().map(|record| record.expect("whole").timestamp.0).collect();
    assert_eq!(times, [100, 100, 170, 170, 170]);
}

#[tokio::test]
async fn a_second_process_is_told_that_the_folder_is_in_use() {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, _stream) = open(dir.path(), &StreamSettings::default());
    assert!(matches!(Log::open(dir.path(), Arc::new(SystemClock)), Err(crate::OpenError::Locked { .. })));
    log.close();
    Log::open(dir.path(), Arc::new(SystemClock)).expect("opens once the other is closed");
}

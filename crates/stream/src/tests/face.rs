//! The face on a real disk.

use std::path::Path;
use std::sync::Arc;

use base::{Clock, ErrorKind, Millis, Offset, ShardId, SystemClock};
use parking_lot::Mutex;

use super::batch;
use crate::{
    AppendError, Batch, Bounds, Compression, Faults, FetchError, HashRange, Keyring, Log, RecordRef, ShardStatus,
    Stream, StreamSettings,
};

const SHARD: ShardId = ShardId(0);

/// A clock that says what it is told.
#[derive(Debug, Default)]
pub(super) struct SetClock(pub(super) Mutex<i64>);

impl Clock for SetClock {
    fn now(&self) -> Millis {
        Millis(*self.0.lock())
    }
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_appenders_share_syncs_and_each_gets_its_own_offsets() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = StreamSettings { shards: 3, segment_bytes: 20_000, ..StreamSettings::default() };
    let (_log, stream) = open(dir.path(), &settings);
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let stream = Arc::clone(&stream);
            tokio::spawn(async move {
                let mut told = Vec::new();
                for number in 0..20 {
                    let value = format!("{task}/{number}");
                    let shard = stream.shard_for(Some(value.as_bytes()));
                    let range = stream.append(shard, batch(&[&value], 5)).await.expect("appends");
                    told.push((shard, range.start, value));
                }
                told
            })
        })
        .collect();
    let mut told = Vec::new();
    for task in tasks {
        told.extend(task.await.expect("ends"));
    }
    let kept: u64 = (0..3).map(|shard| stream.bounds(ShardId(shard)).end.0).sum();
    assert_eq!(kept, 64 * 20);
    for (shard, offset, value) in told {
        let fetched = stream.fetch(shard, offset, 1).expect("reads");
        let first = fetched.records().next().expect("one").expect("whole");
        assert_eq!((first.offset, first.value), (offset, value.as_bytes()));
    }
}

#[tokio::test]
async fn batches_of_any_size_and_compression_come_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, stream) = open(dir.path(), &StreamSettings { segment_bytes: 1 << 20, ..StreamSettings::default() });
    let mut expected = Vec::new();
    for (index, size) in [1, 100_000, 3, 1_000_000, 40_000, 7].into_iter().enumerate() {
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
            let value = vec![index as u8; size];
            let mut builder = Batch::builder().compression(compression);
            for _ in 0..3 {
                builder.push(RecordRef { value: &value, ..RecordRef::default() }).expect("fits");
                expected.push(value.clone());
            }
            stream.append(SHARD, builder.finish()).await.expect("appends");
        }
    }
    for max_bytes in [1, 5_000, 1 << 20, usize::MAX] {
        let mut from = Offset::ZERO;
        while from.0 < expected.len() as u64 {
            let fetched = stream.fetch(SHARD, from, max_bytes).expect("reads");
            assert_eq!(fetched.len(), fetched.records().count());
            for record in fetched.records() {
                let record = record.expect("whole");
                assert_eq!(record.value, expected[record.offset.0 as usize]);
            }
            assert!(fetched.next() > from);
            from = fetched.next();
        }
    }
    log.close();
}

#[tokio::test]
async fn too_much_waiting_is_throttled_and_never_falsely_acknowledged() {
    let dir = tempfile::tempdir().expect("a folder");
    let disk = Arc::new(crate::disk::RealDisk);
    let log = Log::open_on(disk, dir.path(), Arc::new(SystemClock), Faults::default(), 0, None).expect("opens");
    let stream = log.ensure("clicks", &StreamSettings::default()).expect("is made");
    let large = "x".repeat(1 << 20);
    let mut waiting = Vec::new();
    let refused = loop {
        match stream.enqueue(SHARD, batch(&[large.as_str(); 4], 0)) {
            Ok(answer) => waiting.push(answer),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::Throttled { .. }), "{refused}");
    assert_eq!(refused.kind(), base::ErrorKind::Throttled);
    assert_eq!(waiting.len(), 7, "32 MiB may wait");
    while log.step() {}
    for answer in waiting {
        answer.await.expect("answered").expect("appended");
    }
    stream.enqueue(SHARD, batch(&["x"], 0)).expect("there is room again");
    log.close();
    assert_eq!(stream.bounds(SHARD).end, Offset(29), "closing writes what waits");
}

#[tokio::test]
async fn retention_removes_whole_old_segments_and_tells_late_readers() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(SetClock::default());
    let settings = StreamSettings { segment_bytes: 300, ..StreamSettings::default() };
    let day = 86_400_000;
    {
        let log = Log::open(dir.path(), Arc::clone(&clock) as Arc<dyn Clock>).expect("opens");
        let stream = log.ensure("clicks", &settings).expect("is made");
        for number in 0..20 {
            stream.append(SHARD, batch(&["some value of some length"], number * day)).await.expect("appends");
        }
        assert_eq!(log.sweep().segments, 0, "it is still day 0");
    }
    *clock.0.lock() = 20 * day - 3_600_000;
    let log = Log::open(dir.path(), Arc::clone(&clock) as Arc<dyn Clock>).expect("opens");
    let stream = log.stream("clicks").expect("is found");
    assert_eq!(log.sweep().segments, 0, "a clock that has jumped is not believed at once");
    *clock.0.lock() = 20 * day;
    let swept = log.sweep_after(std::time::Duration::from_secs(3600));
    let start = stream.bounds(SHARD).start;
    assert!(start.0 > 9 && start.0 <= 13, "what is younger than 7 days is kept: {start}");
    assert_eq!(swept.records, start.0);
    let removed = stream.fetch(SHARD, Offset::ZERO, 1000);
    assert!(matches!(removed, Err(FetchError::Removed { start: told, .. }) if told == start));
    assert_eq!(stream.offset_at(SHARD, Millis(0)).expect("finds"), start);
    assert_eq!(read(&stream, start).len() as u64, 20 - start.0);
    drop(stream);
    drop(log);
    let log = Log::open(dir.path(), Arc::clone(&clock) as Arc<dyn Clock>).expect("opens");
    let stream = log.stream("clicks").expect("is found");
    assert_eq!(stream.bounds(SHARD), Bounds { start, end: Offset(20) }, "the start is kept");
    let settings = StreamSettings { retention_bytes: Some(350), ..settings };
    let stream_again = log.ensure("clicks", &settings).expect("may change");
    assert_eq!(stream_again.uuid(), stream.uuid());
    log.sweep();
    assert!(stream.bytes() <= 350, "{} bytes", stream.bytes());
    assert_eq!(stream.bounds(SHARD).end, Offset(20));
}

#[tokio::test]
async fn lost_indexes_are_rebuilt_and_a_damaged_closed_segment_stops_readers_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = StreamSettings { segment_bytes: 400, ..StreamSettings::default() };
    let (log, stream) = open(dir.path(), &settings);
    for number in 0..20 {
        stream.append(SHARD, batch(&["value"], number)).await.expect("appends");
    }
    let all = read(&stream, Offset::ZERO);
    log.close();
    let shard = dir.path().join("stream/clicks/0");
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(&shard).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "log") {
            logs.push(path);
        } else {
            std::fs::remove_file(path).expect("an index");
        }
    }
    logs.sort();
    let (log, stream) = open(dir.path(), &settings);
    assert_eq!(read(&stream, Offset::ZERO), all);
    assert_eq!(stream.offset_at(SHARD, Millis(13)).expect("finds"), Offset(13));
    log.close();
    let second = &logs[1];
    let base: u64 = second.file_stem().and_then(|stem| stem.to_str()).expect("a name").parse().expect("an offset");
    let mut bytes = std::fs::read(second).expect("reads");
    bytes[65] ^= 1;
    std::fs::write(second, bytes).expect("writes");
    let (_log, stream) = open(dir.path(), &settings);
    assert!(stream.fetch(SHARD, Offset::ZERO, 1000).is_ok());
    let Err(FetchError::Corrupt(corrupt)) = stream.fetch(SHARD, Offset(base), 1000) else {
        panic!("damaged bytes are served")
    };
    assert_eq!((corrupt.offset, corrupt.position), (Offset(base), 0));
    assert!(matches!(stream.status(SHARD), Some(ShardStatus::Corrupt(_))));
    let last = stream.append(SHARD, batch(&["more"], 30)).await.expect("the end is whole: appends go on");
    assert_eq!(read(&stream, last.start), [(20, "more".to_owned())], "and so do readers further on");
}

#[test]
fn a_wrong_name_or_setting_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = Log::open(dir.path(), Arc::new(SystemClock)).expect("opens");
    for name in ["", ".", "..", ".hidden", "a/b", "a b", "ü", &"x".repeat(129)] {
        assert_eq!(
            log.ensure(name, &StreamSettings::default()).map(|_| ()).map_err(|e| e.kind()),
            Err(ErrorKind::Invalid)
        );
    }
    for wrong in [
        StreamSettings { shards: 0, ..StreamSettings::default() },
        StreamSettings { shards: 1001, ..StreamSettings::default() },
        StreamSettings { record_bytes_max: 11 << 20, ..StreamSettings::default() },
    ] {
        let refused = log.ensure("clicks", &wrong).map(|_| ()).map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::Invalid));
    }
    assert!(log.streams().is_empty());
}

#[tokio::test]
async fn the_planted_bug_acknowledges_what_is_not_there_yet() {
    let dir = tempfile::tempdir().expect("a folder");
    let faults = Faults { acknowledge_before_sync: true, ..Faults::default() };
    let log = Log::open_with(dir.path(), Arc::new(SystemClock), faults).expect("opens");
    let stream = log.ensure("clicks", &StreamSettings::default()).expect("is made");
    stream.append(SHARD, batch(&["gone if killed now"], 0)).await.expect("is acknowledged");
    let written = std::fs::metadata(dir.path().join("stream/clicks/0/00000000000000000000.log"));
    assert_eq!(written.map_or(0, |file| file.len()), 0);
}

/// Made by the first version of that layout; must be readable for ever.
#[test]
fn a_log_of_layout_1_opens() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_log, stream) = open_fixture("layout-1", dir.path());
    assert_eq!(stream.settings(), StreamSettings { shards: 2, segment_bytes: 2000, ..StreamSettings::default() });
    let half = 1u128 << 127;
    let ranges: Vec<HashRange> = stream.shard_infos().iter().map(|info| info.range).collect();
    assert_eq!(ranges, [HashRange { start: 0, end: half - 1 }, HashRange { start: half, end: u128::MAX }]);
    assert!(stream.shard_infos().iter().all(|info| info.closed.is_none() && info.parent.is_none()));
    assert_eq!((stream.shard_for(Some(b"a")), stream.shard_for(Some(b"b"))), (ShardId(0), ShardId(1)));
    for shard in 0..2 {
        check_fixture_shard(&stream, shard);
    }
    stream.split(ShardId(0), 1 << 126).expect("it lives on as layout 2");
}

/// Likewise: two shards, the first one split, the lower child filled, the upper one merged with the second shard.
#[test]
fn a_log_of_layout_2_opens() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_log, stream) = open_fixture("layout-2", dir.path());
    assert_eq!(stream.settings(), StreamSettings { shards: 2, segment_bytes: 2000, ..StreamSettings::default() });
    let infos = stream.shard_infos();
    let descent: Vec<_> = infos.iter().map(|info| (info.parent, info.adjacent_parent)).collect();
    let (zero, one, three) = (Some(ShardId(0)), Some(ShardId(1)), Some(ShardId(3)));
    assert_eq!(descent, [(None, None), (None, None), (zero, None), (zero, None), (three, one)]);
    let ends: Vec<_> = infos.iter().map(|info| info.closed.map(|closed| closed.end.0)).collect();
    assert_eq!(ends, [Some(40), Some(40), None, Some(0), None]);
    assert_eq!(infos[2].range, HashRange { start: 0, end: (1 << 126) - 1 });
    assert_eq!(infos[4].range, HashRange { start: 1 << 126, end: u128::MAX });
    for shard in 0..3 {
        check_fixture_shard(&stream, shard);
    }
    assert_eq!(stream.note("consumers"), Some(b"{}".to_vec()));
}

/// Likewise, sealed with a key of 32 sevens.
#[test]
fn an_encrypted_log_of_layout_2_opens() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_log, stream) = open_fixture("layout-2-encrypted", dir.path());
    assert!(stream.settings().encryption);
    for shard in 0..3 {
        check_fixture_shard(&stream, shard);
    }
}

pub(super) fn open_fixture(name: &str, dir: &Path) -> (Arc<Log>, Arc<Stream>) {
    // Relative to the room's folder, where cargo runs its tests: a path compiled in would be that of the checkout that
    // built first, if several share a target folder.
    let fixture = Path::new("fixtures").join(name);
    copy(&fixture, dir);
    let keys = Some(Keyring::new(&[7; 32]));
    let log = Log::open_with_keys(dir, Arc::new(SystemClock), Faults::default(), keys).expect("opens");
    let stream = log.stream("clicks").expect("is found");
    assert_eq!(stream.uuid().to_string(), std::fs::read_to_string(fixture.join("uuid.txt")).expect("reads").trim());
    (log, stream)
}

pub(super) fn check_fixture_shard(stream: &Stream, number: u32) {
    let shard = ShardId(number);
    assert_eq!(stream.bounds(shard), Bounds { start: Offset::ZERO, end: Offset(40) });
    assert_eq!(stream.status(shard), Some(ShardStatus::Serving));
    let mut from = Offset::ZERO;
    while from.0 < 40 {
        let fetched = stream.fetch(shard, from, 1).expect("reads");
        for record in fetched.records() {
            let record = record.expect("whole");
            let text = format!("{number}:{}", record.offset).repeat(10);
            assert_eq!(record.value, text.as_bytes());
            assert_eq!(record.key, Some(b"key".as_slice()));
            assert_eq!(record.header("format"), Some(b"json".as_slice()));
            assert_eq!(record.timestamp, Millis(1_700_000_000_000 + record.offset.0 as i64));
        }
        from = fetched.next();
    }
    assert_eq!(stream.offset_at(shard, Millis(1_700_000_000_017)).expect("finds"), Offset(17));
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder") {
        let (path, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).expect("an entry");
        if path.is_dir() {
            std::fs::create_dir(&to).expect("makes");
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).expect("copies");
        }
    }
}

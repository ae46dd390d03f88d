//! Streams that come, change their shards, and go.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, ErrorKind, Millis, Offset, ShardId, SystemClock};

use super::face::SetClock;
use super::{batch, values};
use crate::{
    AppendError, Batch, Bounds, FetchError, HashRange, Log, OpenError, RecordRef, ReshardError, ShardMode, Stream,
    StreamSettings,
};

const DAY: i64 = 86_400_000;

fn settings(shards: u32) -> StreamSettings {
    StreamSettings { shards, segment_bytes: 300, ..StreamSettings::default() }
}

fn open(dir: &Path) -> Arc<Log> {
    Log::open(dir, Arc::new(SystemClock)).expect("opens")
}

#[tokio::test]
async fn a_split_shard_keeps_its_records_and_its_children_take_the_new_ones() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    let stream = log.ensure("clicks", &settings(1)).expect("is made");
    let mut topology = stream.topology();
    for number in 0..10 {
        stream.append(ShardId(0), batch(&[&format!("old {number}")], number)).await.expect("appends");
    }
    let waiting = tokio::spawn({
        let stream = Arc::clone(&stream);
        async move { stream.wait_beyond(ShardId(0), Offset(10)).await }
    });
    let [lower, upper] = stream.split(ShardId(0), 1 << 127).expect("splits");
    assert!(topology.has_changed().expect("the stream is there"));
    topology.mark_unchanged();
    assert!(!waiting.await.expect("ends"), "nothing will come any more");
    assert_eq!((lower, upper, stream.shards()), (ShardId(1), ShardId(2), 2));
    assert_eq!((stream.shard_for(Some(b"a")), stream.shard_for(Some(b"b"))), (lower, upper));
    let refused = stream.append(ShardId(0), batch(&["late"], 0)).await;
    assert!(matches!(refused, Err(AppendError::ShardClosed { shard: ShardId(0) })), "{refused:?}");
    assert_eq!(stream.append(upper, batch(&["new"], 20)).await.expect("appends").start, Offset::ZERO);

    let check = |stream: &Stream| {
        let infos = stream.shard_infos();
        assert_eq!(infos.len(), 3);
        let closed = infos[0].closed.expect("the parent is closed");
        assert_eq!((closed.end, infos[0].range), (Offset(10), HashRange::ALL));
        assert_eq!((infos[1].parent, infos[1].adjacent_parent), (Some(ShardId(0)), None));
        assert_eq!(infos[2].range, HashRange { start: 1 << 127, end: u128::MAX });
        assert_eq!(values(stream, ShardId(0)).len(), 10);
        assert!(stream.fetch(ShardId(0), Offset(10), 100).expect("at its end").is_empty());
        assert_eq!(stream.offset_at(ShardId(0), Millis(5)).expect("finds"), Offset(5));
        assert_eq!(values(stream, upper), ["new"]);
    };
    check(&stream);
    log.close();
    let log = open(dir.path());
    let stream = log.stream("clicks").expect("is found");
    check(&stream);
    assert!(!stream.wait_beyond(ShardId(0), Offset(10)).await);
    let again = stream.append(ShardId(0), batch(&["late"], 0)).await;
    assert_eq!(again.map_err(|error| error.kind()), Err(ErrorKind::Conflict));

    let merged = stream.merge(lower, upper).expect("merges");
    assert_eq!((merged, stream.shards()), (ShardId(3), 1));
    let infos = stream.shard_infos();
    assert_eq!((infos[3].parent, infos[3].adjacent_parent), (Some(lower), Some(upper)));
    assert!(matches!(stream.split(lower, 5), Err(ReshardError::ShardClosed { .. })));
    assert!(matches!(stream.split(ShardId(9), 5), Err(ReshardError::NoShard { .. })));
    assert!(matches!(stream.split(merged, 0), Err(ReshardError::Point { .. })));
    stream.append(merged, batch(&["all"], 30)).await.expect("nothing was changed by what failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appenders_that_map_their_keys_again_lose_no_record_and_no_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    let stream = log.ensure("clicks", &StreamSettings { segment_bytes: 20_000, ..settings(2) }).expect("is made");
    let tasks: Vec<_> = (0..16)
        .map(|key| {
            let stream = Arc::clone(&stream);
            tokio::spawn(async move {
                let key = format!("key {key}");
                for number in 0..60 {
                    loop {
                        let mut builder = Batch::builder();
                        let value = format!("{key}:{number}");
                        let (key, value) = (Some(key.as_bytes()), value.as_bytes());
                        builder.push(RecordRef { key, value, ..RecordRef::default() }).expect("fits");
                        match stream.append(stream.shard_for(key), builder.finish()).await {
                            Ok(_) => break,
                            Err(AppendError::ShardClosed { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            })
        })
        .collect();
    for shards in [5, 3, 8, 1, 2] {
        let stream = Arc::clone(&stream);
        tokio::task::spawn_blocking(move || stream.reshape(shards)).await.expect("ends").expect("reshapes");
    }
    for task in tasks {
        task.await.expect("ends");
    }
    assert_eq!(stream.shards(), 2);
    // By number, parents come before their children.
    let all: Vec<String> = stream.shard_infos().iter().flat_map(|info| values(&stream, info.id)).collect();
    assert_eq!(all.len(), 16 * 60);
    for key in 0..16 {
        let prefix = format!("key {key}:");
        let numbers: Vec<usize> = all.iter().filter_map(|value| value.strip_prefix(&prefix)?.parse().ok()).collect();
        assert_eq!(numbers, (0..60).collect::<Vec<_>>(), "key {key}");
    }
}

#[tokio::test]
async fn the_file_reshapes_only_when_it_says_another_number_than_before() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    let stream = log.ensure("clicks", &settings(2)).expect("is made");
    stream.split(ShardId(0), 5).expect("splits");
    stream.set_retention(std::time::Duration::from_secs(30 * 86_400)).expect("is set");
    log.close();
    let log = open(dir.path());
    let stream = log.ensure("clicks", &settings(2)).expect("is there");
    assert_eq!(stream.shards(), 3, "what a door did stays");
    assert_eq!(stream.settings().retention.as_secs(), 30 * 86_400);
    log.ensure("clicks", &settings(4)).expect("may change");
    assert_eq!(stream.shards(), 4);
    let ranges: Vec<HashRange> =
        stream.shard_infos().iter().filter(|info| info.closed.is_none()).map(|info| info.range).collect();
    let mut sorted = ranges.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, HashRange::even(4).collect::<Vec<_>>());
    assert_eq!(stream.settings().retention.as_secs(), 30 * 86_400, "the file says nothing new about that");

    let made = log.create("by a call", &settings(3));
    assert!(matches!(made, Err(OpenError::Name { .. })));
    let made = log.create("called", &settings(3)).expect("is made");
    assert!(matches!(log.create("called", &settings(3)), Err(OpenError::Exists { .. })));
    log.ensure("called", &settings(1)).expect("is taken up");
    assert_eq!(made.shards(), 3, "the file said nothing before");
    log.ensure("called", &settings(2)).expect("now it does");
    assert_eq!(made.shards(), 2);
}

#[tokio::test]
async fn a_closed_shard_goes_wholly_when_its_retention_is_over() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(SetClock::default());
    let log = Log::open(dir.path(), Arc::clone(&clock) as Arc<dyn Clock>).expect("opens");
    let stream = log.ensure("clicks", &settings(1)).expect("is made");
    for number in 0..10 {
        stream.append(ShardId(0), batch(&["some value of some length"], number)).await.expect("appends");
    }
    let [lower, _] = stream.split(ShardId(0), 1 << 127).expect("splits");
    stream.append(lower, batch(&["young"], 0)).await.expect("appends");
    log.close();
    for (day, shards, records) in [(6, 3, 10), (8, 2, 0)] {
        *clock.0.lock() = day * DAY;
        let log = Log::open(dir.path(), Arc::clone(&clock) as Arc<dyn Clock>).expect("opens");
        let stream = log.stream("clicks").expect("is found");
        *clock.0.lock() += 3_600_000; // a clock that has jumped is believed after an hour
        log.sweep_after(Duration::from_secs(3600));
        assert_eq!(stream.shard_infos().len(), shards, "day {day}");
        let Bounds { start, end } = stream.bounds(ShardId(0));
        assert_eq!(end.since(start), records);
        log.close();
    }
    assert!(!dir.path().join("stream/clicks/0").exists());
    let log = open(dir.path());
    let stream = log.stream("clicks").expect("is found");
    assert!(matches!(stream.fetch(ShardId(0), Offset(0), 1), Err(FetchError::NoShard { .. })));
    let [next, _] = stream.split(lower, 5).expect("splits");
    assert_eq!(next, ShardId(3), "numbers are not used again");
}

#[tokio::test]
async fn a_deleted_stream_is_gone_for_all_and_its_name_is_free() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    assert!(!log.delete("clicks").expect("there is none"));
    let stream = log.create("clicks", &settings(2)).expect("is made");
    stream.append(ShardId(1), batch(&["gone"], 0)).await.expect("appends");
    stream.set_note("consumers", b"{}").expect("is kept");
    let waiting = tokio::spawn({
        let stream = Arc::clone(&stream);
        async move { stream.wait_beyond(ShardId(1), Offset(1)).await }
    });
    let mut topology = stream.topology();
    assert!(log.delete("clicks").expect("deletes"));
    assert!(!waiting.await.expect("ends"));
    assert!(topology.has_changed().expect("the stream is held"));
    topology.mark_unchanged();
    assert!(stream.is_deleted() && log.stream("clicks").is_none());
    assert!(!dir.path().join("stream/clicks").exists());
    assert!(matches!(stream.append(ShardId(1), batch(&["late"], 0)).await, Err(AppendError::Deleted)));
    assert!(matches!(stream.fetch(ShardId(1), Offset(0), 1), Err(FetchError::Deleted)));
    assert!(matches!(stream.split(ShardId(1), 1), Err(ReshardError::Gone)));
    assert!(stream.set_note("late", b"").is_err() && stream.set_mode(ShardMode::OnDemand).is_err());
    let next = log.create("clicks", &settings(2)).expect("the name is free");
    assert_ne!(next.uuid(), stream.uuid());
    assert_eq!((next.bounds(ShardId(1)).end, next.note("consumers")), (Offset::ZERO, None));
    log.close();
    let log = open(dir.path());
    assert_eq!(log.stream("clicks").map(|stream| stream.uuid()), Some(next.uuid()));
}

#[tokio::test]
async fn settings_and_notes_are_there_after_reopening() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    let stream = log.create("clicks", &settings(1)).expect("is made");
    stream.set_mode(ShardMode::OnDemand).expect("is set");
    stream.set_record_bytes_max(2000).expect("is set");
    assert!(stream.set_record_bytes_max(u32::MAX).is_err());
    assert!(stream.set_retention(std::time::Duration::from_secs(60)).is_err());
    stream.set_note("tags", b"one").expect("is kept");
    stream.set_note("tags", b"two").expect("is replaced");
    assert!(stream.set_note("../tags", b"").is_err() && stream.set_note("", b"").is_err());
    for number in 0..63 {
        stream.set_note(&format!("n{number}"), b"").expect("there may be 64");
    }
    assert!(stream.set_note("one-more", b"").is_err());
    let large = stream.append(ShardId(0), batch(&[&"x".repeat(2001)], 0)).await;
    assert!(matches!(large, Err(AppendError::RecordTooLarge { found: 2001, max: 2000 })));
    log.close();
    let log = open(dir.path());
    let stream = log.stream("clicks").expect("is found");
    assert_eq!(stream.mode(), ShardMode::OnDemand);
    assert_eq!(stream.settings().record_bytes_max, 2000);
    assert_eq!((stream.note("tags"), stream.note("other")), (Some(b"two".to_vec()), None));
    let path = dir.path().join("stream/clicks/tags.note");
    let mut bytes = std::fs::read(&path).expect("reads");
    bytes[0] ^= 1;
    std::fs::write(&path, bytes).expect("writes");
    assert_eq!(stream.note("tags"), None, "a damaged note is not served");
}

#[tokio::test]
async fn heat_is_measured_per_shard() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(SetClock::default());
    let log = Log::open(dir.path(), Arc::clone(&clock) as Arc<dyn Clock>).expect("opens");
    let stream = log.ensure("clicks", &settings(2)).expect("is made");
    for second in 0..20 {
        *clock.0.lock() = second * 1000;
        stream.append(ShardId(1), batch(&["0123456789"; 50], second)).await.expect("appends");
    }
    *clock.0.lock() = 20_000;
    let heat = stream.heat(ShardId(1));
    assert!((heat.records_per_second - 50.0).abs() < 1.0 && (heat.bytes_per_second - 500.0).abs() < 10.0, "{heat:?}");
    assert_eq!(stream.heat(ShardId(0)).records_per_second, 0.0);
    // A reader at the end takes one batch at a time, wherever the index says to begin to look for it.
    let last = Offset(stream.bounds(ShardId(1)).end.0 - 1);
    for _ in 0..10 {
        assert_eq!(stream.fetch(ShardId(1), last, 1 << 20).expect("reads").len(), 1);
    }
    let heat = stream.heat(ShardId(1));
    assert!((heat.read_records_per_second - 0.5).abs() < 0.01 && heat.read_bytes_per_second < 1000.0, "{heat:?}");
}

#[tokio::test]
async fn an_on_demand_stream_splits_what_is_hot_and_merges_what_has_cooled_down() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(SetClock::default());
    let log = Log::open(dir.path(), Arc::clone(&clock) as Arc<dyn Clock>).expect("opens");
    let on_demand = StreamSettings { mode: ShardMode::OnDemand, ..settings(4) };
    let hot = log.create("hot", &on_demand).expect("is made");
    let fixed = log.create("fixed", &settings(4)).expect("is made");
    // 2,000 records a second with one hash range of four.
    for second in 0..40 {
        *clock.0.lock() = second * 1000;
        for stream in [&hot, &fixed] {
            let shards: Vec<ShardId> = (0..2000u128).map(|number| stream.shard_for_hash(number << 115)).collect();
            let shard = shards[0];
            stream.append(shard, batch(&["x"; 2000], second)).await.expect("appends");
        }
    }
    let scaled = log.scale();
    assert_eq!((scaled.splits, scaled.merges, hot.shards(), fixed.shards()), (1, 0, 5, 4));
    let children: Vec<_> = hot.shard_infos().into_iter().filter(|info| info.parent == Some(ShardId(0))).collect();
    let border = children[1].range.start;
    assert!((400 << 115..1600 << 115).contains(&border), "split amid the load, not amid the range: {border}");
    assert_eq!(log.scale().splits, 0, "the children are young");
    *clock.0.lock() += 700_000;
    assert_eq!(log.scale().merges, 1, "back to four, not fewer");
    assert_eq!((hot.shards(), log.scale().merges), (4, 0));
}

#[tokio::test]
async fn a_batch_whose_shard_was_closed_is_spread_anew_with_all_its_records() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    let stream = log.ensure("clicks", &settings(1)).expect("is made");
    let keys: Vec<String> = (0..50).map(|key| format!("key {key}")).collect();
    let mut builder = Batch::builder().compression(crate::Compression::Zstd);
    for (number, key) in keys.iter().chain(&keys).enumerate() {
        let timestamp = Millis(number as i64);
        let headers: &[(&[u8], &[u8])] = &[(b"n", key.as_bytes())];
        let (key, value) = (Some(key.as_bytes()), key.as_bytes());
        builder.push(RecordRef { timestamp, key, value, headers }).expect("fits");
    }
    let sent = builder.finish();
    stream.reshape(4).expect("reshapes");
    let closed = stream.append(ShardId(0), sent.clone()).await;
    assert!(matches!(closed, Err(AppendError::ShardClosed { .. })));
    let spread = stream.remap(&sent).expect("whole");
    assert_eq!(spread.len(), 4);
    let mut found = 0;
    for (shard, batch) in spread {
        let range = stream.append(shard, batch).await.expect("appends");
        let fetched = stream.fetch(shard, range.start, 1 << 20).expect("reads");
        let mut last = Millis(-1);
        for record in fetched.records() {
            let record = record.expect("whole");
            assert_eq!((record.key, record.header("n")), (Some(record.value), Some(record.value)));
            assert_eq!(stream.shard_for(record.key), shard);
            assert!(record.timestamp > last, "in the order they had");
            last = record.timestamp;
            found += 1;
        }
    }
    assert_eq!(found, 100);
}

#[test]
fn a_mapping_stays_as_it_was_while_shards_change() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path());
    let stream = log.ensure("clicks", &settings(1)).expect("is made");
    let before = stream.mapping();
    let [lower, upper] = stream.split(ShardId(0), 1 << 127).expect("splits");
    for (key, child) in [(b"a", lower), (b"b", upper)] {
        assert_eq!((before.shard_for(Some(key)), stream.shard_for(Some(key))), (ShardId(0), child));
    }
    assert_eq!(before.shard_for(None), ShardId(0));
    log.close();
}

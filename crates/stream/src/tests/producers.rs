//! Idempotent producers through the face: stored once, whatever is sent again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::{ErrorKind, Measured, Millis, Offset, ShardId, SystemClock};

use super::face::{SetClock, check_fixture_shard, open_fixture};
use super::values;
use crate::disk::RealDisk;
use crate::{AppendError, Batch, BatchError, Faults, Keyring, Log, RecordRef, Stamp, Stream, StreamSettings};

const SHARD: ShardId = ShardId(0);

fn stamp(producer: i64, epoch: i16, sequence: i32) -> Stamp {
    Stamp::new(producer, epoch, sequence).expect("not negative")
}

/// Two records that say which they are.
fn batch(stamp: Stamp) -> Batch {
    let mut builder = Batch::builder().stamp(stamp);
    for record in 0..2 {
        let value = format!("{}/{}/{}", stamp.producer(), stamp.epoch(), stamp.after(record).sequence());
        builder
            .push(RecordRef { timestamp: Millis(5), value: value.as_bytes(), ..RecordRef::default() })
            .expect("fits");
    }
    builder.finish()
}

fn open(dir: &Path, settings: &StreamSettings) -> (Arc<Log>, Arc<Stream>) {
    let keys = Some(Keyring::new(&[7; 32]));
    let log = Log::open_with_keys(dir, Arc::new(SystemClock), Faults::default(), keys).expect("opens");
    let stream = log.ensure("clicks", settings).expect("is made");
    (log, stream)
}

async fn append(stream: &Stream, stamp: Stamp) -> Result<u64, AppendError> {
    stream.append(SHARD, batch(stamp)).await.map(|offsets| {
        assert_eq!(offsets.end.0, offsets.start.0 + 2);
        offsets.start.0
    })
}

fn count(log: &Log, name: &str) -> u64 {
    let mut samples = Vec::new();
    log.measure(&mut samples);
    samples.iter().filter(|sample| sample.name == name).map(|sample| sample.value as u64).sum()
}

fn recovered(log: &Log, how: &str) -> u64 {
    let mut samples = Vec::new();
    log.measure(&mut samples);
    let this = |label: &(&str, String)| label.1 == how;
    let samples = samples.iter().filter(|sample| sample.name == "riverrun_stream_recovered_total");
    samples.filter(|sample| sample.labels.iter().any(this)).map(|sample| sample.value as u64).sum()
}

#[tokio::test]
async fn a_batch_sent_again_is_told_where_it_lies_and_what_does_not_follow_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, stream) = open(dir.path(), &StreamSettings::default());
    for number in 0..7 {
        assert_eq!(append(&stream, stamp(4, 0, number * 2)).await, Ok(number as u64 * 2));
    }
    for number in 2..7 {
        assert_eq!(append(&stream, stamp(4, 0, number * 2)).await, Ok(number as u64 * 2), "one of the last five");
    }
    let out = |found| Err(AppendError::OutOfSequence { producer: 4, epoch: 0, expected: 14, found });
    for found in [2, 0, 16, 13, 15] {
        assert_eq!(append(&stream, stamp(4, 0, found)).await, out(found));
    }
    assert_eq!(append(&stream, stamp(4, 2, 2)).await.map_err(|error| error.kind()), Err(ErrorKind::Conflict));
    assert_eq!(append(&stream, stamp(4, 2, 0)).await, Ok(14), "another epoch begins at 0");
    let fenced = AppendError::Fenced { producer: 4, known: 2, found: 0 };
    assert_eq!(append(&stream, stamp(4, 0, 14)).await, Err(fenced.clone()));
    assert_eq!(append(&stream, stamp(4, 0, 12)).await, Err(fenced.clone()), "an old epoch, even what it had stored");
    assert_eq!(fenced.kind(), ErrorKind::Fenced);
    assert_eq!(append(&stream, stamp(4, 2, 2)).await, Ok(16));
    let unknown = AppendError::UnknownProducer { producer: 5, found: 8 };
    assert_eq!(append(&stream, stamp(5, 0, 8)).await, Err(unknown));
    assert_eq!(stream.bounds(SHARD).end, Offset(18));
    assert_eq!(count(&log, "riverrun_stream_repeated_batches_total"), 5);
    assert_eq!(count(&log, "riverrun_stream_out_of_sequence_appends_total"), 7);
    assert_eq!(count(&log, "riverrun_stream_fenced_appends_total"), 2);
    assert_eq!(count(&log, "riverrun_stream_producers"), 1);
}

#[tokio::test]
async fn a_repeat_of_what_still_waits_is_answered_with_it_and_stored_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = Log::open_on(Arc::new(RealDisk), dir.path(), Arc::new(SystemClock), Faults::default(), 0, None);
    let log = log.expect("opens");
    let stream = log.ensure("clicks", &StreamSettings::default()).expect("is made");
    let mut sent: Vec<_> = [0, 0, 2, 2, 0, 6, 4].map(|first| stream.enqueue(SHARD, batch(stamp(1, 0, first)))).into();
    assert!(sent.iter_mut().all(|sent| sent.as_mut().expect("is queued").try_recv().is_err()), "nothing is synced yet");
    while log.step() {}
    let mut told = Vec::new();
    for sent in sent {
        let answer = sent.expect("is queued").await.expect("is answered");
        told.push(answer.map(|(offsets, _)| offsets.start.0).map_err(|error| error.kind()));
    }
    assert_eq!(told, [Ok(0), Ok(0), Ok(2), Ok(2), Ok(0), Err(ErrorKind::Conflict), Ok(4)]);
    assert_eq!(values(&stream, SHARD), ["1/0/0", "1/0/1", "1/0/2", "1/0/3", "1/0/4", "1/0/5"]);
}

#[tokio::test]
async fn producers_are_known_after_every_restart_with_their_snapshot_or_without() {
    let dir = tempfile::tempdir().expect("a folder");
    for encryption in [false, true] {
        let settings = StreamSettings { segment_bytes: 400, encryption, ..StreamSettings::default() };
        let dir = dir.path().join(encryption.to_string());
        let shard = dir.join("stream/clicks/0");
        let snapshot = shard.join("producers.snapshot");
        let mut next = 0;
        for round in 0..5 {
            let (log, stream) = open(&dir, &settings);
            if next > 0 {
                for back in 1..=5 {
                    let first = next - 2 * back;
                    assert_eq!(append(&stream, stamp(1, 0, first)).await, Ok(first as u64), "round {round}");
                }
            }
            for _ in 0..6 {
                assert_eq!(append(&stream, stamp(1, 0, next)).await, Ok(next as u64), "round {round}");
                next += 2;
            }
            let how = ["", "producers_read", "producers_rebuilt", "producers_spoiled", "producers_rebuilt"][round];
            assert!(round == 0 || recovered(&log, how) > 0, "round {round}: {how}");
            log.close();
            match round {
                0 => {}
                1 => std::fs::remove_file(&snapshot).expect("is there"),
                2 => {
                    let mut bytes = std::fs::read(&snapshot).expect("is there");
                    bytes[20] ^= 1;
                    std::fs::write(&snapshot, bytes).expect("writes");
                }
                _ => {
                    // Nothing is left but the log.
                    for entry in std::fs::read_dir(&shard).expect("a folder") {
                        let path = entry.expect("an entry").path();
                        if path.extension().is_some_and(|extension| extension != "log") {
                            std::fs::remove_file(path).expect("removes");
                        }
                    }
                }
            }
        }
    }
}

/// Segments without a batch of an idempotent producer must not be read at every start.
#[tokio::test]
async fn a_log_without_idempotent_producers_is_not_read_for_them_and_has_no_snapshot() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = StreamSettings { segment_bytes: 300, ..StreamSettings::default() };
    for _ in 0..2 {
        let (log, stream) = open(dir.path(), &settings);
        for _ in 0..10 {
            let mut builder = Batch::builder();
            builder.push(RecordRef { value: b"anybody's", ..RecordRef::default() }).expect("fits");
            stream.append(SHARD, builder.finish()).await.expect("appends");
        }
        for how in ["producers_read", "producers_replayed", "producers_rebuilt"] {
            assert_eq!(recovered(&log, how), 0);
        }
        log.close();
        assert!(!dir.path().join("stream/clicks/0/producers.snapshot").exists());
    }
}

#[tokio::test]
async fn what_retention_has_taken_is_still_not_stored_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(SetClock::default());
    let settings = StreamSettings { segment_bytes: 300, retention_bytes: Some(400), ..StreamSettings::default() };
    let open = || {
        let log = Log::open(dir.path(), Arc::clone(&clock) as Arc<dyn base::Clock>).expect("opens");
        let stream = log.ensure("clicks", &settings).expect("is made");
        (log, stream)
    };
    let (log, stream) = open();
    assert_eq!(append(&stream, stamp(1, 3, 0)).await, Ok(0));
    for number in 0..10 {
        assert_eq!(append(&stream, stamp(2, 0, number * 2)).await, Ok(2 + number as u64 * 2));
    }
    log.sweep_after(Duration::from_secs(60));
    assert!(stream.bounds(SHARD).start > Offset(2), "the only batch of producer 1 is gone");
    drop((log, stream)); // closes
    let (log, stream) = open();
    assert_eq!(append(&stream, stamp(1, 3, 0)).await, Ok(0), "its place is known all the same");
    let fenced = append(&stream, stamp(1, 2, 2)).await.map_err(|error| error.kind());
    assert_eq!(fenced, Err(ErrorKind::Fenced));
    assert_eq!(append(&stream, stamp(1, 3, 2)).await, Ok(22));
    assert_eq!(count(&log, "riverrun_stream_expired_producers_total"), 0);
    log.sweep_after(Duration::from_secs(60));
    log.sweep_after(Duration::from_secs(86_400));
    assert_eq!(count(&log, "riverrun_stream_expired_producers_total"), 2);
    assert_eq!(count(&log, "riverrun_stream_producers"), 0);
}

#[tokio::test]
async fn a_closed_shard_still_knows_what_it_has_stored_and_its_children_begin_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = StreamSettings { shards: 1, ..StreamSettings::default() };
    let (log, stream) = open(dir.path(), &settings);
    assert_eq!(append(&stream, stamp(1, 0, 0)).await, Ok(0));
    assert_eq!(append(&stream, stamp(1, 0, 2)).await, Ok(2));
    let [lower, _] = stream.split(SHARD, 1 << 127).expect("splits");
    for restarted in [false, true] {
        let (log, stream) = if restarted {
            log.close();
            open(dir.path(), &settings)
        } else {
            (Arc::clone(&log), Arc::clone(&stream))
        };
        assert_eq!(append(&stream, stamp(1, 0, 2)).await, Ok(2), "stored before it was closed");
        let closed = Err(AppendError::ShardClosed { shard: SHARD });
        assert_eq!(append(&stream, stamp(1, 0, 4)).await, closed, "new");
        assert_eq!(append(&stream, stamp(1, 1, 2)).await, closed, "another epoch's");
        let begun = stream.append(lower, batch(stamp(1, 0, 0))).await.expect("a producer counts for each shard");
        assert_eq!(begun, Offset(0)..Offset(2), "restarted: {restarted}");
        let unknown = stream.append(lower, batch(stamp(2, 0, 2))).await.map_err(|error| error.kind());
        assert_eq!(unknown, Err(ErrorKind::Conflict));
        drop(log);
    }
}

#[tokio::test]
async fn a_numbered_batch_is_not_spread_over_other_shards() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_log, stream) = open(dir.path(), &StreamSettings::default());
    let refused = stream.remap(&batch(stamp(9, 0, 0))).map(|_| ());
    assert_eq!(refused, Err(BatchError::Stamped { producer: 9 }));
    assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::Conflict));
}

#[tokio::test]
async fn a_stream_made_anew_knows_nobody_of_the_one_before() {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, stream) = open(dir.path(), &StreamSettings::default());
    assert_eq!(append(&stream, stamp(1, 5, 0)).await, Ok(0));
    assert_eq!(append(&stream, stamp(1, 5, 2)).await, Ok(2));
    assert!(log.delete("clicks").expect("deletes"));
    assert_eq!(append(&stream, stamp(1, 5, 2)).await, Err(AppendError::Deleted));
    let again = log.ensure("clicks", &StreamSettings::default()).expect("is made");
    assert_eq!(append(&again, stamp(1, 5, 4)).await.map_err(|error| error.kind()), Err(ErrorKind::Conflict));
    assert_eq!(append(&again, stamp(1, 4, 0)).await, Ok(0));
}

/// On real threads: every batch is sent several times at once, in order, five at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_producers_that_send_everything_several_times_at_once_are_each_stored_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, stream) = open(dir.path(), &StreamSettings { segment_bytes: 3000, ..StreamSettings::default() });
    let tasks: Vec<_> = (0..8)
        .map(|producer| {
            let stream = Arc::clone(&stream);
            tokio::spawn(async move {
                for round in 0..20 {
                    let firsts = (0..5).map(|batch| (round * 5 + batch) * 2);
                    let thrice: Vec<i32> = firsts.clone().chain(firsts.clone()).chain(firsts).collect();
                    let sent = thrice.iter().map(|first| stream.enqueue(SHARD, batch(stamp(producer, 0, *first))));
                    let mut told = std::collections::BTreeMap::new();
                    for (first, answer) in thrice.iter().zip(sent.collect::<Vec<_>>()) {
                        let (offsets, _) = answer.expect("is queued").await.expect("is answered").expect("is stored");
                        assert_eq!(
                            *told.entry(*first).or_insert(offsets.start),
                            offsets.start,
                            "told otherwise before"
                        );
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("ends");
    }
    let mut all = values(&stream, SHARD);
    assert_eq!(all.len(), 8 * 200);
    for producer in 0..8 {
        let of_it: Vec<String> = (0..200).map(|sequence| format!("{producer}/0/{sequence}")).collect();
        let prefix = format!("{producer}/");
        let found: Vec<String> = all.iter().filter(|value| value.starts_with(&prefix)).cloned().collect();
        assert_eq!(found, of_it, "in order");
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 8 * 200);
    assert_eq!(count(&log, "riverrun_stream_repeated_batches_total"), 8 * 200);
}

/// Made by the first version that remembered producers; their snapshot must be readable for ever.
#[tokio::test]
async fn the_producers_of_a_log_of_layout_2_are_known() {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, stream) = open_fixture("layout-2-producers", dir.path());
    assert_eq!((recovered(&log, "producers_read"), recovered(&log, "producers_spoiled")), (3, 0));
    for shard in 0..3 {
        check_fixture_shard(&stream, shard);
        for first in (20..40).step_by(4) {
            let mut builder = Batch::builder().stamp(stamp(7, 1, first));
            for _ in 0..4 {
                builder.push(RecordRef { value: b"the same", ..RecordRef::default() }).expect("fits");
            }
            let told = stream.append_timed(ShardId(shard), builder.finish()).await.expect("is stored");
            let first = first as u64;
            let expected = (Offset(first)..Offset(first + 4), Millis(1_700_000_000_000 + first as i64 + 3));
            assert_eq!(told, expected, "of shard {shard}");
        }
    }
    assert_eq!(stream.append(ShardId(2), batch(stamp(7, 1, 40))).await, Ok(Offset(40)..Offset(42)));
}

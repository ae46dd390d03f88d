//! A process that appends as an idempotent producer, killed with `kill -9` again and again.
//!
//! In a program of its own: a process that is being started has, for a moment, all files of the one that starts it, and with
//! them the locks of logs that other tests have just closed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use base::{Millis, Offset, ShardId, SystemClock};
use stream::{Batch, Log, RecordRef, Stamp, Stream, StreamSettings};

const SHARD: ShardId = ShardId(0);
const KILLS: u64 = 25;
const RECORDS: u64 = 3;
/// Batches on the way at once.
const AT_ONCE: u64 = 5;
/// For the process that is killed: where it works, and its first batch.
const DIR: &str = "STREAM_KILL_DIR";
const FIRST: &str = "STREAM_KILL_FIRST";

fn open(dir: &Path) -> (Arc<Log>, Arc<Stream>) {
    let log = Log::open(dir, Arc::new(SystemClock)).expect("opens");
    let settings = StreamSettings { segment_bytes: 100_000, ..StreamSettings::default() };
    let stream = log.ensure("clicks", &settings).expect("is made");
    (log, stream)
}

fn batch(number: u64) -> Batch {
    let first = number * RECORDS;
    let mut builder = Batch::builder().stamp(Stamp::new(1, 0, first as i32).expect("not negative"));
    for sequence in first..first + RECORDS {
        let value = sequence.to_be_bytes();
        builder.push(RecordRef { timestamp: Millis(1), value: &value, ..RecordRef::default() }).expect("fits");
    }
    builder.finish()
}

/// What is killed; without the environment of [`DIR`] there is nothing to do. Sends every batch twice, five at once, and
/// tells each answer.
#[tokio::test]
async fn the_process_that_is_killed() {
    let (Ok(dir), Ok(first)) = (std::env::var(DIR), std::env::var(FIRST)) else { return };
    let (_log, stream) = open(Path::new(&dir));
    let mut next: u64 = first.parse().expect("a number");
    loop {
        let numbers = next..next + AT_ONCE;
        let twice = numbers.clone().chain(numbers);
        let append = |number| {
            let stream = Arc::clone(&stream);
            // On this one thread they begin in the order in which they are spawned.
            (number, tokio::spawn(async move { stream.append(SHARD, batch(number)).await }))
        };
        let sent: Vec<_> = twice.map(append).collect();
        for (number, answer) in sent {
            let offsets = answer.await.expect("ends").expect("is stored");
            writeln!(std::io::stdout(), "\nstored {number} {}", offsets.start).expect("the other process listens");
        }
        next += AT_ONCE;
    }
}

#[test]
fn a_producer_that_is_killed_and_sends_again_what_was_not_answered_stores_each_batch_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut next = 0; // what was never answered
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().expect("this one"))
            .args(["--exact", "the_process_that_is_killed", "--nocapture"])
            .env(DIR, dir.path())
            .env(FIRST, next.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let patience = 1 + kill * 7919 % 37; // answers, before it is killed
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        for (heard, told) in lines.filter_map(|line| Some(line.strip_prefix("stored ")?.to_owned())).enumerate() {
            let (number, offset) = told.split_once(' ').expect("two numbers");
            let (number, offset): (u64, u64) = (number.parse().expect("one"), offset.parse().expect("another"));
            assert_eq!(offset, number * RECORDS, "kill {kill}");
            next = next.max(number + 1);
            if heard as u64 == patience {
                child.kill().expect("is there yet"); // what it has said until then is still heard
            }
        }
        let ended = child.wait().expect("ends");
        assert!(!ended.success() && ended.code().is_none(), "it ended by itself: {ended}");
    }
    let (_log, stream) = open(dir.path());
    let end = stream.bounds(SHARD).end;
    assert!(end.0 >= next * RECORDS, "{next} batches were acknowledged, {end} records are there");
    let mut from = Offset::ZERO;
    while from < end {
        let fetched = stream.fetch(SHARD, from, 1 << 20).expect("reads");
        for record in fetched.records().map(|record| record.expect("whole")) {
            assert_eq!(record.value, record.offset.0.to_be_bytes(), "each sequence once, in order");
        }
        from = fetched.next();
    }
}

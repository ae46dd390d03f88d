//! Who commits, seen from the disk: the threads that sync.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};

use base::{Measured, ShardId};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};

use super::watched::{Held, append, doors, open};
use super::{batch, values};
use crate::Log;

#[test]
fn little_is_committed_by_the_thread_that_brings_it_and_much_by_the_logs_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let (disk, log, stream) = open(dir.path(), 1);
    let runtime = doors(2);
    for number in 0..20 {
        append(&runtime, &stream, &number.to_string());
    }
    // A thread of the log's own that happens to be awake takes what is there, too.
    let synced = disk.seen(20);
    assert!(synced.iter().filter(|name| *name == "door").count() >= 10, "{synced:?}");
    append(&runtime, &stream, &"x".repeat(100_000));
    assert!(disk.seen(1)[0].starts_with("commit-"));
    let mut samples = Vec::new();
    log.measure(&mut samples);
    let count = |name: &str| samples.iter().find(|sample| sample.name == name).map_or(0.0, |sample| sample.value);
    assert_eq!(count("riverrun_stream_commits_total"), 21.0);
    assert!((10.0..=20.0).contains(&count("riverrun_stream_direct_commits_total")));
    log.close();
}

#[test]
fn a_runtime_with_one_thread_leaves_the_sync_to_the_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let (disk, log, stream) = open(dir.path(), 1);
    for runtime in [doors(1), Builder::new_current_thread().thread_name("door").build().expect("starts")] {
        append(&runtime, &stream, "a click");
        let synced = disk.seen(1);
        assert!(synced.iter().all(|name| name.starts_with("commit-")), "{synced:?}");
    }
    log.close();
}

#[test]
fn a_disk_that_hangs_holds_one_thread_of_a_runtime() {
    let dir = tempfile::tempdir().expect("a folder");
    let (disk, log, stream) = open(dir.path(), 5);
    let runtime = doors(3);
    disk.shut(Held::Syncs);
    let appends: Vec<_> = (0..5)
        .map(|shard| {
            let stream = Arc::clone(&stream);
            runtime.spawn(async move { stream.append(ShardId(shard), batch(&["a click"], 0)).await })
        })
        .collect();
    // The log's own threads and one of the runtime's, unless one that was awake was faster.
    let synced = disk.seen(4);
    assert!(synced.iter().filter(|name| *name == "door").count() <= 1, "{synced:?}");
    // The others go on.
    for _ in 0..10 {
        runtime.block_on(runtime.spawn(tokio::task::yield_now())).expect("no panic");
    }
    disk.shut(None);
    for append in appends {
        runtime.block_on(append).expect("no panic").expect("appends");
    }
    log.close();
}

/// Begins an append on a runtime whose threads are all held, lets `end` end one of the two, and only then lets the threads
/// go. What was begun must be stored all the same.
fn begun_and_ended(end: impl FnOnce(Runtime, &Log) -> Option<Runtime>) {
    let dir = tempfile::tempdir().expect("a folder");
    let (_, log, stream) = open(dir.path(), 1);
    let runtime = doors(2);
    let (hold, held) = (Arc::new(Mutex::new(())), Arc::new(Barrier::new(3)));
    let holding = hold.lock();
    for _ in 0..2 {
        let (hold, held) = (Arc::clone(&hold), Arc::clone(&held));
        runtime.spawn(async move {
            held.wait();
            drop(hold.lock());
        });
    }
    held.wait();
    let mut appended = pin!(stream.append(ShardId(0), batch(&["a click"], 0)));
    let entered = runtime.enter();
    let begun = appended.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    drop(entered);
    let left = end(runtime, &log);
    drop(holding);
    let waiting = Builder::new_current_thread().build().expect("starts");
    let answer = if let Poll::Ready(answer) = begun { answer } else { waiting.block_on(appended) };
    answer.expect("appends");
    assert_eq!(values(&stream, ShardId(0)), ["a click"]);
    drop(left);
    log.close();
}

#[test]
fn a_runtime_that_ends_leaves_what_it_was_to_commit_to_the_log() {
    begun_and_ended(|runtime, _| {
        runtime.shutdown_background();
        None
    });
}

#[test]
fn a_log_that_is_closed_commits_what_a_runtime_was_to() {
    begun_and_ended(|runtime, log| {
        log.close();
        Some(runtime)
    });
}

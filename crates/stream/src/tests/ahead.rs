//! Room made ahead of small groups, on the real disk and with real threads.

use std::sync::Arc;

use base::{ShardId, SystemClock};

use super::watched::{Held, append, doors, open};
use super::{batch, values};
use crate::{Log, StreamSettings};

const SHARD: ShardId = ShardId(0);

#[test]
fn who_fits_into_what_is_left_does_not_wait_for_more_room() {
    let dir = tempfile::tempdir().expect("a folder");
    let (disk, log, stream) = open(dir.path(), 1);
    let runtime = doors(2);
    let texts: Vec<String> = [9_000, 9_000, 9_000, 9_000, 30_000].iter().map(|length| "x".repeat(*length)).collect();
    // The first has four times as much room made behind it; the third leaves less than a quarter of what it should be then.
    append(&runtime, &stream, &texts[0]);
    append(&runtime, &stream, &texts[1]);
    disk.shut(Held::Zeros);
    append(&runtime, &stream, &texts[2]);
    disk.holds_somebody();
    append(&runtime, &stream, &texts[3]);
    // This one does not fit: it is written once the room has been made, or the zeros would come after it.
    let last = {
        let (stream, batch) = (Arc::clone(&stream), batch(&[&texts[4]], 0));
        runtime.spawn(async move { stream.append(SHARD, batch).await })
    };
    for _ in 0..100 {
        runtime.block_on(runtime.spawn(tokio::task::yield_now())).expect("no panic"); // time to do it wrong
    }
    disk.shut(None);
    runtime.block_on(last).expect("no panic").expect("appends");
    log.close();
    let log = Log::open(dir.path(), Arc::new(SystemClock)).expect("opens");
    assert_eq!(values(&log.stream("clicks").expect("is there"), SHARD), texts);
    log.close();
}

#[test]
fn what_is_written_while_room_is_made_is_never_overwritten_by_it() {
    const WRITERS: usize = 4;
    const EACH: usize = 400;
    let dir = tempfile::tempdir().expect("a folder");
    let settings = StreamSettings { segment_bytes: 2 << 20, ..StreamSettings::default() };
    let open = || {
        let log = Log::open(dir.path(), Arc::new(SystemClock)).expect("opens");
        let stream = log.ensure("clicks", &settings).expect("is made");
        (log, stream)
    };
    // Mostly small, so that room is made; now and then larger than what is left of it, or than small groups are.
    let text = |writer: usize, number: usize| {
        let length = match (writer * 7 + number * 13) % 40 {
            0 => 50_000,
            1..4 => 20_000,
            it => 100 + it * 40,
        };
        format!("{writer} {number} {}", "x".repeat(length))
    };
    let (log, stream) = open();
    let runtime = doors(2);
    let writing: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let stream = Arc::clone(&stream);
            runtime.spawn(async move {
                for number in 0..EACH {
                    stream.append(SHARD, batch(&[&text(writer, number)], 0)).await.expect("appends");
                }
            })
        })
        .collect();
    for written in writing {
        runtime.block_on(written).expect("no panic");
    }
    let check = |found: &[String]| {
        for writer in 0..WRITERS {
            let mine = format!("{writer} ");
            let found: Vec<&String> = found.iter().filter(|found| found.starts_with(&mine)).collect();
            let sent: Vec<String> = (0..EACH).map(|number| text(writer, number)).collect();
            assert!(found.into_iter().eq(&sent), "what writer {writer} sent is there, in its order, as it was");
        }
        assert_eq!(found.len(), WRITERS * EACH);
    };
    check(&values(&stream, SHARD));
    log.close();
    let (log, stream) = open();
    check(&values(&stream, SHARD));
    log.close();
}

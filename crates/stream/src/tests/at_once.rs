//! What is read without waiting for the disk, on one that lets nobody read without waiting.

use base::{Offset, ShardId};

use super::watched::{append, doors, open};
use crate::limit::NEWEST_BYTES_MAX;

const SHARD: ShardId = ShardId(0);

#[test]
fn the_last_small_group_is_read_from_memory_and_nothing_else_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_, log, stream) = open(dir.path(), 1);
    let runtime = doors(2);
    let at_once = |from: u64, most: usize| {
        let fetched = stream.fetch_at_once(SHARD, Offset(from), most).expect("nothing is wrong")?;
        let values = fetched.records().map(|record| record.expect("sound").value.to_vec());
        Some(String::from_utf8(values.collect::<Vec<_>>().concat()).expect("text"))
    };
    append(&runtime, &stream, "first");
    assert_eq!(at_once(0, 1000).as_deref(), Some("first"));
    append(&runtime, &stream, "second");
    assert_eq!(at_once(1, 1000).as_deref(), Some("second"));
    assert_eq!(at_once(1, 10), None, "more than was asked for");
    assert_eq!(at_once(0, 1000), None, "it is not the last");
    assert_eq!(at_once(2, 1000).as_deref(), Some(""), "there is none yet");
    append(&runtime, &stream, &"x".repeat(NEWEST_BYTES_MAX as usize));
    assert_eq!(at_once(2, 100_000), None, "it is not a small one");
    append(&runtime, &stream, "fourth");
    assert_eq!(at_once(3, 1000).as_deref(), Some("fourth"));
    log.close();
}

//! Going backward through a shard.

use std::sync::Arc;

use base::{Millis, Offset, ShardId, SystemClock};
use proptest::prelude::*;

use crate::{Batch, FetchError, Log, RecordRef, StreamSettings};

const SHARD: ShardId = ShardId(0);

/// Where batches begin, and behind how many bytes of log.
fn appended(dir: &std::path::Path, sizes: &[usize]) -> (Arc<Log>, Vec<(Offset, u64)>) {
    let log = Log::open(dir, Arc::new(SystemClock)).expect("opens");
    let settings = StreamSettings { segment_bytes: 100_000, ..StreamSettings::default() };
    let stream = log.ensure("clicks", &settings).expect("is made");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut batches = Vec::new();
    let mut bytes = 0;
    for size in sizes {
        let mut batch = Batch::builder();
        let value = vec![7; *size];
        for _ in 0..2 {
            batch.push(RecordRef { timestamp: Millis(1), value: &value, ..RecordRef::default() }).expect("fits");
        }
        let batch = batch.finish();
        let length = batch.bytes() as u64;
        let offsets = runtime.block_on(stream.append(SHARD, batch)).expect("appends");
        batches.push((offsets.start, bytes));
        bytes += length;
    }
    batches.push((stream.bounds(SHARD).end, bytes));
    (log, batches)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn each_step_back_lies_at_a_batch_far_enough_and_not_much_further(
        sizes in prop::collection::vec(prop_oneof![1..100usize, 1_000..20_000usize], 0..80),
        step in prop_oneof![0..10u64, 1..400_000u64],
        reopened: bool,
    ) {
        let dir = tempfile::tempdir().expect("a folder");
        let (mut log, batches) = appended(dir.path(), &sizes);
        if reopened {
            log.close();
            log = Log::open(dir.path(), Arc::new(SystemClock)).expect("opens");
        }
        let stream = log.stream("clicks").expect("is there");
        let place = |offset: Offset| batches.iter().find(|(start, _)| *start == offset).map(|(_, bytes)| *bytes);
        for (from, at) in batches.iter().copied() {
            let found = stream.offset_back(SHARD, from, step).expect("is found");
            let Some(bytes) = place(found) else { panic!("{found} begins no batch") };
            prop_assert!(found < from || from == Offset::ZERO);
            prop_assert!(at - bytes >= step || found == Offset::ZERO);
            // The index knows a batch in every 16 KiB; a batch here has at most 40 KiB.
            prop_assert!(at - bytes <= step + 2 * (16 * 1024 + 41 * 1024), "{} for {step}", at - bytes);
        }
        // From within a batch, and all the way.
        let (mut from, mut steps) = (stream.bounds(SHARD).end, 0);
        while from > Offset::ZERO {
            from = stream.offset_back(SHARD, from, step).expect("is found");
            steps += 1;
            prop_assert!(steps <= batches.len());
        }
        log.close();
    }
}

#[test]
fn a_step_back_ends_where_retention_does_and_unknown_shards_are_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, batches) = appended(dir.path(), &[20_000; 20]);
    let stream = log.stream("clicks").expect("is there");
    assert!(matches!(stream.offset_back(ShardId(9), Offset::ZERO, 1), Err(FetchError::NoShard { .. })));
    assert_eq!(stream.offset_back(SHARD, Offset(21), u64::MAX).expect("is found"), Offset::ZERO);
    let middle = stream.offset_back(SHARD, Offset(21), 1).expect("is found");
    assert!(middle < Offset(21) && batches.iter().any(|(start, _)| *start == middle));
    log.close();
}

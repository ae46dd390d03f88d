//! The log as a whole, through its face, on the real disk. The simulated one is the room `sim`.

mod ahead;
mod at_once;
mod committers;
mod encryption;
mod face;
mod producers;
mod reach;
mod shards;
mod watched;

use base::{Millis, ShardId};

use crate::{Batch, RecordRef, Stream};

/// Records with these payloads, all of that time.
fn batch(values: &[&str], time: i64) -> Batch {
    let mut builder = Batch::builder();
    for value in values {
        let record = RecordRef { timestamp: Millis(time), value: value.as_bytes(), ..RecordRef::default() };
        builder.push(record).expect("fits");
    }
    builder.finish()
}

/// The payloads of all records that the shard keeps.
fn values(stream: &Stream, shard: ShardId) -> Vec<String> {
    let mut from = stream.bounds(shard).start;
    let mut all = Vec::new();
    loop {
        let fetched = stream.fetch(shard, from, 1000).expect("reads");
        if fetched.is_empty() {
            return all;
        }
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).expect("text");
        all.extend(fetched.records().map(|record| text(record.expect("whole").value)));
        from = fetched.next();
    }
}

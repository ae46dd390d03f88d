//! Writes the log that `fixtures/layout-N` keeps: `cargo run --release -p stream --example fixture -- DIR`. To be run once
//! per layout, never again for one that was released. With `encrypted` behind DIR, a stream sealed with a key of 32 sevens;
//! with `producers`, one by an idempotent producer.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use base::{Millis, ShardId, SystemClock};
use stream::{Batch, Compression, Faults, Keyring, Log, RecordRef, Stamp, Stream, StreamSettings};

#[tokio::main]
async fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "fixture".to_owned()));
    let kind = std::env::args().nth(2);
    let encryption = kind.as_deref() == Some("encrypted");
    let stamped = kind.as_deref() == Some("producers");
    let keys = encryption.then(|| Keyring::new(&[7; 32]));
    let log = Log::open_with_keys(&dir, Arc::new(SystemClock), Faults::default(), keys).unwrap();
    let settings = StreamSettings { shards: 2, segment_bytes: 2000, encryption, ..StreamSettings::default() };
    let stream = log.ensure("clicks", &settings).unwrap();
    for shard in 0..2 {
        fill(&stream, shard, stamped).await;
    }
    let [lower, _upper] = stream.split(ShardId(0), 1 << 126).unwrap();
    fill(&stream, lower.0, stamped).await;
    stream.merge(ShardId(3), ShardId(1)).unwrap();
    stream.set_note("consumers", b"{}").unwrap();
    std::fs::write(dir.join("uuid.txt"), stream.uuid().to_string()).unwrap();
    log.close();
}

async fn fill(stream: &Stream, shard: u32, stamped: bool) {
    for first in (0..40).step_by(4) {
        let compression = [Compression::None, Compression::Lz4, Compression::Zstd][first as usize / 4 % 3];
        let mut builder = Batch::builder().compression(compression);
        if stamped {
            builder = builder.stamp(Stamp::new(7, 1, first as i32).unwrap());
        }
        for offset in first..first + 4 {
            let value = format!("{shard}:{offset}").repeat(10);
            let timestamp = Millis(1_700_000_000_000 + offset);
            let headers: &[(&[u8], &[u8])] = &[(b"format", b"json")];
            builder.push(RecordRef { timestamp, key: Some(b"key"), value: value.as_bytes(), headers }).unwrap();
        }
        stream.append(ShardId(shard), builder.finish()).await.unwrap();
    }
}

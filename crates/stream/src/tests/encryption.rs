//! Encrypted streams on a real disk.

use std::path::Path;
use std::sync::Arc;

use base::{Millis, Offset, ShardId, SystemClock};

use crate::{
    AppendError, Batch, Compression, Faults, FetchError, Keyring, Log, OpenError, RecordRef, ShardStatus, Stream,
    StreamSettings,
};

const SHARD: ShardId = ShardId(0);
const SECRET: &str = "the quick brown fox";

fn open(dir: &Path, keys: Option<Keyring>) -> Arc<Log> {
    Log::open_with_keys(dir, Arc::new(SystemClock), Faults::default(), keys).expect("opens")
}

fn settings() -> StreamSettings {
    StreamSettings { encryption: true, segment_bytes: 1000, ..StreamSettings::default() }
}

fn batch(from: u64, compression: Compression) -> Batch {
    let mut builder = Batch::builder().compression(compression);
    for number in from..from + 3 {
        let value = format!("{SECRET} {number}");
        let record = RecordRef {
            timestamp: Millis(number as i64),
            key: Some(SECRET.as_bytes()),
            value: value.as_bytes(),
            headers: &[(b"name", SECRET.as_bytes())],
        };
        builder.push(record).expect("fits");
    }
    builder.finish()
}

async fn fill(stream: &Stream, from: u64, to: u64) {
    for (index, first) in (from..to).step_by(3).enumerate() {
        let compression = [Compression::None, Compression::Lz4, Compression::Zstd][index % 3];
        let range = stream.append(SHARD, batch(first, compression)).await.expect("appends");
        assert_eq!(range.start, Offset(first));
    }
}

fn check(stream: &Stream, to: u64) {
    for max_bytes in [1, 1 << 20] {
        let mut from = Offset::ZERO;
        while from.0 < to {
            let fetched = stream.fetch(SHARD, from, max_bytes).expect("reads");
            for record in fetched.records() {
                let record = record.expect("whole");
                assert_eq!(record.value, format!("{SECRET} {}", record.offset).as_bytes());
                assert_eq!((record.key, record.header("name")), (Some(SECRET.as_bytes()), Some(SECRET.as_bytes())));
            }
            from = fetched.next();
        }
        assert_eq!(from, Offset(to));
    }
    for time in 0..to {
        assert_eq!(stream.offset_at(SHARD, Millis(time as i64)).expect("finds"), Offset(time));
    }
}

fn on_disk(dir: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir.join("stream/s/0")).expect("a folder") {
        all.extend(std::fs::read(entry.expect("an entry").path()).expect("reads"));
    }
    all
}

fn holds_secret(dir: &Path) -> bool {
    on_disk(dir).windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}

#[tokio::test]
async fn records_are_hidden_on_disk_and_plain_to_readers_through_restarts_and_new_keys() {
    let dir = tempfile::tempdir().expect("a folder");
    let (first, second) = ([1; 32], [2; 32]);
    {
        let log = open(dir.path(), Some(Keyring::new(&first)));
        let stream = log.create("s", &settings()).expect("is made");
        fill(&stream, 0, 60).await;
        check(&stream, 60);
        assert!(!holds_secret(dir.path()));
    }
    {
        let log = open(dir.path(), Some(Keyring::new(&second).and_old(&first)));
        let stream = log.stream("s").expect("is found");
        check(&stream, 60);
        fill(&stream, 60, 90).await;
        check(&stream, 90);
        assert!(!holds_secret(dir.path()));
        stream.set_encryption(false).expect("is set");
        fill(&stream, 90, 93).await;
        check(&stream, 93);
        assert!(holds_secret(dir.path()), "from now on in the clear");
        let [lower, _] = stream.split(SHARD, 1).expect("splits");
        stream.set_encryption(true).expect("is set");
        stream.append(lower, batch(0, Compression::None)).await.expect("appends");
        assert_eq!(stream.fetch(lower, Offset::ZERO, 1).expect("reads").records().count(), 3);
    }
    let log = open(dir.path(), Some(Keyring::new(&second)));
    let stream = log.stream("s").expect("is found");
    let told = stream.fetch(SHARD, Offset::ZERO, 1).map(|_| ()).map_err(|error| error.to_string());
    let old = Keyring::new(&first).current();
    assert!(told.as_ref().is_err_and(|told| told.contains(&old.to_string())), "{told:?}");
    let later = stream.fetch(SHARD, Offset(60), 1).expect("sealed with the key that is there");
    assert_eq!(later.records().count(), 3);
    assert_eq!(stream.status(SHARD), Some(ShardStatus::Serving), "a missing key is no damage");
}

#[tokio::test]
async fn without_a_key_nothing_encrypted_is_read_and_nothing_is_written_in_the_clear() {
    let dir = tempfile::tempdir().expect("a folder");
    {
        let log = open(dir.path(), Some(Keyring::new(&[1; 32])));
        let stream = log.create("s", &settings()).expect("is made");
        fill(&stream, 0, 6).await;
    }
    let log = open(dir.path(), None);
    assert!(matches!(log.create("t", &settings()), Err(OpenError::NoKey { .. })));
    let stream = log.stream("s").expect("is found");
    assert!(matches!(stream.fetch(SHARD, Offset::ZERO, 1), Err(FetchError::NoKey { offset: Offset::ZERO, .. })));
    assert!(matches!(stream.offset_at(SHARD, Millis(4)), Err(FetchError::NoKey { .. })));
    let refused = stream.append(SHARD, batch(6, Compression::None)).await;
    assert!(matches!(refused, Err(AppendError::NoKey)));
    assert!(matches!(stream.set_encryption(true), Err(OpenError::NoKey { .. })));
    assert_eq!(stream.bounds(SHARD).end, Offset(6), "what needs no key works");
    stream.set_encryption(false).expect("is set");
    stream.append(SHARD, batch(6, Compression::None)).await.expect("appends in the clear, as asked");
}

#[tokio::test]
async fn changed_records_are_damage_even_where_the_crc_was_made_to_fit() {
    let dir = tempfile::tempdir().expect("a folder");
    {
        let log = open(dir.path(), Some(Keyring::new(&[1; 32])));
        let stream = log.create("s", &StreamSettings { segment_bytes: 1, ..settings() }).expect("is made");
        fill(&stream, 0, 6).await;
    }
    let path = dir.path().join("stream/s/0/00000000000000000000.log");
    let mut bytes = std::fs::read(&path).expect("reads");
    bytes[70] ^= 1;
    let crc = crate::batch::checksum(&bytes);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    std::fs::write(&path, bytes).expect("writes");
    let log = open(dir.path(), Some(Keyring::new(&[1; 32])));
    let stream = log.stream("s").expect("is found");
    assert!(matches!(stream.fetch(SHARD, Offset::ZERO, 1), Err(FetchError::Corrupt(_))));
    assert_eq!(stream.fetch(SHARD, Offset(3), 1).expect("reads on behind it").records().count(), 3);
}

#[tokio::test]
async fn each_record_tells_whether_it_lies_encrypted() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = open(dir.path(), Some(Keyring::new(&[1; 32])));
    let stream = log.create("s", &StreamSettings::default()).expect("is made");
    for (from, encryption) in [(0, false), (3, true), (6, false)] {
        stream.set_encryption(encryption).expect("is changed");
        stream.append(SHARD, batch(from, Compression::None)).await.expect("appends");
    }
    let fetched = stream.fetch(SHARD, Offset::ZERO, 100_000).expect("reads");
    let told: Vec<bool> = fetched.records().map(|record| record.expect("whole").encrypted).collect();
    assert_eq!(told, [false, false, false, true, true, true, false, false, false]);
    log.close();
}

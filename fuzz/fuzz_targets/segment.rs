//! Any bytes as the files of a shard: `log`, `index`, `timeindex` and the snapshot of producers, each behind its length of two
//! bytes.
#![no_main]

use std::path::Path;
use std::sync::{Arc, OnceLock};

use base::{Millis, Offset, ShardId, SystemClock};
use libfuzzer_sys::fuzz_target;
use stream::{Faults, Keyring, Log, StreamSettings};

/// A data folder with an empty stream, in memory if the machine has such a place.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let make = || {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder");
        let log = Log::open(dir.path(), Arc::new(SystemClock)).expect("opens");
        log.ensure("s", &StreamSettings::default()).expect("is made");
        log.close();
        dir
    };
    FOLDER.get_or_init(make).path()
}

fuzz_target!(|data: &[u8]| {
    let shard = folder().join("stream/s/0");
    let _absent = std::fs::remove_dir_all(&shard);
    std::fs::create_dir(&shard).expect("makes");
    let mut rest = data;
    let of_segment = ["log", "index", "timeindex"].map(|extension| format!("{:020}.{extension}", 0));
    for name in of_segment.into_iter().chain(["producers.snapshot".to_owned()]) {
        let Some((length, after)) = rest.split_first_chunk::<2>() else { break };
        let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
        let (bytes, after) = after.split_at(length);
        std::fs::write(shard.join(name), bytes).expect("writes");
        rest = after;
    }
    let keys = Some(Keyring::new(&[7; 32]));
    let log = Log::open_with_keys(folder(), Arc::new(SystemClock), Faults::default(), keys);
    let log = log.expect("damage within a shard is no error here");
    let stream = log.stream("s").expect("is found");
    let mut from = Offset::ZERO;
    while let Ok(fetched) = stream.fetch(ShardId(0), from, 4096) {
        if fetched.is_empty() {
            break;
        }
        assert!(fetched.next() > from, "reading goes on");
        for record in fetched.records() {
            if let Ok(record) = record {
                assert!(record.offset >= from);
            }
        }
        from = fetched.next();
    }
    let _found = stream.offset_at(ShardId(0), Millis(0));
    log.close();
});

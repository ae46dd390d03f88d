//! Any bytes as the files of a shard: after a first byte, whose last bit says whether the stream is encrypted, and the
//! bit before it whether checksums are put right, `log`, `index`, `timeindex` and the snapshot of producers, each behind its
//! length of two bytes.
#![no_main]

use std::path::Path;
use std::sync::{Arc, OnceLock};

use base::{Millis, ShardId, SystemClock};
use libfuzzer_sys::fuzz_target;
use stream::disk::RealDisk;
use stream::{Faults, Keyring, Log};

/// The files of a shard, in the order in which they stand in the bytes.
const FILES: [&str; 4] =
    ["00000000000000000000.log", "00000000000000000000.index", "00000000000000000000.timeindex", "producers.snapshot"];

/// The shard of the fixtures that is open, and has records.
const SHARD: ShardId = ShardId(2);

/// The streams of two fixtures without their records, so that what they held is at home here. In memory if the machine has
/// such a place.
fn folder(encrypted: bool) -> &'static Path {
    static FOLDERS: OnceLock<[tempfile::TempDir; 2]> = OnceLock::new();
    let make = |json: &[u8]| {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder");
        let stream = dir.path().join("stream/clicks");
        std::fs::create_dir_all(&stream).expect("makes");
        std::fs::write(stream.join("stream.json"), json).expect("writes");
        dir
    };
    let folders = FOLDERS.get_or_init(|| {
        [
            make(include_bytes!("../../crates/stream/fixtures/layout-2/stream/clicks/stream.json")),
            make(include_bytes!("../../crates/stream/fixtures/layout-2-encrypted/stream/clicks/stream.json")),
        ]
    });
    folders[usize::from(encrypted)].path()
}

/// Gives each batch of a log the CRC that it should have, or hardly any would be looked into.
fn put_right_batches(mut log: &mut [u8]) {
    while log.len() >= 61 {
        let length = u32::from_be_bytes(log[8..12].try_into().expect("four bytes")) as usize;
        let length = length.saturating_add(12).clamp(61, log.len());
        let (batch, rest) = std::mem::take(&mut log).split_at_mut(length);
        let crc = stream::batch::checksum(batch);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        log = rest;
    }
}

/// Likewise of an index: that of its entries, and that of its front.
fn put_right_index(index: &mut [u8]) {
    if index.len() >= 64 {
        let entries = crc32c::crc32c(&index[64..]);
        index[52..56].copy_from_slice(&entries.to_be_bytes());
        let front = crc32c::crc32c(&index[..60]);
        index[60..64].copy_from_slice(&front.to_be_bytes());
    }
}

/// And of a snapshot, at whose end it stands.
fn put_right_snapshot(snapshot: &mut [u8]) {
    if let Some((front, crc)) = snapshot.split_last_chunk_mut::<4>() {
        *crc = crc32c::crc32c(front).to_be_bytes();
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, mut rest)) = data.split_first() else { return };
    let folder = folder(kind & 1 == 1);
    let shard = folder.join(format!("stream/clicks/{SHARD}"));
    let _absent = std::fs::remove_dir_all(&shard);
    std::fs::create_dir(&shard).expect("makes");
    for name in FILES {
        let Some((length, after)) = rest.split_first_chunk::<2>() else { break };
        let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
        let (bytes, after) = after.split_at(length);
        let mut bytes = bytes.to_vec();
        match name.rsplit('.').next() {
            Some("log") if kind & 2 == 2 => put_right_batches(&mut bytes),
            Some("index" | "timeindex") if kind & 2 == 2 => put_right_index(&mut bytes),
            Some("snapshot") if kind & 2 == 2 => put_right_snapshot(&mut bytes),
            _ => {}
        }
        // Without bytes there is no such file.
        if !bytes.is_empty() {
            std::fs::write(shard.join(name), bytes).expect("writes");
        }
        rest = after;
    }
    let keys = Some(Keyring::new(&[7; 32]));
    // Nothing is appended, so nobody needs to commit.
    let log = Log::open_on(Arc::new(RealDisk), folder, Arc::new(SystemClock), Faults::default(), 0, keys);
    let log = log.expect("damage within a shard is no error here");
    let stream = log.stream("clicks").expect("is found");
    let mut from = stream.bounds(SHARD).start;
    while let Ok(fetched) = stream.fetch(SHARD, from, 4096) {
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
    let _found = stream.offset_at(SHARD, Millis(0));
    let mut back = stream.bounds(SHARD).end;
    while back > stream.bounds(SHARD).start {
        match stream.offset_back(SHARD, back, 1000) {
            Ok(before) => {
                assert!(before < back, "reading backward goes on");
                back = before;
            }
            Err(_) => break,
        }
    }
    log.close();
});

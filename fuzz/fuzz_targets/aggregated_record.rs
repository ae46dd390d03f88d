//! Any bytes as an aggregated record: as they are, and as the message of one whose checksum is right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use md5::{Digest, Md5};

// The file itself and not its room, which would bring the whole engine along.
#[allow(dead_code)]
#[path = "../../crates/deliver/src/decode/aggregate.rs"]
mod aggregate;

fuzz_target!(|data: &[u8]| {
    look(data);
    look(&[&[0xF3, 0x89, 0x9A, 0xC2], data, &Md5::digest(data)[..]].concat());
});

fn look(payload: &[u8]) {
    let Some(Ok(records)) = aggregate::unpack(payload) else { return };
    assert!(!records.is_empty() && records.len() <= aggregate::USER_RECORDS_MAX);
    assert!(aggregate::begins_like_one(payload));
    let bytes: usize = records.iter().map(|record| record.data.len()).sum();
    assert!(bytes <= payload.len(), "user records are parts of the record they came in");
}

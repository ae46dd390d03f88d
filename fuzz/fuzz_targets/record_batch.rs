//! Any bytes as a record batch. The length, the magic and the CRC are put right, or nothing would get past them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stream::Batch;

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    if bytes.len() >= 61 {
        let length = (bytes.len() - 12) as u32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[16] = 2;
        let crc = stream::batch::checksum(&bytes);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    if let Ok(batch) = Batch::parse(bytes) {
        assert!(!batch.is_empty());
    }
});

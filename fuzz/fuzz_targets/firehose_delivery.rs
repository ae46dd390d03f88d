//! See `edge::fuzz::firehose_delivery`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| edge::fuzz::firehose_delivery(data));

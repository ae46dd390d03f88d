//! See `edge::fuzz::kinesis_json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| edge::fuzz::kinesis_json(data));

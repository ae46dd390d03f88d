//! See `edge::fuzz::kinesis_cbor`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| edge::fuzz::kinesis_cbor(data));

#![no_main]
//! See `hostler::fuzz::headers`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostler::fuzz::headers::run(data));

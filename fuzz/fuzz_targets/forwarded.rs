#![no_main]
//! See `hostler::fuzz::forwarded`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostler::fuzz::forwarded::run(data));

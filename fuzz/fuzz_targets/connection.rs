#![no_main]
//! See `hostler::fuzz::connection`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostler::fuzz::connection::run(data));

#![no_main]
//! See `hostler::fuzz::authority`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostler::fuzz::authority::run(data));

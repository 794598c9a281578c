//! Bytes are a case: see `src/filter/tests/case.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| consentry_fuzz::cut(data));

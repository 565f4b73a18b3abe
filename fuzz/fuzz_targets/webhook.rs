#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| doorstep_properties::webhook::check(data));

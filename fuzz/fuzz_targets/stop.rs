#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| minivault_fuzz::check("stop", data));

//! The target `filters` for cargo-fuzz: see `tests/fuzz/README.md`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sync_fuzz::targets::filters::run(
    input,
    &mut sync_fuzz::Notes::default()
));

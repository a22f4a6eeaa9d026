//! The target `messages` for cargo-fuzz: see `tests/fuzz/README.md`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sync_fuzz::targets::messages::run(
    input,
    &mut sync_fuzz::Notes::default()
));

//! The program lists the model of its library crate.

use std::process::Command;

#[test]
fn the_librarys_model_is_registered() {
    let out = Command::new(env!("CARGO_BIN_EXE_model-library")).arg("models").output().unwrap();
    let out = String::from_utf8(out.stdout).unwrap();
    assert!(out.starts_with("Page (models::Page) at "), "{out}");
    assert!(out.trim_end().ends_with("create, read, update, delete"), "{out}");
}

//! Every target for a short time, as a process of its own: its corpus, then inputs out of fixed random numbers.

use std::process::Command;

/// At most so many seconds a target.
const SECONDS: &str = "15";

fn fuzz(target: &str, runs: &str) {
    let ended = Command::new(env!("CARGO_BIN_EXE_sync-fuzz"))
        .args([target, "--seconds", SECONDS, "--runs", runs, "--seed", "1"])
        .output()
        .expect("the runner starts");
    print!("{}", String::from_utf8_lossy(&ended.stdout));
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn handshake() {
    fuzz("handshake", "5000");
}

#[test]
fn messages() {
    fuzz("messages", "50000");
}

#[test]
fn filters() {
    fuzz("filters", "5000");
}

//! What every store must do, and what the `SQLite` store does besides.

// A test says what went wrong best by stopping there.
#![allow(clippy::unwrap_used)]

mod conformance;
mod fixture;
#[cfg(feature = "sqlite")]
mod random;
#[cfg(feature = "sqlite")]
mod sqlite;

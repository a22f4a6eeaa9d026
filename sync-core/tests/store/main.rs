//! What every store must do, and what the `SQLite` store does besides.

mod conformance;
mod fixture;
#[cfg(feature = "sqlite")]
mod random;
#[cfg(feature = "sqlite")]
mod sqlite;

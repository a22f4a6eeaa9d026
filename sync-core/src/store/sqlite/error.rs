//! `SQLite`'s errors as the store's.

use rusqlite::ErrorCode;

use crate::store::StoreError;

/// Says what was being done when `SQLite` failed: `cannot <what>: <why>`.
pub(super) fn cannot(what: &str) -> impl FnOnce(rusqlite::Error) -> StoreError + '_ {
    move |error| {
        let why = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy) => "another program holds the database, a `sqlite3` shell perhaps",
            Some(ErrorCode::DiskFull) => "the disk is full",
            Some(ErrorCode::ReadOnly) => "the file or its folder is read-only",
            Some(ErrorCode::CannotOpen) => "the file, or another beside it, cannot be opened or created",
            Some(ErrorCode::NotADatabase) => "the file is not an SQLite database",
            Some(ErrorCode::DatabaseCorrupt) => "the database is damaged",
            _ => return StoreError::new(format!("cannot {what}: {error}")).with_source(error),
        };
        StoreError::new(format!("cannot {what}: {why} ({error})")).with_source(error)
    }
}

/// A thread of the store is gone.
pub(super) fn stopped() -> StoreError {
    StoreError::new("the store has stopped after a fault")
}

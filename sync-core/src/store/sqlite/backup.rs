//! Copies of a database: one that is taken while it is served, and one that takes the place of what is lost.

use std::{fs, io, path::Path};

use rusqlite::{Connection, OpenFlags};
use tempfile::NamedTempFile;

use super::{
    connection::{BUSY_TIMEOUT, Database, beside, flush_folder, resolve},
    error::cannot,
    schema,
};
use crate::store::StoreError;

/// Copies the database `from`, as it is at one moment, into the new file `to`.
pub(super) fn backup(from: &Path, to: &Path) -> Result<(), StoreError> {
    let what = format!("back up {}", from.display());
    let to = resolve(to).map_err(|error| failed(&format!("find the folder of {}", to.display()), error))?;
    free(&to)?;
    let source = source(from, &what)?;
    copy(&source, &to, &what)
}

/// Puts the copy `from` in the place of a database `to` that is not there.
pub(super) fn restore(from: &Path, to: &Path) -> Result<(), StoreError> {
    let what = format!("restore {}", from.display());
    // Held until it is done: no server opens the place meanwhile.
    let database = Database::lock(to)?;
    let to = database.path();
    // A log that was left there would be taken for the copy's, and damage it.
    for path in [to.to_owned(), beside(to, "-wal"), beside(to, "-journal")] {
        free(&path)?;
    }
    let source = source(from, &what)?;
    let found: String =
        source.query_row("PRAGMA quick_check(1)", (), |row| row.get(0)).map_err(cannot(&what))?;
    if found != "ok" {
        return Err(StoreError::new(format!("cannot {what}: it is damaged ({found})")));
    }
    copy(&source, to, &what)
}

/// Opens a database to read it, also while it is served.
fn source(path: &Path, what: &str) -> Result<Connection, StoreError> {
    if fs::metadata(path).map_err(|error| failed(what, error))?.len() == 0 {
        return Err(StoreError::new(format!("cannot {what}: the file is empty")));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(cannot(what))?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(cannot(what))?;
    if !schema::is_store(&connection).map_err(cannot(what))? {
        return Err(StoreError::new(format!("cannot {what}: it is no database of this crate's store")));
    }
    schema::check_format(&connection, path)?;
    Ok(connection)
}

/// Makes the copy under another name, and gives it its own when it is whole and on the disk.
fn copy(source: &Connection, to: &Path, what: &str) -> Result<(), StoreError> {
    let io_failed = |error| failed(what, error);
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::Builder::new()
        .prefix(".sync-copy-")
        .tempfile_in(folder)
        .map_err(|error| failed(&format!("create a file in {}", folder.display()), error))?;
    let name = file.path().to_str().ok_or_else(|| {
        StoreError::new(format!("cannot {what}: the path {} is not UTF-8", file.path().display()))
    })?;
    // One read transaction: all of it is of one moment, and the server goes on. SQLite's other way, its backup API, begins anew whenever another
    // process writes.
    source.execute("VACUUM INTO ?1", [name]).map_err(cannot(what))?;
    // It belongs to no epoch: whatever way it gets into its place, it begins one of its own.
    let connection = Connection::open(file.path()).map_err(cannot(what))?;
    connection.execute("DELETE FROM sync_meta WHERE name = 'epoch'", ()).map_err(cannot(what))?;
    connection.close().map_err(|(_, error)| cannot(what)(error))?;
    file.as_file().sync_all().map_err(io_failed)?;
    persist(file, to).map_err(io_failed)?;
    flush_folder(to).map_err(io_failed)
}

/// Gives the file its name, unless another has it by now.
fn persist(file: NamedTempFile, to: &Path) -> io::Result<()> {
    match file.persist_noclobber(to) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.error),
    }
}

fn free(path: &Path) -> Result<(), StoreError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(&format!("look at {}", path.display()), error)),
        Ok(_) => Err(StoreError::new(format!(
            "{} exists, and nothing is overwritten: move it away first",
            path.display()
        ))),
    }
}

fn failed(what: &str, error: io::Error) -> StoreError {
    StoreError::new(format!("cannot {what}: {error}")).with_source(error)
}

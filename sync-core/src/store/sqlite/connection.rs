//! The file: its lock, its connections and what must hold of them.

use std::{
    ffi::OsString,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, types::ValueRef};

use super::error::cannot;
use crate::store::StoreError;

/// The database file, held against other processes for as long as this lives.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    /// An advisory lock on a file of its own: `SQLite`'s `locking_mode=EXCLUSIVE` would also shut out our own readers
    /// and the `sqlite3` shell. The system releases it when the process ends, and the file stays, since removing it
    /// would let two processes lock two files of one name.
    _lock: File,
}

impl Database {
    /// Finds the file's place and locks it; does not create it yet.
    pub(super) fn lock(path: &Path) -> Result<Self, StoreError> {
        check_version(rusqlite::version_number())?;
        let path = resolve(path).map_err(|error| {
            StoreError::new(format!("cannot find the place of the database {}: {error}", path.display()))
                .with_source(error)
        })?;
        if path.is_dir() {
            return Err(StoreError::new(format!("the database {} is a folder", path.display())));
        }
        let mut name = OsString::from(&path);
        name.push("-lock");
        let lock = PathBuf::from(name);
        let file = File::options().create(true).append(true).open(&lock).map_err(|error| {
            StoreError::new(format!("cannot create {}: {error}", lock.display())).with_source(error)
        })?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path, _lock: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::new(format!(
                "the database {} is in use by another process, or by another store of this one",
                path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(StoreError::new(format!(
                "cannot lock {}: {error} (the database must be on a local disk)",
                lock.display()
            ))
            .with_source(error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The connection that writes.
    pub(super) fn writer(&self) -> Result<Connection, StoreError> {
        let what = format!("open the database {}", self.path.display());
        let connection = self
            .connect(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
            .map_err(cannot(&what))?;
        for (pragma, wanted) in WRITER_PRAGMAS {
            let found = set(&connection, pragma, wanted).map_err(cannot(&what))?;
            if found != wanted {
                return Err(StoreError::new(format!(
                    "cannot {what}: SQLite does not keep {pragma}={wanted} here, but {found}"
                )));
            }
        }
        connection
            .pragma_update(None, "cache_size", WRITER_CACHE_KIB)
            .and_then(|()| connection.pragma_update(None, "journal_size_limit", WAL_KEPT_BYTES))
            .map_err(cannot(&what))?;
        Ok(connection)
    }

    /// A connection that reads.
    pub(super) fn reader(&self) -> rusqlite::Result<Connection> {
        self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)
    }

    fn connect(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        // A connection never leaves its thread, so SQLite needs no mutex for it.
        let connection = Connection::open_with_flags(&self.path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        Ok(connection)
    }
}

/// Sets a pragma and reads it back: `SQLite` ignores what it cannot or will not do.
fn set(connection: &Connection, pragma: &str, wanted: &str) -> rusqlite::Result<String> {
    // Some pragmas answer with their new value, some with nothing.
    connection.execute_batch(&format!("PRAGMA {pragma} = {wanted}"))?;
    connection.pragma_query_value(None, pragma, |row| {
        Ok(match row.get_ref(0)? {
            ValueRef::Integer(value) => value.to_string(),
            value => value.as_str()?.to_owned(),
        })
    })
}

/// The same path for the same file, whatever way leads to it.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = path.file_name().ok_or(error)?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            Ok(fs::canonicalize(folder.unwrap_or(Path::new(".")))?.join(name))
        }
        found => found,
    }
}

/// Refuses an `SQLite` (of the system, say, where the bundled one was replaced) that can damage a database in WAL mode.
fn check_version(number: i32) -> Result<(), StoreError> {
    if number >= FIRST_SOUND_VERSION {
        return Ok(());
    }
    Err(StoreError::new(format!(
        "SQLite {}.{}.{} can damage a database in WAL mode (when the log is reset): 3.51.3 or later is needed",
        number / 1_000_000,
        number / 1_000 % 1_000,
        number % 1_000
    )))
}

const FIRST_SOUND_VERSION: i32 = 3_051_003;

/// What the promise to be on the disk rests on. 2 is FULL.
const WRITER_PRAGMAS: [(&str, &str); 2] = [("journal_mode", "wal"), ("synchronous", "2")];

/// Negative: KiB rather than pages.
const WRITER_CACHE_KIB: i64 = -16 * 1024;

/// A log that grew beyond this, behind a reader from outside that sat on an old snapshot, is cut when it is reset.
const WAL_KEPT_BYTES: i64 = 64 << 20;

/// How long to wait for another program that holds the database, which only one from outside does.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// More than there are; the limit is on memory only.
const STATEMENTS_KEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::{Database, check_version, set};

    #[test]
    fn the_writer_flushes_every_commit() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::lock(&folder.path().join("test.db")).unwrap();
        let writer = database.writer().unwrap();
        let pragma = |name| {
            writer.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0)).unwrap()
        };
        assert_eq!(pragma("synchronous"), 2.into());
        assert_eq!(pragma("journal_mode"), "wal".to_owned().into());
        // What is set is what is read back, not what was asked for.
        assert_eq!(set(&writer, "synchronous", "NONSENSE").unwrap(), "1");
    }

    #[test]
    fn refuses_what_can_damage_a_database() {
        let refused = check_version(3_051_002).unwrap_err().to_string();
        assert!(refused.starts_with("SQLite 3.51.2 can damage a database"), "{refused}");
        assert!(check_version(3_007_000).is_err());
        assert!(check_version(3_051_003).is_ok());
        assert!(check_version(rusqlite::version_number()).is_ok());
    }
}

//! The file: its lock, its connections and what must hold of them.

use std::{
    ffi::OsString,
    fmt::Write as _,
    fs::{self, File, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, config::DbConfig, hooks::Wal, types::ValueRef};

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
        let lock = beside(&path, "-lock");
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

    /// A look at the database before anything of it is changed; `None` where there is none yet.
    pub(super) fn look(&self) -> rusqlite::Result<Option<Connection>> {
        look(&self.path)
    }

    /// The connection that writes. What the log has is on the disk then.
    pub(super) fn writer(&self) -> Result<Connection, StoreError> {
        let what = format!("open the database {}", self.path.display());
        let mut connection = self
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
        self.settle(&connection)?;
        // Instead of SQLite's own, which says nothing when it fails.
        let mut checkpoints = Checkpoints::default();
        connection
            .wal_hook(Some(move |wal: &mut Wal, pages| {
                checkpoints.committed(wal, pages);
                Ok(())
            }))
            .map_err(cannot(&what))?;
        Ok(connection)
    }

    /// Has what the log (`-wal`) holds on the disk before anybody believes it.
    ///
    /// When a flush fails, the frames that it was for are in the file nevertheless, whole, and `SQLite` takes them for
    /// committed when the next process opens it; but they may never have reached the disk. A flush alone does not
    /// help: Linux takes the pages whose writing failed for written, and the next `fsync` says that all is well. So
    /// the log is written again, over itself with the same bytes, and then flushed: if power is lost meanwhile, the
    /// disk has the old bytes or the same ones. A checkpoint alone would begin to write into the database, and after
    /// the loss of power rely on a log that is not there.
    fn settle(&self, connection: &Connection) -> Result<(), StoreError> {
        let log = beside(&self.path, "-wal");
        if fs::metadata(&log).map_or(0, |log| log.len()) == 0 {
            return Ok(());
        }
        let what = format!("flush {}", log.display());
        // With the lock to write, no `sqlite3` shell can begin the log anew meanwhile.
        connection.execute_batch("BEGIN IMMEDIATE").map_err(cannot(&what))?;
        let flushed = write_again(&log).and_then(|()| flush_folder(&self.path));
        connection.execute_batch("ROLLBACK").map_err(cannot(&what))?;
        flushed.map_err(|error| StoreError::new(format!("cannot {what}: {error}")).with_source(error))?;
        // It may fail, on a full disk say: the log is as good.
        if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())) {
            tracing::warn!(%error, "a checkpoint of the database failed; it is tried again");
        }
        Ok(())
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

/// Copies the log into the database now and then, as `SQLite` itself would, and says when that fails.
#[derive(Debug, Default)]
struct Checkpoints {
    /// How many failed since the last that did not.
    failed: u64,
    warned: Option<Instant>,
}

impl Checkpoints {
    /// A transaction was committed; the log has `pages`.
    fn committed(&mut self, wal: &mut Wal, pages: i32) {
        if pages < CHECKPOINT_PAGES {
            return;
        }
        match wal.checkpoint() {
            Ok(()) => {
                if self.failed > 0 {
                    tracing::info!(failed = self.failed, "checkpoints of the database work again");
                }
                *self = Self::default();
            }
            Err(error) => {
                self.failed += 1;
                if self.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
                    self.warned = Some(Instant::now());
                    tracing::warn!(
                        %error, failed = self.failed, log_pages = pages,
                        "a checkpoint of the database failed; commits are in its log, which grows until one succeeds"
                    );
                }
            }
        }
    }
}

/// Opens a database that exists to look at it: neither it nor its log is changed. Where there is a log, `SQLite` may
/// leave its index (`-shm`), as after any reader.
fn look(path: &Path) -> rusqlite::Result<Option<Connection>> {
    let length = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    let has_log = length(&beside(path, "-wal")) > 0;
    if length(path) == 0 && !has_log {
        return Ok(None);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = if has_log {
        let connection = Connection::open_with_flags(path, flags)?;
        // Who closes a database last copies its log and removes it.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection
    } else {
        // Without a log nothing needs to be created, not even an empty one.
        Connection::open_with_flags(immutable(path), flags | OpenFlags::SQLITE_OPEN_URI)?
    };
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(Some(connection))
}

/// The URI of a file that nobody changes.
fn immutable(path: &Path) -> String {
    let mut uri = String::from("file:");
    #[cfg(unix)]
    let bytes = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
    #[cfg(not(unix))]
    let text = format!("/{}", path.display()).replace('\\', "/");
    #[cfg(not(unix))]
    let bytes = text.as_bytes();
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            // Writing to a string does not fail.
            other => drop(write!(uri, "%{other:02x}")),
        }
    }
    uri + "?immutable=1"
}

/// Writes a file over itself, with the same bytes, and flushes it.
fn write_again(path: &Path) -> io::Result<()> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let mut chunk = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut chunk)?;
        let Some(bytes) = chunk.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        file.seek(SeekFrom::Current(-i64::try_from(count).map_err(io::Error::other)?))?;
        file.write_all(bytes)?;
    }
    file.sync_all()
}

/// Has the names in the folder of this file on the disk.
pub(super) fn flush_folder(path: &Path) -> io::Result<()> {
    // Elsewhere folders cannot be opened, and need not be.
    if cfg!(unix)
        && let Some(folder) = path.parent()
    {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// The path with more at the end of its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
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
pub(super) fn resolve(path: &Path) -> io::Result<PathBuf> {
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

/// `SQLite`'s own measure: 4 MiB of pages of 4 KiB.
const CHECKPOINT_PAGES: i32 = 1_000;

/// How often at most a failing checkpoint is logged.
const WARN_EVERY: Duration = Duration::from_mins(1);

/// How long to wait for another program that holds the database, which only one from outside does.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

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

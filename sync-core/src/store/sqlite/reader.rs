//! Reads: what they look up, and the threads that do.

use std::{
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Row};
use smallvec::SmallVec;
use uuid::Uuid;

use super::{
    connection::Database,
    error::cannot,
    page,
    table::{SqlTable, Tables},
    value::{self, SqlKey},
};
use crate::{
    model::Key,
    store::{
        Change, ClientRecord, LogEntry, LogPage, MutationRecord, Outcome, Page, Select, Seq, StoreError,
        StoredRow,
        rules::{self, Budget},
    },
};

/// Something to look up, with the way back of its answer.
pub(super) type Read = Box<dyn FnOnce(&Reader) + Send>;

/// A connection that looks things up. Each look is one short read transaction, so that what it finds is of one seq.
#[derive(Debug)]
pub(super) struct Reader {
    connection: Connection,
    tables: Arc<Tables>,
}

impl Reader {
    pub(super) fn get(&self, table: &SqlTable, key: &Key) -> Result<Option<StoredRow>, StoreError> {
        if !rules::has_kind(key, table.kind) {
            return Ok(None);
        }
        get(&self.connection, table, key).map_err(cannot("read a row"))
    }

    pub(super) fn page(&self, table: &SqlTable, select: &Select) -> Result<Page, StoreError> {
        let read = || {
            let seq = log_range(&self.connection)?.head;
            page::page(&self.connection, table, select, seq)
        };
        self.at_one_seq(read).map_err(cannot("read rows"))
    }

    pub(super) fn log(&self, after: Seq, max_bytes: usize) -> Result<LogPage, StoreError> {
        let read = || {
            let LogRange { head, horizon } = log_range(&self.connection)?;
            let transactions =
                if after < horizon { Vec::new() } else { self.transactions(after, max_bytes)? };
            Ok(LogPage { transactions, head, horizon })
        };
        self.at_one_seq(read).map_err(cannot("read the log"))
    }

    pub(super) fn client(&self, client: Uuid) -> Result<Option<ClientRecord>, StoreError> {
        let mut buffer = Uuid::encode_buffer();
        let id: &str = client.hyphenated().encode_lower(&mut buffer);
        let read = || {
            let known = self
                .connection
                .prepare_cached("SELECT last, subject FROM sync_clients WHERE id = ?1")?
                .query_row([id], |row| Ok((value::seq(row, 0)?, row.get(1)?)))
                .optional()?;
            let Some((last, subject)) = known else { return Ok(None) };
            let mut statement = self.connection.prepare_cached(
                "SELECT id, hash, seq, model, key, method, cid, rejected, results FROM sync_mutations \
                 WHERE client = ?1 ORDER BY id",
            )?;
            let mutations = statement.query_map([id], mutation)?.collect::<rusqlite::Result<_>>()?;
            Ok(Some(ClientRecord { subject, last, mutations }))
        };
        self.at_one_seq(read).map_err(cannot("read what is known of a client"))
    }

    fn at_one_seq<T>(&self, read: impl FnOnce() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        self.connection.prepare_cached("BEGIN")?.execute(())?;
        let result = read();
        // Nothing was written: this only lets go of the snapshot. After some errors SQLite has done so by itself.
        if !self.connection.is_autocommit() {
            self.connection.prepare_cached("ROLLBACK")?.execute(())?;
        }
        result
    }

    fn transactions(&self, after: Seq, max_bytes: usize) -> rusqlite::Result<Vec<LogEntry>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT seq, model, id, cid, old, new FROM sync_log WHERE seq > ?1 ORDER BY seq, idx",
        )?;
        let mut rows = statement.query([i64::try_from(after).unwrap_or(i64::MAX)])?;
        let mut budget = Budget::new(max_bytes);
        let mut transactions = Vec::new();
        let mut open: Option<(LogEntry, usize)> = None;
        loop {
            let row = rows.next()?;
            let seq = row.map(|row| value::seq(row, 0)).transpose()?;
            if let Some((entry, bytes)) = open.take_if(|(entry, _)| Some(entry.seq) != seq) {
                if !budget.take(bytes) {
                    break;
                }
                transactions.push(entry);
            }
            let (Some(row), Some(seq)) = (row, seq) else { break };
            let (old, new) = (value::optional_body(row, 4)?, value::optional_body(row, 5)?);
            let (entry, bytes) = open.get_or_insert_with(|| (LogEntry { seq, changes: SmallVec::new() }, 0));
            *bytes += old.as_ref().map_or(0, Bytes::len) + new.as_ref().map_or(0, Bytes::len);
            if let Some(table) = self.tables.get(row.get_ref(1)?.as_str()?) {
                let (key, cid) = (value::key(row, 2)?, row.get::<_, Option<Box<str>>>(3)?);
                entry.changes.push(Change { model: table.name, key, cid, old, new });
            }
        }
        Ok(transactions)
    }
}

/// Starts the readers. They end when the queue has no other end any more.
pub(super) fn start(
    database: &Database,
    tables: &Arc<Tables>,
    queue: mpsc::Receiver<Read>,
) -> Result<Vec<JoinHandle<()>>, StoreError> {
    let queue = Arc::new(Mutex::new(queue));
    let start = |_| {
        let connection = database.reader().map_err(cannot("open the database for reading"))?;
        let reader = Reader { connection, tables: tables.clone() };
        let queue = queue.clone();
        let run = move || {
            loop {
                // The lock is held while waiting, and by then there is nothing that another could take.
                let read = queue.lock().recv();
                match read {
                    Ok(read) => read(&reader),
                    Err(mpsc::RecvError) => break,
                }
            }
        };
        thread::Builder::new()
            .name("sync store reader".into())
            .spawn(run)
            .map_err(|error| StoreError::new("cannot start the store's thread").with_source(error))
    };
    (0..READERS).map(start).collect()
}

/// Two, so that a long page does not hold up all the rest.
const READERS: usize = 2;

/// One row.
pub(super) fn get(
    connection: &Connection,
    table: &SqlTable,
    key: &Key,
) -> rusqlite::Result<Option<StoredRow>> {
    connection.prepare_cached(&table.sql.get)?.query_row([SqlKey(key)], stored_row).optional()
}

/// What the log spans.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogRange {
    pub(super) head: Seq,
    pub(super) horizon: Seq,
}

/// The head is not stored: it is the last of the log, or the horizon where the log is empty. So it cannot disagree
/// with the log, and is not one more page to write at every commit.
pub(super) fn log_range(connection: &Connection) -> rusqlite::Result<LogRange> {
    connection
        .prepare_cached(
            "SELECT coalesce((SELECT max(seq) FROM sync_log), 0), (SELECT value FROM sync_meta WHERE name = 'horizon')",
        )?
        .query_row((), |row| {
            let (last, horizon) = (value::seq(row, 0)?, value::seq(row, 1)?);
            Ok(LogRange { head: last.max(horizon), horizon })
        })
}

/// The highest decided mutation of a client, if it is registered.
pub(super) fn last_mutation(connection: &Connection, client: &str) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached("SELECT last FROM sync_clients WHERE id = ?1")?
        .query_row([client], |row| value::seq(row, 0))
        .optional()
}

pub(super) fn stored_row(row: &Row<'_>) -> rusqlite::Result<StoredRow> {
    Ok(StoredRow { key: value::key(row, 0)?, seq: value::seq(row, 1)?, body: value::body(row, 2)? })
}

fn mutation(row: &Row<'_>) -> rusqlite::Result<MutationRecord> {
    let (outcome, seq) = if let Some(error) = row.get(7)? {
        (Outcome::Rejected(error), None)
    } else if let Some(results) = row.get(8)? {
        (Outcome::Results(results), Some(value::seq(row, 2)?))
    } else {
        let (model, key, method, cid) = (row.get(3)?, value::key(row, 4)?, row.get(5)?, row.get(6)?);
        (Outcome::Confirmed { model, key, method, cid }, Some(value::seq(row, 2)?))
    };
    Ok(MutationRecord { id: value::seq(row, 0)?, hash: row.get::<_, i64>(1)?.cast_unsigned(), outcome, seq })
}

//! The one thread that writes.

use std::{path::Path, sync::Arc, sync::mpsc, thread::JoinHandle};

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::{
    Reply,
    connection::Database,
    error::{cannot, stopped},
    reader::{self, LogRange, Read},
    schema,
    table::{SqlTable, Tables},
    value::{self, SqlBody, SqlKey},
};
use crate::model::{Key, KeyKind};
use crate::store::{
    Change, ClientWrite, Decision, MutationWrite, Opened, Outcome, Precondition, Seq, StoreError, Table,
    Transaction,
    rules::{self, Retention},
};

/// What the writer is asked to do.
pub(super) enum Request {
    Commit(Vec<Transaction>, Reply<Vec<Decision>>),
    ReserveIds(Arc<SqlTable>, u32, Reply<i64>),
    ForgetClients(i64, Reply<u64>),
    Close(Reply<()>),
}

/// The connection that writes, and what it needs.
#[derive(Debug)]
pub(super) struct Writer {
    // The order matters: the connection is closed before the file is let go of.
    connection: Connection,
    readers: Vec<JoinHandle<()>>,
    tables: Arc<Tables>,
    retention: Retention,
    _database: Database,
}

impl Writer {
    /// Opens the database, brings its tables up to date and starts the readers.
    pub(super) fn open(
        path: &Path,
        tables: &[Table],
        retention: Retention,
        reads: mpsc::Receiver<Read>,
    ) -> Result<(Self, Opened), StoreError> {
        rules::check_tables(tables)?;
        let database = Database::lock(path)?;
        let opening = format!("open the database {}", database.path().display());
        if let Some(connection) = database.look().map_err(cannot(&opening))? {
            schema::check_format(&connection, database.path())?;
        }
        let connection = database.writer()?;
        let (tables, opened) =
            transaction(&connection, &opening, || schema::open(&connection, tables, database.path()))?;
        let tables = Arc::new(tables);
        let readers = reader::start(&database, &tables, reads)?;
        tracing::debug!(
            path = %database.path().display(), epoch = %opened.epoch, head = opened.head, sqlite = rusqlite::version(),
            "opened the store"
        );
        Ok((Self { connection, readers, tables, retention, _database: database }, opened))
    }

    pub(super) fn tables(&self) -> Arc<Tables> {
        self.tables.clone()
    }

    /// Serves requests, in order, until it is told to close or nobody can ask any more.
    pub(super) fn run(self, requests: &mpsc::Receiver<Request>) {
        for request in requests {
            // An answer that nobody waits for any more is dropped; what was asked is done.
            match request {
                Request::Commit(batch, reply) => drop(reply.send(self.commit(&batch))),
                Request::ReserveIds(table, count, reply) => drop(reply.send(self.reserve_ids(&table, count))),
                Request::ForgetClients(before, reply) => drop(reply.send(self.forget_clients(before))),
                Request::Close(reply) => {
                    drop(reply.send(self.close()));
                    return;
                }
            }
        }
        if let Err(error) = self.close() {
            tracing::error!(%error, "the store was dropped, and could not be closed well");
        }
    }

    fn commit(&self, batch: &[Transaction]) -> Result<Vec<Decision>, StoreError> {
        rules::check_batch(batch, |model| self.tables.get(model).map(|table| table.kind))?;
        let mut refills = Vec::new();
        let decisions = self.transaction("store a batch", || {
            let LogRange { mut head, horizon } = reader::log_range(&self.connection)?;
            let mut decisions = Vec::with_capacity(batch.len());
            for transaction in batch {
                decisions.push(self.decide(transaction, &mut head)?);
            }
            self.trim_log(head, horizon)?;
            for table in self.tables.values() {
                let end = table.ids.lock().refill();
                if let Some(end) = end {
                    write_next_id(&self.connection, table, end)?;
                    refills.push((table, end));
                }
            }
            Ok(decisions)
        })?;
        for (table, end) in refills {
            table.ids.lock().refilled(end);
        }
        Ok(decisions)
    }

    /// Everything is looked at before anything is written, so that a transaction that is refused leaves nothing to
    /// undo.
    fn decide(&self, transaction: &Transaction, head: &mut Seq) -> rusqlite::Result<Decision> {
        let mut buffer = Uuid::encode_buffer();
        let client = transaction
            .client
            .as_ref()
            .map(|write| (&*write.client.hyphenated().encode_lower(&mut buffer), write));
        if let Some((id, ClientWrite { mutation: Some(mutation), .. })) = client
            && mutation.id != reader::last_mutation(&self.connection, id)?.unwrap_or(0) + 1
        {
            return Ok(Decision::OutOfOrder);
        }
        for precondition in &transaction.preconditions {
            if !self.holds(precondition)? {
                return Ok(Decision::Conflict);
            }
        }
        let decision = if transaction.changes.is_empty() {
            Decision::Recorded
        } else {
            *head += 1;
            for (place, change) in (0..).zip(&transaction.changes) {
                self.apply(change, *head, place)?;
            }
            Decision::Committed(*head)
        };
        if let Some((id, write)) = client {
            self.record(id, write, *head)?;
        }
        Ok(decision)
    }

    fn holds(&self, precondition: &Precondition) -> rusqlite::Result<bool> {
        let Precondition::RowAt { model, key, seq } = precondition;
        let found = match self.tables.get(model) {
            Some(table) if rules::has_kind(key, table.kind) => self
                .connection
                .prepare_cached(&table.sql.seq)?
                .query_row([SqlKey(key)], |row| value::seq(row, 0))
                .optional()?,
            _ => None,
        };
        Ok(found == *seq)
    }

    fn apply(&self, change: &Change, seq: Seq, place: i64) -> rusqlite::Result<()> {
        let Some(table) = self.tables.get(change.model) else {
            // `check_batch` has seen to it that there is one.
            return Err(rusqlite::Error::InvalidQuery);
        };
        let (key, seq) = (SqlKey(&change.key), seq.cast_signed());
        match &change.new {
            Some(body) => {
                if let Key::Int(id) = change.key {
                    table.ids.lock().skip(id);
                }
                self.connection.prepare_cached(&table.sql.put)?.execute(params![key, seq, SqlBody(body)])?;
            }
            None => {
                self.connection.prepare_cached(&table.sql.delete)?.execute([&key])?;
            }
        }
        self.connection
            .prepare_cached(
                "INSERT INTO sync_log (seq, idx, model, id, cid, old, new) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                seq,
                place,
                table.name,
                key,
                change.cid,
                change.old.as_ref().map(SqlBody),
                change.new.as_ref().map(SqlBody),
            ])?;
        Ok(())
    }

    fn record(&self, client: &str, write: &ClientWrite, head: Seq) -> rusqlite::Result<()> {
        if let Some(ack) = write.ack {
            self.connection
                .prepare_cached("DELETE FROM sync_mutations WHERE client = ?1 AND id <= ?2")?
                .execute(params![client, i64::try_from(ack).unwrap_or(i64::MAX)])?;
        }
        if let Some(MutationWrite { id, hash, outcome }) = &write.mutation {
            let (model, key, method, cid, results, rejected) = match outcome {
                Outcome::Confirmed { model, key, method, cid } => {
                    (Some(model), Some(SqlKey(key)), Some(method), cid.as_ref(), None, None)
                }
                Outcome::Results(results) => (None, None, None, None, Some(results), None),
                Outcome::Rejected(error) => (None, None, None, None, None, Some(error)),
            };
            let seq = (!outcome.is_rejected()).then_some(head.cast_signed());
            self.connection
                .prepare_cached(
                    "INSERT INTO sync_mutations (client, id, hash, seq, model, key, method, cid, results, rejected) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                )?
                .execute(params![
                    client,
                    id.cast_signed(),
                    hash.cast_signed(),
                    seq,
                    model,
                    key,
                    method,
                    cid,
                    results,
                    rejected
                ])?;
        }
        let last = write.mutation.as_ref().map_or(0, |mutation| mutation.id.cast_signed());
        self.connection
            .prepare_cached(
                "INSERT INTO sync_clients (id, last, seen, subject) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) \
                 DO UPDATE SET last = max(last, excluded.last), seen = max(seen, excluded.seen), \
                 subject = coalesce(subject, excluded.subject)",
            )?
            .execute(params![client, last, write.seen, write.subject])?;
        Ok(())
    }

    fn trim_log(&self, head: Seq, horizon: Seq) -> rusqlite::Result<()> {
        let Some(horizon) = self.retention.horizon(head, horizon) else { return Ok(()) };
        let horizon = horizon.cast_signed();
        self.connection.prepare_cached("DELETE FROM sync_log WHERE seq <= ?1")?.execute([horizon])?;
        self.connection
            .prepare_cached("UPDATE sync_meta SET value = ?1 WHERE name = 'horizon'")?
            .execute([horizon])?;
        Ok(())
    }

    fn reserve_ids(&self, table: &SqlTable, count: u32) -> Result<i64, StoreError> {
        loop {
            let taken = table.ids.lock().take(table.name, count)?;
            if let Some(first) = taken {
                return Ok(first);
            }
            let end = table.ids.lock().refill_for(count);
            self.transaction("reserve ids", || write_next_id(&self.connection, table, end))?;
            // Another caller may take them first; then there is another round.
            table.ids.lock().refilled(end);
        }
    }

    fn forget_clients(&self, before: i64) -> Result<u64, StoreError> {
        self.transaction("forget clients", || {
            self.connection
                .prepare_cached(
                    "DELETE FROM sync_mutations WHERE client IN (SELECT id FROM sync_clients WHERE seen < ?1)",
                )?
                .execute([before])?;
            let forgotten =
                self.connection.prepare_cached("DELETE FROM sync_clients WHERE seen < ?1")?.execute([before])?;
            Ok(forgotten as u64)
        })
    }

    fn close(self) -> Result<(), StoreError> {
        let mut fault = None;
        for reader in self.readers {
            if reader.join().is_err() {
                fault = Some(stopped());
            }
        }
        let ids = transaction(&self.connection, "give unused ids back", || {
            for table in self.tables.values().filter(|table| table.kind == KeyKind::Int) {
                let next = table.ids.lock().unused();
                if let Some(next) = next {
                    write_next_id(&self.connection, table, next).map_err(cannot("give unused ids back"))?;
                }
            }
            Ok(())
        });
        // Everything is in the log and on the disk already: this only leaves one file instead of two. Where a program
        // from outside reads, it is left undone.
        let checkpoint = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))
            .map_err(cannot("empty the database's log"));
        let closed = self.connection.close().map_err(|(_, error)| cannot("close the database")(error));
        ids.and(checkpoint).and(closed).and(fault.map_or(Ok(()), Err))
    }

    fn transaction<T>(
        &self,
        what: &str,
        work: impl FnOnce() -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        transaction(&self.connection, what, || work().map_err(cannot(what)))
    }
}

/// Does some work as one transaction. After an error the connection is ready for the next one.
fn transaction<T>(
    connection: &Connection,
    what: &str,
    work: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let execute = |sql| connection.prepare_cached(sql).and_then(|mut statement| statement.execute(()));
    if !connection.is_autocommit() {
        // The last one could not be rolled back.
        execute("ROLLBACK").map_err(cannot(what))?;
    }
    execute("BEGIN IMMEDIATE").map_err(cannot(what))?;
    let result = work().and_then(|value| {
        execute("COMMIT").map_err(cannot(what))?;
        Ok(value)
    });
    // After some errors SQLite has rolled back by itself.
    if result.is_err()
        && !connection.is_autocommit()
        && let Err(error) = execute("ROLLBACK")
    {
        tracing::error!(%error, "cannot roll back");
    }
    result
}

fn write_next_id(connection: &Connection, table: &SqlTable, next: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE sync_models SET next_id = ?2 WHERE name = ?1")?
        .execute(params![table.name, next])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use bytes::Bytes;

    use super::Writer;
    use crate::{
        model::{Key, KeyKind},
        store::{Change, Decision, Table, Transaction, rules::Retention},
    };

    #[test]
    fn a_full_disk_loses_nothing_but_the_batch() {
        let folder = tempfile::tempdir().unwrap();
        let (_reads, queue) = mpsc::channel();
        let table = Table::new("Todo", KeyKind::Int, vec![], 1, |_| unreachable!("there are no rows"));
        let (writer, _) =
            Writer::open(&folder.path().join("test.db"), &[table], Retention::default(), queue).unwrap();
        let limit = |pages: i64| {
            writer.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
        };
        let put = |id, length: usize| {
            let new = Some(Bytes::from(format!("\"{}\"", "x".repeat(length))));
            let change = Change { model: "Todo", key: Key::Int(id), cid: None, old: None, new };
            Transaction { changes: [change].into_iter().collect(), ..Transaction::default() }
        };
        let rows = || {
            let sql = "SELECT (SELECT count(*) FROM Todo), (SELECT count(*) FROM sync_log)";
            writer.connection.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
        };
        assert_eq!(writer.commit(&[put(1, 10)]).unwrap(), [Decision::Committed(1)]);
        limit(20);
        let error = writer.commit(&[put(2, 10), put(3, 1_000_000)]).unwrap_err().to_string();
        assert_eq!(error, "cannot store a batch: the disk is full (database or disk is full)");
        assert_eq!(rows(), (1, 1));
        assert_eq!(writer.commit(&[put(2, 10)]).unwrap(), [Decision::Committed(2)]);
        limit(1_000_000);
        assert_eq!(writer.commit(&[put(3, 1_000_000)]).unwrap(), [Decision::Committed(3)]);
        assert_eq!(rows(), (3, 3));
    }
}

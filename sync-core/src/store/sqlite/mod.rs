//! The durable store of one process: an `SQLite` database.
//!
//! One thread writes ([`writer`]): every batch is one `SQLite` transaction, so that one flush serves all of it. Two
//! more read ([`reader`]), each with a connection of its own, so that reads neither wait for the writer nor hold it
//! up. The rest is the file and its lock ([`connection`]), the tables of the models ([`table`]) and bringing them up
//! to date at the start ([`schema`]).

#[cfg(test)]
mod agreement;
mod backup;
mod connection;
mod error;
mod page;
#[cfg(test)]
mod plans;
mod reader;
mod schema;
mod table;
mod value;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use uuid::Uuid;

use self::{
    reader::{Read, Reader},
    table::{SqlTable, Tables},
    writer::{Request, Writer},
};
use super::{
    ClientRecord, Decision, LogPage, Opened, Page, Select, Seq, Store, StoreError, StoreFuture, StoredRow,
    Table, Transaction,
    rules::{self, Retention},
};
use crate::model::{Key, KeyKind};

/// A store in an `SQLite` database: durable, in one file, for one process.
///
/// A transaction that was committed is on the disk, in WAL mode with `synchronous=FULL`: it survives the loss of the
/// process and of power. What a process leaves in the log (`-wal`) is written and flushed again when the next one opens
/// it, before anything of it is believed: the flush may have failed. A database that a later version has written is
/// refused before anything of it is changed.
///
/// # The file, to read with the `sqlite3` shell
///
/// A model has a table of its name with the columns `id`, `seq` and `body` (the row as JSON), and an indexed column
/// for each field that is marked `index`, computed from the body (1 and 0 for booleans, NULL for arrays and objects). (A field called `id`, `seq` or `body`, or like
/// another in all but case, has a column with `_` behind its name.) It may be read while the server runs:
///
/// ```text
/// $ sqlite3 todo.db "SELECT id, body ->> 'title' FROM Todo WHERE completed"
/// ```
///
/// but must not be written then, because nobody would be told. The store's own tables begin with `sync_`.
///
/// Beside the file lie `SQLite`'s `-wal` and `-shm`, and `-lock`, which keeps a second process away; the system lets
/// go of that lock when the process ends, however it does. [`backup`](Self::backup) copies the database, also while it is served, and
/// [`restore`](Self::restore) puts a copy in its place. Put there in another way, a copy that `backup` has made is as good; one that something
/// else has made needs `DELETE FROM sync_meta WHERE name = 'epoch'` first.
///
/// # Cost
///
/// Three threads; up to 16 MiB of cache for the writer and 2 MiB for each of the two readers.
pub struct SqliteStore {
    path: PathBuf,
    retention: Retention,
    running: Mutex<Option<Running>>,
}

impl SqliteStore {
    /// The store in the file at `path`, which [`open`](Store::open) creates where it is missing. Its folder must exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), retention: Retention::default(), running: Mutex::new(None) }
    }

    /// Keeps at least the last `transactions` of the log, which is how far a client may be behind and still resume:
    /// 100,000 by default. Each costs the disk space of its bodies, old and new.
    #[must_use]
    pub fn log_retention(mut self, transactions: u64) -> Self {
        self.retention.transactions = transactions;
        self
    }

    /// Copies the database at `database` into the new file `to`, as it is at one moment, also while a server in this or another process serves
    /// it, which is not held up. The copy is one file, without the free space of the original, and on the disk when this returns.
    ///
    /// It is made beside `to` under a name that begins with `.sync-copy-`, and gets its own when it is whole: nothing is overwritten, and when the
    /// process is killed there is no half copy of that name. Only its owner may read it.
    ///
    /// It blocks the thread, for as long as it takes to read all rows and write them; and what is written meanwhile makes the database's log
    /// longer.
    ///
    /// # Errors
    /// When there is no database, a later version has written it, `to` exists, or the disk fails or is full: then there is no copy.
    pub fn backup(database: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), StoreError> {
        backup::backup(database.as_ref(), to.as_ref())
    }

    /// Copies what [`backup`](Self::backup) has made into the place of a database, `database`, which must not exist, nor its log (`-wal`): move them
    /// away first. The copy is checked for damage, and stays. When this returns, the database is whole and on the disk; before that there is none.
    ///
    /// The store begins a new epoch when it is opened, and knows no client: those that return take a new id, read their rows anew, and hold of what
    /// they had sent without an answer that its outcome is unknown. Nothing is run twice.
    ///
    /// It blocks the thread.
    ///
    /// # Errors
    /// When the copy cannot be read, is damaged, or was written by a later version; when there is something in the place, or a server has it open;
    /// when the disk fails or is full.
    pub fn restore(from: impl AsRef<Path>, database: impl AsRef<Path>) -> Result<(), StoreError> {
        backup::restore(from.as_ref(), database.as_ref())
    }

    /// Sends a request, and waits for the answer.
    fn ask<'a, T: Send + 'static>(
        &'a self,
        send: impl FnOnce(&Running, Reply<T>) -> Result<(), StoreError> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.with(|running| send(running, reply))?;
            answer.await.map_err(|_| error::stopped())?
        })
    }

    /// Has a reader look something up.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        self.ask(move |running, reply| running.read(read, reply))
    }

    fn with<T>(&self, act: impl FnOnce(&Running) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.running.lock().as_ref().ok_or_else(rules::not_open).and_then(act)
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for SqliteStore {
    /// Waits for what is under way, then closes the file.
    fn drop(&mut self) {
        if let Some(Running { writer, reads, thread, .. }) = self.running.get_mut().take() {
            drop((writer, reads));
            // If the thread panicked, the panic's message was printed.
            let _ = thread.join();
        }
    }
}

impl Store for SqliteStore {
    fn open<'a>(&'a self, tables: &'a [Table]) -> StoreFuture<'a, Opened> {
        Box::pin(async move {
            if self.running.lock().is_some() {
                return Err(StoreError::new("the store is open already"));
            }
            let (running, opened) =
                Running::start(self.path.clone(), tables.to_vec(), self.retention).await?;
            // No other call can have got here meanwhile: the file is locked.
            *self.running.lock() = Some(running);
            Ok(opened)
        })
    }

    fn allocate_ids<'a>(&'a self, model: &'a str, count: u32) -> StoreFuture<'a, i64> {
        Box::pin(async move {
            let table = self.with(|running| running.table(model))?;
            if table.kind == KeyKind::Text {
                return Err(rules::text_ids(model));
            }
            let taken = table.ids.lock().take(model, count)?;
            if let Some(first) = taken {
                return Ok(first);
            }
            self.ask(move |running, reply| running.write(Request::ReserveIds(table, count, reply))).await
        })
    }

    fn commit(&self, batch: Vec<Transaction>) -> StoreFuture<'_, Vec<Decision>> {
        self.ask(move |running, reply| running.write(Request::Commit(batch, reply)))
    }

    fn get<'a>(&'a self, model: &'a str, key: &'a Key) -> StoreFuture<'a, Option<StoredRow>> {
        self.ask(move |running, reply| {
            let (table, key) = (running.table(model)?, key.clone());
            running.read(move |reader| reader.get(&table, &key), reply)
        })
    }

    fn page<'a>(&'a self, model: &'a str, select: &'a Select) -> StoreFuture<'a, Page> {
        self.ask(move |running, reply| {
            let (table, select) = (running.table(model)?, select.clone());
            if let Some(after) = &select.after {
                rules::check_key(model, table.kind, &after.key)?;
            }
            running.read(move |reader| reader.page(&table, &select), reply)
        })
    }

    fn log(&self, after: Seq, max_bytes: usize) -> StoreFuture<'_, LogPage> {
        self.read(move |reader| reader.log(after, max_bytes))
    }

    fn client(&self, client: Uuid) -> StoreFuture<'_, Option<ClientRecord>> {
        self.read(move |reader| reader.client(client))
    }

    fn forget_clients(&self, before: i64) -> StoreFuture<'_, u64> {
        self.ask(move |running, reply| running.write(Request::ForgetClients(before, reply)))
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let running = self.running.lock().take();
            let Running { writer, reads, .. } = running.ok_or_else(rules::not_open)?;
            // The readers end when they have answered what was asked before; the writer waits for them.
            drop(reads);
            let (reply, answer) = oneshot::channel();
            writer.send(Request::Close(reply)).map_err(|_| error::stopped())?;
            answer.await.map_err(|_| error::stopped())?
        })
    }
}

/// An open store: the ways to its threads.
///
/// The queues have no bound of their own: in each waits at most one request for every future that is being polled.
struct Running {
    tables: Arc<Tables>,
    writer: mpsc::Sender<Request>,
    reads: mpsc::Sender<Read>,
    thread: JoinHandle<()>,
}

impl Running {
    async fn start(
        path: PathBuf,
        tables: Vec<Table>,
        retention: Retention,
    ) -> Result<(Self, Opened), StoreError> {
        let (writer, requests) = mpsc::channel();
        let (reads, queue) = mpsc::channel();
        let (started, opened) = oneshot::channel();
        let run = move || match Writer::open(&path, &tables, retention, queue) {
            Ok((writer, opened)) => {
                let _ = started.send(Ok((writer.tables(), opened)));
                // If nobody waits any more, `requests` has no other end, and this closes the file.
                writer.run(&requests);
            }
            Err(error) => drop(started.send(Err(error))),
        };
        let thread = thread::Builder::new()
            .name("sync store writer".into())
            .spawn(run)
            .map_err(|error| StoreError::new("cannot start the store's thread").with_source(error))?;
        let (tables, opened) = opened.await.map_err(|_| error::stopped())??;
        Ok((Self { tables, writer, reads, thread }, opened))
    }

    fn table(&self, model: &str) -> Result<Arc<SqlTable>, StoreError> {
        self.tables.get(model).cloned().ok_or_else(|| rules::not_opened(model))
    }

    fn write(&self, request: Request) -> Result<(), StoreError> {
        self.writer.send(request).map_err(|_| error::stopped())
    }

    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
        reply: Reply<T>,
    ) -> Result<(), StoreError> {
        let read: Read = Box::new(move |reader| {
            if !reply.is_closed() {
                let _ = reply.send(read(reader));
            }
        });
        self.reads.send(read).map_err(|_| error::stopped())
    }
}

/// Where an answer goes; whoever asked may have left.
type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

//! The store that forgets: everything in memory.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    ops::Bound,
};

use bytes::Bytes;
use parking_lot::Mutex;
use uuid::Uuid;

use super::{
    Change, ClientRecord, ClientWrite, Decision, LogEntry, LogPage, MutationRecord, Opened, Page,
    Precondition, Select, Seq, Store, StoreError, StoreFuture, StoredRow, Table, Transaction,
    gather::Gather,
    rules::{self, Budget, Retention},
};
use crate::model::{Key, KeyKind};

/// A store in memory: for tests, demonstrations and simulations. It keeps every promise of [`Store`] but to outlive
/// the process.
///
/// Its futures are ready when they are first polled, it starts no threads and, but for the epoch, holds nothing that
/// differs from run to run. [`open`](Store::open) may be called again at any time, with other models too, and finds
/// what was there: that is a restart.
///
/// ```
/// use sync_core::store::{MemoryStore, Store};
///
/// # async fn start() -> Result<(), sync_core::store::StoreError> {
/// let store = MemoryStore::new();
/// let opened = store.open(&[]).await?;
/// assert_eq!(opened.head, 0);
/// # Ok(())
/// # }
/// ```
pub struct MemoryStore {
    epoch: Uuid,
    retention: Retention,
    state: Mutex<State>,
}

impl MemoryStore {
    /// An empty store with an epoch of its own.
    pub fn new() -> Self {
        Self::with_epoch(Uuid::new_v4())
    }

    /// An empty store with this epoch, for simulations that must be the same in every run.
    pub fn with_epoch(epoch: Uuid) -> Self {
        Self { epoch, retention: Retention::default(), state: Mutex::default() }
    }

    /// Keeps at least the last `transactions` of the log, which is how far a client may be behind and still resume:
    /// 100,000 by default. Each costs the memory of its bodies, old and new.
    #[must_use]
    pub fn log_retention(mut self, transactions: u64) -> Self {
        self.retention.transactions = transactions;
        self
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let state = self.state.lock();
        if state.open { read(&state) } else { Err(rules::not_open()) }
    }

    fn write<T>(&self, write: impl FnOnce(&mut State) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut state = self.state.lock();
        if state.open { write(&mut state) } else { Err(rules::not_open()) }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("MemoryStore")
            .field("epoch", &self.epoch)
            .field("head", &state.head)
            .field("horizon", &state.horizon)
            .finish_non_exhaustive()
    }
}

impl Store for MemoryStore {
    fn open<'a>(&'a self, tables: &'a [Table]) -> StoreFuture<'a, Opened> {
        Box::pin(async move {
            let mut state = self.state.lock();
            state.open(tables)?;
            Ok(Opened { epoch: self.epoch, head: state.head })
        })
    }

    fn allocate_ids<'a>(&'a self, model: &'a str, count: u32) -> StoreFuture<'a, i64> {
        Box::pin(async move { self.write(|state| state.allocate_ids(model, count)) })
    }

    fn commit(&self, batch: Vec<Transaction>) -> StoreFuture<'_, Vec<Decision>> {
        Box::pin(async move { self.write(|state| state.commit(batch, self.retention)) })
    }

    fn get<'a>(&'a self, model: &'a str, key: &'a Key) -> StoreFuture<'a, Option<StoredRow>> {
        Box::pin(async move { self.read(|state| Ok(state.model(model)?.row(key))) })
    }

    fn page<'a>(&'a self, model: &'a str, select: &'a Select) -> StoreFuture<'a, Page> {
        Box::pin(async move { self.read(|state| state.page(model, select)) })
    }

    fn log(&self, after: Seq, max_bytes: usize) -> StoreFuture<'_, LogPage> {
        Box::pin(async move { self.read(|state| Ok(state.log(after, max_bytes))) })
    }

    fn client(&self, client: Uuid) -> StoreFuture<'_, Option<ClientRecord>> {
        Box::pin(async move { self.read(|state| Ok(state.clients.get(&client).map(Client::record))) })
    }

    fn forget_clients(&self, before: i64) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            self.write(|state| {
                let known = state.clients.len();
                state.clients.retain(|_, client| client.seen >= before);
                Ok((known - state.clients.len()) as u64)
            })
        })
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.write(|state| {
                state.open = false;
                Ok(())
            })
        })
    }
}

#[derive(Default)]
struct State {
    open: bool,
    models: BTreeMap<&'static str, Model>,
    clients: BTreeMap<Uuid, Client>,
    log: VecDeque<LogEntry>,
    head: Seq,
    horizon: Seq,
}

impl State {
    fn open(&mut self, tables: &[Table]) -> Result<(), StoreError> {
        rules::check_tables(tables)?;
        // Everything that can fail comes first, so that a failed start changes nothing.
        let mut changed = Vec::new();
        for table in tables {
            if let Some(model) = self.models.get(table.name)
                && model.hash != table.hash
            {
                changed.push((table.name, model.reencode(table)?));
            }
        }
        if !changed.is_empty() {
            self.horizon = self.head;
            self.log.clear();
        }
        for (name, rows) in changed {
            if let Some(model) = self.models.get_mut(name) {
                model.rows = rows;
            }
        }
        for model in self.models.values_mut() {
            model.open = false;
        }
        for table in tables {
            let model = self.models.entry(table.name).or_insert_with(|| Model {
                open: true,
                kind: table.key_kind,
                hash: table.hash,
                rows: BTreeMap::new(),
                next_id: 1,
            });
            model.open = true;
            model.kind = table.key_kind;
            model.hash = table.hash;
        }
        self.open = true;
        Ok(())
    }

    fn model(&self, name: &str) -> Result<&Model, StoreError> {
        self.models.get(name).filter(|model| model.open).ok_or_else(|| rules::not_opened(name))
    }

    fn allocate_ids(&mut self, name: &str, count: u32) -> Result<i64, StoreError> {
        let model =
            self.models.get_mut(name).filter(|model| model.open).ok_or_else(|| rules::not_opened(name))?;
        if model.kind == KeyKind::Text {
            return Err(rules::text_ids(name));
        }
        let (first, next) = rules::ids_from(name, model.next_id, count)?;
        model.next_id = next;
        Ok(first)
    }

    fn commit(&mut self, batch: Vec<Transaction>, retention: Retention) -> Result<Vec<Decision>, StoreError> {
        rules::check_batch(&batch, |model| self.model(model).ok().map(|model| model.kind))?;
        let decisions = batch.into_iter().map(|transaction| self.decide(transaction)).collect();
        if let Some(horizon) = retention.horizon(self.head, self.horizon) {
            self.horizon = horizon;
            self.log.drain(..self.log.partition_point(|entry| entry.seq <= horizon));
        }
        Ok(decisions)
    }

    fn decide(&mut self, transaction: Transaction) -> Decision {
        if !transaction.client.as_ref().is_none_or(|write| self.in_order(write)) {
            return Decision::OutOfOrder;
        }
        if !transaction.preconditions.iter().all(|precondition| self.holds(precondition)) {
            return Decision::Conflict;
        }
        let decision = if transaction.changes.is_empty() {
            Decision::Recorded
        } else {
            self.head += 1;
            for change in &transaction.changes {
                if let Some(model) = self.models.get_mut(change.model) {
                    model.apply(change, self.head);
                }
            }
            self.log.push_back(LogEntry { seq: self.head, changes: transaction.changes });
            Decision::Committed(self.head)
        };
        if let Some(write) = transaction.client {
            self.clients.entry(write.client).or_default().apply(write, self.head);
        }
        decision
    }

    fn in_order(&self, write: &ClientWrite) -> bool {
        let last = self.clients.get(&write.client).map_or(0, |client| client.last);
        write.mutation.as_ref().is_none_or(|mutation| mutation.id == last + 1)
    }

    fn holds(&self, precondition: &Precondition) -> bool {
        match precondition {
            Precondition::RowAt { model, key, seq } => {
                let row = self.models.get(model).and_then(|model| model.rows.get(key));
                row.map(|row| row.seq) == *seq
            }
        }
    }

    fn page(&self, name: &str, select: &Select) -> Result<Page, StoreError> {
        let model = self.model(name)?;
        if let Some(after) = &select.after {
            rules::check_key(name, model.kind, &after.key)?;
        }
        // In the order of the keys what comes before is not looked at.
        let after = select.after.as_ref().filter(|_| select.order_by().is_empty());
        let start = after.map_or(Bound::Unbounded, |after| Bound::Excluded(&after.key));
        let by_key = select.order_by().is_empty();
        let mut gather = if by_key { Gather::in_order(select) } else { Gather::new(select) };
        for (key, row) in model.rows.range::<Key, _>((start, Bound::Unbounded)) {
            if !gather.add(row.stored(key)) {
                break;
            }
        }
        Ok(gather.page(self.head))
    }

    fn log(&self, after: Seq, max_bytes: usize) -> LogPage {
        let mut page = LogPage { transactions: Vec::new(), head: self.head, horizon: self.horizon };
        if after < self.horizon {
            return page;
        }
        let mut budget = Budget::new(max_bytes);
        for entry in self.log.range(self.log.partition_point(|entry| entry.seq <= after)..) {
            if !budget.take(entry.changes.iter().map(Change::body_bytes).sum()) {
                break;
            }
            let changes = entry.changes.iter().filter(|change| self.model(change.model).is_ok()).cloned();
            page.transactions.push(LogEntry { seq: entry.seq, changes: changes.collect() });
        }
        page
    }
}

struct Model {
    open: bool,
    kind: KeyKind,
    hash: u64,
    rows: BTreeMap<Key, Row>,
    next_id: i64,
}

impl Model {
    fn row(&self, key: &Key) -> Option<StoredRow> {
        self.rows.get(key).map(|row| row.stored(key))
    }

    fn apply(&mut self, change: &Change, seq: Seq) {
        match &change.new {
            Some(body) => {
                if let Key::Int(id) = change.key {
                    self.next_id = self.next_id.max(id.saturating_add(1));
                }
                self.rows.insert(change.key.clone(), Row { seq, body: body.clone() });
            }
            None => drop(self.rows.remove(&change.key)),
        }
    }

    fn reencode(&self, table: &Table) -> Result<BTreeMap<Key, Row>, StoreError> {
        let reencode = |(key, row): (&Key, &Row)| {
            let (decoded, body) = (table.reencode)(&row.body).map_err(|error| {
                StoreError::new(format!(
                    "the row {key:?} of `{}` does not decode as the model is now: {error}",
                    table.name
                ))
                .with_source(error)
            })?;
            if decoded != *key {
                return Err(StoreError::new(format!(
                    "the row {key:?} of `{}` decodes with another id: {decoded:?}",
                    table.name
                )));
            }
            Ok((decoded, Row { seq: row.seq, body }))
        };
        self.rows.iter().map(reencode).collect()
    }
}

struct Row {
    seq: Seq,
    body: Bytes,
}

impl Row {
    fn stored(&self, key: &Key) -> StoredRow {
        StoredRow { key: key.clone(), seq: self.seq, body: self.body.clone() }
    }
}

#[derive(Default)]
struct Client {
    subject: Option<Box<str>>,
    last: u64,
    seen: i64,
    mutations: VecDeque<MutationRecord>,
}

impl Client {
    fn apply(&mut self, write: ClientWrite, head: Seq) {
        self.seen = self.seen.max(write.seen);
        self.subject = self.subject.take().or(write.subject);
        if let Some(ack) = write.ack {
            self.mutations.drain(..self.mutations.partition_point(|mutation| mutation.id <= ack));
        }
        if let Some(mutation) = write.mutation {
            self.last = mutation.id;
            let seq = (!mutation.outcome.is_rejected()).then_some(head);
            self.mutations.push_back(MutationRecord {
                id: mutation.id,
                hash: mutation.hash,
                outcome: mutation.outcome,
                seq,
            });
        }
    }

    fn record(&self) -> ClientRecord {
        ClientRecord {
            subject: self.subject.clone(),
            last: self.last,
            mutations: self.mutations.iter().cloned().collect(),
        }
    }
}

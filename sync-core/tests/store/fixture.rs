//! Stores to test, and short words for what is put into them.

use std::{fmt, ops::Deref, sync::Arc};

use bytes::Bytes;
use serde_json::{Value, json};
use smallvec::SmallVec;
use sync_core::{
    Key, KeyKind,
    store::{
        Change, ClientWrite, Decision, MemoryStore, MutationWrite, Outcome, Place, Precondition, Select, Seq,
        Store, Table, Transaction,
    },
};
use uuid::Uuid;

/// A store, with what must live as long.
pub(crate) struct Subject {
    pub(crate) store: Arc<dyn Store>,
    _folder: Option<tempfile::TempDir>,
}

impl Deref for Subject {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

impl Subject {
    /// Closes and opens again.
    pub(crate) async fn reopen(&self, tables: &[Table]) -> sync_core::store::Opened {
        self.close().await.unwrap();
        self.open(tables).await.unwrap()
    }

    /// Commits one transaction.
    pub(crate) async fn one(&self, transaction: Transaction) -> Decision {
        self.commit(vec![transaction]).await.unwrap()[0]
    }
}

/// A memory store that is not open yet.
pub(crate) fn memory(retention: u64) -> Subject {
    Subject { store: Arc::new(MemoryStore::new().log_retention(retention)), _folder: None }
}

/// An `SQLite` store in a folder of its own that is not open yet.
#[cfg(feature = "sqlite")]
pub(crate) fn sqlite(retention: u64) -> Subject {
    let folder = tempfile::tempdir().unwrap();
    let store = sync_core::store::SqliteStore::new(folder.path().join("test.db")).log_retention(retention);
    Subject { store: Arc::new(store), _folder: Some(folder) }
}

/// Two models with integer ids and one with text ids.
pub(crate) fn tables() -> Vec<Table> {
    vec![
        Table::new("Todo", KeyKind::Int, vec!["list", "done"], 1, reencode),
        Table::new("Note", KeyKind::Text, vec![], 1, reencode),
        Table::new("Other", KeyKind::Int, vec![], 1, reencode),
    ]
}

/// Any JSON with an `id`, as it is.
pub(crate) fn reencode(body: &[u8]) -> Result<(Key, Bytes), serde_json::Error> {
    let value: Value = serde_json::from_slice(body)?;
    let key = match &value["id"] {
        Value::Number(id) => Key::Int(id.as_i64().unwrap()),
        id => Key::Text(id.as_str().unwrap().into()),
    };
    Ok((key, Bytes::copy_from_slice(body)))
}

pub(crate) fn int(id: i64) -> Key {
    Key::Int(id)
}

pub(crate) fn text(id: &str) -> Key {
    Key::Text(id.into())
}

/// A row's body.
pub(crate) fn body(key: &Key, title: &str) -> Bytes {
    Bytes::from(
        serde_json::to_vec(&json!({ "id": key, "title": title, "list": "home", "done": false })).unwrap(),
    )
}

/// A body of exactly this length.
pub(crate) fn body_of(key: &Key, length: usize) -> Bytes {
    let empty = body(key, "").len();
    body(key, &"x".repeat(length - empty))
}

pub(crate) fn create(model: &'static str, key: Key, new: Bytes) -> Change {
    Change { model, key, cid: None, old: None, new: Some(new) }
}

pub(crate) fn update(model: &'static str, key: Key, old: Bytes, new: Bytes) -> Change {
    Change { model, key, cid: None, old: Some(old), new: Some(new) }
}

pub(crate) fn delete(model: &'static str, key: Key, old: Bytes) -> Change {
    Change { model, key, cid: None, old: Some(old), new: None }
}

/// A row with a title, in a transaction of its own.
pub(crate) fn put(model: &'static str, key: Key, title: &str) -> Transaction {
    let new = body(&key, title);
    changes([create(model, key, new)])
}

pub(crate) fn changes(changes: impl IntoIterator<Item = Change>) -> Transaction {
    Transaction { changes: changes.into_iter().collect(), ..Transaction::default() }
}

pub(crate) fn row_at(model: &'static str, key: Key, seq: Option<Seq>) -> Precondition {
    Precondition::RowAt { model, key, seq }
}

/// What reads well in a test.
pub(crate) trait TransactionExt {
    fn requires(self, precondition: Precondition) -> Self;
    fn by(self, client: ClientWrite) -> Self;
}

impl TransactionExt for Transaction {
    fn requires(mut self, precondition: Precondition) -> Self {
        self.preconditions.push(precondition);
        self
    }

    fn by(mut self, client: ClientWrite) -> Self {
        self.client = Some(client);
        self
    }
}

/// The client with this number.
pub(crate) fn client(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// Rows in the order of their ids.
pub(crate) fn keys(after: Option<&Key>, limit: usize, max_bytes: usize) -> Select {
    Select::all().after(after.cloned().map(Place::by_key)).limit(limit).max_bytes(max_bytes)
}

/// A client that was seen, and nothing more.
pub(crate) fn seen(number: u128, seen: i64) -> ClientWrite {
    ClientWrite { client: client(number), subject: None, seen, ack: None, mutation: None }
}

/// A client's mutation.
pub(crate) fn mutation(number: u128, id: u64, outcome: Outcome) -> ClientWrite {
    ClientWrite { mutation: Some(MutationWrite { id, hash: u64::MAX - id, outcome }), ..seen(number, 0) }
}

pub(crate) fn confirmed(model: &str, key: Key) -> Outcome {
    Outcome::Confirmed { model: model.into(), key, method: "create".into(), cid: Some("c\"1'é".into()) }
}

/// All rows of a model, read in pages.
pub(crate) async fn rows(store: &dyn Store, model: &str, limit: usize) -> Vec<(Key, Seq, Bytes)> {
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let page = store.page(model, &keys(after.as_ref(), limit, usize::MAX)).await.unwrap();
        rows.extend(page.rows.into_iter().map(|row| (row.key, row.seq, row.body)));
        if page.next.is_none() {
            return rows;
        }
        after = rows.last().map(|(key, ..)| key.clone());
    }
}

/// The seqs and changes of the whole log after `after`, read in pages.
pub(crate) async fn log(
    store: &dyn Store,
    mut after: Seq,
    max_bytes: usize,
) -> Vec<(Seq, SmallVec<[Change; 1]>)> {
    let mut entries = Vec::new();
    loop {
        let page = store.log(after, max_bytes).await.unwrap();
        let Some(last) = page.transactions.last() else { return entries };
        after = last.seq;
        entries.extend(page.transactions.into_iter().map(|entry| (entry.seq, entry.changes)));
    }
}

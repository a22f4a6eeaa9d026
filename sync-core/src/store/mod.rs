//! Where rows are kept: the [`Store`] trait, and the stores.
//!
//! A store takes batches of transactions, gives each the next number of one gapless order, and hands out rows, pages
//! and the log of changes, each with the seq that it was read at. It knows no handlers, clients' rights or sockets,
//! and nothing in the trait speaks of SQL: the JSON of a row is opaque but for the fields that a [`Table`] says are
//! indexed.
//!
//! # A store of your own
//!
//! Implement [`Store`], and give it to the builder as `custom_store`. What every store must do is in `tests/store/conformance.rs` of this crate: add yours
//! at its end.
//!
//! Rows are asked for by a [`Select`]: a filter, an order, a place to go on after, and how many rows. What it means is defined by this crate and not by a
//! database, down to the last value: `true` is not 1, whole numbers do not lose digits, text goes by code point, a row that is equal to another comes by its
//! id. So do not translate it; narrow it down, and let [`Gather`] judge each row and make the page:
//!
//! * The simplest [`page`](Store::page) adds all rows of the model to [`Gather::new`], which sorts them, and keeps no more than it needs.
//! * [`Select::spans`] says which values an indexed field can have in the rows of the filter: a look-up by index then gives it fewer rows. It may be too many,
//!   such as where a database rounds numbers, but never too few.
//! * Rows that come in the order that is asked for go to [`Gather::in_order`], which says when the page is full; it can begin at
//!   [`Select::begin`]. For [`Select::order_by`] the rows must come exactly as [`Place::compare`] has them; in the order of the ids that is easy.
//!
//! All rows of a page are of one seq. A page's [`next`](Page::next) is where to read on: callers go on until it is `None`, also when a page has fewer rows than
//! they asked for, or none.

mod gather;
mod memory;
mod rules;
mod select;
mod span;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::{error::Error as StdError, fmt, future::Future, pin::Pin};

use bytes::Bytes;
use smallvec::SmallVec;
use uuid::Uuid;

use crate::model::{Key, KeyKind};

#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteStore;
pub use self::{gather::Gather, memory::MemoryStore, select::Select, span::Span};
pub use crate::model::{Kind, OrderBy, Place};

/// The number of a transaction in the store's one gapless order: 1, 2, 3, …; 0 is before all of them.
pub type Seq = u64;

/// The number of a client's mutation: 1, 2, 3, …
pub type MutationId = u64;

/// What a store's calls return.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A durable, ordered record of rows.
///
/// Calls may overlap. `commit` is called by one caller at a time; reads never wait for it, and see all or nothing of
/// a transaction. A dropped future may have done its work or not; a `commit` that was started is carried to its end.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Makes ready for these models, before any other call: creates what is missing, adds and drops indexes, and, for
    /// a model whose stored [`Table::hash`] differs, passes every row through [`Table::reencode`] and stores what
    /// comes back where it differs (without a seq: it is the same row). Changing any model's hash moves the horizon
    /// to the head, because the log has rows of the old shape.
    ///
    /// Models that were stored once and are not among `tables` are left alone.
    fn open<'a>(&'a self, tables: &'a [Table]) -> StoreFuture<'a, Opened>;

    /// `count` integer ids of `model` in a row, never given before and never used by a row; the first is returned.
    /// Ids start at 1 and may have gaps.
    fn allocate_ids<'a>(&'a self, model: &'a str, count: u32) -> StoreFuture<'a, i64>;

    /// Decides a batch, in order, as one durable step: when it returns `Ok`, everything that it says is on disk. Each
    /// transaction is decided as if the ones before it in the batch had been committed: first its mutation's order,
    /// then its preconditions. Its changes are then stored as they are: [`Change::new`] replaces whatever the row
    /// was, and [`Change::old`] is for the log alone, so what a change is built on belongs into its preconditions.
    ///
    /// A change of a model that was not opened, or of a key of the wrong kind, fails the batch.
    ///
    /// On `Err` nothing is known: the batch is there or is not, whole, and the caller reads before it believes
    /// anything.
    fn commit(&self, batch: Vec<Transaction>) -> StoreFuture<'_, Vec<Decision>>;

    /// One row.
    fn get<'a>(&'a self, model: &'a str, key: &'a Key) -> StoreFuture<'a, Option<StoredRow>>;

    /// Some rows of a model, all of one seq: those that a [`Select`] asks for. [`Gather`] makes the page.
    fn page<'a>(&'a self, model: &'a str, select: &'a Select) -> StoreFuture<'a, Page>;

    /// The transactions after `after`, in order and whole: as many as fit in `max_bytes` of bodies, but one at least.
    fn log(&self, after: Seq, max_bytes: usize) -> StoreFuture<'_, LogPage>;

    /// What is known of a client; `None` if it was never registered, or is forgotten.
    fn client(&self, client: Uuid) -> StoreFuture<'_, Option<ClientRecord>>;

    /// Forgets the clients last seen before `before` (milliseconds since 1970), with their records. Returns how many.
    fn forget_clients(&self, before: i64) -> StoreFuture<'_, u64>;

    /// Flushes and closes. Later calls fail, until [`open`](Self::open) is called again.
    fn close(&self) -> StoreFuture<'_, ()>;
}

/// Decodes a stored row and writes it again: its id, and its JSON.
pub type Reencode = fn(&[u8]) -> Result<(Key, Bytes), serde_json::Error>;

/// A model as a store sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Table {
    /// The model's name.
    pub name: &'static str,
    /// Integer or text ids.
    pub key_kind: KeyKind,
    /// The JSON name of the id.
    pub id: &'static str,
    /// The JSON names of the indexed fields, without the id.
    pub indexed: Vec<&'static str>,
    /// Differs when the stored form of the rows may differ.
    pub hash: u64,
    /// Writes a row as the model is now, with the defaults of fields that it lacks. The error says why a row does not
    /// decode.
    pub reencode: Reencode,
}

impl Table {
    /// The model `name`, whose rows [`reencode`](Self::reencode) reads and writes, and whose id is called `id`.
    pub fn new(
        name: &'static str,
        key_kind: KeyKind,
        indexed: Vec<&'static str>,
        hash: u64,
        reencode: Reencode,
    ) -> Self {
        Self { name, key_kind, id: "id", indexed, hash, reencode }
    }
}

/// The state of a store that was opened.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// Names the order of this store's seqs.
    pub epoch: Uuid,
    /// The last seq.
    pub head: Seq,
}

/// What commits whole or not at all.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// What must still hold, or the decision is [`Decision::Conflict`].
    pub preconditions: SmallVec<[Precondition; 1]>,
    /// What it changes, in order. Without changes it takes no seq.
    pub changes: SmallVec<[Change; 1]>,
    /// What it writes about the client that sent it.
    pub client: Option<ClientWrite>,
}

/// What must hold when a transaction commits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precondition {
    /// The row's last change has this seq; `None`: there is no such row.
    RowAt {
        /// The model's name.
        model: &'static str,
        /// The row's id.
        key: Key,
        /// Its seq.
        seq: Option<Seq>,
    },
}

/// One row's change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The model's name.
    pub model: &'static str,
    /// The row's id.
    pub key: Key,
    /// The creator's own name for the row, in a create.
    pub cid: Option<Box<str>>,
    /// The stored JSON before; `None` in a create.
    pub old: Option<Bytes>,
    /// The stored JSON after; `None` in a delete.
    pub new: Option<Bytes>,
}

impl Change {
    /// The length of its bodies, as [`Store::log`] counts it.
    pub fn body_bytes(&self) -> usize {
        self.old.as_ref().map_or(0, Bytes::len) + self.new.as_ref().map_or(0, Bytes::len)
    }
}

/// What a transaction writes about a client.
#[derive(Clone, Debug)]
pub struct ClientWrite {
    /// The client. It is registered if it is not.
    pub client: Uuid,
    /// The subject that it belongs to from now on. One that belongs to a subject already stays with that one.
    pub subject: Option<Box<str>>,
    /// When it was seen, in milliseconds since 1970.
    pub seen: i64,
    /// It has kept the outcomes up to this mutation: their records go.
    pub ack: Option<MutationId>,
    /// A mutation that is decided. It must follow the client's last one, else the decision is [`Decision::OutOfOrder`].
    pub mutation: Option<MutationWrite>,
}

/// A mutation's record.
#[derive(Clone, Debug)]
pub struct MutationWrite {
    /// Its number.
    pub id: MutationId,
    /// The hash of what was asked.
    pub hash: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a mutation ended, as it is recorded. The seq of one that was not rejected is the transaction's, or the last one before it where it
/// changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Committed: this row.
    Confirmed {
        /// The model's name.
        model: Box<str>,
        /// The row's id.
        key: Key,
        /// The method that was asked: `create`, `update`, `patch` or `delete`.
        method: Box<str>,
        /// The creator's own name for the row.
        cid: Option<Box<str>>,
    },
    /// Done: what an action or a batch came to, as JSON that only its writer reads.
    Results(Box<str>),
    /// Refused for good: the `error` message for the client, as JSON.
    Rejected(Box<str>),
}

impl Outcome {
    /// Whether it was refused.
    pub(crate) fn is_rejected(&self) -> bool {
        matches!(self, Self::Rejected(_))
    }
}

/// How a transaction was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is committed, at this seq.
    Committed(Seq),
    /// It had no changes; what it said of its client is recorded.
    Recorded,
    /// A precondition does not hold. Nothing of it is written.
    Conflict,
    /// Its mutation does not follow the client's last one. Nothing of it is written.
    OutOfOrder,
}

impl Decision {
    /// The seq of what was committed.
    pub fn seq(&self) -> Option<Seq> {
        match self {
            Self::Committed(seq) => Some(*seq),
            Self::Recorded | Self::Conflict | Self::OutOfOrder => None,
        }
    }
}

/// A row as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// Its id.
    pub key: Key,
    /// The seq of its last change.
    pub seq: Seq,
    /// Its stored JSON.
    pub body: Bytes,
}

/// Rows that were read at one seq.
#[derive(Clone, Debug)]
pub struct Page {
    /// In the order that was asked for.
    pub rows: Vec<StoredRow>,
    /// The seq at which they were read.
    pub seq: Seq,
    /// After which place to read on; `None` if there are no rows beyond these. With [`Select::scan_at_most`] there may turn out to be none.
    pub next: Option<Place>,
}

/// Transactions out of the log.
#[derive(Clone, Debug)]
pub struct LogPage {
    /// Whole transactions, in order, without a gap.
    pub transactions: Vec<LogEntry>,
    /// The last seq of the store when it was read.
    pub head: Seq,
    /// The log has every transaction after this one. Where `after` is smaller, `transactions` is empty.
    pub horizon: Seq,
}

/// A transaction out of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its number.
    pub seq: Seq,
    /// What it changed, in order. Changes of models that were not opened are left out.
    pub changes: SmallVec<[Change; 1]>,
}

/// What is known of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientRecord {
    /// The first subject that it was written to belong to, if there was one.
    pub subject: Option<Box<str>>,
    /// Its highest decided mutation; 0 if there is none.
    pub last: MutationId,
    /// The decided mutations whose outcome it has not acknowledged, in order.
    pub mutations: Vec<MutationRecord>,
}

/// A decided mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MutationRecord {
    /// Its number.
    pub id: MutationId,
    /// The hash of what was asked.
    pub hash: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The seq of its transaction, or the last one before it if it had no changes; `None` if it was rejected.
    pub seq: Option<Seq>,
}

/// Why a store failed.
#[derive(Debug)]
pub struct StoreError {
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl StoreError {
    /// A failure with its cause in words.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// With the error behind it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

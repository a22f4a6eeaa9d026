//! The commit pipeline: many callers' transactions become one batch at a time.
//!
//! While the store flushes one batch, the next one gathers. Rows that are submitted but not flushed yet stand in an overlay, so that the next
//! handler that is run for such a row sees it and need not fail: a row that many people edit is not limited to one edit
//! a flush. What a handler saw there is remembered by the [`Fate`] of the transaction that wrote it, never by a number that another
//! could take: what was built on a transaction that then failed is refused, and run again.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use super::panics::catch_panic;
use crate::{
    Error, ErrorCode, Result,
    hub::{Hub, Published, PublishedChange},
    model::Key,
    outbox::Outbox,
    protocol::response::{self, Confirm, WireRow},
    registry::Registry,
    store::{
        Change, ClientWrite, Decision, LogEntry, MutationId, Precondition, Seq, Store, StoreError,
        Transaction,
    },
};

/// The most transactions in a batch: what many waiting clients fill, and short enough to flush in a few milliseconds.
const BATCH: usize = 1024;

/// How many bytes of the log are read at a time.
const LOG_BYTES: usize = 1024 * 1024;

/// The transactions that wait for the store.
#[derive(Debug)]
pub(super) struct Pipeline {
    state: Mutex<State>,
    submitted: Notify,
    /// The store may have transactions that subscribers did not get.
    behind: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Submitted>,
    overlay: HashMap<(&'static str, Key), Pending>,
    /// What is to be written about clients with the next batch; one entry a client, however often it says so.
    notes: HashMap<Uuid, ClientWrite>,
    closed: bool,
}

/// A row of the overlay.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// Of the transaction that wrote it.
    pub(super) fate: Arc<Fate>,
    /// `None`: it is deleted.
    pub(super) body: Option<Bytes>,
}

/// What becomes of a submitted transaction.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// Its seq if nothing before it in its batch fails; 0 until it is in one.
    predicted: AtomicU64,
    /// Its seq, or `None` if it was not committed, or nobody knows.
    decided: OnceLock<Option<Seq>>,
}

/// What a handler found in a row's place, to be found there still when its transaction commits.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) model: &'static str,
    pub(super) key: Key,
    pub(super) version: Version,
}

/// A version of a row.
#[derive(Clone, Debug)]
pub(super) enum Version {
    /// The store's, by its seq; `None`: there was no row.
    Stored(Option<Seq>),
    /// The overlay's.
    Pending {
        /// Of the transaction that wrote it.
        fate: Arc<Fate>,
        /// It deleted the row.
        deleted: bool,
    },
}

impl Version {
    /// Whether it is not on disk yet.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self, Self::Pending { .. })
    }
}

/// What follows when a transaction is committed.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// What clients see of the changes' new rows, where it is known.
    pub(super) wires: SmallVec<[Option<Bytes>; 1]>,
    /// Who is told.
    pub(super) confirm: Option<Confirming>,
}

/// The confirm of a transaction, but for its seq.
#[derive(Debug)]
pub(super) struct Confirming {
    pub(super) outbox: Arc<Outbox>,
    pub(super) id: Option<MutationId>,
    pub(super) model: &'static str,
    pub(super) id_name: &'static str,
    pub(super) key: Key,
    pub(super) cid: Option<Box<str>>,
    pub(super) what: Confirmed,
}

/// What a confirm says of the row.
#[derive(Debug)]
pub(super) enum Confirmed {
    /// The client may see it.
    Row(Bytes),
    /// It may not.
    Unseen,
    /// It is deleted.
    Deleted,
}

impl Confirming {
    fn message(&self, seq: Seq) -> Bytes {
        let row = match &self.what {
            Confirmed::Deleted => {
                return response::confirm_delete(self.id, self.model, self.id_name, &self.key, seq);
            }
            Confirmed::Row(row) => Some(WireRow { row: row.clone(), seq }),
            Confirmed::Unseen => None,
        };
        let cid = self.cid.as_deref();
        response::confirm(&Confirm {
            id: self.id,
            model: self.model,
            key: &self.key,
            cid,
            seq,
            row: row.as_ref(),
            id_only: None,
        })
    }
}

#[derive(Debug)]
struct Submitted {
    found: SmallVec<[Found; 1]>,
    transaction: Transaction,
    effects: Effects,
    fate: Arc<Fate>,
    decided: Option<oneshot::Sender<Result<Decision>>>,
}

impl Pipeline {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), submitted: Notify::new(), behind: AtomicBool::new(false) }
    }

    /// The row as the next transaction will find it, if one that is not flushed yet wrote it.
    pub(super) fn pending(&self, model: &'static str, key: &Key) -> Option<Pending> {
        self.state.lock().overlay.get(&(model, key.clone())).cloned()
    }

    /// Has a transaction decided, provided that what was `found` is still there. `Ok` means that the decision is on disk;
    /// dropped, it is carried to its end all the same.
    ///
    /// # Errors
    /// `Unavailable` when the store failed: the outcome is unknown. `Shutdown` after [`close`](Self::close).
    pub(super) async fn submit(
        &self,
        found: SmallVec<[Found; 1]>,
        transaction: Transaction,
        effects: Effects,
    ) -> Result<Decision> {
        let (decided, decision) = oneshot::channel();
        {
            let mut state = self.state.lock();
            if state.closed {
                return Err(Error::new(ErrorCode::Shutdown, "the server is stopping"));
            }
            if !state.still_there(&found) {
                return Ok(Decision::Conflict);
            }
            let fate = Arc::new(Fate::default());
            for change in &transaction.changes {
                let pending = Pending { fate: fate.clone(), body: change.new.clone() };
                state.overlay.insert((change.model, change.key.clone()), pending);
            }
            state.waiting.push(Submitted { found, transaction, effects, fate, decided: Some(decided) });
        }
        self.submitted.notify_one();
        decision.await.unwrap_or_else(|_| Err(unavailable()))
    }

    /// Has something written about a client with the next batch; nobody waits for it.
    pub(super) fn note(&self, client: Uuid, seen: i64, ack: Option<MutationId>) {
        let mut state = self.state.lock();
        let note = ClientWrite { client, subject: None, seen, ack, mutation: None };
        let note = state.notes.entry(client).or_insert(note);
        note.seen = note.seen.max(seen);
        note.ack = note.ack.max(ack);
        drop(state);
        self.submitted.notify_one();
    }

    /// Looks again for transactions that subscribers did not get, if there may be any.
    pub(super) fn look_again(&self) {
        if self.behind.load(Ordering::Acquire) {
            self.submitted.notify_one();
        }
    }

    /// Refuses what is submitted from now on; [`run`](Self::run) ends when all that waits is decided.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.submitted.notify_one();
    }

    /// Commits and publishes, until [`close`](Self::close).
    pub(super) async fn run(&self, store: &Arc<dyn Store>, registry: &Registry, hub: &Hub) {
        loop {
            if self.behind.load(Ordering::Acquire) {
                self.publish_log(store, registry, hub, None).await;
            }
            let (batch, closed) = {
                let mut state = self.state.lock();
                let count = state.waiting.len().min(BATCH);
                let mut batch: Vec<_> = state.waiting.drain(..count).collect();
                batch.extend(state.notes.drain().map(|(_, write)| Submitted::note(write)));
                (batch, state.closed)
            };
            if batch.is_empty() {
                if closed {
                    return;
                }
                self.submitted.notified().await;
                continue;
            }
            self.commit(batch, store, registry, hub).await;
        }
    }

    async fn commit(&self, batch: Vec<Submitted>, store: &Arc<dyn Store>, registry: &Registry, hub: &Hub) {
        let mut batch = self.predict(batch, hub.head());
        if batch.is_empty() {
            return;
        }
        let transactions = batch.iter().map(|submitted| submitted.transaction.clone()).collect();
        let committing = catch_panic(store.commit(transactions)).await;
        let failed = match committing
            .unwrap_or_else(|panic| Err(StoreError::new(format!("it panicked: {panic}"))))
        {
            Ok(decisions) if decisions.len() == batch.len() => {
                return self.committed(&mut batch, &decisions, store, registry, hub).await;
            }
            Ok(decisions) => StoreError::new(format!("it decided {} of {}", decisions.len(), batch.len())),
            Err(error) => error,
        };
        log_failure(&failed);
        self.fail(batch, store, registry, hub).await;
    }

    /// Makes the preconditions for the store, with the seqs that the transactions of the batch will have if all are committed. Those built on
    /// one that was not are refused.
    ///
    /// A prediction that turns out wrong refuses too much, never too little: while a transaction's row is in the overlay no other
    /// is let in that writes the row without being built on it, so none can have the predicted seq for it. That holds only where the head is
    /// known: after a commit whose outcome is not, nothing is predicted, and what was built on a row of the same batch is run again.
    fn predict(&self, batch: Vec<Submitted>, head: Seq) -> Vec<Submitted> {
        let is_head_known = !self.behind.load(Ordering::Acquire);
        let mut next = head + 1;
        let mut kept = Vec::with_capacity(batch.len());
        for mut submitted in batch {
            let preconditions: Option<_> = submitted.found.iter().map(Found::precondition).collect();
            let Some(preconditions) = preconditions else {
                submitted.decide(None, Ok(Decision::Conflict));
                self.state.lock().flushed(&submitted);
                continue;
            };
            submitted.transaction.preconditions = preconditions;
            if is_head_known && !submitted.transaction.changes.is_empty() {
                submitted.fate.predicted.store(next, Ordering::Release);
                next += 1;
            }
            kept.push(submitted);
        }
        kept
    }

    async fn committed(
        &self,
        batch: &mut [Submitted],
        decisions: &[Decision],
        store: &Arc<dyn Store>,
        registry: &Registry,
        hub: &Hub,
    ) {
        let first = decisions.iter().find_map(Decision::seq);
        if let Some(first) = first
            && first > hub.head() + 1
        {
            // Others' transactions, or ours whose commit seemed to fail, came before: subscribers get them in order.
            self.publish_log(store, registry, hub, Some(first)).await;
        }
        // Where the log could not be read they wait: the head never passes a transaction that subscribers did not get.
        let follows = first.is_none_or(|first| first <= hub.head() + 1);
        let (mut confirms, mut published) = (Vec::new(), Vec::new());
        for (submitted, seq) in batch.iter_mut().zip(decisions.iter().map(Decision::seq)) {
            let Some(seq) = seq else { continue };
            // In line before the head passes it.
            if let Some(confirm) = submitted.effects.confirm.take() {
                confirm.outbox.outcome(confirm.message(seq), seq);
                confirms.push(confirm.outbox);
            }
            if follows && seq > hub.head() {
                published.push(submitted.published(seq, registry));
            }
        }
        hub.publish(&published);
        if !follows {
            self.behind.store(true, Ordering::Release);
        }
        for outbox in confirms {
            match decisions.iter().rev().find_map(Decision::seq) {
                Some(last) if !follows => hub.wake_at(last, &outbox),
                _ => outbox.wake(),
            }
        }
        for (submitted, decision) in batch.iter_mut().zip(decisions) {
            submitted.decide(decision.seq(), Ok(*decision));
        }
        let mut state = self.state.lock();
        for submitted in batch.iter() {
            state.flushed(submitted);
        }
    }

    /// Nothing is known of the batch.
    async fn fail(&self, mut batch: Vec<Submitted>, store: &Arc<dyn Store>, registry: &Registry, hub: &Hub) {
        // If it is there after all, subscribers get it now.
        self.behind.store(true, Ordering::Release);
        self.publish_log(store, registry, hub, None).await;
        for submitted in &mut batch {
            submitted.decide(None, Err(unavailable()));
        }
        let mut state = self.state.lock();
        for submitted in &batch {
            state.flushed(submitted);
        }
    }

    /// Publishes what the log has after the hub's head, before `until` where it is given.
    async fn publish_log(&self, store: &Arc<dyn Store>, registry: &Registry, hub: &Hub, until: Option<Seq>) {
        loop {
            let page = match catch_panic(store.log(hub.head(), LOG_BYTES)).await {
                Ok(Ok(page)) => page,
                Ok(Err(error)) => {
                    return tracing::warn!(%error, "the log cannot be read now; it is tried again");
                }
                Err(panic) => return tracing::error!(panic, "reading the log panicked; it is tried again"),
            };
            if page.horizon > hub.head() {
                // What lies between is trimmed already, which takes longer than any failure should last.
                tracing::error!(
                    horizon = page.horizon,
                    head = hub.head(),
                    "the log lost what subscribers did not get"
                );
                return hub.skip(page.horizon);
            }
            let entries =
                page.transactions.iter().filter(|entry| until.is_none_or(|until| entry.seq < until));
            let published: Vec<_> = entries.map(|entry| published_entry(entry, registry)).collect();
            if published.is_empty() {
                if until.is_none() {
                    self.behind.store(false, Ordering::Release);
                }
                return;
            }
            hub.publish(&published);
        }
    }
}

impl State {
    /// Whether what was found is still there, as far as the overlay knows. The store checks all of it.
    fn still_there(&self, found: &[Found]) -> bool {
        found.iter().all(|found| {
            let pending = self.overlay.get(&(found.model, found.key.clone()));
            match (&found.version, pending) {
                (Version::Stored(_), None) => true,
                (Version::Stored(_), Some(_)) => false,
                (Version::Pending { fate, .. }, Some(pending)) => Arc::ptr_eq(fate, &pending.fate),
                (Version::Pending { fate, .. }, None) => matches!(fate.decided.get(), Some(Some(_))),
            }
        })
    }

    /// A transaction is decided: its rows are the store's, or were never.
    fn flushed(&mut self, submitted: &Submitted) {
        for change in &submitted.transaction.changes {
            let key = (change.model, change.key.clone());
            if self.overlay.get(&key).is_some_and(|pending| Arc::ptr_eq(&pending.fate, &submitted.fate)) {
                self.overlay.remove(&key);
            }
        }
    }
}

impl Found {
    /// What the store must find; `None` if it was written by a transaction that is not and will not be there.
    fn precondition(&self) -> Option<Precondition> {
        let seq = match &self.version {
            Version::Stored(seq) => *seq,
            Version::Pending { fate, deleted } => {
                let seq = match fate.decided.get() {
                    Some(decided) => (*decided)?,
                    None => Some(fate.predicted.load(Ordering::Acquire)).filter(|seq| *seq > 0)?,
                };
                (!deleted).then_some(seq)
            }
        };
        Some(Precondition::RowAt { model: self.model, key: self.key.clone(), seq })
    }
}

impl Submitted {
    fn note(write: ClientWrite) -> Self {
        Self {
            found: SmallVec::new(),
            transaction: Transaction { client: Some(write), ..Transaction::default() },
            effects: Effects::default(),
            fate: Arc::default(),
            decided: None,
        }
    }

    /// Says how it ended, to those built on it and to who waits.
    fn decide(&mut self, seq: Option<Seq>, decision: Result<Decision>) {
        // It is decided once.
        let _ = self.fate.decided.set(seq);
        if let Some(decided) = self.decided.take() {
            // Who does not wait any more will find the outcome recorded.
            let _ = decided.send(decision);
        }
    }

    fn published(&mut self, seq: Seq, registry: &Registry) -> Published {
        let wires = mem::take(&mut self.effects.wires).into_iter().chain(std::iter::repeat(None));
        let changes = self.transaction.changes.iter().zip(wires);
        Published {
            seq,
            changes: changes.filter_map(|(change, wire)| published(change, wire, registry)).collect(),
        }
    }
}

/// A change with what clients see of it.
fn published(change: &Change, wire: Option<Bytes>, registry: &Registry) -> Option<PublishedChange> {
    let model = registry.get(change.model)?;
    let wire = match (wire, &change.new) {
        (None, Some(body)) => match model.rewire(body) {
            Ok(wire) => Some(wire),
            Err(error) => {
                tracing::error!(model = change.model, key = %change.key, "a change is not sent: {error}");
                return None;
            }
        },
        (wire, _) => wire,
    };
    Some(PublishedChange {
        model: change.model,
        id_name: model.schema().id,
        key: change.key.clone(),
        cid: change.cid.clone(),
        old: change.old.clone(),
        new: change.new.clone(),
        wire,
    })
}

/// A transaction of the log with what clients see of it.
pub(super) fn published_entry(entry: &LogEntry, registry: &Registry) -> Published {
    let changes = entry.changes.iter().filter_map(|change| published(change, None, registry)).collect();
    Published { seq: entry.seq, changes }
}

fn log_failure(error: &StoreError) {
    let error = error as &dyn std::error::Error;
    tracing::error!(error, "a commit failed; its outcome is unknown until the store is read");
}

fn unavailable() -> Error {
    Error::new(
        ErrorCode::Unavailable,
        "the store did not answer; whether it was done is known when it is sent again",
    )
}

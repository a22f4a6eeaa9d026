//! The commit pipeline: many callers' transactions become one batch at a time.
//!
//! While the store flushes one batch, the next one gathers. Rows that are decided but not flushed yet stand in an overlay, so that the next
//! handler that is run for such a row sees it and need not fail: a row that many people edit is not limited to one edit
//! a flush. What was built on a row of a batch that then failed fails with it, because the store checks the preconditions again.

use std::{collections::HashMap, mem, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::{Notify, oneshot};

use crate::{
    Error, ErrorCode, Result,
    hub::{Hub, Published, PublishedChange},
    model::Key,
    outbox::Outbox,
    protocol::response::{self, Confirm, WireRow},
    registry::Registry,
    store::{Change, Decision, LogEntry, MutationId, Precondition, Seq, Store, Transaction},
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
}

#[derive(Debug)]
struct State {
    waiting: Vec<Submitted>,
    overlay: HashMap<(&'static str, Key), Pending>,
    /// The seq that the next transaction will have if nothing fails before it.
    next_seq: Seq,
    closed: bool,
}

/// A row of the overlay.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// The seq that it will have.
    pub(super) seq: Seq,
    /// `None`: it is deleted.
    pub(super) body: Option<Bytes>,
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
        })
    }
}

#[derive(Debug)]
struct Submitted {
    transaction: Transaction,
    effects: Effects,
    /// The seq that its rows have in the overlay.
    expected: Seq,
    decided: oneshot::Sender<Result<Decision>>,
}

impl Pipeline {
    pub(super) fn new(head: Seq) -> Self {
        let state = State { waiting: Vec::new(), overlay: HashMap::new(), next_seq: head + 1, closed: false };
        Self { state: Mutex::new(state), submitted: Notify::new() }
    }

    /// The row as the next transaction will find it, if one that is not flushed yet wrote it.
    pub(super) fn pending(&self, model: &'static str, key: &Key) -> Option<Pending> {
        self.state.lock().overlay.get(&(model, key.clone())).cloned()
    }

    /// Has a transaction decided. `Ok` means that the decision is on disk; dropped, it is carried to its end all the same.
    ///
    /// # Errors
    /// `Unavailable` when the store failed: the outcome is unknown. `Shutdown` after [`close`](Self::close).
    pub(super) async fn submit(&self, transaction: Transaction, effects: Effects) -> Result<Decision> {
        let (decided, decision) = oneshot::channel();
        {
            let mut state = self.state.lock();
            if state.closed {
                return Err(Error::new(ErrorCode::Shutdown, "the server is stopping"));
            }
            if !state.allows(&transaction) {
                return Ok(Decision::Conflict);
            }
            let expected = state.next_seq;
            if !transaction.changes.is_empty() {
                state.next_seq += 1;
                for change in &transaction.changes {
                    let pending = Pending { seq: expected, body: change.new.clone() };
                    state.overlay.insert((change.model, change.key.clone()), pending);
                }
            }
            state.waiting.push(Submitted { transaction, effects, expected, decided });
        }
        self.submitted.notify_one();
        decision.await.unwrap_or_else(|_| Err(unavailable()))
    }

    /// Has a transaction without changes written with the next batch; nobody waits for it.
    pub(super) fn note(&self, transaction: Transaction) {
        let mut state = self.state.lock();
        if !state.closed {
            let (decided, _) = oneshot::channel();
            let expected = state.next_seq;
            state.waiting.push(Submitted { transaction, effects: Effects::default(), expected, decided });
            drop(state);
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
            let (batch, closed) = {
                let mut state = self.state.lock();
                let count = state.waiting.len().min(BATCH);
                (state.waiting.drain(..count).collect::<Vec<_>>(), state.closed)
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

    async fn commit(
        &self,
        mut batch: Vec<Submitted>,
        store: &Arc<dyn Store>,
        registry: &Registry,
        hub: &Hub,
    ) {
        let transactions = batch.iter().map(|submitted| submitted.transaction.clone()).collect();
        let decisions = match store.commit(transactions).await {
            Ok(decisions) if decisions.len() == batch.len() => decisions,
            Ok(decisions) => {
                tracing::error!(
                    decided = decisions.len(),
                    submitted = batch.len(),
                    "the store lost count of a batch"
                );
                return self.fail(batch, store, registry, hub).await;
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a commit failed; its outcome is unknown"
                );
                return self.fail(batch, store, registry, hub).await;
            }
        };
        let first = decisions.iter().find_map(|decision| match decision {
            Decision::Committed(seq) => Some(*seq),
            _ => None,
        });
        if let Some(first) = first
            && first > hub.head() + 1
        {
            // Others' transactions, or ours whose commit seemed to fail, came before: subscribers get them in order.
            publish_log(store, registry, hub, Some(first)).await;
        }
        // Where the log could not be read they wait: the head never passes a transaction that subscribers did not get.
        let follows = first.is_none_or(|first| first <= hub.head() + 1);
        let confirms: Vec<_> = batch
            .iter_mut()
            .zip(&decisions)
            .filter_map(|(submitted, decision)| match decision {
                Decision::Committed(seq) => Some((submitted.effects.confirm.take()?, *seq)),
                _ => None,
            })
            .collect();
        // In line before the head passes them.
        for (confirm, seq) in &confirms {
            confirm.outbox.confirm(confirm.message(*seq), *seq);
        }
        let published: Vec<_> = batch
            .iter_mut()
            .zip(&decisions)
            .filter_map(|(submitted, decision)| match decision {
                Decision::Committed(seq) if follows && *seq > hub.head() => {
                    Some(submitted.published(*seq, registry))
                }
                _ => None,
            })
            .collect();
        hub.publish(&published);
        for (confirm, _) in &confirms {
            confirm.outbox.wake();
        }
        {
            let mut state = self.state.lock();
            for submitted in &batch {
                state.flushed(submitted);
            }
            if state.waiting.is_empty() {
                state.resync(hub.head());
            }
        }
        for (submitted, decision) in batch.into_iter().zip(decisions) {
            // Who does not wait any more will find the outcome recorded.
            let _ = submitted.decided.send(Ok(decision));
        }
    }

    /// Nothing is known of the batch, and what waits may be built on it.
    async fn fail(&self, batch: Vec<Submitted>, store: &Arc<dyn Store>, registry: &Registry, hub: &Hub) {
        // If it is there after all, subscribers get it now.
        publish_log(store, registry, hub, None).await;
        let waiting = {
            let mut state = self.state.lock();
            state.resync(hub.head());
            mem::take(&mut state.waiting)
        };
        for submitted in batch.into_iter().chain(waiting) {
            let _ = submitted.decided.send(Err(unavailable()));
        }
    }
}

impl State {
    /// Whether the preconditions hold as far as the overlay knows. The store checks all of them.
    fn allows(&self, transaction: &Transaction) -> bool {
        transaction.preconditions.iter().all(|precondition| match precondition {
            Precondition::RowAt { model, key, seq } => {
                self.overlay.get(&(*model, key.clone())).is_none_or(|pending| {
                    let now = pending.body.as_ref().map(|_| pending.seq);
                    now == *seq
                })
            }
        })
    }

    fn flushed(&mut self, submitted: &Submitted) {
        for change in &submitted.transaction.changes {
            let key = (change.model, change.key.clone());
            if self.overlay.get(&key).is_some_and(|pending| pending.seq == submitted.expected) {
                self.overlay.remove(&key);
            }
        }
    }

    /// Nothing waits: what the store has is all there is.
    fn resync(&mut self, head: Seq) {
        self.overlay.clear();
        self.next_seq = head + 1;
    }
}

impl Submitted {
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

/// Publishes what the log has after the hub's head, before `until` where it is given.
async fn publish_log(store: &Arc<dyn Store>, registry: &Registry, hub: &Hub, until: Option<Seq>) {
    loop {
        let page = match store.log(hub.head(), LOG_BYTES).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(%error, "the log cannot be read now");
                return;
            }
        };
        let entries = page.transactions.iter().filter(|entry| until.is_none_or(|until| entry.seq < until));
        let published: Vec<_> = entries.map(|entry| published_entry(entry, registry)).collect();
        if published.is_empty() {
            return;
        }
        hub.publish(&published);
    }
}

fn unavailable() -> Error {
    Error::new(
        ErrorCode::Unavailable,
        "the store did not answer; whether it was done is known when it is sent again",
    )
}

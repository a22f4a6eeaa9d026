//! The commit pipeline: many callers' transactions become one batch at a time.
//!
//! While the store flushes one batch, the next one gathers. Rows that are submitted but not flushed yet stand in an overlay, so that the next
//! handler that is run for such a row sees it and need not fail: a row that many people edit is not limited to one edit
//! a flush. What a handler saw there is remembered by the [`Fate`] of the transaction that wrote it, never by a number that another
//! could take: what was built on a transaction that then failed is refused, and run again.
//!
//! Submissions are numbered, and the last of them are kept ([`Recent`]): by these it is told whether the rows and filters that a transaction has
//! read are still what they were, while it runs, so that no handler sees half of another's transaction, and when it is submitted, so that
//! transactions are as if they had been run one after the other, in the order of their submission, which is that of their seqs.

use std::{
    collections::HashMap,
    fmt, mem,
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

use super::{
    panics::catch_panic,
    read_set::ReadSet,
    recent::{Recent, Ticket},
};
use crate::{
    Error, ErrorCode, Result,
    authority::Authority,
    handlers::BoxFuture,
    hub::{Hub, Published, PublishedChange},
    model::Key,
    outbox::Outbox,
    protocol::{
        Method,
        response::{self, Confirm, Done, DoneRow, WireRow},
    },
    registry::Registry,
    sabotage::{self, Sabotage},
    store::{
        Change, ClientWrite, Decision, LogEntry, MutationId, Precondition, Seq, Store, StoreError,
        Transaction,
    },
};

/// The most transactions in a batch: what many waiting clients fill, and short enough to flush in a few milliseconds.
const BATCH: usize = 1024;

/// Where more was submitted than this since filters were checked, most of it is judged without the lock, so that nobody waits for it.
const UNDER_LOCK: u64 = 32;

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
    /// By model.
    overlay: HashMap<&'static str, HashMap<Key, Pending>>,
    recent: Recent,
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
        matches!(self, Self::Pending { fate, .. } if fate.decided.get().is_none())
    }

    /// The seq of the row, as far as it is known; `None` also where there is no row.
    pub(super) fn seq(&self) -> Option<Seq> {
        match self {
            Self::Stored(seq) => *seq,
            Self::Pending { deleted: true, .. } => None,
            Self::Pending { fate, .. } => fate.decided.get().copied().flatten(),
        }
    }

    /// Whether the transaction that wrote it was not committed, or nobody knows.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self, Self::Pending { fate, .. } if matches!(fate.decided.get(), Some(None)))
    }
}

/// What follows when a transaction is committed.
#[derive(Default)]
pub(super) struct Effects {
    /// What clients see of the changes' new rows, where it is known.
    pub(super) wires: SmallVec<[Option<Bytes>; 1]>,
    /// Who is told.
    pub(super) confirm: Option<Confirming>,
    /// Under which session it was asked for: one that is over by then has nothing done.
    pub(super) session: Option<Arc<Authority>>,
    /// What its handler wants to be run then.
    pub(super) after: Vec<BoxFuture<'static, ()>>,
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effects").field("confirm", &self.confirm).finish_non_exhaustive()
    }
}

/// The confirm of a transaction, but for its seq.
#[derive(Debug)]
pub(super) struct Confirming {
    pub(super) outbox: Arc<Outbox>,
    pub(super) id: Option<MutationId>,
    pub(super) what: Confirmed,
}

/// What a confirm is about.
#[derive(Debug)]
pub(super) enum Confirmed {
    One(ConfirmedStep),
    Batch(Vec<ConfirmedStep>),
}

/// What a confirm says of one request.
#[derive(Debug)]
pub(super) enum ConfirmedStep {
    Row(ConfirmedRow),
    Action { model: &'static str, action: &'static str, result: String },
}

/// What a confirm says of a row.
#[derive(Debug)]
pub(super) struct ConfirmedRow {
    pub(super) method: Method,
    pub(super) model: &'static str,
    pub(super) id_name: &'static str,
    pub(super) key: Key,
    pub(super) cid: Option<Box<str>>,
    pub(super) seen: Seen,
}

/// What a client may see of a row.
#[derive(Debug)]
pub(super) enum Seen {
    Row(Bytes),
    /// It may not see it, or it is gone again.
    Nothing,
    /// It has deleted it.
    Deleted,
}

impl Confirming {
    fn drop_rows(&mut self) {
        let steps = match &mut self.what {
            Confirmed::One(step) => std::slice::from_mut(step),
            Confirmed::Batch(steps) => steps.as_mut_slice(),
        };
        for step in steps {
            if let ConfirmedStep::Row(ConfirmedRow { seen: seen @ Seen::Row(_), .. }) = step {
                *seen = Seen::Nothing;
            }
        }
    }

    fn message(&self, seq: Seq) -> Bytes {
        match &self.what {
            Confirmed::One(step) => response::confirm(&Confirm { id: self.id, seq, done: step.done(seq) }),
            Confirmed::Batch(steps) => {
                let results = steps.iter().map(|step| step.done(seq)).collect::<Vec<_>>();
                response::confirm_batch(self.id, &results, seq)
            }
        }
    }
}

impl ConfirmedStep {
    /// How much an action returned.
    pub(super) fn result_bytes(&self) -> usize {
        match self {
            Self::Row(_) => 0,
            Self::Action { result, .. } => result.len(),
        }
    }

    fn done(&self, seq: Seq) -> Done<'_> {
        match self {
            Self::Row(row) => Done::Row {
                model: row.model,
                key: &row.key,
                cid: row.cid.as_deref(),
                row: match &row.seen {
                    Seen::Row(wire) => DoneRow::Whole(WireRow { row: wire.clone(), seq }),
                    Seen::Nothing => DoneRow::Unseen,
                    Seen::Deleted => DoneRow::Deleted { id_name: row.id_name },
                },
            },
            Self::Action { model, action, result } => Done::Action { model, action, result: Some(result) },
        }
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

    /// The row as the next transaction will find it, if one that is not flushed yet wrote it; and after which submission that is.
    pub(super) fn pending(&self, model: &'static str, key: &Key) -> (Ticket, Option<Pending>) {
        let state = self.state.lock();
        (state.recent.last(), state.pending(model, key).cloned())
    }

    /// The rows of a model that are not flushed yet, and after which submission that is.
    pub(super) fn all_pending(&self, model: &'static str) -> (Ticket, HashMap<Key, Pending>) {
        let state = self.state.lock();
        (state.recent.last(), state.overlay.get(model).cloned().unwrap_or_default())
    }

    /// Remembers what is submitted from now on until it is dropped.
    pub(super) fn watch(self: &Arc<Self>) -> Watch {
        Watch { pipeline: self.clone(), begun: self.state.lock().recent.begin() }
    }

    /// Whether what was read is still what is there; then it is known to hold up to now.
    pub(super) fn check(&self, reads: &mut ReadSet) -> bool {
        if reads.has_failed() {
            return false;
        }
        let (last, newer) = {
            let state = self.state.lock();
            let Some(newer) = state.recent.after(reads.checked) else { return false };
            (state.recent.last(), newer.cloned().collect::<SmallVec<[_; 8]>>())
        };
        // Without the lock: judging rows takes its time.
        let holds = !newer.iter().any(|submission| reads.is_touched_by(submission));
        if holds {
            reads.checked = last;
        }
        holds
    }

    /// Has a transaction decided, provided that what it has read still holds. `Ok` means that the decision is on disk;
    /// dropped, it is carried to its end all the same.
    ///
    /// # Errors
    /// `Unavailable` when the store failed: the outcome is unknown. `Shutdown` after [`close`](Self::close).
    pub(super) async fn submit(
        &self,
        mut reads: ReadSet,
        transaction: Transaction,
        effects: Effects,
    ) -> Result<Decision> {
        let (decided, decision) = oneshot::channel();
        {
            let mut state = self.state.lock();
            // Rows alone are checked by what they are when it commits.
            if !reads.filters.is_empty() && state.recent.last().saturating_sub(reads.checked) > UNDER_LOCK {
                drop(state);
                if !self.check(&mut reads) {
                    return Ok(Decision::Conflict);
                }
                state = self.state.lock();
            }
            if state.closed {
                return Err(Error::new(ErrorCode::Shutdown, "the server is stopping"));
            }
            if !state.still_there(&reads.found) || !state.still_holds(&reads) {
                return Ok(Decision::Conflict);
            }
            let fate = Arc::new(Fate::default());
            if !transaction.changes.is_empty() {
                state.recent.push(&transaction.changes);
            }
            for change in &transaction.changes {
                let pending = Pending { fate: fate.clone(), body: change.new.clone() };
                state.overlay.entry(change.model).or_default().insert(change.key.clone(), pending);
            }
            let found = reads.found;
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
        if sabotage::is(Sabotage::BroadcastBeforeCommit) || sabotage::is(Sabotage::ConfirmBeforeFlush) {
            tell_early(&mut batch, registry, hub);
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
            if submitted.effects.session.as_ref().is_some_and(|session| session.has_ended()) {
                submitted.decide(None, Err(session_ended()));
                self.state.lock().flushed(&submitted);
                continue;
            }
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
        // What changed nothing is as of the last seq before it.
        let mut last = first.map_or(hub.head(), |first| first - 1);
        for (submitted, decision) in batch.iter_mut().zip(decisions) {
            let seq = match decision {
                Decision::Committed(seq) => *seq,
                Decision::Recorded => last,
                Decision::Conflict | Decision::OutOfOrder => continue,
            };
            last = seq;
            // In line before the head passes it.
            if let Some(mut confirm) = submitted.effects.confirm.take() {
                let session = submitted.effects.session.as_deref();
                let counts = || session.is_none_or(|session| !session.has_ended());
                if !confirm.outbox.outcome_if(confirm.message(seq), seq, counts) {
                    // It is done. What of it may be seen now is for another session to say.
                    confirm.drop_rows();
                    confirm.outbox.outcome(confirm.message(seq), seq);
                }
                confirms.push(confirm.outbox);
            }
            if follows && seq > hub.head() && decision.seq().is_some() {
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
                _ => outbox.nudge(),
            }
        }
        for (submitted, decision) in batch.iter_mut().zip(decisions) {
            if matches!(decision, Decision::Committed(_) | Decision::Recorded) {
                mem::take(&mut submitted.effects.after).into_iter().for_each(run_after);
            }
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
    fn pending(&self, model: &str, key: &Key) -> Option<&Pending> {
        self.overlay.get(model)?.get(key)
    }

    /// Whether the rows of the filters are those that were read.
    fn still_holds(&self, reads: &ReadSet) -> bool {
        reads.filters.is_empty()
            || self
                .recent
                .after(reads.checked)
                .is_some_and(|mut newer| newer.all(|submission| !reads.has_filter_touched_by(submission)))
    }

    /// Whether what was found is still there, as far as the overlay knows. The store checks all of it.
    fn still_there(&self, found: &[Found]) -> bool {
        found.iter().all(|found| {
            let pending = self.pending(found.model, &found.key);
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
            if let Some(of_model) = self.overlay.get_mut(change.model)
                && of_model
                    .get(&change.key)
                    .is_some_and(|pending| Arc::ptr_eq(&pending.fate, &submitted.fate))
            {
                of_model.remove(&change.key);
            }
        }
    }
}

/// Has [`Recent`] remember what is submitted while a transaction is under way.
#[derive(Debug)]
pub(super) struct Watch {
    pipeline: Arc<Pipeline>,
    begun: Ticket,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.pipeline.state.lock().recent.end(self.begun);
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

/// What must never be done: tells of a batch before it is committed.
fn tell_early(batch: &mut [Submitted], registry: &Registry, hub: &Hub) {
    let mut seq = hub.head();
    let mut early = Vec::new();
    for submitted in batch {
        seq += u64::from(!submitted.transaction.changes.is_empty());
        if sabotage::is(Sabotage::ConfirmBeforeFlush) {
            if let Some(confirm) = submitted.effects.confirm.take() {
                confirm.outbox.outcome(confirm.message(seq), 0);
                confirm.outbox.nudge();
            }
        } else if !submitted.transaction.changes.is_empty() {
            early.push(submitted.published(seq, registry));
        }
    }
    hub.publish(&early);
}

/// Runs what a handler wanted to be run after its commit, as a task of its own.
fn run_after(work: BoxFuture<'static, ()>) {
    tokio::spawn(async move {
        if let Err(panic) = catch_panic(work).await {
            tracing::error!(panic, "what was to be done after a commit panicked");
        }
    });
}

fn log_failure(error: &StoreError) {
    let error = error as &dyn std::error::Error;
    tracing::error!(error, "a commit failed; its outcome is unknown until the store is read");
}

/// Nothing was decided: under the next session it may be asked for again.
pub(super) fn session_ended() -> Error {
    Error::unauthenticated("the session that this was sent under is over: send it again").and_retry()
}

fn unavailable() -> Error {
    Error::new(
        ErrorCode::Unavailable,
        "the store did not answer; whether it was done is known when it is sent again",
    )
}

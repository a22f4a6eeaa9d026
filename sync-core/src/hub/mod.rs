//! Who hears of a change: interned queries, each with a shared tail of encoded messages.
//!
//! However many clients ask the same, a change is judged once a query and encoded once. A query's tail is a linked list whose
//! nodes are the transactions that concern it. A subscriber holds its *place*, the node that it has had last, and no queue of its own:
//! what everybody has had is freed by itself, and how much waits for someone is a subtraction.
//!
//! A window is a query that keeps its rows; what it lacks is read by [`refills`](Hub::refill), which nobody waits for.

mod dependents;
mod queries;
mod query;
mod refill;
mod shape;
mod tail;
#[cfg(test)]
mod tests;
mod window;
#[cfg(test)]
mod window_tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;

use self::{
    dependents::Dependents,
    queries::Queries,
    query::{Encoded, Heard, View},
    refill::Refills,
    tail::Entries,
    window::{Difference, Window, WindowChange},
};
pub(crate) use self::{
    dependents::Depends,
    query::Query,
    refill::{Refill, Snapshot},
    shape::{First, Places, Shape, Source},
    tail::{Place, TailEntry},
    window::{ReadRows, WindowRow},
};
use crate::{
    model::{Key, filter::Expr},
    outbox::{FRAME_BYTES, Outbox, Which},
    protocol::response,
    registry::Model,
    sabotage::{self, Sabotage},
    store::Seq,
};

/// A committed transaction on its way to the subscribers.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) seq: Seq,
    pub(crate) changes: SmallVec<[PublishedChange; 1]>,
}

/// A committed change, and what clients see of it.
#[derive(Clone, Debug)]
pub(crate) struct PublishedChange {
    pub(crate) model: &'static str,
    /// The name of the id in JSON.
    pub(crate) id_name: &'static str,
    pub(crate) key: Key,
    pub(crate) cid: Option<Box<str>>,
    pub(crate) old: Option<Bytes>,
    pub(crate) new: Option<Bytes>,
    /// What clients see of `new`.
    pub(crate) wire: Option<Bytes>,
}

/// All queries, and the last published seq.
#[derive(Debug)]
pub(crate) struct Hub {
    head: AtomicU64,
    /// By model.
    queries: Mutex<HashMap<&'static str, Queries>>,
    dependents: Arc<Dependents>,
    /// By the number of the outbox.
    connections: Mutex<BTreeMap<u64, Weak<Outbox>>>,
    /// Who waits for the head to reach a seq.
    waiting: Mutex<Vec<(Seq, Weak<Outbox>)>>,
    refills: Refills,
    /// The most bytes of rows that a window keeps.
    window_bytes: usize,
}

impl Hub {
    pub(crate) fn new(head: Seq, window_bytes: usize) -> Self {
        Self {
            head: AtomicU64::new(head),
            queries: Mutex::default(),
            dependents: Arc::default(),
            connections: Mutex::default(),
            waiting: Mutex::default(),
            refills: Refills::default(),
            window_bytes,
        }
    }

    /// A connection begins; it ends with [`disconnect`](Self::disconnect).
    pub(crate) fn connect(&self, outbox: &Arc<Outbox>) {
        self.connections.lock().insert(outbox.number(), Arc::downgrade(outbox));
    }

    /// A connection has ended.
    pub(crate) fn disconnect(&self, outbox: &Arc<Outbox>) {
        for source in outbox.clear() {
            self.leave(&source, outbox);
        }
        self.connections.lock().remove(&outbox.number());
    }

    /// Stops every subscription of every connection after what is published by now, until `read` has said again what it may see.
    pub(crate) fn rescope_all(&self) {
        // No transaction is half in place.
        let _publishing = self.queries.lock();
        let connections: Vec<_> = self.connections.lock().values().filter_map(Weak::upgrade).collect();
        for outbox in connections {
            outbox.rescope(Which::All, self.head() + 1);
        }
    }

    /// The last seq of which every entry is in place.
    pub(crate) fn head(&self) -> Seq {
        self.head.load(Ordering::Acquire)
    }

    /// Subscribes `outbox` to rows of `model`: the source, and the places after which everything is new to it. Every
    /// transaction up to the returned seq is in the store already.
    pub(crate) fn join(
        &self,
        model: &Model,
        shape: Shape,
        outbox: &Arc<Outbox>,
    ) -> (Arc<Source>, Places, Seq) {
        self.join_rows(model.name(), model.hash, shape, outbox)
    }

    pub(crate) fn join_rows(
        &self,
        model: &'static str,
        schema: u64,
        shape: Shape,
        outbox: &Arc<Outbox>,
    ) -> (Arc<Source>, Places, Seq) {
        // What can be done without the lock is.
        let (hash, legs) = (shape::hash(model, schema, &shape.filter), shape::legs(&shape));
        let mut queries = self.queries.lock();
        let of_model = queries.entry(model).or_default();
        let legs = legs.into_iter().map(|leg| {
            let query = of_model.intern(leg, |shape, route| {
                let window = |first: &First| Mutex::new(Window::new(first.clone(), self.window_bytes));
                let window = shape.first.as_ref().map(window);
                Query::new(model, shape, route, window, self.head())
            });
            query.add(outbox);
            query
        });
        let source = Arc::new(Source::new(model, shape, hash, legs.collect()));
        // Under the lock that `publish` takes: no transaction is half in place.
        let ends = source.ends();
        (source, ends, self.head())
    }

    /// From now on, and as long as what is returned lives, a transaction that changes a row of one of these filters stops the subscriptions that
    /// have it ([`Outbox::depend`]), before anything of it is delivered. Transactions that are submitted before this returns may be missed.
    pub(crate) fn depend(
        &self,
        outbox: &Arc<Outbox>,
        filters: impl IntoIterator<Item = (&'static str, Expr)>,
    ) -> Depends {
        self.dependents.depend(outbox, filters)
    }

    /// The ends of a source's tails: places for who has had everything up to the returned seq.
    pub(crate) fn end_of(&self, source: &Source) -> (Places, Seq) {
        let _publishing = self.queries.lock();
        (source.ends(), self.head())
    }

    /// Takes `outbox` off a source's queries; each goes with its last subscriber.
    pub(crate) fn leave(&self, source: &Source, outbox: &Arc<Outbox>) {
        let mut queries = self.queries.lock();
        let Some(of_model) = queries.get_mut(source.model) else { return };
        for query in &source.legs {
            if query.remove(outbox) {
                of_model.remove(query);
            }
        }
        if of_model.by_shape.is_empty() {
            queries.remove(source.model);
        }
    }

    /// Puts transactions, which follow the head in order, into the tails; then wakes those whom they concern.
    pub(crate) fn publish(&self, transactions: &[Published]) {
        let Some(last) = transactions.last() else { return };
        let mut dirty = Dirty::default();
        {
            let queries = self.queries.lock();
            for transaction in transactions {
                self.arrive(transaction.seq - 1, &mut dirty);
                put(transaction, &queries, &mut dirty);
            }
            self.arrive(last.seq, &mut dirty);
            self.want(&mut dirty);
            // Before the head is there: nothing of these transactions leaves under what was true before them.
            for (filter, seq) in self.dependents.touched(transactions) {
                if !sabotage::is(Sabotage::ScopeChangesIgnored) {
                    filter.rescope(seq);
                }
            }
            // Before the head is there, so that who looks up to it knows where to look.
            dirty.mark();
            self.head.store(last.seq, Ordering::Release);
        }
        dirty.wake();
        self.wake_waiting(last.seq);
    }

    /// Passes transactions that nobody can read any more. Subscribers find the horizon beyond them when they next look at the log.
    pub(crate) fn skip(&self, to: Seq) {
        let (subscribed, wanted) = {
            let queries = self.queries.lock();
            self.head.fetch_max(to, Ordering::AcqRel);
            let mut all: Vec<_> =
                queries.values().flat_map(|of_model| of_model.by_shape.values()).cloned().collect();
            all.sort_by_key(|query| query.number());
            let mut wanted = Dirty::default();
            for query in &all {
                query.silent_until.fetch_max(to, Ordering::AcqRel);
                if let Some(window) = &query.window {
                    window.lock().forget();
                    wanted.windows.push(query.clone());
                }
            }
            self.want(&mut wanted);
            (all, wanted)
        };
        for outbox in subscribed.iter().flat_map(|query| query.subscribers()) {
            outbox.lapse();
        }
        wanted.wake();
        self.wake_waiting(to);
    }

    /// Wakes `outbox` once the head has reached `seq`.
    pub(crate) fn wake_at(&self, seq: Seq, outbox: &Arc<Outbox>) {
        let mut waiting = self.waiting.lock();
        // Under the lock: a head that is set after this look is followed by one at who waits.
        if self.head() < seq {
            waiting.push((seq, Arc::downgrade(outbox)));
            return;
        }
        drop(waiting);
        outbox.nudge();
    }

    fn wake_waiting(&self, head: Seq) {
        let mut reached = Vec::new();
        self.waiting.lock().retain(|(seq, outbox)| {
            let waits = *seq > head;
            if !waits {
                reached.extend(outbox.upgrade());
            }
            waits
        });
        for outbox in reached {
            outbox.nudge();
        }
    }
}

/// What is to be done when the hub's lock is free.
#[derive(Debug, Default)]
struct Dirty {
    /// What has something new, and how many bytes of it.
    queries: Vec<(Arc<Query>, usize)>,
    /// Who has something new, by the number of the outbox, and how many bytes of it.
    marked: BTreeMap<u64, (Arc<Outbox>, usize)>,
    /// Windows that have changed.
    windows: Vec<Arc<Query>>,
    /// Whose windows have what they waited for, or cannot have it.
    ready: Vec<(Arc<Query>, Vec<Arc<Outbox>>)>,
    /// Windows of more than may be kept.
    over: Vec<Arc<Query>>,
}

impl Dirty {
    fn push(&mut self, query: &Arc<Query>, seq: Seq, entries: Entries) {
        let bytes = entries.iter().map(|entry| entry.message.len()).sum();
        query.tail.lock().push(seq, entries);
        self.queries.push((query.clone(), bytes));
    }

    /// What a window's subscribers are told.
    fn tell(&mut self, query: &Arc<Query>, seq: Seq, difference: &Difference) {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for (row, cid) in &difference.ins {
            bytes += row.wire.len();
            rows.push((&row.wire, row.seq, cid.as_deref()));
        }
        let mut entries = Entries::new();
        let mut push = |rows: &mut Vec<_>, outs: &[Key]| {
            let message = response::window_rows(rows, outs, seq);
            rows.clear();
            entries.push(TailEntry { index: None, is_more: !entries.is_empty(), is_removal: false, message });
        };
        // Those that fill up may be many more than what the transaction has changed: they may follow.
        let mut outs = difference.outs.as_slice();
        for row in &difference.filled {
            if bytes + row.wire.len() > FRAME_BYTES / 2 && bytes > 0 {
                push(&mut rows, std::mem::take(&mut outs));
                bytes = 0;
            }
            bytes += row.wire.len();
            rows.push((&row.wire, row.seq, None));
        }
        push(&mut rows, outs);
        self.push(query, seq, entries);
    }

    /// Tells connections which of their queries have something new.
    fn mark(&mut self) {
        let mut queries = std::mem::take(&mut self.queries);
        queries.sort_by_key(|(query, _)| query.number());
        for of_query in queries.chunk_by(|(a, _), (b, _)| Arc::ptr_eq(a, b)) {
            let Some((query, _)) = of_query.first() else { continue };
            let bytes: usize = of_query.iter().map(|(_, bytes)| bytes).sum();
            for outbox in query.subscribers() {
                outbox.mark(query);
                self.marked.entry(outbox.number()).or_insert((outbox, 0)).1 += bytes;
            }
        }
    }

    /// Each connection once, however many of its queries have something.
    fn wake(mut self) {
        self.mark();
        for (outbox, bytes) in self.marked.into_values() {
            outbox.wake(bytes as u64);
        }
        for query in self.over {
            for outbox in query.subscribers() {
                outbox.reset_window(&query);
            }
        }
        for (query, waiting) in self.ready {
            for outbox in waiting {
                outbox.window_ready(&query);
            }
        }
    }
}

/// Puts a transaction into the tails of the queries that it concerns.
fn put(transaction: &Published, queries: &HashMap<&'static str, Queries>, dirty: &mut Dirty) {
    let seq = transaction.seq;
    let mut concerned: SmallVec<[(&Arc<Query>, TailEntry); 4]> = SmallVec::new();
    let mut moved: SmallVec<[(&Arc<Query>, WindowChange); 4]> = SmallVec::new();
    for (index, change) in transaction.changes.iter().enumerate() {
        let mut encoded = Encoded::new(change, seq);
        let Some(of_model) = queries.get(change.model) else { continue };
        of_model.judge(change, |query, heard| match heard {
            Heard::Change(view) => {
                let (index, is_removal) = (Some(index), view == View::Removed);
                let message = encoded.message(view);
                concerned.push((query, TailEntry { index, is_more: false, is_removal, message }));
            }
            Heard::Moved { old, new } => {
                let new = new.zip(change.wire.clone());
                let cid = change.cid.clone().filter(|_| change.old.is_none());
                moved.push((query, WindowChange { key: change.key.clone(), old, new, cid }));
            }
        });
    }
    // A query's together, in the order of the changes. Many may hear of one change: none is looked for among them.
    concerned.sort_by_key(|(query, _)| query.number());
    for of_query in concerned.chunk_by(|(a, _), (b, _)| Arc::ptr_eq(a, b)) {
        let Some((query, _)) = of_query.first() else { continue };
        dirty.push(query, seq, of_query.iter().map(|(_, entry)| entry.clone()).collect());
    }
    moved.sort_by_key(|(query, _)| query.number());
    for of_query in moved.chunk_by(|(a, _), (b, _)| Arc::ptr_eq(a, b)) {
        let Some((query, _)) = of_query.first() else { continue };
        let Some(window) = &query.window else { continue };
        let changes = of_query.iter().map(|(_, change)| change.clone()).collect();
        if let Some(difference) = window.lock().change(seq, changes) {
            dirty.tell(query, seq, &difference);
        }
        dirty.windows.push((*query).clone());
    }
}

//! Who hears of a change: interned queries, each with a shared tail of encoded messages.
//!
//! However many clients ask the same, a change is judged once a query and encoded once. A query's tail is a linked list whose
//! nodes are the transactions that concern it. A subscriber holds its *place*, the node that it has had last, and no queue of its own:
//! what everybody has had is freed by itself, and how much waits for someone is a subtraction.

mod dependents;
mod queries;
mod query;
mod tail;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
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
    query::{Encoded, View},
};
pub(crate) use self::{
    dependents::Depends,
    query::Query,
    tail::{Place, TailEntry},
};
use crate::{
    model::{Key, filter::Expr},
    outbox::{Outbox, Which},
    registry::Model,
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
    /// By the address of the outbox.
    connections: Mutex<HashMap<usize, Weak<Outbox>>>,
    /// Who waits for the head to reach a seq.
    waiting: Mutex<Vec<(Seq, Weak<Outbox>)>>,
}

impl Hub {
    pub(crate) fn new(head: Seq) -> Self {
        Self {
            head: AtomicU64::new(head),
            queries: Mutex::default(),
            dependents: Arc::default(),
            connections: Mutex::default(),
            waiting: Mutex::default(),
        }
    }

    /// A connection begins; it ends with [`disconnect`](Self::disconnect).
    pub(crate) fn connect(&self, outbox: &Arc<Outbox>) {
        self.connections.lock().insert(Arc::as_ptr(outbox).addr(), Arc::downgrade(outbox));
    }

    /// A connection has ended.
    pub(crate) fn disconnect(&self, outbox: &Arc<Outbox>) {
        for query in outbox.clear() {
            self.leave(&query, outbox);
        }
        self.connections.lock().remove(&Arc::as_ptr(outbox).addr());
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

    /// Subscribes `outbox` to the rows of `model` in `filter`: the query, and the place after which everything is new to it. Every
    /// transaction up to the returned seq is in the store already.
    pub(crate) fn join(
        &self,
        model: &Model,
        filter: &Expr,
        outbox: &Arc<Outbox>,
    ) -> (Arc<Query>, Place, Seq) {
        self.join_rows(model.name(), model.hash, filter, outbox)
    }

    pub(crate) fn join_rows(
        &self,
        model: &'static str,
        schema: u64,
        filter: &Expr,
        outbox: &Arc<Outbox>,
    ) -> (Arc<Query>, Place, Seq) {
        let mut queries = self.queries.lock();
        let of_model = queries.entry(model).or_default();
        let query = of_model.intern(filter.clone(), |filter, route| Query::new(model, schema, filter, route));
        let place = query.add(outbox);
        // Under the lock that `publish` takes: no transaction is half in place.
        (query, place, self.head())
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

    /// The end of a query's tail: a place for who has had everything up to the returned seq.
    pub(crate) fn end_of(&self, query: &Query) -> (Place, Seq) {
        let _publishing = self.queries.lock();
        (query.tail.lock().end(), self.head())
    }

    /// Takes `outbox` off a query; the query goes with its last subscriber.
    pub(crate) fn leave(&self, query: &Arc<Query>, outbox: &Arc<Outbox>) {
        let mut queries = self.queries.lock();
        if query.remove(outbox)
            && let Some(of_model) = queries.get_mut(query.model)
        {
            of_model.remove(query);
            if of_model.by_filter.is_empty() {
                queries.remove(query.model);
            }
        }
    }

    /// Puts transactions, which follow the head in order, into the tails; then wakes those whom they concern.
    pub(crate) fn publish(&self, transactions: &[Published]) {
        let Some(last) = transactions.last() else { return };
        let mut dirty: SmallVec<[Arc<Query>; 4]> = SmallVec::new();
        {
            let queries = self.queries.lock();
            for transaction in transactions {
                let mut concerned: SmallVec<[(&Arc<Query>, TailEntry); 4]> = SmallVec::new();
                for (index, change) in transaction.changes.iter().enumerate() {
                    let mut encoded = Encoded::new(change, transaction.seq);
                    let Some(of_model) = queries.get(change.model) else { continue };
                    of_model.judge(change, |query, view| {
                        let entry = TailEntry {
                            index,
                            is_removal: view == View::Removed,
                            message: encoded.message(view),
                        };
                        concerned.push((query, entry));
                    });
                }
                // A query's together, in the order of the changes. Many may hear of one change: none is looked for among them.
                concerned.sort_by_key(|(query, _)| Arc::as_ptr(query).addr());
                for of_query in concerned.chunk_by(|(a, _), (b, _)| Arc::ptr_eq(a, b)) {
                    let Some((query, _)) = of_query.first() else { continue };
                    let entries = of_query.iter().map(|(_, entry)| entry.clone()).collect();
                    query.tail.lock().push(transaction.seq, entries);
                    dirty.push((*query).clone());
                }
            }
            dirty.sort_unstable_by_key(|query| Arc::as_ptr(query).addr());
            dirty.dedup_by(|a, b| Arc::ptr_eq(a, b));
            // Before the head is there: nothing of these transactions leaves under what was true before them.
            for (filter, seq) in self.dependents.touched(transactions) {
                filter.rescope(seq);
            }
            self.head.store(last.seq, Ordering::Release);
        }
        for query in dirty {
            query.wake();
        }
        self.wake_waiting(last.seq);
    }

    /// Passes transactions that nobody can read any more. Subscribers find the horizon beyond them when they next look at the log.
    pub(crate) fn skip(&self, to: Seq) {
        let subscribed: Vec<_> = {
            let queries = self.queries.lock();
            self.head.fetch_max(to, Ordering::AcqRel);
            queries.values().flat_map(|of_model| of_model.by_filter.values()).cloned().collect()
        };
        for query in subscribed {
            query.lapse();
        }
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
        outbox.wake();
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
            outbox.wake();
        }
    }
}

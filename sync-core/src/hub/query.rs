//! One query: who subscribed to it, what a change is to it, and the messages that say so.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Weak},
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    PublishedChange,
    tail::{Place, Tail},
};
use crate::{
    model::{
        filter::{Expr, Names, Route},
        value::Value,
    },
    outbox::{Outbox, Which},
    protocol::response,
    store::Seq,
};

/// Rows of a model in a filter, and who subscribed to them.
#[derive(Debug)]
pub(crate) struct Query {
    pub(super) model: &'static str,
    pub(super) filter: Expr,
    pub(super) route: Option<Route>,
    hash: u64,
    pub(super) tail: Mutex<Tail>,
    /// By the address of the outbox.
    subscribers: Mutex<HashMap<usize, Subscriber>>,
}

/// A connection, and how many of its subscriptions are to the one query.
#[derive(Debug)]
struct Subscriber {
    outbox: Weak<Outbox>,
    count: usize,
}

impl Query {
    /// A query of the model of that name and that schema.
    pub(super) fn new(model: &'static str, schema: u64, filter: Expr, route: Option<Route>) -> Self {
        let text = format!("{model} {schema:x} {filter:?}");
        let hash = xxhash_rust::xxh3::xxh3_64(text.as_bytes());
        Self { model, route, filter, hash, tail: Mutex::new(Tail::new()), subscribers: Mutex::default() }
    }

    /// Of the model's schema and the filter: a cursor of a query with another hash cannot be continued.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn filter(&self) -> &Expr {
        &self.filter
    }

    pub(crate) fn model(&self) -> &'static str {
        self.model
    }

    /// The message of one change for this query, if it concerns it; for changes out of the log.
    pub(crate) fn message(&self, change: &PublishedChange, seq: Seq) -> Option<Bytes> {
        self.judge(change).map(|view| Encoded::new(change, seq).message(view))
    }

    /// How many bytes stand after `place`.
    pub(crate) fn bytes_after(&self, place: &Place) -> u64 {
        self.tail.lock().bytes_after(place)
    }

    pub(super) fn judge(&self, change: &PublishedChange) -> Option<View> {
        if change.model != self.model {
            return None;
        }
        let shows = |body: &Option<Bytes>| body.as_ref().is_some_and(|body| self.filter.matches(body));
        View::of(shows(&change.old), shows(&change.new))
    }

    pub(super) fn names(&self) -> Names {
        let mut names = Names::new();
        self.filter.names(&mut names);
        names
    }

    /// Whether its rows may have this value in the field that it is found by.
    pub(super) fn is_routed_by(&self, value: &Value) -> bool {
        self.route.as_ref().is_some_and(|route| route.values.binary_search(value).is_ok())
    }

    pub(super) fn add(&self, outbox: &Arc<Outbox>) -> Place {
        let mut subscribers = self.subscribers.lock();
        let new = || Subscriber { outbox: Arc::downgrade(outbox), count: 0 };
        subscribers.entry(Arc::as_ptr(outbox).addr()).or_insert_with(new).count += 1;
        self.tail.lock().end()
    }

    /// Whether nobody is left.
    pub(super) fn remove(&self, outbox: &Arc<Outbox>) -> bool {
        let mut subscribers = self.subscribers.lock();
        if let Entry::Occupied(mut subscriber) = subscribers.entry(Arc::as_ptr(outbox).addr()) {
            subscriber.get_mut().count -= 1;
            if subscriber.get().count == 0 {
                subscriber.remove();
            }
        }
        subscribers.is_empty()
    }

    /// What its subscribers were not given cannot be given to them any more: they look at the log.
    pub(super) fn lapse(&self) {
        for subscriber in self.subscribers.lock().values() {
            if let Some(outbox) = subscriber.outbox.upgrade() {
                outbox.lapse();
            }
        }
    }

    /// What its subscribers depend on changes with the transaction `seq`.
    pub(super) fn rescope(self: &Arc<Self>, seq: Seq) {
        for subscriber in self.subscribers.lock().values() {
            if let Some(outbox) = subscriber.outbox.upgrade() {
                outbox.rescope(Which::DependsOn(self), seq);
            }
        }
    }

    pub(super) fn wake(&self) {
        for subscriber in self.subscribers.lock().values() {
            if let Some(outbox) = subscriber.outbox.upgrade() {
                outbox.wake();
            }
        }
    }
}

/// What a change is to a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Shown,
    Removed,
}

impl View {
    /// Of a row that a query has shown, and shows now.
    pub(super) fn of(old: bool, new: bool) -> Option<Self> {
        match (old, new) {
            (false, false) => None,
            (_, true) => Some(Self::Shown),
            (true, false) => Some(Self::Removed),
        }
    }
}

/// The messages of a change, each encoded when first needed.
pub(super) struct Encoded<'a> {
    change: &'a PublishedChange,
    seq: Seq,
    shown: Option<Bytes>,
    removed: Option<Bytes>,
}

impl<'a> Encoded<'a> {
    pub(super) fn new(change: &'a PublishedChange, seq: Seq) -> Self {
        Self { change, seq, shown: None, removed: None }
    }

    pub(super) fn message(&mut self, view: View) -> Bytes {
        let (change, seq) = (self.change, self.seq);
        match view {
            View::Shown => self.shown.get_or_insert_with(|| {
                let row = change.wire.as_deref().unwrap_or(b"null");
                match &change.old {
                    None => response::create(change.model, change.cid.as_deref(), row, seq),
                    Some(_) => response::update(change.model, &change.key, row, seq),
                }
            }),
            View::Removed => self.removed.get_or_insert_with(|| {
                let method = if change.new.is_none() { "delete" } else { "remove" };
                response::gone(method, change.model, change.id_name, &change.key, seq)
            }),
        }
        .clone()
    }
}

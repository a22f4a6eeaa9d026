//! One query: who subscribed to it, what a change is to it, and the messages that say so.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{PublishedChange, shape::Shape, tail::Tail, window::Window};
use crate::{
    model::{
        Key, Place,
        filter::{FieldValues, Names, Route},
        value::Value,
    },
    outbox::{Outbox, Which},
    protocol::response,
    sabotage::{self, Sabotage},
    store::Seq,
};

/// Rows of a model in a filter, or the first of them, and who subscribed to them.
#[derive(Debug)]
pub(crate) struct Query {
    pub(super) model: &'static str,
    pub(super) shape: Shape,
    pub(super) route: Option<Route>,
    pub(super) tail: Mutex<Tail>,
    /// Of what happened up to this seq its tail tells nothing.
    pub(super) silent_until: AtomicU64,
    /// What is known of a window. Used under the lock of the hub's queries alone.
    pub(super) window: Option<Mutex<Window>>,
    /// By the number of the outbox.
    subscribers: Mutex<BTreeMap<u64, Subscriber>>,
    number: u64,
}

/// A connection, and how many of its subscriptions are to the one query.
#[derive(Debug)]
struct Subscriber {
    outbox: Weak<Outbox>,
    count: usize,
}

impl Query {
    pub(super) fn new(
        model: &'static str,
        shape: Shape,
        route: Option<Route>,
        window: Option<Mutex<Window>>,
        head: Seq,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            model,
            shape,
            route,
            tail: Mutex::new(Tail::new()),
            silent_until: AtomicU64::new(head),
            window,
            subscribers: Mutex::default(),
            number,
        }
    }

    /// Names it, in the order in which they are made, which is the same in every run.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// A seq after which none of its rows has changed, up to the hub's head.
    pub(super) fn changed_at(&self) -> Seq {
        self.tail.lock().last().max(self.silent_until.load(Ordering::Acquire))
    }

    pub(super) fn names(&self) -> Names {
        self.shape.names()
    }

    /// Where a row of a window stands, of which these are the values. They are there if any are looked at.
    pub(super) fn place(&self, row: Option<&FieldValues>, key: &Key) -> Option<Place> {
        let order = &self.shape.first.as_ref()?.order;
        match row {
            Some(row) => Some(Place::of(row, key.clone(), order)),
            None => order.is_empty().then(|| Place::by_key(key.clone())),
        }
    }

    /// Whether its rows may have this value in the field that it is found by.
    pub(super) fn is_routed_by(&self, value: &Value) -> bool {
        self.route.as_ref().is_some_and(|route| route.values.binary_search(value).is_ok())
    }

    pub(super) fn add(&self, outbox: &Arc<Outbox>) {
        let mut subscribers = self.subscribers.lock();
        let new = || Subscriber { outbox: Arc::downgrade(outbox), count: 0 };
        subscribers.entry(outbox.number()).or_insert_with(new).count += 1;
    }

    /// Whether nobody is left.
    pub(super) fn remove(&self, outbox: &Arc<Outbox>) -> bool {
        let mut subscribers = self.subscribers.lock();
        if let Entry::Occupied(mut subscriber) = subscribers.entry(outbox.number()) {
            subscriber.get_mut().count -= 1;
            if subscriber.get().count == 0 {
                subscriber.remove();
            }
        }
        subscribers.is_empty()
    }

    /// What its subscribers depend on changes with the transaction `seq`.
    pub(super) fn rescope(self: &Arc<Self>, seq: Seq) {
        for outbox in self.subscribers() {
            outbox.rescope(Which::DependsOn(self), seq);
        }
    }

    /// Those who subscribed to it. A list, so that nothing is locked while they are told.
    pub(super) fn subscribers(&self) -> Vec<Arc<Outbox>> {
        self.subscribers.lock().values().filter_map(|subscriber| subscriber.outbox.upgrade()).collect()
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
            (false, false) => sabotage::is(Sabotage::RemovesForUnseen).then_some(Self::Removed),
            (true, false) if sabotage::is(Sabotage::RemovesLost) => None,
            (_, true) => Some(Self::Shown),
            (true, false) => Some(Self::Removed),
        }
    }
}

/// What a query hears of a change.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "handed on at once")]
pub(super) enum Heard {
    Change(View),
    /// A window: where the row was, and is.
    Moved {
        old: Option<Place>,
        new: Option<Place>,
    },
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

//! Who hears of a change: interned queries, each with a shared tail of encoded messages.
//!
//! However many clients ask the same, a change is judged once a query and encoded once. A query's tail is a linked list whose
//! nodes are the transactions that concern it. A subscriber holds its *place*, the node that it has had last, and no queue of its own:
//! what everybody has had is freed by itself, and how much waits for someone is a subtraction.

use std::{
    collections::{BTreeMap, HashMap, btree_map, hash_map::Entry},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::{
    model::{
        Key,
        filter::{Expr, FieldValues, Names, Route},
        value::Value,
    },
    outbox::Outbox,
    protocol::response,
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
    /// Who waits for the head to reach a seq.
    waiting: Mutex<Vec<(Seq, Weak<Outbox>)>>,
}

impl Hub {
    pub(crate) fn new(head: Seq) -> Self {
        Self { head: AtomicU64::new(head), queries: Mutex::default(), waiting: Mutex::default() }
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
        let mut queries = self.queries.lock();
        let of_model = queries.entry(model.name()).or_default();
        let query = of_model
            .intern(filter.clone(), |filter, route| Query::new(model.name(), model.hash, filter, route));
        let place = query.add(outbox);
        // Under the lock that `publish` takes: no transaction is half in place.
        (query, place, self.head())
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

/// The queries of one model, and where to find those that a change may concern.
#[derive(Debug, Default)]
struct Queries {
    by_filter: HashMap<Expr, Arc<Query>>,
    /// Those whose rows all have one of some values in a field. A change is looked up by what it was and what it is, so that it costs what the
    /// queries cost that it concerns, and not what there are.
    routed: HashMap<&'static str, HashMap<Value, Vec<Arc<Query>>>>,
    /// The others: each looks at every change.
    unrouted: Vec<Arc<Query>>,
    /// What the filters look at, and how many do.
    names: BTreeMap<&'static str, usize>,
}

impl Queries {
    /// The query of a filter, which is `made` if there is none yet.
    fn intern(&mut self, filter: Expr, made: impl FnOnce(Expr, Option<Route>) -> Query) -> Arc<Query> {
        if let Some(query) = self.by_filter.get(&filter) {
            return query.clone();
        }
        let route = self.route(&filter);
        let query = Arc::new(made(filter, route));
        match &query.route {
            None => self.unrouted.push(query.clone()),
            Some(Route { field, values }) => {
                let by_value = self.routed.entry(field).or_default();
                for value in values {
                    by_value.entry(value.clone()).or_default().push(query.clone());
                }
            }
        }
        for name in query.names() {
            *self.names.entry(name).or_default() += 1;
        }
        self.by_filter.insert(query.filter.clone(), query.clone());
        query
    }

    /// By what to look up a filter, if by anything: where the fewest others stand already. So what all have in common, such as a scope, is
    /// chosen for hardly any of them.
    fn route(&self, filter: &Expr) -> Option<Route> {
        filter.routes().into_iter().min_by_key(|Route { field, values }| {
            let by_value = self.routed.get(field);
            let standing = |value| by_value.and_then(|by_value| by_value.get(value)).map_or(0, Vec::len);
            (values.iter().map(standing).sum::<usize>(), values.len(), *field)
        })
    }

    fn remove(&mut self, query: &Arc<Query>) {
        self.by_filter.remove(&query.filter);
        let is_other = |other: &Arc<Query>| !Arc::ptr_eq(other, query);
        match &query.route {
            None => self.unrouted.retain(is_other),
            Some(Route { field, values }) => {
                let by_value = self.routed.entry(field).or_default();
                for value in values {
                    if let Entry::Occupied(mut routed) = by_value.entry(value.clone()) {
                        routed.get_mut().retain(is_other);
                        if routed.get().is_empty() {
                            routed.remove();
                        }
                    }
                }
                if by_value.is_empty() {
                    self.routed.remove(field);
                }
            }
        }
        for name in query.names() {
            if let btree_map::Entry::Occupied(mut count) = self.names.entry(name) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }

    /// Calls back with each query that a change concerns.
    fn judge<'a>(&'a self, change: &PublishedChange, mut concerns: impl FnMut(&'a Arc<Query>, View)) {
        // Each row is read once, for all filters, if any looks at it.
        let names: Names = self.names.keys().copied().collect();
        let read = |body: &Option<Bytes>| {
            body.as_ref()
                .filter(|_| !names.is_empty())
                .and_then(|body| FieldValues::read(body, names.clone()))
        };
        let (old, new) = (read(&change.old), read(&change.new));
        let shows = |query: &Query, row: &Option<FieldValues>, body: &Option<Bytes>| match row {
            Some(row) => query.filter.judge(row),
            // It was not looked at.
            None => body.is_some() && query.filter.is_all(),
        };
        self.candidates(old.as_ref(), new.as_ref(), |query| {
            let view = View::of(shows(query, &old, &change.old), shows(query, &new, &change.new));
            if let Some(view) = view {
                concerns(query, view);
            }
        });
    }

    /// Calls back once with each query that may match one of the rows.
    fn candidates<'a>(
        &'a self,
        old: Option<&FieldValues>,
        new: Option<&FieldValues>,
        mut found: impl FnMut(&'a Arc<Query>),
    ) {
        self.unrouted.iter().for_each(&mut found);
        for (field, by_value) in &self.routed {
            let (before, after) = (old.map(|row| row.get(field)), new.map(|row| row.get(field)));
            let queries = |value| by_value.get(value).into_iter().flatten();
            before.into_iter().flat_map(queries).for_each(&mut found);
            let found_before = |query: &Arc<Query>| before.is_some_and(|value| query.is_routed_by(value));
            after.into_iter().flat_map(queries).filter(|query| !found_before(query)).for_each(&mut found);
        }
    }
}

/// Rows of a model in a filter, and who subscribed to them.
#[derive(Debug)]
pub(crate) struct Query {
    model: &'static str,
    filter: Expr,
    route: Option<Route>,
    hash: u64,
    tail: Mutex<Tail>,
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
    fn new(model: &'static str, schema: u64, filter: Expr, route: Option<Route>) -> Self {
        let text = format!("{model} {schema:x} {filter:?}");
        let hash = xxhash_rust::xxh3::xxh3_64(text.as_bytes());
        Self { model, route, filter, hash, tail: Mutex::new(Tail::new()), subscribers: Mutex::default() }
    }

    /// Of the model's schema and the filter: a cursor of a query with another hash cannot be continued.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
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
        self.tail.lock().end.total_bytes - place.0.total_bytes
    }

    fn judge(&self, change: &PublishedChange) -> Option<View> {
        if change.model != self.model {
            return None;
        }
        let shows = |body: &Option<Bytes>| body.as_ref().is_some_and(|body| self.filter.matches(body));
        View::of(shows(&change.old), shows(&change.new))
    }

    fn names(&self) -> Names {
        let mut names = Names::new();
        self.filter.names(&mut names);
        names
    }

    /// Whether its rows may have this value in the field that it is found by.
    fn is_routed_by(&self, value: &Value) -> bool {
        self.route.as_ref().is_some_and(|route| route.values.binary_search(value).is_ok())
    }

    fn add(&self, outbox: &Arc<Outbox>) -> Place {
        let mut subscribers = self.subscribers.lock();
        let new = || Subscriber { outbox: Arc::downgrade(outbox), count: 0 };
        subscribers.entry(Arc::as_ptr(outbox).addr()).or_insert_with(new).count += 1;
        self.tail.lock().end()
    }

    /// Whether nobody is left.
    fn remove(&self, outbox: &Arc<Outbox>) -> bool {
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
    fn lapse(&self) {
        for subscriber in self.subscribers.lock().values() {
            if let Some(outbox) = subscriber.outbox.upgrade() {
                outbox.lapse();
            }
        }
    }

    fn wake(&self) {
        for subscriber in self.subscribers.lock().values() {
            if let Some(outbox) = subscriber.outbox.upgrade() {
                outbox.wake();
            }
        }
    }
}

/// What a change is to a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    Shown,
    Removed,
}

impl View {
    /// Of a row that a query has shown, and shows now.
    fn of(old: bool, new: bool) -> Option<Self> {
        match (old, new) {
            (false, false) => None,
            (_, true) => Some(Self::Shown),
            (true, false) => Some(Self::Removed),
        }
    }
}

/// The messages of a change, each encoded when first needed.
struct Encoded<'a> {
    change: &'a PublishedChange,
    seq: Seq,
    shown: Option<Bytes>,
    removed: Option<Bytes>,
}

impl<'a> Encoded<'a> {
    fn new(change: &'a PublishedChange, seq: Seq) -> Self {
        Self { change, seq, shown: None, removed: None }
    }

    fn message(&mut self, view: View) -> Bytes {
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

/// The messages of one transaction for one query.
pub(crate) type Entries = SmallVec<[TailEntry; 1]>;

/// A message in a tail.
#[derive(Clone, Debug)]
pub(crate) struct TailEntry {
    /// The place of its change in the transaction.
    pub(crate) index: usize,
    /// Whether another query that shows the row counts more.
    pub(crate) is_removal: bool,
    pub(crate) message: Bytes,
}

/// The newest end of a query's tail.
#[derive(Debug)]
struct Tail {
    end: Arc<Node>,
}

impl Tail {
    fn new() -> Self {
        Self {
            end: Arc::new(Node { seq: 0, entries: SmallVec::new(), total_bytes: 0, next: OnceLock::new() }),
        }
    }

    fn end(&self) -> Place {
        Place(self.end.clone())
    }

    fn push(&mut self, seq: Seq, entries: Entries) {
        let bytes: usize = entries.iter().map(|entry| entry.message.len()).sum();
        let total_bytes = self.end.total_bytes + bytes as u64;
        let node = Arc::new(Node { seq, entries, total_bytes, next: OnceLock::new() });
        // The end has no next node, so this sets it.
        let _ = self.end.next.set(node.clone());
        self.end = node;
    }
}

#[derive(Debug)]
struct Node {
    seq: Seq,
    entries: Entries,
    /// Of all nodes up to this one, since the query began.
    total_bytes: u64,
    next: OnceLock<Arc<Node>>,
}

impl Drop for Node {
    /// A long tail goes node by node: dropped by recursion it would take the stack.
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(node) = next {
            next = Arc::into_inner(node).and_then(|mut node| node.next.take());
        }
    }
}

/// How far someone has read a query's tail: the last node that they have had.
#[derive(Clone, Debug)]
pub(crate) struct Place(Arc<Node>);

impl Place {
    /// Moves over the next transaction if there is one up to `seq`.
    pub(crate) fn advance(&mut self, seq: Seq) -> Option<(Seq, Entries)> {
        let next = self.0.next.get().filter(|next| next.seq <= seq)?.clone();
        self.0 = next;
        Some((self.0.seq, self.0.entries.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::filter::Relation;

    fn eq(field: &'static str, value: &str) -> Expr {
        Expr::Eq(field, Value::Text(value.into()))
    }

    impl Queries {
        fn add(&mut self, filter: Expr) -> Arc<Query> {
            self.intern(filter, |filter, route| Query::new("Task", 0, filter, route))
        }
    }

    /// How many queries are looked at for a row that was in one list and is in another.
    fn looked_at(queries: &Queries, old: Option<&str>, new: Option<&str>) -> usize {
        let row = |list: Option<&str>| {
            let body = list.map(|list| format!(r#"{{"list":"{list}"}}"#));
            body.and_then(|body| FieldValues::read(body.as_bytes(), smallvec::smallvec!["list"]))
        };
        let mut count = 0;
        queries.candidates(row(old).as_ref(), row(new).as_ref(), |_| count += 1);
        count
    }

    #[test]
    fn a_change_looks_at_the_queries_of_what_it_was_and_what_it_is() {
        let mut queries = Queries::default();
        let lists: Vec<_> = (0..10_000).map(|list| queries.add(eq("list", &format!("{list}")))).collect();
        assert_eq!(looked_at(&queries, None, Some("7")), 1);
        assert_eq!(looked_at(&queries, Some("7"), None), 1);
        assert_eq!(looked_at(&queries, Some("7"), Some("7")), 1);
        assert_eq!(looked_at(&queries, Some("7"), Some("8")), 2);
        assert_eq!(looked_at(&queries, Some("x"), Some("y")), 0);

        let both = queries.add(Expr::or(vec![eq("list", "7"), eq("list", "8")]));
        let every = queries.add(Expr::And(Vec::new()));
        assert_eq!(looked_at(&queries, Some("7"), Some("8")), 4, "each once");
        assert_eq!(looked_at(&queries, Some("x"), None), 1);

        for query in lists.iter().chain([&both, &every]) {
            queries.remove(query);
        }
        assert!(queries.by_filter.is_empty() && queries.routed.is_empty() && queries.unrouted.is_empty());
        assert!(queries.names.is_empty());
    }

    /// Some number below `end`, always the same ones in the same order.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap() % end
        }

        fn of<'a>(&mut self, values: &[&'a str]) -> &'a str {
            values[self.below(values.len())]
        }
    }

    /// Some of them are equal, and some look as if they were.
    const VALUES: [&str; 24] = [
        "null",
        "false",
        "true",
        "0",
        "-0",
        "-0.0",
        "1",
        "1.0",
        "10e-1",
        "2.5",
        "-3",
        "9007199254740993",
        "18446744073709551615",
        "10000000000000000000",
        "1e19",
        "1e300",
        r#""""#,
        r#""a""#,
        r#""\u0061""#,
        r#""1""#,
        "[1]",
        "[1.0]",
        r#"{"a":1,"b":[-0.0]}"#,
        r#"{"b":[0],"a":1}"#,
    ];

    fn some_filter(random: &mut Random, depth: usize) -> Expr {
        let field = ["a", "b", "c"][random.below(3)];
        let value = serde_json::from_str::<serde_json::Value>(random.of(&VALUES)).unwrap();
        let kind = if depth == 0 { random.below(6) } else { random.below(12) };
        let mut parts = || (0..random.below(4)).map(|_| some_filter(random, depth - 1)).collect();
        match kind {
            0..=3 => Expr::Eq(field, value.into()),
            4 => Expr::Compare(field, Relation::GreaterOrEqual, value.into()),
            5 => Expr::Prefix(field, "a".into()),
            6..=7 => Expr::and(parts()),
            8..=10 => Expr::or(parts()),
            _ => some_filter(random, depth - 1).negated(),
        }
    }

    /// A row, or none.
    fn some_row(random: &mut Random) -> Option<Bytes> {
        let mut row = serde_json::Map::new();
        for field in ["a", "b", "c", "d"] {
            if random.below(5) > 0 {
                row.insert(field.into(), serde_json::from_str(random.of(&VALUES)).unwrap());
            }
        }
        (random.below(4) > 0).then(|| serde_json::to_vec(&row).unwrap().into())
    }

    /// Whatever is asked, and whatever was asked before: a change comes to those whom it concerns, once.
    #[test]
    fn a_change_comes_to_just_those_whom_it_concerns() {
        let mut random = Random(7);
        for round in 0..100 {
            let mut queries = Queries::default();
            // Without fields, now and then: then rows are not even read.
            let (most, depth) = (1 + random.below(30), random.below(4));
            for _ in 0..most {
                let filter = some_filter(&mut random, depth);
                if round % 3 > 0 || names(&filter).is_empty() {
                    queries.add(filter);
                }
            }
            while !queries.by_filter.is_empty() {
                for _ in 0..10 {
                    let (old, new) = (some_row(&mut random), some_row(&mut random));
                    let change = change(old, new);
                    let mut heard = Vec::new();
                    queries.judge(&change, |query, view| heard.push((Arc::as_ptr(query), view)));
                    let all = queries.by_filter.values();
                    let mut expected: Vec<_> =
                        all.filter_map(|query| Some((Arc::as_ptr(query), query.judge(&change)?))).collect();
                    heard.sort_by_key(|(query, _)| query.addr());
                    expected.sort_by_key(|(query, _)| query.addr());
                    assert_eq!(heard, expected, "{change:?} {queries:?}");
                }
                let at = random.below(queries.by_filter.len());
                let left = queries.by_filter.values().nth(at).unwrap().clone();
                queries.remove(&left);
                let mut counted = BTreeMap::<_, usize>::new();
                for name in queries.by_filter.values().flat_map(|query| query.names()) {
                    *counted.entry(name).or_default() += 1;
                }
                assert_eq!(queries.names, counted);
            }
            assert!(queries.routed.is_empty() && queries.unrouted.is_empty());
        }
    }

    /// A transaction is one node in a tail, with its changes in their order.
    #[test]
    fn the_changes_of_a_transaction_stay_together() {
        let hub = Hub::new(0);
        let mut queries = Queries::default();
        let all: Vec<_> = (0..10)
            .map(|number| queries.add(Expr::Compare("a", Relation::Greater, Value::Int(number))))
            .collect();
        let mut places: Vec<_> = all.iter().map(|query| query.tail.lock().end()).collect();
        hub.queries.lock().insert("Task", queries);
        let row = |number: usize| change(None, Some(format!(r#"{{"a":{number}}}"#).into()));
        hub.publish(&[Published { seq: 1, changes: [10, 5, 10].map(row).into_iter().collect() }]);
        for (number, place) in places.iter_mut().enumerate() {
            let (seq, entries) = place.advance(1).unwrap();
            let indexes: Vec<_> = entries.iter().map(|entry| entry.index).collect();
            assert_eq!((seq, &*indexes), (1, if number < 5 { &[0, 1, 2][..] } else { &[0, 2] }), "{number}");
            assert!(place.advance(1).is_none());
        }
    }

    /// What a cursor belongs to.
    #[test]
    fn the_hash_of_a_query_is_of_its_model_its_schema_and_its_filter() {
        let hash = |model, schema, filter| Query::new(model, schema, filter, None).hash();
        let of_one = hash("Task", 1, eq("a", "1"));
        assert_eq!(of_one, hash("Task", 1, eq("a", "1")));
        for other in
            [hash("Todo", 1, eq("a", "1")), hash("Task", 2, eq("a", "1")), hash("Task", 1, eq("a", "2"))]
        {
            assert_ne!(of_one, other);
        }
    }

    /// How long it takes to publish one change that so many queries hear of.
    fn time_of_a_change(hearing: i64) -> std::time::Duration {
        let hub = Hub::new(0);
        let mut queries = Queries::default();
        for number in 0..hearing {
            queries.add(Expr::Compare("a", Relation::Greater, Value::Int(-number)));
        }
        hub.queries.lock().insert("Task", queries);
        let change = change(None, Some(r#"{"a":1}"#.into()));
        let transaction = Published { seq: 1, changes: smallvec::smallvec![change] };
        let started = std::time::Instant::now();
        hub.publish(&[transaction]);
        started.elapsed()
    }

    #[test]
    fn a_change_that_many_hear_of_costs_each_the_same() {
        let best = |hearing| (0..3).map(|_| time_of_a_change(hearing)).min().unwrap();
        let (few, many) = (best(1_000), best(30_000));
        assert!(many < few * 30 * 5, "{few:?} for 1,000, {many:?} for 30,000");
    }

    fn names(filter: &Expr) -> Names {
        let mut names = Names::new();
        filter.names(&mut names);
        names
    }

    fn change(old: Option<Bytes>, new: Option<Bytes>) -> PublishedChange {
        PublishedChange {
            model: "Task",
            id_name: "id",
            key: Key::Int(1),
            cid: None,
            old,
            wire: new.clone(),
            new,
        }
    }

    /// What all of them have in common, as a scope, tells nobody apart: wherever it comes in the alphabet, and however many values the rest has.
    #[test]
    fn a_change_is_looked_up_by_what_tells_the_queries_apart() {
        let mut queries = Queries::default();
        let either =
            |field, values: [String; 2]| Expr::or(values.iter().map(|value| eq(field, value)).collect());
        for number in 0..1_000 {
            let own = either("list", [format!("{number}"), format!("{number} old")]);
            let every = either("a", ["some".into(), "others".into()]);
            let shared = eq(if number % 2 == 0 { "owner" } else { "account" }, "everybody");
            queries.add(Expr::and(vec![shared, own, every]));
        }
        let body = br#"{"list":"7","owner":"everybody","account":"everybody","a":"some"}"#;
        let row = FieldValues::read(body, smallvec::smallvec!["list", "owner", "account", "a"]);
        let mut looked_at = 0;
        queries.candidates(None, row.as_ref(), |_| looked_at += 1);
        assert!(looked_at < 8, "{looked_at}");
    }
}

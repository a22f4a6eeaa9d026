//! Who hears of a change: routed, and judged one by one.

use std::collections::BTreeMap;

use super::*;
use crate::model::{
    filter::{Expr, FieldValues, Names, Relation},
    value::Value,
};

fn eq(field: &'static str, value: &str) -> Expr {
    Expr::Eq(field, Value::Text(value.into()))
}

impl Queries {
    fn add(&mut self, filter: Expr) -> Arc<Query> {
        self.intern(Shape::all(filter), |shape, route| Query::new("Task", shape, route, None, 0))
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
    assert!(queries.by_shape.is_empty() && queries.routed.is_empty() && queries.unrouted.is_empty());
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
        while !queries.by_shape.is_empty() {
            for _ in 0..10 {
                let (old, new) = (some_row(&mut random), some_row(&mut random));
                let change = change(old, new);
                let mut heard = Vec::new();
                queries.judge(&change, |query, said| {
                    if let Heard::Change(view) = said {
                        heard.push((Arc::as_ptr(query), view));
                    }
                });
                let all = queries.by_shape.values();
                let view = |query: &Query| {
                    let shows = |body: &Option<Bytes>| {
                        body.as_ref().is_some_and(|body| query.shape.filter.matches(body))
                    };
                    View::of(shows(&change.old), shows(&change.new))
                };
                let mut expected: Vec<_> =
                    all.filter_map(|query| Some((Arc::as_ptr(query), view(query)?))).collect();
                heard.sort_by_key(|(query, _)| query.addr());
                expected.sort_by_key(|(query, _)| query.addr());
                assert_eq!(heard, expected, "{change:?} {queries:?}");
            }
            let at = random.below(queries.by_shape.len());
            let left = queries.by_shape.values().nth(at).unwrap().clone();
            queries.remove(&left);
            let mut counted = BTreeMap::<_, usize>::new();
            for name in queries.by_shape.values().flat_map(|query| query.names()) {
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
    let hub = Hub::new(0, 1 << 20);
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
        let indexes: Vec<_> = entries.iter().filter_map(|entry| entry.index).collect();
        assert_eq!((seq, &*indexes), (1, if number < 5 { &[0, 1, 2][..] } else { &[0, 2] }), "{number}");
        assert!(place.advance(1).is_none());
    }
}

/// What a log of changes of the row 1, each from one list to another, says to who looks at the list `a`.
fn caught_up(lists: &[&str]) -> Vec<String> {
    let body = |list: &str| (!list.is_empty()).then(|| Bytes::from(format!(r#"{{"list":"{list}"}}"#)));
    let published = |(seq, pair): (Seq, &[&str])| {
        let mut change = change(body(pair[0]), body(pair[1]));
        change.cid = change.old.is_none().then(|| "c".into());
        Published { seq, changes: smallvec::smallvec![change] }
    };
    let log: Vec<_> = (1..).zip(lists.windows(2)).map(published).collect();
    let hub = Hub::new(0, 1 << 20);
    let outbox = Arc::new(Outbox::new(1 << 20, uuid::Uuid::nil(), 0));
    let (source, ..) = hub.join_rows("Task", 0, Shape::all(eq("list", "a")), &outbox);
    let messages = source.messages(&log).into_iter().map(|message| {
        let message: serde_json::Value = serde_json::from_slice(&message).unwrap();
        let cid = message["cid"].as_str().unwrap_or_default();
        format!("{} {} {cid}", message["method"].as_str().unwrap(), message["seq"]).trim_end().to_owned()
    });
    messages.collect()
}

#[test]
fn what_was_missed_is_told_by_the_last_change_of_each_row_that_was_in_sight() {
    assert_eq!(caught_up(&["a", "a", "a"]), ["update 2"]);
    assert_eq!(caught_up(&["b", "b", "c"]), [""; 0]);
    // Its creator knows it by that.
    assert_eq!(caught_up(&["", "a", "a"]), ["create 2 c"]);
    // When it left, not what has become of it since.
    assert_eq!(caught_up(&["a", "b", "c", "b"]), ["remove 1"]);
    assert_eq!(caught_up(&["a", "b", ""]), ["remove 1"]);
    // It may have been told of already, as it happened.
    assert_eq!(caught_up(&["", "a", "b"]), ["remove 2"]);
    assert_eq!(caught_up(&["b", "a", ""]), ["delete 2"]);
    assert_eq!(caught_up(&["a", "b", "c", "a"]), ["update 3"]);
}

/// What a cursor belongs to.
#[test]
fn the_hash_of_a_query_is_of_its_model_its_schema_and_its_filter() {
    let hash = |model, schema, filter: Expr| shape::hash(model, schema, &filter);
    let of_one = hash("Task", 1, eq("a", "1"));
    assert_eq!(of_one, hash("Task", 1, eq("a", "1")));
    for other in [hash("Todo", 1, eq("a", "1")), hash("Task", 2, eq("a", "1")), hash("Task", 1, eq("a", "2"))]
    {
        assert_ne!(of_one, other);
    }
}

/// How long it takes to publish so many times one change that so many queries hear of.
fn time_of_changes(times: usize, hearing: i64) -> std::time::Duration {
    let hubs: Vec<_> = (0..times)
        .map(|_| {
            let hub = Hub::new(0, 1 << 20);
            let mut queries = Queries::default();
            for number in 0..hearing {
                queries.add(Expr::Compare("a", Relation::Greater, Value::Int(-number)));
            }
            hub.queries.lock().insert("Task", queries);
            hub
        })
        .collect();
    let change = change(None, Some(r#"{"a":1}"#.into()));
    let transaction = [Published { seq: 1, changes: smallvec::smallvec![change] }];
    let (wall, cpu) = (std::time::Instant::now(), cpu_time());
    for hub in &hubs {
        hub.publish(&transaction);
    }
    cpu.zip(cpu_time()).map_or(wall.elapsed(), |(before, after)| after.saturating_sub(before))
}

/// What this thread has had of the processors, where Linux says it: others take turns with it, the longer the oftener. It is exact to some
/// milliseconds.
fn cpu_time() -> Option<std::time::Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(std::time::Duration::from_nanos)
}

#[test]
fn a_change_that_many_hear_of_costs_each_the_same() {
    let (few, many) = (time_of_changes(60, 1_000), time_of_changes(2, 30_000));
    assert!(many < few * 5, "{few:?} for 60 times 1,000, {many:?} for 2 times 30,000");
}

fn names(filter: &Expr) -> Names {
    let mut names = Names::new();
    filter.names(&mut names);
    names
}

fn change(old: Option<Bytes>, new: Option<Bytes>) -> PublishedChange {
    PublishedChange { model: "Task", id_name: "id", key: Key::Int(1), cid: None, old, wire: new.clone(), new }
}

/// What all of them have in common, as a scope, tells nobody apart: wherever it comes in the alphabet, and however many values the rest has.
#[test]
fn a_change_is_looked_up_by_what_tells_the_queries_apart() {
    let mut queries = Queries::default();
    let either = |field, values: [String; 2]| Expr::or(values.iter().map(|value| eq(field, value)).collect());
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

/// The filters of the queries that a subscription is made of.
fn legs(filter: Expr) -> Vec<Expr> {
    shape::legs(&Shape::all(filter)).into_iter().map(|leg| leg.filter).collect()
}

fn one_of(field: &'static str, values: &[&str]) -> Expr {
    Expr::or(values.iter().map(|value| eq(field, value)).collect())
}

#[test]
fn a_filter_by_one_of_some_values_is_a_query_for_each() {
    let open = eq("status", "open");
    assert_eq!(legs(eq("room", "a")), [eq("room", "a")]);
    assert_eq!(legs(one_of("room", &["a", "b"])), [eq("room", "a"), eq("room", "b")]);
    let both = Expr::and(vec![one_of("room", &["b", "a"]), open.clone()]);
    assert_eq!(legs(both), ["a", "b"].map(|room| Expr::and(vec![eq("room", room), open.clone()])));
    // Not all rooms alike.
    let some = Expr::or(vec![Expr::and(vec![eq("room", "a"), open.clone()]), eq("room", "b")]);
    assert_eq!(legs(some), [Expr::and(vec![eq("room", "a"), open.clone()]), eq("room", "b")]);
    // What one asks twice, as a scope and a filter do.
    let twice = Expr::and(vec![one_of("room", &["a", "b", "c"]), one_of("room", &["b", "c", "d"])]);
    assert_eq!(legs(twice), [eq("room", "b"), eq("room", "c")]);
    // Of two fields each pair: another's set of one of them changes nothing in what is shared.
    let pairs = Expr::and(vec![one_of("room", &["a", "b"]), one_of("status", &["new", "open"])]);
    assert_eq!(legs(pairs).len(), 4);
    assert!(legs(Expr::Or(Vec::new())) == [Expr::Or(Vec::new())]);
    let never = Expr::and(vec![one_of("room", &["a", "b"]), one_of("room", &["c", "d"])]);
    assert_eq!(legs(never), [Expr::Or(Vec::new())]);
}

#[test]
fn a_subscription_is_of_a_bounded_number_of_queries() {
    let names: Vec<_> = (0..300).map(|name| name.to_string()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(legs(one_of("room", &names[..256])).len(), 256);
    assert_eq!(legs(one_of("room", &names)).len(), 1);
    // The field with more values is what tells sessions apart.
    let both = Expr::and(vec![one_of("room", &names[..200]), one_of("status", &["new", "open"])]);
    assert_eq!(legs(both).len(), 200);
}

/// Just the rows of the filter, each in one of the queries.
#[test]
fn the_queries_of_a_subscription_are_its_filter_in_parts() {
    let mut random = Random(11);
    let mut split = 0;
    for _ in 0..3_000 {
        let field = random.of(&["a", "b"]);
        let value =
            |random: &mut Random| serde_json::from_str::<serde_json::Value>(random.of(&VALUES)).unwrap();
        let values =
            (0..5).map(|_| Expr::Eq(if field == "a" { "a" } else { "b" }, value(&mut random).into()));
        let values = Expr::or(values.collect());
        let filter = Expr::and(vec![some_filter(&mut random, 2), values]);
        let legs = legs(filter.clone());
        split += usize::from(legs.len() > 1);
        for _ in 0..10 {
            let Some(row) = some_row(&mut random) else { continue };
            let of = legs.iter().filter(|leg| leg.matches(&row)).count();
            assert_eq!(of, usize::from(filter.matches(&row)), "{filter:?} {legs:?} {row:?}");
        }
    }
    assert!(split > 100, "{split}");
}

/// However many sets of rooms there are, a room's row is judged once for all who may see it, and encoded once.
#[test]
fn sets_of_rooms_share_the_queries_of_the_rooms() {
    let hub = Hub::new(0, 1 << 20);
    let mut random = Random(3);
    let outboxes: Vec<_> = (0..1_000)
        .map(|_| {
            let outbox = Arc::new(Outbox::new(1 << 20, uuid::Uuid::nil(), 0));
            let rooms: Vec<_> = (0..8).map(|_| random.below(100).to_string()).collect();
            let rooms: Vec<_> = rooms.iter().map(String::as_str).collect();
            let filter = Expr::and(vec![one_of("room", &rooms), eq("owner", "everybody")]);
            let source = hub.join_rows("Task", 0, Shape::all(filter), &outbox).0;
            (outbox, source)
        })
        .collect();
    {
        let queries = hub.queries.lock();
        assert_eq!(queries["Task"].by_shape.len(), 100);
        let body: Bytes = r#"{"room":"7","owner":"everybody"}"#.into();
        let mut heard = 0;
        queries["Task"].judge(&change(None, Some(body)), |_, _| heard += 1);
        assert_eq!(heard, 1);
    }
    for (outbox, source) in outboxes {
        hub.leave(&source, &outbox);
    }
    assert!(hub.queries.lock().is_empty());
}

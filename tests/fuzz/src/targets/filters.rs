//! Questions for rows: text to filter to rows. Rust on each row, the memory store, SQLite and this file's own reading of the protocol's text find the same rows, and
//! what is asked in another order is the same question.
//!
//! An input is JSON: `{"rows": [[a, b, c], …], "where"?, "order"?, "after"?, "until"?, "limit"?}`.

use std::{cell::RefCell, cmp::Ordering, path::Path};

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use sync_core::{
    ErrorCode, Key, KeyKind,
    fuzzing::{Asked, Known},
    store::{Change, MemoryStore, Select, SqliteStore, Store, Table, Transaction},
};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::{Notes, json, models::Row};

/// The fields that can be asked for.
const FIELDS: [&str; 3] = ["a", "b", "c"];

/// The most rows of an input.
const MAX_ROWS: usize = 40;

/// After so many inputs the database is made anew, so that it stays small.
const AGAIN: u32 = 2000;

/// What is worth putting into a question.
pub const WORDS: &[&str] = &[
    r#""rows":[[1,"a",true],[2,"b",false]],"#,
    r#""where":{"#,
    r#""order":["a","-b"],"#,
    r#""after":[1,2],"#,
    r#""until":[1,2],"#,
    r#""limit":2"#,
    r#""a":"#,
    r#""b":"#,
    r#""c":"#,
    r#""id":"#,
    r#""d":"#,
    r#""e":"#,
    r#""and":[{"#,
    r#""or":[{"#,
    r#""not":{"#,
    r#"{"eq":1}"#,
    r#"{"ne":1}"#,
    r#"{"lt":1}"#,
    r#"{"lte":1.0}"#,
    r#"{"gt":"a"}"#,
    r#"{"gte":false}"#,
    r#"{"in":[1,null,"a"]}"#,
    r#"{"prefix":"a"}"#,
    r#"{"prefix":""}"#,
    "1.0",
    "-0.0",
    "1e300",
    "null",
    "[1]",
    "{}",
    "[]",
    ",",
];

struct World {
    runtime: Runtime,
    known: Known,
    sqlite: SqliteStore,
    _folder: TempDir,
    rows: Vec<(Key, Bytes)>,
    inputs: u32,
}

impl World {
    fn new() -> Self {
        // In memory where there is such a folder: no input depends on what the one before it left.
        let shared = Path::new("/dev/shm");
        let folder = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
        let folder = folder.expect("a folder");
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        let sqlite = SqliteStore::new(folder.path().join("rows.db"));
        runtime.block_on(sqlite.open(&[table()])).expect("the store opens");
        let known = Known::of::<Row>().expect("the models fit together");
        Self { runtime, known, sqlite, _folder: folder, rows: Vec::new(), inputs: 0 }
    }
}

fn table() -> Table {
    Table::new("Row", KeyKind::Int, FIELDS.to_vec(), 1, |_| unreachable!("the model is the same"))
}

/// Tries a question.
pub fn run(input: &[u8], notes: &mut Notes) {
    thread_local! {
        static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
    }
    let Ok(Value::Object(input)) = serde_json::from_slice(input) else { return };
    WORLD.with_borrow_mut(|slot| {
        // Gone while it is tried: after a panic it is made anew.
        let mut world = slot.take().unwrap_or_else(World::new);
        if world.inputs == AGAIN {
            world.runtime.block_on(world.sqlite.close()).expect("the store closes");
            world = World::new();
        }
        world.inputs += 1;
        world.ask(&input, notes);
        *slot = Some(world);
    });
}

impl World {
    fn ask(&mut self, input: &Map<String, Value>, notes: &mut Notes) {
        let text = |name: &str| input.get(name).map(Value::to_string);
        let (filter, order, after, until) = (text("where"), text("order"), text("after"), text("until"));
        let asked = Asked {
            filter: filter.as_deref(),
            order: order.as_deref(),
            after: after.as_deref(),
            until: until.as_deref(),
        };
        let select = match self.known.select(&asked) {
            Ok(select) => select,
            Err(error) => {
                assert!(matches!(error.code(), ErrorCode::BadRequest | ErrorCode::Invalid), "{error:?}");
                assert!(error.message().len() < 4096, "{error:?}");
                let words: String = error.message().split('`').step_by(2).collect::<Vec<_>>().join("`");
                let words: String = words.chars().filter(|letter| !letter.is_ascii_digit()).collect();
                notes.add(words);
                return;
            }
        };
        // The same in another order, and with every part of it said twice.
        if let Some(filter) = input.get("where") {
            for other in [
                reversed(filter),
                json!({"and": [filter, reversed(filter), {}]}),
                json!({"not": {"not": filter}}),
            ] {
                let other = other.to_string();
                // Each value counts: what is said three times may be too much.
                if let Ok(same) = self.known.select(&Asked { filter: Some(&other), ..asked.clone() }) {
                    assert_eq!(format!("{same:?}"), format!("{select:?}"), "{other}");
                }
            }
        }
        let select = match input.get("limit").and_then(Value::as_u64) {
            Some(limit @ 1..=1000) => select.limit(usize::try_from(limit).unwrap_or(1)),
            _ => select,
        };
        let rows = rows(input.get("rows"));
        let expected = expected(input, &rows);
        notes.add(format!("{} of {}", expected.len().min(4), rows.len().min(4)));
        for name in ["where", "order", "after", "until", "limit"] {
            if let Some(value) = input.get(name) {
                note(name, value, &mut 6, notes);
            }
        }
        let rows: Vec<_> = rows
            .iter()
            .map(|row| (Key::Int(row["id"].as_i64().unwrap_or(0)), Bytes::from(row.to_string())))
            .collect();
        if input.get("where").is_some() && input.get("after").is_none() && input.get("until").is_none() {
            let filter = &input["where"];
            for (_, body) in &rows {
                let row: Value = serde_json::from_slice(body).expect("a row");
                assert_eq!(select.matches(body), holds(filter, &row), "{filter} for {row}");
            }
        }
        let memory = MemoryStore::new();
        let filled = transaction(&[], &rows);
        let refilled = transaction(&self.rows, &rows);
        let (in_memory, in_sqlite) = self.runtime.block_on(async {
            memory.open(&[table()]).await.expect("the store opens");
            memory.commit(vec![filled]).await.expect("the store takes it");
            self.sqlite.commit(vec![refilled]).await.expect("the store takes it");
            (found(&memory, &select).await, found(&self.sqlite, &select).await)
        });
        self.rows = rows;
        assert_eq!(in_memory, expected, "the memory store");
        assert_eq!(in_sqlite, expected, "SQLite");
    }
}

/// All ids that a store finds, and those of the first page of so many.
async fn found(store: &dyn Store, select: &Select) -> Vec<Key> {
    let page = store.page("Row", select).await.expect("the store answers");
    let keys: Vec<_> = page.rows.iter().map(|row| row.key.clone()).collect();
    // A few at a time they are the same.
    let mut bit_by_bit = Vec::new();
    let mut next = select.clone().scan_at_most(3).max_bytes(100);
    while bit_by_bit.len() < keys.len() {
        let page = store.page("Row", &next).await.expect("the store answers");
        bit_by_bit.extend(page.rows.into_iter().map(|row| row.key));
        let Some(place) = page.next else { break };
        next = next.after(Some(place));
    }
    bit_by_bit.truncate(keys.len());
    assert_eq!(bit_by_bit, keys, "a few rows at a time");
    keys
}

fn transaction(old: &[(Key, Bytes)], new: &[(Key, Bytes)]) -> Transaction {
    let is_gone = |(key, _): &&(Key, Bytes)| !new.iter().any(|(other, _)| other == key);
    let change = |key: &Key, old: Option<&Bytes>, new: Option<&Bytes>| Change {
        model: "Row",
        key: key.clone(),
        cid: None,
        old: old.cloned(),
        new: new.cloned(),
    };
    let gone = old.iter().filter(is_gone).map(|(key, body)| change(key, Some(body), None));
    let there = new.iter().map(|(key, body)| {
        let old = old.iter().find(|(other, _)| other == key).map(|(_, body)| body);
        change(key, old, Some(body))
    });
    Transaction { changes: gone.chain(there).collect(), ..Transaction::default() }
}

/// The rows of an input that a server could have stored.
fn rows(rows: Option<&Value>) -> Vec<Value> {
    let rows =
        rows.and_then(Value::as_array).into_iter().flatten().filter(|row| !is_beyond(row)).take(MAX_ROWS);
    rows.enumerate()
        .map(|(index, row)| {
            let mut body = Map::from_iter([("id".to_owned(), json!(index + 1))]);
            for (field, name) in FIELDS.iter().enumerate() {
                if let Some(value) = row.get(field) {
                    body.insert((*name).to_owned(), value.clone());
                }
            }
            Value::Object(body)
        })
        .collect()
}

/// Whether there is a whole number in it that JavaScript does not hold.
fn is_beyond(value: &Value) -> bool {
    match value {
        Value::Number(number) => {
            number.as_u64().is_some_and(|n| n >= 1 << 53) || number.as_i64().is_some_and(|n| n <= -(1 << 53))
        }
        Value::Array(items) => items.iter().any(is_beyond),
        Value::Object(fields) => fields.values().any(is_beyond),
        _ => false,
    }
}

/// The ids that are asked for, as the protocol's text says it.
fn expected(asked: &Map<String, Value>, rows: &[Value]) -> Vec<Key> {
    let order: Vec<_> = asked
        .get("order")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let place = |row: &Value| -> Vec<Value> {
        let fields = order.iter().map(|field| row[field.trim_start_matches('-')].clone());
        fields.chain([row["id"].clone()]).collect()
    };
    let compare = |a: &[Value], b: &[Value]| {
        for (index, (a, b)) in a.iter().zip(b).enumerate() {
            let ordering = rank(a, b);
            if ordering.is_ne() {
                return if order.get(index).is_some_and(|field| field.starts_with('-')) {
                    ordering.reverse()
                } else {
                    ordering
                };
            }
        }
        Ordering::Equal
    };
    let bound = |name: &str| asked.get(name).and_then(Value::as_array);
    let mut found: Vec<_> = rows
        .iter()
        .filter(|row| asked.get("where").is_none_or(|filter| holds(filter, row)))
        .map(place)
        .filter(|place| bound("after").is_none_or(|after| compare(place, after).is_gt()))
        .filter(|place| bound("until").is_none_or(|until| compare(place, until).is_le()))
        .collect();
    found.sort_by(|a, b| compare(a, b));
    if let Some(limit @ 1..=1000) = asked.get("limit").and_then(Value::as_u64) {
        found.truncate(usize::try_from(limit).unwrap_or(1));
    }
    found.iter().map(|place| Key::Int(place.last().and_then(Value::as_i64).unwrap_or(0))).collect()
}

fn holds(filter: &Value, row: &Value) -> bool {
    let fields = filter.as_object().expect("a filter is an object");
    fields.iter().all(|(name, condition)| match name.as_str() {
        "and" => condition.as_array().expect("a list").iter().all(|part| holds(part, row)),
        "or" => condition.as_array().expect("a list").iter().any(|part| holds(part, row)),
        "not" => !holds(condition, row),
        name => {
            let value = &row[name];
            let Some(tests) = condition.as_object() else { return is_same(value, condition) };
            tests.iter().all(|(test, other)| match test.as_str() {
                "eq" => is_same(value, other),
                "ne" => !is_same(value, other),
                "in" => other.as_array().expect("a list").iter().any(|other| is_same(value, other)),
                "prefix" => {
                    value.as_str().is_some_and(|text| text.starts_with(other.as_str().expect("text")))
                }
                test => less(value, other).is_some_and(|ordering| match test {
                    "lt" => ordering.is_lt(),
                    "lte" => ordering.is_le(),
                    "gt" => ordering.is_gt(),
                    "gte" => ordering.is_ge(),
                    _ => panic!("there is no test `{test}`"),
                }),
            })
        }
    })
}

fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => less(a, b) == Some(Ordering::Equal),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| is_same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// How two booleans, numbers or texts stand to each other. No number here is one that a double does not hold.
fn less(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.chars().cmp(b.chars())),
        _ => None,
    }
}

fn rank(a: &Value, b: &Value) -> Ordering {
    let kind = |value: &Value| match value {
        Value::Null | Value::Array(_) | Value::Object(_) => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
    };
    kind(a).cmp(&kind(b)).then_with(|| less(a, b).unwrap_or(Ordering::Equal))
}

/// A filter with its lists in another order.
fn reversed(filter: &Value) -> Value {
    let Some(fields) = filter.as_object() else { return filter.clone() };
    let turned = fields.iter().map(|(name, condition)| {
        let condition = match (name.as_str(), condition) {
            ("and" | "or", Value::Array(parts)) => parts.iter().rev().map(reversed).collect(),
            ("not", part) => reversed(part),
            (_, Value::Object(tests)) => {
                let turn = |(test, operand): (&String, &Value)| match operand {
                    Value::Array(values) if test == "in" => {
                        (test.clone(), values.iter().rev().cloned().collect())
                    }
                    other => (test.clone(), other.clone()),
                };
                Value::Object(tests.iter().map(turn).collect())
            }
            (_, value) => value.clone(),
        };
        (name.clone(), condition)
    });
    Value::Object(turned.collect())
}

/// What kinds of questions there are.
fn note(at: &str, value: &Value, left: &mut u32, notes: &mut Notes) {
    if *left == 0 {
        return;
    }
    *left -= 1;
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| note(&format!("{at} {name}"), value, left, notes));
        }
        Value::Array(items) => {
            notes.add(format!("{at} [{}]", items.len().min(3)));
            for value in items {
                note(at, value, left, notes);
            }
        }
        Value::Null => notes.add(format!("{at} null")),
        Value::Bool(_) => notes.add(format!("{at} bool")),
        Value::Number(number) => notes.add(format!("{at} {}", if number.is_f64() { "float" } else { "int" })),
        Value::String(_) => notes.add(format!("{at} text")),
    }
}

/// Makes a question that is mostly right.
pub fn generate(random: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut text = String::from(r#"{"rows":["#);
    for index in 0..random.int_in_range(0..=12)? {
        text.push_str(if index > 0 { ",[" } else { "[" });
        for field in 0..random.int_in_range(0..=3)? {
            if field > 0 {
                text.push(',');
            }
            operand(random, &mut text)?;
        }
        text.push(']');
    }
    text.push(']');
    if random.ratio(7, 8)? {
        text.push_str(r#","where":"#);
        filter(random, 3, &mut text)?;
    }
    let orders: [(&str, usize); 6] = [
        ("[\"a\"]", 1),
        ("[\"-b\"]", 1),
        ("[\"a\",\"-c\"]", 2),
        ("[\"-c\",\"b\",\"a\"]", 3),
        ("[\"-id\"]", 1),
        ("[\"a\",\"id\"]", 2),
    ];
    let mut fields = 0;
    if random.ratio(1, 2)? {
        let (order, count) = *random.choose(&orders)?;
        text.push_str(&format!(r#","order":{order}"#));
        fields = count;
    }
    for name in ["after", "until"] {
        if random.ratio(1, 4)? {
            text.push_str(&format!(r#","{name}":["#));
            for _ in 0..fields {
                operand(random, &mut text)?;
                text.push(',');
            }
            text.push_str(&format!("{}]", random.int_in_range(0..=12)?));
        }
    }
    if random.ratio(1, 3)? {
        text.push_str(&format!(r#","limit":{}"#, random.int_in_range(1..=5)?));
    }
    text.push('}');
    Ok(text.into_bytes())
}

fn operand(random: &mut Unstructured<'_>, into: &mut String) -> Result<()> {
    let plain = [
        "null",
        "true",
        "false",
        "0",
        "1",
        "1.0",
        "1.5",
        "2",
        "-0.0",
        "\"\"",
        "\"a\"",
        "\"ab\"",
        "\"b\"",
        "[]",
        "[1]",
        "{\"x\":1}",
    ];
    match random.int_in_range(0..=9)? {
        0 => into.push_str(random.choose(json::STRINGS)?),
        1 => into.push_str(random.choose(json::NUMBERS)?),
        _ => into.push_str(random.choose(&plain)?),
    }
    Ok(())
}

fn filter(random: &mut Unstructured<'_>, depth: u32, into: &mut String) -> Result<()> {
    into.push('{');
    let mut names = vec!["a", "b", "c", "id", "and", "or", "not"];
    for index in 0..random.int_in_range(0..=3)? {
        if index > 0 {
            into.push(',');
        }
        let among = if depth == 0 { names.len().min(4) } else { names.len() };
        let name = names.swap_remove(random.choose_index(among)?);
        into.push_str(&format!("\"{name}\":"));
        match name {
            "not" => filter(random, depth.saturating_sub(1), into)?,
            "and" | "or" => {
                into.push('[');
                for part in 0..random.int_in_range(0..=3)? {
                    if part > 0 {
                        into.push(',');
                    }
                    filter(random, depth.saturating_sub(1), into)?;
                }
                into.push(']');
            }
            _ => condition(random, into)?,
        }
    }
    into.push('}');
    Ok(())
}

fn condition(random: &mut Unstructured<'_>, into: &mut String) -> Result<()> {
    match *random.choose(&["", "eq", "ne", "lt", "lte", "gt", "gte", "in", "prefix"])? {
        "" => into.push_str(random.choose(&["null", "true", "1", "1.5", "\"a\"", "0"])?),
        "in" => {
            into.push_str(r#"{"in":["#);
            for index in 0..random.int_in_range(0..=4)? {
                if index > 0 {
                    into.push(',');
                }
                operand(random, into)?;
            }
            into.push_str("]}");
        }
        "prefix" => into.push_str(random.choose(&[
            r#"{"prefix":""}"#,
            r#"{"prefix":"a"}"#,
            r#"{"prefix":"\u0000"}"#,
            "{\"prefix\":\"\u{10ffff}\"}",
        ])?),
        test => {
            into.push_str(&format!("{{\"{test}\":"));
            operand(random, into)?;
            into.push('}');
        }
    }
    Ok(())
}

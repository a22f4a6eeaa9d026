//! Whether all who judge filters and orders say the same: Rust on each row, the memory store, the `SQLite` store on all its ways, and the JavaScript
//! client. First the tables of cases in `tests/cases`, then random questions about nasty values.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

use bytes::Bytes;
use rusqlite::Connection;
use serde_json::{Value as Json, json};

use super::{
    SqliteStore,
    page::{Effort, Pager},
    table::SqlTable,
};
use crate::{
    model::{
        Key, KeyKind, OrderBy, Place, Value,
        filter::{Expr, FieldValues, Range, Relation},
        order::OrderList,
    },
    store::{Change, MemoryStore, Select, Store, StoredRow, Table, Transaction},
};

const FIELDS: [&str; 3] = ["a", "b", "c"];

/// The rows of one model in both stores.
struct Stores {
    rows: Vec<StoredRow>,
    memory: MemoryStore,
    sqlite: SqliteStore,
    connection: Connection,
    table: SqlTable,
    _folder: tempfile::TempDir,
}

impl Stores {
    async fn new(kind: KeyKind, rows: impl IntoIterator<Item = (Key, String)>) -> Self {
        let table = Table::new("Row", kind, FIELDS.to_vec(), 1, |_| unreachable!("the model is the same"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let (memory, sqlite) = (MemoryStore::new(), SqliteStore::new(&path));
        let rows: Vec<_> = rows.into_iter().map(|(key, body)| (key, Bytes::from(body))).collect();
        let changes = rows.iter().map(|(key, body)| Change {
            model: "Row",
            key: key.clone(),
            cid: None,
            old: None,
            new: Some(body.clone()),
        });
        let transaction = Transaction { changes: changes.collect(), ..Transaction::default() };
        for store in [&memory as &dyn Store, &sqlite] {
            store.open(std::slice::from_ref(&table)).await.unwrap();
            store.commit(vec![transaction.clone()]).await.unwrap();
        }
        let connection = Connection::open(path).unwrap();
        let rows = rows.into_iter().map(|(key, body)| StoredRow { key, seq: 1, body }).collect();
        Self { rows, memory, sqlite, connection, table: SqlTable::new(&table, 1), _folder: folder }
    }

    /// What is asked for, judged row by row; and whether there is more.
    fn expected(&self, select: &Select) -> (Vec<Key>, bool) {
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .filter(|row| select.filter.matches(&row.body))
            .filter_map(|row| Place::of_body(&row.body, row.key.clone(), &select.order))
            .filter(|place| {
                select.after.as_ref().is_none_or(|after| place.compare(after, &select.order).is_gt())
            })
            .collect();
        rows.sort_by(|a, b| a.compare(b, &select.order));
        let more = rows.len() > select.limit;
        (rows.into_iter().take(select.limit).map(|place| place.key).collect(), more)
    }

    /// Asks both stores, and `SQLite` on all its ways.
    async fn check(&self, select: &Select) -> Vec<Key> {
        let (keys, more) = self.expected(select);
        let mut pages = vec![
            ("memory", self.memory.page("Row", select).await.unwrap()),
            ("SQLite", self.sqlite.page("Row", select).await.unwrap()),
        ];
        for (way, few, most, equal) in [
            ("collect", 1000, 1000, 64),
            ("walk", 0, 0, 64),
            ("walk, few equal rows", 0, 0, 2),
            ("walk, then collect", 0, 30, 2),
            ("either", 4, 8, 64),
        ] {
            pages.push((way, self.page(select, Effort { few, most, equal })));
        }
        for (who, page) in pages {
            let found: Vec<_> = page.rows.iter().map(|row| row.key.clone()).collect();
            assert_eq!(found, keys, "{who}: {select:#?}");
            let last = page.rows.last().filter(|_| more).and_then(|row| select.place(&row.key, &row.body));
            assert_eq!(page.next, last, "{who}: {select:#?}");
        }
        // A little at a time, and all of it after all.
        for (way, effort) in [
            ("walk", Effort { few: 0, most: 0, equal: 2 }),
            ("either", Effort { few: 2, most: 6, equal: 64 }),
        ] {
            let mut found = Vec::new();
            let mut select = select.clone().scan_at_most(2).max_bytes(200);
            let mut rounds = 0;
            while found.len() < keys.len() || rounds == 0 {
                select.limit = (keys.len() - found.len()).max(1);
                let page = self.page(&select, effort);
                found.extend(page.rows.into_iter().map(|row| row.key));
                rounds += 1;
                assert!(rounds <= 2 * self.rows.len(), "{way} does not come to an end: {select:#?}");
                let Some(next) = page.next else { break };
                assert_ne!(Some(&next), select.after.as_ref(), "{way} does not move");
                select.after = Some(next);
            }
            assert_eq!(found, keys, "{way}, a little at a time: {select:#?}");
        }
        keys
    }

    fn page(&self, select: &Select, effort: Effort) -> crate::store::Page {
        Pager::new(&self.connection, &self.table, select).with_effort(effort).page(1).unwrap()
    }
}

fn cases(name: &str) -> Json {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/cases").join(name);
    serde_json::from_slice(&fs::read(&path).unwrap()).unwrap()
}

fn order_of(names: &[String]) -> OrderList {
    let by = |name: &String| {
        let field = name.strip_prefix('-').unwrap_or(name);
        let field = FIELDS.into_iter().chain(["id"]).find(|known| *known == field).unwrap();
        OrderBy { field, descending: name.starts_with('-') }
    };
    names.iter().map(by).collect()
}

fn place_of(json: &Json) -> Place {
    let (id, values) = json.as_array().unwrap().split_last().unwrap();
    Place { values: values.iter().cloned().map(Value::from).collect(), key: Key::Int(id.as_i64().unwrap()) }
}

/// A [`Select`], with the same question for the JavaScript client.
struct Question {
    select: Select,
    json: Json,
}

#[tokio::test]
async fn the_table_of_orders() {
    let table = cases("orders.json");
    let rows = table["rows"].as_array().unwrap();
    let rows = rows.iter().map(|row| (Key::Int(row["id"].as_i64().unwrap()), row.to_string()));
    let stores = Stores::new(KeyKind::Int, rows).await;
    let cases = table["cases"].as_array().unwrap();
    assert!(cases.len() > 20);
    for case in cases {
        let names: Vec<String> =
            case.get("order").map_or(vec![], |names| serde_json::from_value(names.clone()).unwrap());
        let (after, until) = (case.get("after").map(place_of), case.get("until").map(place_of));
        let order = order_of(&names);
        let limit =
            case.get("limit").map_or(usize::MAX, |limit| usize::try_from(limit.as_u64().unwrap()).unwrap());
        let expected: Vec<_> =
            case["expected"].as_array().unwrap().iter().map(|id| Key::Int(id.as_i64().unwrap())).collect();
        // As a range, with both ends, and with the beginning as the place to read on after.
        let range = |after: Option<Place>| {
            let range = Range { order: order.clone(), id: "id", after, until: until.clone() };
            Select { order: order.clone(), limit, ..Select::of(Expr::Within(Arc::new(range))) }
        };
        assert_eq!(stores.check(&range(after.clone())).await, expected, "{case}");
        assert_eq!(stores.check(&range(None).after(after)).await, expected, "{case}");
    }
}

#[tokio::test]
async fn the_table_of_filters() {
    let table = cases("filters.json");
    let values = table["values"].as_array().unwrap();
    let rows =
        (1..).zip(values).map(|(id, value)| (Key::Int(id), json!({ "id": id, "a": value }).to_string()));
    let stores = Stores::new(KeyKind::Int, rows).await;
    for case in table["cases"].as_array().unwrap() {
        let (operator, operand) = case[0].as_object().unwrap().iter().next().unwrap();
        let eq = |value: &Json| Expr::Eq("a", value.clone().into());
        let compare = |relation| Expr::Compare("a", relation, operand.clone().into());
        let filter = match operator.as_str() {
            "eq" => eq(operand),
            "ne" => eq(operand).negated(),
            "lt" => compare(Relation::Less),
            "lte" => compare(Relation::LessOrEqual),
            "gt" => compare(Relation::Greater),
            "gte" => compare(Relation::GreaterOrEqual),
            "in" => Expr::or(operand.as_array().unwrap().iter().map(eq).collect()),
            "prefix" => Expr::Prefix("a", operand.as_str().unwrap().into()),
            other => panic!("the table has an operator that is not known here: {other}"),
        };
        let expected: Vec<_> =
            case[1].as_array().unwrap().iter().map(|value| Value::from(value.clone())).collect();
        for order in [&[][..], &["a".to_owned()], &["-a".to_owned()], &["b".to_owned(), "-a".to_owned()]] {
            let select = Select { order: order_of(order), ..Select::of(filter.clone()) };
            let found = stores.check(&select).await;
            let mut found: Vec<_> = found
                .iter()
                .map(|key| {
                    let row = stores.rows.iter().find(|row| row.key == *key).unwrap();
                    FieldValues::read(&row.body, ["a"].into_iter().collect()).unwrap().get("a").clone()
                })
                .collect();
            let mut expected = expected.clone();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{case}");
        }
    }
}

#[tokio::test]
async fn random_questions_about_nasty_values() {
    let mut found = 0;
    for seed in 0..12 {
        let mut random = Random(seed);
        // What JavaScript cannot hold exactly does not get to it.
        let is_for_javascript = seed % 2 == 0;
        let kind = if seed % 3 == 2 { KeyKind::Text } else { KeyKind::Int };
        let values = if is_for_javascript { VALUES.to_vec() } else { [VALUES, UNSAFE].concat() };
        // Few values in some runs, so that many are equal.
        let values: Vec<_> = match random.below(3) {
            0 => (0..4).map(|_| random.one_of(&values)).collect(),
            _ => values,
        };
        // So many in some that what is kept of them to be sorted has to be cut.
        let count = if seed % 4 == 3 { 200 } else { 60 };
        let keys: Vec<Key> = match kind {
            KeyKind::Int => (0..count).map(|id| Key::Int(id * 7 - 20)).collect(),
            KeyKind::Text => (0..count)
                .map(|id| {
                    Key::Text(
                        format!("{}{}", ["", "B", "é", "\0", "😀"][usize::try_from(id % 5).unwrap()], id / 5)
                            .into(),
                    )
                })
                .collect(),
        };
        let rows = keys.iter().map(|key| {
            let mut body = format!("{{\"id\":{}", json!(key));
            for field in FIELDS {
                let value = random.one_of(&values);
                if value != "missing" {
                    write!(body, ",\"{field}\":{value}").unwrap();
                }
            }
            (key.clone(), body + "}")
        });
        let rows: Vec<_> = rows.collect();
        let stores = Stores::new(kind, rows).await;
        let mut asked = Vec::new();
        for _ in 0..150 {
            let question = random.question(&values, &keys);
            let keys = stores.check(&question.select).await;
            found += keys.len();
            asked.push((question.json, keys));
        }
        if is_for_javascript {
            let answers = ask_javascript(&stores.rows, asked.iter().map(|(json, _)| json.clone()).collect());
            for ((question, keys), answer) in asked.iter().zip(answers.as_array().unwrap()) {
                assert_eq!(*answer, json!(keys), "seed {seed}: {question}");
            }
        }
    }
    assert!(found > 5_000, "the questions have too few answers to say much: {found}");
}

/// What the client's own code says.
fn ask_javascript(rows: &[StoredRow], cases: Vec<Json>) -> Json {
    let rows: Vec<_> = rows.iter().map(|row| std::str::from_utf8(&row.body).unwrap()).collect();
    let input = format!("{{\"rows\":[{}],\"cases\":{}}}", rows.join(","), Json::from(cases));
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/js/judge.js");
    let mut node = Command::new("node")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the tests need node");
    // It reads all of it before it writes.
    node.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// JSON that JavaScript reads as Rust does.
const VALUES: &[&str] = &[
    "missing",
    "missing",
    "null",
    "false",
    "true",
    "false",
    "true",
    "0",
    "-0.0",
    "-0",
    "1",
    "1.0",
    "10e-1",
    "2",
    "-1",
    "0.1",
    "0.5",
    "2.5",
    "0.30000000000000004",
    "0.3",
    "9007199254740991",
    "-9007199254740991",
    "4503599627370496.5",
    "1e300",
    "-1e300",
    "5e-324",
    "1.7976931348623157e308",
    "1e20",
    "\"\"",
    "\"0\"",
    "\"1\"",
    "\"a\"",
    "\"a\\u0000\"",
    "\"a\\u0000b\"",
    "\"\\u0000\"",
    "\"ab\"",
    "\"b\"",
    "\"A\"",
    "\"\u{e9}\"",
    "\"e\u{301}\"",
    "\"\u{d7ff}\"",
    "\"\\ue000\"",
    "\"\\uffff\"",
    "\"\u{1f600}\"",
    "\"\\ud83d\\ude00\"",
    "\"\u{10ffff}\"",
    "\"null\"",
    "\"[]\"",
    "\"true\"",
    "\"%_'\\\"\\\\\"",
    "[]",
    "[1]",
    "[1.0]",
    "{}",
    "{\"a\":1}",
    "{\"a\":1.0}",
    "[null]",
    "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"",
];

/// Whole numbers beyond what JavaScript holds.
const UNSAFE: &[&str] = &[
    "9007199254740992",
    "9007199254740993",
    "9007199254740992.0",
    "9223372036854775807",
    "9223372036854775806",
    "9223372036854775808",
    "9223372036854775809",
    "9223372036854775808.0",
    "18446744073709551615",
    "18446744073709551614",
    "18446744073709551616",
    "18446744073709551616.0",
    "18446744073709551615",
    "18446744073709551614",
    "-9223372036854775808",
    "-9223372036854775809",
    "1e19",
    "10000000000000000000",
    "10000000000000000001",
    "12345678901234567890",
];

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    fn question(&mut self, values: &[&str], keys: &[Key]) -> Question {
        let (mut filter, where_) = self.filter(3, values, keys);
        let mut fields = vec!["a", "b", "c", "id"];
        let names: Vec<_> = (0..self.below(4))
            .map(|_| format!("{}{}", self.one_of(&["", "-"]), fields.swap_remove(self.below(fields.len()))))
            .collect();
        let order = order_of(&names);
        let mut json = json!({ "where": where_, "order": names });
        let mut end = |name: &str, random: &mut Self| {
            if random.below(3) > 0 {
                return None;
            }
            let (place, at) = random.place(&order, values, keys);
            json[name] = at;
            Some(place)
        };
        let (after, until) = (end("after", self), end("until", self));
        if until.is_some() {
            let range = Range { order: order.clone(), id: "id", after: None, until };
            filter = Expr::and(vec![filter, Expr::Within(Arc::new(range))]);
        }
        let mut select = Select { order, after, ..Select::of(filter) };
        if self.below(2) == 0 {
            select.limit = 1 + self.below(20);
            json["limit"] = select.limit.into();
        }
        Question { select, json }
    }

    /// A place that some row may have, or none.
    fn place(&mut self, order: &[OrderBy], values: &[&str], keys: &[Key]) -> (Place, Json) {
        let key = self.one_of(keys);
        let of = |random: &mut Self, by: &OrderBy| {
            if by.field == "id" { json!(key) } else { random.value(values) }
        };
        let mut at: Vec<_> = order.iter().map(|by| of(self, by)).collect();
        let place = Place { values: at.iter().cloned().map(Value::from).collect(), key: key.clone() };
        at.push(json!(key));
        (place, at.into())
    }

    fn value(&mut self, values: &[&str]) -> Json {
        match self.one_of(values) {
            "missing" => Json::Null,
            value => serde_json::from_str(value).unwrap(),
        }
    }

    /// A filter, and the client's `where` that says the same.
    fn filter(&mut self, depth: usize, values: &[&str], keys: &[Key]) -> (Expr, Json) {
        if depth > 0 && self.below(5) < 3 {
            let count = if depth == 3 { 1 + self.below(3) } else { self.below(4) };
            let parts = (0..count).map(|_| self.filter(depth - 1, values, keys));
            let (exprs, jsons): (Vec<_>, Vec<_>) = parts.unzip();
            return match self.below(5) {
                0 | 1 => (Expr::and(exprs), json!({ "and": jsons })),
                2 | 3 => (Expr::or(exprs), json!({ "or": jsons })),
                _ => (Expr::and(exprs).negated(), json!({ "not": { "and": jsons } })),
            };
        }
        if self.below(8) == 0 {
            // Some of the ids.
            let (from, to) = (json!(self.one_of(keys)), json!(self.one_of(keys)));
            let expr = Expr::and(vec![
                Expr::Compare("id", Relation::GreaterOrEqual, from.clone().into()),
                Expr::Compare("id", Relation::Less, to.clone().into()),
            ]);
            return (expr, json!({ "id": { "gte": from, "lt": to } }));
        }
        let field = self.one_of(&["a", "b", "c", "a", "b", "id"]);
        let value =
            if field == "id" && self.below(3) > 0 { json!(self.one_of(keys)) } else { self.value(values) };
        let compare = |relation, name: &str| {
            (Expr::Compare(field, relation, value.clone().into()), json!({ field: { name: value } }))
        };
        let eq = |value: &Json| Expr::Eq(field, value.clone().into());
        match self.below(10) {
            0 | 1 => (eq(&value), json!({ field: { "eq": value } })),
            2 => (eq(&value).negated(), json!({ field: { "ne": value } })),
            3 => compare(Relation::Less, "lt"),
            4 => compare(Relation::LessOrEqual, "lte"),
            5 => compare(Relation::Greater, "gt"),
            6 => compare(Relation::GreaterOrEqual, "gte"),
            7 => {
                let prefix = value.as_str().unwrap_or("a");
                (Expr::Prefix(field, prefix.into()), json!({ field: { "prefix": prefix } }))
            }
            _ => {
                let values: Vec<_> = (0..self.below(4)).map(|_| self.value(values)).collect();
                (Expr::or(values.iter().map(eq).collect()), json!({ field: { "in": values } }))
            }
        }
    }
}

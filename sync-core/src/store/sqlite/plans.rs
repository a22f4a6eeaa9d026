//! How pages are looked up: by an index in every statement, and with a look at few rows where that is promised.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use rusqlite::{Connection, params_from_iter, types::Null};
use serde_json::json;

use super::{SqliteStore, page::Pager, table::SqlTable};
use crate::{
    model::{
        Key, KeyKind, OrderBy, Place, Value,
        filter::{Expr, Range, Relation},
    },
    store::{Change, Select, Store, Table, Transaction},
};

/// 3,000 rows: 3 with each `few`, half of them `flag`, each with another `name` and `score`, and every second without a `due`.
struct Rows {
    connection: Connection,
    table: SqlTable,
    _folder: tempfile::TempDir,
}

impl Rows {
    async fn new(kind: KeyKind) -> Self {
        let indexed = vec!["few", "flag", "name", "score", "due"];
        let table = Table::new("Row", kind, indexed, 1, |_| unreachable!("the model is the same"));
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::new(folder.path().join("test.db"));
        store.open(std::slice::from_ref(&table)).await.unwrap();
        let changes = (0..3000).map(|n| {
            let key = match kind {
                KeyKind::Int => Key::Int(n),
                KeyKind::Text => Key::Text(format!("{n:04}").into()),
            };
            let due = (n % 2 == 0).then_some(n);
            let row = json!({ "id": key, "few": n % 1000, "flag": n % 2 == 1, "name": format!("n{:04}", 2999 - n), "score": n * 3, "due": due });
            Change { model: "Row", key, cid: None, old: None, new: Some(Bytes::from(row.to_string())) }
        });
        store
            .commit(vec![Transaction { changes: changes.collect(), ..Transaction::default() }])
            .await
            .unwrap();
        let connection = Connection::open(folder.path().join("test.db")).unwrap();
        Self { connection, table: SqlTable::new(&table, 1), _folder: folder }
    }

    /// How many rows are found, and looked at; and the indexes that rows are read by. No statement reads a table or an index from one end, and none
    /// sorts.
    fn read(&self, select: &Select) -> (usize, usize, BTreeSet<String>) {
        let pager = Pager::new(&self.connection, &self.table, select);
        let page = pager.page(1).unwrap();
        let mut indexes = BTreeSet::new();
        for sql in pager.ran.borrow().iter() {
            let plan = self.plan(sql);
            let step = plan.iter().find(|step| step.contains("Row")).unwrap();
            let index = step.split(" USING ").nth(1).unwrap_or_else(|| panic!("{sql}\n{plan:?}"));
            if sql.starts_with("SELECT id, seq, body") {
                indexes.insert(index.split(" (").next().unwrap().replace("INDEX sync_Row.", ""));
            }
        }
        (page.rows.len(), pager.looked_at(), indexes)
    }

    fn plan(&self, sql: &str) -> Vec<String> {
        let mut statement = self.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let unbound = params_from_iter(vec![Null; statement.parameter_count()]);
        let plan: Vec<String> =
            statement.query_map(unbound, |row| row.get(3)).unwrap().map(Result::unwrap).collect();
        for step in &plan {
            assert!(!step.contains("TEMP B-TREE"), "{sql}\n{plan:?}");
            assert!(
                !step.starts_with("SCAN") || step.contains("subquery") || step == "SCAN CONSTANT ROW",
                "{sql}\n{plan:?}"
            );
        }
        plan
    }
}

fn eq(field: &'static str, value: impl Into<serde_json::Value>) -> Expr {
    Expr::Eq(field, value.into().into())
}

fn compare(field: &'static str, relation: Relation, value: impl Into<serde_json::Value>) -> Expr {
    Expr::Compare(field, relation, value.into().into())
}

fn by(field: &'static str) -> OrderBy {
    OrderBy { field, descending: false }
}

fn by_greatest(field: &'static str) -> OrderBy {
    OrderBy { field, descending: true }
}

fn select(filter: Expr, order: &[OrderBy], limit: usize) -> Select {
    Select { order: order.iter().copied().collect(), limit, ..Select::of(filter) }
}

#[tokio::test]
async fn what_is_asked_for_is_looked_up() {
    let rows = Rows::new(KeyKind::Int).await;
    let is_set = || eq("flag", true);
    let all = || Expr::And(Vec::new());
    let place =
        |values: &[Value], id| Some(Place { values: values.iter().cloned().collect(), key: Key::Int(id) });
    let range = |after, until| {
        Expr::Within(Arc::new(Range { order: [by("score")].into_iter().collect(), id: "id", after, until }))
    };
    // What is asked, how many rows are found, how many looked at, and by which index.
    for (what, select, found, most, index) in [
        ("eq", select(eq("few", 7), &[], 100), 3, 3, "few"),
        ("in", select(Expr::or((0..10).map(|n| eq("few", n)).collect()), &[], 100), 30, 30, "few"),
        (
            "null",
            select(Expr::and(vec![eq("due", serde_json::Value::Null), eq("few", 7)]), &[], 100),
            3,
            3,
            "few",
        ),
        ("nothing", select(Expr::Or(vec![]), &[], 100), 0, 0, ""),
        (
            "a range",
            select(
                Expr::and(vec![
                    compare("score", Relation::GreaterOrEqual, 300),
                    compare("score", Relation::Less, 600),
                ]),
                &[],
                1000,
            ),
            100,
            100,
            "score",
        ),
        ("a prefix", select(Expr::Prefix("name", "n00".into()), &[], 1000), 100, 100, "name"),
        (
            "a part of an order",
            select(range(place(&[Value::Int(30)], 10), place(&[Value::Int(60)], 20)), &[by("score")], 99),
            10,
            11,
            "score",
        ),
        ("the id", select(eq("id", 7), &[], 10), 1, 1, "INTEGER PRIMARY KEY"),
        (
            "ids",
            select(compare("id", Relation::GreaterOrEqual, 2990), &[], 100),
            10,
            10,
            "INTEGER PRIMARY KEY",
        ),
        // Half of the rows, in an order of their own, and in that of the ids.
        ("eq, and another order", select(is_set(), &[by("name")], 20), 20, 43, "name"),
        ("eq, and the greatest first", select(is_set(), &[by_greatest("score")], 20), 20, 43, "score"),
        ("eq, by ids", select(is_set(), &[], 20), 20, 21, "flag"),
        (
            "no null, in order",
            select(eq("due", serde_json::Value::Null).negated(), &[by("score")], 20),
            20,
            43,
            "score",
        ),
        ("a boolean order", select(all(), &[by("flag")], 20), 20, 21, "flag"),
        ("a boolean order, the greatest first", select(all(), &[by_greatest("flag")], 20), 20, 21, "flag"),
        ("the last ids", select(all(), &[by_greatest("id")], 20), 20, 21, "INTEGER PRIMARY KEY"),
        (
            "after a place",
            Select { after: place(&[Value::Int(6000)], 2000), ..select(all(), &[by("score")], 20) },
            20,
            22,
            "score",
        ),
        (
            "after an id",
            Select { after: place(&[], 2000), ..select(all(), &[], 20) },
            20,
            22,
            "INTEGER PRIMARY KEY",
        ),
        (
            "after a place among equals",
            Select { after: place(&[Value::Bool(true)], 2001), ..select(all(), &[by_greatest("flag")], 20) },
            20,
            22,
            "flag",
        ),
        // As a scope, and what a client asks within it.
        ("scope and where", select(Expr::and(vec![is_set(), eq("few", 7)]), &[by("name")], 20), 3, 3, "few"),
        (
            "scopes by two fields",
            select(
                Expr::and(vec![is_set(), Expr::or(vec![eq("few", 7), eq("name", "n0000")])]),
                &[by("score")],
                20,
            ),
            4,
            4,
            "few, name",
        ),
    ] {
        let (rows, looked_at, indexes) = rows.read(&select);
        assert_eq!(rows, found, "{what}");
        assert!(looked_at <= most, "{what}: looked at {looked_at} rows for {found}");
        let indexes: Vec<_> = indexes.into_iter().collect();
        assert_eq!(indexes.join(", "), index, "{what}");
    }
}

#[tokio::test]
async fn text_ids_are_looked_up_as_well() {
    let rows = Rows::new(KeyKind::Text).await;
    for (filter, found) in [
        (eq("id", "0007"), 1),
        (Expr::Prefix("id", "000".into()), 10),
        (compare("id", Relation::GreaterOrEqual, "2990"), 10),
        (eq("few", 7), 3),
        (eq("id", 7), 0),
    ] {
        let (rows, looked_at, _) = rows.read(&select(filter, &[], 100));
        assert_eq!((rows, looked_at), (found, found));
    }
}

/// These are all that there are: no filter has a statement of its own.
#[tokio::test]
async fn every_statement_uses_an_index_and_there_are_few() {
    for kind in [KeyKind::Int, KeyKind::Text] {
        let rows = Rows::new(kind).await;
        let mut statements = 0;
        for column in rows.table.columns.iter().chain([&rows.table.id]) {
            let ranged = [&column.rows, &column.back, &column.count, &column.least, &column.greatest];
            let all = ranged.into_iter().flatten().chain([&column.rows_at, &column.count_at]);
            for sql in all {
                statements += 1;
                let plan = rows.plan(sql);
                assert!(plan.iter().any(|step| step.starts_with("SEARCH Row USING")), "{sql}\n{plan:?}");
            }
        }
        assert_eq!(statements, 6 * 22);
    }
}

/// What few rows match is looked for a little at a time.
#[tokio::test]
async fn a_long_look_is_taken_in_parts() {
    let rows = Rows::new(KeyKind::Int).await;
    // No index says which rows these are.
    let rare =
        Expr::and(vec![eq("few", 7).negated(), eq("name", "n0000").negated(), eq("flag", true).negated()]);
    let rare = Expr::and(vec![rare, eq("due", 2998)]).negated().negated();
    let rare = Expr::Not(Box::new(Expr::Not(Box::new(rare))));
    let mut select = select(rare, &[by("score")], 10).scan_at_most(1000);
    let mut looked_at = Vec::new();
    let mut found = 0;
    loop {
        let pager = Pager::new(&rows.connection, &rows.table, &select);
        let page = pager.page(1).unwrap();
        looked_at.push(pager.looked_at());
        found += page.rows.len();
        if page.next.is_none() {
            break;
        }
        select.after = page.next;
    }
    assert_eq!(found, 1);
    assert!(looked_at.len() == 3 && looked_at.iter().all(|rows| *rows <= 1003), "{looked_at:?}");
}

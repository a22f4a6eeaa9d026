//! The table of a model: its SQL, and the ids that may be given.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::{
    model::{Key, KeyKind},
    store::{StoreError, Table, rules},
};

/// The open models by their names.
pub(super) type Tables = HashMap<&'static str, Arc<SqlTable>>;

/// An open model.
#[derive(Debug)]
pub(super) struct SqlTable {
    pub(super) name: &'static str,
    pub(super) kind: KeyKind,
    pub(super) ids: Mutex<Ids>,
    pub(super) sql: Statements,
    /// The id, as a field to look up by.
    pub(super) id: SqlColumn,
    /// The indexed fields.
    pub(super) columns: Vec<SqlColumn>,
}

impl SqlTable {
    pub(super) fn new(table: &Table, next_id: i64) -> Self {
        Self {
            name: table.name,
            kind: table.key_kind,
            ids: Mutex::new(Ids { next: next_id, end: next_id, used: false }),
            sql: Statements::new(table.name),
            id: SqlColumn::new(table.name, table.id, "id", "0"),
            columns: columns(table)
                .iter()
                .map(|(column, field)| {
                    SqlColumn::new(table.name, field, &identifier(column), &is_boolean(field))
                })
                .collect(),
        }
    }

    pub(super) fn column(&self, field: &str) -> Option<&SqlColumn> {
        self.columns.iter().find(|column| column.field == field)
    }
}

/// A column that rows are looked up by, with the statements that do: each prepared once a connection, whatever the filters are.
///
/// In all of them `?1` and `?2` are values. Where a range is asked for, the four are those from `?1` to `?2`, without the ends that are open.
#[derive(Debug)]
pub(super) struct SqlColumn {
    pub(super) field: String,
    /// The rows with the value `?1` (and `?2`: whether it is a boolean), by their ids, from `?3` on.
    pub(super) rows_at: String,
    /// How many they are, as far as `?3`.
    pub(super) count_at: String,
    /// The rows of a range, in the order of the column.
    pub(super) rows: [String; 4],
    /// The greatest first, also of ids.
    pub(super) back: [String; 4],
    /// How many they are, as far as `?3`.
    pub(super) count: [String; 4],
    /// The least value in a range.
    pub(super) least: [String; 4],
    /// The greatest.
    pub(super) greatest: [String; 4],
}

impl SqlColumn {
    fn new(table: &str, field: &str, column: &str, is_boolean: &str) -> Self {
        let table = identifier(table);
        let at = format!("{column} IS ?1 AND {is_boolean} = ?2");
        let ranged = |sql: &dyn Fn(&str) -> String| ranges(column).map(|range| sql(&range));
        let order = |way: &str| match column {
            "id" => format!("ORDER BY id{way}"),
            _ => format!("ORDER BY {column}{way}, {is_boolean}{way}, id{way}"),
        };
        let (order, back) = (order(""), order(" DESC"));
        Self {
            field: field.to_owned(),
            rows_at: format!("SELECT id, seq, body FROM {table} WHERE {at} AND id >= ?3 ORDER BY id"),
            count_at: format!("SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {at} LIMIT ?3)"),
            rows: ranged(&|range| format!("SELECT id, seq, body FROM {table} WHERE {range} {order}")),
            back: ranged(&|range| format!("SELECT id, seq, body FROM {table} WHERE {range} {back}")),
            count: ranged(&|range| {
                format!("SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {range} LIMIT ?3)")
            }),
            least: ranged(&|range| {
                format!("SELECT {column} FROM {table} WHERE {range} ORDER BY {column} LIMIT 1")
            }),
            greatest: ranged(&|range| {
                format!("SELECT {column} FROM {table} WHERE {range} ORDER BY {column} DESC LIMIT 1")
            }),
        }
    }
}

fn ranges(column: &str) -> [String; 4] {
    [(">=", "<="), (">", "<="), (">=", "<"), (">", "<")]
        .map(|(low, high)| format!("{column} {low} ?1 AND {column} {high} ?2"))
}

/// Where the statements of a range are.
pub(super) fn open_ends(low: bool, high: bool) -> usize {
    usize::from(low) + 2 * usize::from(high)
}

/// The statements of a model, each prepared once a connection.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) get: String,
    pub(super) seq: String,
    pub(super) put: String,
    pub(super) delete: String,
    pub(super) rewrite: String,
}

impl Statements {
    fn new(name: &str) -> Self {
        let table = identifier(name);
        Self {
            get: format!("SELECT id, seq, body FROM {table} WHERE id = ?1"),
            seq: format!("SELECT seq FROM {table} WHERE id = ?1"),
            put: format!(
                "INSERT INTO {table} (id, seq, body) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, body = excluded.body"
            ),
            delete: format!("DELETE FROM {table} WHERE id = ?1"),
            rewrite: format!("UPDATE {table} SET body = ?2 WHERE id = ?1"),
        }
    }
}

/// The integer ids of a model that may be given without asking the disk: it has those below `end` as given.
#[derive(Debug)]
pub(super) struct Ids {
    next: i64,
    end: i64,
    used: bool,
}

impl Ids {
    /// `count` ids, if that many are left.
    pub(super) fn take(&mut self, model: &str, count: u32) -> Result<Option<i64>, StoreError> {
        let (first, next) = rules::ids_from(model, self.next, count)?;
        if next > self.end {
            return Ok(None);
        }
        self.next = next;
        self.used = true;
        Ok(Some(first))
    }

    /// A row has this id: it is not given to another.
    pub(super) fn skip(&mut self, id: i64) {
        if id >= self.next {
            self.next = id.saturating_add(1);
            self.used = true;
        }
    }

    /// The `end` to write to the disk with a batch, where few ids are left.
    pub(super) fn refill(&self) -> Option<i64> {
        let low = self.end.saturating_sub(self.next) < ID_BLOCK / 2;
        (self.used && low && self.end < i64::MAX).then(|| self.next.saturating_add(ID_BLOCK))
    }

    /// The `end` to write to the disk so that `count` can be taken.
    pub(super) fn refill_for(&self, count: u32) -> i64 {
        self.next.saturating_add(i64::from(count)).saturating_add(ID_BLOCK)
    }

    pub(super) fn refilled(&mut self, end: i64) {
        self.end = self.end.max(end);
    }

    /// The next id, to write to the disk at the end, where ids are left in the reserve.
    pub(super) fn unused(&self) -> Option<i64> {
        (self.end > self.next).then_some(self.next)
    }
}

/// How many ids are reserved at once, with a batch that is written anyway. It is what a killed process may leave
/// unused.
const ID_BLOCK: i64 = 256;

/// The columns of the indexed fields: column to field.
///
/// Fields are taken in the order of their names, so that the columns do not depend on the order in the struct.
pub(super) fn columns(table: &Table) -> BTreeMap<String, String> {
    let mut fields = table.indexed.clone();
    fields.sort_unstable();
    fields.dedup();
    let mut taken: HashSet<String> = ["id", "seq", "body"].map(String::from).into();
    let mut columns = BTreeMap::new();
    for field in fields {
        let mut column = field.to_owned();
        while column.is_empty() || !taken.insert(column.to_ascii_lowercase()) {
            column.push('_');
        }
        columns.insert(column, field.to_owned());
    }
    columns
}

/// Where a field is in the JSON of a row.
pub(super) fn json_path(field: &str) -> String {
    // SQLite reads a quoted label as JSON does a string.
    format!("$.{}", serde_json::Value::from(field))
}

/// What a column of an indexed field is: its value, so that a person reads and compares it in SQL as it stands in the JSON, with 1 and 0 for
/// booleans. Arrays and objects are NULL, as they are equal to null in an order.
pub(super) fn column_value(field: &str) -> String {
    let path = literal(&json_path(field));
    format!(
        "CASE WHEN json_type(body, {path}) IN ('array', 'object') THEN NULL ELSE json_extract(body, {path}) END"
    )
}

/// What the index of a column has besides, to tell `true` from 1 and `false` from 0: 1 for a boolean, else 0.
pub(super) fn is_boolean(field: &str) -> String {
    format!("(json_type(body, {}) IN ('true', 'false') IS TRUE)", literal(&json_path(field)))
}

/// A name, quoted for SQL.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text, quoted for SQL.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A key, as it is written in SQL.
pub(super) fn key_literal(key: &Key) -> String {
    match key {
        Key::Int(id) => id.to_string(),
        Key::Text(id) => literal(id),
    }
}

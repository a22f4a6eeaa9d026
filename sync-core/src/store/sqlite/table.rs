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
}

impl SqlTable {
    pub(super) fn new(table: &Table, next_id: i64) -> Self {
        Self {
            name: table.name,
            kind: table.key_kind,
            ids: Mutex::new(Ids { next: next_id, end: next_id, used: false }),
            sql: Statements::new(table.name),
        }
    }
}

/// The statements of a model, each prepared once a connection.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) get: String,
    pub(super) seq: String,
    pub(super) put: String,
    pub(super) delete: String,
    pub(super) first_page: String,
    pub(super) page: String,
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
            first_page: format!("SELECT id, seq, body FROM {table} ORDER BY id LIMIT ?1"),
            page: format!("SELECT id, seq, body FROM {table} WHERE id > ?2 ORDER BY id LIMIT ?1"),
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

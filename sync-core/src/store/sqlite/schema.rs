//! Bringing the tables up to date with the models, at the start.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Instant};

use rusqlite::{Connection, OptionalExtension, params, types::Type};
use uuid::Uuid;

use super::{
    error::cannot,
    page, reader,
    table::{self, SqlTable, Tables, identifier, key_literal, literal},
    value::{SqlBody, SqlKey},
};
use crate::{
    model::{Key, KeyKind},
    store::{Opened, Reencode, Select, StoreError, StoredRow, Table},
};

/// Makes the database at `path` ready for these models. It runs in a transaction, so that a failed start changes
/// nothing, and where no model has changed it looks at no rows.
pub(super) fn open(
    connection: &Connection,
    tables: &[Table],
    path: &Path,
) -> Result<(Tables, Opened), StoreError> {
    connection
        .execute_batch(OWN_TABLES)
        .and_then(|()| upgrade(connection))
        .map_err(cannot("create the store's own tables"))?;
    let epoch = epoch(connection)?;
    let mut log_is_stale = false;
    let mut opened = Tables::with_capacity(tables.len());
    for table in tables {
        let what = format!("make the database ready for the model `{}`", table.name);
        let stored = stored(connection, table).map_err(cannot(&what))?;
        let mut model = match stored {
            Some(model) if model.keys == keys(table.key_kind) => model,
            Some(model) => {
                log_is_stale = true;
                drop_empty(connection, table, &model)?;
                create(connection, table, model.next_id)?
            }
            None => create(connection, table, 1)?,
        };
        let columns = table::columns(table);
        let is_recorded = model.columns == columns;
        drop_columns(connection, table, &mut model.columns, &columns).map_err(cannot(&what))?;
        let next_id = next_id(connection, table, &model).map_err(cannot(&what))?;
        let sql_table = SqlTable::new(table, next_id);
        if model.hash != table.hash {
            log_is_stale = true;
            reencode(connection, &sql_table, table.reencode, path)?;
        }
        add_columns(connection, table, &model.columns, &columns).map_err(cannot(&what))?;
        if model.hash != table.hash || !is_recorded {
            record(connection, table, &columns).map_err(cannot(&what))?;
        }
        opened.insert(table.name, Arc::new(sql_table));
    }
    if log_is_stale {
        forget_log(connection).map_err(cannot("begin a new log"))?;
    }
    let head = reader::log_range(connection).map_err(cannot("read the log"))?.head;
    Ok((opened, Opened { epoch, head }))
}

/// A model as the database has it.
struct StoredModel {
    keys: String,
    hash: u64,
    next_id: i64,
    columns: BTreeMap<String, String>,
}

/// Whether it is a database of this crate.
pub(super) fn is_store(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(entry_named(connection, "sync_meta")?.is_some())
}

/// Refuses a database that a later version of this crate has written. To be asked before anything of it is changed.
pub(super) fn check_format(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let format = || {
        if !is_store(connection)? {
            return Ok(None);
        }
        let sql = "SELECT value FROM sync_meta WHERE name = 'format'";
        connection.query_row(sql, (), |row| row.get(0)).optional()
    };
    match format().map_err(cannot(&format!("open the database {}", path.display())))? {
        None | Some(1..=FORMAT) => Ok(()),
        Some(format) => Err(StoreError::new(format!(
            "the database {} has format {format}, and this version of sync-core reads format {FORMAT}: a later \
             version has written it",
            path.display()
        ))),
    }
}

/// Brings the store's own tables up to date with this version.
fn upgrade(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "SELECT count(*) FROM pragma_table_info('sync_mutations') WHERE name = 'results'";
    if connection.query_row(sql, (), |row| row.get::<_, i64>(0))? == 0 {
        connection.execute("ALTER TABLE sync_mutations ADD COLUMN results TEXT", ())?;
        connection.execute("UPDATE sync_meta SET value = ?1 WHERE name = 'format'", [FORMAT])?;
    }
    let sql = "SELECT count(*) FROM pragma_table_info('sync_clients') WHERE name = 'subject'";
    if connection.query_row(sql, (), |row| row.get::<_, i64>(0))? == 0 {
        connection.execute("ALTER TABLE sync_clients ADD COLUMN subject TEXT", ())?;
    }
    Ok(())
}

/// The epoch of the database. One that has none begins one, and with it forgets its clients: it was restored, and what they had decided
/// since the copy is not known here, so that it would be done again when it is sent again.
fn epoch(connection: &Connection) -> Result<Uuid, StoreError> {
    let begun = connection
        .execute(
            "INSERT OR IGNORE INTO sync_meta (name, value) VALUES ('epoch', ?1)",
            [Uuid::new_v4().to_string()],
        )
        .map_err(cannot("write the epoch"))?;
    if begun > 0 {
        connection
            .execute_batch("DELETE FROM sync_mutations; DELETE FROM sync_clients")
            .map_err(cannot("forget the clients of another epoch"))?;
    }
    let epoch: String = connection
        .query_row("SELECT value FROM sync_meta WHERE name = 'epoch'", (), |row| row.get(0))
        .map_err(cannot("read the epoch"))?;
    epoch.parse().map_err(|error| {
        StoreError::new(format!("the epoch in sync_meta is not a UUID: {epoch:?}")).with_source(error)
    })
}

fn stored(connection: &Connection, table: &Table) -> rusqlite::Result<Option<StoredModel>> {
    let sql = "SELECT keys, hash, next_id, columns FROM sync_models WHERE name = ?1";
    connection
        .query_row(sql, [table.name], |row| {
            let columns = serde_json::from_str(row.get_ref(3)?.as_str()?)
                .map_err(|error| rusqlite::Error::FromSqlConversionFailure(3, Type::Text, Box::new(error)))?;
            let hash = row.get::<_, i64>(1)?.cast_unsigned();
            Ok(StoredModel { keys: row.get(0)?, hash, next_id: row.get(2)?, columns })
        })
        .optional()
}

/// Where the ids of a model have become of another type, its rows cannot follow.
fn drop_empty(connection: &Connection, table: &Table, model: &StoredModel) -> Result<(), StoreError> {
    let name = identifier(table.name);
    let what = format!("change the type of the ids of `{}`", table.name);
    let exists = format!("SELECT EXISTS (SELECT 1 FROM {name})");
    if connection.query_row(&exists, (), |row| row.get(0)).map_err(cannot(&what))? {
        return Err(StoreError::new(format!(
            "the ids of `{}` are {} in the database, and {} in the model: give the model another name, or \
             delete its rows with the sqlite3 shell: DELETE FROM {name};",
            table.name,
            model.keys,
            keys(table.key_kind)
        )));
    }
    connection
        .execute(&format!("DROP TABLE {name}"), ())
        .and_then(|_| connection.execute("DELETE FROM sync_models WHERE name = ?1", [table.name]))
        .map_err(cannot(&what))?;
    Ok(())
}

fn create(connection: &Connection, table: &Table, next_id: i64) -> Result<StoredModel, StoreError> {
    let what = format!("create the table of the model `{}`", table.name);
    if let Some(other) = entry_named(connection, table.name).map_err(cannot(&what))? {
        return Err(StoreError::new(format!(
            "cannot {what}: the database has a table or index `{other}` already, which is not this model's"
        )));
    }
    let name = identifier(table.name);
    // A page of rows in the order of text ids reads one tree, not a tree and its index.
    let (id, option) = match table.key_kind {
        KeyKind::Int => ("id INTEGER PRIMARY KEY", ""),
        KeyKind::Text => ("id TEXT PRIMARY KEY NOT NULL", "WITHOUT ROWID"),
    };
    let model = StoredModel {
        keys: keys(table.key_kind).into(),
        hash: table.hash,
        next_id,
        columns: BTreeMap::new(),
    };
    connection
        .execute(
            &format!("CREATE TABLE {name} ({id}, seq INTEGER NOT NULL, body TEXT NOT NULL) {option}"),
            (),
        )
        .and_then(|_| {
            connection.execute(
                "INSERT INTO sync_models (name, keys, hash, next_id, columns) VALUES (?1, ?2, ?3, ?4, '{}')",
                params![table.name, model.keys, table.hash.cast_signed(), next_id],
            )
        })
        .map_err(cannot(&what))?;
    Ok(model)
}

/// The next id that no row has and that was never given. Rows may have been added by hand.
fn next_id(connection: &Connection, table: &Table, model: &StoredModel) -> rusqlite::Result<i64> {
    if table.key_kind == KeyKind::Text {
        return Ok(model.next_id);
    }
    let sql = format!("SELECT max(id) FROM {}", identifier(table.name));
    let highest: Option<i64> = connection.query_row(&sql, (), |row| row.get(0))?;
    Ok(model.next_id.max(highest.map_or(1, |id| id.saturating_add(1))))
}

/// Drops columns that are not wanted, and those that an earlier version made of another expression.
fn drop_columns(
    connection: &Connection,
    table: &Table,
    stored: &mut BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> rusqlite::Result<()> {
    let mut gone = Vec::new();
    for (column, field) in &*stored {
        if wanted.get(column) != Some(field) || !is_up_to_date(connection, table, column, field)? {
            gone.push(column.clone());
        }
    }
    for column in gone {
        connection.execute_batch(&format!(
            "DROP INDEX IF EXISTS {}; ALTER TABLE {} DROP COLUMN {}",
            identifier(&index_name(table, &column)),
            identifier(table.name),
            identifier(&column)
        ))?;
        stored.remove(&column);
    }
    Ok(())
}

fn is_up_to_date(
    connection: &Connection,
    table: &Table,
    column: &str,
    field: &str,
) -> rusqlite::Result<bool> {
    let sql = "SELECT sql FROM sqlite_schema WHERE type = ?1 AND name = ?2";
    let find = |kind, name: &str| -> rusqlite::Result<Option<String>> {
        connection.query_row(sql, [kind, name], |row| row.get(0)).optional()
    };
    let has_column =
        find("table", table.name)?.is_some_and(|sql| sql.contains(&column_definition(column, field)));
    let index = find("index", &index_name(table, column))?;
    Ok(has_column && index == Some(index_definition(table, column, field)))
}

fn add_columns(
    connection: &Connection,
    table: &Table,
    stored: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> rusqlite::Result<()> {
    for (column, field) in wanted.iter().filter(|(column, _)| !stored.contains_key(*column)) {
        let (name, definition) = (identifier(table.name), column_definition(column, field));
        connection.execute_batch(&format!("ALTER TABLE {name} ADD COLUMN {definition}"))?;
        connection.execute_batch(&index_definition(table, column, field))?;
    }
    Ok(())
}

fn column_definition(column: &str, field: &str) -> String {
    format!("{} GENERATED ALWAYS AS ({}) VIRTUAL", identifier(column), table::column_value(field))
}

fn index_definition(table: &Table, column: &str, field: &str) -> String {
    format!(
        "CREATE INDEX {} ON {} ({}, {})",
        identifier(&index_name(table, column)),
        identifier(table.name),
        identifier(column),
        table::is_boolean(field)
    )
}

fn index_name(table: &Table, column: &str) -> String {
    format!("sync_{}.{column}", table.name)
}

fn record(
    connection: &Connection,
    table: &Table,
    columns: &BTreeMap<String, String>,
) -> rusqlite::Result<()> {
    let columns = serde_json::to_string(columns)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    connection.execute(
        "UPDATE sync_models SET hash = ?2, columns = ?3 WHERE name = ?1",
        params![table.name, table.hash.cast_signed(), columns],
    )?;
    Ok(())
}

/// Passes every row through the model as it is now.
fn reencode(
    connection: &Connection,
    table: &SqlTable,
    reencode: Reencode,
    path: &Path,
) -> Result<(), StoreError> {
    let started = Instant::now();
    let what = format!("store the rows of `{}` as the model is now", table.name);
    let (mut rows, mut rewritten) = (0_u64, 0_u64);
    let mut unfit = Unfit::default();
    let mut after = None;
    loop {
        let select = Select::all().limit(CHUNK_ROWS).max_bytes(CHUNK_BYTES).after(after);
        let page = page::page(connection, table, &select, 0).map_err(cannot(&what))?;
        for row in &page.rows {
            rows += 1;
            match reencode(&row.body) {
                Ok((key, body)) if key == row.key => {
                    if body != row.body {
                        rewritten += 1;
                        connection
                            .prepare_cached(&table.sql.rewrite)
                            .and_then(|mut statement| {
                                statement.execute(params![SqlKey(&row.key), SqlBody(&body)])
                            })
                            .map_err(cannot(&what))?;
                    }
                }
                Ok((key, _)) => unfit.add(row, || format!("its body has the id {key:?}")),
                Err(error) => unfit.add(row, || error.to_string()),
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if let Some(error) = unfit.error(table, path) {
        return Err(error);
    }
    if rows > 0 {
        tracing::info!(model = table.name, rows, rewritten, took = ?started.elapsed(), "the model has changed");
    }
    Ok(())
}

/// Rows that do not fit the model as it is now: the first, and how many.
#[derive(Default)]
struct Unfit {
    first: Option<(Key, String)>,
    count: u64,
}

impl Unfit {
    fn add(&mut self, row: &StoredRow, why: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(|| (row.key.clone(), why()));
    }

    fn error(self, table: &SqlTable, path: &Path) -> Option<StoreError> {
        let (key, why) = self.first?;
        let others = match self.count - 1 {
            0 => String::new(),
            1 => ", nor does 1 other".into(),
            others => format!(", nor do {others} others"),
        };
        let (name, id) = (identifier(table.name), key_literal(&key));
        Some(StoreError::new(format!(
            "the row {key:?} of `{}` does not fit the model as it is now{others}: {why}\n\
             Nothing was changed. Give a new field `#[serde(default)]`, or mend the row with the sqlite3 shell:\n\
             \n\
             sqlite3 {path}\n\
             SELECT body FROM {name} WHERE id = {id};\n\
             UPDATE {name} SET body = json_set(body, '$.field', 'value') WHERE id = {id};\n\
             DELETE FROM {name} WHERE id = {id};",
            table.name,
            path = literal(&path.display().to_string()),
        )))
    }
}

/// Moves the horizon to the head: the log has rows of a shape that no model has any more.
fn forget_log(connection: &Connection) -> rusqlite::Result<()> {
    let head = reader::log_range(connection)?.head;
    connection.execute("DELETE FROM sync_log", ())?;
    connection.execute("UPDATE sync_meta SET value = ?1 WHERE name = 'horizon'", [head.cast_signed()])?;
    Ok(())
}

/// The table or index of this name, as `SQLite` compares names.
fn entry_named(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT name FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE";
    connection.query_row(sql, [name], |row| row.get(0)).optional()
}

fn keys(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Int => "integers",
        KeyKind::Text => "text",
    }
}

/// Raised when a database that this version writes could not be read by the one before it.
/// 2: `sync_mutations` has the results of actions and batches.
const FORMAT: i64 = 2;

/// `columns` is JSON: each column of an indexed field with the field.
const OWN_TABLES: &str = "
    CREATE TABLE IF NOT EXISTS sync_meta (name TEXT PRIMARY KEY NOT NULL, value NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS sync_models (
        name TEXT PRIMARY KEY NOT NULL, keys TEXT NOT NULL, hash INTEGER NOT NULL, next_id INTEGER NOT NULL,
        columns TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS sync_log (
        seq INTEGER NOT NULL, idx INTEGER NOT NULL, model TEXT NOT NULL, id NOT NULL, cid TEXT, old TEXT, new TEXT,
        PRIMARY KEY (seq, idx)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS sync_clients (
        id TEXT PRIMARY KEY NOT NULL, last INTEGER NOT NULL, seen INTEGER NOT NULL, subject TEXT
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS sync_mutations (
        client TEXT NOT NULL, id INTEGER NOT NULL, hash INTEGER NOT NULL, seq INTEGER, model TEXT, key, method TEXT,
        cid TEXT, rejected TEXT, results TEXT, PRIMARY KEY (client, id)
    ) WITHOUT ROWID;
    INSERT OR IGNORE INTO sync_meta (name, value) VALUES ('format', 2), ('horizon', 0);
";

/// How many rows, and bytes of them, are in memory at once while all of them are rewritten.
const CHUNK_ROWS: usize = 1_000;
const CHUNK_BYTES: usize = 4 << 20;

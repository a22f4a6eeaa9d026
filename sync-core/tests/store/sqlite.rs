//! What the `SQLite` store does besides: the file, and what a person finds in it.

use std::{
    fs,
    future::Future,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    pin::pin,
    process::{Command, Stdio},
    sync::Arc,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use rusqlite::{Connection, config::DbConfig};
use sync_core::{
    Key, KeyKind,
    store::{ClientWrite, Decision, Outcome, SqliteStore, Store, Table},
};

use crate::fixture::{
    TransactionExt, body, changes, client, confirmed, create, int, keys, log, mutation, put, reencode,
    row_at, rows, seen, tables, text,
};

#[tokio::test]
async fn the_database_is_in_wal_mode() {
    let (folder, store) = open().await;
    let mode: String = shell(folder.path()).query_row("PRAGMA journal_mode", (), |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    // Closed, it is one file and the lock.
    store.close().await.unwrap();
    let mut files: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["test.db", "test.db-lock"]);
}

#[tokio::test]
async fn a_person_can_read_and_query_while_it_runs() {
    let (folder, store) = open().await;
    let shell = shell(folder.path());
    store.commit(vec![put("Todo", int(1), "milk"), put("Note", text("n"), "x")]).await.unwrap();
    let title = |id: i64| {
        let sql = "SELECT body ->> 'title' FROM Todo WHERE id = ?1 AND list = 'home' AND NOT done";
        shell.query_row(sql, [id], |row| row.get::<_, String>(0))
    };
    assert_eq!(title(1).unwrap(), "milk");

    // A snapshot that is held open does not hold up the writer, nor see what it does.
    shell.execute_batch("BEGIN").unwrap();
    assert!(title(2).is_err());
    store.commit(vec![put("Todo", int(2), "bread")]).await.unwrap();
    assert_eq!(store.get("Todo", &int(2)).await.unwrap().unwrap().seq, 3);
    assert!(title(2).is_err());
    shell.execute_batch("COMMIT").unwrap();
    assert_eq!(title(2).unwrap(), "bread");
    // Not even closing is held up by it.
    shell.execute_batch("BEGIN").unwrap();
    assert!(title(3).is_err());
    store.close().await.unwrap();
}

#[tokio::test]
async fn waits_for_a_person_who_writes() {
    let (folder, store) = open().await;
    let shell = shell(folder.path());
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    let release = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_millis(200));
        shell.execute_batch("ROLLBACK").unwrap();
    });
    assert_eq!(store.commit(vec![put("Todo", int(1), "x")]).await.unwrap(), [Decision::Committed(1)]);
    release.await.unwrap();
}

#[tokio::test]
async fn indexed_fields_are_columns_with_an_index() {
    let (folder, store) = open().await;
    store.commit(vec![put("Todo", int(1), "x")]).await.unwrap();
    let shell = shell(folder.path());
    assert!(plan(&shell, "SELECT id FROM Todo WHERE list = 'home'").contains("USING INDEX sync_Todo.list"));
    assert!(plan(&shell, "SELECT * FROM Todo WHERE done = 1").contains("USING INDEX sync_Todo.done"));
    assert_eq!(columns(&shell, "Todo"), ["id", "seq", "body", "done", "list"]);
    assert_eq!(columns(&shell, "Note"), ["id", "seq", "body"]);

    // They follow the model, without looking at the rows.
    let reopen = async |indexed: &[&'static str]| {
        store.close().await.unwrap();
        store.open(&[Table::new("Todo", KeyKind::Int, indexed.to_vec(), 1, unreachable)]).await.unwrap();
    };
    reopen(&["title", "done"]).await;
    assert_eq!(columns(&shell, "Todo"), ["id", "seq", "body", "done", "title"]);
    assert!(plan(&shell, "SELECT * FROM Todo WHERE title = 'x'").contains("USING INDEX sync_Todo.title"));
    assert!(rows(&store, "Todo", 1).await.len() == 1);
    reopen(&[]).await;
    assert_eq!(columns(&shell, "Todo"), ["id", "seq", "body"]);
    store.commit(vec![put("Todo", int(2), "x")]).await.unwrap();
}

/// Columns as the first version made them: they did not tell booleans from numbers, nor text from what an array is as text.
#[tokio::test]
async fn columns_of_an_earlier_version_are_made_anew() {
    let (folder, store) = open().await;
    store.commit(vec![put("Todo", int(1), "x"), put("Todo", int(2), "y")]).await.unwrap();
    store.close().await.unwrap();
    let shell = shell(folder.path());
    for (column, path) in [("list", "$.\"list\""), ("done", "$.\"done\"")] {
        shell
            .execute_batch(&format!(
                "DROP INDEX \"sync_Todo.{column}\"; ALTER TABLE Todo DROP COLUMN {column};
                 ALTER TABLE Todo ADD COLUMN {column} GENERATED ALWAYS AS (json_extract(body, '{path}')) VIRTUAL;
                 CREATE INDEX \"sync_Todo.{column}\" ON Todo ({column})"
            ))
            .unwrap();
    }
    let before = rows_as_stored(&shell);
    for _ in 0..2 {
        store.open(&[Table::new("Todo", KeyKind::Int, vec!["list", "done"], 1, unreachable)]).await.unwrap();
        store.close().await.unwrap();
    }
    assert_eq!(rows_as_stored(&shell), before, "no row is written again");
    let made: Vec<String> = ["list", "done"].into_iter().map(|column| index(&shell, column)).collect();
    assert!(made.iter().all(|sql| sql.contains("IS TRUE")), "{made:?}");
    // And once they are as they should be, they are left alone.
    let version = |shell: &Connection| -> i64 {
        shell.query_row("PRAGMA schema_version", (), |row| row.get(0)).unwrap()
    };
    let settled = version(&shell);
    store.open(&[Table::new("Todo", KeyKind::Int, vec!["list", "done"], 1, unreachable)]).await.unwrap();
    assert_eq!(version(&shell), settled);
    assert!(plan(&shell, "SELECT id FROM Todo WHERE list = 'home'").contains("USING INDEX sync_Todo.list"));
}

fn rows_as_stored(shell: &Connection) -> Vec<(i64, i64, String)> {
    let mut statement = shell.prepare("SELECT id, seq, body FROM Todo").unwrap();
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn index(shell: &Connection, column: &str) -> String {
    let sql = "SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = 'sync_Todo.' || ?1";
    shell.query_row(sql, [column], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn any_name_can_be_indexed() {
    // Each field, and its column where that needs another name.
    let fields = [
        ("Seq", "Seq_"),
        ("body", "body_"),
        ("A", "A"),
        ("a", "a_"),
        ("a_", "a__"),
        ("", "_"),
        ("rowid", "rowid"),
        ("select", "select"),
        ("a b", "a b"),
        ("it's", "it's"),
        ("qu\"ote", "qu\"ote"),
        ("back\\slash", "back\\slash"),
        ("line\nbreak", "line\nbreak"),
        ("dot.ted", "dot.ted"),
        ("$", "$"),
        ("[0]", "[0]"),
        ("0", "0"),
        ("ä", "ä"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::new(folder.path().join("test.db"));
    // The columns do not depend on the order in the struct.
    for names in
        [fields.map(|(field, _)| field).to_vec(), fields.iter().rev().map(|(field, _)| *field).collect()]
    {
        store.open(&[Table::new("Sel\"ect", KeyKind::Text, names, 1, unreachable)]).await.unwrap();
        let row: serde_json::Map<_, _> =
            fields.iter().map(|(field, column)| ((*field).to_owned(), (*column).into())).collect();
        let row = serde_json::to_vec(&row).unwrap();
        store.commit(vec![changes([create("Sel\"ect", text("k"), row.into())])]).await.unwrap();
        store.close().await.unwrap();

        let shell = shell(folder.path());
        assert_eq!(columns(&shell, "Sel\"ect").len(), 3 + fields.len());
        for (_, column) in fields {
            let name = column.replace('"', "\"\"");
            let sql = format!("SELECT id FROM \"Sel\"\"ect\" WHERE \"{name}\" = ?1");
            let found: Result<String, _> = shell.query_row(&sql, [column], |row| row.get(0));
            assert_eq!(found.unwrap(), "k", "by {column}");
        }
    }
}

#[tokio::test]
async fn a_second_store_is_refused() {
    let (folder, store) = open().await;
    let other = SqliteStore::new(folder.path().join(".").join("test.db"));
    let error = other.open(&tables()).await.unwrap_err().to_string();
    assert!(error.ends_with("is in use by another process, or by another store of this one"), "{error}");
    assert!(store.open(&tables()).await.is_err());
    store.close().await.unwrap();
    other.open(&tables()).await.unwrap();
}

#[tokio::test]
async fn a_second_process_is_refused_until_the_first_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sqlite::a_process_that_never_closes", "--nocapture"])
        .env(CHILD, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("the child has committed")));
    let store = SqliteStore::new(&path);
    let error = store.open(&tables()).await.unwrap_err().to_string();
    assert!(error.contains("in use by another process"), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(store.open(&tables()).await.unwrap().head, 1);
    assert_eq!(rows(&store, "Todo", 1).await.len(), 1);
    // What the child was given is not given again, though it did not store it.
    assert!(store.allocate_ids("Todo", 1).await.unwrap() > 600);
}

/// Run by the test above, in a process of its own.
#[tokio::test]
async fn a_process_that_never_closes() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let store = SqliteStore::new(PathBuf::from(path));
    store.open(&tables()).await.unwrap();
    // The ids that are left run low, so that the commit reserves more; they are given without asking the disk.
    assert_eq!(store.allocate_ids("Todo", 200).await.unwrap(), 1);
    assert_eq!(store.allocate_ids("Todo", 200).await.unwrap(), 201);
    store.commit(vec![put("Todo", int(1), "x")]).await.unwrap();
    assert_eq!(store.allocate_ids("Todo", 200).await.unwrap(), 401);
    println!("the child has committed");
    std::thread::sleep(Duration::from_mins(1));
}

const CHILD: &str = "SYNC_STORE_TEST_CHILD";

#[tokio::test]
async fn says_why_it_cannot_open() {
    let folder = tempfile::tempdir().unwrap();
    let fails = async |path: PathBuf| {
        let store = SqliteStore::new(path);
        let error = store.open(&tables()).await.unwrap_err().to_string();
        assert_eq!(store.commit(vec![]).await.unwrap_err().to_string(), "the store is not open");
        error
    };
    let error = fails(folder.path().join("missing").join("test.db")).await;
    assert!(error.contains("missing") && error.contains("No such file"), "{error}");
    let error = fails(folder.path().to_path_buf()).await;
    assert!(error.ends_with("is a folder"), "{error}");

    let text = folder.path().join("notes.txt");
    fs::write(&text, "Not a database, but a text that is long enough to be looked at. ".repeat(100)).unwrap();
    let error = fails(text.clone()).await;
    assert!(error.contains("notes.txt") && error.contains("the file is not an SQLite database"), "{error}");
    assert!(fs::read(&text).unwrap().starts_with(b"Not a database"), "it is left as it was");
}

#[tokio::test]
async fn says_that_a_folder_is_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let set_read_only = |read_only| {
        let mut permissions = fs::metadata(folder.path()).unwrap().permissions();
        permissions.set_readonly(read_only);
        fs::set_permissions(folder.path(), permissions).unwrap();
    };
    set_read_only(true);
    // Root may write all the same.
    if fs::write(folder.path().join("probe"), "").is_err() {
        let error =
            SqliteStore::new(folder.path().join("test.db")).open(&tables()).await.unwrap_err().to_string();
        assert!(error.contains("test.db-lock") && error.contains("denied"), "{error}");
    }
    set_read_only(false);
}

#[tokio::test]
async fn leaves_what_others_made_in_the_database_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let before = Connection::open(&path).unwrap();
    before
        .execute_batch("CREATE TABLE users (name); INSERT INTO users VALUES ('Ada'); CREATE TABLE todo (x)")
        .unwrap();
    let store = SqliteStore::new(&path);
    let error = store.open(&tables()).await.unwrap_err().to_string();
    assert!(error.contains("`Todo`") && error.contains("a table or index `todo` already"), "{error}");
    let own: i64 = before
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'sync\\_%' ESCAPE '\\'", (), |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(own, 0, "a failed start changes nothing");
    before.execute_batch("DROP TABLE todo").unwrap();
    store.open(&tables()).await.unwrap();
    assert_eq!(before.query_row("SELECT name FROM users", (), |row| row.get::<_, String>(0)).unwrap(), "Ada");
}

/// The names and contents of the files of the database; the index of its log (`-shm`) is of no matter.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder).unwrap().map(|file| {
        let file = file.unwrap();
        (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())
    });
    let mut files: Vec<_> = files.filter(|(name, _)| !name.ends_with("-shm")).collect();
    files.sort();
    files
}

#[tokio::test]
async fn refuses_a_later_format_before_it_touches_it() {
    // In the log only, in the database, and in one that the later version keeps in another mode.
    for (later, logged) in [
        ("UPDATE sync_meta SET value = 3 WHERE name = 'format'", true),
        ("UPDATE sync_meta SET value = 3 WHERE name = 'format'", false),
        ("UPDATE sync_meta SET value = 3 WHERE name = 'format'; PRAGMA journal_mode = DELETE", false),
    ] {
        let (folder, store) = open().await;
        store.commit(vec![put("Todo", int(1), "x")]).await.unwrap();
        store.close().await.unwrap();
        let shell = shell(folder.path());
        shell.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, logged).unwrap();
        shell.execute_batch(later).unwrap();
        shell.close().unwrap();
        let before = files(folder.path());
        let has_log = before.iter().any(|(name, content)| name.ends_with("-wal") && !content.is_empty());
        assert_eq!(has_log, logged);
        let error = store.open(&tables()).await.unwrap_err().to_string();
        assert!(error.contains("has format 3, and this version of sync-core reads format 2"), "{error}");
        assert!(files(folder.path()) == before, "{later}: it was changed (logged: {logged})");
    }
}

/// As before there were subjects.
#[tokio::test]
async fn clients_of_an_older_database_belong_to_nobody() {
    let (folder, store) = open().await;
    store.commit(vec![changes([]).by(mutation(1, 1, confirmed("Todo", int(1))))]).await.unwrap();
    store.close().await.unwrap();
    shell(folder.path()).execute_batch("ALTER TABLE sync_clients DROP COLUMN subject").unwrap();
    store.open(&tables()).await.unwrap();
    let record = store.client(client(1)).await.unwrap().unwrap();
    assert_eq!((record.subject, record.last, record.mutations.len()), (None, 1, 1));
    let write = ClientWrite { subject: Some("ada".into()), ..seen(1, 9) };
    store.commit(vec![changes([]).by(write)]).await.unwrap();
    store.close().await.unwrap();
    store.open(&tables()).await.unwrap();
    assert_eq!(store.client(client(1)).await.unwrap().unwrap().subject.as_deref(), Some("ada"));
}

#[tokio::test]
async fn begins_a_new_epoch_when_it_is_told_to() {
    let (folder, store) = open().await;
    store.commit(vec![put("Todo", int(1), "x")]).await.unwrap();
    store.close().await.unwrap();
    let before = store.open(&tables()).await.unwrap().epoch;
    store.close().await.unwrap();
    shell(folder.path()).execute_batch("DELETE FROM sync_meta WHERE name = 'epoch'").unwrap();
    let opened = store.open(&tables()).await.unwrap();
    assert_ne!(opened.epoch, before);
    assert_eq!(opened.head, 1);
    store.close().await.unwrap();
    assert_eq!(store.open(&tables()).await.unwrap().epoch, opened.epoch);
}

#[tokio::test]
async fn a_failed_batch_leaves_nothing_and_the_next_one_works() {
    // ABORT undoes one statement, ROLLBACK the whole transaction behind the writer's back.
    for action in ["ABORT", "FAIL", "ROLLBACK"] {
        let (folder, store) = open().await;
        store.commit(vec![put("Todo", int(1), "before")]).await.unwrap();
        let shell = shell(folder.path());
        for table in ["Todo", "sync_log", "sync_mutations", "sync_clients"] {
            let condition = if table == "Todo" { "WHEN NEW.id = 13" } else { "" };
            shell
                .execute_batch(&format!(
                    "CREATE TRIGGER injected BEFORE INSERT ON {table} {condition}
                     BEGIN SELECT RAISE({action}, 'injected'); END"
                ))
                .unwrap();
            let good = put("Todo", int(2), "x").by(mutation(1, 1, confirmed("Todo", int(2))));
            let error = store.commit(vec![good.clone(), put("Todo", int(13), "x")]).await.unwrap_err();
            assert_eq!(error.to_string(), "cannot store a batch: injected");
            assert_eq!(rows(&store, "Todo", 9).await, [(int(1), 1, body(&int(1), "before"))]);
            assert_eq!(log(&store, 0, 9).await.len(), 1);
            assert_eq!(store.client(client(1)).await.unwrap(), None);
            shell.execute_batch("DROP TRIGGER injected").unwrap();
        }
        let good = put("Todo", int(2), "x").by(mutation(1, 1, confirmed("Todo", int(2))));
        assert_eq!(store.commit(vec![good]).await.unwrap(), [Decision::Committed(2)]);
    }
}

#[tokio::test]
async fn a_row_that_does_not_fit_is_named_with_what_to_do() {
    #[derive(serde::Deserialize)]
    struct Strict {
        id: String,
        #[serde(rename = "due")]
        _due: String,
    }
    fn strict(body: &[u8]) -> Result<(Key, bytes::Bytes), serde_json::Error> {
        let row: Strict = serde_json::from_slice(body)?;
        Ok((text(&row.id), bytes::Bytes::copy_from_slice(body)))
    }
    let (folder, store) = open().await;
    store.commit(vec![put("Note", text("it's"), "x"), put("Note", text("z"), "x")]).await.unwrap();
    store.close().await.unwrap();
    let strict = [Table::new("Note", KeyKind::Text, vec![], 2, strict)];
    let message = store.open(&strict).await.unwrap_err().to_string();
    let first = message.lines().next().unwrap();
    assert_eq!(
        first,
        "the row \"it's\" of `Note` does not fit the model as it is now, nor does 1 other: \
         missing field `due` at line 1 column 52"
    );
    assert!(message.contains("#[serde(default)]"), "{message}");

    // The statements are ready to be pasted.
    let statement = |start| message.lines().find(|line| line.starts_with(start)).unwrap();
    let shell = shell(folder.path());
    let body: String = shell.query_row(statement("SELECT"), (), |row| row.get(0)).unwrap();
    assert!(body.contains("it's"));
    assert_eq!(shell.execute(&statement("UPDATE").replace("$.field", "$.due"), ()).unwrap(), 1);
    let message = store.open(&strict).await.unwrap_err().to_string();
    assert!(
        message.starts_with("the row \"z\" of `Note` does not fit the model as it is now: missing"),
        "{message}"
    );
    let delete = message.lines().find(|line| line.starts_with("DELETE")).unwrap();
    assert_eq!(shell.execute(delete, ()).unwrap(), 1);
    store.open(&strict).await.unwrap();
    assert_eq!(rows(&store, "Note", 9).await.len(), 1);
}

#[tokio::test]
async fn ids_change_their_type_only_without_rows() {
    let (_folder, store) = open().await;
    store.commit(vec![put("Todo", int(7), "x")]).await.unwrap();
    store.close().await.unwrap();
    let by_text = [Table::new("Todo", KeyKind::Text, vec!["list"], 2, reencode)];
    let error = store.open(&by_text).await.unwrap_err().to_string();
    assert!(
        error.contains("the ids of `Todo` are integers in the database, and text in the model"),
        "{error}"
    );
    store.open(&tables()).await.unwrap();
    store.commit(vec![changes([crate::fixture::delete("Todo", int(7), body(&int(7), "x"))])]).await.unwrap();
    store.close().await.unwrap();
    store.open(&by_text).await.unwrap();
    store.commit(vec![put("Todo", text("7"), "x")]).await.unwrap();
    assert_eq!(store.log(2, 0).await.unwrap().horizon, 2);
    // And back: integers go on where they were.
    store
        .commit(vec![changes([crate::fixture::delete("Todo", text("7"), body(&text("7"), "x"))])])
        .await
        .unwrap();
    store.close().await.unwrap();
    store.open(&tables()).await.unwrap();
    assert_eq!(store.allocate_ids("Todo", 1).await.unwrap(), 8);
}

#[tokio::test]
async fn what_is_behind_the_horizon_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::new(folder.path().join("test.db")).log_retention(10);
    store.open(&tables()).await.unwrap();
    store.commit((1..=200).map(|id| put("Todo", int(id), "x")).collect()).await.unwrap();
    let horizon = store.log(0, 0).await.unwrap().horizon;
    assert_eq!(horizon, 190);
    let sql = "SELECT min(seq), count(*) FROM sync_log";
    let left: (i64, i64) =
        shell(folder.path()).query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(left, (191, 10));
}

#[tokio::test]
async fn sees_rows_that_were_added_by_hand() {
    let (folder, store) = open().await;
    store.close().await.unwrap();
    shell(folder.path())
        .execute_batch("INSERT INTO Todo (id, seq, body) VALUES (41, 0, '{\"id\":41}')")
        .unwrap();
    store.open(&tables()).await.unwrap();
    assert_eq!(store.allocate_ids("Todo", 1).await.unwrap(), 42);
    let change = put("Todo", int(41), "x").requires(row_at("Todo", int(41), Some(0)));
    assert_eq!(store.commit(vec![change]).await.unwrap(), [Decision::Committed(1)]);
}

#[tokio::test]
async fn dropped_it_finishes_what_was_begun() {
    let (folder, store) = open().await;
    // Begun, and not waited for.
    let begun = pin!(store.commit(vec![put("Todo", int(1), "x")]))
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_pending();
    assert!(begun);
    drop(store);
    let again = SqliteStore::new(folder.path().join("test.db"));
    assert_eq!(again.open(&tables()).await.unwrap().head, 1);
}

/// Two rows always change together: whoever reads sees both or neither, at the seq that it says.
#[tokio::test(flavor = "multi_thread")]
async fn reads_are_of_one_seq_while_it_writes() {
    let (_folder, store) = open().await;
    let store = Arc::new(store);
    let pair = |round: u64| {
        let title = round.to_string();
        changes([1, 2].map(|id| create("Todo", int(id), body(&int(id), &title))))
    };
    store.commit(vec![pair(1)]).await.unwrap();
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut last = 0;
                while last < 300 {
                    let page = store.page("Todo", &keys(None, 2, usize::MAX)).await.unwrap();
                    let expected = [1, 2].map(|id| (page.seq, body(&int(id), &page.seq.to_string())));
                    let found: Vec<_> = page.rows.into_iter().map(|row| (row.seq, row.body)).collect();
                    assert_eq!(found, expected);
                    let log = store.log(page.seq - 1, usize::MAX).await.unwrap();
                    assert_eq!(log.transactions.len() as u64, log.head - page.seq + 1);
                    assert!(page.seq >= last);
                    last = page.seq;
                }
            })
        })
        .collect();
    for round in 2..=300 {
        assert_eq!(store.commit(vec![pair(round)]).await.unwrap(), [Decision::Committed(round)]);
        // Whoever was told of a commit finds it.
        assert!(store.get("Todo", &int(2)).await.unwrap().unwrap().seq >= round);
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test]
async fn a_million_rows_open_at_once() {
    let (folder, store) = open().await;
    store.close().await.unwrap();
    shell(folder.path())
        .execute_batch(
            "BEGIN;
             WITH RECURSIVE number (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM number WHERE n < 1000000)
             INSERT INTO Todo (id, seq, body)
             SELECT n, 0, json_object('id', n, 'title', 'The title of number ' || n, 'list', n % 1000, 'done', n % 2)
             FROM number;
             WITH RECURSIVE number (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM number WHERE n < 100000)
             INSERT INTO sync_log (seq, idx, model, id, new) SELECT n, 0, 'Todo', n, '{}' FROM number;
             COMMIT",
        )
        .unwrap();
    let started = Instant::now();
    store.open(&tables()).await.unwrap();
    let took = started.elapsed();
    println!("1,000,000 rows: opened in {took:?}");
    assert!(took < Duration::from_millis(100), "{took:?}");
    assert_eq!(store.allocate_ids("Todo", 1).await.unwrap(), 1_000_001);
    let started = Instant::now();
    let page = store.page("Todo", &keys(Some(&int(500_000)), 500, usize::MAX)).await.unwrap();
    println!("a page of {} rows out of them: {:?}", page.rows.len(), started.elapsed());
}

async fn open() -> (tempfile::TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::new(folder.path().join("test.db"));
    store.open(&tables()).await.unwrap();
    (folder, store)
}

/// The database as another program opens it.
fn shell(folder: &Path) -> Connection {
    Connection::open(folder.join("test.db")).unwrap()
}

fn columns(shell: &Connection, table: &str) -> Vec<String> {
    let mut statement = shell.prepare("SELECT name FROM pragma_table_xinfo(?1)").unwrap();
    statement.query_map([table], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn plan(shell: &Connection, sql: &str) -> String {
    shell.query_row(&format!("EXPLAIN QUERY PLAN {sql}"), (), |row| row.get(3)).unwrap()
}

fn unreachable(_: &[u8]) -> Result<(Key, bytes::Bytes), serde_json::Error> {
    unreachable!("the hash is the same")
}

/// A database from before actions and batches is brought up to date.
#[tokio::test]
async fn an_earlier_format_is_upgraded() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::new(folder.path().join("test.db"));
    store.open(&tables()).await.unwrap();
    store.close().await.unwrap();
    shell(folder.path())
        .execute_batch(
            "ALTER TABLE sync_mutations DROP COLUMN results; UPDATE sync_meta SET value = 1 WHERE name = 'format'",
        )
        .unwrap();
    store.open(&tables()).await.unwrap();
    let outcome = Outcome::Results("[]".into());
    store.commit(vec![changes([]).by(mutation(1, 1, outcome.clone()))]).await.unwrap();
    assert_eq!(store.client(client(1)).await.unwrap().unwrap().mutations[0].outcome, outcome);
    store.close().await.unwrap();
    let format: i64 = shell(folder.path())
        .query_row("SELECT value FROM sync_meta WHERE name = 'format'", (), |row| row.get(0))
        .unwrap();
    assert_eq!(format, 2);
}

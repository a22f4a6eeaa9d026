//! Copies of a store that is served, stores made of them, and clients that saw more than a copy has.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use serde_json::{Value, json};
use sync_tests::{Client, ServerProcess};
use uuid::Uuid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sync-test-server");

fn server(database: &Path) -> ServerProcess {
    ServerProcess::start(PROGRAM, "127.0.0.1:0".parse().unwrap(), database)
}

/// `backup --to` or `restore --from`, before or after which some program may come.
fn run(before: &[&str], command: &str, database: &Path, option: &str, file: &Path) -> Output {
    let store = format!("sqlite:{}", database.display());
    let mut words: Vec<_> = before.iter().map(|word| (*word).to_owned()).collect();
    words.extend([PROGRAM, command, "--store", &store, option].map(str::to_owned));
    Command::new(&words[0]).args(&words[1..]).arg(file).output().unwrap()
}

fn backup(database: &Path, to: &Path) -> Output {
    run(&[], "backup", database, "--to", to)
}

fn restore(from: &Path, database: &Path) -> Output {
    run(&[], "restore", database, "--from", from)
}

fn done(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn refused(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(why), "{said}");
}

fn create(id: u64, title: &str) -> Value {
    json!({"method":"create","id":id,"modelname":"Todo","cid":format!("c{id}"),"model":{"title":title}})
}

/// The names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn titles(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["title"].as_str().unwrap()).collect()
}

struct Places {
    _folder: tempfile::TempDir,
    database: PathBuf,
    copies: PathBuf,
}

impl Places {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let copies = folder.path().join("copies");
        fs::create_dir(&copies).unwrap();
        Self { database: folder.path().join("store.db"), copies, _folder: folder }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_busy_store_is_of_one_moment() {
    let places = Places::new();
    let server = server(&places.database);
    let (mut client, first) = Client::hello(server.address, Uuid::new_v4(), None).await;
    let (confirmed, enough) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let writing = tokio::spawn({
        let (confirmed, enough) = (confirmed.clone(), enough.clone());
        async move {
            // Two rows a transaction: a copy must have both, or none.
            let mut id = 0;
            while !enough.load(Ordering::SeqCst) || id < 50 {
                id += 1;
                let row = |half| json!({"method":"create","modelname":"Todo","cid":format!("{id}{half}"),"model":{"title":format!("{id}{half}")}});
                let answer = client
                    .ask(&json!({"method":"batch","id":id,"requests":[row("a"),row("b")],"ack":id - 1}))
                    .await;
                assert_eq!(answer["method"], "confirm", "{answer}");
                confirmed.store(id, Ordering::SeqCst);
            }
            id
        }
    });
    let mut copies = Vec::new();
    for number in 1..=3 {
        let (database, to) = (places.database.clone(), places.copies.join(format!("{number}.db")));
        let before = confirmed.load(Ordering::SeqCst);
        let copying = tokio::task::spawn_blocking(move || (backup(&database, &to), to));
        let (output, to) = copying.await.unwrap();
        done(&output);
        copies.push((to, before));
    }
    enough.store(true, Ordering::SeqCst);
    let written = writing.await.unwrap();
    assert_eq!(names(&places.copies), ["1.db", "2.db", "3.db"]);
    // Nothing is overwritten.
    let content = fs::read(&copies[0].0).unwrap();
    refused(&backup(&places.database, &copies[0].0), "exists, and nothing is overwritten");
    assert!(fs::read(&copies[0].0).unwrap() == content);

    let mut epochs = vec![first["epoch"].clone()];
    for (copy, before) in copies {
        // The same one twice: each is an epoch of its own.
        for _ in 0..2 {
            let restored = copy.with_extension(Uuid::new_v4().to_string());
            done(&restore(&copy, &restored));
            let server = self::server(&restored);
            let (mut client, welcome) = Client::hello(server.address, Uuid::new_v4(), None).await;
            assert!(!epochs.contains(&welcome["epoch"]), "{welcome}");
            epochs.push(welcome["epoch"].clone());
            let (rows, live) = client.subscribe("Todo").await;
            let transactions = live["seq"].as_u64().unwrap();
            assert!((before..=written).contains(&transactions), "{before} {transactions} {written}");
            let expected: Vec<_> =
                (1..=transactions).flat_map(|id| [format!("{id}a"), format!("{id}b")]).collect();
            assert_eq!(titles(&rows), expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_after_the_copy_is_not_run_again() {
    let places = Places::new();
    let first = server(&places.database);
    let id = Uuid::new_v4();
    let (mut client, _) = Client::hello(first.address, id, None).await;
    assert_eq!(client.ask(&create(1, "before")).await["method"], "confirm");
    let (_, live) = client.subscribe("Todo").await;
    let copy = places.copies.join("copy.db");
    done(&backup(&places.database, &copy));
    // Decided, and its confirm is lost on the way.
    assert_eq!(client.ask(&create(2, "after")).await["method"], "confirm");
    first.kill();

    refused(&restore(&copy, &places.database), "store.db exists, and nothing is overwritten");
    fs::remove_file(&places.database).unwrap();
    // A log of the old one would be taken for the copy's.
    refused(&restore(&copy, &places.database), "store.db-wal exists");
    fs::remove_file(places.database.with_extension("db-wal")).unwrap();
    done(&restore(&copy, &places.database));
    let second = server(&places.database);
    refused(&restore(&copy, &places.database), "in use by another process");

    let mut client = Client::connect(second.address).await;
    client.send(&json!({"method":"hello","client":id,"ack":1})).await;
    let error = client.next("error").await;
    assert_eq!(error["code"], "client_unknown", "{error}");
    // Sent all the same, it is not done under the old id.
    let answer = client.ask(&create(2, "after")).await;
    assert_eq!((&answer["method"], &answer["retry"]), (&json!("error"), &json!(true)), "{answer}");
    client.send(&json!({"method":"hello","client":Uuid::new_v4()})).await;
    client.next("welcome").await;
    // A cursor of the lost order is of no use.
    client.send(&json!({"method":"subscribe","id":"s","modelname":"Todo","since":live["cursor"]})).await;
    let reset = client.next("reset").await;
    assert_eq!(reset["reason"], "epoch", "{reset}");
    let page = client.next("read").await;
    assert_eq!(titles(page["models"].as_array().unwrap()), ["before"]);
    client.next("live").await;
    assert_eq!(client.ask(&create(1, "anew")).await["method"], "confirm");
}

#[test]
fn a_copy_that_is_interrupted_or_fails_has_no_name() {
    let places = Places::new();
    drop(server(&places.database));
    let mut whole = None;
    for flush in 1..=20 {
        let copy = places.copies.join("copy.db");
        let inject = format!("inject=fsync:signal=KILL:when={flush}");
        let strace = ["strace", "-f", "-q", "-o", "/dev/null", "-e", "trace=fsync", "-e", &inject];
        let output = run(&strace, "backup", &places.database, "--to", &copy);
        if copy.exists() {
            let restored = places.copies.join(format!("restored-{flush}.db"));
            done(&restore(&copy, &restored));
            fs::remove_file(&copy).unwrap();
        }
        if output.status.success() {
            whole = Some(flush);
            break;
        }
    }
    // The copy, its epoch, its name.
    assert!(whole.expect("it was never left alone") > 3, "{whole:?}");

    for name in names(&places.copies) {
        fs::remove_file(places.copies.join(name)).unwrap();
    }
    for fault in ["pwrite64:error=ENOSPC", "fsync:error=EIO"] {
        let call = fault.split(':').next().unwrap();
        let (trace, inject) = (format!("trace={call}"), format!("inject={fault}"));
        let strace = ["strace", "-f", "-q", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        let output = run(&strace, "backup", &places.database, "--to", &places.copies.join("copy.db"));
        refused(&output, "cannot back up");
        assert_eq!(names(&places.copies), Vec::<String>::new(), "{fault}");
    }
}

#[test]
fn what_is_no_copy_is_refused() {
    let places = Places::new();
    let (text, copy) = (places.copies.join("text"), places.copies.join("copy.db"));
    refused(&backup(&places.database, &copy), "cannot back up");
    fs::write(&text, "no database, but long enough to be taken for one: ".repeat(100)).unwrap();
    refused(&restore(&text, &places.database), "not an SQLite database");
    fs::write(&text, "").unwrap();
    refused(&restore(&text, &places.database), "the file is empty");
    refused(&restore(&places.copies.join("none"), &places.database), "cannot restore");
    assert_eq!(names(&places.copies), ["text"]);

    drop(server(&places.database));
    done(&backup(&places.database, &copy));
    let mut damaged = fs::read(&copy).unwrap();
    let pages = damaged.len() / 4096;
    assert!(pages > 4);
    damaged[4096 * (pages - 2)..].fill(7);
    fs::write(&copy, damaged).unwrap();
    refused(&restore(&copy, &places.copies.join("restored.db")), "damaged");
    assert!(!places.copies.join("restored.db").exists());
    let output =
        Command::new(PROGRAM).args(["backup", "--store", "memory:", "--to", "x.db"]).output().unwrap();
    refused(&output, "memory: cannot be copied into x.db");
}

//! The disk fails, and the process is killed at its flushes: by `strace`, which has system calls fail.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, process::Command};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sync_tests::{
    Client, ServerProcess,
    strace::{self, Fault},
};
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};
use uuid::Uuid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sync-test-server");

fn server(database: &Path) -> ServerProcess {
    ServerProcess::start(PROGRAM, "127.0.0.1:0".parse().unwrap(), database)
}

fn create(id: u64, title: &str) -> Value {
    json!({"method":"create","id":id,"modelname":"Todo","cid":format!("c{id}"),"model":{"title":title}})
}

/// The titles of all rows, in their order.
async fn titles(address: SocketAddr) -> Vec<String> {
    let (rows, _) = Client::connect(address).await.subscribe("Todo").await;
    rows.iter().map(|row| row["title"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_flush_failed_is_flushed_before_it_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("disk.db");
    let first = server(&database);
    let id = Uuid::new_v4();
    let (mut client, _) = Client::hello(first.address, id, None).await;
    assert_eq!(client.ask(&create(1, "flushed")).await["method"], "confirm");
    let fault = Fault::begin(&first, &["-e", "trace=fsync", "-e", "inject=fsync:error=EIO"]);
    let answer = client.ask(&create(2, "not flushed")).await;
    assert_eq!((&answer["code"], &answer["retry"]), (&json!("unavailable"), &json!(true)), "{answer}");
    first.kill();
    drop(fault);

    // What is in the log now, the next process must not believe while the disk does not take it.
    let fails = ["-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO"];
    let said = strace::start(&fails, PROGRAM, &database).expect_err("it believed what is not flushed");
    assert!(said.iter().any(|line| line.contains("cannot flush")), "{said:#?}");

    // The system takes what it could not write for written, so that a flush alone would do nothing.
    let calls = folder.path().join("calls");
    let watch = ["-y", "-o", calls.to_str().unwrap(), "-e", "trace=write,pwrite64,fsync"];
    let second = strace::start(&watch, PROGRAM, &database).unwrap();
    let calls = std::fs::read_to_string(calls).unwrap();
    let of_log: Vec<_> = calls
        .lines()
        .filter(|line| line.contains("disk.db-wal>"))
        .filter_map(|line| line.split_whitespace().nth(1)?.split('(').next())
        .take(2)
        .collect();
    assert_eq!(of_log, ["write", "fsync"], "{calls}");

    let (mut client, welcome) = Client::hello(second.address, id, Some(1)).await;
    // Whether it was done is not known before; sent again, it is done once.
    if welcome["last"] == 1 {
        assert_eq!(client.ask(&create(2, "not flushed")).await["method"], "confirm");
    }
    assert_eq!(titles(second.address).await, ["flushed", "not flushed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_fails_is_said_and_commits_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("disk.db");
    let server = server(&database);
    let (mut client, _) = Client::hello(server.address, Uuid::new_v4(), None).await;
    // Into the database itself only checkpoints write.
    let path = database.to_str().unwrap();
    let fault =
        Fault::begin(&server, &["-P", path, "-e", "trace=pwrite64", "-e", "inject=pwrite64:error=ENOSPC"]);
    let title = "x".repeat(30_000);
    // About 16 pages each, of 1,000 after which there is a checkpoint.
    for id in 1..=90 {
        let answer = client.ask(&create(id, &title)).await;
        assert_eq!(answer["method"], "confirm", "{answer}");
    }
    let line = server.says("a checkpoint of the database failed");
    assert!(line.contains("WARN") && line.contains("failed=1"), "{line}");
    // More than one failed by now, and no other line says so.
    assert_eq!(server.said(), Vec::<String>::new());
    fault.end();
    assert_eq!(client.ask(&create(91, "after")).await["method"], "confirm");
    server.says("checkpoints of the database work again");
    assert_eq!(titles(server.address).await.len(), 91);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_disk_confirms_nothing_and_hinders_no_reader() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("disk.db");
    let server = server(&database);
    let (mut client, _) = Client::hello(server.address, Uuid::new_v4(), None).await;
    assert_eq!(client.ask(&create(1, "1")).await["method"], "confirm");
    let (mut watcher, _) = Client::hello(server.address, Uuid::new_v4(), None).await;
    watcher.subscribe("Todo").await;
    let mut expected = vec!["1".to_owned()];
    for (id, (call, error)) in
        (2..).zip([("pwrite64", "ENOSPC"), ("pwrite64", "EIO"), ("fsync", "EIO"), ("fsync", "ENOSPC")])
    {
        let request = create(id, &id.to_string());
        let fault = Fault::begin(
            &server,
            &["-e", &format!("trace={call}"), "-e", &format!("inject={call}:error={error}")],
        );
        for _ in 0..3 {
            let answer = client.ask(&request).await;
            assert_eq!(
                (&answer["method"], &answer["code"], &answer["retry"]),
                (&json!("error"), &json!("unavailable"), &json!(true)),
                "{call} {error}: {answer}"
            );
        }
        assert_eq!(titles(server.address).await, expected, "{call} {error}");
        fault.end();
        let answer = client.ask(&request).await;
        assert_eq!(answer["method"], "confirm", "{call} {error}: {answer}");
        assert_eq!(answer["seq"], id, "one seq a row: {answer}");
        let told = watcher.next("create").await;
        assert_eq!((&told["model"]["title"], &told["seq"]), (&json!(id.to_string()), &json!(id)));
        expected.push(id.to_string());
    }
    assert_eq!(titles(server.address).await, expected);
}

/// A client whose line may be cut at any time.
struct Line(WebSocketStream<TcpStream>);

impl Line {
    async fn hello(address: SocketAddr, client: Uuid, ack: Option<u64>) -> Option<(Self, Value)> {
        let stream = TcpStream::connect(address).await.ok()?;
        let (socket, _) = client_async(format!("ws://{address}/sync"), stream).await.ok()?;
        let mut line = Self(socket);
        let mut hello = json!({"method":"hello","client":client});
        if let Some(ack) = ack {
            hello["ack"] = ack.into();
        }
        let welcome = line.ask(&hello).await?;
        assert_eq!(welcome["method"], "welcome", "{welcome}");
        Some((line, welcome))
    }

    async fn ask(&mut self, request: &Value) -> Option<Value> {
        self.0.send(Message::text(request.to_string())).await.ok()?;
        loop {
            let Message::Text(text) = self.0.next().await?.ok()? else { continue };
            let messages = match serde_json::from_str(&text).unwrap() {
                Value::Array(messages) => messages,
                message => vec![message],
            };
            let mut answers = messages.into_iter().filter(|message| {
                matches!(message["method"].as_str(), Some("welcome" | "confirm" | "error"))
            });
            if let Some(answer) = answers.next() {
                return Some(answer);
            }
        }
    }
}

/// A client that does a small work, through however many processes it takes.
struct Worker {
    id: Uuid,
    welcomed: bool,
    /// The rows of the mutations that are confirmed.
    rows: BTreeMap<u64, Value>,
}

impl Worker {
    /// The mutation `id` of five.
    fn request(&self, id: u64) -> Value {
        match id {
            3 => {
                json!({"method":"patch","id":3,"modelname":"Todo","model":{"id":self.rows[&1],"title":"changed"}})
            }
            5 => json!({"method":"delete","id":5,"modelname":"Todo","model":{"id":self.rows[&2]}}),
            _ => create(id, &id.to_string()),
        }
    }

    /// Until all is done, or the line is cut.
    async fn run(&mut self, address: SocketAddr) -> Option<()> {
        let acked = self.rows.len() as u64;
        let (mut line, welcome) = Line::hello(address, self.id, self.welcomed.then_some(acked)).await?;
        self.welcomed = true;
        for outcome in welcome["outcomes"].as_array().unwrap() {
            self.confirm(outcome);
        }
        assert_eq!(welcome["last"], self.rows.len(), "{welcome}");
        while self.rows.len() < 5 {
            let request = self.request(self.rows.len() as u64 + 1);
            let answer = line.ask(&request).await?;
            self.confirm(&answer);
        }
        Some(())
    }

    fn confirm(&mut self, answer: &Value) {
        assert_eq!(answer["method"], "confirm", "{answer}");
        let id = answer["id"].as_u64().unwrap();
        assert_eq!(id, self.rows.len() as u64 + 1, "decided in order, once: {answer}");
        assert_eq!(answer["seq"], id, "gapless: {answer}");
        self.rows.insert(id, answer["model"]["id"].clone());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_flush_it_loses_and_doubles_nothing() {
    let mut survived = None;
    for flush in 1..=40 {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("disk.db");
        let mut worker = Worker { id: Uuid::new_v4(), welcomed: false, rows: BTreeMap::new() };
        let inject = format!("inject=fsync:signal=KILL:when={flush}");
        let arguments = ["-o", "/dev/null", "-e", "trace=fsync", "-e", &inject];
        // Killed before it listens, it has said nothing.
        if let Ok(server) = strace::start(&arguments, PROGRAM, &database) {
            let is_done = worker.run(server.address).await.is_some();
            if is_done {
                // To its last flush, at which it closes the database.
                let asked = Command::new("kill").arg(server.id().to_string()).status().unwrap();
                assert!(asked.success());
            }
            if server.wait().success() {
                survived = Some(flush);
            }
        }
        let server = server(&database);
        worker.run(server.address).await.expect("nobody kills this one");
        assert_eq!(worker.rows.len(), 5);
        assert_eq!(titles(server.address).await, ["changed", "4"], "killed at flush {flush}");
        if survived.is_some() {
            break;
        }
    }
    // The last round had fewer flushes than it would have been killed at, so all of them were tried. The client and
    // its five mutations have one each.
    let flushes = survived.expect("it has more flushes than were tried") - 1;
    assert!(flushes >= 6, "{flushes} flushes");
    println!("killed at each of {flushes} flushes");
}

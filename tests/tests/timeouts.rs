//! Handlers that hang: the request ends with `timeout`, and nobody else notices.

use std::{
    collections::HashMap,
    future::pending,
    sync::{LazyLock, atomic::AtomicU32, atomic::Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sync_core::{Context, Filter, Limits, Query, Result, SyncedModel, sync_handlers};
use sync_tests::{Client, TestServer};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// What hangs, by the name of a row or of a client: which handler of it.
static HANGING: LazyLock<Mutex<HashMap<String, &'static str>>> = LazyLock::new(Mutex::default);

/// Lets `Row::count_twice` go on in its first run.
static GATE: Semaphore = Semaphore::const_new(0);
static RUNS: AtomicU32 = AtomicU32::new(0);

async fn may_hang(name: &str, handler: &str) {
    let hangs = HANGING.lock().get(name).is_some_and(|hanging| *hanging == handler);
    if hangs {
        pending::<()>().await;
    }
}

fn hang(name: &str, handler: &'static str) {
    HANGING.lock().insert(name.to_owned(), handler);
}

fn no_more(name: &str) {
    HANGING.lock().remove(name);
}

/// A row whose handlers hang when a test says so.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Stuck {
    id: String,
    count: u64,
}

#[sync_handlers(crud)]
impl Stuck {
    async fn create(_ctx: &Context, draft: Stuck) -> Result<Stuck> {
        may_hang(&draft.id, "create").await;
        Ok(draft)
    }

    async fn update(_ctx: &Context, current: &Stuck, next: Stuck) -> Result<Stuck> {
        may_hang(&current.id, "update").await;
        Ok(next)
    }

    async fn delete(_ctx: &Context, current: &Stuck) -> Result<()> {
        may_hang(&current.id, "delete").await;
        Ok(())
    }

    async fn read(ctx: &Context) -> Result<Filter<Stuck>> {
        may_hang(&ctx.client().map_or_else(String::new, |client| client.to_string()), "read").await;
        Ok(Filter::all())
    }

    async fn read_all(ctx: &Context, query: Query<Stuck>) -> Result<Query<Stuck>> {
        may_hang(&ctx.client().map_or_else(String::new, |client| client.to_string()), "read_all").await;
        Ok(query)
    }

    #[action]
    async fn touch(_ctx: &Context, name: String) -> Result<()> {
        may_hang(&name, "touch").await;
        Ok(())
    }

    /// Looks twice. Has what it looks at changed in between, it hangs, or else the run after it does.
    #[action]
    async fn look_twice(ctx: &Context, name: String, hang_at_once: bool) -> Result<()> {
        let is_first = ctx.attempt() == 1;
        if is_first {
            let _ = ctx.get::<Stuck>(name.as_str()).await?;
        }
        RUNS.fetch_add(1, Ordering::SeqCst);
        if !is_first {
            pending::<()>().await;
        }
        GATE.acquire().await?.forget();
        let again = ctx.query(Filter::<Stuck>::all()).await;
        if hang_at_once {
            pending::<()>().await;
        }
        again.map(drop)
    }
}

/// Long enough for every handler that does not hang.
async fn server() -> TestServer {
    let mut limits = Limits::default();
    limits.handler_timeout = Duration::from_millis(500);
    TestServer::start("memory:", limits).await
}

fn create(id: u64, name: &str) -> Value {
    json!({"method":"create","id":id,"modelname":"Stuck","model":{"id":name,"count":0}})
}

fn update(id: u64, name: &str, count: u64) -> Value {
    json!({"method":"update","id":id,"modelname":"Stuck","model":{"id":name,"count":count}})
}

fn is_timeout(answer: &Value) -> bool {
    answer["code"] == "timeout" && answer["retry"] == true && answer["limit"] == "handler_timeout"
}

#[tokio::test]
async fn a_mutation_ends_and_is_not_recorded() {
    let server = server().await;
    let mut other = server.client().await;
    let (mut client, _) = Client::hello(server.address, Uuid::new_v4(), None).await;
    assert_eq!(client.ask(&create(1, "a")).await["method"], "confirm");

    let delete = json!({"method":"delete","id":2,"modelname":"Stuck","model":{"id":"a"}});
    let touch = json!({"method":"action","id":2,"modelname":"Stuck","action":"touch","args":{"name":"a"}});
    let requests = [("update", update(2, "a", 1)), ("touch", touch), ("delete", delete)];
    for (handler, request) in &requests {
        hang("a", handler);
        client.send(request).await;
        client.send(&create(3, "b")).await;
        // Others are served meanwhile, by the same handlers.
        let name = format!("other {handler}");
        assert_eq!(other.ask(&create(1, &name)).await["method"], "confirm");
        let answer = client.answer(&json!(2)).await;
        assert!(is_timeout(&answer), "{answer}");
        assert_eq!(answer["request"], request["method"], "{answer}");
        // What was sent behind it is not decided before it.
        assert_eq!(client.answer(&json!(3)).await["code"], "retry");
        no_more("a");
    }
    // It was not recorded: under the same id it is decided now, whatever it is.
    assert_eq!(client.ask(&requests[0].1).await["method"], "confirm");
    assert_eq!(client.ask(&create(3, "b")).await["method"], "confirm");

    // One without `hello` goes on with its next one by itself.
    hang("c", "create");
    other.send(&create(8, "c")).await;
    other.send(&create(9, "d")).await;
    assert!(is_timeout(&other.answer(&json!(8)).await));
    assert_eq!(other.answer(&json!(9)).await["method"], "confirm");
    server.stop().await;
}

#[tokio::test]
async fn a_batch_ends_whole() {
    let server = server().await;
    let (mut client, _) = Client::hello(server.address, Uuid::new_v4(), None).await;
    hang("second", "create");
    let step = |name: &str| json!({"method":"create","modelname":"Stuck","model":{"id":name,"count":0}});
    let batch = json!({"method":"batch","id":1,"requests":[step("first"), step("second")]});
    let answer = client.ask(&batch).await;
    assert!(is_timeout(&answer), "{answer}");
    assert_eq!((&answer["request"], &answer["index"]), (&json!("batch"), &json!(1)));
    let read = client.ask(&json!({"method":"read","id":"r","modelname":"Stuck"})).await;
    assert_eq!(read["models"], json!([]), "{read}");
    no_more("second");
    assert_eq!(client.ask(&batch).await["method"], "confirm");
    server.stop().await;
}

#[tokio::test]
async fn a_handler_that_hangs_when_run_again_ends() {
    let server = server().await;
    let mut writer = server.client().await;
    assert_eq!(writer.ask(&create(1, "moving")).await["method"], "confirm");
    // Run again it hangs; or it hangs although it is to be run again, and then is not.
    for (hang_at_once, runs) in [(false, 2), (true, 1)] {
        let (mut client, _) = Client::hello(server.address, Uuid::new_v4(), None).await;
        let before = RUNS.load(Ordering::SeqCst);
        let args = json!({"name":"moving","hang_at_once":hang_at_once});
        client
            .send(&json!({"method":"action","id":1,"modelname":"Stuck","action":"look_twice","args":args}))
            .await;
        while RUNS.load(Ordering::SeqCst) == before {
            tokio::task::yield_now().await;
        }
        // It has looked: this changes what it has seen.
        assert_eq!(writer.ask(&update(2, "moving", u64::from(hang_at_once) + 1)).await["method"], "confirm");
        GATE.add_permits(1);
        let answer = client.answer(&json!(1)).await;
        assert!(is_timeout(&answer), "{answer}");
        assert_eq!(RUNS.load(Ordering::SeqCst) - before, runs);
    }
    server.stop().await;
}

#[tokio::test]
async fn reads_end() {
    let server = server().await;
    for handler in ["read", "read_all"] {
        let id = Uuid::new_v4();
        let (mut client, _) = Client::hello(server.address, id, None).await;
        hang(&id.to_string(), handler);
        let read = json!({"method":"read","id":"r","modelname":"Stuck"});
        let subscribe = json!({"method":"subscribe","id":"s","modelname":"Stuck"});
        for request in [&read, &subscribe] {
            let answer = client.ask(request).await;
            assert!(is_timeout(&answer), "{answer}");
        }
        no_more(&id.to_string());
        assert_eq!(client.ask(&subscribe).await["method"], "read");
    }
    server.stop().await;
}

//! What a client may see changes while it looks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sync_core::{Context, Error, Filter, Result, SyncedModel, sync_handlers};
use sync_tests::{Client, TestServer};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// What is said in rooms.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Said {
    id: u64,
    #[sync(index)]
    room: String,
    #[serde(default)]
    text: String,
}

#[sync_handlers(crud)]
impl Said {
    async fn read(ctx: &Context) -> Result<Filter<Said>> {
        let Some(client) = ctx.client() else { return Ok(Filter::none()) };
        let access = access().lock().unwrap().get(&client).cloned();
        let access = access.ok_or_else(|| Error::forbidden("you may not"))?;
        access.gate.acquire().await?.forget();
        Ok(Said::ROOM.one_of(access.rooms))
    }
}

/// Into which rooms a client may look, and how often `read` may still answer.
#[derive(Clone)]
struct Access {
    rooms: Vec<String>,
    gate: Arc<Semaphore>,
}

fn access() -> &'static Mutex<HashMap<Uuid, Access>> {
    static ACCESS: OnceLock<Mutex<HashMap<Uuid, Access>>> = OnceLock::new();
    ACCESS.get_or_init(Mutex::default)
}

/// A client that may look into these rooms; `read` answers `answers` times.
fn may_see(client: Uuid, rooms: &[&str], answers: usize) -> Arc<Semaphore> {
    let gate = Arc::new(Semaphore::new(answers));
    let rooms = rooms.iter().map(|room| (*room).to_owned()).collect();
    access().lock().unwrap().insert(client, Access { rooms, gate: gate.clone() });
    gate
}

async fn say(writer: &mut Client, room: &str, text: &str) -> Value {
    let model = json!({"room": room, "text": text});
    let answer = writer.ask(&json!({"method": "create", "id": 0, "modelname": "Said", "model": model})).await;
    assert_eq!(answer["method"], "confirm", "{answer}");
    answer["seq"].clone()
}

async fn subscribe(client: &mut Client, id: &str) -> Vec<Value> {
    client.send(&json!({"method": "subscribe", "id": id, "modelname": "Said"})).await;
    until_live(client, id).await
}

/// What comes until the subscription is live: texts of rows, `reset` and its reason, methods of all else.
async fn until_live(client: &mut Client, id: &str) -> Vec<Value> {
    let mut came = Vec::new();
    loop {
        let message = client.receive().await;
        match message["method"].as_str().unwrap() {
            "read" => {
                came.extend(message["models"].as_array().unwrap().iter().map(|row| row["text"].clone()));
            }
            "reset" => came.push(message["reason"].clone()),
            "create" => came.push(message["model"]["text"].clone()),
            "live" if message["id"] == id => return came,
            "progress" => {}
            other => came.push(other.into()),
        }
    }
}

async fn next_text(client: &mut Client) -> Value {
    client.next("create").await["model"]["text"].clone()
}

#[tokio::test]
async fn rows_of_another_scope_replace_all() {
    let server = TestServer::memory().await;
    let id = Uuid::new_v4();
    let mut writer = server.client().await;
    let gate = may_see(id, &["a", "b"], 1);
    let (mut client, _) = Client::hello(server.address, id, None).await;
    say(&mut writer, "a", "one").await;
    say(&mut writer, "b", "two").await;
    assert_eq!(subscribe(&mut client, "q").await, ["one", "two"]);

    // The handler has not answered: nothing flows, though it still is what may be seen.
    server.scopes_changed();
    say(&mut writer, "a", "three").await;
    gate.add_permits(1);
    assert_eq!(next_text(&mut client).await, "three");

    let gate = may_see(id, &["b", "c"], 0);
    server.scopes_changed();
    say(&mut writer, "a", "not for you").await;
    say(&mut writer, "c", "four").await;
    gate.add_permits(1);
    let came = until_live(&mut client, "q").await;
    assert_eq!(came, ["scope", "two", "four"]);
    say(&mut writer, "a", "nor this").await;
    say(&mut writer, "c", "five").await;
    assert_eq!(next_text(&mut client).await, "five");
    server.stop().await;
}

/// It writes itself what it may not see until `read` has answered: the confirm still comes with and after the change.
#[tokio::test]
async fn a_confirm_waits_for_its_change() {
    let server = TestServer::memory().await;
    let id = Uuid::new_v4();
    let gate = may_see(id, &["a"], 1);
    let (mut client, _) = Client::hello(server.address, id, None).await;
    subscribe(&mut client, "q").await;
    server.scopes_changed();
    let request =
        json!({"method": "create", "id": 1, "modelname": "Said", "model": {"room": "a", "text": "x"}});
    client.send(&request).await;
    // One answer is for the confirm, which shows what may be seen, one for the subscription.
    gate.add_permits(2);
    client.answer(&json!(1)).await;
    let last: Vec<_> =
        client.frames.last().unwrap().iter().map(|message| message["method"].clone()).collect();
    assert_eq!(last, ["create", "confirm"]);
    server.stop().await;
}

#[tokio::test]
async fn who_may_see_nothing_any_more_is_told_and_the_rest_goes_on() {
    let server = TestServer::memory().await;
    let id = Uuid::new_v4();
    may_see(id, &["a"], 1);
    let (mut client, _) = Client::hello(server.address, id, None).await;
    subscribe(&mut client, "q").await;
    client.subscribe("Todo").await;
    access().lock().unwrap().remove(&id);
    server.scopes_changed();
    let error = client.next("error").await;
    assert_eq!(
        [&error["id"], &error["request"], &error["modelname"], &error["code"], &error["retry"]],
        [&json!("q"), &json!("subscribe"), &json!("Said"), &json!("forbidden"), &json!(false)]
    );
    let mut writer = server.client().await;
    say(&mut writer, "a", "not for you").await;
    writer.ask(&json!({"method": "create", "id": 0, "modelname": "Todo", "model": {"title": "milk"}})).await;
    assert_eq!(client.next("create").await["modelname"], "Todo");
    // The id is free again.
    may_see(id, &["b"], 1);
    assert_eq!(subscribe(&mut client, "q").await, [Value::Null; 0]);
    server.stop().await;
}

#[tokio::test]
async fn who_is_not_judged_in_time_is_closed_with_4004() {
    let server = TestServer::memory().await;
    let id = Uuid::new_v4();
    may_see(id, &["a"], 1);
    let (mut client, _) = Client::hello(server.address, id, None).await;
    subscribe(&mut client, "q").await;
    let (mut free, mut writer) = (server.client().await, server.client().await);
    free.subscribe("Todo").await;
    let started = std::time::Instant::now();
    server.scopes_changed();
    say(&mut writer, "a", "not for you").await;
    let (code, _) = client.closed().await;
    assert_eq!(code, 4004);
    assert!(started.elapsed() >= std::time::Duration::from_millis(900), "{:?}", started.elapsed());
    assert!(client.frames.iter().flatten().all(|message| message["method"] != "create"));
    assert!(client.left().iter().all(|message| message["method"] != "create"), "{:?}", client.left());
    // Others are not.
    writer.ask(&json!({"method": "create", "id": 0, "modelname": "Todo", "model": {"title": "milk"}})).await;
    free.next("create").await;
    server.stop().await;
}

/// The handler was asked before the change, and answers after it.
#[tokio::test]
async fn a_subscription_that_begins_is_judged_again() {
    let server = TestServer::memory().await;
    let id = Uuid::new_v4();
    let mut writer = server.client().await;
    say(&mut writer, "a", "old").await;
    say(&mut writer, "b", "new").await;
    let before = may_see(id, &["a"], 0);
    let (mut client, _) = Client::hello(server.address, id, None).await;
    client.send(&json!({"method": "subscribe", "id": "q", "modelname": "Said"})).await;
    // It is being asked when the change comes.
    while before.available_permits() == 0 && Arc::strong_count(&before) < 3 {
        tokio::task::yield_now().await;
    }
    may_see(id, &["b"], 1);
    server.scopes_changed();
    before.add_permits(1);
    assert_eq!(until_live(&mut client, "q").await, ["scope", "new"]);
    server.stop().await;
}

/// A window of other rows, too, and a read of the first ones.
#[tokio::test]
async fn a_window_of_another_scope_comes_anew() {
    let server = TestServer::memory().await;
    let id = Uuid::new_v4();
    let mut writer = server.client().await;
    let gate = may_see(id, &["a", "b"], 2);
    let (mut client, _) = Client::hello(server.address, id, None).await;
    for (room, text) in [("a", "one"), ("b", "two"), ("a", "three"), ("c", "four")] {
        say(&mut writer, room, text).await;
    }
    let request =
        json!({"method": "subscribe", "id": "w", "modelname": "Said", "order": ["-id"], "limit": 2});
    client.send(&request).await;
    assert_eq!(until_live(&mut client, "w").await, ["three", "two"]);
    let read = json!({"method": "read", "id": "r", "modelname": "Said", "order": ["-id"], "limit": 1});
    let answer = client.ask(&read).await;
    assert_eq!([&answer["models"][0]["text"], &answer["more"]], [&json!("three"), &json!(true)]);

    // It still says the same: the window goes on.
    server.scopes_changed();
    say(&mut writer, "b", "five").await;
    gate.add_permits(1);
    let message = client.next("window").await;
    assert_eq!((&message["in"][0]["text"], &message["out"]), (&json!("five"), &json!([2])));

    let gate = may_see(id, &["b", "c"], 0);
    server.scopes_changed();
    say(&mut writer, "a", "not for you").await;
    gate.add_permits(1);
    assert_eq!(until_live(&mut client, "w").await, ["scope", "five", "four"]);
    say(&mut writer, "a", "nor this").await;
    say(&mut writer, "c", "six").await;
    let message = client.next("window").await;
    assert_eq!(message["in"][0]["text"], "six");
    server.stop().await;
}

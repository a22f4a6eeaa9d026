//! Scopes that depend on other rows: who joins sees, who is removed does not, and nobody else notices.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sync_core::{Context, Filter, Handle, Query, Result, SyncedModel, sync_handlers};
use sync_tests::{Client, TestServer};
use uuid::Uuid;

/// That somebody is in a room.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Seat {
    id: String,
    #[sync(index)]
    person: String,
    #[sync(index)]
    room: u32,
    #[serde(default)]
    badge: String,
}

impl Seat {
    fn of(person: Uuid, room: u32) -> Self {
        Self { id: format!("{person}/{room}"), person: person.to_string(), room, badge: String::new() }
    }
}

/// What is said in rooms.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Line {
    id: u64,
    #[sync(index)]
    room: u32,
    text: String,
}

#[sync_handlers(crud)]
impl Line {
    async fn read(ctx: &Context) -> Result<Filter<Line>> {
        let Some(person) = ctx.client() else { return Ok(Filter::none()) };
        let seats = ctx.query(Seat::PERSON.eq(person.to_string())).await?;
        Ok(Line::ROOM.one_of(seats.iter().map(|seat| seat.room)))
    }

    /// Looks nothing up: that changes nothing of what `read` has looked up.
    async fn read_all(_ctx: &Context, query: Query<Line>) -> Result<Query<Line>> {
        Ok(query.page_size(100))
    }
}

/// The settings of the house: whether it is open to all.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct House {
    id: String,
    is_open: bool,
}

/// What is to be seen when the house is open: depends on one row by its id.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Picture {
    id: u64,
    name: String,
}

#[sync_handlers]
impl Picture {
    async fn read(ctx: &Context) -> Result<Filter<Picture>> {
        let house = ctx.get::<House>("house").await?;
        Ok(if house.is_some_and(|house| house.is_open) { Filter::all() } else { Filter::none() })
    }
}

async fn seat(handle: &Handle, person: Uuid, room: u32) -> Seat {
    handle.insert(Seat::of(person, room)).await.unwrap()
}

async fn say(handle: &Handle, room: u32, text: &str) -> Line {
    handle.insert(Line { id: 0, room, text: text.into() }).await.unwrap()
}

/// A client that is subscribed to a model.
async fn looking(server: &TestServer, person: Uuid, model: &str) -> Client {
    let (mut client, _) = Client::hello(server.address, person, None).await;
    client.subscribe(model).await;
    client
}

/// The texts of the rows that come until the subscription is live again, for the reason that it began anew.
async fn anew(client: &mut Client) -> Vec<Value> {
    let reset = client.next("reset").await;
    assert_eq!(reset["reason"], "scope");
    let mut texts = Vec::new();
    loop {
        let message = client.receive().await;
        match message["method"].as_str().unwrap() {
            "read" => {
                texts.extend(message["models"].as_array().unwrap().iter().map(|row| row["text"].clone()));
            }
            "live" => return texts,
            "progress" => {}
            _ => panic!("{message}"),
        }
    }
}

#[tokio::test]
async fn who_joins_a_room_has_what_is_said_there() {
    let server = TestServer::memory().await;
    let (handle, anna) = (server.running().handle(), Uuid::new_v4());
    say(&handle, 1, "hello").await;
    let mut client = looking(&server, anna, "Line").await;
    say(&handle, 1, "nobody hears").await;
    seat(&handle, anna, 1).await;
    assert_eq!(anew(&mut client).await, ["hello", "nobody hears"]);
    say(&handle, 1, "everybody hears").await;
    assert_eq!(client.next("create").await["model"]["text"], "everybody hears");
    server.stop().await;
}

#[tokio::test]
async fn who_is_removed_gets_nothing_from_that_commit_on() {
    let server = TestServer::memory().await;
    let (handle, anna) = (server.running().handle(), Uuid::new_v4());
    let (one, two) = (seat(&handle, anna, 1).await, seat(&handle, anna, 2).await);
    say(&handle, 1, "in one").await;
    say(&handle, 2, "in two").await;
    let mut client = looking(&server, anna, "Line").await;
    let (_, of_two) = (one.clone(), two);
    // In the very transaction, before and after the seat goes.
    handle
        .transaction(|ctx| {
            let one = one.clone();
            async move {
                ctx.insert(Line { id: 0, room: 1, text: "hushed before".into() }).await?;
                ctx.delete(&one).await?;
                ctx.insert(Line { id: 0, room: 1, text: "hushed after".into() }).await?;
                ctx.insert(Line { id: 0, room: 2, text: "for two".into() }).await
            }
        })
        .await
        .unwrap();
    say(&handle, 1, "hushed later").await;
    assert_eq!(anew(&mut client).await, ["in two", "for two"]);
    handle.delete(&of_two).await.unwrap();
    say(&handle, 2, "hushed too").await;
    assert_eq!(anew(&mut client).await, [] as [Value; 0]);
    let all: Vec<_> = client.frames.concat();
    assert!(!all.iter().any(|message| message.to_string().contains("hushed")), "{all:?}");
    server.stop().await;
}

#[tokio::test]
async fn nobody_else_notices() {
    let server = TestServer::memory().await;
    let (handle, anna, bela) = (server.running().handle(), Uuid::new_v4(), Uuid::new_v4());
    seat(&handle, bela, 1).await;
    let mut other = looking(&server, bela, "Line").await;
    let mut client = looking(&server, anna, "Line").await;
    let mine = seat(&handle, anna, 1).await;
    assert_eq!(anew(&mut client).await, [] as [Value; 0]);
    handle.delete(&mine).await.unwrap();
    assert_eq!(anew(&mut client).await, [] as [Value; 0]);
    say(&handle, 1, "hello").await;
    let message = other.receive().await;
    assert_eq!(message["model"]["text"], "hello", "{message}");
    server.stop().await;
}

#[tokio::test]
async fn what_changes_nothing_of_the_scope_disturbs_nothing() {
    let server = TestServer::memory().await;
    let (handle, anna) = (server.running().handle(), Uuid::new_v4());
    let mine = seat(&handle, anna, 1).await;
    let mut client = looking(&server, anna, "Line").await;
    for index in 0..20 {
        let text = format!("line {index}");
        // Looked up, and still the same rooms: the subscription stops for a moment, and goes on where it was.
        handle.update(&Seat { badge: text.clone(), ..mine.clone() }).await.unwrap();
        say(&handle, 1, &text).await;
        assert_eq!(client.next("create").await["model"]["text"], *text);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_scope_may_depend_on_one_row_that_is_not_there_yet() {
    let server = TestServer::memory().await;
    let (handle, anna) = (server.running().handle(), Uuid::new_v4());
    handle.insert(Picture { id: 0, name: "sunset".into() }).await.unwrap();
    let mut client = looking(&server, anna, "Picture").await;
    let house = handle.insert(House { id: "house".into(), is_open: true }).await.unwrap();
    let reset = client.next("reset").await;
    assert_eq!(reset["reason"], "scope");
    assert_eq!(client.next("read").await["models"][0]["name"], "sunset");
    client.next("live").await;
    // Another row of the model is not looked at.
    handle.insert(House { id: "other".into(), is_open: false }).await.unwrap();
    handle.insert(Picture { id: 0, name: "dawn".into() }).await.unwrap();
    assert_eq!(client.next("create").await["model"]["name"], "dawn");
    handle.delete(&house).await.unwrap();
    client.next("reset").await;
    assert_eq!(client.next("read").await["models"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn what_was_missed_while_away_is_judged_by_what_holds_now() {
    let server = TestServer::memory().await;
    let (handle, anna) = (server.running().handle(), Uuid::new_v4());
    let mine = seat(&handle, anna, 1).await;
    say(&handle, 1, "hello").await;
    let (mut client, _) = Client::hello(server.address, anna, None).await;
    let (_, live) = client.subscribe("Line").await;
    drop(client);
    handle.delete(&mine).await.unwrap();
    say(&handle, 1, "hushed").await;
    let (mut client, _) = Client::hello(server.address, anna, Some(0)).await;
    client
        .send(&json!({"method": "subscribe", "id": "again", "modelname": "Line", "since": live["cursor"]}))
        .await;
    assert_eq!(anew(&mut client).await, [] as [Value; 0]);
    server.stop().await;
}

#[tokio::test]
async fn a_row_that_is_read_alone_is_judged_by_what_holds_then() {
    let server = TestServer::memory().await;
    let (handle, anna) = (server.running().handle(), Uuid::new_v4());
    let line = say(&handle, 1, "hello").await;
    let (mut client, _) = Client::hello(server.address, anna, None).await;
    let read = json!({"method": "read", "id": "r", "modelname": "Line", "model": {"id": line.id}});
    assert_eq!(client.ask(&read).await["code"], "not_found");
    let mine = seat(&handle, anna, 1).await;
    assert_eq!(client.ask(&read).await["model"]["text"], "hello");
    handle.delete(&mine).await.unwrap();
    assert_eq!(client.ask(&read).await["code"], "not_found");
    server.stop().await;
}

/// A window whose rows are kept already, for another.
#[tokio::test]
async fn a_second_client_has_the_window_of_the_first() {
    let server = TestServer::memory().await;
    let (handle, anna, bela) = (server.running().handle(), Uuid::new_v4(), Uuid::new_v4());
    for person in [anna, bela] {
        seat(&handle, person, 1).await;
    }
    say(&handle, 1, "hello").await;
    let window = json!({"method": "subscribe", "id": "w", "modelname": "Line", "where": {"room": 1}, "order": ["-id"], "limit": 40});
    for person in [anna, bela] {
        let (mut client, _) = Client::hello(server.address, person, None).await;
        client.subscribe("Line").await;
        client.send(&window).await;
        assert_eq!(client.next("read").await["models"][0]["text"], "hello");
        client.next("live").await;
        // It stays for the next one.
        std::mem::forget(client);
    }
    server.stop().await;
}

/// Who has just joined asks for a window that is kept already.
#[tokio::test]
async fn who_joins_has_the_window_of_the_others() {
    let server = TestServer::memory().await;
    let (handle, anna, bela) = (server.running().handle(), Uuid::new_v4(), Uuid::new_v4());
    seat(&handle, anna, 1).await;
    say(&handle, 1, "hello").await;
    let window = json!({"method": "subscribe", "id": "w", "modelname": "Line", "where": {"room": 1}, "order": ["-id"], "limit": 40});
    let (mut first, _) = Client::hello(server.address, anna, None).await;
    first.send(&window).await;
    first.next("read").await;
    first.next("live").await;
    let mut second = looking(&server, bela, "Line").await;
    seat(&handle, bela, 1).await;
    assert_eq!(anew(&mut second).await, ["hello"]);
    second.send(&window).await;
    assert_eq!(second.next("read").await["models"][0]["text"], "hello");
    second.next("live").await;
    say(&handle, 1, "more").await;
    assert_eq!(first.next("window").await["in"][0]["text"], "more");
    server.stop().await;
}

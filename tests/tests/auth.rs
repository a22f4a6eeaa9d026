//! Who a client is, and what happens when that ends or changes.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sync_core::{
    Context, Error, ErrorCode, Filter, Key, Limits, Login, Result, Server, ServerBuilder, Session,
    SyncedModel,
    store::{
        ClientRecord, Decision, LogPage, MemoryStore, Opened, Page, Select, Seq, Store, StoreFuture,
        StoredRow, Table, Transaction,
    },
    sync_handlers,
};
use sync_tests::{Client, TestServer};
use tokio::sync::{Notify, Semaphore};
use uuid::Uuid;

/// Who is signed in.
#[derive(Clone)]
struct User {
    name: String,
    /// Sees everything.
    admin: bool,
    /// What its handlers wait for, where they do.
    gate: Option<Arc<Gate>>,
}

/// Stops handlers until a test lets them go on.
struct Gate {
    reached: Notify,
    open: Semaphore,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self { reached: Notify::new(), open: Semaphore::new(0) })
    }

    async fn pass(&self) {
        self.reached.notify_one();
        self.open.acquire().await.unwrap().forget();
    }
}

/// What somebody wrote, for their own eyes.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Diary {
    id: u64,
    text: String,
    #[sync(server_only, index)]
    owner: String,
}

#[sync_handlers(crud)]
impl Diary {
    async fn create(ctx: &Context, draft: Diary) -> Result<Diary> {
        let user = ctx.require::<User>()?;
        if let (Some(gate), "slow") = (&user.gate, &*draft.text) {
            gate.pass().await;
        }
        Ok(Diary { owner: user.name.clone(), ..draft })
    }

    async fn read(ctx: &Context) -> Result<Filter<Diary>> {
        let Some(user) = ctx.session::<User>() else { return Ok(Filter::none()) };
        if let Some(gate) = &user.gate {
            gate.pass().await;
        }
        Ok(if user.admin { Filter::all() } else { Diary::OWNER.eq(&user.name) })
    }
}

/// Asks for another type than there is.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Muddle {
    id: u64,
}

#[sync_handlers]
impl Muddle {
    async fn create(ctx: &Context, draft: Muddle) -> Result<Muddle> {
        ctx.require::<String>()?;
        Ok(draft)
    }
}

/// Sessions by token, cookie or ticket.
#[derive(Clone, Default)]
struct Accounts(Arc<Mutex<HashMap<String, Session<User>>>>);

impl Accounts {
    fn set(&self, secret: &str, session: Session<User>) {
        self.0.lock().unwrap().insert(secret.into(), session);
    }

    fn remove(&self, secret: &str) {
        self.0.lock().unwrap().remove(secret);
    }

    fn of(&self, login: &Login) -> Result<Session<User>> {
        if let Some(session) = login.ticket() {
            return Ok(session);
        }
        let Some(secret) = login.token().or_else(|| login.cookie("session")) else {
            return Err(Error::unauthenticated("please sign in"));
        };
        match secret {
            "anonymous" => Ok(Session::anonymous()),
            "broken" => Err("x".parse::<u8>().unwrap_err().into()),
            "panic" => panic!("as asked"),
            _ => {
                let session = self.0.lock().unwrap().get(secret).cloned();
                session.ok_or_else(|| Error::unauthenticated("who is that?"))
            }
        }
    }

    fn builder(&self) -> ServerBuilder {
        let accounts = self.clone();
        Server::builder().store("memory:").authenticate(move |login: Login| {
            let accounts = accounts.clone();
            async move {
                assert!(login.address().is_some_and(|address| address.ip().is_loopback()));
                if login.token() == Some("never") {
                    std::future::pending::<()>().await;
                }
                accounts.of(&login)
            }
        })
    }
}

fn user(name: &str) -> Session<User> {
    Session::new(User { name: name.into(), admin: false, gate: None }).subject(name)
}

fn admin(name: &str) -> Session<User> {
    Session::new(User { name: name.into(), admin: true, gate: None }).subject(name)
}

fn gated(name: &str, gate: &Arc<Gate>) -> Session<User> {
    Session::new(User { name: name.into(), admin: false, gate: Some(gate.clone()) }).subject(name)
}

/// A server on which Ada and Bob have accounts.
async fn server() -> (TestServer, Accounts) {
    let accounts = Accounts::default();
    accounts.set("ada's", user("ada"));
    accounts.set("bob's", user("bob"));
    (TestServer::on(accounts.builder()).await, accounts)
}

fn hello(client: Uuid, token: &str) -> Value {
    json!({"method":"hello","client":client,"token":token})
}

async fn welcomed(server: &TestServer, token: &str) -> Client {
    let mut client = server.client().await;
    client.send(&hello(Uuid::new_v4(), token)).await;
    client.next("welcome").await;
    client
}

fn create(id: u64, text: &str) -> Value {
    json!({"method":"create","id":id,"modelname":"Diary","cid":format!("c{id}"),"model":{"text":text}})
}

#[tokio::test]
async fn hello_comes_first_and_says_who_it_is() {
    let (server, _) = server().await;
    let mut client = server.client().await;
    for message in [
        create(1, "x"),
        json!({"method":"subscribe","id":"s","modelname":"Diary"}),
        json!({"method":"read","id":"r","modelname":"Diary"}),
    ] {
        let refused = client.ask(&message).await;
        assert_eq!(
            (&refused["code"], &refused["retry"]),
            (&json!("unauthenticated"), &json!(true)),
            "{refused}"
        );
    }
    let id = Uuid::new_v4();
    for (hello, message) in
        [(json!({"method":"hello","client":id}), "please sign in"), (hello(id, "eve's"), "who is that?")]
    {
        client.send(&hello).await;
        let refused = client.receive().await;
        assert_eq!(refused["request"], "hello");
        assert_eq!((&refused["code"], &refused["message"]), (&json!("unauthenticated"), &json!(message)));
        assert_eq!(refused["retry"], false);
        assert_eq!(client.ask(&create(1, "x")).await["code"], "unauthenticated");
    }
    client.send(&hello(id, "ada's")).await;
    client.next("welcome").await;
    assert_eq!(client.ask(&create(1, "x")).await["method"], "confirm");
    client.send(&hello(id, "ada's")).await;
    assert_eq!(client.next("error").await["code"], "bad_request", "`hello` comes once");
    server.stop().await;
}

#[tokio::test]
async fn a_page_signs_in_by_its_cookie() {
    let (server, _) = server().await;
    for (cookie, name) in
        [("session=ada's", "welcome"), ("a=b; session=ada's;c=d", "welcome"), ("sessions=ada's", "error")]
    {
        let mut client = Client::try_connect(server.address, &[("cookie", cookie)]).await.unwrap();
        client.send(&json!({"method":"hello","client":Uuid::new_v4()})).await;
        assert_eq!(client.receive().await["method"], name, "{cookie}");
    }
    server.stop().await;
}

#[tokio::test]
async fn each_sees_their_own() {
    let (server, _) = server().await;
    let (mut ada, mut bob) = (welcomed(&server, "ada's").await, welcomed(&server, "bob's").await);
    let mut nobody = welcomed(&server, "anonymous").await;
    assert_eq!(nobody.subscribe("Diary").await.0, [] as [Value; 0]);
    assert_eq!(bob.subscribe("Diary").await.0, [] as [Value; 0]);
    let refused = nobody.ask(&create(1, "x")).await;
    assert_eq!(
        (&refused["code"], &refused["retry"]),
        (&json!("unauthenticated"), &json!(false)),
        "a handler's"
    );
    let row = ada.ask(&create(1, "hers")).await;
    let id = &row["model"]["id"];
    assert_eq!(row["model"], json!({"id":id,"text":"hers"}), "and no `owner`");
    let read = json!({"method":"read","id":"r","modelname":"Diary","model":{"id":id}});
    assert_eq!(bob.ask(&read).await["code"], "not_found");
    assert_eq!(ada.ask(&read).await["model"]["text"], "hers");
    assert_eq!(bob.ask(&create(1, "his")).await["model"]["text"], "his");
    // The type that a handler asks for is not the one that there is.
    let muddled = json!({"method":"create","id":2,"modelname":"Muddle","model":{}});
    let refused = ada.ask(&muddled).await;
    assert_eq!((&refused["code"], &refused["message"]), (&json!("internal"), &json!("internal error")));
    assert_eq!(nobody.ask(&muddled).await["code"], "unauthenticated");
    server.stop().await;
}

#[tokio::test]
async fn hello_has_its_time() {
    let accounts = Accounts::default();
    accounts.set("ada's", user("ada"));
    let mut limits = Limits::default();
    limits.hello_timeout = Duration::from_millis(300);
    limits.ping_interval = Duration::from_millis(20);
    let server = TestServer::on(accounts.builder().limits(limits)).await;
    let mut silent = server.client().await;
    let begun = Instant::now();
    assert_eq!(silent.closed().await, (4003, "no `hello` that was accepted came in time".into()));
    assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
    assert!(
        silent.left().is_empty(),
        "it is pinged, but not told how far the server is: {:?}",
        silent.left()
    );
    // Whatever else it says.
    let mut chatty = server.client().await;
    chatty.send(&create(1, "x")).await;
    assert_eq!(chatty.closed().await.0, 4003);
    // What takes too long may be asked again.
    let mut client = server.client().await;
    client.send(&hello(Uuid::nil(), "never")).await;
    let refused = client.next("error").await;
    assert_eq!((&refused["code"], &refused["retry"]), (&json!("unavailable"), &json!(true)));
    client.send(&hello(Uuid::nil(), "ada's")).await;
    client.next("welcome").await;
    // Once welcome it may be silent for longer.
    let mut refused = server.client().await;
    refused.send(&hello(Uuid::new_v4(), "eve's")).await;
    assert_eq!(refused.closed().await.0, 4003);
    assert_eq!(client.ask(&create(1, "x")).await["method"], "confirm");
    server.stop().await;
}

#[tokio::test]
async fn a_failure_of_the_program_refuses_one_hello_and_says_nothing() {
    let (server, _) = server().await;
    let mut client = server.client().await;
    for token in ["broken", "panic"] {
        client.send(&hello(Uuid::nil(), token)).await;
        let refused = client.next("error").await;
        assert_eq!((&refused["code"], &refused["message"]), (&json!("internal"), &json!("internal error")));
        assert_eq!(refused["retry"], true, "it says nothing about the client");
        assert!(refused["ref"].is_string());
    }
    client.send(&hello(Uuid::nil(), "ada's")).await;
    client.next("welcome").await;
    server.stop().await;
}

#[tokio::test]
async fn nobody_guesses_for_ever() {
    let (server, _) = server().await;
    let mut client = server.client().await;
    for guess in 0..16 {
        client.send(&hello(Uuid::nil(), &guess.to_string())).await;
    }
    assert_eq!(client.closed().await, (4003, "`hello` was refused too often".into()));
    server.stop().await;
}

#[tokio::test]
async fn a_ticket_counts_once() {
    let (server, accounts) = server().await;
    let ticket = server.running().ticket(user("ada")).unwrap();
    let connect = async |ticket: &str| {
        let path = format!("/sync?v=1&ticket={ticket}");
        let mut client = Client::try_connect_to(server.address, &path, &[]).await.unwrap();
        client.send(&json!({"method":"hello","client":Uuid::new_v4()})).await;
        let answer = client.receive().await;
        (client, answer)
    };
    let (mut ada, welcome) = connect(ticket.as_str()).await;
    assert_eq!(welcome["method"], "welcome");
    assert_eq!(ada.ask(&create(1, "hers")).await["model"]["text"], "hers");
    assert_eq!(connect(ticket.as_str()).await.1["code"], "unauthenticated");
    assert_eq!(connect(&Uuid::new_v4().simple().to_string()).await.1["code"], "unauthenticated");
    // A `hello` that is refused for another reason does not use it up.
    let path = format!("/sync?ticket={}", server.running().ticket(user("bob")).unwrap());
    let mut bob = Client::try_connect_to(server.address, &path, &[]).await.unwrap();
    bob.send(&json!({"method":"hello","client":Uuid::nil(),"ack":3})).await;
    assert_eq!(bob.next("error").await["code"], "client_unknown");
    bob.send(&json!({"method":"hello","client":Uuid::new_v4()})).await;
    bob.next("welcome").await;
    // Revoked, it is nothing to come again with, whether it was used or not.
    let unused = server.running().ticket(user("ada")).unwrap();
    accounts.remove("ada's");
    assert_eq!(server.running().revoke("ada"), 1);
    assert_eq!(ada.closed().await, (4003, "the session was revoked".into()));
    assert_eq!(connect(unused.as_str()).await.1["code"], "unauthenticated");
    assert_eq!(bob.ask(&create(1, "his")).await["method"], "confirm");
    server.stop().await;
    let open = TestServer::memory().await;
    assert_eq!(open.running().ticket(Session::new(())).unwrap_err().code(), ErrorCode::Internal);
    open.stop().await;
}

#[tokio::test]
async fn a_client_id_belongs_to_the_first_who_comes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let accounts = Accounts::default();
    accounts.set("ada's", user("ada"));
    accounts.set("bob's", user("bob"));
    let store = format!("sqlite:{}", folder.path().join("test.db").display());
    let server = TestServer::on(accounts.builder().store(&store)).await;
    let id = Uuid::new_v4();
    let mut ada = server.client().await;
    // Whoever is nobody yet becomes somebody.
    ada.send(&hello(id, "anonymous")).await;
    ada.next("welcome").await;
    let mut ada = server.client().await;
    ada.send(&json!({"method":"hello","client":id,"token":"ada's","ack":0})).await;
    ada.next("welcome").await;
    assert_eq!(ada.ask(&create(1, "hers")).await["method"], "confirm");

    let stolen = async |server: &TestServer, token: &str, ack: Option<u64>| {
        let mut client = server.client().await;
        let mut hello = hello(id, token);
        if let Some(ack) = ack {
            hello["ack"] = ack.into();
        }
        client.send(&hello).await;
        let refused = client.receive().await;
        assert_eq!(refused["code"], "client_unknown", "{refused}");
        assert_eq!(refused["message"], "this client id belongs to somebody else: take a new one");
        assert!(refused.get("last").is_none() && refused.get("outcomes").is_none(), "{refused}");
        client.send(&self::hello(Uuid::new_v4(), token)).await;
        client.next("welcome").await;
    };
    for token in ["bob's", "anonymous"] {
        for ack in [None, Some(0), Some(1), Some(9)] {
            stolen(&server, token, ack).await;
        }
    }
    // Her connection was not closed, and nothing was acknowledged for her.
    assert_eq!(ada.ask(&create(2, "more")).await["method"], "confirm");
    server.stop().await;

    let server = TestServer::on(accounts.builder().store(&store)).await;
    stolen(&server, "bob's", None).await;
    let mut ada = server.client().await;
    ada.send(&json!({"method":"hello","client":id,"token":"ada's","ack":0})).await;
    let welcome = ada.next("welcome").await;
    assert_eq!((&welcome["last"], welcome["outcomes"].as_array().unwrap().len()), (&json!(2), 2));
    server.stop().await;
}

#[tokio::test]
async fn a_session_ends_when_it_expires() {
    let gate = Gate::new();
    let (server, accounts) = server().await;
    let expires = SystemTime::now() + Duration::from_millis(700);
    let session = Session::new(User { name: "ada".into(), admin: true, gate: None }).subject("ada");
    accounts.set("ada's", session.expires_at(expires));
    accounts.set("slow", gated("ada", &gate).expires_at(expires));
    let mut ada = welcomed(&server, "ada's").await;
    let mut bob = welcomed(&server, "bob's").await;
    ada.subscribe("Diary").await;
    let slow = Uuid::new_v4();
    let mut waiting = server.client().await;
    waiting.send(&hello(slow, "slow")).await;
    waiting.next("welcome").await;
    waiting.send(&create(1, "slow")).await;
    gate.reached.notified().await;

    assert_eq!(ada.closed().await, (4003, "the session has expired".into()));
    let late = SystemTime::now().duration_since(expires).expect("it was closed before");
    assert!(late < Duration::from_millis(500), "{late:?}");
    assert_eq!(waiting.closed().await.0, 4003);
    // What its handler says now is not done, and may be asked again.
    gate.open.add_permits(100);
    accounts.set("ada's", user("ada"));
    let mut again = server.client().await;
    again.send(&json!({"method":"hello","client":slow,"token":"ada's","ack":0})).await;
    assert_eq!(again.next("welcome").await["last"], 0);
    assert_eq!(again.ask(&create(1, "slow")).await["method"], "confirm");
    assert_eq!(again.subscribe("Diary").await.0.len(), 1, "once");
    assert_eq!(bob.ask(&create(1, "his")).await["method"], "confirm");

    accounts.set("ada's", user("ada").expires_at(expires));
    let mut late = server.client().await;
    late.send(&hello(Uuid::new_v4(), "ada's")).await;
    let refused = late.next("error").await;
    assert_eq!(
        (&refused["code"], &refused["message"]),
        (&json!("unauthenticated"), &json!("the session has expired"))
    );
    server.stop().await;
}

#[tokio::test]
async fn who_is_revoked_and_not_let_in_again_is_closed() {
    let (server, accounts) = server().await;
    let mut all = Vec::new();
    for _ in 0..3 {
        let mut ada = welcomed(&server, "ada's").await;
        ada.subscribe("Diary").await;
        all.push(ada);
    }
    let mut bob = welcomed(&server, "bob's").await;
    accounts.remove("ada's");
    let begun = Instant::now();
    assert_eq!(server.running().revoke("ada"), 3);
    for mut ada in all {
        assert_eq!(ada.closed().await, (4003, "the session was revoked".into()));
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(server.running().revoke("ada"), 0, "they are not live any more");
    assert_eq!(server.running().revoke("eve"), 0);
    assert_eq!(bob.ask(&create(1, "his")).await["method"], "confirm");
    server.stop().await;
}

/// Subscriptions go on where the new session may see the same, and begin anew where not.
#[tokio::test]
async fn who_is_revoked_and_let_in_again_sees_what_they_may_see_now() {
    let (server, accounts) = server().await;
    accounts.set("ada's", admin("ada"));
    let (mut ada, mut bob) = (welcomed(&server, "ada's").await, welcomed(&server, "bob's").await);
    bob.ask(&create(1, "his")).await;
    ada.ask(&create(1, "hers")).await;
    assert_eq!(ada.subscribe("Diary").await.0.len(), 2);
    assert_eq!(bob.subscribe("Diary").await.0.len(), 1);

    accounts.set("ada's", user("ada"));
    assert_eq!(server.running().revoke("ada"), 1);
    let reset = ada.next("reset").await;
    assert_eq!((&reset["id"], &reset["reason"]), (&json!("Diary"), &json!("scope")));
    let page = ada.next("read").await;
    assert_eq!(page["models"], json!([{"id":2,"text":"hers"}]));
    ada.next("live").await;
    // Of another's change she does not hear, and hears of her own.
    bob.ask(&json!({"method":"patch","id":2,"modelname":"Diary","model":{"id":1,"text":"changed"}})).await;
    let patch = json!({"method":"patch","id":2,"modelname":"Diary","model":{"id":2,"text":"changed"}});
    ada.send(&patch).await;
    assert_eq!(ada.next("update").await["model"], json!({"id":2,"text":"changed"}));
    ada.next("confirm").await;
    let read = json!({"method":"read","id":"r","modelname":"Diary","model":{"id":1}});
    assert_eq!(ada.ask(&read).await["code"], "not_found");

    // The same again: nothing begins anew.
    assert_eq!(server.running().revoke("ada"), 1);
    let read = json!({"method":"read","id":"r","modelname":"Diary","model":{"id":2}});
    ada.send(&read).await;
    assert_eq!(ada.next("read").await["model"]["text"], "changed");
    // Who has become somebody else is not who the client belongs to.
    accounts.set("ada's", user("eve"));
    assert_eq!(server.running().revoke("ada"), 1);
    assert_eq!(ada.closed().await.0, 4003);
    server.stop().await;
}

#[tokio::test]
async fn a_mutation_in_flight_is_sent_again_under_the_new_session() {
    let gate = Gate::new();
    let (server, accounts) = server().await;
    accounts.set("ada's", gated("ada", &gate));
    let mut ada = welcomed(&server, "ada's").await;
    ada.send(&create(1, "slow")).await;
    ada.send(&create(2, "next")).await;
    gate.reached.notified().await;
    accounts.set("ada's", user("ada"));
    server.running().revoke("ada");
    gate.open.add_permits(100);
    for (id, code) in [(1, "unauthenticated"), (2, "retry")] {
        let refused = ada.answer(&id.into()).await;
        assert_eq!((&refused["code"], &refused["retry"]), (&json!(code), &json!(true)), "{refused}");
    }
    for (id, text) in [(1, "slow"), (2, "next")] {
        let confirm = ada.ask(&create(id, text)).await;
        assert_eq!(confirm["model"]["text"], text);
    }
    assert_eq!(ada.subscribe("Diary").await.0.len(), 2, "each once");
    server.stop().await;
}

#[tokio::test]
async fn a_read_in_flight_is_answered_for_the_new_session() {
    let gate = Gate::new();
    let (server, accounts) = server().await;
    let mut bob = welcomed(&server, "bob's").await;
    bob.ask(&create(1, "his")).await;
    let session = User { name: "ada".into(), admin: true, gate: Some(gate.clone()) };
    accounts.set("ada's", Session::new(session).subject("ada"));
    for request in [
        json!({"method":"read","id":"r","modelname":"Diary","model":{"id":1}}),
        json!({"method":"read","id":"r","modelname":"Diary"}),
        json!({"method":"subscribe","id":"r","modelname":"Diary"}),
    ] {
        let mut ada = welcomed(&server, "ada's").await;
        ada.send(&request).await;
        gate.reached.notified().await;
        let before = accounts.0.lock().unwrap().insert("ada's".into(), user("ada"));
        server.running().revoke("ada");
        gate.open.add_permits(1);
        let answer = ada.answer(&"r".into()).await;
        assert!(!answer.to_string().contains("his"), "{answer}");
        assert!(answer["code"] == "not_found" || answer["models"] == json!([]), "{answer}");
        accounts.set("ada's", before.unwrap());
    }
    server.stop().await;
}

/// Holds commits back until a test lets them go on.
struct HeldStore {
    store: MemoryStore,
    gate: Arc<Gate>,
}

impl fmt::Debug for HeldStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeldStore")
    }
}

impl Store for HeldStore {
    fn open<'a>(&'a self, tables: &'a [Table]) -> StoreFuture<'a, Opened> {
        self.store.open(tables)
    }
    fn allocate_ids<'a>(&'a self, model: &'a str, count: u32) -> StoreFuture<'a, i64> {
        self.store.allocate_ids(model, count)
    }
    fn commit(&self, batch: Vec<Transaction>) -> StoreFuture<'_, Vec<Decision>> {
        Box::pin(async move {
            let is_held = batch.iter().any(|transaction| !transaction.changes.is_empty());
            if is_held {
                self.gate.pass().await;
            }
            self.store.commit(batch).await
        })
    }
    fn get<'a>(&'a self, model: &'a str, key: &'a Key) -> StoreFuture<'a, Option<StoredRow>> {
        self.store.get(model, key)
    }
    fn page<'a>(&'a self, model: &'a str, select: &'a Select) -> StoreFuture<'a, Page> {
        self.store.page(model, select)
    }
    fn log(&self, after: Seq, max_bytes: usize) -> StoreFuture<'_, LogPage> {
        self.store.log(after, max_bytes)
    }
    fn client(&self, client: Uuid) -> StoreFuture<'_, Option<ClientRecord>> {
        self.store.client(client)
    }
    fn forget_clients(&self, before: i64) -> StoreFuture<'_, u64> {
        self.store.forget_clients(before)
    }
    fn close(&self) -> StoreFuture<'_, ()> {
        self.store.close()
    }
}

/// One is with the store already, the other waits for the next batch.
#[tokio::test]
async fn what_waits_for_a_batch_is_not_done_for_a_session_that_is_over() {
    let gate = Gate::new();
    let accounts = Accounts::default();
    accounts.set("ada's", admin("ada"));
    accounts.set("bob's", user("bob"));
    let store = HeldStore { store: MemoryStore::new(), gate: gate.clone() };
    let server = TestServer::on(accounts.builder().custom_store(store)).await;
    let (mut first, mut second) = (welcomed(&server, "ada's").await, welcomed(&server, "ada's").await);
    let mut bob = welcomed(&server, "bob's").await;
    first.send(&create(1, "first")).await;
    gate.reached.notified().await;
    second.send(&create(1, "second")).await;
    bob.send(&create(1, "third")).await;
    // Both have been submitted when something behind them is answered that is read in order.
    for client in [&mut second, &mut bob] {
        client.send(&json!({"method":"read","id":"r","modelname":"Diary"})).await;
        client.answer(&"r".into()).await;
    }
    settled().await;
    accounts.remove("ada's");
    accounts.set("ada's", user("ada"));
    assert_eq!(server.running().revoke("ada"), 2);
    gate.open.add_permits(100);
    let confirm = first.answer(&1.into()).await;
    assert_eq!(
        (&confirm["method"], confirm.get("model")),
        (&json!("confirm"), None),
        "the row is another session's"
    );
    let refused = second.answer(&1.into()).await;
    assert_eq!((&refused["code"], &refused["retry"]), (&json!("unauthenticated"), &json!(true)));
    assert_eq!(bob.answer(&1.into()).await["method"], "confirm");
    assert_eq!(second.ask(&create(1, "second")).await["method"], "confirm");
    let texts: Vec<_> = second.subscribe("Diary").await.0.iter().map(|row| row["text"].clone()).collect();
    assert_eq!(texts, ["first", "second"]);
    server.stop().await;
}

/// Lets everything in this thread's runtime run that can.
async fn settled() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

/// A refusal says what it said, and shows no row that the session of now may not see.
#[tokio::test]
async fn what_is_recorded_is_shown_for_the_session_of_now() {
    let (server, accounts) = server().await;
    accounts.set("ada's", admin("ada"));
    let mut bob = welcomed(&server, "bob's").await;
    bob.ask(&create(1, "his")).await;
    let id = Uuid::new_v4();
    let mut ada = server.client().await;
    ada.send(&hello(id, "ada's")).await;
    ada.next("welcome").await;
    let patch = json!({"method":"patch","id":1,"modelname":"Diary","model":{"id":1,"text":"x"},"if_seq":7});
    let conflict = ada.ask(&patch).await;
    assert_eq!((&conflict["code"], &conflict["current"]["text"]), (&json!("conflict"), &json!("his")));
    let update = json!({"method":"patch","id":2,"modelname":"Diary","model":{"id":1,"text":"changed"}});
    assert_eq!(ada.ask(&update).await["model"]["text"], "changed");
    // As it is now.
    let again = ada.ask(&patch).await;
    assert_eq!((&again["current"]["text"], &again["current_seq"]), (&json!("changed"), &json!(2)));
    assert_eq!((&again["code"], &again["message"]), (&conflict["code"], &conflict["message"]));

    accounts.set("ada's", user("ada"));
    server.running().revoke("ada");
    let again = ada.ask(&patch).await;
    assert_eq!((&again["code"], &again["message"]), (&conflict["code"], &conflict["message"]));
    assert_eq!((again.get("current"), again.get("current_seq")), (None, None), "{again}");
    let again = ada.ask(&update).await;
    assert_eq!((&again["method"], again.get("model")), (&json!("confirm"), None), "{again}");

    let mut ada = server.client().await;
    ada.send(&json!({"method":"hello","client":id,"token":"ada's","ack":0})).await;
    let welcome = ada.next("welcome").await;
    assert_eq!(welcome["outcomes"].as_array().unwrap().len(), 2);
    assert!(!welcome["outcomes"].to_string().contains("text"), "{welcome}");
    server.stop().await;
}

/// What `authenticate` had looked at may be out of date by the time that it says it.
#[tokio::test]
async fn who_is_revoked_while_they_sign_in_is_asked_again() {
    let (asked, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let allowed = Arc::new(Mutex::new(true));
    let server = TestServer::on(Server::builder().store("memory:").authenticate({
        let (asked, go_on, allowed) = (asked.clone(), go_on.clone(), allowed.clone());
        move |_| {
            let (asked, go_on, allowed) = (asked.clone(), go_on.clone(), allowed.clone());
            async move {
                let is_allowed = *allowed.lock().unwrap();
                asked.add_permits(1);
                go_on.acquire().await?.forget();
                if is_allowed { Ok(user("ada")) } else { Err(Error::unauthenticated("not any more")) }
            }
        }
    }))
    .await;
    let mut ada = server.client().await;
    ada.send(&hello(Uuid::new_v4(), "x")).await;
    asked.acquire().await.unwrap().forget();
    *allowed.lock().unwrap() = false;
    assert_eq!(server.running().revoke("ada"), 0, "she is not there yet");
    go_on.add_permits(100);
    assert_eq!(ada.next("error").await["message"], "not any more");
    server.stop().await;
}

#[tokio::test]
async fn an_async_function_does_as_well() {
    async fn authenticate(login: Login) -> Result<Session<User>> {
        let rows = login.handle().query(Diary::OWNER.eq("ada")).await?;
        assert!(rows.is_empty());
        match login.token() {
            Some(name) => Ok(user(name)),
            None => Ok(Session::anonymous()),
        }
    }
    let server = TestServer::on(Server::builder().store("memory:").authenticate(authenticate)).await;
    let mut bob = welcomed(&server, "bob").await;
    assert_eq!(bob.ask(&create(1, "his")).await["method"], "confirm");
    server.stop().await;
}

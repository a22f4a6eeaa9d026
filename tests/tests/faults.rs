//! What holds when the store fails, answers late or is slow, when clients are busy, slow or malicious, and when all of it comes together.
//!
//! The server runs on a store that a test can hold up and make fail ([`TestStore`]), and handlers that it can stop ([`Gate`]).

#[allow(dead_code, reason = "another test uses the rest")]
mod cells;

use std::{
    collections::HashMap,
    fmt::Write as _,
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sync_core::{
    Context, Filter, Limits, Result, Running, Server, SyncedModel,
    store::{
        ClientRecord, Decision, LogPage, MemoryStore, Opened, Page, Select, Seq, Store, StoreError,
        StoreFuture, StoredRow, Table, Transaction,
    },
    sync_handlers,
};
use sync_tests::{Client, gate as gates_of_cells};
use tokio::{
    net::TcpListener,
    sync::{RwLock, Semaphore},
    task::JoinHandle,
    time::{sleep, timeout},
};
use uuid::Uuid;

use self::cells::{Cell, Step};

/// Each update appends its text to what is there.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub struct Doc {
    /// Its name.
    pub id: String,
    /// All texts.
    pub text: String,
}

#[sync_handlers(crud)]
impl Doc {
    async fn update(ctx: &Context, current: &Doc, next: Doc) -> Result<Doc> {
        let text = format!("{},{}", current.text, next.text);
        if ctx.attempt() == 1 {
            pass(&next.text).await;
        }
        Ok(Doc { text, ..next })
    }
}

/// Another model, for traffic beside.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub struct Other {
    /// Assigned by the server.
    pub id: u64,
    /// Anything.
    pub text: String,
}

#[sync_handlers(crud)]
impl Other {}

/// Seen by everybody as long as there is a cell in the group "door".
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub struct Behind {
    /// Its name.
    pub id: String,
}

#[sync_handlers(crud)]
impl Behind {
    async fn read(ctx: &Context) -> Result<Filter<Behind>> {
        let is_open = ctx.query(Cell::GROUP.eq("door")).first().await?.is_some();
        Ok(if is_open { Filter::all() } else { Filter::none() })
    }
}

/// Stops the first run of the handler that writes a text.
#[derive(Debug)]
struct Gate {
    begun: Semaphore,
    go: Semaphore,
}

fn gates() -> &'static Mutex<HashMap<String, Arc<Gate>>> {
    static GATES: OnceLock<Mutex<HashMap<String, Arc<Gate>>>> = OnceLock::new();
    GATES.get_or_init(Mutex::default)
}

fn gate(text: &str) -> Arc<Gate> {
    let gate = Arc::new(Gate { begun: Semaphore::new(0), go: Semaphore::new(0) });
    gates().lock().unwrap().insert(text.to_owned(), gate.clone());
    gate
}

async fn pass(text: &str) {
    let gate = gates().lock().unwrap().get(text).cloned();
    if let Some(gate) = gate {
        gate.begun.add_permits(1);
        gate.go.acquire().await.unwrap().forget();
    }
}

impl Gate {
    async fn begun(&self) {
        timeout(Duration::from_secs(10), self.begun.acquire())
            .await
            .expect("the handler does not begin")
            .unwrap()
            .forget();
    }
}

/// What a test does to the store.
#[derive(Debug, Default)]
struct Control {
    /// Held by a test: commits wait before they do anything.
    before: RwLock<()>,
    /// Held by a test: commits wait when they are done, before they say so.
    after: RwLock<()>,
    /// Held by a test: pages wait when they are read, before they are handed out.
    page: RwLock<()>,
    /// The next commit: 1 fails and does nothing; 2 fails and is done; 3 panics.
    fault: AtomicU8,
    /// How many pages were read.
    pages: AtomicUsize,
    /// Pages cannot be read.
    pages_fail: AtomicBool,
    /// The log cannot be read.
    log_fails: AtomicBool,
    /// Clients' records cannot be read.
    clients_fail: AtomicBool,
    /// Held by a test: reads of the log wait.
    log: RwLock<()>,
    begun: AtomicUsize,
    done: AtomicUsize,
    transactions: AtomicUsize,
    delay: Mutex<Duration>,
}

impl Control {
    async fn commits_begun(&self, count: usize) {
        until(|| self.begun.load(Ordering::SeqCst) >= count).await;
    }

    async fn commits_done(&self, count: usize) {
        until(|| self.done.load(Ordering::SeqCst) >= count).await;
    }
}

/// Lets others run until it is so.
async fn until(is_so: impl Fn() -> bool) {
    timeout(Duration::from_secs(10), async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it does not come to that");
}

#[derive(Debug)]
struct TestStore {
    inner: MemoryStore,
    control: Arc<Control>,
}

impl Store for TestStore {
    fn open<'a>(&'a self, tables: &'a [Table]) -> StoreFuture<'a, Opened> {
        self.inner.open(tables)
    }
    fn allocate_ids<'a>(&'a self, model: &'a str, count: u32) -> StoreFuture<'a, i64> {
        self.inner.allocate_ids(model, count)
    }
    fn commit(&self, batch: Vec<Transaction>) -> StoreFuture<'_, Vec<Decision>> {
        Box::pin(async move {
            self.control.begun.fetch_add(1, Ordering::SeqCst);
            self.control.transactions.fetch_add(batch.len(), Ordering::SeqCst);
            drop(self.control.before.read().await);
            let delay = *self.control.delay.lock().unwrap();
            if !delay.is_zero() {
                sleep(delay).await;
            }
            let fault = self.control.fault.swap(0, Ordering::SeqCst);
            assert!(fault != 3, "the store panics");
            if fault == 1 {
                return Err(StoreError::new("as asked"));
            }
            let decided = self.inner.commit(batch).await;
            self.control.done.fetch_add(1, Ordering::SeqCst);
            drop(self.control.after.read().await);
            if fault == 2 { Err(StoreError::new("as asked, but done")) } else { decided }
        })
    }
    fn get<'a>(&'a self, model: &'a str, key: &'a sync_core::Key) -> StoreFuture<'a, Option<StoredRow>> {
        self.inner.get(model, key)
    }
    fn page<'a>(&'a self, model: &'a str, select: &'a Select) -> StoreFuture<'a, Page> {
        Box::pin(async move {
            self.control.pages.fetch_add(1, Ordering::SeqCst);
            if self.control.pages_fail.load(Ordering::SeqCst) {
                return Err(StoreError::new("no pages, as asked"));
            }
            let page = self.inner.page(model, select).await;
            drop(self.control.page.read().await);
            page
        })
    }
    fn log(&self, after: Seq, max_bytes: usize) -> StoreFuture<'_, LogPage> {
        if self.control.log_fails.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::new("no log, as asked")) });
        }
        Box::pin(async move {
            drop(self.control.log.read().await);
            self.inner.log(after, max_bytes).await
        })
    }
    fn client(&self, client: Uuid) -> StoreFuture<'_, Option<ClientRecord>> {
        if self.control.clients_fail.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::new("no clients, as asked")) });
        }
        self.inner.client(client)
    }
    fn forget_clients(&self, before: i64) -> StoreFuture<'_, u64> {
        self.inner.forget_clients(before)
    }
    fn close(&self) -> StoreFuture<'_, ()> {
        self.inner.close()
    }
}

struct Fixture {
    address: SocketAddr,
    control: Arc<Control>,
    running: Running,
    _serving: JoinHandle<()>,
}

async fn start(set: impl FnOnce(&mut Limits)) -> Fixture {
    let control = Arc::new(Control::default());
    let store = TestStore { inner: MemoryStore::new(), control: control.clone() };
    let mut limits = Limits::default();
    set(&mut limits);
    let running =
        Server::builder().custom_store(store).limits(limits).build().unwrap().start().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn({
        let running = running.clone();
        async move { running.serve(listener).await.unwrap() }
    });
    Fixture { address, control, running, _serving: serving }
}

impl Fixture {
    async fn hello(&self) -> Client {
        Client::hello(self.address, Uuid::new_v4(), None).await.0
    }
    async fn anonymous(&self) -> Client {
        Client::connect(self.address).await
    }
}

fn doc(method: &str, mutation: u64, id: &str, text: &str) -> Value {
    json!({"method": method, "id": mutation, "modelname": "Doc", "model": {"id": id, "text": text}})
}

fn other(mutation: u64, text: &str) -> Value {
    json!({"method": "create", "id": mutation, "modelname": "Other", "model": {"text": text}})
}

/// Three edits append to one row. The third's handler is given the row of the second's first attempt, which is then refused; the second's
/// next attempt takes the seq that the first would have had. The third is run again all the same, and no edit is lost.
#[tokio::test]
async fn an_edit_on_a_row_that_was_never_committed_is_run_again() {
    let server = start(|_| {}).await;
    let (mut a, mut b, mut c) = (server.hello().await, server.hello().await, server.hello().await);
    let (second, third) = (gate("phantom-b"), gate("phantom-c"));
    assert_eq!(a.ask(&doc("create", 1, "phantom", "0")).await["method"], "confirm");
    // The second's handler begins with what is there, and takes a while.
    b.send(&doc("update", 1, "phantom", "phantom-b")).await;
    second.begun().await;
    // The first is quicker.
    assert_eq!(a.ask(&doc("update", 2, "phantom", "phantom-a")).await["method"], "confirm");
    // The second is submitted: the store will refuse it, as its row has changed. While that is under way ...
    let held = server.control.before.write().await;
    let begun = server.control.begun.load(Ordering::SeqCst);
    second.go.add_permits(1);
    server.control.commits_begun(begun + 1).await;
    // ... the third's handler begins, with the row of the overlay, and takes a while.
    c.send(&doc("update", 1, "phantom", "phantom-c")).await;
    third.begun().await;
    drop(held);
    assert_eq!(b.answer(&json!(1)).await["method"], "confirm");
    third.go.add_permits(1);
    let confirmed = c.answer(&json!(1)).await;
    assert_eq!(confirmed["method"], "confirm");
    assert_eq!(confirmed["model"]["text"], "0,phantom-a,phantom-b,phantom-c");
}

fn run(mutation: u64, steps: &[Step]) -> Value {
    json!({"method": "action", "id": mutation, "modelname": "Cell", "action": "run", "args": {"steps": steps}})
}

/// An action looks at a filter while a change of its rows is on the way to the disk. That then fails, before or after the action is submitted:
/// it is run again, on what is there.
#[tokio::test]
async fn what_was_made_of_rows_that_never_were_is_run_again() {
    let server = start(|_| {}).await;
    let (mut a, mut b) = (server.hello().await, server.hello().await);
    let put = |id: &str, group: &str, value| Step::Put(id.into(), group.into(), value);
    a.ask(&run(1, &[put("kept", "fate", 7), put("out", "other", 2), put("mine", "mine", 0)])).await;
    b.ask(&run(1, &[Step::Get("mine".into())])).await;
    let changes = [
        (put("new", "fate", 5), 12),
        (Step::Drop("kept".into()), 0),
        (Step::Move("kept".into(), "other".into()), 0),
        (Step::Move("out".into(), "fate".into()), 9),
        (Step::Add("kept".into(), 1), 8),
    ];
    let mut mutation = 1;
    for (change, pending) in changes {
        for is_submitted_before in [false, true] {
            mutation += 1;
            let name = format!("fate{mutation}");
            let stopped = gates_of_cells::gate(&name);
            let held = server.control.before.write().await;
            let begun = server.control.begun.load(Ordering::SeqCst);
            a.send(&run(mutation, std::slice::from_ref(&change))).await;
            server.control.commits_begun(begun + 1).await;
            b.send(&run(mutation, &[Step::Sum("fate".into()), Step::Pass(name), Step::Store("mine".into())]))
                .await;
            stopped.begun().await;
            if is_submitted_before {
                stopped.open();
                // It may be submitted by then, or not: both come to the same.
                tokio::task::yield_now().await;
            }
            server.control.fault.store(1, Ordering::SeqCst);
            drop(held);
            assert_eq!(a.answer(&json!(mutation)).await["code"], "unavailable");
            stopped.open();
            let answer = b.answer(&json!(mutation)).await;
            assert_eq!(answer["result"], json!({"attempt": 2, "numbers": [7, null, 7]}), "{change:?}");
            // Now it is done, and what is built on it stands.
            let (done, undo) = (change.clone(), undo(&change));
            a.ask(&run(mutation, &[Step::Get("kept".into())])).await;
            let held = server.control.before.write().await;
            let begun = server.control.begun.load(Ordering::SeqCst);
            mutation += 1;
            a.send(&run(mutation, &[done])).await;
            server.control.commits_begun(begun + 1).await;
            b.send(&run(mutation, &[Step::Sum("fate".into()), Step::Store("mine".into())])).await;
            drop(held);
            let answer = b.answer(&json!(mutation)).await;
            assert_eq!(answer["result"], json!({"attempt": 1, "numbers": [pending, pending]}), "{change:?}");
            mutation += 1;
            a.ask(&run(mutation, &undo)).await;
            b.ask(&run(mutation, &[Step::Get("mine".into())])).await;
        }
    }
}

/// What takes a change back.
fn undo(change: &Step) -> Vec<Step> {
    match change {
        Step::Put(id, ..) => vec![Step::Drop(id.clone())],
        Step::Drop(id) => vec![Step::Put(id.clone(), "fate".into(), 7)],
        Step::Move(id, to) => {
            vec![Step::Move(id.clone(), if to == "fate" { "other" } else { "fate" }.into())]
        }
        Step::Add(id, number) => vec![Step::Add(id.clone(), -number)],
        other => panic!("{other:?} cannot be undone"),
    }
}

/// Nobody is shown anything on the strength of a row that is not on disk, which may never be.
#[tokio::test]
async fn a_scope_rests_on_what_is_on_disk() {
    let server = start(|_| {}).await;
    let (mut a, mut b) = (server.hello().await, server.anonymous().await);
    a.ask(&json!({"method": "create", "id": 1, "modelname": "Behind", "model": {"id": "treasure"}})).await;
    let read = json!({"method": "read", "id": "r", "modelname": "Behind", "model": {"id": "treasure"}});
    assert_eq!(b.ask(&read).await["code"], "not_found");
    for (mutation, fault) in [(2, 1), (4, 0)] {
        let held = server.control.before.write().await;
        let begun = server.control.begun.load(Ordering::SeqCst);
        a.send(&run(mutation, &[Step::Put("door".into(), "door".into(), 1)])).await;
        server.control.commits_begun(begun + 1).await;
        b.send(&read).await;
        let early = timeout(Duration::from_millis(200), b.answer(&json!("r"))).await;
        assert!(early.is_err(), "answered before it is known: {early:?}");
        server.control.fault.store(fault, Ordering::SeqCst);
        drop(held);
        let answer = b.answer(&json!("r")).await;
        if fault == 1 {
            assert_eq!(answer["code"], "not_found", "{answer}");
            a.ask(&run(2, &[Step::Put("door".into(), "elsewhere".into(), 1)])).await;
            a.ask(&run(3, &[Step::Drop("door".into())])).await;
        } else {
            assert_eq!(answer["model"]["id"], "treasure", "{answer}");
        }
    }
}

/// The same after a commit that failed: what was built on a row that never was is run again.
#[tokio::test]
async fn an_edit_on_a_row_of_a_failed_batch_is_run_again() {
    let server = start(|_| {}).await;
    let (mut a, mut b, mut c) = (server.hello().await, server.hello().await, server.hello().await);
    let third = gate("failed-c");
    a.ask(&doc("create", 1, "failed", "0")).await;
    let held = server.control.before.write().await;
    let begun = server.control.begun.load(Ordering::SeqCst);
    b.send(&doc("update", 1, "failed", "failed-b")).await;
    server.control.commits_begun(begun + 1).await;
    c.send(&doc("update", 1, "failed", "failed-c")).await;
    third.begun().await;
    server.control.fault.store(1, Ordering::SeqCst);
    drop(held);
    assert_eq!(b.answer(&json!(1)).await["code"], "unavailable");
    // Another edit takes the seq that the failed one would have had.
    assert_eq!(a.ask(&doc("update", 2, "failed", "failed-a")).await["method"], "confirm");
    third.go.add_permits(1);
    assert_eq!(c.answer(&json!(1)).await["model"]["text"], "0,failed-a,failed-c");
}

/// One conflict, on one row of a busy server, costs the edits of another row nothing that lasts. The figures before and after it are
/// of one run.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_does_not_spoil_the_edits_after_it() {
    let server = start(|_| {}).await;
    *server.control.delay.lock().unwrap() = Duration::from_millis(5);
    let mut first = server.hello().await;
    first.ask(&doc("create", 1, "hot", "0")).await;
    first.ask(&doc("create", 2, "cause", "0")).await;
    // Something small always waits for the store, as on a busy server: two clients that acknowledge now and then.
    let traffic: Vec<_> = (0..2)
        .map(|_| {
            let address = server.address;
            tokio::spawn(async move {
                let (mut client, _) = Client::hello(address, Uuid::new_v4(), None).await;
                loop {
                    client.send(&json!({"method": "ack", "ack": 0})).await;
                    sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    let edits = Arc::new(AtomicUsize::new(0));
    let refused = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (address, edits, refused) = (server.address, edits.clone(), refused.clone());
            tokio::spawn(async move {
                let (mut client, _) = Client::hello(address, Uuid::new_v4(), None).await;
                let mut id = 1;
                loop {
                    let patch =
                        json!({"method":"patch","id":id,"modelname":"Doc","model":{"id":"hot","text":"x"}});
                    if client.ask(&patch).await["method"] == "confirm" {
                        id += 1;
                        edits.fetch_add(1, Ordering::SeqCst);
                    } else {
                        refused.fetch_add(1, Ordering::SeqCst);
                    }
                }
            })
        })
        .collect();
    sleep(Duration::from_secs(1)).await;
    let before = (edits.swap(0, Ordering::SeqCst), refused.swap(0, Ordering::SeqCst));
    // One conflict, on another row: a slow handler, and an edit meanwhile.
    let slow = gate("cause-slow");
    let mut victim = server.hello().await;
    victim.send(&doc("update", 1, "cause", "cause-slow")).await;
    slow.begun().await;
    first.ask(&doc("update", 3, "cause", "quick")).await;
    slow.go.add_permits(1);
    victim.answer(&json!(1)).await;
    edits.store(0, Ordering::SeqCst);
    refused.store(0, Ordering::SeqCst);
    sleep(Duration::from_secs(1)).await;
    let after = (edits.load(Ordering::SeqCst), refused.load(Ordering::SeqCst));
    for task in traffic.into_iter().chain(writers) {
        task.abort();
    }
    println!("(edits, refused) in a second: before {before:?}, after one conflict {after:?}");
    assert!(after.0 * 2 > before.0, "before {before:?}, after one conflict {after:?}");
}

/// Clause 2: a confirm leaves with, and after, the changes up to its seq; also when the subscription has just lapsed.
#[tokio::test]
async fn no_confirm_before_its_change_when_a_subscription_lapses() {
    // As when a batch brings 1 MiB at once, but smaller.
    let server = start(|limits| limits.outbox_bytes = 20_000).await;
    let mut client = server.hello().await;
    client.subscribe("Doc").await;
    client.send(&doc("create", 1, "large", &"x".repeat(30_000))).await;
    let mut has_change = false;
    loop {
        let message = client.receive().await;
        match message["method"].as_str().unwrap() {
            "create" | "changes" => has_change = true,
            "confirm" => break,
            _ => {}
        }
    }
    assert!(has_change, "the confirm came before its change");
}

/// `progress` says that every live subscription has everything; one that has lapsed holds it back, since its client does not know.
#[tokio::test]
async fn no_progress_beyond_a_lapsed_subscription() {
    let server = start(|limits| {
        limits.outbox_bytes = 20_000;
        limits.ping_interval = Duration::from_millis(100);
        limits.pong_timeout = Duration::from_millis(100);
    })
    .await;
    let mut client = server.anonymous().await;
    client.subscribe("Doc").await;
    let mut writer = server.anonymous().await;
    let held = server.control.log.write().await;
    writer.ask(&doc("create", 1, "row", &"x".repeat(30_000))).await;
    let progress = timeout(Duration::from_secs(2), client.receive()).await;
    drop(held);
    if let Ok(progress) = progress {
        assert!(
            progress["method"] != "progress" || progress["seq"] == 0,
            "the change did not come yet: {progress}"
        );
    }
}

/// `welcome` promises word every `heartbeat_ms`, however long a pong may take.
#[tokio::test]
async fn progress_comes_every_ping_interval() {
    let server = start(|limits| {
        limits.ping_interval = Duration::from_millis(50);
        limits.pong_timeout = Duration::from_secs(5);
    })
    .await;
    let mut client = server.anonymous().await;
    client.next("progress").await;
    let next = timeout(Duration::from_secs(1), client.next("progress")).await;
    assert!(next.is_ok(), "no word within 20 heartbeats");
}

/// A snapshot that is read between a commit and its publication is live as soon as that is published, also where the transaction
/// does not concern it.
#[tokio::test]
async fn a_snapshot_ahead_of_the_head_becomes_live_at_once() {
    let server = start(|_| {}).await;
    let mut writer = server.anonymous().await;
    let held = server.control.after.write().await;
    writer.send(&other(1, "not of the subscription")).await;
    server.control.commits_done(1).await;
    let mut client = server.anonymous().await;
    client.send(&json!({"method": "subscribe", "id": "s", "modelname": "Doc"})).await;
    // What its scope was found out from may be changed by just that transaction: it is sent nothing of it before.
    let read = json!({"method": "read", "id": "r", "modelname": "Doc", "model": {"id": "none"}});
    client.send(&read).await;
    assert_eq!(client.next("error").await["id"], "r");
    drop(held);
    writer.answer(&json!(1)).await;
    assert_eq!(client.next("read").await["seq"], 1);
    let live = timeout(Duration::from_secs(5), client.receive())
        .await
        .expect("no `live` in 5 s: it comes with the next ping");
    assert_eq!(live["method"], "live");
}

/// 64 mutations in flight with rows of 60 KB, and the line breaks before the confirms: `welcome` brings them, in one frame.
#[tokio::test]
async fn a_client_with_many_outcomes_is_welcomed() {
    let server = start(|_| {}).await;
    let me = Uuid::new_v4();
    let (mut client, _) = Client::hello(server.address, me, None).await;
    let text = "x".repeat(60_000);
    for id in 1..=64 {
        client.ask(&doc("create", id, &format!("outcome{id}"), &text)).await;
    }
    drop(client);
    let mut client = server.anonymous().await;
    client.send(&json!({"method": "hello", "client": me, "ack": 0})).await;
    let welcome = client.receive().await;
    assert_eq!((&welcome["method"], &welcome["last"]), (&json!("welcome"), &json!(64)));
}

/// A client that sends acknowledgements faster than they are stored does not make others wait.
#[tokio::test]
async fn acknowledgements_do_not_pile_up() {
    let server = start(|limits| limits.message_burst = 100_000).await;
    let mut client = server.hello().await;
    let held = server.control.before.write().await;
    let acks = format!("[{}]", vec![r#"{"method":"ack","ack":0}"#; 2_500].join(","));
    for _ in 0..20 {
        client.send_text(&acks).await;
    }
    client.ask(&json!({"method": "read", "id": 1, "modelname": "Doc"})).await;
    server.control.transactions.store(0, Ordering::SeqCst);
    drop(held);
    let mut another = server.anonymous().await;
    another.ask(&other(1, "waits behind all of them")).await;
    let stored = server.control.transactions.load(Ordering::SeqCst);
    assert!(stored < 1_000, "{stored} transactions waited for the store");
}

/// A message with very many fields is refused for little, and the refusal is short.
#[tokio::test]
async fn a_message_with_many_fields_is_cheap() {
    let server = start(|limits| limits.message_bytes = 1024 * 1024).await;
    let mut client = server.hello().await;
    // The least disturbed of three rounds counts.
    let mut took = [Duration::MAX; 2];
    let mut answered = Vec::new();
    for (id, (which, count)) in (1..).zip([(0, 1_500_u32), (1, 6_000)].repeat(3)) {
        let mut fields = String::new();
        for field in 0..count {
            write!(fields, ",\"{field}\":0").unwrap();
        }
        let message =
            format!(r#"{{"method":"create","id":{id},"modelname":"Doc","model":{{"id":"f"{fields}}}}}"#);
        assert!(message.len() <= 65_536 + 8_000, "{}", message.len());
        let begun = Instant::now();
        client.send_text(&message).await;
        let answer = client.answer(&json!(id)).await;
        took[which] = took[which].min(begun.elapsed());
        answered.push((message.len(), answer.to_string().len()));
    }
    println!("took {took:?}; (request, answer) bytes {answered:?}");
    assert!(answered[1].1 < 10_000, "an error of {} bytes, recorded for good", answered[1].1);
    assert!(
        took[1] < took[0] * 8,
        "four times the fields took {:.1} times as long: {took:?}",
        took[1].as_secs_f64() / took[0].as_secs_f64()
    );
}

/// Requests in flight have the `shutdown_timeout`, whatever `pong_timeout` is.
#[tokio::test]
async fn what_is_in_flight_has_the_shutdown_timeout() {
    let server = start(|limits| limits.pong_timeout = Duration::from_millis(200)).await;
    let mut client = server.hello().await;
    client.ask(&doc("create", 1, "stop", "0")).await;
    let slow = gate("stop-slow");
    client.send(&doc("update", 2, "stop", "stop-slow")).await;
    slow.begun().await;
    let running = server.running.clone();
    let stopping = tokio::spawn(async move { running.stop().await });
    sleep(Duration::from_millis(600)).await;
    slow.go.add_permits(1);
    assert_eq!(client.answer(&json!(2)).await["method"], "confirm");
    stopping.await.unwrap();
}

/// A cursor that was changed by hand does not bring back what was deleted before the client came.
#[tokio::test]
async fn a_forged_cursor_shows_nothing_of_the_past() {
    let server = start(|_| {}).await;
    let mut writer = server.anonymous().await;
    writer.ask(&doc("create", 1, "secret", "what was deleted")).await;
    writer.ask(&json!({"method": "delete", "id": 2, "modelname": "Doc", "model": {"id": "secret"}})).await;
    let mut client = server.anonymous().await;
    let (_, live) = client.subscribe("Doc").await;
    client.send(&json!({"method": "unsubscribe", "id": "Doc"})).await;
    let cursor = live["cursor"].as_str().unwrap().replacen(".2.", ".0.", 1);
    client.send(&json!({"method": "subscribe", "id": "past", "modelname": "Doc", "since": cursor})).await;
    loop {
        let message = client.receive().await;
        assert!(!message.to_string().contains("what was deleted"), "{message}");
        if message["method"] == "live" {
            return;
        }
    }
}

/// A limit that means "never".
#[tokio::test]
async fn a_very_long_ping_interval_is_no_panic() {
    let server = start(|limits| limits.ping_interval = Duration::MAX).await;
    let mut client = server.anonymous().await;
    client.send(&json!({"method": "read", "id": 1, "modelname": "Doc"})).await;
    assert_eq!(client.receive().await["method"], "read");
}

/// Where nothing may ever wait nothing is ever read: `build` refuses settings that cannot be.
#[tokio::test]
async fn an_outbox_of_no_bytes_is_refused_or_works() {
    let mut limits = Limits::default();
    limits.outbox_bytes = 0;
    if Server::builder().store("memory:").limits(limits).build().is_err() {
        return;
    }
    let server = start(|limits| limits.outbox_bytes = 0).await;
    let mut client = server.anonymous().await;
    client.send(&json!({"method": "read", "id": 1, "modelname": "Doc"})).await;
    assert!(
        timeout(Duration::from_secs(2), client.receive()).await.is_ok(),
        "built, and nothing is ever answered"
    );
}

/// Nobody is refused for what is not on disk yet, also who said no `hello`.
#[tokio::test]
async fn no_refusal_for_a_row_that_never_was() {
    let server = start(|_| {}).await;
    let (mut a, mut b) = (server.anonymous().await, server.anonymous().await);
    let held = server.control.before.write().await;
    a.send(&doc("create", 1, "never", "a")).await;
    server.control.commits_begun(1).await;
    b.send(&doc("create", 1, "never", "b")).await;
    let early = timeout(Duration::from_millis(300), b.receive()).await;
    server.control.fault.store(1, Ordering::SeqCst);
    drop(held);
    assert_eq!(a.answer(&json!(1)).await["code"], "unavailable");
    if let Ok(answer) = early {
        panic!("refused for good before anything was on disk: {answer}");
    }
}

/// A commit whose answer was lost, and a log that cannot be read at that moment: the change reaches subscribers when it can be, and the
/// repeat's confirm does not come before it.
#[tokio::test]
async fn a_change_whose_commit_seemed_to_fail_is_published() {
    let server = start(|limits| limits.ping_interval = Duration::from_mins(1)).await;
    let mut client = server.hello().await;
    client.subscribe("Doc").await;
    server.control.fault.store(2, Ordering::SeqCst);
    server.control.log_fails.store(true, Ordering::SeqCst);
    assert_eq!(client.ask(&doc("create", 1, "lost", "x")).await["code"], "unavailable");
    server.control.log_fails.store(false, Ordering::SeqCst);
    client.send(&doc("create", 1, "lost", "x")).await;
    let first = client.receive().await;
    let second = timeout(Duration::from_secs(3), client.receive()).await;
    assert_eq!(first["method"], "create", "the confirm came first: {first}; then {second:?}");
    assert!(second.is_ok());
}

/// What names a create whose outcome is not known, or cannot be looked up now, is to be sent again: `not_found` would be final.
#[tokio::test]
async fn what_names_a_create_waits_until_it_is_known() {
    let server = start(|_| {}).await;
    let mut client = server.hello().await;
    let mut create = doc("create", 1, "named", "x");
    create["cid"] = "c".into();
    let patch = |id| json!({"method": "patch", "id": id, "modelname": "Doc", "model": {"id": {"$cid": "c"}, "text": "y"}});
    let read = json!({"method": "read", "id": "read", "modelname": "Doc", "model": {"id": {"$cid": "c"}}});
    server.control.fault.store(2, Ordering::SeqCst);
    client.send(&json!([create, patch(2), read])).await;
    let mut codes = HashMap::new();
    while codes.len() < 3 {
        let answer = client.next("error").await;
        assert_eq!(answer["retry"], true, "{answer}");
        codes.insert(answer["id"].to_string(), answer["code"].clone());
    }
    assert_eq!(
        (&codes["1"], &codes["2"], &codes["\"read\""]),
        (&json!("unavailable"), &json!("retry"), &json!("retry"))
    );
    client.send(&json!([create, patch(2)])).await;
    assert_eq!(client.answer(&json!(2)).await["model"]["text"], "x,y");

    server.control.clients_fail.store(true, Ordering::SeqCst);
    for request in [&read, &patch(3)] {
        let answer = client.ask(request).await;
        assert_eq!((&answer["code"], &answer["retry"]), (&json!("unavailable"), &json!(true)), "{answer}");
    }
    server.control.clients_fail.store(false, Ordering::SeqCst);
    assert_eq!(client.ask(&patch(3)).await["model"]["text"], "x,y,y");
    assert_eq!(client.ask(&read).await["model"]["text"], "x,y,y");
}

/// A store that panics fails the batch, and nothing else.
#[tokio::test]
async fn a_panic_of_the_store_is_not_the_end() {
    let server = start(|_| {}).await;
    let mut client = server.anonymous().await;
    server.control.fault.store(3, Ordering::SeqCst);
    client.send(&doc("create", 1, "panic", "x")).await;
    let answer = timeout(Duration::from_secs(3), client.receive()).await;
    assert!(answer.is_ok(), "no answer, and none to anybody after it");
    let answer = timeout(Duration::from_secs(3), client.ask(&doc("create", 2, "panic2", "x"))).await;
    assert_eq!(answer.expect("no answer")["method"], "confirm");
}

/// What stands behind a refused `hello` in one frame was meant to be done once: it is not run without one.
#[tokio::test]
async fn nothing_in_the_frame_of_a_refused_hello_is_run() {
    let server = start(|_| {}).await;
    let mut client = server.anonymous().await;
    let hello = json!({"method": "hello", "client": Uuid::new_v4(), "ack": 4});
    client.send(&json!([hello, doc("create", 5, "doubtful", "run again?")])).await;
    assert_eq!(client.next("error").await["code"], "client_unknown");
    let answer = client.receive().await;
    assert_eq!((&answer["method"], &answer["code"]), (&json!("error"), &json!("retry")), "{answer}");
}

/// A confirm that waits for the head holds up no pages, and a `live` never comes before its own.
#[tokio::test]
async fn no_live_before_its_pages() {
    let server = start(|_| {}).await;
    let mut client = server.hello().await;
    client.ask(&doc("create", 1, "page", "a row")).await;
    let held = server.control.page.write().await;
    client.send(&json!({"method": "subscribe", "id": "s", "modelname": "Doc"})).await;
    sleep(Duration::from_millis(50)).await;
    // Done, but said to have failed; the log, which would tell, cannot be read.
    server.control.fault.store(2, Ordering::SeqCst);
    server.control.log_fails.store(true, Ordering::SeqCst);
    let mut another = server.anonymous().await;
    assert_eq!(another.ask(&other(1, "x")).await["code"], "unavailable");
    // Its confirm waits for the change before it to be published.
    client.send(&doc("create", 2, "page2", "another row")).await;
    sleep(Duration::from_millis(50)).await;
    drop(held);
    if let Ok(first) = timeout(Duration::from_millis(500), client.receive()).await {
        assert_eq!(first["method"], "read", "{first}");
    }
}

/// A client on a slow line that takes what it is sent, steadily, is not one that takes nothing (clause 10).
#[tokio::test]
async fn who_takes_slowly_is_not_silent() {
    let server = start(|limits| {
        limits.ping_interval = Duration::from_millis(200);
        limits.pong_timeout = Duration::from_millis(200);
    })
    .await;
    let mut writer = server.anonymous().await;
    for id in 1..=150_u64 {
        writer.ask(&doc("create", id, &format!("slow{id}"), &"x".repeat(60_000))).await;
    }
    // 9 MB, taken at 6 MB a second in small pieces: more than socket buffers hold, and for longer than a ping and its answer may take.
    let mut client = server.anonymous().await;
    client.send(&json!({"method": "subscribe", "id": "s", "modelname": "Doc"})).await;
    let mut rows = 0;
    loop {
        let message = client.receive().await;
        match message["method"].as_str().unwrap() {
            "read" => {
                let count = message["models"].as_array().unwrap().len();
                rows += count;
                sleep(Duration::from_millis(10 * count as u64)).await;
            }
            "live" => break,
            _ => {}
        }
    }
    assert_eq!(rows, 150);
}

fn window(id: &str) -> Value {
    json!({"method": "subscribe", "id": id, "modelname": "Other", "order": ["-id"], "limit": 3})
}

/// Pages that come until a window is live: the texts of its rows.
async fn texts(client: &mut Client) -> Vec<Value> {
    let page = client.next("read").await;
    client.next("live").await;
    page["models"].as_array().unwrap().iter().map(|row| row["text"].clone()).collect()
}

/// However many look at it, and how often it changes: the store is asked once for a window.
#[tokio::test]
async fn a_window_is_read_once_for_all() {
    let server = start(|_| {}).await;
    let mut writer = server.hello().await;
    for mutation in 1..=5 {
        writer.ask(&other(mutation, &format!("{mutation}"))).await;
    }
    // The first of them waits for the store, and so do those that come meanwhile.
    let held = server.control.page.write().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = server.anonymous().await;
        client.send(&window("w")).await;
        clients.push(client);
    }
    until(|| server.control.pages.load(Ordering::SeqCst) > 0).await;
    // Committed while it is being read, and not in what was read.
    writer.ask(&other(6, "6")).await;
    drop(held);
    for client in &mut clients {
        assert_eq!(texts(client).await, ["6", "5", "4"]);
    }
    for mutation in 7..=30 {
        writer.ask(&other(mutation, &format!("{mutation}"))).await;
        for client in &mut clients {
            let message = client.next("window").await;
            assert_eq!(message["in"][0]["text"], format!("{mutation}"));
        }
    }
    let mut late = server.anonymous().await;
    late.send(&window("late")).await;
    assert_eq!(texts(&mut late).await, ["30", "29", "28"]);
    assert_eq!(server.control.pages.load(Ordering::SeqCst), 1);
    server.running.stop().await;
}

/// Who would have to wait for the store is told; who looks at a window already gets what it lacks when the store answers again.
#[tokio::test]
async fn a_window_outlives_a_store_that_fails() {
    let server = start(|_| {}).await;
    let mut writer = server.hello().await;
    for mutation in 1..=60 {
        writer.ask(&other(mutation, &format!("{mutation}"))).await;
    }
    let mut client = server.anonymous().await;
    client.send(&window("w")).await;
    assert_eq!(texts(&mut client).await, ["60", "59", "58"]);
    server.control.pages_fail.store(true, Ordering::SeqCst);
    let mut late = server.anonymous().await;
    late.send(&json!({"method": "subscribe", "id": "late", "modelname": "Other", "limit": 2})).await;
    let error = late.answer(&json!("late")).await;
    assert_eq!([&error["code"], &error["retry"]], [&json!("unavailable"), &json!(true)]);

    // All that is kept beyond the limit goes at once.
    let deletes: Vec<_> =
        (30..=60).map(|id| json!({"method": "delete", "modelname": "Other", "model": {"id": id}})).collect();
    writer.ask(&json!({"method": "batch", "id": 61, "requests": deletes})).await;
    let message = client.next("window").await;
    assert_eq!([&message["in"], &message["out"]], [&json!([]), &json!([58, 59, 60])]);
    server.control.pages_fail.store(false, Ordering::SeqCst);
    let message = client.next("window").await;
    let texts: Vec<_> = message["in"].as_array().unwrap().iter().map(|row| &row["text"]).collect();
    assert_eq!(texts, ["29", "28", "27"]);
    server.running.stop().await;
}

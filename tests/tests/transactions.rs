//! What belongs together: handlers, actions and batches that read and write several rows are as if they had been run one after the other.

mod cells;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sync_core::{Context, Error, ErrorCode, Filter, Limits, Result, SyncedModel, sync_handlers};
use sync_tests::{
    Client, TestServer,
    gate::{gate, pass},
};
use tokio::time::timeout;
use uuid::Uuid;

use self::cells::{Cell, Cells, Step};

fn run(id: u64, steps: &[Step]) -> Value {
    json!({"method": "action", "id": id, "modelname": "Cell", "action": "run", "args": {"steps": steps}})
}

fn get(id: &str) -> Step {
    Step::Get(id.into())
}

fn put(id: &str, group: &str, value: i64) -> Step {
    Step::Put(id.into(), group.into(), value)
}

fn sum(group: &str) -> Step {
    Step::Sum(group.into())
}

async fn hello(server: &TestServer) -> Client {
    Client::hello(server.address, Uuid::new_v4(), None).await.0
}

/// Asks until it is decided, and fails if it is refused.
async fn ask(client: &mut Client, request: &Value) -> Value {
    loop {
        let answer = client.ask(request).await;
        if answer["retry"] != true {
            assert_eq!(answer["method"], "confirm", "{request} {answer}");
            return answer;
        }
    }
}

/// Random transactions over few rows, through real connections: their results and the rows at the end are those of the same transactions one
/// after the other, in the order of their seqs.
async fn serializable(store: &str, clients: u64, each: u64) {
    let server = TestServer::start(store, Limits::default()).await;
    let mut tasks = Vec::new();
    for number in 0..clients {
        let mut client = hello(&server).await;
        tasks.push(tokio::spawn(async move {
            let mut seed = number + 1;
            let mut history = Vec::new();
            let mut reruns = 0;
            for id in 1..=each {
                let steps = random_steps(&mut seed);
                let answer = ask(&mut client, &run(id, &steps)).await;
                if id % 8 == 0 {
                    client.send(&json!({"method": "ack", "ack": id})).await;
                }
                reruns += answer["result"]["attempt"].as_u64().unwrap() - 1;
                let seen: Vec<Option<i64>> =
                    serde_json::from_value(answer["result"]["numbers"].clone()).unwrap();
                history.push((answer["seq"].as_u64().unwrap(), steps, seen));
            }
            (history, reruns)
        }));
    }
    let (mut history, mut reruns) = (Vec::new(), 0);
    for task in tasks {
        let (of_client, again) = task.await.unwrap();
        history.extend(of_client);
        reruns += again;
    }
    assert!(reruns > 0, "nothing ever happened at the same time");
    let rows = cells::all(&server.handle()).await;
    server.stop().await;

    // What changed nothing has the seq of the last before it, and comes behind that.
    let writes = |cells: &Cells, steps: &[Step]| {
        let mut after = cells.clone();
        let seen = cells::replay(&mut after, steps);
        (seen, after)
    };
    let mut by_seq: BTreeMap<u64, Vec<(Vec<Step>, Vec<Option<i64>>)>> = BTreeMap::new();
    for (seq, steps, seen) in history {
        by_seq.entry(seq).or_default().push((steps, seen));
    }
    let mut state = Cells::new();
    for (seq, at_seq) in by_seq {
        // One of them has the seq; the others looked at what it left.
        let is_writer = |(steps, seen): &&(Vec<Step>, Vec<Option<i64>>)| has_written(steps, seen);
        assert!(at_seq.iter().filter(is_writer).count() <= 1, "two transactions of seq {seq}");
        for (steps, seen) in at_seq.iter().filter(is_writer) {
            let (expected, after) = writes(&state, steps);
            assert_eq!(*seen, expected, "seq {seq}: {steps:?} on {state:?}");
            state = after;
        }
        for (steps, seen) in at_seq.iter().filter(|it| !is_writer(it)) {
            let (expected, after) = writes(&state, steps);
            assert_eq!(*seen, expected, "after seq {seq}: {steps:?} on {state:?}");
            assert_eq!(after, state);
        }
    }
    assert_eq!(rows, state);
}

/// Whether the rows are not what they were, as far as the log goes: a cell that came and went is none.
fn has_written(steps: &[Step], seen: &[Option<i64>]) -> bool {
    let mut made: Vec<&String> = Vec::new();
    let mut written = Vec::new();
    for (step, seen) in steps.iter().zip(seen) {
        if seen.is_none() {
            continue;
        }
        match step {
            Step::Put(id, ..) => {
                made.push(id);
                written.push(id);
            }
            Step::Drop(id) if made.contains(&id) => {
                made.retain(|made| *made != id);
                written.retain(|written| *written != id);
            }
            Step::Drop(id) | Step::Add(id, _) | Step::Store(id) | Step::Move(id, _) => written.push(id),
            _ => {}
        }
    }
    !written.is_empty()
}

fn random_steps(seed: &mut u64) -> Vec<Step> {
    let mut pick = |among: usize| {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*seed >> 33).unwrap() % among
    };
    let count = 1 + pick(4);
    let mut steps: Vec<Step> = Vec::new();
    for _ in 0..count {
        let id = ["a", "b", "c", "d"][pick(4)].to_owned();
        let group = ["g", "h"][pick(2)].to_owned();
        // Each cell is changed once, so that what is dropped and made again needs no thought.
        let is_used = steps.iter().any(|step| match step {
            Step::Add(of, _) | Step::Store(of) | Step::Put(of, ..) | Step::Drop(of) | Step::Move(of, _) => {
                *of == id
            }
            _ => false,
        });
        steps.push(match pick(10) {
            0 => Step::Sum(group),
            1 => Step::Top(group),
            2 | 3 => Step::Get(id),
            _ if is_used => Step::Sum(group),
            4 => Step::Add(id, 1 + i64::try_from(pick(9)).unwrap()),
            5 | 6 => Step::Store(id),
            7 => Step::Put(id, group, 7),
            8 => Step::Drop(id),
            _ => Step::Move(id, group),
        });
    }
    steps
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn transactions_are_as_if_one_after_the_other_in_memory() {
    serializable("memory:", 12, 120).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn transactions_are_as_if_one_after_the_other_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    serializable(&format!("sqlite:{}", folder.path().join("test.db").display()), 12, 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_update_is_lost() {
    let server = TestServer::memory().await;
    ask(&mut hello(&server).await, &run(1, &[put("lost", "lost", 0)])).await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let mut client = hello(&server).await;
        tasks.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            for id in 1..=40 {
                let answer = ask(&mut client, &run(id, &[Step::Add("lost".into(), 1)])).await;
                seen.push(answer["result"]["numbers"][0].as_i64().unwrap());
            }
            seen
        }));
    }
    let mut seen = Vec::new();
    for task in tasks {
        seen.extend(task.await.unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=320).collect::<Vec<_>>(), "each saw what the one before it left");
}

/// Two that each look at both rows and write the other one: the second is run again.
#[tokio::test]
async fn no_write_skew() {
    let server = TestServer::memory().await;
    let (mut a, mut b) = (hello(&server).await, hello(&server).await);
    ask(&mut a, &run(1, &[put("x", "skew", 1), put("y", "skew", 2)])).await;
    let held = gate("skew");
    a.send(&run(2, &[get("x"), get("y"), Step::Pass("skew".into()), Step::Store("x".into())])).await;
    held.begun().await;
    let first = ask(&mut b, &run(1, &[get("x"), get("y"), Step::Store("y".into())])).await;
    assert_eq!(first["result"], json!({"attempt": 1, "numbers": [1, 2, 3]}));
    held.open();
    let second = a.answer(&json!(2)).await;
    assert_eq!(second["result"], json!({"attempt": 2, "numbers": [1, 3, null, 4]}));
}

/// The same where they looked at a filter, and the other made a new row of it, moved one in, or took one out.
#[tokio::test]
async fn no_phantoms() {
    let server = TestServer::memory().await;
    let (mut a, mut b) = (hello(&server).await, hello(&server).await);
    ask(&mut a, &run(1, &[put("p1", "in", 1), put("p2", "out", 2), put("p", "other", 0)])).await;
    let looks = [
        (put("p3", "in", 4), 1, 5),
        (Step::Move("p2".into(), "in".into()), 5, 7),
        (Step::Drop("p1".into()), 7, 6),
        (Step::Move("p3".into(), "out".into()), 6, 2),
        (Step::Add("p2".into(), 5), 2, 7),
    ];
    for (id, (change, before, after)) in (2..).zip(looks) {
        let name = format!("phantom{id}");
        let held = gate(&name);
        a.send(&run(id, &[sum("in"), Step::Pass(name.clone()), Step::Store("p".into())])).await;
        held.begun().await;
        assert_eq!(ask(&mut b, &run(id - 1, &[sum("in"), change])).await["result"]["numbers"][0], before);
        held.open();
        let answer = a.answer(&json!(id)).await;
        assert_eq!(answer["result"], json!({"attempt": 2, "numbers": [after, null, after]}), "{id}");
    }
}

/// What does not touch what was looked at is no reason to run anything again; of the first in an order only what changes among them is.
#[tokio::test]
async fn what_is_beside_it_is_no_conflict() {
    let server = TestServer::memory().await;
    let (mut a, mut b) = (hello(&server).await, hello(&server).await);
    ask(&mut a, &run(1, &[put("q1", "q", 5), put("q2", "q", 3), put("q3", "r", 9), put("q", "s", 0)])).await;
    let top = |name: &str| [Step::Top("q".into()), Step::Pass(name.into()), Step::Store("q".into())];
    let held = gate("beside");
    a.send(&run(2, &top("beside"))).await;
    held.begun().await;
    ask(&mut b, &run(1, &[Step::Add("q2".into(), 1), Step::Add("q3".into(), 1), put("q4", "q", 1)])).await;
    held.open();
    assert_eq!(a.answer(&json!(2)).await["result"], json!({"attempt": 1, "numbers": [5, null, 5]}));
    let held = gate("above");
    a.send(&run(3, &top("above"))).await;
    held.begun().await;
    ask(&mut b, &run(2, &[Step::Add("q2".into(), 9)])).await;
    held.open();
    assert_eq!(a.answer(&json!(3)).await["result"], json!({"attempt": 2, "numbers": [13, null, 13]}));
}

/// The first of an order is asked for, and more are read to find it, since the transaction has moved one itself: those are not known by that.
#[tokio::test]
async fn what_was_read_beyond_the_first_is_read_again() {
    let server = TestServer::memory().await;
    let (mut a, mut b) = (hello(&server).await, hello(&server).await);
    ask(&mut a, &run(1, &[put("n1", "n", 9), put("n2", "n", 0), put("n3", "m", 7)])).await;
    let held = gate("beyond");
    let (moves, top) = (Step::Move("n3".into(), "n".into()), Step::Top("n".into()));
    a.send(&run(2, &[moves, top, Step::Pass("beyond".into()), get("n2"), Step::Store("n3".into())])).await;
    held.begun().await;
    ask(&mut b, &run(1, &[Step::Drop("n2".into())])).await;
    held.open();
    assert_eq!(a.answer(&json!(2)).await["result"], json!({"attempt": 1, "numbers": [7, 9, null, null, 16]}));
}

/// Many who each look how many there are and add one: never more than there may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_limit_holds_however_many_come_at_once() {
    let server = TestServer::memory().await;
    let mut tasks = Vec::new();
    for _ in 0..16 {
        let mut client = hello(&server).await;
        tasks.push(tokio::spawn(async move {
            let book = json!({"method": "action", "id": 1, "modelname": "Cell", "action": "book", "args": {"group": "room", "most": 5}});
            ask(&mut client, &book).await["result"] == true
        }));
    }
    let mut booked = 0;
    for task in tasks {
        booked += usize::from(task.await.unwrap());
    }
    let rows = server.handle().query::<Cell>(Cell::GROUP.eq("room")).count().await.unwrap();
    assert_eq!((booked, rows), (5, 5));
}

/// Two rows whose sum is always the same.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub struct Account {
    id: String,
    #[sync(index)]
    kind: String,
    balance: i64,
}

/// What handlers saw, also in attempts that were not the last.
static SUMS: Mutex<Vec<i64>> = Mutex::new(Vec::new());

/// Sums that were seen after something had changed.
static TORN: AtomicUsize = AtomicUsize::new(0);

#[sync_handlers]
impl Account {
    async fn read(_ctx: &Context) -> Result<Filter<Account>> {
        Ok(Filter::all())
    }

    /// The row itself is given to the handler by the server; the other is looked up.
    async fn update(ctx: &Context, current: &Account, next: Account) -> Result<Account> {
        pass(&next.kind).await;
        if let Some(other) = ctx.get::<Account>("right").await? {
            SUMS.lock().unwrap().push(current.balance + other.balance);
        }
        Ok(Account { balance: current.balance, kind: current.kind.clone(), ..next })
    }

    #[action]
    async fn open(ctx: &Context, id: String, balance: i64) -> Result<()> {
        ctx.insert(Account { id, kind: "any".into(), balance }).await?;
        Ok(())
    }

    #[action]
    async fn transfer(ctx: &Context, amount: i64) -> Result<()> {
        for (id, amount) in [("left", -amount), ("right", amount)] {
            let mut account = ctx.get::<Account>(id).await?.ok_or_else(Error::not_found)?;
            account.balance += amount;
            ctx.update(&account).await?;
        }
        Ok(())
    }

    /// Looks at one after the other, or at both.
    #[action]
    async fn audit(ctx: &Context, stop: Option<String>) -> Result<(u32, i64)> {
        let left = ctx.get::<Account>("left").await?.ok_or_else(Error::not_found)?;
        if let Some(stop) = stop.filter(|_| ctx.attempt() == 1) {
            pass(&stop).await;
        }
        tokio::task::yield_now().await;
        // Whatever it makes of the error.
        let Ok(right) = ctx.get::<Account>("right").await else {
            TORN.fetch_add(1, Ordering::SeqCst);
            return Ok((0, 0));
        };
        let sum = left.balance + right.map_or(0, |right| right.balance);
        SUMS.lock().unwrap().push(sum);
        let all: i64 = ctx.query(Account::KIND.eq("any")).await?.iter().map(|account| account.balance).sum();
        SUMS.lock().unwrap().push(all);
        Ok((ctx.attempt(), sum))
    }
}

fn account(id: u64, action: &str, args: &Value) -> Value {
    json!({"method": "action", "id": id, "modelname": "Account", "action": action, "args": args})
}

/// No handler ever sees half of another's transaction, not even one that is then run again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_handler_sees_one_state() {
    let server = TestServer::memory().await;
    let mut client = hello(&server).await;
    ask(&mut client, &account(1, "open", &json!({"id": "left", "balance": 60}))).await;
    ask(&mut client, &account(2, "open", &json!({"id": "right", "balance": 40}))).await;
    // One after the other, with the change just in between.
    let held = gate("audit");
    client.send(&account(3, "audit", &json!({"stop": "audit"}))).await;
    held.begun().await;
    ask(&mut hello(&server).await, &account(1, "transfer", &json!({"amount": 7}))).await;
    held.open();
    assert_eq!(client.answer(&json!(3)).await["result"], json!([2, 100]));
    assert_eq!(TORN.load(Ordering::SeqCst), 1);
    // The same with the row that an update is given.
    let held = gate("update");
    let update = json!({"method": "update", "id": 4, "modelname": "Account", "model": {"id": "left", "kind": "update", "balance": 0}});
    client.send(&update).await;
    held.begun().await;
    ask(&mut hello(&server).await, &account(1, "transfer", &json!({"amount": 7}))).await;
    held.open();
    held.open();
    assert_eq!(client.answer(&json!(4)).await["method"], "confirm");
    // Many at once.
    let mut tasks = Vec::new();
    for number in 0..8_u64 {
        let mut client = hello(&server).await;
        tasks.push(tokio::spawn(async move {
            for id in 1..=60 {
                let request = if number < 3 {
                    account(id, "transfer", &json!({"amount": 1}))
                } else {
                    account(id, "audit", &json!({}))
                };
                ask(&mut client, &request).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let sums = SUMS.lock().unwrap();
    assert!(sums.len() > 600 && sums.iter().all(|sum| *sum == 100), "{sums:?}");
}

/// A handler that takes long holds up nobody; and while nothing that it has looked at changes it is not run again.
#[tokio::test]
async fn a_slow_handler_holds_up_nobody() {
    let mut limits = Limits::default();
    limits.message_burst = 10_000;
    let server = TestServer::start("memory:", limits).await;
    let (mut slow, mut other) = (hello(&server).await, hello(&server).await);
    ask(&mut other, &run(1, &[put("slow", "slow", 1), put("quick", "quick", 0)])).await;
    let held = gate("slow");
    slow.send(&run(1, &[get("slow"), sum("slow"), Step::Pass("slow".into()), Step::Add("slow".into(), 1)]))
        .await;
    held.begun().await;
    for id in 2..=3_000 {
        ask(&mut other, &run(id, &[Step::Add("quick".into(), 1)])).await;
        if id % 100 == 0 {
            other.send(&json!({"method": "ack", "ack": id})).await;
        }
    }
    held.open();
    let answer = slow.answer(&json!(1)).await;
    assert_eq!(answer["result"], json!({"attempt": 1, "numbers": [1, 1, null, 2]}));
}

/// What tells that it has happened.
static AFTER: AtomicU32 = AtomicU32::new(0);

/// A counter, with all that an action may do.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub struct Order {
    id: u64,
    #[sync(index)]
    item: String,
    #[serde(default)]
    note: String,
    #[sync(read_only)]
    number: u64,
    #[sync(server_only, index)]
    owner: String,
}

#[sync_handlers(crud)]
impl Order {
    async fn create(ctx: &Context, draft: Order) -> Result<Order> {
        if draft.item.is_empty() {
            return Err(Error::invalid("item", "must not be empty"));
        }
        let number = ctx.query(Order::ITEM.eq(&draft.item)).count().await? as u64 + 1;
        Ok(Order { number, owner: if draft.note == "hidden" { "nobody" } else { "me" }.into(), ..draft })
    }

    async fn read(_ctx: &Context) -> Result<Filter<Order>> {
        Ok(Order::OWNER.eq("me"))
    }

    #[action]
    async fn count(ctx: &Context, item: String, stop: Option<String>) -> Result<usize> {
        let count = ctx.query(Order::ITEM.eq(&item)).count().await?;
        if let Some(stop) = stop.filter(|_| ctx.attempt() == 1) {
            pass(&stop).await;
        }
        let order = Order { id: 9, item, note: String::new(), number: 0, owner: "me".into() };
        let order = ctx.insert(order).await?;
        assert_ne!(order.id, 9);
        ctx.after_commit(async {
            AFTER.fetch_add(1, Ordering::SeqCst);
        });
        ctx.after_commit(async { panic!("after the commit, as asked") });
        if count > 5 { Err(Error::forbidden("there are enough")) } else { Ok(count + 1) }
    }

    /// Only what the client may see.
    #[action]
    async fn clear(ctx: &Context, item: String) -> Result<usize> {
        let mine = ctx.scope::<Order>().await?;
        let orders = ctx.query(mine & Order::ITEM.eq(item)).await?;
        for order in &orders {
            ctx.delete(order).await?;
        }
        Ok(orders.len())
    }

    #[action]
    async fn fill(ctx: &Context, count: usize, bytes: usize) -> Result<String> {
        for _ in 0..count {
            let note = "x".repeat(bytes);
            let order = Order { id: 0, item: "fill".into(), note, number: 0, owner: "me".into() };
            ctx.insert(order).await?;
        }
        Ok("y".repeat(bytes))
    }

    #[action]
    async fn large(_ctx: &Context) -> Result<u64> {
        Ok(1 << 60)
    }
}

fn order(id: u64, action: &str, args: &Value) -> Value {
    json!({"method": "action", "id": id, "modelname": "Order", "action": action, "args": args})
}

fn create(item: &str) -> Value {
    json!({"method": "create", "modelname": "Order", "model": {"item": item}})
}

fn batch(id: u64, requests: &[Value]) -> Value {
    json!({"method": "batch", "id": id, "requests": requests})
}

/// The line breaks before the answer; the same request again gets the stored answer, also after a restart.
#[tokio::test]
async fn actions_and_batches_are_done_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("test.db").display());
    let server = TestServer::start(&store, Limits::default()).await;
    let me = Uuid::new_v4();
    let (mut client, welcome) = Client::hello(server.address, me, None).await;
    for feature in ["action", "batch"] {
        assert!(welcome["features"].as_array().unwrap().contains(&feature.into()), "{welcome}");
    }
    AFTER.store(0, Ordering::SeqCst);
    let count = order(1, "count", &json!({"item": "once"}));
    let batched = batch(
        2,
        &[
            json!({"method": "create", "modelname": "Order", "cid": "c", "model": {"item": "once"}}),
            json!({"method": "action", "modelname": "Order", "action": "clear", "args": {"item": "nothing"}}),
        ],
    );
    client.send(&json!([count, batched])).await;
    let (first, second) = (client.answer(&json!(1)).await, client.answer(&json!(2)).await);
    assert_eq!((&first["result"], &first["seq"]), (&json!(1), &json!(1)));
    assert_eq!(first["action"], "count");
    assert_eq!(second["results"][0]["model"]["number"], 2, "{second}");
    assert_eq!((&second["results"][0]["row_seq"], &second["results"][0]["cid"]), (&json!(2), &json!("c")));
    assert_eq!(second["results"][1], json!({"modelname": "Order", "action": "clear", "result": 0}));
    drop(client);
    let (mut client, welcome) = Client::hello(server.address, me, Some(0)).await;
    assert_eq!(welcome["outcomes"], json!([first, second]));
    assert_eq!(client.ask(&count).await, first);
    assert_eq!(client.ask(&batched).await, second);
    let other = order(1, "count", &json!({"item": "twice"}));
    assert_eq!(client.ask(&other).await["code"], "id_conflict");
    // The row as it is by then; the cid is known as long as the outcome is.
    let patch = json!({"method": "patch", "id": 3, "modelname": "Order", "model": {"id": {"$cid": "c"}, "note": "later"}});
    assert_eq!(ask(&mut client, &patch).await["model"]["number"], 2);
    let again = client.ask(&batched).await;
    assert_eq!(
        (&again["results"][0]["model"]["note"], &again["results"][0]["row_seq"]),
        (&json!("later"), &json!(3))
    );
    assert_eq!(again["seq"], 2);
    let orders = server.handle().query::<Order>(Order::ITEM.eq("once")).await.unwrap();
    assert_eq!((orders.len(), AFTER.load(Ordering::SeqCst)), (2, 1));
    drop(client);
    server.stop().await;
    let server = TestServer::start(&store, Limits::default()).await;
    let (mut client, _) = Client::hello(server.address, me, Some(0)).await;
    assert_eq!(client.ask(&count).await, first);
    assert_eq!(client.ask(&batched).await["results"], again["results"]);
    server.stop().await;
}

/// It is run once although the handler was run twice, and not for what was refused.
#[tokio::test]
async fn after_commit_is_run_at_most_once() {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let server = TestServer::memory().await;
    let rows = server.handle();
    let held = gate("after");
    let task = tokio::spawn({
        let rows = rows.clone();
        async move {
            rows.transaction(|ctx| async move {
                ctx.after_commit(async {
                    RUNS.fetch_add(1, Ordering::SeqCst);
                });
                let count = ctx.query(Cell::GROUP.eq("after")).count().await?;
                if ctx.attempt() == 1 {
                    pass("after").await;
                }
                ctx.insert(Cell { id: format!("after{count}"), group: "after".into(), value: 0 }).await
            })
            .await
        }
    });
    held.begun().await;
    rows.insert(Cell { id: String::new(), group: "after".into(), value: 0 }).await.unwrap();
    held.open();
    assert_eq!(task.await.unwrap().unwrap().id, "after1");
    let refused = rows.transaction(|ctx| async move {
        ctx.after_commit(async {
            RUNS.fetch_add(100, Ordering::SeqCst);
        });
        ctx.insert(Cell { id: "refused".into(), group: "after".into(), value: 0 }).await?;
        Err::<(), _>(Error::forbidden("no"))
    });
    assert_eq!(refused.await.unwrap_err().code(), ErrorCode::Forbidden);
    assert!(rows.get::<Cell>("refused").await.unwrap().is_none());
    timeout(Duration::from_secs(5), async {
        while RUNS.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it is not run");
    // Another one after it, so that a second run would have come.
    rows.insert(Cell { id: String::new(), group: "after".into(), value: 0 }).await.unwrap();
    assert_eq!(RUNS.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_batch_is_done_whole_or_not_at_all() {
    let server = TestServer::memory().await;
    let (mut client, mut watcher) = (hello(&server).await, server.client().await);
    watcher.subscribe("Order").await;
    let refused = batch(1, &[create("whole"), create("")]);
    let answer = client.ask(&refused).await;
    assert_eq!(
        (&answer["request"], &answer["index"], &answer["code"], &answer["modelname"]),
        (&json!("batch"), &json!(1), &json!("invalid"), &json!("Order"))
    );
    assert_eq!((&answer["fields"]["item"], &answer["retry"]), (&json!("must not be empty"), &json!(false)));
    assert_eq!(client.ask(&refused).await, answer, "it is recorded");
    assert_eq!(server.handle().query::<Order>(Filter::all()).count().await.unwrap(), 0);

    // Each sees the effects of those before it, names what they made, and what is done to one row is one change.
    let requests = [
        json!({"method": "create", "modelname": "Order", "cid": "one", "model": {"item": "batch"}}),
        json!({"method": "create", "modelname": "Order", "cid": "two", "model": {"item": "batch"}}),
        json!({"method": "patch", "modelname": "Order", "model": {"id": {"$cid": "one"}, "note": {"$cid": "two"}}}),
        json!({"method": "patch", "modelname": "Order", "model": {"id": {"$cid": "one"}, "note": "done"}}),
        json!({"method": "create", "modelname": "Order", "cid": "three", "model": {"item": "batch"}}),
        json!({"method": "delete", "modelname": "Order", "model": {"id": {"$cid": "three"}}}),
        json!({"method": "action", "modelname": "Order", "action": "count", "args": {"item": "batch"}}),
        json!({"method": "create", "modelname": "Order", "model": {"item": "batch", "note": "hidden"}}),
    ];
    let numbers = batch(2, &[requests[0].clone(), requests[1].clone(), requests[2].clone()]);
    let answer = client.ask(&numbers).await;
    assert_eq!(answer["index"], 2, "a note is no number: {answer}");
    let requests: Vec<_> = [0, 1, 3, 4, 5, 6, 7].map(|index: usize| requests[index].clone()).into();
    let answer = ask(&mut client, &batch(3, &requests)).await;
    let results = answer["results"].as_array().unwrap();
    assert_eq!(answer["seq"], 1);
    let numbers: Vec<_> = results.iter().map(|result| result["model"]["number"].clone()).collect();
    assert_eq!(numbers[..2], [json!(1), json!(2)]);
    assert_eq!(results[0]["model"]["note"], "done", "the row as the batch leaves it");
    assert_eq!(results[2]["model"], results[0]["model"]);
    assert_eq!(results[3]["model"], Value::Null, "it is gone again");
    let gone = &results[4]["model"];
    assert!(gone["id"].is_u64() && gone.as_object().unwrap().len() == 1, "{gone}");
    assert_eq!(results[5]["result"], 3);
    assert_eq!(results[6], json!({"modelname": "Order"}), "the client may not see it");

    // In one frame.
    let change = watcher.next("create").await;
    assert_eq!(change["cid"], "one");
    let frame = watcher.frames.last().unwrap();
    let methods: Vec<_> = frame.iter().map(|message| message["method"].as_str().unwrap()).collect();
    assert_eq!(methods, ["create"; 3], "{frame:?}");
    assert!(frame.iter().all(|message| message["seq"] == 1));
    assert_eq!(frame[0]["model"]["note"], "done");
    // The cids of a batch are known later, too.
    let later = json!({"method": "delete", "id": 4, "modelname": "Order", "model": {"id": {"$cid": "two"}}});
    assert_eq!(ask(&mut client, &later).await["model"]["id"], results[1]["model"]["id"]);
}

#[tokio::test]
async fn a_batch_looks_at_seqs_from_before_it() {
    let server = TestServer::memory().await;
    let mut client = hello(&server).await;
    let row = ask(
        &mut client,
        &json!({"method": "create", "id": 1, "modelname": "Order", "model": {"item": "seq"}}),
    )
    .await;
    let patch = |if_seq: u64, note: &str| json!({"method": "patch", "modelname": "Order", "model": {"id": row["model"]["id"], "note": note}, "if_seq": if_seq});
    let answer = ask(&mut client, &batch(2, &[patch(1, "a"), patch(1, "b")])).await;
    assert_eq!(answer["results"][1]["model"]["note"], "b");
    let answer = client.ask(&batch(3, &[patch(2, "c"), patch(1, "d")])).await;
    assert_eq!(
        (&answer["index"], &answer["code"], &answer["retry"]),
        (&json!(1), &json!("conflict"), &json!(false))
    );
    let answer = client.ask(&batch(4, &[create("x"), patch(1, "d")])).await;
    assert_eq!((&answer["current"]["note"], &answer["current_seq"]), (&json!("b"), &json!(2)));
}

#[tokio::test]
async fn malformed_batches_and_actions_are_told_what_is_wrong() {
    let server = TestServer::memory().await;
    let mut client = hello(&server).await;
    let many = vec![create("x"); 101];
    let with_id = json!({"method": "create", "id": 1, "modelname": "Order", "model": {"item": "x"}});
    let with_ack = json!({"method": "create", "ack": 1, "modelname": "Order", "model": {"item": "x"}});
    let cases = [
        (batch(0, &[]), "bad_request", None, "a `batch` has 1 to 100 requests, not 0"),
        (batch(0, &many), "bad_request", None, "a `batch` has 1 to 100 requests, not 101"),
        (
            json!({"method": "batch", "requests": {}}),
            "bad_request",
            None,
            "`requests` must be a list of requests",
        ),
        (json!({"method": "batch"}), "bad_request", None, "`batch` needs `requests`"),
        (
            batch(0, &[create("x"), with_id]),
            "bad_request",
            Some(1),
            "`create` has no field `id`; it has modelname, cid, model, ack",
        ),
        (
            batch(0, &[with_ack]),
            "bad_request",
            Some(0),
            "`create` in a `batch` has no `ack`: the batch has one",
        ),
        (batch(0, &[batch(1, &[])]), "bad_request", Some(0), "`batch` cannot stand in a `batch`"),
        (batch(0, &[json!({"method": "ack"})]), "bad_request", Some(0), "`ack` cannot stand in a `batch`"),
        (
            batch(0, &[json!({"method": "update", "modelname": "Order", "model": {"id": 99, "item": "x"}})]),
            "not_found",
            Some(0),
            "there is no such row",
        ),
        (
            order(0, "clean", &json!({})),
            "method_not_allowed",
            None,
            "`Order` has no action `clean`; it has count, clear, fill, large",
        ),
        (order(0, "count", &json!({"item": "x", "many": 3})), "invalid", None, "many: unknown argument"),
        (order(0, "count", &json!({})), "invalid", None, "item: missing"),
        (
            order(0, "count", &json!({"item": 3})),
            "invalid",
            None,
            "item: invalid type: integer `3`, expected a string",
        ),
        (
            order(0, "fill", &json!({"count": 9_007_199_254_740_993_u64, "bytes": 1})),
            "invalid",
            None,
            "count: is a whole number beyond",
        ),
        (order(0, "count", &json!([1])), "invalid", None, "`args` must be an object"),
        (order(0, "count", &json!({"$cid": "x"})), "bad_request", None, "`args` are the arguments by name"),
        (order(0, "count", &json!({"item": {"$cid": "x"}})), "not_found", None, "no create with the cid `x`"),
        (order(0, "large", &json!({})), "internal", None, "internal error"),
    ];
    for (id, (mut request, code, index, message)) in (1..).zip(cases) {
        request["id"] = id.into();
        let answer = client.ask(&request).await;
        assert_eq!((&answer["code"], &answer["retry"]), (&json!(code), &json!(false)), "{request} {answer}");
        assert_eq!(answer.get("index"), index.map(Value::from).as_ref(), "{answer}");
        assert!(answer["message"].as_str().unwrap().starts_with(message), "{answer}");
        assert_eq!(client.ask(&request).await, answer, "it is recorded");
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let server = TestServer::memory().await;
    let (mut client, mut watcher) = (hello(&server).await, server.client().await);
    watcher.subscribe("Order").await;
    let fill = |id, count: usize, bytes: usize| order(id, "fill", &json!({"count": count, "bytes": bytes}));
    let answer = client.ask(&fill(1, 40, 30_000)).await;
    assert_eq!((&answer["code"], &answer["retry"]), (&json!("too_large"), &json!(false)), "{answer}");
    assert_eq!(client.ask(&fill(2, 0, 70_000)).await["code"], "too_large", "the result");
    assert_eq!(client.ask(&fill(3, 1, 140_000)).await["code"], "too_large", "a row");
    assert_eq!(server.handle().query::<Order>(Filter::all()).count().await.unwrap(), 0);
    // Many small ones are.
    let answer = ask(&mut client, &fill(4, 1_000, 10)).await;
    assert_eq!(answer["result"], "y".repeat(10));
    for _ in 0..1_000 {
        assert_eq!(watcher.next("create").await["seq"], 1);
    }
    assert_eq!(watcher.frames.last().unwrap().len(), 1_000);
}

/// However much a client has had decided and not acknowledged, it is welcomed: what is large is left out, and comes when the same is asked again.
#[tokio::test]
async fn a_client_with_many_large_results_is_welcomed() {
    let server = TestServer::memory().await;
    let me = Uuid::new_v4();
    let (mut client, _) = Client::hello(server.address, me, None).await;
    let fill = |id| order(id, "fill", &json!({"count": 0, "bytes": 60_000}));
    for id in 1..=40 {
        ask(&mut client, &fill(id)).await;
    }
    let short = order(41, "clear", &json!({"item": "nothing"}));
    ask(&mut client, &short).await;
    drop(client);
    let (mut client, welcome) = Client::hello(server.address, me, Some(0)).await;
    let outcomes = welcome["outcomes"].as_array().unwrap();
    assert_eq!(outcomes[0]["result"].as_str().unwrap().len(), 60_000);
    assert_eq!((&outcomes[39]["partial"], outcomes[39].get("result")), (&json!(true), None));
    assert_eq!(outcomes[40]["result"], 0);
    assert_eq!(client.ask(&fill(40)).await["result"].as_str().unwrap().len(), 60_000);
}

/// Of more than its client sees an action with the scope touches nothing.
#[tokio::test]
async fn the_scope_narrows_an_action() {
    let server = TestServer::memory().await;
    let mut client = hello(&server).await;
    let hidden =
        json!({"method": "create", "modelname": "Order", "model": {"item": "scope", "note": "hidden"}});
    ask(&mut client, &batch(1, &[create("scope"), create("scope"), hidden])).await;
    assert_eq!(ask(&mut client, &order(2, "clear", &json!({"item": "scope"}))).await["result"], 2);
    assert_eq!(server.handle().query::<Order>(Order::ITEM.eq("scope")).count().await.unwrap(), 1);
    // Nothing to do: as of the last seq.
    let answer = ask(&mut client, &order(3, "clear", &json!({"item": "scope"}))).await;
    assert_eq!((&answer["result"], &answer["seq"]), (&json!(0), &json!(2)));
    assert_eq!(client.ask(&order(3, "clear", &json!({"item": "scope"}))).await, answer);
}

/// The server's own fields are refused wherever a row comes in, and kept.
#[tokio::test]
async fn the_servers_fields_are_its_own() {
    let server = TestServer::memory().await;
    let mut client = hello(&server).await;
    let row = ask(
        &mut client,
        &json!({"method": "create", "id": 1, "modelname": "Order", "model": {"item": "own"}}),
    )
    .await;
    let id = &row["model"]["id"];
    let mut number = 1;
    for (field, message) in [("number", "is set by the server only"), ("owner", "unknown field")] {
        let value = if field == "number" { json!(7) } else { json!("me") };
        let requests = [
            json!({"method": "create", "modelname": "Order", "model": {"item": "own", field: value}}),
            json!({"method": "update", "modelname": "Order", "model": {"id": id, "item": "own", field: value}}),
            json!({"method": "patch", "modelname": "Order", "model": {"id": id, field: value}}),
        ];
        for request in requests {
            number += 1;
            let mut alone = request.clone();
            alone["id"] = number.into();
            let answer = client.ask(&alone).await;
            assert_eq!((&answer["code"], &answer["fields"][field]), (&json!("invalid"), &json!(message)));
            number += 1;
            let answer = client.ask(&batch(number, &[create("own"), request])).await;
            assert_eq!((&answer["code"], &answer["fields"][field]), (&json!("invalid"), &json!(message)));
            assert_eq!(answer["index"], 1);
        }
    }
    let orders = server.handle().query::<Order>(Order::ITEM.eq("own")).await.unwrap();
    assert_eq!(orders.len(), 1);
    assert_eq!((orders[0].number, orders[0].owner.as_str()), (1, "me"));
    let update = json!({"method": "update", "id": number + 1, "modelname": "Order", "model": {"id": id, "item": "new"}});
    assert_eq!(ask(&mut client, &update).await["model"]["number"], 1);
    assert_eq!(server.handle().get::<Order>(orders[0].id).await.unwrap().unwrap().owner, "me");
}

/// Whose handlers do what they may not.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub struct Wrong {
    id: String,
    #[sync(index)]
    what: String,
}

/// Kept by a handler beyond its time.
static KEPT: Mutex<Option<Context>> = Mutex::new(None);

#[sync_handlers(crud)]
impl Wrong {
    async fn read(ctx: &Context) -> Result<Filter<Wrong>> {
        let what = ctx.get::<Wrong>("read").await?.map(|row| row.what);
        match what.as_deref() {
            Some("insert") => drop(ctx.insert(Wrong { id: String::new(), what: String::new() }).await?),
            Some("after") => ctx.after_commit(async {}),
            Some("scope") => return ctx.scope::<Wrong>().await,
            _ => {}
        }
        Ok(Filter::all())
    }

    #[action]
    async fn keep(ctx: &Context) -> Result<()> {
        *KEPT.lock().unwrap() = Some(ctx.clone());
        Ok(())
    }
}

#[tokio::test]
async fn read_may_only_look() {
    let server = TestServer::memory().await;
    let (rows, mut client) = (server.handle(), server.client().await);
    let mut row = rows.insert(Wrong { id: "read".into(), what: String::new() }).await.unwrap();
    for (what, method) in
        [("", "read"), ("insert", "error"), ("after", "error"), ("scope", "error"), ("", "read")]
    {
        row.what = what.into();
        rows.update(&row).await.unwrap();
        let answer = client
            .ask(&json!({"method": "read", "id": "look", "modelname": "Wrong", "model": {"id": "read"}}))
            .await;
        assert_eq!(answer["method"], method, "{what} {answer}");
        if method == "error" {
            assert_eq!(answer["code"], "internal");
        }
        // Within a transaction alike.
        let patch =
            json!({"method": "patch", "id": 1, "modelname": "Wrong", "model": {"id": "read", "what": what}});
        assert_eq!(client.ask(&patch).await["method"], if method == "read" { "confirm" } else { "error" });
    }
    assert_eq!(rows.query::<Wrong>(Filter::all()).count().await.unwrap(), 1);
}

#[tokio::test]
async fn a_context_does_not_outlive_its_transaction() {
    let server = TestServer::memory().await;
    let rows = server.handle();
    ask(
        &mut hello(&server).await,
        &json!({"method": "action", "id": 1, "modelname": "Wrong", "action": "keep"}),
    )
    .await;
    let kept = KEPT.lock().unwrap().take().unwrap();
    let new = || Wrong { id: "kept".into(), what: String::new() };
    for error in [
        kept.insert(new()).await.map(drop),
        kept.update(&new()).await,
        kept.get::<Wrong>("kept").await.map(drop),
        kept.query::<Wrong>(Filter::all()).await.map(drop),
    ] {
        let error = error.unwrap_err();
        assert!(error.to_string().contains("after its request was decided"), "{error}");
    }
    assert!(rows.get::<Wrong>("kept").await.unwrap().is_none());
}

#[tokio::test]
async fn server_code_has_the_same_calls() {
    let server = TestServer::memory().await;
    let rows = server.handle();
    let mut watcher = server.client().await;
    watcher.subscribe("Order").await;
    let new = || Order { id: 0, item: "handle".into(), note: String::new(), number: 3, owner: "me".into() };
    let first = rows.insert(new()).await.unwrap();
    assert_eq!(watcher.next("create").await["model"]["id"], first.id);
    assert_eq!(rows.get::<Order>(first.id).await.unwrap().unwrap().number, 3);
    let second = rows.insert(new()).await.unwrap();
    assert_ne!(first.id, second.id);
    rows.update(&Order { number: 9, ..second.clone() }).await.unwrap();
    let found = rows.query(Order::ITEM.eq("handle")).order([Order::ITEM.asc()]).limit(1).await.unwrap();
    assert_eq!(found[0].id, first.id);
    assert_eq!(rows.query(Order::ITEM.eq("handle")).limit(0).count().await.unwrap(), 0);
    rows.delete(&first).await.unwrap();
    assert_eq!(rows.delete(&first).await.unwrap_err().code(), ErrorCode::NotFound);
    assert_eq!(rows.update(&first).await.unwrap_err().code(), ErrorCode::NotFound);
    let taken = Cell { id: "taken".into(), group: String::new(), value: 0 };
    rows.insert(taken.clone()).await.unwrap();
    assert_eq!(rows.insert(taken).await.unwrap_err().code(), ErrorCode::AlreadyExists);
    // Several at once, as one change.
    let kept = rows
        .transaction(|ctx| async move {
            for number in 0..3 {
                let order = ctx.insert(Order { number, ..new() }).await?;
                ctx.update(&Order { note: "twice".into(), ..order }).await?;
            }
            let gone = ctx.insert(new()).await?;
            ctx.delete(&gone).await?;
            ctx.query(Order::ITEM.eq("handle")).count().await
        })
        .await
        .unwrap();
    assert_eq!(kept, 4);
    loop {
        let frame = watcher.receive().await;
        if frame["method"] == "create" && frame["model"]["note"] == "twice" {
            break;
        }
    }
    assert_eq!(watcher.frames.last().unwrap().len(), 3);
    server.stop().await;
    assert_eq!(rows.insert(new()).await.unwrap_err().code(), ErrorCode::Shutdown);
    assert_eq!(rows.get::<Order>(first.id).await.unwrap_err().code(), ErrorCode::Shutdown);
}

/// A client knows the types of actions, and is told when they are no more what it was built for.
#[tokio::test]
async fn actions_are_typed() {
    let server = TestServer::memory().await;
    let (_, declarations) = sync_tests::http::get(server.address, "/sync/models.d.ts", "").await;
    for text in [
        "\n/** The actions of `Cell`. */\nexport type CellActions = {\n  /** Does all steps. */\n  run: { args: { steps: Step[] }; result: Seen };\n",
        "  audit: { args: { stop?: string | null }; result: [number, number] };\n",
        "  transfer: { args: { amount: number }; result: null };\n",
        "indexed: \"id\" | \"group\" | \"value\"; actions: CellActions };\n",
        "export interface Seen {\n",
    ] {
        assert!(declarations.contains(text), "{text}\n{declarations}");
    }
    let (_, welcome) = Client::hello(server.address, Uuid::new_v4(), None).await;
    let print = welcome["schema"]["Account"].as_str().unwrap().to_owned();
    let kept = |of: &str| print.split(',').filter(|part| !part.starts_with(of)).collect::<Vec<_>>().join(",");
    for (schema, difference) in [
        (print.clone(), None),
        (kept("audit"), None),
        (kept("audit.stop:"), None),
        (kept("transfer.amount:"), Some("the new argument `amount` of the action `transfer` is required")),
        (format!("{print},close:000000 a"), Some("there is no action `close` any more")),
    ] {
        let mut client = server.client().await;
        client
            .send(&json!({"method": "hello", "client": Uuid::new_v4(), "schema": {"Account": schema}}))
            .await;
        let answer = client.receive().await;
        match difference {
            None => assert_eq!(answer["method"], "welcome", "{answer}"),
            Some(difference) => {
                assert_eq!(answer["code"], "schema_mismatch", "{answer}");
                assert!(answer["message"].as_str().unwrap().contains(difference), "{answer}");
            }
        }
    }
}

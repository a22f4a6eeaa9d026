//! Snapshots, the changes after them, and resuming: contract clauses 1, 2, 5 and 6.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sync_core::Limits;
use sync_tests::{Client, TestServer};

fn create(id: u64, title: &str) -> Value {
    json!({"method":"create","id":id,"modelname":"Todo","cid":format!("c{id}"),"model":{"title":title}})
}

fn note(id: u64, key: &str, secret: bool) -> Value {
    json!({"method":"create","id":id,"modelname":"Note","model":{"key":key,"text":"x","secret":secret}})
}

/// What a client has of one subscription: rows by id, as it would merge them.
#[derive(Default)]
struct Rows {
    by_id: BTreeMap<String, (u64, Option<Value>)>,
    seq: u64,
    live: bool,
    cursor: Value,
    /// What came after `live`.
    changes: Vec<Value>,
}

impl Rows {
    fn apply(&mut self, message: &Value) {
        let seq = message["seq"].as_u64().unwrap_or(0);
        let id = |row: &Value| row.get("id").or(row.get("key")).unwrap().to_string();
        let mut put = |id: String, seq: u64, row: Option<Value>| {
            let old = self.by_id.entry(id).or_insert((0, None));
            if seq > old.0 {
                *old = (seq, row);
            }
        };
        match message["method"].as_str().unwrap() {
            "read" => {
                let rows =
                    message["models"].as_array().unwrap().iter().zip(message["seqs"].as_array().unwrap());
                for (row, seq) in rows {
                    put(id(row), seq.as_u64().unwrap(), Some(row.clone()));
                }
            }
            "changes" => message["changes"].as_array().unwrap().iter().for_each(|change| self.apply(change)),
            method @ ("create" | "update" | "delete" | "remove") => {
                let row = Some(message["model"].clone()).filter(|_| matches!(method, "create" | "update"));
                put(id(&message["model"]), seq, row);
                if self.live {
                    assert!(seq >= self.seq, "in order: {message}");
                    self.seq = seq;
                    self.changes.push(message.clone());
                }
            }
            "live" => {
                self.live = true;
                self.seq = seq;
                self.cursor = message["cursor"].clone();
            }
            "reset" => self.by_id.clear(),
            "progress" | "confirm" | "behind" => {}
            other => panic!("{other}"),
        }
    }

    async fn until_live(&mut self, client: &mut Client) {
        self.live = false;
        while !self.live {
            self.apply(&client.receive().await);
        }
    }

    async fn until_seq(&mut self, client: &mut Client, seq: u64) {
        while self.seq < seq {
            self.apply(&client.receive().await);
        }
    }

    fn titles(&self) -> Vec<&str> {
        self.by_id.values().filter_map(|(_, row)| row.as_ref()?["title"].as_str()).collect()
    }
}

#[tokio::test]
async fn changes_follow_the_snapshot() {
    let server = TestServer::memory().await;
    let mut writer = server.client().await;
    writer.ask(&create(1, "before")).await;
    let mut reader = server.client().await;
    reader.send(&json!({"method":"subscribe","id":"s","modelname":"Todo"})).await;
    assert_eq!(
        reader.next("read").await,
        json!({"method":"read","channel":"sync:Todo","modelname":"Todo","id":"s",
            "models":[{"id":1,"title":"before","completed":false}],"seqs":[1],"seq":1,"more":false})
    );
    let live = reader.next("live").await;
    assert_eq!((&live["id"], &live["seq"], &live["channel"]), (&json!("s"), &json!(1), &json!("sync:Todo")));
    writer.ask(&create(2, "after")).await;
    assert_eq!(
        reader.next("create").await,
        json!({"method":"create","channel":"sync:Todo","modelname":"Todo","cid":"c2",
            "model":{"id":2,"title":"after","completed":false},"seq":2})
    );
    writer.ask(&json!({"method":"patch","id":3,"modelname":"Todo","model":{"id":2,"completed":true}})).await;
    assert_eq!(
        reader.next("update").await,
        json!({"method":"update","channel":"sync:Todo:2","modelname":"Todo",
            "model":{"id":2,"title":"after","completed":true},"seq":3})
    );
    writer.ask(&json!({"method":"delete","id":4,"modelname":"Todo","model":{"id":1}})).await;
    assert_eq!(
        reader.next("delete").await,
        json!({"method":"delete","channel":"sync:Todo:1","modelname":"Todo","model":{"id":1},"seq":4})
    );
    reader.send(&json!({"method":"unsubscribe","id":"s"})).await;
    reader.ask(&json!({"method":"read","id":"sync","modelname":"Todo"})).await;
    writer.ask(&create(5, "unheard")).await;
    let all = reader.ask(&json!({"method":"read","id":"all","modelname":"Todo"})).await;
    assert_eq!(all["seq"], 5);
    assert!(
        !reader.frames.iter().flatten().any(|message| message["seq"] == 5 && message["method"] == "create")
    );
    server.stop().await;
}

#[tokio::test]
async fn a_confirm_leaves_with_the_change_and_after_it() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    client.subscribe("Todo").await;
    client.ask(&create(1, "mine")).await;
    let frame = client.frames.last().unwrap();
    let methods: Vec<_> = frame.iter().map(|message| message["method"].as_str().unwrap()).collect();
    assert_eq!(methods, ["create", "confirm"]);
    assert_eq!(frame[0]["cid"], frame[1]["cid"]);
    server.stop().await;
}

#[tokio::test]
async fn an_open_subscriptions_id_is_taken() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    client.subscribe("Todo").await;
    client.send(&json!({"method":"subscribe","id":"Todo","modelname":"Note"})).await;
    let refused = client.next("error").await;
    assert_eq!((&refused["code"], &refused["id"]), (&json!("subscription_exists"), &json!("Todo")));
    server.stop().await;
}

#[tokio::test]
async fn two_subscriptions_get_a_change_once() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    client.subscribe("Todo").await;
    client.send(&json!({"method":"subscribe","id":2,"modelname":"Todo"})).await;
    client.next("read").await;
    client.next("live").await;
    client.ask(&create(1, "once")).await;
    client.ask(&create(2, "again")).await;
    let creates = client.frames.iter().flatten().filter(|message| message["method"] == "create").count();
    assert_eq!(creates, 2);
    server.stop().await;
}

#[tokio::test]
async fn rows_that_come_into_view_and_leave_it() {
    let server = TestServer::memory().await;
    let mut writer = server.client().await;
    let mut reader = server.client().await;
    writer.ask(&note(1, "a", true)).await;
    let (rows, _) = reader.subscribe("Note").await;
    assert_eq!(rows, Vec::<Value>::new());
    // A hidden row's changes are nobody's business: the next thing that is heard of is another row.
    writer.ask(&note(2, "b", true)).await;
    writer.ask(&note(3, "c", false)).await;
    assert_eq!(reader.next("create").await["model"]["key"], "c");
    let hide = json!({"method":"patch","id":4,"modelname":"Note","model":{"key":"c","secret":true}});
    writer.ask(&hide).await;
    assert_eq!(
        reader.next("remove").await,
        json!({"method":"remove","channel":"sync:Note:c","modelname":"Note","model":{"key":"c"},"seq":4})
    );
    server.stop().await;
}

#[tokio::test]
async fn a_snapshot_comes_in_pages() {
    let server = TestServer::memory().await;
    let mut writer = server.client().await;
    for (id, key) in (1..).zip(["a", "b", "c", "d", "e"]) {
        // `read_all` of a note has two rows a page; hidden rows leave pages short, and none is empty.
        writer.ask(&note(id, key, key == "c" || key == "d")).await;
    }
    let mut reader = server.client().await;
    let (rows, live) = reader.subscribe("Note").await;
    let keys: Vec<_> = rows.iter().map(|row| row["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["a", "b", "e"]);
    assert_eq!(live["seq"], 5);
    let pages: Vec<_> =
        reader.frames.iter().flatten().filter(|message| message["method"] == "read").collect();
    assert_eq!(pages.iter().map(|page| page["more"].as_bool().unwrap()).collect::<Vec<_>>(), [true, false]);

    reader.send(&json!({"method":"read","id":"all","modelname":"Note"})).await;
    let mut rows = Rows::default();
    loop {
        let page = reader.next("read").await;
        rows.apply(&page);
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(rows.by_id.len(), 3);
    server.stop().await;
}

/// Subscribers that come while others write: at `live` each has exactly the rows of that seq, and every change after it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_between_snapshot_and_live() {
    const WRITES: u64 = 300;
    let limits = {
        let mut limits = Limits::default();
        limits.page_rows = 7;
        limits
    };
    let folder = tempfile::tempdir().unwrap();
    for store in ["memory:".to_owned(), format!("sqlite:{}", folder.path().join("gap.db").display())] {
        let server = TestServer::start(&store, limits.clone()).await;
        let address = server.address;
        let writer = tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            let mut last = 0;
            for id in 1..=WRITES {
                let request = match id % 3 {
                    0 => json!({"method":"delete","id":id,"modelname":"Todo","model":{"id": id / 3}}),
                    _ => create(id, &format!("t{id}")),
                };
                let answer = client.ask(&request).await;
                last = answer["seq"].as_u64().unwrap_or(last);
            }
            last
        });
        let readers: Vec<_> = (0..20)
            .map(|_| {
                tokio::spawn(async move {
                    let mut client = Client::connect(address).await;
                    client.send(&json!({"method":"subscribe","id":"s","modelname":"Todo"})).await;
                    let mut rows = Rows::default();
                    rows.until_live(&mut client).await;
                    (client, rows)
                })
            })
            .collect();
        let last = writer.await.unwrap();
        let mut check = server.client().await;
        let (expected, _) = check.subscribe("Todo").await;
        let mut expected: Vec<_> = expected.iter().map(|row| row["title"].as_str().unwrap()).collect();
        expected.sort_unstable();
        for reader in readers {
            let (mut client, mut rows) = reader.await.unwrap();
            rows.until_seq(&mut client, last).await;
            let mut titles = rows.titles();
            titles.sort_unstable();
            assert_eq!(titles, expected);
            let seqs: Vec<_> = rows.changes.iter().map(|change| change["seq"].as_u64().unwrap()).collect();
            assert!(seqs.is_sorted_by(|a, b| a < b), "each change once");
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn a_cursor_brings_exactly_what_was_missed() {
    let server = TestServer::memory().await;
    let mut writer = server.client().await;
    writer.ask(&create(1, "a")).await;
    writer.ask(&create(2, "b")).await;
    let (_, live) = server.client().await.subscribe("Todo").await;
    writer.ask(&json!({"method":"delete","id":3,"modelname":"Todo","model":{"id":1}})).await;
    writer.ask(&create(4, "c")).await;
    let mut reader = server.client().await;
    reader.send(&json!({"method":"subscribe","id":"s","modelname":"Todo","since":live["cursor"]})).await;
    let missed = reader.next("changes").await;
    assert_eq!(missed["id"], "s");
    let methods: Vec<_> = missed["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| (&change["method"], &change["seq"]))
        .collect();
    assert_eq!(methods, [(&json!("delete"), &json!(3)), (&json!("create"), &json!(4))]);
    assert_eq!(reader.next("live").await["seq"], 4);
    writer.ask(&create(5, "d")).await;
    assert_eq!(reader.next("create").await["seq"], 5);
    // Nothing missed.
    let (_, live) = server.client().await.subscribe("Todo").await;
    let mut reader = server.client().await;
    reader.send(&json!({"method":"subscribe","id":"s","modelname":"Todo","since":live["cursor"]})).await;
    assert_eq!(reader.next("live").await["seq"], 5);
    // What came live, or by `progress`, since the cursor was given.
    let mut reader = server.client().await;
    let since =
        json!({"method":"subscribe","id":"s","modelname":"Todo","since":live["cursor"],"since_seq":6});
    writer.ask(&create(6, "e")).await;
    writer.ask(&create(7, "f")).await;
    reader.send(&since).await;
    assert_eq!(reader.next("changes").await["changes"].as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_cursor_that_cannot_be_continued_begins_anew() {
    let server = TestServer::memory().await;
    let mut writer = server.client().await;
    writer.ask(&create(1, "a")).await;
    writer.ask(&note(2, "n", false)).await;
    let cursor = |live: &Value| live["cursor"].as_str().unwrap().to_owned();
    let todos = cursor(&server.client().await.subscribe("Todo").await.1);
    let notes = cursor(&server.client().await.subscribe("Note").await.1);
    let parts: Vec<_> = todos.split('.').collect();
    let beyond = format!("{}.{}.{}", parts[0], 99, parts[2]);
    let other_epoch = format!("{}.{}.{}", uuid::Uuid::new_v4().simple(), parts[1], parts[2]);
    for (since, reason) in
        [("nonsense", "cursor"), (&other_epoch, "epoch"), (&notes, "scope"), (&beyond, "horizon")]
    {
        let mut reader = server.client().await;
        reader.send(&json!({"method":"subscribe","id":"s","modelname":"Todo","since":since})).await;
        let reset = reader.next("reset").await;
        assert_eq!((&reset["id"], &reset["reason"]), (&json!("s"), &json!(reason)));
        assert_eq!(reader.next("read").await["models"].as_array().unwrap().len(), 1);
        reader.next("live").await;
    }
    server.stop().await;
}

/// A client that does not read: what waits for it is bounded, the others do not notice, and it ends with the same rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_catches_up() {
    const WRITES: u64 = 400;
    let limits = {
        let mut limits = Limits::default();
        limits.outbox_bytes = 32 * 1024;
        limits
    };
    let server = TestServer::start("memory:", limits).await;
    let mut slow = server.client().await;
    slow.send(&json!({"method":"subscribe","id":"s","modelname":"Todo"})).await;
    let mut rows = Rows::default();
    rows.until_live(&mut slow).await;
    let mut fast = server.client().await;
    fast.subscribe("Todo").await;
    let text = "x".repeat(50_000);
    let mut writer = server.client().await;
    for id in 1..=WRITES {
        writer.ask(&create(id, &format!("{id} {text}"))).await;
        if id % 2 == 0 {
            writer.ask(&json!({"method":"delete","id":id,"modelname":"Todo","model":{"id":id}})).await;
        }
    }
    let last = WRITES + WRITES / 2;
    // The fast one, meanwhile, has everything.
    while fast.receive().await["seq"] != last {}
    // 20 MB were sent, far more than socket buffers hold: the slow one was given up and catches up from the log.
    rows.until_seq(&mut slow, last).await;
    assert_eq!(rows.titles().len() as u64, WRITES / 2);
    let methods: Vec<_> =
        slow.frames.iter().flatten().map(|message| message["method"].as_str().unwrap()).collect();
    assert!(methods.iter().filter(|method| **method == "live").count() > 1, "it was live all the time");
    writer.ask(&create(0, "and on")).await;
    rows.until_seq(&mut slow, last + 1).await;
    server.stop().await;
}

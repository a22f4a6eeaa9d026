//! `order`, `limit`, `after` and `until`: windows that stay live, and pages.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sync_core::{Context, Filter, Limits, Query, Result, Server, SyncedModel, sync_handlers};
use sync_tests::{Client, TestServer};

/// A row with one field to go by, that may be anything.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Item {
    id: u64,
    #[sync(index)]
    f: Value,
    #[serde(default)]
    #[sync(index)]
    list: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    #[sync(server_only, index)]
    rank: u64,
}

#[sync_handlers(crud)]
impl Item {}

/// The newest first, and never more than three.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct News {
    id: u64,
    #[sync(index)]
    at: i64,
}

#[sync_handlers(crud)]
impl News {
    async fn read(_ctx: &Context) -> Result<Filter<News>> {
        Ok(Filter::all())
    }

    async fn read_all(_ctx: &Context, query: Query<News>) -> Result<Query<News>> {
        Ok(query.order([News::AT.desc()]).limit(3))
    }
}

async fn write(client: &mut Client, method: &str, model: &str, row: Value) -> Value {
    let request = json!({"method": method, "id": 0, "modelname": model, "model": row});
    let answer = client.ask(&request).await;
    assert_eq!(answer["method"], "confirm", "{answer}");
    answer
}

/// Creates items with these values; their ids are 1, 2, 3, …
async fn items(writer: &mut Client, values: &[Value]) {
    for value in values {
        write(writer, "create", "Item", json!({"f": value})).await;
    }
}

async fn patch(writer: &mut Client, id: u64, f: Value) {
    write(writer, "patch", "Item", json!({"id": id, "f": f})).await;
}

async fn delete(writer: &mut Client, id: u64) {
    write(writer, "delete", "Item", json!({"id": id})).await;
}

fn ids(rows: &Value) -> Vec<u64> {
    rows.as_array()
        .unwrap_or_else(|| panic!("{rows}"))
        .iter()
        .map(|row| row["id"].as_u64().unwrap())
        .collect()
}

/// Subscribes to a window; its rows.
async fn watch(client: &mut Client, id: &str, mut request: Value) -> Vec<u64> {
    request["method"] = "subscribe".into();
    request["id"] = id.into();
    if request["modelname"].is_null() {
        request["modelname"] = "Item".into();
    }
    client.send(&request).await;
    until_live(client, id).await
}

async fn until_live(client: &mut Client, id: &str) -> Vec<u64> {
    let mut rows = Vec::new();
    loop {
        let message = client.receive().await;
        match message["method"].as_str().unwrap() {
            "read" if message["id"] == id => rows.extend(ids(&message["models"])),
            "live" if message["id"] == id => {
                assert!(message["cursor"].is_null(), "{message}");
                return rows;
            }
            // It was too slow once more.
            "reset" if message["id"] == id => rows.clear(),
            "progress" => {}
            _ => panic!("{message}"),
        }
    }
}

/// The next change of a window: ids that came in, and ids that went out.
async fn moved(client: &mut Client, id: &str) -> (Vec<u64>, Vec<u64>) {
    let message = client.next("window").await;
    assert_eq!([&message["query"], &message["channel"]], [&json!(id), &json!("sync:Item")], "{message}");
    let outs = message["out"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
    (ids(&message["in"]), outs)
}

#[tokio::test]
async fn a_window_stays_the_first_rows() {
    let server = TestServer::memory().await;
    let (mut client, mut writer) = (server.client().await, server.client().await);
    items(&mut writer, &[10, 20, 30, 40, 50].map(Value::from)).await;
    let window = json!({"order": ["f"], "limit": 3});
    assert_eq!(watch(&mut client, "w", window).await, [1, 2, 3]);

    write(&mut writer, "create", "Item", json!({"f": 15})).await; // 6 comes, 3 is pushed out
    assert_eq!(moved(&mut client, "w").await, (vec![6], vec![3]));
    patch(&mut writer, 2, json!(12)).await; // changes its place within: 1, 2, 6
    assert_eq!(moved(&mut client, "w").await, (vec![2], vec![]));
    write(&mut writer, "patch", "Item", json!({"id": 1, "text": "x"})).await; // changes where it is
    assert_eq!(moved(&mut client, "w").await, (vec![1], vec![]));
    delete(&mut writer, 1).await; // and 3 fills the place
    assert_eq!(moved(&mut client, "w").await, (vec![3], vec![1]));
    patch(&mut writer, 6, json!(90)).await; // moves out, and 4 fills the place
    assert_eq!(moved(&mut client, "w").await, (vec![4], vec![6]));
    patch(&mut writer, 5, json!(60)).await; // not in it, before and after
    patch(&mut writer, 5, json!(1)).await; // moves in
    assert_eq!(moved(&mut client, "w").await, (vec![5], vec![4]));
    server.stop().await;
}

#[tokio::test]
async fn a_window_that_is_not_full_takes_what_comes() {
    let server = TestServer::memory().await;
    let (mut client, mut writer) = (server.client().await, server.client().await);
    assert_eq!(watch(&mut client, "w", json!({"limit": 2})).await, [0; 0]);
    let model = json!({"f": 1});
    writer
        .send(&json!({"method": "create", "id": 0, "modelname": "Item", "cid": "c1", "model": model}))
        .await;
    let message = client.next("window").await;
    let expected = json!({
        "method": "window", "channel": "sync:Item", "modelname": "Item", "query": "w",
        "in": [{"id": 1, "f": 1, "list": "", "text": ""}], "seqs": [1], "cids": ["c1"], "out": [], "seq": 1
    });
    assert_eq!(message, expected);
    writer.answer(&json!(0)).await;
    delete(&mut writer, 1).await;
    let message = client.next("window").await;
    assert_eq!([&message["in"], &message["out"], &message["cids"]], [&json!([]), &json!([1]), &Value::Null]);
    server.stop().await;
}

/// Null, arrays and objects, then booleans, numbers, text; equal ones by id, also where the order goes down.
#[tokio::test]
async fn values_of_all_kinds_have_an_order() {
    let server = TestServer::memory().await;
    let (mut client, mut writer) = (server.client().await, server.client().await);
    let values = [
        json!("b"),
        json!(2.5),
        json!(true),
        json!(null),
        json!("\u{ffff}"),
        json!(-1),
        json!([9]),
        json!("b"),
        json!(false),
    ];
    items(&mut writer, &values).await;
    let up = [4, 7, 9, 3, 6, 2, 1, 8, 5];
    let down = [5, 1, 8, 2, 6, 3, 9, 4, 7];
    for (order, expected) in [("f", up), ("-f", down)] {
        let shape = json!({"order": [order], "limit": 100});
        assert_eq!(watch(&mut client, order, shape.clone()).await, expected);
        let read = json!({"method": "read", "id": "r", "modelname": "Item", "order": [order], "limit": 100});
        assert_eq!(ids(&client.ask(&read).await["models"]), expected);
        let read = json!({"method": "read", "id": "r", "modelname": "Item", "order": [order]});
        assert_eq!(ids(&client.ask(&read).await["models"]), expected);
    }
    server.stop().await;
}

/// Pages follow each other without a gap, whatever comes in before them; each may be live.
#[tokio::test]
async fn pages_follow_by_place() {
    let server = TestServer::memory().await;
    let (mut client, mut writer) = (server.client().await, server.client().await);
    items(&mut writer, &[1, 2, 2, 2, 3, 4].map(Value::from)).await;
    let read = |after: Value| {
        let mut request =
            json!({"method": "read", "id": "r", "modelname": "Item", "order": ["f"], "limit": 2});
        if !after.is_null() {
            request["after"] = after;
        }
        request
    };
    let first = client.ask(&read(Value::Null)).await;
    assert_eq!((ids(&first["models"]), &first["more"]), (vec![1, 2], &json!(true)));
    items(&mut writer, &[json!(0), json!(2)]).await; // before the place, and among the equal ones after it
    let second = client.ask(&read(json!([2, 2]))).await;
    assert_eq!((ids(&second["models"]), &second["more"]), (vec![3, 4], &json!(true)));
    let third = client.ask(&read(json!([2, 4]))).await;
    assert_eq!((ids(&third["models"]), &third["more"]), (vec![8, 5], &json!(true)));
    let last = client.ask(&read(json!([3, 5]))).await;
    assert_eq!((ids(&last["models"]), &last["more"]), (vec![6], &json!(false)));

    // The page after a place as a window, and one between two places as an ordinary query.
    let window = json!({"order": ["f"], "limit": 2, "after": [2, 2]});
    assert_eq!(watch(&mut client, "page", window).await, [3, 4]);
    client.send(&json!({"method": "subscribe", "id": "q", "modelname": "Item", "order": ["f"], "after": [2, 2], "until": [2, 8]})).await;
    assert_eq!(ids(&client.next("read").await["models"]), [3, 4, 8]);
    assert!(client.next("live").await["cursor"].is_string());
    delete(&mut writer, 3).await;
    let message = client.next("delete").await;
    assert_eq!(message["model"]["id"], 3);
    assert_eq!(moved(&mut client, "page").await, (vec![8], vec![3]));
    // In one frame: they are of one transaction.
    assert_eq!(client.frames.last().unwrap().len(), 2);
    patch(&mut writer, 1, json!(2)).await; // equal, but with a smaller id: before the place
    patch(&mut writer, 6, json!(2)).await; // within
    assert_eq!(client.next("update").await["model"]["id"], 6);
    assert_eq!(moved(&mut client, "page").await, (vec![6], vec![8]));
    patch(&mut writer, 4, json!(9)).await;
    assert_eq!(client.next("remove").await["model"]["id"], 4);
    server.stop().await;
}

/// Many rows go at once, more than are kept beyond the limit: the rest is read, and comes.
#[tokio::test]
async fn a_window_fills_up_from_the_store() {
    let server = TestServer::start("memory:", Limits::default()).await;
    let (mut client, mut writer) = (server.client().await, server.client().await);
    items(&mut writer, &(0..60).map(Value::from).collect::<Vec<_>>()).await;
    let filter = json!({"f": {"gte": 0}});
    let mut rows = watch(&mut client, "w", json!({"order": ["f"], "limit": 5, "where": filter})).await;
    assert_eq!(rows, [1, 2, 3, 4, 5]);
    let requests: Vec<_> = (1..=40)
        .map(|id| json!({"method": "patch", "modelname": "Item", "model": {"id": id, "f": -1}}))
        .collect();
    let batch = json!({"method": "batch", "id": 1, "requests": requests});
    assert_eq!(writer.ask(&batch).await["method"], "confirm");
    while rows != [41, 42, 43, 44, 45] {
        let (ins, outs) = moved(&mut client, "w").await;
        rows.retain(|row| !outs.contains(row));
        rows.extend(ins);
        rows.sort_unstable();
        assert!(rows.len() <= 5);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_window_is_never_resumed() {
    let server = TestServer::memory().await;
    let (mut client, mut writer) = (server.client().await, server.client().await);
    items(&mut writer, &[json!(1)]).await;
    let (_, live) = client.subscribe("Item").await;
    let cursor = &live["cursor"];
    client
        .send(&json!({"method": "subscribe", "id": "w", "modelname": "Item", "limit": 3, "since": cursor}))
        .await;
    let reset = client.next("reset").await;
    assert_eq!([&reset["id"], &reset["reason"]], [&json!("w"), &json!("window")]);
    assert_eq!(until_live(&mut client, "w").await, [1]);
    server.stop().await;
}

/// A client that takes nothing for long gets the window anew, whole.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_too_slow_gets_a_window_anew() {
    let mut limits = Limits::default();
    limits.outbox_bytes = 64 * 1024;
    let server = TestServer::start("memory:", limits).await;
    let (mut client, mut writer) = (server.client().await, server.client().await);
    items(&mut writer, &[1, 2, 3, 4].map(Value::from)).await;
    let mut rows = watch(&mut client, "w", json!({"order": ["f"], "limit": 2})).await;
    let text = "x".repeat(30_000);
    for _ in 0..400 {
        write(&mut writer, "patch", "Item", json!({"id": 1, "text": text})).await;
    }
    delete(&mut writer, 1).await;
    let mut was_reset = false;
    while rows != [2, 3] {
        let message = client.receive().await;
        match message["method"].as_str().unwrap() {
            "reset" => {
                assert_eq!(message["reason"], "window");
                was_reset = true;
                rows = until_live(&mut client, "w").await;
            }
            "window" => {
                let outs = message["out"].as_array().unwrap();
                rows.retain(|row| !outs.contains(&json!(row)));
                for row in ids(&message["in"]) {
                    if !rows.contains(&row) {
                        rows.push(row);
                    }
                }
            }
            _ => {}
        }
    }
    assert!(was_reset);
    server.stop().await;
}

#[tokio::test]
async fn a_window_of_too_much_ends() {
    let mut limits = Limits::default();
    limits.window_bytes = 4096;
    let server = TestServer::start("memory:", limits).await;
    let (mut client, mut writer) = (server.client().await, server.client().await);
    let text = "x".repeat(1500);
    for f in [1, 2] {
        write(&mut writer, "create", "Item", json!({"f": f, "text": text})).await;
    }
    assert_eq!(watch(&mut client, "w", json!({"limit": 3})).await, [1, 2]);
    write(&mut writer, "create", "Item", json!({"f": 3, "text": text})).await;
    let error = client.answer(&json!("w")).await;
    assert_eq!(
        [&error["code"], &error["limit"], &error["request"]],
        [&json!("limit"), &json!("window_bytes"), &json!("subscribe")]
    );
    // A smaller one is kept.
    assert_eq!(watch(&mut client, "w", json!({"limit": 2})).await, [1, 2]);
    server.stop().await;
}

#[tokio::test]
async fn a_handler_shapes_what_is_read() {
    let server = TestServer::memory().await;
    let (mut client, mut writer) = (server.client().await, server.client().await);
    for at in [5, 9, 1, 7, 3] {
        write(&mut writer, "create", "News", json!({"at": at})).await;
    }
    let read = |more: Value| {
        let mut request = json!({"method": "read", "id": "r", "modelname": "News"});
        for (name, value) in more.as_object().unwrap() {
            request[name] = value.clone();
        }
        request
    };
    let all = client.ask(&read(json!({}))).await;
    assert_eq!((ids(&all["models"]), &all["more"]), (vec![2, 4, 1], &json!(true)));
    assert_eq!(ids(&client.ask(&read(json!({"limit": 2}))).await["models"]), [2, 4]);
    assert_eq!(ids(&client.ask(&read(json!({"limit": 9, "order": ["at"]}))).await["models"]), [3, 5, 1]);
    assert_eq!(watch(&mut client, "w", json!({"modelname": "News"})).await, [2, 4, 1]);
    write(&mut writer, "create", "News", json!({"at": 8})).await;
    let message = client.next("window").await;
    assert_eq!((ids(&message["in"]), &message["out"]), (vec![6], &json!([1])));
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_order_or_place_is_told() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    let cases = [
        (json!({"order": "f"}), "`order` must be a list of 1 to 3 names"),
        (json!({"order": []}), "`order` must be a list of 1 to 3 names"),
        (json!({"order": ["f", "list", "id", "f"]}), "`order` must be a list of 1 to 3 names"),
        (json!({"order": ["f", "-f"]}), "`order` has `f` twice"),
        (json!({"order": ["text"]}), "`order`: `text` of `Item` cannot be asked for: it can be id, f, list"),
        (json!({"order": ["rank"]}), "`order`: there is no field `rank` in `Item`"),
        (json!({"order": ["nothing"]}), "`order`: there is no field `nothing` in `Item`"),
        (json!({"limit": 0}), "`limit` must be a whole number from 1 to 1000"),
        (json!({"limit": 1001}), "`limit` must be a whole number from 1 to 1000"),
        (json!({"limit": "3"}), "`limit` must be a whole number from 1 to 1000"),
        (json!({"limit": 2.5}), "`limit` must be a whole number from 1 to 1000"),
        (json!({"after": 3}), "`after` must be a list: an id of `Item`"),
        (json!({"after": []}), "`after` must be a list: an id of `Item`"),
        (json!({"after": [1, 2]}), "`after` must be a list: an id of `Item`"),
        (json!({"after": ["x"]}), "`after` must be a list: an id of `Item`"),
        (
            json!({"order": ["f"], "until": [3]}),
            "`until` must be a list: a value for each of f, and then an id of `Item`",
        ),
    ];
    for (shape, expected) in cases {
        for method in ["subscribe", "read"] {
            let mut request = json!({"method": method, "id": "q", "modelname": "Item"});
            for (name, value) in shape.as_object().unwrap() {
                request[name] = value.clone();
            }
            let answer = client.ask(&request).await;
            assert_eq!(answer["code"], "bad_request", "{request} {answer}");
            let message = answer["message"].as_str().unwrap();
            assert!(message.starts_with(expected), "{request}: {message}");
        }
    }
    let both = json!({"method": "read", "id": "r", "modelname": "Item", "model": {"id": 1}, "limit": 3});
    assert_eq!(client.ask(&both).await["code"], "bad_request");
    server.stop().await;
}

#[tokio::test]
async fn a_client_is_told_by_which_fields_it_may_ask() {
    let server = TestServer::memory().await;
    let (_, welcome) = Client::hello(server.address, uuid::Uuid::new_v4(), None).await;
    assert_eq!(welcome["indexed"]["Item"], json!(["f", "list"]));
    assert_eq!(welcome["indexed"]["Todo"], json!([]));
    for feature in ["order", "window"] {
        assert!(welcome["features"].as_array().unwrap().contains(&feature.into()), "{welcome}");
    }
    server.stop().await;
}

/// The windows of many clients, and of one client in another order, with ordinary queries: each hears of its own.
#[tokio::test(flavor = "multi_thread")]
async fn many_watch_one_window() {
    let server = TestServer::on(Server::builder().store("memory:")).await;
    let mut writer = server.client().await;
    items(&mut writer, &[1, 2, 3].map(Value::from)).await;
    let mut clients = Vec::new();
    for number in 0..20 {
        let mut client = server.client().await;
        let id = format!("w{number}");
        assert_eq!(watch(&mut client, &id, json!({"order": ["f"], "limit": 2})).await, [1, 2]);
        assert_eq!(watch(&mut client, "down", json!({"order": ["-f"], "limit": 2})).await, [3, 2]);
        clients.push((id, client));
    }
    write(&mut writer, "create", "Item", json!({"f": 0})).await;
    write(&mut writer, "create", "Item", json!({"f": 9})).await;
    for (id, client) in &mut clients {
        assert_eq!(moved(client, id).await, (vec![4], vec![2]));
        assert_eq!(moved(client, "down").await, (vec![5], vec![2]));
    }
    server.stop().await;
}

/// Many large rows fill up at once: in frames that are no larger than others (which the test's client checks).
#[tokio::test]
async fn large_rows_fill_up_in_parts() {
    let server = TestServer::memory().await;
    let (mut client, mut writer) = (server.client().await, server.client().await);
    let text = "x".repeat(20_000);
    for f in 0..60 {
        write(&mut writer, "create", "Item", json!({"f": f, "text": text})).await;
    }
    let mut rows = watch(&mut client, "w", json!({"order": ["f"], "limit": 25})).await;
    assert_eq!(rows, (1..=25).collect::<Vec<_>>());
    let requests: Vec<_> =
        (1..=25).map(|id| json!({"method": "delete", "modelname": "Item", "model": {"id": id}})).collect();
    writer.ask(&json!({"method": "batch", "id": 1, "requests": requests})).await;
    while rows != (26..=50).collect::<Vec<_>>() {
        let (ins, outs) = moved(&mut client, "w").await;
        rows.retain(|row| !outs.contains(row));
        rows.extend(ins);
    }
    server.stop().await;
}

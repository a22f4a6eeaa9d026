//! `where`: which rows a subscription, or a read of many rows, is about.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sync_core::{Limits, Server, SyncedModel, store::MemoryStore, sync_handlers};
use sync_tests::{Client, TestServer};

/// A row with one field that may be anything.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Any {
    id: u64,
    #[sync(index)]
    f: Value,
}

#[sync_handlers(crud)]
impl Any {}

async fn write(client: &mut Client, method: &str, model: Value) -> Value {
    let request = json!({"method": method, "id": 0, "modelname": "Task", "model": model});
    let answer = client.ask(&request).await;
    assert_eq!(answer["method"], "confirm", "{answer}");
    answer["model"]["id"].clone()
}

async fn task(client: &mut Client, list: &str, priority: i64) -> Value {
    write(client, "create", json!({"list": list, "priority": priority})).await
}

/// Subscribes; the ids of the rows, and the cursor.
async fn subscribe(
    client: &mut Client,
    id: &str,
    filter: Value,
    since: Option<&Value>,
) -> (Vec<Value>, Value) {
    let mut request = json!({"method": "subscribe", "id": id, "modelname": "Task", "where": filter});
    if let Some(since) = since {
        request["since"] = since.clone();
    }
    client.send(&request).await;
    let mut ids = Vec::new();
    loop {
        let message = client.receive().await;
        match message["method"].as_str().unwrap() {
            "read" => ids.extend(message["models"].as_array().unwrap().iter().map(|row| row["id"].clone())),
            "changes" => {
                let changes = message["changes"].as_array().unwrap();
                ids.extend(changes.iter().map(|change| json!([change["method"], change["model"]["id"]])));
            }
            "reset" => ids.push(message["reason"].clone()),
            "live" => return (ids, message["cursor"].clone()),
            _ => {}
        }
    }
}

/// The changes that have come by the time that a row in the list `end` does, which is made for that: method and id.
async fn changes(client: &mut Client, writer: &mut Client) -> Vec<(String, Value)> {
    let end = task(writer, "end", 0).await;
    let mut changes = Vec::new();
    loop {
        let message = client.receive().await;
        let method = message["method"].as_str().unwrap();
        if !["create", "update", "delete", "remove"].contains(&method) {
            continue;
        }
        let id = message["model"]["id"].clone();
        if id == end {
            return changes;
        }
        changes.push((method.to_owned(), id));
    }
}

/// A filter that also holds for the list `end`.
fn or_end(filter: &Value) -> Value {
    json!({"or": [filter, {"list": "end"}]})
}

#[tokio::test]
async fn the_table_of_cases_on_the_wire() {
    let table: Value = serde_json::from_str(include_str!("../cases/filters.json")).unwrap();
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    for value in table["values"].as_array().unwrap() {
        let request = json!({"method": "create", "id": 0, "modelname": "Any", "model": {"f": value}});
        assert_eq!(client.ask(&request).await["method"], "confirm", "{request}");
    }
    let cases = table["cases"].as_array().unwrap();
    assert!(cases.len() > 40);
    for case in cases {
        let request = json!({"method": "read", "id": "r", "modelname": "Any", "where": {"f": case[0]}});
        let answer = client.ask(&request).await;
        let rows = answer["models"].as_array().unwrap_or_else(|| panic!("{answer}"));
        let found: Vec<_> = rows.iter().map(|row| &row["f"]).collect();
        assert_eq!(found, case[1].as_array().unwrap().iter().collect::<Vec<_>>(), "{case}");
    }
    server.stop().await;
}

#[tokio::test]
async fn rows_move_in_and_out_of_a_subscription() {
    let server = TestServer::memory().await;
    let (mut client, mut writer) = (server.client().await, server.client().await);
    let (low, high) = (task(&mut writer, "a", 1).await, task(&mut writer, "a", 5).await);
    task(&mut writer, "b", 5).await;
    let filter = or_end(&json!({"list": "a", "priority": {"gte": 3}}));
    assert_eq!(subscribe(&mut client, "q", filter, None).await.0, std::slice::from_ref(&high));

    write(&mut writer, "patch", json!({"id": low, "priority": 4})).await; // in
    write(&mut writer, "patch", json!({"id": high, "title": "x"})).await; // stays
    write(&mut writer, "patch", json!({"id": high, "list": "b"})).await; // out
    write(&mut writer, "patch", json!({"id": high, "title": "y"})).await; // not there
    task(&mut writer, "b", 9).await; // never there
    let new = task(&mut writer, "a", 9).await;
    write(&mut writer, "delete", json!({"id": new})).await;
    let expected =
        [("update", &low), ("update", &high), ("remove", &high), ("create", &new), ("delete", &new)];
    let expected = expected.map(|(method, id)| (method.to_owned(), id.clone()));
    assert_eq!(changes(&mut client, &mut writer).await, expected);
    server.stop().await;
}

#[tokio::test]
async fn a_filter_never_widens_what_a_client_may_see() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    let secret = json!({"list": "a", "priority": 1, "title": "secret"});
    client.send(&json!({"method": "create", "id": 1, "modelname": "Task", "model": secret})).await;
    let confirm = client.answer(&json!(1)).await;
    assert!(confirm["model"].is_null(), "{confirm}");
    let seen = task(&mut client, "a", 2).await;
    for filter in [
        json!({}),
        json!({"list": {}}),
        json!({"list": "a"}),
        json!({"not": {"list": "b"}}),
        json!({"or": [{"priority": 1}, {}]}),
    ] {
        let answer =
            client.ask(&json!({"method": "read", "id": "r", "modelname": "Task", "where": filter})).await;
        let ids: Vec<_> = answer["models"].as_array().unwrap().iter().map(|row| &row["id"]).collect();
        assert_eq!(ids, [&seen], "{filter}");
    }
    server.stop().await;
}

#[tokio::test]
async fn one_message_for_a_row_of_several_subscriptions() {
    let server = TestServer::memory().await;
    let (mut client, mut writer) = (server.client().await, server.client().await);
    let id = task(&mut writer, "a", 5).await;
    subscribe(&mut client, "list", or_end(&json!({"list": "a"})), None).await;
    subscribe(&mut client, "high", json!({"priority": {"gt": 3}}), None).await;
    write(&mut writer, "patch", json!({"id": id, "priority": 1})).await; // left one of them
    write(&mut writer, "patch", json!({"id": id, "list": "b"})).await; // and the other
    let expected = [("update".to_owned(), id.clone()), ("remove".to_owned(), id)];
    assert_eq!(changes(&mut client, &mut writer).await, expected);
    server.stop().await;
}

#[tokio::test]
async fn a_cursor_is_continued_by_the_same_filter_however_it_is_written() {
    let server = TestServer::memory().await;
    let mut writer = server.client().await;
    let kept = task(&mut writer, "a", 5).await;
    let left = task(&mut writer, "a", 6).await;
    let filter = json!({"list": {"in": ["a", "b"]}, "priority": {"gte": 3}});
    let (ids, cursor) = subscribe(&mut server.client().await, "q", filter, None).await;
    assert_eq!(ids, [kept.clone(), left.clone()]);

    write(&mut writer, "patch", json!({"id": left, "list": "c"})).await;
    let new = task(&mut writer, "b", 3).await;
    task(&mut writer, "c", 3).await;
    let same = json!({"and": [{"priority": {"gte": 3}}, {"or": [{"list": "b"}, {"list": {"eq": "a"}}, {"list": "b"}]}]});
    let (missed, _) = subscribe(&mut server.client().await, "q", same, Some(&cursor)).await;
    assert_eq!(missed, [json!(["remove", left]), json!(["create", new])]);

    let other = json!({"list": {"in": ["a", "b"]}, "priority": {"gte": 2}});
    let (anew, _) = subscribe(&mut server.client().await, "q", other, Some(&cursor)).await;
    assert_eq!(anew, [json!("scope"), kept, new]);
    server.stop().await;
}

/// The log does not reach back to where the client was: it gets all rows anew, and still those of its filter alone.
#[tokio::test]
async fn a_filter_is_kept_where_the_log_was_cut() {
    let store = MemoryStore::new().log_retention(1);
    let server = TestServer::on(Server::builder().custom_store(store)).await;
    let mut writer = server.client().await;
    let kept = task(&mut writer, "a", 5).await;
    let filter = or_end(&json!({"list": "a", "priority": {"gte": 3}}));
    let (_, cursor) = subscribe(&mut server.client().await, "q", filter.clone(), None).await;
    for _ in 0..200 {
        task(&mut writer, "b", 5).await;
    }
    let mut client = server.client().await;
    let (anew, _) = subscribe(&mut client, "q", filter, Some(&cursor)).await;
    assert_eq!(anew, [json!("horizon"), kept.clone()]);
    task(&mut writer, "b", 5).await;
    write(&mut writer, "patch", json!({"id": kept, "priority": 2})).await;
    assert_eq!(changes(&mut client, &mut writer).await, [("remove".to_owned(), kept)]);
    server.stop().await;
}

/// So does a `read` of so many rows that the log is cut between its pages.
#[tokio::test]
async fn a_long_read_keeps_its_filter_where_the_log_was_cut() {
    let store = MemoryStore::new().log_retention(1);
    let mut limits = Limits::default();
    limits.outbox_bytes = 1024;
    let server = TestServer::on(Server::builder().custom_store(store).limits(limits)).await;
    let (mut client, mut writer) = (server.client().await, server.client().await);
    let title = "x".repeat(60_000);
    for list in ["a", "b"].repeat(120) {
        let title = if list == "a" { &title } else { "" };
        write(&mut writer, "create", json!({"list": list, "priority": 1, "title": title})).await;
    }
    client.send(&json!({"method": "read", "id": "r", "modelname": "Task", "where": {"list": "a"}})).await;
    assert_eq!(client.receive().await["more"], true);
    // It does not take what is sent: more than what the line holds.
    for _ in 0..200 {
        task(&mut writer, "a", 2).await;
    }
    let mut was_reset = false;
    loop {
        let message = client.receive().await;
        was_reset |= message["reason"] == "horizon";
        let rows = message["models"].as_array().into_iter().flatten();
        assert!(rows.into_iter().all(|row| row["list"] == "a"), "{message}");
        if message["more"] == false {
            break;
        }
    }
    assert!(was_reset);
    server.stop().await;
}

#[tokio::test]
async fn each_of_many_lists_hears_of_its_own() {
    let server = TestServer::memory().await;
    let mut writer = server.client().await;
    let mut clients = Vec::new();
    for list in 0..50 {
        let mut client = server.client().await;
        subscribe(&mut client, "q", or_end(&json!({"list": format!("list {list}")})), None).await;
        clients.push(client);
    }
    let mut ids = Vec::new();
    for list in 0..50 {
        ids.push(task(&mut writer, &format!("list {list}"), 1).await);
    }
    // From the first list to the second: two hear of it.
    write(&mut writer, "patch", json!({"id": ids[0], "list": "list 1"})).await;
    let mut heard = Vec::new();
    for client in &mut clients {
        let mut of_one = changes(client, &mut writer).await;
        // The ends of those before it.
        of_one.retain(|(_, id)| ids.contains(id));
        heard.push(of_one);
    }
    for (list, heard) in heard.into_iter().enumerate() {
        let mut expected = vec![("create".to_owned(), ids[list].clone())];
        match list {
            0 => expected.push(("remove".to_owned(), ids[0].clone())),
            1 => expected.push(("update".to_owned(), ids[0].clone())),
            _ => {}
        }
        assert_eq!(heard, expected, "list {list}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_filter_is_told() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    let long = json!({"list": {"in": vec!["x"; 257]}});
    let large = json!({"list": "x".repeat(16 * 1024 - r#"{"list":""}"#.len() + 1)});
    let many = json!({"or": (0..257).map(|_| json!({"list": {"prefix": "x"}})).collect::<Vec<_>>()});
    for (filter, message) in [
        (json!(1), "`where` must be made of objects, with no name given twice"),
        (json!([]), "`where` must be made of objects, with no name given twice"),
        (json!({"and": {}}), "`where`: `and` takes a list of objects"),
        (json!({"or": [1]}), "`where` must be made of objects, with no name given twice"),
        (json!({"colour": 1}), "`where`: there is no field `colour` in `Task`"),
        (json!({"owner": "nobody"}), "`where`: there is no field `owner` in `Task`"),
        (
            json!({"title": "x"}),
            "`where`: `title` of `Task` cannot be asked for: it can be id, list, priority, done",
        ),
        (
            json!({"list": ["a"]}),
            "`where`: `list` takes a value, or an object of eq, ne, lt, lte, gt, gte, in, prefix",
        ),
        (
            json!({"list": {"like": "a"}}),
            "`where`: `list`: no operator `like`; there are eq, ne, lt, lte, gt, gte, in, prefix",
        ),
        (json!({"list": {"in": "a"}}), "`where`: `in` of `list` takes a list of values"),
        (json!({"list": {"prefix": 1}}), "`where`: `prefix` of `list` takes a string"),
        (long, "`where` compares with more than 256 values"),
        (many, "`where` compares with more than 256 values"),
        (large, "`where` must be of at most 16384 bytes"),
    ] {
        for method in ["read", "subscribe"] {
            let request = json!({"method": method, "id": "q", "modelname": "Task", "where": filter});
            let answer = client.ask(&request).await;
            assert_eq!(
                (&answer["code"], &answer["message"]),
                (&json!("bad_request"), &json!(message)),
                "{request}"
            );
        }
    }
    let twice = r#"{"method":"read","id":"q","modelname":"Task","where":{"list":"a","list":"b"}}"#;
    client.send_text(twice).await;
    assert_eq!(client.answer(&json!("q")).await["code"], "bad_request");
    let unsafe_number = json!({"priority": 9_007_199_254_740_993_i64});
    let answer =
        client.ask(&json!({"method": "read", "id": "q", "modelname": "Task", "where": unsafe_number})).await;
    assert_eq!(answer["code"], "invalid");
    let both = json!({"method": "read", "id": "q", "modelname": "Task", "model": {"id": 1}, "where": {}});
    assert_eq!(
        client.ask(&both).await["message"],
        "a `read` has a `model`, or a `where`, `order`, `limit`, `after` and `until`"
    );
    // The largest filters that there may be.
    for filter in [
        json!({"list": {"in": vec!["x"; 256]}}),
        json!({"list": "x".repeat(16 * 1024 - r#"{"list":""}"#.len())}),
    ] {
        let answer =
            client.ask(&json!({"method": "read", "id": "q", "modelname": "Task", "where": filter})).await;
        assert_eq!(answer["method"], "read", "{answer}");
    }
    // And the connection goes on.
    assert_eq!(
        client.ask(&json!({"method": "read", "id": "q", "modelname": "Task", "where": {"id": 1}})).await["method"],
        "read"
    );
    server.stop().await;
}

/// From one of a subscription's lists to another: the row stays, live, while it is loaded and out of the log alike.
#[tokio::test]
async fn a_row_moves_between_the_values_of_a_filter() {
    let mut limits = Limits::default();
    limits.page_rows = 1;
    let server = TestServer::start("memory:", limits).await;
    let (mut client, mut writer) = (server.client().await, server.client().await);
    let id = task(&mut writer, "a", 1).await;
    task(&mut writer, "b", 2).await;
    let filter = json!({"list": {"in": ["a", "b", "end"]}, "priority": {"gte": 0}});
    let (_, cursor) = subscribe(&mut client, "q", filter.clone(), None).await;
    let update = || vec![("update".to_owned(), id.clone())];
    write(&mut writer, "patch", json!({"id": id, "list": "b"})).await;
    assert_eq!(changes(&mut client, &mut writer).await, update());
    write(&mut writer, "patch", json!({"id": id, "list": "c"})).await;
    assert_eq!(changes(&mut client, &mut writer).await, [("remove".to_owned(), id.clone())]);
    write(&mut writer, "patch", json!({"id": id, "list": "a"})).await;
    assert_eq!(changes(&mut client, &mut writer).await, update());
    write(&mut writer, "patch", json!({"id": id, "list": "b"})).await;
    assert_eq!(changes(&mut client, &mut writer).await, update());

    let mut late = server.client().await;
    let (missed, _) = subscribe(&mut late, "q", filter, Some(&cursor)).await;
    let of_row: Vec<_> = missed.iter().filter(|change| change[1] == id).collect();
    assert_eq!(of_row, [&json!(["update", id])]);
    write(&mut writer, "patch", json!({"id": id, "list": "a"})).await;
    assert_eq!(changes(&mut late, &mut writer).await, update());
    server.stop().await;
}

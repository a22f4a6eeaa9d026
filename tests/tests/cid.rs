//! A client names the rows that it creates itself by their cid, before it knows their ids.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sync_core::{Context, Filter, Limits, Result, SyncedModel, sync_handlers};
use sync_tests::{Client, TestServer, models};
use uuid::Uuid;

/// Names other rows, in fields of every shape.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub struct Link {
    /// Assigned by the server.
    pub id: u64,
    /// One row.
    pub todo: u64,
    /// Anything that JSON can say.
    #[serde(default)]
    pub more: Value,
}

#[sync_handlers(crud)]
impl Link {}

/// Seen by its owner alone, who may give it away.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub struct Secret {
    /// Assigned by the server.
    pub id: u64,
    /// Who is to have it next.
    #[serde(default)]
    pub next: String,
    /// Who has it.
    #[sync(server_only, index)]
    pub owner: String,
}

fn name(ctx: &Context) -> String {
    ctx.client().map_or_else(String::new, |client| client.to_string())
}

#[sync_handlers]
impl Secret {
    async fn create(ctx: &Context, draft: Secret) -> Result<Secret> {
        Ok(Secret { owner: name(ctx), ..draft })
    }

    async fn update(_ctx: &Context, _current: &Secret, next: Secret) -> Result<Secret> {
        Ok(Secret { owner: next.next.clone(), ..next })
    }

    async fn read(ctx: &Context) -> Result<Filter<Secret>> {
        Ok(Secret::OWNER.eq(name(ctx)))
    }
}

fn create(id: u64, cid: &str, title: &str) -> Value {
    json!({"method":"create","id":id,"modelname":"Todo","cid":cid,"model":{"title":title}})
}

fn cid(cid: &str) -> Value {
    json!({ "$cid": cid })
}

async fn hello(server: &TestServer) -> Client {
    Client::hello(server.address, Uuid::new_v4(), None).await.0
}

#[tokio::test]
async fn a_new_row_is_changed_and_deleted_in_the_same_frame() {
    let server = TestServer::memory().await;
    let (mut client, welcome) = Client::hello(server.address, Uuid::new_v4(), None).await;
    assert!(welcome["features"].as_array().unwrap().contains(&json!("cid")), "{welcome}");
    client
        .send(&json!([
            create(1, "a", "milk"),
            create(2, "b", "tea"),
            {"method":"patch","id":3,"modelname":"Todo","model":{"id":cid("b"),"completed":true}},
            {"method":"update","id":4,"modelname":"Todo","model":{"title":"green tea","id":cid("b")}},
            {"method":"read","id":"read","modelname":"Todo","model":{"id":cid("b")}},
            {"method":"delete","id":5,"modelname":"Todo","model":{"id":cid("a")}},
        ]))
        .await;
    // The answer to a read has no place among the confirms.
    let mut answers = HashMap::new();
    while answers.len() < 6 {
        let answer = client.receive().await;
        answers.insert(answer["id"].to_string(), answer);
    }
    for id in ["1", "2"] {
        assert_eq!(answers[id]["method"], "confirm");
    }
    let patched = &answers["3"];
    assert_eq!(patched["model"], json!({"id":2,"title":"tea","completed":true}));
    assert_eq!((&patched["channel"], patched.get("cid")), (&json!("sync:Todo:2"), None));
    let updated = &answers["4"];
    assert_eq!(updated["model"], json!({"id":2,"title":"green tea","completed":false}));
    let read = &answers["\"read\""];
    assert_eq!((&read["model"], &read["channel"]), (&updated["model"], &json!("sync:Todo:2")));
    let deleted = &answers["5"];
    assert_eq!((&deleted["model"], &deleted["channel"]), (&json!({"id":1}), &json!("sync:Todo:1")));
    server.stop().await;
}

#[tokio::test]
async fn other_rows_name_it_at_any_depth() {
    let server = TestServer::memory().await;
    let mut client = hello(&server).await;
    // Without a field of its own for it, and with numbers that must stay as they are.
    let text = r#"{"method":"create","id":2,"modelname":"Link","model":{"todo": { "$cid" : "\u0061" } ,
        "more":{"list":[{"$cid":"a"},[{"x":{"$cid":"a"}}]],"n":1.50,"key":"$cid","$cid ":"\"$cid\":"}}}"#;
    client.send(&create(1, "a", "milk")).await;
    client.send_text(text).await;
    let linked = client.answer(&json!(2)).await;
    assert_eq!(
        linked["model"],
        json!({"id":1,"todo":1,"more":{"list":[1,[{"x":1}]],"n":1.5,"key":"$cid","$cid ":"\"$cid\":"}})
    );
    server.stop().await;
}

#[tokio::test]
async fn a_text_id_stays_text() {
    let server = TestServer::memory().await;
    let mut client = hello(&server).await;
    let note = |id, cid: &str, model: Value| json!({"method":"create","id":id,"modelname":"Note","cid":cid,"model":model});
    client.ask(&note(1, "chosen", json!({"key":"a\"b","text":"x"}))).await;
    let made = client.ask(&note(2, "made", json!({"text":"x"}))).await;
    let patch = |id, cid: &str| json!({"method":"patch","id":id,"modelname":"Note","model":{"key":{"$cid":cid},"text":"y"}});
    assert_eq!(client.ask(&patch(3, "chosen")).await["model"]["key"], "a\"b");
    assert_eq!(client.ask(&patch(4, "made")).await["model"]["key"], made["model"]["key"]);
    // A new row may take the id of any other.
    client
        .ask(&json!({"method":"create","id":5,"modelname":"Counter","model":{"id":cid("made"),"count":0}}))
        .await;
    let same = client
        .ask(&json!({"method":"read","id":6,"modelname":"Counter","model":{"id":made["model"]["key"]}}))
        .await;
    assert_eq!(same["model"]["count"], 0);
    server.stop().await;
}

#[tokio::test]
async fn a_repeat_gets_the_stored_outcome_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("cid.db").display());
    let me = Uuid::new_v4();
    let server = TestServer::start(&store, Limits::default()).await;
    let (mut client, _) = Client::hello(server.address, me, None).await;
    let patch = json!({"method":"patch","id":3,"modelname":"Todo","model":{"id":cid("b"),"completed":true}});
    let unknown = json!({"method":"delete","id":4,"modelname":"Todo","model":{"id":cid("c")}});
    client.send(&json!([create(1, "a", "milk"), create(2, "b", "tea"), patch, unknown])).await;
    let patched = client.answer(&json!(3)).await;
    let refused = client.answer(&json!(4)).await;
    // The same line, another line, another run of the server.
    assert_eq!(client.ask(&patch).await, patched);
    let (mut client, welcome) = Client::hello(server.address, me, Some(0)).await;
    assert_eq!(welcome["outcomes"][2], patched);
    assert_eq!(client.ask(&patch).await, patched);
    server.stop().await;
    let server = TestServer::start(&store, Limits::default()).await;
    let (mut client, welcome) = Client::hello(server.address, me, Some(0)).await;
    assert_eq!(welcome["outcomes"][2], patched);
    assert_eq!(client.ask(&patch).await, patched);
    assert_eq!(client.ask(&unknown).await, refused);
    // What was created before it can be named after it.
    let deleted =
        client.ask(&json!({"method":"delete","id":5,"modelname":"Todo","model":{"id":cid("b")}})).await;
    assert_eq!(deleted["model"], json!({"id":2}));
    server.stop().await;
}

#[tokio::test]
async fn what_was_refused_or_is_not_known_is_not_found() {
    let server = TestServer::memory().await;
    let mut client = hello(&server).await;
    let read =
        |cid: &str| json!({"method":"read","id":"read","modelname":"Todo","model":{"id":{"$cid":cid}}});
    let delete =
        |id, cid: &str| json!({"method":"delete","id":id,"modelname":"Todo","model":{"id":{"$cid":cid}}});
    client.send(&json!([create(1, "empty", " "), delete(2, "empty"), delete(3, "never")])).await;
    let refused = [client.answer(&json!(2)).await, client.answer(&json!(3)).await];
    for (refused, (id, cid)) in refused.into_iter().zip([(2, "empty"), (3, "never")]) {
        let message =
            format!("no create with the cid `{cid}` is known: it was refused, acknowledged, or never sent");
        assert_eq!((&refused["code"], &refused["retry"]), (&json!("not_found"), &json!(false)), "{refused}");
        assert_eq!(refused["message"], message);
        assert_eq!(client.ask(&delete(id, cid)).await, refused, "recorded");
        assert_eq!(client.ask(&read(cid)).await["message"], message);
    }
    // The cid of a refused create may be used again, and one that was acknowledged is gone.
    client.ask(&create(4, "empty", "not empty")).await;
    assert_eq!(client.ask(&read("empty")).await["model"]["title"], "not empty");
    client.send(&json!({"method":"ack","ack":4})).await;
    // Decided after the acknowledgement, so that is done.
    client.ask(&create(5, "next", "x")).await;
    assert_eq!(client.ask(&read("empty")).await["code"], "not_found");
    // Another client's creates are its own.
    let mut another = hello(&server).await;
    assert_eq!(another.ask(&read("next")).await["code"], "not_found");
    server.stop().await;
}

#[tokio::test]
async fn a_row_of_another_model_is_not_the_target() {
    let server = TestServer::memory().await;
    let mut client = hello(&server).await;
    client.ask(&create(1, "todo", "milk")).await;
    client
        .ask(&json!({"method":"create","id":2,"modelname":"Link","cid":"link","model":{"todo":cid("todo")}}))
        .await;
    let model = json!({"id":cid("todo"),"todo":cid("todo")});
    for (id, method) in [(3, "update"), (4, "patch"), (5, "delete"), (6, "read")] {
        let model = if id < 5 { model.clone() } else { json!({"id":cid("todo")}) };
        let refused = client.ask(&json!({"method":method,"id":id,"modelname":"Link","model":model})).await;
        assert_eq!(refused["code"], "not_found", "{refused}");
        assert_eq!(refused["message"], "the cid `todo` names a row of `Todo`, not of `Link`");
        if id == 5 {
            // The link that has the number of the todo is still there.
            let all = client.ask(&json!({"method":"read","id":"all","modelname":"Link"})).await;
            assert_eq!(all["models"].as_array().unwrap().len(), 1);
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn of_two_creates_the_last_counts() {
    let server = TestServer::memory().await;
    let mut client = hello(&server).await;
    for (id, title) in [(1, "first"), (2, "second"), (3, " ")] {
        client.send(&create(id, "same", title)).await;
    }
    assert_eq!(client.answer(&json!(3)).await["code"], "invalid", "and is no create");
    let patch =
        json!({"method":"patch","id":4,"modelname":"Todo","model":{"id":cid("same"),"completed":true}});
    assert_eq!(client.ask(&patch).await["model"]["title"], "second");
    server.stop().await;
}

/// The name that a client gave to a row shows it no more of the row than its id does.
#[tokio::test]
async fn a_row_that_is_out_of_view_is_not_found_by_its_cid() {
    let server = TestServer::memory().await;
    let mut client = hello(&server).await;
    client.ask(&json!({"method":"create","id":1,"modelname":"Secret","cid":"s","model":{}})).await;
    let read = json!({"method":"read","id":"read","modelname":"Secret","model":{"id":cid("s")}});
    assert_eq!(client.ask(&read).await["model"], json!({"id":1,"next":""}));
    let patch = |id, next: &str| json!({"method":"patch","id":id,"modelname":"Secret","model":{"id":cid("s"),"next":next}});
    let given = client.ask(&patch(2, "somebody")).await;
    assert_eq!((&given["method"], given.get("model")), (&json!("confirm"), None));
    for request in [read, patch(3, "me")] {
        let refused = client.ask(&request).await;
        assert_eq!(
            (&refused["code"], &refused["message"]),
            (&json!("not_found"), &json!("there is no such row"))
        );
        assert!(refused.get("fields").is_none() && refused.get("current").is_none(), "{refused}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_malformed_reference_is_told() {
    let server = TestServer::memory().await;
    let mut client = hello(&server).await;
    client.ask(&create(1, "a", "milk")).await;
    let malformed = "a reference is an object with `$cid`, a string, and nothing else";
    let whole = "`model` is a row: its fields may be references, not the whole of it";
    let refusals = [
        (json!({"todo":1,"more":{"$cid":"a","x":1}}), malformed),
        (json!({"todo":1,"more":{"a":[],"$cid":"a"}}), malformed),
        (json!({"todo":{"$cid":7}}), malformed),
        (json!({"todo":{"$cid":{"$cid":"a"}}}), malformed),
        (json!({"todo":{"$cid":null}}), malformed),
        (json!({"todo":1,"$cid":"a"}), malformed),
        (json!({"$cid":"a"}), whole),
    ];
    for (id, (model, message)) in (2_u64..).zip(refusals) {
        let request = json!({"method":"create","id":id,"modelname":"Link","model":model});
        let refused = client.ask(&request).await;
        assert_eq!(
            (&refused["code"], &refused["retry"]),
            (&json!("bad_request"), &json!(false)),
            "{request}"
        );
        assert_eq!(refused["message"], message, "{request}");
        assert_eq!(client.ask(&request).await, refused, "recorded");
    }
    let read = json!({"method":"read","id":"r","modelname":"Todo","model":{"id":{"$cid":"a","x":1}}});
    assert_eq!(client.ask(&read).await["message"], malformed);
    // Something around a reference is no id.
    for (method, id) in [("read", 9), ("patch", 9), ("delete", 10)] {
        let request = json!({"method":method,"id":id,"modelname":"Todo","model":{"id":[cid("a")]}});
        let refused = client.ask(&request).await;
        let message = refused["message"].as_str().unwrap();
        assert!(
            message.contains("must be a whole number or a string") || message.contains("is not an id"),
            "{refused}"
        );
    }
    server.stop().await;
}

/// Ids are longer than what names them: a message of 64 KiB must not become a row of megabytes that a handler is given.
#[tokio::test]
async fn a_row_that_its_ids_make_too_large_is_refused_at_once() {
    let mut limits = Limits::default();
    limits.row_bytes = 4096;
    let server = TestServer::start("memory:", limits).await;
    let mut client = hello(&server).await;
    let key = "\u{1}".repeat(256);
    client
        .ask(&json!({"method":"create","id":1,"modelname":"Note","cid":"k","model":{"key":key,"text":"x"}}))
        .await;
    let link = |id, count| json!({"method":"create","id":id,"modelname":"Link","model":{"todo":1,"more":vec![cid("k"); count]}});
    assert_eq!(client.ask(&link(2, 2)).await["model"]["more"], json!([key, key]));
    let request = link(3, 4000);
    let refused = client.ask(&request).await;
    assert_eq!((&refused["code"], &refused["retry"]), (&json!("too_large"), &json!(false)), "{refused}");
    assert_eq!(refused["message"], "a row has at most 4096 bytes of JSON, and its ids alone are more");
    assert_eq!(client.ask(&request).await, refused, "recorded");
    server.stop().await;
}

#[tokio::test]
async fn only_after_hello() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    client.ask(&create(1, "a", "milk")).await;
    for method in ["delete", "read"] {
        let refused =
            client.ask(&json!({"method":method,"id":2,"modelname":"Todo","model":{"id":cid("a")}})).await;
        assert_eq!(refused["code"], "bad_request");
        assert_eq!(
            refused["message"],
            "a `$cid` names an earlier create of the same client: say `hello` first"
        );
    }
    server.stop().await;
}

/// Nothing of a connection without a `hello` must be sent again before something else, so nothing waits for it.
#[tokio::test]
async fn without_hello_it_is_not_to_be_sent_again() {
    let mut limits = Limits::default();
    limits.in_flight = 1;
    let server = TestServer::start("memory:", limits).await;
    let mut client = server.client().await;
    let read = json!({"method":"read","id":"read","modelname":"Todo","model":{"id":cid("a")}});
    client.send(&json!([create(1, "a", "milk"), create(2, "b", "tea"), read])).await;
    assert_eq!(client.answer(&json!(2)).await["limit"], "in_flight");
    let refused = client.answer(&json!("read")).await;
    assert_eq!((&refused["code"], &refused["retry"]), (&json!("bad_request"), &json!(false)), "{refused}");
    server.stop().await;
}

#[tokio::test]
async fn the_same_text_in_a_string_is_only_text() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    for (id, title) in [(1, r#"{"$cid":"x"}"#), (2, r#""$cid""#), (3, "$cid"), (4, r#"\"$cid":"x"#)] {
        assert_eq!(client.ask(&create(id, "c", title)).await["model"]["title"], title);
    }
    // As a value, beside the name of a field.
    let text = r#"{"method":"create","id":5,"modelname":"Todo","model":{"title":"$cid"}}"#;
    client.send_text(text).await;
    assert_eq!(client.answer(&json!(5)).await["model"]["title"], "$cid");
    server.stop().await;
}

/// What stands behind a mutation that must be sent again waits for it, and is not told that there is no such row.
#[tokio::test]
async fn a_reference_waits_for_a_create_that_must_be_sent_again() {
    let mut limits = Limits::default();
    limits.in_flight = 1;
    let server = TestServer::start("memory:", limits).await;
    let mut client = hello(&server).await;
    client.ask(&json!({"method":"create","id":1,"modelname":"Slow","model":{"id":"cid","count":0}})).await;
    let read = json!({"method":"read","id":"read","modelname":"Todo","model":{"id":cid("late")}});
    client.send(&json!({"method":"patch","id":2,"modelname":"Slow","model":{"id":"cid"}})).await;
    client.send(&create(3, "late", "too many at once")).await;
    assert_eq!(client.answer(&json!(3)).await["limit"], "in_flight");
    let refused = client.ask(&read).await;
    assert_eq!((&refused["code"], &refused["retry"]), (&json!("retry"), &json!(true)), "{refused}");
    models::slow_gate().add_permits(1);
    assert_eq!(client.answer(&json!(2)).await["method"], "confirm");
    client.send(&create(3, "late", "too many at once")).await;
    assert_eq!(client.ask(&read).await["model"]["title"], "too many at once");
    server.stop().await;
}

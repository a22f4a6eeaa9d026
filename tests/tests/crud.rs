//! The requests of the protocol, one by one, typed in by hand: without a `hello`.

use serde_json::{Value, json};
use sync_tests::{Client, TestServer};
use uuid::Uuid;

#[tokio::test]
async fn create_read_update_patch_delete() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    let created = client
        .ask(&json!({"method":"create","id":1,"modelname":"Todo","cid":"c1","model":{"title":"milk"}}))
        .await;
    assert_eq!(
        created,
        json!({"method":"confirm","channel":"sync:Todo:c1","modelname":"Todo","id":1,"cid":"c1",
            "model":{"id":1,"title":"milk","completed":false},"row_seq":1,"seq":1})
    );
    let updated = client
        .ask(&json!({"method":"update","id":2,"modelname":"Todo","model":{"id":1,"title":"oat milk","completed":true}}))
        .await;
    assert_eq!(
        updated,
        json!({"method":"confirm","channel":"sync:Todo:1","modelname":"Todo","id":2,
            "model":{"id":1,"title":"oat milk","completed":true},"row_seq":2,"seq":2})
    );
    let patched = client
        .ask(&json!({"method":"patch","id":3,"modelname":"Todo","model":{"id":1,"completed":false}}))
        .await;
    assert_eq!(patched["model"], json!({"id":1,"title":"oat milk","completed":false}));
    let one = client.ask(&json!({"method":"read","id":"one","modelname":"Todo","model":{"id":1}})).await;
    assert_eq!(
        one,
        json!({"method":"read","channel":"sync:Todo:1","modelname":"Todo","id":"one",
            "model":{"id":1,"title":"oat milk","completed":false},"seq":3})
    );
    let all = client.ask(&json!({"method":"read","id":"all","modelname":"Todo"})).await;
    assert_eq!(
        all,
        json!({"method":"read","channel":"sync:Todo","modelname":"Todo","id":"all",
            "models":[{"id":1,"title":"oat milk","completed":false}],"seqs":[3],"seq":3,"more":false})
    );
    let deleted = client.ask(&json!({"method":"delete","id":4,"modelname":"Todo","model":{"id":1}})).await;
    assert_eq!(
        deleted,
        json!({"method":"confirm","channel":"sync:Todo:1","modelname":"Todo","id":4,"model":{"id":1},"seq":4})
    );
    let gone = client.ask(&json!({"method":"read","id":"gone","modelname":"Todo","model":{"id":1}})).await;
    assert_eq!(gone["code"], "not_found");
    server.stop().await;
}

#[tokio::test]
async fn ids_that_clients_choose() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    let chosen = client
        .ask(&json!({"method":"create","id":1,"modelname":"Note","model":{"key":"a","text":"x"}}))
        .await;
    assert_eq!(chosen["model"]["key"], "a");
    assert_eq!(chosen["channel"], "sync:Note:a");
    let taken = client
        .ask(&json!({"method":"create","id":2,"modelname":"Note","model":{"key":"a","text":"y"}}))
        .await;
    assert_eq!(taken["code"], "already_exists");
    let made = client.ask(&json!({"method":"create","id":3,"modelname":"Note","model":{"text":"z"}})).await;
    let key: uuid::Uuid = made["model"]["key"].as_str().unwrap().parse().unwrap();
    assert_eq!(key.get_version_num(), 7);
    server.stop().await;
}

#[tokio::test]
async fn if_seq_is_only_if_nothing_changed() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    client.ask(&json!({"method":"create","id":1,"modelname":"Todo","model":{"title":"a"}})).await;
    client
        .ask(&json!({"method":"patch","id":2,"modelname":"Todo","model":{"id":1,"title":"b"},"if_seq":1}))
        .await;
    for method in ["patch", "delete"] {
        let model = if method == "patch" { json!({"id":1,"title":"c"}) } else { json!({"id":1}) };
        let refused =
            client.ask(&json!({"method":method,"id":3,"modelname":"Todo","model":model,"if_seq":1})).await;
        assert_eq!(refused["code"], "conflict");
        assert_eq!(refused["retry"], false);
        assert_eq!(refused["current"], json!({"id":1,"title":"b","completed":false}));
        assert_eq!(refused["current_seq"], 2);
    }
    let current =
        client.ask(&json!({"method":"delete","id":4,"modelname":"Todo","model":{"id":1},"if_seq":2})).await;
    assert_eq!(current["method"], "confirm");
    server.stop().await;
}

#[tokio::test]
async fn fields_that_are_not_the_clients() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    let made = client
        .ask(&json!({"method":"create","id":1,"modelname":"Note","model":{"key":"n","text":"x"}}))
        .await;
    let row = made["model"].as_object().unwrap();
    assert!(row["created_at"].as_i64().unwrap() > 1_700_000_000_000);
    assert!(!row.contains_key("author"), "{row:?}");
    for (field, message) in
        [("created_at", "is set by the server only"), ("author", "unknown field"), ("autor", "unknown field")]
    {
        for method in ["create", "update", "patch"] {
            let mut model = json!({"key": if method == "create" { "m" } else { "n" }, "text": "y"});
            model[field] = json!(1);
            let refused = client.ask(&json!({"method":method,"id":2,"modelname":"Note","model":model})).await;
            assert_eq!(refused["code"], "invalid", "{method} {field}");
            assert_eq!(refused["fields"], json!({field: message}), "{method} {field}");
        }
    }
    let patched =
        client.ask(&json!({"method":"patch","id":3,"modelname":"Note","model":{"key":"n","text":"z"}})).await;
    assert_eq!(patched["model"]["created_at"], row["created_at"]);
    server.stop().await;
}

#[tokio::test]
async fn rows_out_of_scope_are_not_there() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    let hidden =
        json!({"method":"create","id":1,"modelname":"Note","model":{"key":"s","text":"x","secret":true}});
    let made = client.ask(&hidden).await;
    assert_eq!(made["method"], "confirm");
    assert!(made.get("model").is_none(), "{made}");
    for request in [
        json!({"method":"read","modelname":"Note","model":{"key":"s"}}),
        json!({"method":"update","modelname":"Note","model":{"key":"s","text":"y"}}),
        json!({"method":"patch","modelname":"Note","model":{"key":"s","text":"y"}}),
        json!({"method":"delete","modelname":"Note","model":{"key":"s"}}),
        json!({"method":"delete","modelname":"Note","model":{"key":"s"},"if_seq":9}),
    ] {
        let mut nowhere = request.clone();
        nowhere["model"]["key"] = json!("nowhere");
        let mut answers = Vec::new();
        for mut request in [request, nowhere] {
            request["id"] = json!(7);
            let mut answer = client.ask(&request).await;
            answer["channel"].take();
            answers.push(answer);
        }
        assert_eq!(answers[0]["code"], "not_found");
        assert_eq!(answers[0], answers[1], "nothing tells it from a row that does not exist");
    }
    // A row that its own update takes out of view.
    client.ask(&json!({"method":"create","id":2,"modelname":"Note","model":{"key":"t","text":"x"}})).await;
    let left = client
        .ask(&json!({"method":"patch","id":3,"modelname":"Note","model":{"key":"t","secret":true}}))
        .await;
    assert_eq!(left["method"], "confirm");
    assert!(left.get("model").is_none(), "{left}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_declared_is_refused() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    for (request, method) in [
        (json!({"method":"create","modelname":"Closed","model":{}}), "create"),
        (json!({"method":"update","modelname":"Closed","model":{"id":1}}), "update"),
        (json!({"method":"patch","modelname":"Closed","model":{"id":1}}), "patch"),
        (json!({"method":"delete","modelname":"Closed","model":{"id":1}}), "delete"),
        (json!({"method":"read","modelname":"Closed"}), "read"),
        (json!({"method":"read","modelname":"Closed","model":{"id":1}}), "read"),
        (json!({"method":"subscribe","modelname":"Closed"}), "read"),
        (json!({"method":"read","modelname":"Feedback"}), "read"),
    ] {
        let mut request = request;
        request["id"] = json!(1);
        let refused = client.ask(&request).await;
        assert_eq!(refused["code"], "method_not_allowed", "{request}");
        let model = request["modelname"].as_str().unwrap();
        assert_eq!(refused["message"], format!("`{model}` does not allow `{method}`"));
        assert_eq!(refused["request"], request["method"]);
    }
    // What has no handlers at all is the server's own.
    for name in ["Hidden", "Nothing"] {
        let refused = client.ask(&json!({"method":"create","id":1,"modelname":name,"model":{}})).await;
        assert_eq!(refused["code"], "unknown_model");
        let known = "Closed, Counter, Feedback, Note, Slow, Task, Todo";
        assert_eq!(refused["message"], format!("there is no model `{name}`; there are {known}"));
    }
    let (_, welcome) = Client::hello(server.address, Uuid::new_v4(), None).await;
    assert!(welcome["schema"].get("Closed").is_some() && welcome["schema"].get("Hidden").is_none());
    assert!(welcome["indexed"].get("Hidden").is_none());
    let unseen =
        client.ask(&json!({"method":"create","id":2,"modelname":"Feedback","model":{"text":"fine"}})).await;
    assert_eq!(unseen["method"], "confirm");
    assert!(unseen.get("model").is_none(), "{unseen}");
    server.stop().await;
}

#[tokio::test]
async fn faults_of_handlers_stay_inside() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    for text in ["panic", "error"] {
        let failed =
            client.ask(&json!({"method":"create","id":1,"modelname":"Feedback","model":{"text":text}})).await;
        assert_eq!(failed["code"], "internal");
        assert_eq!(failed["message"], "internal error");
        assert!(failed["ref"].as_str().unwrap().parse::<uuid::Uuid>().is_ok());
    }
    let next =
        client.ask(&json!({"method":"create","id":2,"modelname":"Feedback","model":{"text":"fine"}})).await;
    assert_eq!(next["method"], "confirm");
    server.stop().await;
}

#[tokio::test]
async fn malformed_messages_are_told_what_is_wrong() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    for (text, code, message) in [
        ("", "bad_request", "not a message: EOF while parsing a value at line 1 column 0"),
        ("hello", "bad_request", "not a message: expected value at line 1 column 1"),
        (
            "{}",
            "bad_request",
            "a message needs a `method`: one of create, update, patch, delete, action, batch, hello, subscribe, unsubscribe, read, ack",
        ),
        (r#"{"method":7}"#, "bad_request", "`method` must be a string"),
        (
            r#"{"method":"craete"}"#,
            "bad_request",
            "there is no method `craete`; there are create, update, patch, delete, action, batch, hello, subscribe, unsubscribe, read, ack",
        ),
        (
            r#"{"method":"read","method":"read"}"#,
            "bad_request",
            "not a message: field `method` is given twice at line 1 column 25",
        ),
        (
            r#"{"method":"create","modelname":"Todo","model":{"title":"a","\u0074itle":"b"}}"#,
            "bad_request",
            "`model`: field `title` is given twice",
        ),
        (
            r#"{"method":"patch","modelname":"Todo","model":{"id":1,"title":[{"x":1,"x":2}]}}"#,
            "bad_request",
            "`model`: field `x` is given twice",
        ),
        (
            r#"{"method":"action","modelname":"Closed","action":"knock","args":{"a":1,"a":1}}"#,
            "bad_request",
            "`args`: field `a` is given twice",
        ),
        (
            r#"{"method":"read","modelname":"Task","where":{"list":{"eq":{"x":1,"x":2}}}}"#,
            "bad_request",
            "`where`: field `x` is given twice",
        ),
        (
            r#"{"method":"batch","requests":[{"method":"create","modelname":"Todo","model":{"title":"a","title":"b"}}]}"#,
            "bad_request",
            "`model`: field `title` is given twice",
        ),
        (r#"{"method":"read"}"#, "bad_request", "`read` needs `modelname`"),
        (r#"{"method":"subscribe","modelname":"Todo"}"#, "bad_request", "`subscribe` needs `id`"),
        (
            r#"{"method":"subscribe","id":"a","modelname":"Todo","filter":{}}"#,
            "bad_request",
            "`subscribe` has no field `filter`; it has id, modelname, where, order, limit, after, until, since, since_seq, ack",
        ),
        (
            r#"{"method":"read","id":1.5,"modelname":"Todo"}"#,
            "bad_request",
            "`id` must be a string of 1 to 64 bytes or a whole number from 0 to 2^53 - 1",
        ),
        (
            r#"{"method":"read","modelname":"Tod"}"#,
            "unknown_model",
            "there is no model `Tod`; there are Closed, Counter, Feedback, Note, Slow, Task, Todo",
        ),
        (
            r#"{"method":"read","modelname":"Todo","model":{"id":1,"title":"x"}}"#,
            "bad_request",
            "`model` must have the row's id and nothing else",
        ),
        (r#"{"method":"hello","client":"me"}"#, "bad_request", "`client` must be a UUID"),
        (r#"{"method":"create","modelname":"Todo"}"#, "bad_request", "`create` needs `model`"),
        (
            r#"{"method":"create","modelname":"Todo","model":[]}"#,
            "invalid",
            "`model`: it is a sequence, expected an object",
        ),
        (
            r#"{"method":"create","modelname":"Todo","model":{"id":7,"title":"x"}}"#,
            "invalid",
            "id: is assigned by the server: leave it out",
        ),
        (
            r#"{"method":"create","modelname":"Todo","model":{"title":7}}"#,
            "invalid",
            "title: invalid type: integer `7`, expected a string",
        ),
        (r#"{"method":"create","modelname":"Todo","model":{}}"#, "invalid", "title: missing"),
        (
            r#"{"method":"create","modelname":"Todo","model":{"title":" "}}"#,
            "invalid",
            "title: must not be empty",
        ),
        (
            r#"{"method":"create","modelname":"Todo","model":{"title":"x","done":true,"a":1}}"#,
            "invalid",
            "a: unknown field; done: unknown field",
        ),
        (r#"{"method":"update","modelname":"Todo","model":{"title":"x"}}"#, "invalid", "id: is missing"),
        (
            r#"{"method":"patch","modelname":"Todo","model":{"id":"x"}}"#,
            "invalid",
            "id: is not an id of this model",
        ),
        (
            r#"{"method":"patch","modelname":"Todo","model":{"id":1e3}}"#,
            "invalid",
            "id: is not an id of this model",
        ),
        (
            r#"{"method":"delete","modelname":"Todo","model":{"id":1},"if_seq":-1}"#,
            "bad_request",
            "`if_seq` must be a whole number from 0 to 2^53 - 1",
        ),
        (
            r#"{"method":"delete","modelname":"Todo","cid":"c","model":{"id":1}}"#,
            "bad_request",
            "`delete` has no field `cid`; it has id, modelname, model, if_seq, ack",
        ),
    ] {
        client.send_text(text).await;
        let refused = client.next("error").await;
        assert_eq!(refused["code"], code, "{text}: {refused}");
        assert_eq!(refused["message"], message, "{text}");
        assert_eq!(refused["retry"], false, "{text}");
        // Something that can be read in between: the server does not take us for noise.
        let ok = client.ask(&json!({"method":"read","id":"ok","modelname":"Todo"})).await;
        assert_eq!(ok["models"], json!([]), "{text}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_frame_may_hold_several_messages() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    let create = |id: u64| json!({"method":"create","id":id,"modelname":"Todo","model":{"title":"x"}});
    client.send(&Value::Array((1..=3).map(create).collect())).await;
    for id in 1..=3 {
        let confirmed = client.next("confirm").await;
        assert_eq!((&confirmed["id"], &confirmed["model"]["id"]), (&json!(id), &json!(id)));
    }
    server.stop().await;
}

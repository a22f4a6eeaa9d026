//! Exactly once, in order, whatever happens to the line: contract clauses 3 and 4.

use serde_json::{Value, json};
use sync_core::Limits;
use sync_tests::{Client, TestServer, models};
use uuid::Uuid;

fn create(id: u64, title: &str) -> Value {
    json!({"method":"create","id":id,"modelname":"Todo","cid":format!("c{id}"),"model":{"title":title}})
}

async fn titles(client: &mut Client) -> Vec<String> {
    let all = client.ask(&json!({"method":"read","id":"titles","modelname":"Todo"})).await;
    all["models"].as_array().unwrap().iter().map(|row| row["title"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_repeat_gets_the_stored_outcome() {
    let server = TestServer::memory().await;
    let me = Uuid::new_v4();
    let (mut client, welcome) = Client::hello(server.address, me, None).await;
    assert_eq!((&welcome["last"], &welcome["outcomes"]), (&json!(0), &json!([])));
    let first = client.ask(&create(1, "a")).await;
    assert_eq!(client.ask(&create(1, "a")).await, first);
    let refused = client.ask(&create(2, "")).await;
    assert_eq!(refused["code"], "invalid");
    // On another line, with the fields in another order.
    let (mut client, welcome) = Client::hello(server.address, me, Some(0)).await;
    assert_eq!(welcome["last"], 2);
    assert_eq!(welcome["outcomes"], json!([first, refused]));
    client
        .send_text(r#"{"model":{"title":"a"},"cid":"c1","modelname":"Todo","id":1,"method":"create"}"#)
        .await;
    assert_eq!(client.next("confirm").await, first);
    assert_eq!(client.ask(&create(2, "")).await, refused);
    assert_eq!(titles(&mut client).await, ["a"]);
    server.stop().await;
}

#[tokio::test]
async fn a_repeat_has_the_row_as_it_is_by_then() {
    let server = TestServer::memory().await;
    let me = Uuid::new_v4();
    let (mut client, _) = Client::hello(server.address, me, None).await;
    client.ask(&create(1, "a")).await;
    client.ask(&json!({"method":"patch","id":2,"modelname":"Todo","model":{"id":1,"title":"b"}})).await;
    let again = client.ask(&create(1, "a")).await;
    assert_eq!((&again["seq"], &again["row_seq"]), (&json!(1), &json!(2)));
    assert_eq!(again["model"]["title"], "b");
    client.ask(&json!({"method":"delete","id":3,"modelname":"Todo","model":{"id":1}})).await;
    let again = client.ask(&create(1, "a")).await;
    assert_eq!(again["seq"], 1);
    assert!(again.get("model").is_none(), "{again}");
    server.stop().await;
}

#[tokio::test]
async fn another_content_under_a_used_id_is_refused() {
    let server = TestServer::memory().await;
    let (mut client, _) = Client::hello(server.address, Uuid::new_v4(), None).await;
    client.ask(&create(1, "a")).await;
    let other = client.ask(&create(1, "b")).await;
    assert_eq!((&other["code"], &other["retry"]), (&json!("id_conflict"), &json!(false)));
    assert_eq!(titles(&mut client).await, ["a"]);
    server.stop().await;
}

/// All that is asked is its content, as bytes; what is acknowledged beside it and the order of its fields are not.
#[tokio::test]
async fn every_field_is_part_of_the_content() {
    let server = TestServer::memory().await;
    let (mut client, _) = Client::hello(server.address, Uuid::new_v4(), None).await;
    client.ask(&create(1, "a")).await;
    let text = r#"{"method":"patch","id":2,"modelname":"Todo","model":{"id":1},"if_seq":1}"#;
    client.send_text(text).await;
    let confirmed = client.answer(&json!(2)).await;
    assert_eq!(confirmed["method"], "confirm");
    for same in
        [r#"{ "ack":0, "if_seq":1, "model":{"id":1}, "modelname":"Todo", "id":2, "method":"patch" }"#, text]
    {
        client.send_text(same).await;
        assert_eq!(client.answer(&json!(2)).await["seq"], confirmed["seq"], "{same}");
    }
    for (part, other) in [
        ("patch", "update"),
        ("Todo", "Note"),
        (r#"{"id":1}"#, r#"{"id": 1}"#),
        (r#""if_seq":1"#, r#""if_seq":2"#),
        (r#","if_seq":1"#, ""),
        (r#","if_seq":1"#, r#","if_seq":1,"cid":"c""#),
    ] {
        let other = text.replace(part, other);
        client.send_text(&other).await;
        assert_eq!(client.answer(&json!(2)).await["code"], "id_conflict", "{other}");
    }
    server.stop().await;
}

/// It is recorded, and what is recorded is read with every reference by cid.
#[tokio::test]
async fn a_refusal_does_not_repeat_what_was_sent() {
    let server = TestServer::memory().await;
    let (mut client, _) = Client::hello(server.address, Uuid::new_v4(), None).await;
    client.ask(&create(1, "a")).await;
    let long = "x".repeat(60_000);
    for (id, method, model) in [
        (2, "create", json!({"title":"a","completed":long})),
        (3, "create", json!(long)),
        (4, "patch", json!({"id":1,"completed":long})),
        (5, "delete", json!({"id":1,&*long:1})),
        (6, "patch", json!({"id":1,&*long:1})),
        (7, "create", json!({"title":9,&*long:1})),
    ] {
        let refused = client.ask(&json!({"method":method,"id":id,"modelname":"Todo","model":model})).await;
        assert_eq!(refused["code"], "invalid");
        let text = refused.to_string();
        assert!(text.len() < 1024, "{} bytes: {}", text.len(), &text[..200]);
    }
    let unknown = client.ask(&json!({"method":"create","id":8,"modelname":long,"model":{}})).await;
    assert_eq!((&unknown["code"], unknown.get("modelname")), (&json!("unknown_model"), None));
    assert!(unknown.to_string().len() < 1024);
    let told = client
        .ask(&json!({"method":"create","id":9,"modelname":"Todo","model":{"title":"a","completed":long}}))
        .await;
    let message = told["fields"]["completed"].as_str().unwrap();
    assert!(
        message.starts_with("invalid type: string \"xxx") && message.ends_with("xxx\", expected a boolean"),
        "{message}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_gap_is_refused() {
    let server = TestServer::memory().await;
    let (mut client, _) = Client::hello(server.address, Uuid::new_v4(), None).await;
    client.ask(&create(1, "a")).await;
    let early = client.ask(&create(3, "c")).await;
    assert_eq!((&early["code"], &early["expected"]), (&json!("id_gap"), &json!(2)));
    for id in [json!(0), Value::Null] {
        let mut none = create(0, "z");
        if id.is_null() {
            none.as_object_mut().unwrap().remove("id");
        }
        assert_eq!(client.ask(&none).await["code"], "bad_request");
    }
    assert_eq!(client.ask(&create(2, "b")).await["method"], "confirm");
    assert_eq!(client.ask(&create(3, "c")).await["method"], "confirm");
    assert_eq!(titles(&mut client).await, ["a", "b", "c"]);
    server.stop().await;
}

#[tokio::test]
async fn a_malformed_mutation_uses_up_its_number() {
    let server = TestServer::memory().await;
    let (mut client, _) = Client::hello(server.address, Uuid::new_v4(), None).await;
    let wrong = json!({"method":"create","id":1,"modelname":"Todo","titel":"x","model":{}});
    let refused = client.ask(&wrong).await;
    assert_eq!(refused["code"], "bad_request");
    assert_eq!(client.ask(&wrong).await, refused);
    let unknown = json!({"method":"create","id":2,"modelname":"Nothing","model":{}});
    assert_eq!(client.ask(&unknown).await["code"], "unknown_model");
    assert_eq!(client.ask(&create(3, "a")).await["method"], "confirm");
    server.stop().await;
}

#[tokio::test]
async fn acknowledged_outcomes_are_forgotten() {
    let server = TestServer::memory().await;
    let me = Uuid::new_v4();
    let (mut client, _) = Client::hello(server.address, me, None).await;
    client.ask(&create(1, "a")).await;
    let mut second = create(2, "b");
    second["ack"] = json!(1);
    client.ask(&second).await;
    // Decided after the acknowledgement, so that is done.
    assert_eq!(client.ask(&create(1, "a")).await["code"], "id_conflict");
    let (mut client, welcome) = Client::hello(server.address, me, Some(1)).await;
    let outcomes: Vec<_> =
        welcome["outcomes"].as_array().unwrap().iter().map(|outcome| &outcome["id"]).collect();
    assert_eq!(outcomes, [2]);
    client.send(&json!({"method":"ack","ack":2})).await;
    client.ask(&create(3, "c")).await;
    let (_, welcome) = Client::hello(server.address, me, Some(2)).await;
    assert_eq!((&welcome["last"], welcome["outcomes"].as_array().unwrap().len()), (&json!(3), 1));
    server.stop().await;
}

#[tokio::test]
async fn outcomes_that_are_never_acknowledged_are_limited() {
    let limits = {
        let mut limits = Limits::default();
        (limits.in_flight, limits.unacknowledged) = (2, 3);
        limits
    };
    let server = TestServer::start("memory:", limits).await;
    let (mut client, _) = Client::hello(server.address, Uuid::new_v4(), None).await;
    // Of what is not decided yet nothing is acknowledged.
    client.send(&json!({"method":"ack","ack":1_000_000})).await;
    for id in 1..=3 {
        assert_eq!(client.ask(&create(id, "a")).await["method"], "confirm");
    }
    let refused = client.ask(&create(4, "a")).await;
    assert_eq!((&refused["limit"], &refused["retry"]), (&json!("unacknowledged"), &json!(true)));
    client.send(&json!({"method":"ack","ack":2})).await;
    assert_eq!(client.ask(&create(4, "a")).await["method"], "confirm");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_is_not_known_any_more_is_told() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    client.send(&json!({"method":"hello","client":Uuid::new_v4(),"ack":4})).await;
    // Sent right behind, in the hope of a welcome: not to be run without one.
    client.send(&create(5, "doubtful")).await;
    assert_eq!(client.next("error").await["code"], "client_unknown");
    let refused = client.next("error").await;
    assert_eq!((&refused["code"], &refused["retry"]), (&json!("retry"), &json!(true)));
    // On the same line, as somebody new.
    client.send(&json!({"method":"hello","client":Uuid::new_v4()})).await;
    assert_eq!(client.next("welcome").await["last"], 0);
    assert_eq!(client.ask(&create(1, "a")).await["method"], "confirm");
    assert_eq!(titles(&mut client).await, ["a"]);
    server.stop().await;
}

#[tokio::test]
async fn an_acknowledgement_of_what_was_not_decided_comes_from_another_time() {
    let server = TestServer::memory().await;
    let me = Uuid::new_v4();
    let (mut client, _) = Client::hello(server.address, me, None).await;
    client.ask(&create(1, "a")).await;
    let mut client = server.client().await;
    client.send(&json!({"method":"hello","client":me,"ack":2})).await;
    assert_eq!(client.next("error").await["code"], "client_unknown");
    server.stop().await;
}

#[tokio::test]
async fn a_newer_connection_replaces_the_older() {
    let server = TestServer::memory().await;
    let me = Uuid::new_v4();
    let (mut old, _) = Client::hello(server.address, me, None).await;
    old.ask(&create(1, "a")).await;
    let (mut new, welcome) = Client::hello(server.address, me, Some(1)).await;
    assert_eq!(welcome["last"], 1);
    assert_eq!(old.closed().await.0, 4000);
    assert_eq!(new.ask(&create(2, "b")).await["method"], "confirm");
    server.stop().await;
}

#[tokio::test]
async fn hello_comes_first_and_once() {
    let server = TestServer::memory().await;
    let (mut client, _) = Client::hello(server.address, Uuid::new_v4(), None).await;
    client.send(&json!({"method":"hello","client":Uuid::new_v4()})).await;
    assert_eq!(client.next("error").await["code"], "bad_request");
    let mut client = server.client().await;
    client.ask(&json!({"method":"read","id":1,"modelname":"Todo"})).await;
    client.send(&json!({"method":"hello","client":Uuid::new_v4()})).await;
    assert_eq!(client.next("error").await["code"], "bad_request");
    server.stop().await;
}

#[tokio::test]
async fn later_mutations_wait_for_one_that_must_be_sent_again() {
    let limits = {
        let mut limits = Limits::default();
        limits.in_flight = 2;
        limits
    };
    let server = TestServer::start("memory:", limits).await;
    let (mut client, _) = Client::hello(server.address, Uuid::new_v4(), None).await;
    client.ask(&json!({"method":"create","id":1,"modelname":"Slow","model":{"id":"order","count":0}})).await;
    let slow =
        |id: u64| json!({"method":"update","id":id,"modelname":"Slow","model":{"id":"order","count":0}});
    // Two wait for the gate; the third is one too many, and the fourth comes after it.
    for id in 2..=5 {
        client.send(&slow(id)).await;
    }
    let third = client.answer(&json!(4)).await;
    assert_eq!(
        (&third["code"], &third["limit"], &third["retry"]),
        (&json!("limit"), &json!("in_flight"), &json!(true))
    );
    let fourth = client.answer(&json!(5)).await;
    assert_eq!((&fourth["code"], &fourth["retry"]), (&json!("retry"), &json!(true)));
    models::slow_gate().add_permits(4);
    for id in 2..=3 {
        assert_eq!(client.answer(&json!(id)).await["method"], "confirm");
    }
    for id in 4..=5 {
        let confirmed = client.ask(&slow(id)).await;
        assert_eq!(confirmed["model"]["count"], id - 1);
    }
    server.stop().await;
}

/// A row that everybody edits at once: each edit sees the one before it, none is lost, and nobody is turned away.
#[tokio::test(flavor = "multi_thread")]
async fn edits_of_one_row_by_many_at_once() {
    const WRITERS: u64 = 32;
    const EDITS: u64 = 20;
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("count.db").display());
    let server = TestServer::start(&store, Limits::default()).await;
    let mut first = server.client().await;
    first.ask(&json!({"method":"create","id":1,"modelname":"Counter","model":{"id":"n","count":0}})).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let address = server.address;
            tokio::spawn(async move {
                let (mut client, _) = Client::hello(address, Uuid::new_v4(), None).await;
                let mut refused = 0;
                for id in 1..=EDITS {
                    let edit = json!({"method":"patch","id":id,"modelname":"Counter","model":{"id":"n"}});
                    loop {
                        let answer = client.ask(&edit).await;
                        if answer["method"] == "confirm" {
                            break;
                        }
                        assert_eq!((&answer["code"], &answer["retry"]), (&json!("conflict"), &json!(true)));
                        refused += 1;
                    }
                }
                refused
            })
        })
        .collect();
    let mut refused = 0;
    for writer in writers {
        refused += writer.await.unwrap();
    }
    let row = first.ask(&json!({"method":"read","id":2,"modelname":"Counter","model":{"id":"n"}})).await;
    assert_eq!(row["model"]["count"], WRITERS * EDITS);
    assert_eq!(row["seq"], 1 + WRITERS * EDITS);
    // The overlay lets a handler see what is not flushed yet, so that eight attempts are enough for all but a few.
    assert!(refused < WRITERS * EDITS / 10, "{refused} of {} edits were turned away", WRITERS * EDITS);
    server.stop().await;
}

/// What is confirmed, and who was told what, is there after a restart.
#[tokio::test]
async fn a_restart_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("restart.db").display());
    let me = Uuid::new_v4();
    let server = TestServer::start(&store, Limits::default()).await;
    let (mut client, before) = Client::hello(server.address, me, None).await;
    let first = client.ask(&create(1, "a")).await;
    let refused = client.ask(&create(2, " ")).await;
    client.ask(&json!({"method":"delete","id":3,"modelname":"Todo","model":{"id":1}})).await;
    server.stop().await;
    assert_eq!(client.closed().await.0, 1001);

    let server = TestServer::start(&store, Limits::default()).await;
    let (mut client, after) = Client::hello(server.address, me, Some(0)).await;
    assert_eq!(before["epoch"], after["epoch"]);
    assert_eq!(after["last"], 3);
    assert_eq!(after["outcomes"][1], refused);
    assert_eq!(after["outcomes"][0]["seq"], first["seq"]);
    assert_eq!(client.ask(&create(2, " ")).await, refused);
    // The id of the deleted row is not given again.
    let next = client.ask(&create(4, "b")).await;
    assert!(next["model"]["id"].as_u64().unwrap() > 1, "{next}");
    assert_eq!(next["seq"], 3);
    server.stop().await;
}

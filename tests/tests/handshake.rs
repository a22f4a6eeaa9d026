//! Opening a socket, and what is served beside it.

use serde_json::json;
use sync_tests::{Client, TestServer, http::get};
use tokio_tungstenite::tungstenite::Error;
use uuid::Uuid;

#[tokio::test]
async fn serves_the_client() {
    let server = TestServer::memory().await;
    for (name, says) in [("client.js", "export * from \"./sync.js\""), ("sync.js", "export function connect")]
    {
        let (status, answer) = get(server.address, &format!("/sync/{name}"), "").await;
        assert_eq!(status, 200);
        assert!(answer.contains("content-type: text/javascript"), "{answer}");
        assert!(answer.contains(says), "{answer}");
    }
    assert_eq!(get(server.address, "/sync/backbone.js", "").await.0, 200);
    assert_eq!(get(server.address, "/sync/nothing.js", "").await.0, 404);
    server.stop().await;
}

#[tokio::test]
async fn only_pages_of_its_own_origin_connect() {
    let server = TestServer::memory().await;
    let own = format!("http://{}", server.address);
    assert!(Client::try_connect(server.address, &[("origin", &own)]).await.is_ok());
    let port = format!("http://127.0.0.1:{}", server.address.port() ^ 1);
    for origin in ["http://evil.example", "null", &port, &format!("{own}.evil.example")] {
        match Client::try_connect(server.address, &[("origin", origin)]).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), 403, "{origin}"),
            other => panic!("{origin}: {other:?}"),
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn refuses_what_is_no_upgrade() {
    let server = TestServer::memory().await;
    let key = "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
    assert_eq!(get(server.address, "/sync", "").await.0, 426);
    let old = format!("{upgrade}{key}sec-websocket-version: 8\r\n");
    let (status, answer) = get(server.address, "/sync", &old).await;
    assert_eq!(status, 400);
    assert!(answer.contains("sec-websocket-version: 13"), "{answer}");
    let keyless = format!("{upgrade}sec-websocket-version: 13\r\n");
    assert_eq!(get(server.address, "/sync", &keyless).await.0, 400);
    server.stop().await;
}

#[tokio::test]
async fn agrees_on_the_subprotocol() {
    let server = TestServer::memory().await;
    let offered = [("sec-websocket-protocol", "sync.v2, sync.v1")];
    assert!(Client::try_connect(server.address, &offered).await.is_ok());
    match Client::try_connect(server.address, &[("sec-websocket-protocol", "chat")]).await {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), 400),
        other => panic!("{other:?}"),
    }
    server.stop().await;
}

/// Nobody here asks who a client is: a client that says so all the same is welcome.
#[tokio::test]
async fn hello_may_carry_a_token() {
    let server = TestServer::memory().await;
    let hello = |token| json!({"method":"hello","client":Uuid::new_v4(),"token":token});
    for token in ["", "a.b.c", &"x".repeat(16 * 1024)] {
        let mut client = server.client().await;
        client.send(&hello(json!(token))).await;
        assert_eq!(client.receive().await["method"], "welcome");
    }
    for (token, message) in [
        (json!(7), "`token` must be a string"),
        (json!("secret".repeat(3000)), "`token` must be of at most 16384 bytes"),
    ] {
        let mut client = server.client().await;
        client.send(&hello(token)).await;
        let refused = client.next("error").await;
        assert_eq!((&refused["code"], &refused["message"]), (&json!("bad_request"), &json!(message)));
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
    server.stop().await;
}

/// What `Todo` is to clients; a change of it tells all clients of before to load anew.
const TODO: &str = "id:849f8e r,title:d2e93d w,completed:f1b064 o";

#[tokio::test]
async fn a_client_that_was_built_for_these_models_is_welcome() {
    let server = TestServer::memory().await;
    let (_, welcome) = Client::hello(server.address, Uuid::new_v4(), None).await;
    let schema = &welcome["schema"];
    assert_eq!(schema["Todo"], TODO);
    // What clients do not see is not in it.
    let note = schema["Note"].as_str().unwrap();
    assert!(note.starts_with("key:") && !note.contains("author"), "{note}");
    let (_, module) = get(server.address, "/sync/models.js", "").await;
    assert!(module.contains(&format!("  \"Todo\": \"{TODO}\",\n")), "{module}");

    for schema in [
        schema.clone(),
        json!({}),
        json!({ "Todo": TODO }),
        // It did without fields that have a default, and with a field in another place.
        json!({ "Todo": "title:d2e93d w" }),
        // It could do less than it can now.
        json!({ "Todo": "title:d2e93d w,completed:f1b064 r,id:849f8e r" }),
        json!({ "Todo": "title:d2e93d w,completed:f1b064 w" }),
    ] {
        let mut client = server.client().await;
        client.send(&json!({"method":"hello","client":Uuid::new_v4(),"schema":schema})).await;
        assert_eq!(client.receive().await["method"], "welcome", "{schema}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_was_built_for_other_models_is_told_so() {
    let server = TestServer::memory().await;
    let (mut other, _) = Client::hello(server.address, Uuid::nil(), None).await;
    for (model, print, difference) in [
        ("Memo", "id:849f8e r", "there is no model `Memo` any more"),
        ("Todo", "title:d2e93d w,due:849f8e o", "in `Todo` there is no field `due` any more"),
        ("Todo", "title:849f8e w", "in `Todo` the type of `title` has changed"),
        ("Todo", "id:849f8e o,title:d2e93d w", "in `Todo` `id` is read-only now"),
        ("Todo", "title:d2e93d o", "in `Todo` `title` is required now"),
        ("Todo", "id:849f8e r", "in `Todo` the new field `title` is required"),
        (
            "Todo",
            "title:d2e93d r,a%2cb%3a%20c:849f8e r",
            "in `Todo` `title` is required now, in `Todo` there is no field `a,b: c` any more",
        ),
    ] {
        let mut client = server.client().await;
        let hello = json!({"method":"hello","client":Uuid::nil(),"schema":{model:print}});
        client.send(&hello).await;
        let refused = client.receive().await;
        assert_eq!(refused["code"], "schema_mismatch", "{print}: {refused}");
        assert_eq!((&refused["method"], &refused["request"]), (&json!("error"), &json!("hello")));
        assert_eq!(refused["retry"], false);
        let message = format!(
            "this client was built for other models: {difference}; load it anew, or build it for the models of this server"
        );
        assert_eq!(refused["message"], message);

        // It was not taken for somebody who said nothing: what it sends now was meant to be done once.
        client.send(&json!({"method":"create","id":1,"modelname":"Todo","model":{"title":"milk"}})).await;
        assert_eq!(client.next("error").await["code"], "retry", "{print}");
        client.send(&json!({"method":"hello","client":Uuid::new_v4(),"schema":{"Todo":TODO}})).await;
        assert_eq!(client.receive().await["method"], "welcome");
    }
    // Nobody took the client over.
    other.send(&json!({"method":"create","id":1,"modelname":"Todo","model":{"title":"milk"}})).await;
    assert_eq!(other.receive().await["method"], "confirm");
    server.stop().await;
}

#[tokio::test]
async fn a_schema_that_cannot_be_read_is_refused() {
    let server = TestServer::memory().await;
    let wrong = "`schema` must have for `Todo` what a `welcome` or `models.js` gave for it";
    let long = format!("{TODO},{}", vec!["title:d2e93d w"; 4000].join(","));
    for (schema, message) in [
        (json!(7), "`schema` must be an object with a string for each model"),
        (json!([TODO]), "`schema` must be an object with a string for each model"),
        (json!({ "Todo": 7 }), wrong),
        (json!({ "Todo": "" }), wrong),
        (json!({ "Todo": "8c1f8c1f8c1f8c1f" }), wrong),
        (json!({ "Todo": "title:d2e93d" }), wrong),
        (json!({ "Todo": "title:d2e93d x" }), wrong),
        (json!({ "Todo": "title:d2e93 w" }), wrong),
        (json!({ "Todo": "title:d2e93g w" }), wrong),
        (json!({ "Todo": ":d2e93d w" }), wrong),
        (json!({ "Todo": "title%2:d2e93d w" }), wrong),
        (json!({ "Todo": "title%ff:d2e93d w" }), wrong),
        (json!({ "Todo": "title:d2e93d w," }), wrong),
        (json!({ "Todo": long }), "`schema` must be of at most 49152 bytes"),
    ] {
        let mut client = server.client().await;
        client.send(&json!({"method":"hello","client":Uuid::new_v4(),"schema":schema})).await;
        let refused = client.next("error").await;
        assert_eq!(
            (&refused["code"], &refused["message"]),
            (&json!("bad_request"), &json!(message)),
            "{schema}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn serves_the_types() {
    let server = TestServer::memory().await;
    let (status, types) = get(server.address, "/sync/models.d.ts", "").await;
    assert_eq!(status, 200);
    assert!(types.contains("content-type: text/plain; charset=utf-8\r\n"), "{types}");
    assert!(types.contains("cache-control: no-cache\r\n"), "{types}");
    assert!(types.contains("\nexport interface Todo {\n"), "{types}");
    let (status, module) = get(server.address, "/sync/models.js", "").await;
    assert_eq!(status, 200);
    assert!(module.contains("content-type: text/javascript; charset=utf-8\r\n"), "{module}");
    assert!(module.contains("\nexport const schema = {\n"), "{module}");
    server.stop().await;
}

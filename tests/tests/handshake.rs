//! Opening a socket, and what is served beside it.

use axum::{Router, routing};
use serde_json::json;
use sync_core::Server;
use sync_tests::{
    Client, TestServer,
    http::{get, send},
};
use tokio::net::TcpListener;
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
        // It is a file for pages, and no page.
        assert!(answer.contains("x-content-type-options: nosniff\r\n"), "{answer}");
        assert!(
            answer.contains("content-security-policy: default-src 'none'; frame-ancestors 'none'\r\n"),
            "{answer}"
        );
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

/// A request to open a socket, up to the headers that a test gives it.
const OPENING: &[u8] = b"GET /sync HTTP/1.1\r\nconnection: upgrade, close\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";

/// The answer to it, to be refused: an accepted one would not end.
async fn refused(server: &TestServer, headers: &[u8]) -> (u16, String) {
    send(server.address, &[OPENING, headers, b"\r\n\r\n"].concat()).await
}

#[tokio::test]
async fn an_origin_that_cannot_be_read_is_refused_and_hurts_nobody() {
    let server = TestServer::memory().await;
    let own = server.address.to_string();
    for origin in [
        &b"\xff\xfe"[..],
        b"http://\xc3\xbc",
        b"",
        b"%00",
        b"http://[",
        b"http://[::1",
        b"http://a:b:c",
        b"://",
    ] {
        let headers = [b"host: ", own.as_bytes(), b"\r\norigin: ", origin].concat();
        let (status, answer) = refused(&server, &headers).await;
        assert_eq!(status, 403, "{}: {answer}", String::from_utf8_lossy(origin));
        assert!(answer.contains("--allow-origin ORIGIN"), "{answer}");
    }
    // Twice its own; and its own, said by a browser that has fetched it for another site.
    let twice = format!("host: {own}\r\norigin: http://{own}\r\norigin: http://{own}");
    assert_eq!(refused(&server, twice.as_bytes()).await.0, 403);
    let fetched = format!("host: {own}\r\ncookie: session=7f3a\r\nsec-fetch-site: cross-site");
    assert_eq!(refused(&server, fetched.as_bytes()).await.0, 403);
    // A program with a cookie is no page.
    assert!(Client::try_connect(server.address, &[("cookie", "session=7f3a")]).await.is_ok());
    server.stop().await;
}

/// A name of somebody else's that points here (DNS rebinding): to the browser, its page is of the same origin as this server.
#[tokio::test]
async fn only_its_own_names_are_answered_for() {
    let routes = || Router::new().route("/page", routing::get(|| async { "page" }));
    let builder = Server::builder().store("memory:").routes(routes()).host("app.example");
    let server = TestServer::on(
        builder.routes_with(|_| Router::new().route("/late", routing::get(|| async { "late" }))),
    )
    .await;
    let ask = async |path: &str, host: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nconnection: close\r\nhost: {host}\r\n\r\n");
        send(server.address, request.as_bytes()).await
    };
    let port = server.address.port();
    let paths = [
        ("/page", 200),
        ("/late", 200),
        ("/sync", 426),
        ("/sync/client.js", 200),
        ("/sync/models.js", 200),
        ("/sync/vendor/backbone.js", 404),
        ("/nothing", 404),
    ];
    for (path, status) in paths {
        for host in [
            format!("localhost:{port}"),
            server.address.to_string(),
            "[::1]".into(),
            "app.example:8443".into(),
        ] {
            assert_eq!(ask(path, &host).await.0, status, "{path} of {host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "app.example.evil", "192.0.2.7", "user@localhost"]
        {
            let (status, answer) = ask(path, host).await;
            assert_eq!(status, 421, "{path} of {host}: {answer}");
            assert!(answer.contains("start it with `--host NAME`"), "{answer}");
            assert!(!answer.contains(host), "{answer}");
        }
    }
    // The socket, of a page whose origin equals the name.
    let rebound = format!("host: evil.example:{port}\r\norigin: http://evil.example:{port}");
    assert_eq!(refused(&server, rebound.as_bytes()).await.0, 421);
    let named = [("host", "app.example"), ("origin", "http://app.example")];
    assert!(Client::try_connect(server.address, &named).await.is_ok());
    // The target goes before the header.
    assert_eq!(ask("http://evil.example/page", "localhost").await.0, 421);
    assert_eq!(ask("http://localhost/page", "evil.example").await.0, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_request_says_for_which_host_it_is() {
    let server = TestServer::memory().await;
    let get = |version: &str, headers: &[u8]| {
        [b"GET /sync/client.js HTTP/", version.as_bytes(), b"\r\nconnection: close\r\n", headers, b"\r\n"]
            .concat()
    };
    for (version, headers, status) in [
        ("1.1", &b""[..], 400),
        ("1.0", b"", 200),
        ("1.0", b"host: evil.example\r\n", 421),
        ("1.1", b"host: localhost\r\nhost: localhost\r\n", 400),
        ("1.1", b"host: localhost\r\nhost: evil.example\r\n", 400),
        ("1.1", b"host:\r\n", 400),
        ("1.1", b"host: \xff\xfe\r\n", 400),
        ("1.1", b"host: [::1\r\n", 400),
        ("1.1", b"host: a b\r\n", 400),
        ("1.1", b"host: %00\r\n", 400),
    ] {
        let (answered, answer) = send(server.address, &get(version, headers)).await;
        assert_eq!(answered, status, "{}: {answer}", String::from_utf8_lossy(headers));
    }
    server.stop().await;
}

/// In an app that listens for itself: the routes of this server are protected, those of the app are its own.
#[tokio::test]
async fn an_app_of_ones_own_has_the_check_on_these_routes() {
    let running = Server::builder().store("memory:").build().unwrap().start().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/own", routing::get(|| async { "own" })).merge(running.router());
    let serving = axum::serve(listener, app).with_graceful_shutdown(running.stopping());
    let serving = tokio::spawn(async move { serving.await.unwrap() });
    for (path, host, status) in [
        ("/own", "evil.example", 200),
        ("/sync/client.js", "evil.example", 421),
        ("/sync", "evil.example", 421),
        ("/sync/client.js", "localhost", 200),
        // Where it listens is not known, and a page cannot have an address point elsewhere.
        ("/sync/client.js", "192.0.2.7", 200),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nconnection: close\r\nhost: {host}\r\n\r\n");
        assert_eq!(send(address, request.as_bytes()).await.0, status, "{path} of {host}");
    }
    running.stop().await;
    serving.await.unwrap();
}

#[test]
fn a_name_that_is_none_is_a_fault_of_the_builder() {
    let error = Server::builder().store("memory:").host("https://app.example").build().unwrap_err();
    let expected = "`https://app.example` is no host: write it as example.org,";
    assert!(error.to_string().contains(expected), "{error}");
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

//! Opening a socket, and what is served beside it.

use sync_tests::{Client, TestServer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::Error;

/// The status and the body of a request, as bytes on the line.
async fn http(server: &TestServer, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\r\n")
}

#[tokio::test]
async fn serves_the_client() {
    let server = TestServer::memory().await;
    let (status, answer) = http(&server, &get("/sync/client.js", "")).await;
    assert_eq!(status, 200);
    assert!(answer.contains("content-type: text/javascript"), "{answer}");
    assert!(answer.contains("export function connect"), "{answer}");
    assert_eq!(http(&server, &get("/sync/nothing.js", "")).await.0, 404);
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
    assert_eq!(http(&server, &get("/sync", "")).await.0, 426);
    let old = format!("{upgrade}{key}sec-websocket-version: 8\r\n");
    let (status, answer) = http(&server, &get("/sync", &old)).await;
    assert_eq!(status, 400);
    assert!(answer.contains("sec-websocket-version: 13"), "{answer}");
    let keyless = format!("{upgrade}sec-websocket-version: 13\r\n");
    assert_eq!(http(&server, &get("/sync", &keyless)).await.0, 400);
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

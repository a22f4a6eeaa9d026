//! How many connections may be open, and whose they are.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::json;
use sync_core::{Limits, Login, Server, Session};
use sync_tests::{Client, TestServer, http::get};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use uuid::Uuid;

const UPGRADE: &str = "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn limits(connections: usize, per_address: usize) -> Limits {
    let mut limits = Limits::default();
    (limits.connections, limits.connections_per_address) = (connections, per_address);
    limits
}

/// Connects as one that a proxy forwards for.
async fn connect(address: SocketAddr, forwarded_for: &str) -> Result<Client, u16> {
    match Client::try_connect(address, &[("x-forwarded-for", forwarded_for)]).await {
        Ok(client) => Ok(client),
        Err(Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// Connects as soon as there is room: that somebody has gone is noticed a little later.
async fn connect_soon(address: SocketAddr, forwarded_for: &str) -> Client {
    let connected = async {
        loop {
            if let Ok(client) = connect(address, forwarded_for).await {
                return client;
            }
        }
    };
    timeout(Duration::from_secs(20), connected).await.expect("there is never room")
}

#[tokio::test]
async fn too_many_of_an_address_are_refused_by_name() {
    let server = TestServer::start("memory:", limits(10, 2)).await;
    let _open = [server.client().await, server.client().await];
    let (status, answer) = get(server.address, "/sync", UPGRADE).await;
    assert_eq!(status, 429);
    assert!(
        answer.ends_with("connections_per_address: 2 connections are open from this address\n"),
        "{answer}"
    );
    // All else is served.
    assert_eq!(get(server.address, "/sync/client.js", "").await.0, 200);
    // Who is no trusted proxy speaks for nobody else.
    assert_eq!(connect(server.address, "203.0.113.1").await.err(), Some(429));
    server.stop().await;
}

#[tokio::test]
async fn too_many_in_all_are_refused_by_name() {
    let builder = Server::builder().store("memory:").limits(limits(2, 2)).trusted_proxy("127.0.0.1");
    let server = TestServer::on(builder).await;
    let address = server.address;
    let first = connect(address, "203.0.113.1").await.unwrap();
    let _second = connect(address, "203.0.113.2").await.unwrap();
    let (status, answer) = get(address, "/sync", UPGRADE).await;
    assert_eq!(status, 503);
    assert!(answer.ends_with("connections: 2 connections are open\n"), "{answer}");
    // What was refused is counted nowhere.
    for _ in 0..3 {
        assert_eq!(connect(address, "203.0.113.3").await.err(), Some(503));
    }
    drop(first);
    let _third = connect_soon(address, "203.0.113.3").await;
    server.stop().await;
}

/// Whatever way a connection ends, another has its place.
#[tokio::test]
async fn who_is_gone_is_not_counted() {
    let mut limits = limits(1, 1);
    (limits.ping_interval, limits.pong_timeout) = (Duration::from_secs(1), Duration::from_secs(1));
    let server = TestServer::start("memory:", limits).await;
    let address = server.address;
    // Cut, without a word.
    drop(server.client().await);
    // Closed by the client.
    let mut client = connect_soon(address, "").await;
    client.send_raw(Message::Close(None)).await.unwrap();
    // Closed by the server, for what was sent.
    let mut client = connect_soon(address, "").await;
    client.send_raw(Message::Binary(Bytes::from_static(b"{}"))).await.unwrap();
    assert_eq!(client.closed().await.0, 1003);
    // Cut after it was welcomed.
    let mut client = connect_soon(address, "").await;
    client.send(&json!({"method":"hello","client":Uuid::new_v4()})).await;
    client.next("welcome").await;
    assert_eq!(connect(address, "").await.err(), Some(429));
    drop(client);
    // Silent: it reads nothing, so it answers no ping.
    let silent = connect_soon(address, "").await;
    let _last = connect_soon(address, "").await;
    drop(silent);
    // Handshakes that fail take no place at all.
    for headers in ["", "upgrade: websocket\r\n", &format!("{UPGRADE}origin: https://evil.example\r\n")] {
        assert!([403, 426].contains(&get(address, "/sync", headers).await.0));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_trusted_proxy_says_whose_a_connection_is() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let builder = Server::builder()
        .store("memory:")
        .limits(limits(100, 1))
        .trusted_proxy("127.0.0.0/8")
        .trusted_proxy("10.0.0.1")
        .authenticate({
            let seen = seen.clone();
            move |login: Login| {
                seen.lock().extend(login.address());
                async { Ok(Session::<()>::anonymous()) }
            }
        });
    let server = TestServer::on(builder).await;
    let mut open = Vec::new();
    for (forwarded_for, client) in [
        ("203.0.113.1", Some("203.0.113.1:0")),
        ("203.0.113.1", None),
        // What stands before it is its own invention.
        ("198.51.100.1, 203.0.113.1", None),
        ("203.0.113.1, 10.0.0.1", None),
        ("203.0.113.1:4711", None),
        ("203.0.113.2:4711", Some("203.0.113.2:4711")),
        ("203.0.113.1, 203.0.113.3, 10.0.0.1", Some("203.0.113.3:0")),
        ("2001:db8::1", Some("[2001:db8::1]:0")),
        ("[2001:db8::2]:80", None),
        // What cannot be read counts for the proxy, which has one.
        ("203.0.113.4, nobody, 10.0.0.1", Some("10.0.0.1:0")),
        ("203.0.113.5, , 10.0.0.1", None),
    ] {
        let connected = connect(server.address, forwarded_for).await;
        let Some(client) = client else {
            assert_eq!(connected.err(), Some(429), "{forwarded_for}");
            continue;
        };
        let mut connection = connected.unwrap();
        connection.send(&json!({"method":"hello","client":Uuid::new_v4()})).await;
        connection.next("welcome").await;
        assert_eq!(seen.lock().pop(), Some(client.parse().unwrap()), "{forwarded_for}");
        open.push(connection);
    }
    server.stop().await;
}

#[test]
fn a_proxy_that_is_no_address_is_told_at_the_start() {
    let fault = Server::builder().store("memory:").trusted_proxy("proxy.example").build().unwrap_err();
    assert!(fault.to_string().contains("`proxy.example` is no address: write it as"), "{fault}");
}

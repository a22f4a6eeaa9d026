//! The limits of a connection: each is told by its name, and costs only the one who reaches it.

use std::time::{Duration, Instant};

use serde_json::json;
use sync_core::Limits;
use sync_tests::TestServer;
use tokio_tungstenite::tungstenite::{Bytes, Message};

fn limits(set: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    set(&mut limits);
    limits
}

#[tokio::test]
async fn a_message_too_large_closes_with_1009() {
    let server = TestServer::start("memory:", limits(|limits| limits.message_bytes = 1000)).await;
    let mut client = server.client().await;
    let fits = json!({"method":"create","id":1,"modelname":"Todo","model":{"title":"x".repeat(900)}});
    assert_eq!(client.ask(&fits).await["method"], "confirm");
    client.send_text(&" ".repeat(1001)).await;
    assert_eq!(client.closed().await.0, 1009);
    server.stop().await;
}

#[tokio::test]
async fn binary_frames_close_with_1003() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    client.send_raw(Message::Binary(Bytes::from_static(b"{}"))).await.unwrap();
    assert_eq!(client.closed().await.0, 1003);
    server.stop().await;
}

#[tokio::test]
async fn deep_json_is_refused() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    let deep =
        format!(r#"{{"method":"create","modelname":"Todo","model":{}{}}}"#, "[".repeat(40), "]".repeat(40));
    client.send_text(&deep).await;
    let refused = client.next("error").await;
    assert_eq!(
        (&refused["code"], &refused["limit"], &refused["retry"]),
        (&json!("limit"), &json!("json_depth"), &json!(false))
    );
    server.stop().await;
}

#[tokio::test]
async fn noise_closes_with_4002() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    for _ in 0..15 {
        client.send_text("noise").await;
        client.next("error").await;
    }
    client.ask(&json!({"method":"read","id":1,"modelname":"Todo"})).await;
    for _ in 0..16 {
        client.send_text("noise").await;
    }
    assert_eq!(client.closed().await.0, 4002);
    server.stop().await;
}

#[tokio::test]
async fn subscriptions_are_counted() {
    let server = TestServer::start("memory:", limits(|limits| limits.subscriptions = 2)).await;
    let mut client = server.client().await;
    for id in 1..=2 {
        client.send(&json!({"method":"subscribe","id":id,"modelname":"Todo"})).await;
        client.next("read").await;
        client.next("live").await;
    }
    client.send(&json!({"method":"subscribe","id":3,"modelname":"Todo"})).await;
    assert_eq!(client.next("error").await["limit"], "subscriptions");
    client.send(&json!({"method":"unsubscribe","id":1})).await;
    client.send(&json!({"method":"subscribe","id":3,"modelname":"Todo"})).await;
    client.next("read").await;
    server.stop().await;
}

#[tokio::test]
async fn a_row_too_large_is_refused() {
    let server = TestServer::start("memory:", limits(|limits| limits.row_bytes = 100)).await;
    let mut client = server.client().await;
    let large = json!({"method":"create","id":1,"modelname":"Todo","model":{"title":"x".repeat(100)}});
    assert_eq!(client.ask(&large).await["code"], "too_large");
    server.stop().await;
}

/// `count` reads, numbered from `first`.
fn reads(first: usize, count: usize) -> Vec<serde_json::Value> {
    (first..first + count).map(|id| json!({"method":"read","id":id,"modelname":"Todo"})).collect()
}

#[tokio::test]
async fn who_sends_too_fast_is_read_slower() {
    let pace = |limits: &mut Limits| (limits.messages_per_second, limits.message_burst) = (50, 10);
    let server = TestServer::start("memory:", limits(pace)).await;
    let (mut fast, mut other) = (server.client().await, server.client().await);
    let begun = Instant::now();
    // In arrays, alone, and arrays of nothing: 20 + 15 + 15 messages, of which 10 are read at once.
    fast.send(&json!(reads(0, 20))).await;
    for (index, read) in reads(20, 15).iter().enumerate() {
        fast.send(read).await;
        fast.send_raw(if index % 2 == 0 { Message::text("[]") } else { Message::Ping(Bytes::new()) })
            .await
            .unwrap();
    }
    // Others are not slower for it.
    for read in reads(0, 10) {
        assert_eq!(other.ask(&read).await["method"], "read");
    }
    for id in 0..35 {
        assert_eq!(fast.next("read").await["id"], id, "nothing is lost, refused, or out of its order");
    }
    // The last read was the 49th message.
    assert!(begun.elapsed() >= Duration::from_millis(39 * 20), "{:?}", begun.elapsed());
    server.stop().await;
}

#[tokio::test]
async fn who_is_read_slower_is_not_taken_for_dead() {
    let server = TestServer::start(
        "memory:",
        limits(|limits| {
            (limits.messages_per_second, limits.message_burst) = (1, 1);
            (limits.ping_interval, limits.pong_timeout) =
                (Duration::from_millis(100), Duration::from_millis(400));
        }),
    )
    .await;
    let mut client = server.client().await;
    client.send(&json!(reads(0, 4))).await;
    // It answers pings whenever it reads, and the server does not look for a second each time.
    for id in 0..4 {
        assert_eq!(client.next("read").await["id"], id);
    }
    server.stop().await;
}

#[tokio::test]
async fn who_answers_no_ping_is_closed_with_4001() {
    let soon = Duration::from_millis(50);
    let quick = limits(|limits| (limits.ping_interval, limits.pong_timeout) = (soon, soon));
    let server = TestServer::start("memory:", quick).await;
    // Reading answers pings, and each comes with word of how far the client is.
    let mut awake = server.client().await;
    awake.subscribe("Todo").await;
    assert_eq!(awake.next("progress").await["seq"], 0);
    assert_eq!(awake.next("progress").await["seq"], 0);
    // One that does not read answers none; the close frame is found when it reads after all.
    let mut asleep = server.client().await;
    while awake.frames.len() < 12 {
        awake.receive().await;
    }
    assert_eq!(asleep.closed().await.0, 4001);
    server.stop().await;
}

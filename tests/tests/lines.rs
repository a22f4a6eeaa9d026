//! Bad lines: whatever happens to the bytes between a client and the server, the client ends with the server's rows, and no mutation is done twice.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sync_core::{Filter, Limits};
use sync_tests::{
    TestServer,
    mirror::{Mirror, in_order},
    models::Todo,
    proxy::{Behaviour, Proxy},
};
use tokio::time::timeout;
use uuid::Uuid;

/// How long anything may take before a test fails: far more than it does.
const PATIENCE: Duration = Duration::from_secs(20);

async fn subscribed(proxy: &Proxy) -> Mirror {
    let mut mirror = Mirror::new(Uuid::new_v4(), "");
    mirror.connect(proxy.address).await;
    let asked = json!({"modelname": "Todo"});
    mirror.subscribe(asked.as_object().unwrap().clone()).await;
    settle(&mut mirror, proxy).await;
    mirror
}

/// Until all that it has sent is decided and all that it asked for is there, over as many connections as it takes.
async fn settle(mirror: &mut Mirror, proxy: &Proxy) {
    let settled = timeout(PATIENCE, async {
        while !mirror.is_quiet() {
            if !mirror.is_connected() {
                mirror.connect(proxy.address).await;
            }
            mirror.wait().await;
        }
    });
    assert!(settled.await.is_ok(), "{}", mirror.state());
}

async fn write(mirror: &mut Mirror, title: String) {
    mirror.mutate(json!({"method": "create", "modelname": "Todo", "model": {"title": title}})).await;
}

/// The client has the server's rows; each of its mutations was confirmed, at a seq of its own, and made one row.
async fn check(mirror: &Mirror, server: &TestServer, written: usize) {
    let rows = server.handle().query(Filter::<Todo>::all()).await.unwrap();
    let rows: Vec<Value> = rows.iter().map(|row| serde_json::to_value(row).unwrap()).collect();
    assert_eq!(in_order(mirror.subscriptions.values().next().unwrap()), rows);
    assert_eq!((rows.len(), mirror.outcomes.len()), (written, written));
    let titles: BTreeSet<_> = rows.iter().map(|row| row["title"].as_str().unwrap()).collect();
    assert_eq!(titles.len(), written, "a mutation was done twice");
    assert!(mirror.outcomes.values().all(|outcome| outcome["method"] == "confirm"));
    let seqs: BTreeSet<_> =
        mirror.outcomes.values().map(|outcome| outcome["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=written as u64).collect(), "the order has a gap");
}

/// Pings so often that a test need not wait.
fn quick() -> Limits {
    let mut limits = Limits::default();
    (limits.ping_interval, limits.pong_timeout) = (Duration::from_millis(100), Duration::from_millis(100));
    limits
}

#[tokio::test]
async fn a_byte_at_a_time_is_enough() {
    let server = TestServer::memory().await;
    let proxy = Proxy::start(server.address).await;
    proxy.behave(Behaviour::Bytes);
    let mut mirror = subscribed(&proxy).await;
    for number in 0..20 {
        write(&mut mirror, format!("{number} {}", "ü".repeat(200))).await;
    }
    settle(&mut mirror, &proxy).await;
    check(&mirror, &server, 20).await;
    assert!(mirror.closed.is_empty(), "{:?}", mirror.closed);
    server.stop().await;
}

#[tokio::test]
async fn a_reset_anywhere_in_a_frame_loses_and_doubles_nothing() {
    let server = TestServer::memory().await;
    let proxy = Proxy::start(server.address).await;
    let mut mirror = subscribed(&proxy).await;
    let mut written = 0;
    // In the head of a frame, in its mask, in its text, at its end, and behind it.
    let up = [1, 3, 5, 9, 60, 100, 109, 110, 111, 150, 230].map(Behaviour::ResetAfter);
    // All along three confirms, each in a frame with its change: what was decided is known before it is sent again.
    let down = (1..700).step_by(17).map(Behaviour::ResetDownAfter);
    for reset in up.into_iter().chain(down) {
        proxy.behave(reset);
        for _ in 0..3 {
            write(&mut mirror, format!("{written:03}")).await;
            written += 1;
        }
        timeout(PATIENCE, async {
            while mirror.is_connected() {
                mirror.wait().await;
            }
        })
        .await
        .expect("the line is reset");
        proxy.behave(Behaviour::Pass);
        settle(&mut mirror, &proxy).await;
        check(&mirror, &server, written).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_peer_that_is_gone_silently_is_noticed_by_its_missing_pongs() {
    let server = TestServer::start("memory:", quick()).await;
    let proxy = Proxy::start(server.address).await;
    let mut mirror = subscribed(&proxy).await;
    proxy.behave(Behaviour::BlackHole);
    let begun = Instant::now();
    // Into the void: it is not known to have arrived.
    write(&mut mirror, "lost".into()).await;
    timeout(PATIENCE, proxy.hung_up()).await.expect("the server holds on to a dead line");
    println!("noticed after {:?} with a ping every 100 ms and a pong within 100 ms", begun.elapsed());
    mirror.cut();
    proxy.behave(Behaviour::Pass);
    settle(&mut mirror, &proxy).await;
    check(&mirror, &server, 1).await;
    server.stop().await;
}

#[tokio::test]
async fn who_takes_nothing_is_closed_with_a_code() {
    let server = TestServer::start("memory:", quick()).await;
    let proxy = Proxy::start(server.address).await;
    let mut mirror = subscribed(&proxy).await;
    let direct = Proxy::start(server.address).await;
    let mut bystander = subscribed(&direct).await;
    proxy.behave(Behaviour::StallDown);
    // Little enough for sockets to hold: behind a frame that is stuck within there is no room for a close frame.
    for number in 0..50 {
        write(&mut bystander, format!("{number:03} {}", "x".repeat(100))).await;
        settle(&mut bystander, &direct).await;
    }
    // So long that a pong is overdue, by what the bystander hears with each ping.
    let mut heard = server.client().await;
    heard.subscribe("Todo").await;
    let mut progress = 0;
    while progress < 24 {
        heard.next("progress").await;
        bystander.pump(100).await;
        progress += 1;
    }
    proxy.behave(Behaviour::Pass);
    timeout(PATIENCE, async {
        while mirror.is_connected() {
            mirror.wait().await;
        }
    })
    .await
    .expect("the server closes it");
    assert_eq!(mirror.closed, [4001]);
    settle(&mut mirror, &proxy).await;
    let (mine, others) =
        (mirror.subscriptions.values().next().unwrap(), bystander.subscriptions.values().next().unwrap());
    assert_eq!(in_order(mine), in_order(others));
    check(&bystander, &server, 50).await;
    server.stop().await;
}

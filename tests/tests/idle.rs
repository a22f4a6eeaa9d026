//! What a connection holds of the server's memory that has a subscription and does nothing.
//!
//! `CONNECTIONS=5000 cargo test --release -p sync-tests --test idle -- --nocapture` reports it for more of them.

use sync_tests::{Client, ServerProcess};
use tokio::task::JoinSet;

/// In a build with or without optimizations; with the futures of all requests there for good it would be 39.
const MOST_KIB: f64 = 24.0;

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_holds_little_memory() {
    let connections = std::env::var("CONNECTIONS").map_or(500, |connections| connections.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_sync-test-server");
    let listen = "127.0.0.1:0".parse().unwrap();
    let server = ServerProcess::start(program, listen, &folder.path().join("idle.db"));
    // What the first ones need once and for all.
    let mut open = subscribed(&server, connections / 10).await;
    let before = server.resident_kib();
    open.extend(subscribed(&server, connections).await);
    let each = (server.resident_kib() - before) / f64::from(connections);
    println!("{connections} idle connections with a subscription: {each:.1} KiB of resident memory each");
    assert!(each < MOST_KIB, "{each} KiB");
}

async fn subscribed(server: &ServerProcess, count: u32) -> Vec<Client> {
    let mut coming = JoinSet::new();
    for _ in 0..count {
        let address = server.address;
        coming.spawn(async move {
            let mut client = Client::connect(address).await;
            client.subscribe("Todo").await;
            client
        });
    }
    coming.join_all().await
}

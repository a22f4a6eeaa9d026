//! What a change costs that concerns one client, by how many others are subscribed to lists of their own, and one that concerns the members of a
//! room, by how many others are in other rooms: on a release server with SQLite.
//!
//! `cargo bench -p sync-tests --bench routing`. The figures are reported; what is asserted is their ratio in this one run.

use std::net::SocketAddr;

use serde_json::{Value, json};
use sync_tests::{Client, ServerProcess};
use uuid::Uuid;

/// The same for few lists and many, so that changes share sends alike. Each may have 128 subscriptions.
const CONNECTIONS: usize = 100;
const WRITERS: usize = 32;
const WRITES: usize = 24_000;
const FEW: usize = 1_000;
const MANY: usize = 10_000;
/// Ten times the subscriptions make a write at most so many times as dear.
const RATIO: f64 = 1.3;
/// In how many rooms each subscriber is, and how many are in each room: every one in rooms of its own choice.
const ROOMS: usize = 8;

/// Who is subscribed to what.
#[derive(Clone, Copy)]
enum Scenario {
    /// Each to a list of its own.
    Lists,
    /// Each to a set of rooms of its own.
    Rooms,
}

impl Scenario {
    fn filter(self, subscriber: usize, subscribers: usize) -> Value {
        match self {
            Self::Lists => json!({"list": subscriber.to_string()}),
            Self::Rooms => {
                // Some rooms near each other and some far, so that hardly two have the same ones, and each room has as many.
                let room = |index: usize| (subscriber + index * index * 37) % subscribers;
                json!({"list": {"in": (0..ROOMS).map(|index| room(index).to_string()).collect::<Vec<_>>()}})
            }
        }
    }
}

#[tokio::main]
async fn main() {
    compare(Scenario::Lists, "lists with a subscriber each").await;
    compare(Scenario::Rooms, "subscribers, each to a set of rooms of its own").await;
}

async fn compare(scenario: Scenario, what: &str) {
    let mut ratios = Vec::new();
    for round in 1..=3 {
        let mut costs = Vec::new();
        for subscribers in [FEW, MANY] {
            let cost = cost(scenario, subscribers).await;
            println!("round {round}: {subscribers:6} {what}: {cost:5.1} µs of server CPU a write");
            costs.push(cost);
        }
        ratios.push(costs[1] / costs[0]);
    }
    // The least disturbed of the rounds.
    let ratio = ratios.into_iter().fold(f64::INFINITY, f64::min);
    println!("10 times the subscribers: {ratio:.2} times the cost (at most {RATIO})");
    assert!(ratio <= RATIO);
}

/// Server CPU of a create in one of so many lists, in microseconds.
async fn cost(scenario: Scenario, lists: usize) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_sync-test-server");
    let database = folder.path().join("routing.db");
    let server = ServerProcess::start(program, "127.0.0.1:0".parse().unwrap(), &database);
    let mut readers = Vec::new();
    let share = lists / CONNECTIONS;
    for first in (0..lists).step_by(share) {
        let client = subscribed(server.address, scenario, first..first + share, lists).await;
        readers.push(tokio::spawn(read(client)));
    }
    write(server.address, lists, WRITES / 8).await; // warm
    let before = server.cpu_micros();
    write(server.address, lists, WRITES).await;
    let cpu = server.cpu_micros() - before;
    for reader in &readers {
        reader.abort();
    }
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let writes = WRITES as f64;
    cpu / writes
}

async fn subscribed(
    address: SocketAddr,
    scenario: Scenario,
    lists: std::ops::Range<usize>,
    all: usize,
) -> Client {
    let mut client = Client::connect(address).await;
    for list in lists.clone() {
        let filter = scenario.filter(list, all);
        let request = json!({"method": "subscribe", "id": list, "modelname": "Task", "where": filter});
        client.send(&request).await;
    }
    for _ in lists {
        while client.receive().await["method"] != "live" {}
    }
    client
}

async fn read(mut client: Client) {
    loop {
        client.receive().await;
        client.frames.clear();
    }
}

/// Creates rows, spread over the lists, by several writers at once.
async fn write(address: SocketAddr, lists: usize, writes: usize) {
    let writer = |writer: usize| async move {
        let (mut client, _) = Client::hello(address, Uuid::new_v4(), None).await;
        for id in 1..=writes / WRITERS {
            let list = ((id * WRITERS + writer) * 7_919 % lists).to_string();
            let model = json!({"list": list, "priority": 1});
            let request =
                json!({"method": "create", "id": id, "modelname": "Task", "model": model, "ack": id - 1});
            let answer = client.ask(&request).await;
            assert_eq!(answer["method"], "confirm", "{answer}");
            client.frames.clear();
        }
    };
    let writers: Vec<_> = (0..WRITERS).map(|index| tokio::spawn(writer(index))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

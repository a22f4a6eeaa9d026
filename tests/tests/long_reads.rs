//! A query that few of many rows match: the store looks for them a little at a time, and the client gets them all the same.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sync_core::{
    Key, KeyKind, Server, SyncedModel,
    store::{Change, MemoryStore, Store, Table, Transaction},
    sync_handlers,
};
use sync_tests::Client;
use tokio::net::TcpListener;

#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Sample {
    id: i64,
    #[sync(index)]
    number: i64,
}

#[sync_handlers(crud)]
impl Sample {}

/// 17,000 rows: more than the server passes over at once, three times.
async fn filled() -> MemoryStore {
    let store = MemoryStore::new();
    let reencode = |body: &[u8]| {
        let row: Sample = serde_json::from_slice(body)?;
        Ok((Key::Int(row.id), body.to_vec().into()))
    };
    store.open(&[Table::new("Sample", KeyKind::Int, vec!["number"], 1, reencode)]).await.unwrap();
    let changes = (1..=17_000).map(|id| Change {
        model: "Sample",
        key: Key::Int(id),
        cid: None,
        old: None,
        new: Some(json!({ "id": id, "number": id }).to_string().into()),
    });
    let transaction = Transaction { changes: changes.collect(), ..Transaction::default() };
    store.commit(vec![transaction]).await.unwrap();
    store
}

fn ids(models: &Value) -> Vec<i64> {
    models.as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_few_rows_match_is_found_to_the_last() {
    let running = Server::builder().custom_store(filled().await).build().unwrap().start().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn({
        let running = running.clone();
        async move { running.serve(listener).await.unwrap() }
    });
    let mut client = Client::connect(address).await;
    for (condition, expected) in [
        (json!({"number": {"in": [3, 16_999]}}), vec![3, 16_999]),
        (json!({"number": {"gt": 16_998}}), vec![16_999, 17_000]),
        (json!({"number": "none"}), vec![]),
    ] {
        client
            .send(&json!({"method": "subscribe", "id": "s", "modelname": "Sample", "where": condition}))
            .await;
        let (mut found, mut pages) = (Vec::new(), 0);
        loop {
            let message = client.receive().await;
            match message["method"].as_str() {
                Some("read") => {
                    pages += 1;
                    found.extend(ids(&message["models"]));
                }
                Some("live") => break,
                _ => panic!("{message}"),
            }
        }
        assert_eq!(found, expected, "{condition}");
        assert!(pages <= 2, "{condition}: {pages} pages say nothing");
        client.send(&json!({"method": "unsubscribe", "id": "s"})).await;

        client.send(&json!({"method": "read", "id": "r", "modelname": "Sample", "where": condition})).await;
        let mut found = Vec::new();
        loop {
            let message = client.receive().await;
            assert_eq!(message["method"], "read", "{message}");
            found.extend(ids(&message["models"]));
            if message["more"] != true {
                break;
            }
        }
        assert_eq!(found, expected, "{condition}");
    }
    drop(client);
    server.abort();
}

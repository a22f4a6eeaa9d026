//! Stopping: what is in flight is finished, everybody is told, nothing new is begun.

use std::sync::atomic::Ordering;

use serde_json::json;
use sync_core::Limits;
use sync_tests::{Client, TestServer, models};
use uuid::Uuid;

#[tokio::test]
async fn finishes_what_is_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("stop.db").display());
    let server = TestServer::start(&store, Limits::default()).await;
    let (mut client, _) = Client::hello(server.address, Uuid::new_v4(), None).await;
    let mut idle = server.client().await;
    client.ask(&json!({"method":"create","id":1,"modelname":"Slow","model":{"id":"s","count":0}})).await;
    // In one frame: when the first has begun, the second is known.
    let update = |id: u64| json!({"method":"update","id":id,"modelname":"Slow","model":{"id":"s","count":0}});
    client.send(&json!([update(2), update(3)])).await;
    while models::SLOW_BEGUN.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let stopping = server.begin_stop();
    assert_eq!(idle.closed().await.0, 1001);
    models::slow_gate().add_permits(2);
    // The one that had begun is done; the one behind it was not begun.
    assert_eq!(client.answer(&json!(2)).await["model"]["count"], 1);
    let refused = client.answer(&json!(3)).await;
    assert_eq!((&refused["code"], &refused["retry"]), (&json!("shutdown"), &json!(true)));
    assert_eq!(client.closed().await.0, 1001);
    stopping.await.unwrap();
    server.stop().await;

    let server = TestServer::start(&store, Limits::default()).await;
    let mut client = server.client().await;
    let row = client.ask(&json!({"method":"read","id":1,"modelname":"Slow","model":{"id":"s"}})).await;
    assert_eq!(row["model"]["count"], 1);
    server.stop().await;
}

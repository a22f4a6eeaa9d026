//! A reader that stops within a frame: more waits for it than sockets hold, so the server cannot even say why it ends the connection.

use std::{io, time::Duration};

use serde_json::{Map, Value, json};
use sync_core::{Filter, Limits};
use sync_tests::{
    TestServer,
    mirror::{Mirror, in_order},
    models::Todo,
    proxy::{Behaviour, Proxy},
};
use tokio::{sync::mpsc, time::timeout};
use tracing_subscriber::{filter::LevelFilter, util::SubscriberInitExt as _};
use uuid::Uuid;

/// How long anything may take before the test fails: far more than it does.
const PATIENCE: Duration = Duration::from_secs(20);

/// Until all that it asked for is there, over as many connections as it takes.
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

/// What the server logs.
#[derive(Clone)]
struct Log(mpsc::UnboundedSender<String>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        drop(self.0.send(String::from_utf8_lossy(bytes).into_owned()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn who_stalls_within_a_frame_is_given_up() {
    let mut limits = Limits::default();
    (limits.ping_interval, limits.pong_timeout) = (Duration::from_millis(100), Duration::from_millis(100));
    let server = TestServer::start("memory:", limits).await;
    let proxy = Proxy::start(server.address).await;
    let mut mirror = Mirror::new(Uuid::new_v4(), "");
    mirror.connect(proxy.address).await;
    mirror.subscribe(Map::from_iter([("modelname".to_owned(), json!("Todo"))])).await;
    settle(&mut mirror, &proxy).await;
    let (log, mut logged) = mpsc::unbounded_channel();
    let log = Log(log);
    // The server runs on this thread, and no other test in this process: tracing takes what others do not log for what nobody does.
    let _logging = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::DEBUG)
        .with_ansi(false)
        .with_writer(move || log.clone())
        .finish()
        .set_default();
    proxy.behave(Behaviour::StallDown);
    let handle = server.handle();
    for number in 0..200 {
        let title = format!("{number:03} {}", "x".repeat(60_000));
        handle.insert(Todo { id: 0, title, completed: false }).await.unwrap();
    }
    let ended = async {
        loop {
            let line = logged.recv().await.unwrap();
            if line.contains("connection ended") {
                return line;
            }
        }
    };
    let line = timeout(PATIENCE, ended).await.expect("the server waits for ever");
    assert!(line.contains("Silent"), "{line}");
    proxy.behave(Behaviour::Pass);
    timeout(PATIENCE, async {
        while mirror.is_connected() {
            mirror.wait().await;
        }
    })
    .await
    .expect("the line ends");
    settle(&mut mirror, &proxy).await;
    let rows = handle.query(Filter::<Todo>::all()).await.unwrap();
    let rows: Vec<Value> = rows.iter().map(|row| serde_json::to_value(row).unwrap()).collect();
    assert_eq!(rows.len(), 200);
    assert!(in_order(mirror.subscriptions.values().next().unwrap()) == rows, "the client has other rows");
    server.stop().await;
}

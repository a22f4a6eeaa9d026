//! After a restart everybody comes back at once and asks for the same rows: they are read from the store once.
//!
//! `SOCKETS=9500 cargo test --release -p sync-tests --test reconnect -- --nocapture` has more of them come, as many as a process may have files for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use sync_core::{
    Handle, Key, Limits, Result, Server, SyncedModel,
    store::{
        ClientRecord, Decision, LogPage, MemoryStore, Opened, Page, Select, Seq, Store, StoreFuture,
        StoredRow, Table, Transaction,
    },
    sync_handlers,
};
use sync_tests::{Client, TestServer};
use tokio::{sync::Barrier, task::JoinSet};
use uuid::Uuid;

const ROWS: u64 = 1_200;
const PAGES: u64 = 3;

#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Reading {
    id: u64,
    value: u64,
}

#[sync_handlers(crud)]
impl Reading {}

/// A store that counts the pages that are read from it.
#[derive(Debug, Default)]
struct Counting {
    inner: MemoryStore,
    pages: Arc<AtomicU64>,
}

impl Store for Counting {
    fn open<'a>(&'a self, tables: &'a [Table]) -> StoreFuture<'a, Opened> {
        self.inner.open(tables)
    }
    fn allocate_ids<'a>(&'a self, model: &'a str, count: u32) -> StoreFuture<'a, i64> {
        self.inner.allocate_ids(model, count)
    }
    fn commit(&self, batch: Vec<Transaction>) -> StoreFuture<'_, Vec<Decision>> {
        self.inner.commit(batch)
    }
    fn get<'a>(&'a self, model: &'a str, key: &'a Key) -> StoreFuture<'a, Option<StoredRow>> {
        self.inner.get(model, key)
    }
    fn page<'a>(&'a self, model: &'a str, select: &'a Select) -> StoreFuture<'a, Page> {
        Box::pin(async move {
            self.pages.fetch_add(1, Ordering::SeqCst);
            let page = self.inner.page(model, select).await;
            // As a disk would: others ask for the page meanwhile.
            tokio::task::yield_now().await;
            page
        })
    }
    fn log(&self, after: Seq, max_bytes: usize) -> StoreFuture<'_, LogPage> {
        self.inner.log(after, max_bytes)
    }
    fn client(&self, client: Uuid) -> StoreFuture<'_, Option<ClientRecord>> {
        self.inner.client(client)
    }
    fn forget_clients(&self, before: i64) -> StoreFuture<'_, u64> {
        self.inner.forget_clients(before)
    }
    fn close(&self) -> StoreFuture<'_, ()> {
        self.inner.close()
    }
}

async fn change(rows: &Handle, id: u64) -> Result<()> {
    rows.transaction(|ctx| async move {
        let Some(reading) = ctx.get::<Reading>(id).await? else { return Ok(()) };
        ctx.update(&Reading { value: reading.value + 1, ..reading }).await
    })
    .await
}

/// So many clients come at once; each gets all rows. The rows that each of them had changed since it asked are not compared here.
async fn come(server: &TestServer, sockets: u64) {
    let address = server.address;
    let barrier = Arc::new(Barrier::new(usize::try_from(sockets).unwrap()));
    let mut all = JoinSet::new();
    for _ in 0..sockets {
        let barrier = barrier.clone();
        all.spawn(async move {
            let mut client = Client::connect(address).await;
            barrier.wait().await;
            client.send(&json!({"method": "subscribe", "id": "s", "modelname": "Reading"})).await;
            let mut rows = 0;
            loop {
                // What has changed meanwhile may come between.
                let message = client.receive().await;
                match message["method"].as_str() {
                    Some("live") => return rows,
                    Some("read") => rows += message["models"].as_array().map_or(0, Vec::len) as u64,
                    _ => {}
                }
            }
        });
    }
    while let Some(rows) = all.join_next().await {
        assert_eq!(rows.unwrap(), ROWS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_all_ask_for_is_read_once() {
    let sockets = std::env::var("SOCKETS").map_or(500, |sockets| sockets.parse().unwrap());
    let store = Counting::default();
    let pages = store.pages.clone();
    let mut limits = Limits::default();
    limits.connections_per_address = usize::MAX;
    let server = TestServer::on(Server::builder().custom_store(store).limits(limits)).await;
    let rows = server.handle();
    rows.transaction(|ctx| async move {
        for value in 0..ROWS {
            ctx.insert(Reading { id: 0, value }).await?;
        }
        Ok(())
    })
    .await
    .unwrap();

    let begun = Instant::now();
    come(&server, sockets).await;
    let read = pages.swap(0, Ordering::SeqCst);
    println!("{sockets} sockets at once, {read} pages read, {:?}", begun.elapsed());
    assert_eq!(read, PAGES, "each page once");

    // What was read before is right as long as nothing changes.
    come(&server, 3).await;
    assert_eq!(pages.load(Ordering::SeqCst), 0);
    change(&rows, 7).await.unwrap();
    let mut client = server.client().await;
    let (found, _) = client.subscribe("Reading").await;
    assert_eq!(pages.swap(0, Ordering::SeqCst), PAGES, "all are read again: each may have changed");
    assert!(found.iter().any(|row| row["id"] == 7 && row["value"] == 7), "the change is among them");

    // Beside writes, too, far fewer pages are read than are sent.
    let begun = Instant::now();
    let writing = tokio::spawn(async move {
        for id in (1..=ROWS).cycle() {
            change(&rows, id).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    come(&server, sockets).await;
    writing.abort();
    let read = pages.load(Ordering::SeqCst);
    println!("{sockets} sockets beside writes, {read} pages read, {:?}", begun.elapsed());
    assert!(read < sockets * PAGES / 4, "{read} pages for {sockets} sockets");
    server.stop().await;
}

//! The store: in memory, with the delays and the failures of a disk, and a record of what it did.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use sync_core::{
    Key,
    store::{
        ClientRecord, Decision, LogPage, MemoryStore, Opened, Page, Select, Seq, Store, StoreError,
        StoreFuture, StoredRow, Table, Transaction,
    },
};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{dice, truth::Truth};

#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) inner: Arc<MemoryStore>,
    pub(crate) truth: Arc<Mutex<Truth>>,
    /// Differs from restart to restart where the models are said to have changed.
    pub(crate) shape: u64,
}

/// Takes a while, and fails once in so many times.
async fn access(fails_once_in: u64) -> Result<(), StoreError> {
    if dice::is_calm() {
        return Ok(());
    }
    let (delay, fails) = dice::inside(|dice| (dice.below(12), dice.once_in(fails_once_in)));
    if delay > 7 {
        sleep(Duration::from_millis(delay - 7)).await;
    }
    if fails { Err(StoreError::new("the disk failed")) } else { Ok(()) }
}

impl Store for Disk {
    fn open<'a>(&'a self, tables: &'a [Table]) -> StoreFuture<'a, Opened> {
        Box::pin(async move {
            let mut tables = tables.to_vec();
            for table in &mut tables {
                table.hash ^= self.shape;
            }
            self.inner.open(&tables).await
        })
    }

    fn allocate_ids<'a>(&'a self, model: &'a str, count: u32) -> StoreFuture<'a, i64> {
        Box::pin(async move {
            access(400).await?;
            self.inner.allocate_ids(model, count).await
        })
    }

    fn commit(&self, batch: Vec<Transaction>) -> StoreFuture<'_, Vec<Decision>> {
        Box::pin(async move {
            access(300).await?;
            let decisions = self.inner.commit(batch.clone()).await?;
            {
                let mut truth = self.truth.lock();
                for (transaction, decision) in batch.iter().zip(&decisions) {
                    truth.commit(transaction, *decision);
                }
            }
            // It is on disk, and nobody hears of it.
            access(300).await?;
            Ok(decisions)
        })
    }

    fn get<'a>(&'a self, model: &'a str, key: &'a Key) -> StoreFuture<'a, Option<StoredRow>> {
        Box::pin(async move {
            access(1_000).await?;
            let row = self.inner.get(model, key).await;
            access(1_000).await?;
            row
        })
    }

    fn page<'a>(&'a self, model: &'a str, select: &'a Select) -> StoreFuture<'a, Page> {
        Box::pin(async move {
            access(1_000).await?;
            let page = self.inner.page(model, select).await;
            access(1_000).await?;
            page
        })
    }

    fn log(&self, after: Seq, max_bytes: usize) -> StoreFuture<'_, LogPage> {
        Box::pin(async move {
            access(1_000).await?;
            let page = self.inner.log(after, max_bytes).await;
            access(1_000).await?;
            page
        })
    }

    fn client(&self, client: Uuid) -> StoreFuture<'_, Option<ClientRecord>> {
        Box::pin(async move {
            access(1_000).await?;
            self.inner.client(client).await
        })
    }

    fn forget_clients(&self, before: i64) -> StoreFuture<'_, u64> {
        self.inner.forget_clients(before)
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        self.inner.close()
    }
}

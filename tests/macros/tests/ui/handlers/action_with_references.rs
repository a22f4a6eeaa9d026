#![allow(dead_code, unused_variables)]

use serde::{Deserialize, Serialize};
use sync_core::{Context, Result, SyncedModel, sync_handlers};

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    title: String,
}

#[sync_handlers]
impl Todo {
    #[action]
    async fn clear(ctx: &Context, list: &str, ids: &[u64], todo: &Todo) -> Result<u32> {
        Ok(0)
    }
}

fn main() {}

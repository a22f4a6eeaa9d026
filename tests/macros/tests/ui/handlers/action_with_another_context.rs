#![allow(dead_code, unused_variables)]

use serde::{Deserialize, Serialize};
use sync_core::{Result, SyncedModel, sync_handlers};

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    title: String,
}

#[sync_handlers]
impl Todo {
    #[action]
    async fn clear(list: String) -> Result<u32> {
        Ok(0)
    }
}

fn main() {}

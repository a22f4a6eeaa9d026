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
    async fn move_to(ctx: &Context, (x, y): (u32, u32), _: u8) -> Result<u32> {
        Ok(x + y)
    }
}

fn main() {}

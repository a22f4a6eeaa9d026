#![allow(dead_code, unused_variables)]

use serde::{Deserialize, Serialize};
use sync_core::{Context, Result, SyncedModel, sync_handlers};

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    title: String,
}

#[sync_handlers(crud)]
impl Todo {
    async fn udpate(ctx: &mut Context, current: &Todo, next: Todo) -> Result<Todo> {
        Ok(next)
    }

    async fn remove(ctx: Context, current: &Todo) -> Result<()> {
        Ok(())
    }
}

fn main() {}

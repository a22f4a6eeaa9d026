#![allow(dead_code, unused_variables)]

use serde::{Deserialize, Serialize};
use sync_core::{Context, Result, SyncedModel, sync_handlers};

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    title: String,
}

trait Handlers {
    async fn create(ctx: &Context, draft: Todo) -> Result<Todo>;
}

#[sync_handlers]
impl Handlers for Todo {
    async fn create(ctx: &Context, draft: Todo) -> Result<Todo> {
        Ok(draft)
    }
}

fn main() {}

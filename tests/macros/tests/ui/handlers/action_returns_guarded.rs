#![allow(dead_code, unused_variables)]

use serde::{Deserialize, Serialize};
use sync_core::{Context, Result, SyncedModel, sync_handlers};

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    title: String,
    #[sync(server_only)]
    owner: u64,
}

#[sync_handlers]
impl Todo {
    #[action]
    async fn all(ctx: &Context, last: Option<Todo>) -> Result<Vec<Todo>> {
        Ok(Vec::new())
    }
}

fn main() {}

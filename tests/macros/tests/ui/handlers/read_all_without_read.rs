#![allow(dead_code, unused_variables)]

use serde::{Deserialize, Serialize};
use sync_core::{Context, Query, Result, SyncedModel, sync_handlers};

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    title: String,
}

#[sync_handlers]
impl Todo {
    async fn read_all(ctx: &Context, query: Query<Todo>) -> Result<Query<Todo>> {
        Ok(query)
    }
}

fn main() {}

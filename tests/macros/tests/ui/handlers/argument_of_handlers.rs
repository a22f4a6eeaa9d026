#![allow(dead_code, unused_variables)]

use serde::{Deserialize, Serialize};
use sync_core::{Context, Filter, Result, SyncedModel, sync_handlers};

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    title: String,
}

#[sync_handlers(create, read)]
impl Todo {
    async fn read(ctx: &Context) -> Result<Filter<Todo>> {
        Ok(Filter::all())
    }
}

fn main() {}

#![allow(dead_code, unused_variables)]

use serde::{Deserialize, Serialize};
use sync_core::{Context, Filter, Result, sync_handlers};

#[derive(Clone, Serialize, Deserialize)]
struct Todo {
    id: u64,
}

#[sync_handlers]
impl Todo {
    async fn read(ctx: &Context) -> Result<Filter<Todo>> {
        Ok(Filter::all())
    }

    async fn create(ctx: &Context, draft: Todo) -> Result<Todo> {
        Ok(draft)
    }

    async fn update(ctx: &Context, current: &Todo, next: Todo) -> Result<Todo> {
        Ok(next)
    }
}

fn main() {}

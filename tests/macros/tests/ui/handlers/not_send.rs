#![allow(dead_code, unused_variables)]

use serde::{Deserialize, Serialize};
use sync_core::{Context, Filter, Result, SyncedModel, sync_handlers};

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    title: String,
}

use std::rc::Rc;

#[sync_handlers]
impl Todo {
    async fn read(ctx: &Context) -> Result<Filter<Todo>> {
        Ok(Filter::all())
    }

    async fn create(ctx: &Context, draft: Todo) -> Result<Todo> {
        let shared = Rc::new(draft.title.clone());
        std::future::ready(()).await;
        Ok(Todo { title: shared.to_string(), ..draft })
    }
}

fn main() {}

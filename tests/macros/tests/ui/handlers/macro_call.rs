#![allow(dead_code, unused_variables)]

use serde::{Deserialize, Serialize};
use sync_core::{Context, Filter, Result, SyncedModel, sync_handlers};

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    title: String,
}

macro_rules! open {
    ($model:ident) => {
        async fn read(ctx: &Context) -> Result<Filter<$model>> {
            Ok(Filter::all())
        }
    };
}

#[sync_handlers]
impl Todo {
    open!(Todo);
}

fn main() {}

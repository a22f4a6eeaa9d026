#![allow(dead_code, unused_variables)]

use serde::{Deserialize, Serialize};
use sync_core::{Context, SyncedModel, sync_handlers};

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    title: String,
}

#[sync_handlers]
impl Todo {
    const LIMIT: usize = 10;

    fn check(ctx: &Context, title: &str) -> bool {
        title.len() < Self::LIMIT
    }

    async fn publish(title: &str) {}
}

fn main() {}

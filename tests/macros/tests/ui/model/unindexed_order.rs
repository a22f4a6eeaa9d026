use serde::{Deserialize, Serialize};
use sync_core::{Filter, SyncedModel};

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    priority: u8,
}

fn urgent() -> Filter<Todo> {
    Todo::PRIORITY.gte(3)
}

fn main() {}

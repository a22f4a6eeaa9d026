use serde::{Deserialize, Serialize};
use sync_core::{Filter, SyncedModel};

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    #[sync(index)]
    priority: u8,
}

fn urgent() -> Filter<Todo> {
    Todo::PRIORITY.prefix("3")
}

fn main() {}

use serde::{Deserialize, Serialize};
use sync_core::{Filter, SyncedModel};

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    #[sync(index)]
    priority: u8,
}

fn unset() -> Filter<Todo> {
    Todo::PRIORITY.is_none()
}

fn main() {}

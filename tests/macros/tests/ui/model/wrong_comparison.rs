use serde::{Deserialize, Serialize};
use sync_core::{Filter, SyncedModel};

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    #[sync(index)]
    list: String,
}

fn home() -> Filter<Todo> {
    Todo::LIST.eq(5)
}

fn main() {}

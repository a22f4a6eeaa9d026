use serde::{Deserialize, Serialize};
use sync_core::{Filter, SyncedModel};

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    list: String,
}

fn home() -> Filter<Todo> {
    Todo::LIST.eq("home")
}

fn main() {}

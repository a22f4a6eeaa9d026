use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
#[sync(name = "TodoOfTheTodoOfTheTodoOfTheTodoOfTheTodoOfTheTodo")]
struct Todo {
    id: u64,
}

fn main() {}

use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize)]
struct Record {
    id: u64,
}

impl From<Todo> for Record {
    fn from(todo: Todo) -> Self {
        Self { id: todo.id }
    }
}

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
#[serde(into = "Record")]
struct Todo {
    id: u64,
}

fn main() {}

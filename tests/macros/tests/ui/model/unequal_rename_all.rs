use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
#[serde(rename_all(serialize = "camelCase"))]
struct Todo {
    id: u64,
    created_at: i64,
}

fn main() {}

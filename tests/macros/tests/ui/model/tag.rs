use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
#[serde(tag = "type")]
struct Todo {
    id: u64,
}

fn main() {}

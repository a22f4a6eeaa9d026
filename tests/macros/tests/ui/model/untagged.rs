use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
#[serde(untagged)]
struct Todo {
    id: u64,
}

fn main() {}

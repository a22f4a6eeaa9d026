use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
#[serde(transparent)]
struct Todo {
    id: u64,
}

fn main() {}

use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
#[sync(index)]
struct Todo {
    id: u64,
}

fn main() {}

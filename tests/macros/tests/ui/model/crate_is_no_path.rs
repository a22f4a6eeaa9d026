use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
#[sync(crate = "not a path")]
struct Todo {
    id: u64,
}

fn main() {}

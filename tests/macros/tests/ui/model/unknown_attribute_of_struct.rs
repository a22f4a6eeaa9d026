use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
#[sync(nmae = "Task")]
struct Todo {
    id: u64,
}

fn main() {}

use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    #[sync(ts = 7)]
    owner: u64,
}

fn main() {}

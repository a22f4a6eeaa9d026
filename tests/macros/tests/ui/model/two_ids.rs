use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    #[sync(id)]
    key: u64,
    #[sync(id)]
    uuid: u64,
}

fn main() {}

use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    #[serde(skip)]
    #[sync(ts = "string")]
    cache: u64,
}

fn main() {}

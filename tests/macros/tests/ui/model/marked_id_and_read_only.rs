use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    #[sync(id, read_only)]
    key: u64,
    title: String,
}

fn main() {}

use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    #[sync(id)]
    and: u64,
}

fn main() {}

use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    #[sync(server_only)]
    id: u64,
    title: String,
}

fn main() {}

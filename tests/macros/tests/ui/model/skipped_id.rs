use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    #[serde(skip)]
    id: u64,
    title: String,
}

fn main() {}

use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    title: String,
}

fn main() {}

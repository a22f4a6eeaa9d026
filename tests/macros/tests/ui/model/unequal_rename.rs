use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    #[serde(rename(serialize = "headline", deserialize = "title"))]
    title: String,
}

fn main() {}

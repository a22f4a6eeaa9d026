use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    title: String,
    #[serde(rename = "title")]
    headline: String,
}

fn main() {}

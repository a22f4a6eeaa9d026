use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

struct Record {
    id: u64,
}

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
#[serde(remote = "Record")]
struct Todo {
    id: u64,
}

fn main() {}

use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    #[sync(index)]
    #[serde(rename = "or")]
    otherwise: bool,
}

fn main() {}

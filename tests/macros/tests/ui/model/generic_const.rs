use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo<const N: usize> {
    id: u64,
    title: String,
}

fn main() {}

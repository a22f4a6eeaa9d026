use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    #[sync(index)]
    not: bool,
    // Clients never name it in a condition.
    and: bool,
}

fn main() {}

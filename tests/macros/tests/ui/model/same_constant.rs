use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    list_id: u64,
    #[allow(non_snake_case)]
    List_Id: u64,
}

fn main() {}

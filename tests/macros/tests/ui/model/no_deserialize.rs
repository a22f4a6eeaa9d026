use serde::Serialize;
use sync_core::SyncedModel;

#[derive(Clone, Serialize, SyncedModel)]
struct Todo {
    id: u64,
    title: String,
}

fn main() {}

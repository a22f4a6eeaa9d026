use serde::Deserialize;
use sync_core::SyncedModel;

#[derive(Clone, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    #[sync(index)]
    title: String,
}

fn main() {}

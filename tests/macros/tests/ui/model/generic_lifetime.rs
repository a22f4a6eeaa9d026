use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo<'a> {
    id: u64,
    title: &'a str,
}

fn main() {}

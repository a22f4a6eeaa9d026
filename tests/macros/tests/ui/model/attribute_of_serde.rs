#![allow(dead_code)]

use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
#[sync(rename_all = "camelCase")]
struct Todo {
    id: u64,
    #[sync(default)]
    title: String,
    #[sync(index, rename = "inList")]
    list: String,
}

fn main() {}

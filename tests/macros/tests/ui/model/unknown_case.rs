#![allow(dead_code)]

use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
#[serde(rename_all = "camelcase")]
struct Todo {
    id: u64,
    sent_to: String,
}

fn main() {}

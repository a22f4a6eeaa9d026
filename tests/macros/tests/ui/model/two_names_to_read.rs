#![allow(dead_code)]

use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    id: u64,
    #[serde(rename(serialize = "text", deserialize = "text", deserialize = "body"))]
    title: String,
}

fn main() {}

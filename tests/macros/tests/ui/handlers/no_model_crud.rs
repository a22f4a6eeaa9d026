#![allow(dead_code, unused_variables)]

use serde::{Deserialize, Serialize};
use sync_core::sync_handlers;

#[derive(Clone, Serialize, Deserialize)]
struct Todo {
    id: u64,
}

#[sync_handlers(crud)]
impl Todo {}

fn main() {}

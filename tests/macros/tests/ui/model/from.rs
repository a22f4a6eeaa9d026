use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize)]
struct Record {
    id: u64,
}

impl From<Record> for Todo {
    fn from(record: Record) -> Self {
        Self { id: record.id }
    }
}

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
#[serde(from = "Record")]
struct Todo {
    id: u64,
}

fn main() {}

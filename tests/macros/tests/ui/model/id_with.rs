use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

fn hex<S: serde::Serializer>(id: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{id:x}"))
}

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Todo {
    #[serde(serialize_with = "hex")]
    id: u64,
}

fn main() {}

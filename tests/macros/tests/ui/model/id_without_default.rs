use serde::{Deserialize, Serialize};
use sync_core::{Key, KeyKind, ModelId, SyncedModel};

#[derive(Clone, Serialize, Deserialize)]
struct ListId(u32);

impl ModelId for ListId {
    const KIND: KeyKind = KeyKind::Int;

    fn to_key(&self) -> Key {
        self.0.to_key()
    }

    fn from_key(key: &Key) -> Option<Self> {
        u32::from_key(key).map(ListId)
    }
}

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct List {
    id: ListId,
}

fn main() {}

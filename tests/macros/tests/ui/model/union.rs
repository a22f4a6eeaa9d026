use sync_core::SyncedModel;

#[derive(Clone, Copy, SyncedModel)]
union Todo {
    id: u64,
    other: i64,
}

fn main() {}

use sync_core::SyncType;

struct Street;

#[derive(SyncType)]
struct Pair<T> {
    left: T,
    right: T,
}

#[derive(SyncType)]
struct Corner {
    streets: Pair<Street>,
}

fn main() {}

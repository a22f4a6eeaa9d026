use sync_core::SyncType;

#[derive(SyncType)]
#[sync(ts)]
struct Place {
    street: String,
}

fn main() {}

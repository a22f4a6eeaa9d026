use sync_core::SyncType;

#[derive(SyncType)]
#[sync(name = "A place")]
struct Place {
    street: String,
}

fn main() {}

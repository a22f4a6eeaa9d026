use sync_core::SyncType;

#[derive(SyncType)]
struct Place {
    #[sync(ts = string)]
    street: String,
}

fn main() {}

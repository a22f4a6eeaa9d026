use sync_core::SyncType;

#[derive(SyncType)]
#[sync(nmae = "Place")]
struct Place {
    street: String,
}

fn main() {}

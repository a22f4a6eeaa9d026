use sync_core::SyncType;

#[derive(SyncType)]
struct Place {
    #[sync(rename = "road")]
    street: String,
}

fn main() {}

use sync_core::SyncType;

#[derive(SyncType)]
struct Place {
    #[sync(tss = "string")]
    street: String,
}

fn main() {}

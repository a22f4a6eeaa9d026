use sync_core::SyncType;

#[derive(SyncType)]
enum Place {
    #[sync(ts = " ")]
    Street(String),
}

fn main() {}

use sync_core::SyncType;

#[derive(SyncType)]
#[sync(name = 7)]
enum Place {
    #[sync(tsx = "string")]
    Street(#[sync(ts)] String),
    Square {
        #[sync]
        name: String,
    },
}

fn main() {}

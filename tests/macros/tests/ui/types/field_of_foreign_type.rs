use sync_core::SyncType;

struct Street;

#[derive(SyncType)]
struct Place {
    number: u32,
    street: Option<Street>,
}

fn main() {}

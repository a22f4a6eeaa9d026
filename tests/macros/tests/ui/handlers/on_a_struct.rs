use sync_core::sync_handlers;

#[sync_handlers]
struct Todo {
    id: u64,
}

fn main() {}

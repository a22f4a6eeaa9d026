use sync_core::sync_handlers;

struct List<T>(T);

#[sync_handlers(crud)]
impl<T> List<T> {}

fn main() {}

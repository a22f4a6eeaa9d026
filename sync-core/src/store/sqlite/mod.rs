//! x
#[derive(Debug)]
/// x
pub struct SqliteStore;

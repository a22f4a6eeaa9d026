//! x
#[derive(Debug)]
/// x
pub struct MemoryStore;

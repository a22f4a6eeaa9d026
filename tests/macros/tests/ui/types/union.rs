use sync_core::SyncType;

#[derive(SyncType)]
union Bits {
    whole: u32,
    part: u16,
}

fn main() {}

//! Cursors: where a client can go on.

use std::fmt;

use uuid::Uuid;

use crate::store::Seq;

/// How far a client has had a query: opaque to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) epoch: Uuid,
    pub(crate) seq: Seq,
    pub(crate) hash: u64,
}

impl Cursor {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let cursor = Self {
            epoch: Uuid::parse_str(parts.next()?).ok()?,
            seq: parts.next()?.parse().ok()?,
            hash: u64::from_str_radix(parts.next()?, 16).ok()?,
        };
        parts.next().is_none().then_some(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{:016x}", self.epoch.simple(), self.seq, self.hash)
    }
}

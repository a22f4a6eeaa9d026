//! A query's tail: the transactions that concern it, as a linked list that subscribers have places in.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::store::Seq;

/// The messages of one transaction for one query.
pub(crate) type Entries = SmallVec<[TailEntry; 1]>;

/// A message in a tail.
#[derive(Clone, Debug)]
pub(crate) struct TailEntry {
    /// The place of its change in the transaction; `None` for what a window hears, which is for each subscription alone.
    pub(crate) index: Option<usize>,
    /// Whether it goes on with what the one before it says, and may come in another frame.
    pub(crate) is_more: bool,
    /// Whether another query that shows the row counts more.
    pub(crate) is_removal: bool,
    pub(crate) message: Bytes,
}

/// The newest end of a query's tail.
#[derive(Debug)]
pub(super) struct Tail {
    end: Arc<Node>,
}

impl Tail {
    pub(super) fn new() -> Self {
        Self {
            end: Arc::new(Node { seq: 0, entries: SmallVec::new(), total_bytes: 0, next: OnceLock::new() }),
        }
    }

    pub(super) fn end(&self) -> Place {
        Place(self.end.clone())
    }

    /// The seq of the last transaction in it; 0 if there was none.
    pub(super) fn last(&self) -> Seq {
        self.end.seq
    }

    /// How many bytes stand after `place`.
    pub(super) fn bytes_after(&self, place: &Place) -> u64 {
        self.end.total_bytes - place.0.total_bytes
    }

    pub(super) fn push(&mut self, seq: Seq, entries: Entries) {
        let bytes: usize = entries.iter().map(|entry| entry.message.len()).sum();
        let total_bytes = self.end.total_bytes + bytes as u64;
        let node = Arc::new(Node { seq, entries, total_bytes, next: OnceLock::new() });
        // The end has no next node, so this sets it.
        let _ = self.end.next.set(node.clone());
        self.end = node;
    }
}

#[derive(Debug)]
struct Node {
    seq: Seq,
    entries: Entries,
    /// Of all nodes up to this one, since the query began.
    total_bytes: u64,
    next: OnceLock<Arc<Node>>,
}

impl Drop for Node {
    /// A long tail goes node by node: dropped by recursion it would take the stack.
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(node) = next {
            next = Arc::into_inner(node).and_then(|mut node| node.next.take());
        }
    }
}

/// How far someone has read a query's tail: the last node that they have had.
#[derive(Clone, Debug)]
pub(crate) struct Place(Arc<Node>);

impl Place {
    /// Whether anything stands after it, whatever its seq.
    pub(crate) fn has_next(&self) -> bool {
        self.0.next.get().is_some()
    }

    /// Moves over the next transaction if there is one up to `seq`.
    pub(crate) fn advance(&mut self, seq: Seq) -> Option<(Seq, Entries)> {
        let next = self.0.next.get().filter(|next| next.seq <= seq)?.clone();
        self.0 = next;
        Some((self.0.seq, self.0.entries.clone()))
    }
}

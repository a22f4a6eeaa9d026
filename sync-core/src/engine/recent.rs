//! The changes that were submitted last, by which a transaction that is under way is told what has changed beside it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{model::Key, store::Change};

/// The number of a submitted transaction, in the order of their submission: 1, 2, 3, …
pub(super) type Ticket = u64;

/// What a submitted transaction changes.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) changes: SmallVec<[Changed; 1]>,
    bytes: usize,
}

/// A row before and after.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) model: &'static str,
    pub(super) key: Key,
    pub(super) old: Option<Bytes>,
    pub(super) new: Option<Bytes>,
}

/// The last submissions, without a gap. A transaction that has looked at rows before the first of them cannot be checked any more.
#[derive(Debug, Default)]
pub(super) struct Recent {
    submissions: VecDeque<Arc<Submission>>,
    /// Of the last submission.
    last: Ticket,
    bytes: usize,
    /// Where transactions that are under way have begun, and how many there.
    running: BTreeMap<Ticket, usize>,
}

impl Recent {
    /// The ticket of what was submitted last.
    pub(super) fn last(&self) -> Ticket {
        self.last
    }

    /// Adds a submission.
    pub(super) fn push(&mut self, changes: &[Change]) {
        let mut bytes = OVERHEAD;
        let changes = changes.iter().map(|change| {
            bytes += change.body_bytes() + OVERHEAD;
            Changed {
                model: change.model,
                key: change.key.clone(),
                old: change.old.clone(),
                new: change.new.clone(),
            }
        });
        let changes = changes.collect();
        self.submissions.push_back(Arc::new(Submission { changes, bytes }));
        self.bytes += bytes;
        self.last += 1;
        self.prune();
    }

    /// The submissions after `ticket`; `None` if some of them are forgotten.
    pub(super) fn after(&self, ticket: Ticket) -> Option<impl ExactSizeIterator<Item = &Arc<Submission>>> {
        let count = usize::try_from(self.last.saturating_sub(ticket)).ok()?;
        let from = self.submissions.len().checked_sub(count)?;
        Some(self.submissions.range(from..))
    }

    /// Keeps what is submitted from now on, within bounds, until [`end`](Self::end) is called with the ticket that this returns.
    pub(super) fn begin(&mut self) -> Ticket {
        *self.running.entry(self.last).or_default() += 1;
        self.last
    }

    pub(super) fn end(&mut self, begun: Ticket) {
        if let Some(count) = self.running.get_mut(&begun) {
            *count -= 1;
            if *count == 0 {
                self.running.remove(&begun);
                self.prune();
            }
        }
    }

    fn prune(&mut self) {
        let wanted = self.running.first_key_value().map_or(0, |(begun, _)| self.last - begun);
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        while self.submissions.len() > MOST.0
            || self.bytes > MOST.1
            || self.submissions.len() > wanted && (self.submissions.len() > FEW.0 || self.bytes > FEW.1)
        {
            let Some(first) = self.submissions.pop_front() else { return };
            self.bytes -= first.bytes;
        }
    }
}

/// How many submissions are kept at least, and bytes of them: what is submitted while one row is read.
const FEW: (usize, usize) = (1024, 1 << 20);

/// How many are kept for transactions that take long. What is older than these is run again.
const MOST: (usize, usize) = (64 * 1024, 64 << 20);

/// What a submission, and each change of it, takes besides its bodies.
const OVERHEAD: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn push(recent: &mut Recent, bytes: usize) {
        let new = Some(Bytes::from(vec![0; bytes]));
        recent.push(&[Change { model: "Todo", key: Key::Int(1), cid: None, old: None, new }]);
    }

    fn after(recent: &Recent, ticket: Ticket) -> Option<usize> {
        recent.after(ticket).map(Iterator::count)
    }

    #[test]
    fn what_a_running_transaction_needs_is_kept() {
        let mut recent = Recent::default();
        assert_eq!(after(&recent, 0), Some(0));
        push(&mut recent, 1);
        let begun = recent.begin();
        assert_eq!(begun, 1);
        (0..5_000).for_each(|_| push(&mut recent, 1));
        assert_eq!((after(&recent, 1), after(&recent, 5_000)), (Some(5_000), Some(1)));
        assert_eq!(after(&recent, 0), None, "before what is kept");
        recent.end(begun);
        assert_eq!((after(&recent, 1), after(&recent, 5_001 - 1024)), (None, Some(1024)));
    }

    #[test]
    fn memory_is_bounded_in_count_and_bytes() {
        let mut recent = Recent::default();
        let begun = recent.begin();
        (0..70).for_each(|_| push(&mut recent, 1 << 20));
        assert!(recent.bytes <= MOST.1 && after(&recent, begun).is_none());
        assert!(after(&recent, recent.last() - 60).is_some());
        (0..70_000).for_each(|_| push(&mut recent, 1));
        assert!(recent.submissions.len() <= MOST.0 && after(&recent, recent.last() - 60_000).is_some());
        recent.end(begun);
        assert!(recent.bytes <= FEW.1);
    }
}

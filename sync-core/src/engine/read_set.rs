//! What a transaction has read, so that it can be told whether that still holds.

use smallvec::SmallVec;

use super::{
    pipeline::Found,
    recent::{Submission, Ticket},
};
use crate::model::filter::Expr;

/// Rows and filters, all as they were at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadSet {
    /// Rows that were read, or are to be written; and those that are not flushed yet and made a filter's rows what they were.
    pub(super) found: SmallVec<[Found; 1]>,
    /// All of their rows were read.
    pub(super) filters: Vec<(&'static str, Expr)>,
    /// After which submission it was last known to hold.
    pub(super) checked: Ticket,
}

impl ReadSet {
    pub(super) fn of_row(found: Found, checked: Ticket) -> Self {
        Self { found: [found].into_iter().collect(), filters: Vec::new(), checked }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty() && self.filters.is_empty()
    }

    /// Whether a submission has changed what was read.
    pub(super) fn is_touched_by(&self, submission: &Submission) -> bool {
        let is_found = |change: &super::recent::Changed| {
            self.found.iter().any(|found| found.model == change.model && found.key == change.key)
        };
        submission.changes.iter().any(is_found) || self.has_filter_touched_by(submission)
    }

    /// Whether a submission has changed a row of a filter, or made one a row of it.
    pub(super) fn has_filter_touched_by(&self, submission: &Submission) -> bool {
        if self.filters.is_empty() {
            return false;
        }
        submission.changes.iter().any(|change| {
            let is_in = |filter: &Expr| {
                [&change.old, &change.new].into_iter().flatten().any(|body| filter.matches(body))
            };
            self.filters.iter().any(|(model, filter)| *model == change.model && is_in(filter))
        })
    }

    /// Whether something of it was written by a transaction that was not committed.
    pub(super) fn has_failed(&self) -> bool {
        self.found.iter().any(|found| found.version.has_failed())
    }

    /// Whether something of it is not on disk yet.
    pub(super) fn is_pending(&self) -> bool {
        self.found.iter().any(|found| found.version.is_pending())
    }

    /// Adds what was read beside it; both hold now.
    pub(super) fn add(&mut self, other: Self) {
        // Who has read nothing holds since ever.
        if other.is_empty() {
            return;
        }
        self.checked = if self.is_empty() { other.checked } else { self.checked.min(other.checked) };
        self.found.extend(other.found);
        self.filters.extend(other.filters);
    }
}

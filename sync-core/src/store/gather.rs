//! Making a page of the rows that a store finds.

use super::{Page, Place, Select, Seq, StoredRow, rules::Budget, select::Look};

/// Makes a [`Page`] of the rows that a store finds for a [`Select`]: it judges each, and puts them in order where they are not.
///
/// A store gives it all rows that may be asked for. It may give others, as they are judged once more, but none twice.
///
/// ```
/// use sync_core::store::{Gather, Page, Select, Seq, StoredRow};
///
/// /// The simplest page there is: of a store that looks at all of its rows.
/// fn page(rows: &[StoredRow], seq: Seq, select: &Select) -> Page {
///     let mut gather = Gather::new(select);
///     for row in rows {
///         gather.add(row.clone());
///     }
///     gather.page(seq)
/// }
/// # let row = StoredRow { key: sync_core::Key::Int(1), seq: 1, body: "{}".into() };
/// # assert_eq!(page(&[row], 1, &Select::all()).rows.len(), 1);
/// ```
#[derive(Debug)]
pub struct Gather<'a> {
    select: &'a Select,
    budget: Budget,
    rows: Vec<StoredRow>,
    next: Option<Place>,
    /// Rows, to be put in order at the end. `None` where they come in order.
    unsorted: Option<Vec<(Place, StoredRow)>>,
    /// How many rows that are not asked for may still be looked at.
    patience: usize,
    is_out_of_patience: bool,
}

impl<'a> Gather<'a> {
    /// For rows that come in any order: it wants all of them.
    pub fn new(select: &'a Select) -> Self {
        let unsorted = Some(Vec::new());
        Self { unsorted, patience: usize::MAX, ..Self::in_order(select) }
    }

    /// For rows that come in the order that is asked for: it wants no more when the page is full.
    pub fn in_order(select: &'a Select) -> Self {
        Self {
            select,
            budget: Budget::new(select.max_bytes),
            rows: Vec::new(),
            next: None,
            unsorted: None,
            patience: select.scan,
            is_out_of_patience: false,
        }
    }

    /// Takes a row if it is asked for. Whether more are wanted.
    pub fn add(&mut self, row: StoredRow) -> bool {
        let look = self.select.look(&row.key, &row.body);
        self.offer(look, row)
    }

    /// Takes a row that was looked at if it is asked for. Whether more are wanted.
    pub(super) fn offer(&mut self, Look { matches, place }: Look, row: StoredRow) -> bool {
        // What is no JSON object has no place in an order.
        let Some(place) = place.filter(|place| self.is_after(place)) else { return true };
        match &mut self.unsorted {
            _ if !matches => self.pass(1, Some(place)),
            Some(rows) => {
                rows.push((place, row));
                keep_first(rows, self.select, self.select.limit);
                true
            }
            None => self.take(row),
        }
    }

    /// The page of what was added.
    pub fn page(mut self, seq: Seq) -> Page {
        let mut unsorted = self.unsorted.take().unwrap_or_default();
        unsorted.sort_unstable_by(|(a, _), (b, _)| a.compare(b, &self.select.order));
        for (_, row) in unsorted {
            if !self.take(row) {
                break;
            }
        }
        Page { rows: self.rows, seq, next: self.next }
    }

    pub(super) fn is_after(&self, place: &Place) -> bool {
        self.select.after.as_ref().is_none_or(|after| place.compare(after, &self.select.order).is_gt())
    }

    /// Takes the next row, which is asked for. Whether more are wanted.
    pub(super) fn take(&mut self, row: StoredRow) -> bool {
        if self.rows.len() < self.select.limit && self.budget.take(row.body.len()) {
            self.rows.push(row);
            return true;
        }
        self.next = self.rows.last().and_then(|last| self.select.place(&last.key, &last.body));
        false
    }

    /// Rows up to this place were looked at and not asked for. Whether more are wanted.
    pub(super) fn pass(&mut self, rows: usize, place: Option<Place>) -> bool {
        match self.patience.checked_sub(rows) {
            Some(left) => {
                self.patience = left;
                true
            }
            None => {
                self.next = place;
                self.is_out_of_patience = self.next.is_some();
                !self.is_out_of_patience
            }
        }
    }

    /// Wants no more rows: finding them has taken too long.
    #[cfg(feature = "sqlite")]
    pub(super) fn give_up(&mut self) {
        self.is_out_of_patience = true;
    }

    /// Looks at no more rows that are not asked for than this.
    #[cfg(feature = "sqlite")]
    pub(super) fn with_patience(mut self, rows: usize) -> Self {
        self.patience = self.patience.min(rows);
        self
    }

    /// Whether it wants no more rows because too many were not asked for.
    #[cfg(feature = "sqlite")]
    pub(super) fn is_out_of_patience(&self) -> bool {
        self.is_out_of_patience
    }

    /// How many rows there is room for.
    #[cfg(feature = "sqlite")]
    pub(super) fn room(&self) -> usize {
        self.select.limit.saturating_sub(self.rows.len())
    }
}

/// Drops rows that more than `limit` others come before; one more is kept, which says that there are more. Now and then, so that the
/// memory is bounded and most rows cost nothing.
pub(super) fn keep_first(rows: &mut Vec<(Place, StoredRow)>, select: &Select, limit: usize) {
    let kept = limit.saturating_add(1);
    if rows.len() >= kept.saturating_mul(2).max(64) {
        rows.select_nth_unstable_by(kept - 1, |(a, _), (b, _)| a.compare(b, &select.order));
        rows.truncate(kept);
    }
}

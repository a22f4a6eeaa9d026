//! What a store is asked for: which rows, in which order, from where, and how many.

use super::span::{self, Span};
use crate::model::{
    Filter, Key, Order, OrderBy, Place,
    filter::{Expr, FieldValues, Names},
    order::OrderList,
};

/// Which rows of a model a [`Store`](super::Store) is to read, in which order, and how many at once.
///
/// ```
/// # use serde::{Serialize, Deserialize};
/// # use sync_core::SyncedModel;
/// use sync_core::store::Select;
///
/// # #[derive(Clone, Serialize, Deserialize, SyncedModel)]
/// # struct Todo { id: u64, #[sync(index)] list: String, #[sync(index)] priority: u8 }
/// let urgent = Select::all().matching(Todo::LIST.eq("home")).order([Todo::PRIORITY.desc()]).limit(20);
/// assert!(urgent.matches(br#"{"id":1,"list":"home","priority":3}"#));
/// ```
#[derive(Clone, Debug)]
pub struct Select {
    pub(crate) filter: Expr,
    pub(crate) order: OrderList,
    pub(crate) after: Option<Place>,
    pub(crate) limit: usize,
    pub(crate) max_bytes: usize,
    pub(crate) scan: usize,
}

impl Select {
    /// All rows, in the order of their ids.
    pub fn all() -> Self {
        Self::of(Filter::<()>::all().into_expr())
    }

    pub(crate) fn of(filter: Expr) -> Self {
        Self {
            filter,
            order: OrderList::new(),
            after: None,
            limit: usize::MAX,
            max_bytes: usize::MAX,
            scan: usize::MAX,
        }
    }

    /// Those in this filter.
    #[must_use]
    pub fn matching<M>(mut self, filter: Filter<M>) -> Self {
        self.filter = Expr::and(vec![self.filter, filter.into_expr()]);
        self
    }

    /// In the order of these fields, and of their ids where they are equal in them.
    #[must_use]
    pub fn order<M>(mut self, order: impl IntoIterator<Item = Order<M>>) -> Self {
        self.order = order.into_iter().map(|order| order.by()).collect();
        self
    }

    /// Those that come after this place in the order.
    #[must_use]
    pub fn after(mut self, place: Option<Place>) -> Self {
        self.after = place;
        self
    }

    /// At most so many rows, and at least 1.
    #[must_use]
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = rows.max(1);
        self
    }

    /// Fewer rows if their bodies exceed so many bytes, but one at least.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// At most so many rows that turn out not to be asked for, so that what few rows match takes the store a little at a time: the page
    /// may then have fewer rows than there are, even none, and a [`next`](super::Page::next) to go on from. Without it a page is as full as can be.
    #[must_use]
    pub fn scan_at_most(mut self, rows: usize) -> Self {
        self.scan = rows;
        self
    }

    /// Whether the row with this stored JSON is in the filter.
    pub fn matches(&self, body: &[u8]) -> bool {
        self.filter.matches(body)
    }

    /// The fields by which rows go, before their ids.
    pub fn order_by(&self) -> &[OrderBy] {
        &self.order
    }

    /// The place after which the rows come.
    pub fn begin(&self) -> Option<&Place> {
        self.after.as_ref()
    }

    /// Where a row with this id and stored JSON stands in the order; `None` if it is no JSON object.
    pub fn place(&self, key: &Key, body: &[u8]) -> Option<Place> {
        Place::of_body(body, key.clone(), &self.order)
    }

    /// Which values a field has in the rows of the filter, as far as that can be told without looking at one: no row with another value is in it, and not
    /// all with these need be. Sorted, and apart from each other. `None` if it may be any.
    ///
    /// ```
    /// # use serde::{Serialize, Deserialize};
    /// # use sync_core::SyncedModel;
    /// # use sync_core::store::Select;
    /// # #[derive(Clone, Serialize, Deserialize, SyncedModel)]
    /// # struct Todo { id: u64, #[sync(index)] list: String, #[sync(index)] priority: u8 }
    /// let select = Select::all().matching(Todo::LIST.one_of(["home", "work"]) & Todo::PRIORITY.gt(3));
    /// assert_eq!(select.spans("list").unwrap().len(), 2);
    /// assert_eq!(select.spans("priority").unwrap().len(), 1);
    /// assert!(select.spans("id").is_none());
    /// ```
    pub fn spans(&self, field: &str) -> Option<Vec<Span>> {
        span::of(&self.filter, field)
    }

    /// Whether a row is in the filter, and its place, in one look.
    pub(super) fn look(&self, key: &Key, body: &[u8]) -> Look {
        let mut names = Names::new();
        self.filter.names(&mut names);
        for by in &self.order {
            if !names.contains(&by.field) {
                names.push(by.field);
            }
        }
        let values = if names.is_empty() { None } else { FieldValues::read(body, names) };
        let matches = self.filter.is_all() || values.as_ref().is_some_and(|row| self.filter.judge(row));
        let place = match values {
            _ if self.order.is_empty() => Some(Place::by_key(key.clone())),
            Some(row) => Some(Place::of(&row, key.clone(), &self.order)),
            None => None,
        };
        Look { matches, place }
    }
}

/// What a [`Select`] says of a row.
pub(super) struct Look {
    pub(super) matches: bool,
    pub(super) place: Option<Place>,
}

impl Look {
    /// The value in the first field of the order.
    #[cfg(feature = "sqlite")]
    pub(super) fn value(&self) -> Option<&crate::model::Value> {
        self.place.as_ref().and_then(|place| place.values.first())
    }
}

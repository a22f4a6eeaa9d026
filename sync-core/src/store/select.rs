//! What a store is asked for: which rows, in which order, from where, and how many.

use crate::model::{Filter, Key, Order, OrderBy, Place, filter::Expr, order::OrderList};

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
}

impl Select {
    /// All rows, in the order of their ids.
    pub fn all() -> Self {
        Self::of(Filter::<()>::all().into_expr())
    }

    pub(crate) fn of(filter: Expr) -> Self {
        Self { filter, order: OrderList::new(), after: None, limit: usize::MAX, max_bytes: usize::MAX }
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

    /// Whether the row with this stored JSON is in the filter.
    pub fn matches(&self, body: &[u8]) -> bool {
        self.filter.matches(body)
    }

    /// The fields by which rows go, before their ids.
    pub fn order_by(&self) -> &[OrderBy] {
        &self.order
    }

    /// Where a row with this id and stored JSON stands in the order; `None` if it is no JSON object.
    pub fn place(&self, key: &Key, body: &[u8]) -> Option<Place> {
        Place::of_body(body, key.clone(), &self.order)
    }
}

//! A read of many rows, as `read_all` may shape it.

use crate::model::{Filter, Order, filter::Expr, order::OrderList};

/// A read of many rows of `M`, by `subscribe` or by a `read` without an id: what a `read_all` handler receives and returns.
///
/// Its filter only ever narrows what `read` allows.
///
/// ```
/// # use serde::{Serialize, Deserialize};
/// use sync_core::{Context, Filter, Query, Result, SyncedModel, sync_handlers};
///
/// #[derive(Clone, Serialize, Deserialize, SyncedModel)]
/// struct Note { id: u64, text: String, #[sync(index)] archived: bool, #[sync(index)] at: i64 }
///
/// #[sync_handlers]
/// impl Note {
///     async fn read(_ctx: &Context) -> Result<Filter<Note>> {
///         Ok(Filter::all())
///     }
///     async fn read_all(_ctx: &Context, query: Query<Note>) -> Result<Query<Note>> {
///         Ok(query.and(Note::ARCHIVED.eq(false)).order([Note::AT.desc()]).page_size(100))
///     }
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Query<M> {
    filter: Filter<M>,
    order: OrderList,
    limit: Option<usize>,
    page_size: Option<usize>,
}

impl<M> Query<M> {
    pub(crate) fn new() -> Self {
        Self { filter: Filter::all(), order: OrderList::new(), limit: None, page_size: None }
    }

    /// Only those of its rows that also match `filter`.
    pub fn and(mut self, filter: Filter<M>) -> Self {
        self.filter = self.filter & filter;
        self
    }

    /// In this order, where the client asks for none: by the first of these fields, then by the next, and by the id where rows are equal in all of
    /// them.
    pub fn order(mut self, order: impl IntoIterator<Item = Order<M>>) -> Self {
        self.order = order.into_iter().map(|order| order.by()).collect();
        self
    }

    /// At most the first so many rows: at least 1, and at most 1,000. A subscription without a limit, or with a greater one, becomes a window of
    /// so many rows.
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = Some(rows.clamp(1, 1000));
        self
    }

    /// At most so many rows in one `read` message: at least 1, and at most what the server's own page size is, which is the
    /// default.
    pub fn page_size(mut self, rows: usize) -> Self {
        self.page_size = Some(rows.max(1));
        self
    }

    pub(crate) fn erase(self) -> ErasedQuery {
        let Self { filter, order, limit, page_size } = self;
        ErasedQuery { filter: filter.into_expr(), order, limit, page_size }
    }
}

/// A [`Query`] without its model's type.
#[doc(hidden)]
#[derive(Debug)]
pub struct ErasedQuery {
    pub(crate) filter: Expr,
    pub(crate) order: OrderList,
    pub(crate) limit: Option<usize>,
    pub(crate) page_size: Option<usize>,
}

//! A read of many rows, as `read_all` may shape it.

use crate::model::{Filter, filter::Expr};

/// A read of many rows of `M`, by `subscribe` or by a `read` without an id: what a `read_all` handler receives and returns.
///
/// Its filter only ever narrows what `read` allows.
///
/// ```
/// # use serde::{Serialize, Deserialize};
/// use sync_core::{Context, Filter, Query, Result, SyncedModel, sync_handlers};
///
/// #[derive(Clone, Serialize, Deserialize, SyncedModel)]
/// struct Note { id: u64, text: String, #[sync(index)] archived: bool }
///
/// #[sync_handlers]
/// impl Note {
///     async fn read(_ctx: &Context) -> Result<Filter<Note>> {
///         Ok(Filter::all())
///     }
///     async fn read_all(_ctx: &Context, query: Query<Note>) -> Result<Query<Note>> {
///         Ok(query.and(Note::ARCHIVED.eq(false)).page_size(100))
///     }
/// }
/// ```
#[derive(Debug)]
#[must_use]
pub struct Query<M> {
    filter: Filter<M>,
    page_size: Option<usize>,
}

impl<M> Query<M> {
    pub(crate) fn new() -> Self {
        Self { filter: Filter::all(), page_size: None }
    }

    /// Only those of its rows that also match `filter`.
    pub fn and(mut self, filter: Filter<M>) -> Self {
        self.filter = self.filter & filter;
        self
    }

    /// At most so many rows in one `read` message: at least 1, and at most what the server's own page size is, which is the
    /// default.
    pub fn page_size(mut self, rows: usize) -> Self {
        self.page_size = Some(rows.max(1));
        self
    }

    pub(crate) fn erase(self) -> ErasedQuery {
        ErasedQuery { filter: self.filter.into_expr(), page_size: self.page_size }
    }
}

/// A [`Query`] without its model's type.
#[doc(hidden)]
#[derive(Debug)]
pub struct ErasedQuery {
    pub(crate) filter: Expr,
    pub(crate) page_size: Option<usize>,
}

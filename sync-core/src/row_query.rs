//! Rows that server code asks for.

use std::{fmt, future::IntoFuture, marker::PhantomData};

use bytes::Bytes;

use crate::{
    Filter, Order, Result,
    handlers::{self, BoxFuture},
    model::SyncedModel,
    store::Select,
};

/// The rows in a filter, as [`Context::query`](crate::Context::query) and [`Handle::query`](crate::Handle::query) ask for them. Awaited it is
/// the rows; before that it may be told their order and how many.
#[must_use = "nothing is read until it is awaited"]
pub struct RowQuery<'a, M> {
    source: &'a dyn RowSource,
    select: Select,
    limit: Option<usize>,
    marker: PhantomData<fn() -> M>,
}

/// Where rows are read.
pub(crate) trait RowSource: Send + Sync {
    /// The rows' stored JSON.
    fn rows(&self, model: &'static str, select: Select) -> BoxFuture<'_, Result<Vec<Bytes>>>;
}

impl<'a, M: SyncedModel> RowQuery<'a, M> {
    pub(crate) fn new(source: &'a dyn RowSource, filter: Filter<M>) -> Self {
        Self { source, select: Select::of(filter.into_expr()), limit: None, marker: PhantomData }
    }

    /// In the order of these fields, and of the ids where they are equal in them. Without it rows go by id.
    pub fn order(mut self, order: impl IntoIterator<Item = Order<M>>) -> Self {
        self.select = self.select.order(order);
        self
    }

    /// At most so many rows: the first in the order. Only what changes among them makes the handler run again.
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = Some(rows);
        self
    }

    /// How many rows there are.
    ///
    /// # Errors
    /// As [`Context::get`](crate::Context::get).
    pub async fn count(self) -> Result<usize> {
        Ok(self.bodies().await?.len())
    }

    /// The first row in the order.
    ///
    /// # Errors
    /// As [`Context::get`](crate::Context::get).
    pub async fn first(self) -> Result<Option<M>> {
        Ok(self.limit(1).await?.pop())
    }

    async fn bodies(self) -> Result<Vec<Bytes>> {
        match self.limit {
            Some(0) => Ok(Vec::new()),
            Some(rows) => self.source.rows(M::NAME, self.select.limit(rows)).await,
            None => self.source.rows(M::NAME, self.select).await,
        }
    }
}

impl<'a, M: SyncedModel> IntoFuture for RowQuery<'a, M> {
    type Output = Result<Vec<M>>;
    type IntoFuture = BoxFuture<'a, Result<Vec<M>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.bodies().await?.iter().map(handlers::stored).collect() })
    }
}

impl<M> fmt::Debug for RowQuery<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowQuery").field("select", &self.select).finish_non_exhaustive()
    }
}

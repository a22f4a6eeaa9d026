//! The rows for server code outside of handlers.

use std::{fmt, future::Future, sync::Arc};

use bytes::Bytes;

use crate::{
    Context, Filter, Operand, Result, RowQuery, SyncedModel, engine::Engine, handlers::BoxFuture,
    row_query::RowSource, store::Select,
};

/// The rows of a running server, for its own code outside of handlers: an axum route, a background task. Made by
/// [`Running::handle`](crate::Running::handle); clones are the same.
///
/// It has the server's own authority: no handler is run and no `read` narrows it. What it writes is broadcast like every change. A call
/// returns when what it wrote is on disk; what is read then, here or by a client, has it. Each call is a transaction of its own;
/// [`transaction`](Self::transaction) makes one of several.
///
/// ```no_run
/// use axum::{Router, extract::State, http::StatusCode, routing::post};
/// use sync_core::{Filter, Handle, Result, Server};
/// # use serde::{Serialize, Deserialize};
/// # #[derive(Clone, Serialize, Deserialize, sync_core::SyncedModel)]
/// # struct Todo { id: u64, title: String, #[sync(index)] completed: bool }
///
/// async fn add(State(rows): State<Handle>, title: String) -> Result<String, StatusCode> {
///     let todo = rows.insert(Todo { id: 0, title, completed: false }).await;
///     Ok(todo.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?.id.to_string())
/// }
///
/// #[tokio::main]
/// async fn main() -> Result<()> {
///     let sync = Server::builder().build()?.start().await?;
///     let app = Router::new().route("/todos", post(add)).with_state(sync.handle()).merge(sync.router());
///     axum::serve(tokio::net::TcpListener::bind("127.0.0.1:8080").await?, app).await?;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Handle {
    engine: Arc<Engine>,
}

impl Handle {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// The row of this id.
    ///
    /// # Errors
    /// `shutdown` when the server is stopped, `unavailable` when the store does not answer.
    pub async fn get<M: SyncedModel>(&self, id: impl Operand<M::Id>) -> Result<Option<M>> {
        let id = id.into_operand();
        self.transaction(|context| {
            let id = id.clone();
            async move { context.get::<M>(id).await }
        })
        .await
    }

    /// The rows in a filter; see [`Context::query`].
    pub fn query<M: SyncedModel>(&self, filter: Filter<M>) -> RowQuery<'_, M> {
        RowQuery::new(self, filter)
    }

    /// Adds a row; see [`Context::insert`].
    ///
    /// # Errors
    /// As [`Context::insert`]; `shutdown`; `unavailable` when the store failed: whether the row is there is not known then.
    pub async fn insert<M: SyncedModel>(&self, row: M) -> Result<M> {
        self.transaction(|context| {
            let row = row.clone();
            async move { context.insert(row).await }
        })
        .await
    }

    /// Stores a row in place of the one that has its id, whatever that has become since it was read: see [`transaction`](Self::transaction)
    /// for what depends on it.
    ///
    /// # Errors
    /// As [`Context::update`]; `shutdown`; `unavailable` when the store failed: whether it was done is not known then.
    pub async fn update<M: SyncedModel>(&self, row: &M) -> Result<()> {
        self.transaction(|context| async move { context.update(row).await }).await
    }

    /// Deletes the row that has this one's id.
    ///
    /// # Errors
    /// As [`Context::delete`]; `shutdown`; `unavailable` when the store failed: whether it was done is not known then.
    pub async fn delete<M: SyncedModel>(&self, row: &M) -> Result<()> {
        self.transaction(|context| async move { context.delete(row).await }).await
    }

    /// Does several things in one transaction: all of it or nothing, on one consistent state, as in a handler. Like a handler it is run
    /// again when something that it has read has changed. The [`Context`] is good for as long as the future runs.
    ///
    /// ```no_run
    /// # use serde::{Serialize, Deserialize};
    /// # use sync_core::{Error, Handle, Result, SyncedModel};
    /// # #[derive(Clone, Serialize, Deserialize, SyncedModel)]
    /// # struct Counter { id: String, count: u64 }
    /// # async fn count(rows: Handle) -> Result<()> {
    /// let count = rows
    ///     .transaction(|ctx| async move {
    ///         let mut counter = ctx.get::<Counter>("visits").await?.ok_or_else(Error::not_found)?;
    ///         counter.count += 1;
    ///         ctx.update(&counter).await?;
    ///         Ok(counter.count)
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of the future, which then has written nothing; `conflict` after eight attempts; `shutdown`; `unavailable` when the store failed: whether
    /// it was done is not known then.
    pub async fn transaction<T, F, W>(&self, work: F) -> Result<T>
    where
        F: FnMut(Context) -> W,
        W: Future<Output = Result<T>>,
    {
        self.engine.transact(work).await
    }
}

impl RowSource for Handle {
    fn rows(&self, model: &'static str, select: Select) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        Box::pin(async move {
            self.transaction(|context| {
                let select = select.clone();
                async move { context.rows(model, select).await }
            })
            .await
        })
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

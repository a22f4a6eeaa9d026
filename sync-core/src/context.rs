//! What a handler knows of the request that it decides, and the rows that it may look at and change with it.

use std::{
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    Error, Filter, Result,
    authority::Authority,
    handlers::{self, BoxFuture, Row},
    model::{Key, ModelId, Operand, SyncedModel, filter::Expr},
    row_query::{RowQuery, RowSource},
    store::Select,
};

/// Who asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// The client, if it said `hello`.
    pub(crate) client: Option<Uuid>,
    /// Its session, where the server authenticates.
    pub(crate) session: Option<Arc<Authority>>,
}

impl Caller {
    /// Whether its session is over: what was found for it is shown to nobody, and what it asked not done.
    pub(crate) fn has_ended(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.has_ended())
    }
}

/// The request that a handler decides: the first parameter of every handler and action.
///
/// Through it a handler looks at the rows of all models of the program and changes them:
///
/// * **One transaction.** What a handler writes here is committed together with its own row, or not at all. All of a batch is one
///   transaction, too.
/// * **One consistent state.** Everything that is read is as at one moment, with the transaction's own writes on top. At the commit all of it is
///   checked, filters with the rows that would newly match them: if something has changed the handler is run again, up to 8 times; then the
///   client is told `conflict`, and tries again. So there is no lost update, and nothing to lock.
/// * **The server's own authority.** [`get`](Self::get), [`query`](Self::query) and the writes know nothing of who asks: no `read` narrows them and
///   no handler of the other model is run. Where an action must not go beyond what its client may see, take [`scope`](Self::scope) into the
///   filter.
///
/// A handler may run several times for one request, so it has no outside effects; those go into [`after_commit`](Self::after_commit), and
/// what must not be lost into a row. What it asks its `Context` besides rows is the same in every run.
///
/// Clones are the same request. One that is kept for longer than the transaction lasts gives errors and writes nothing.
///
/// ```
/// # use serde::{Serialize, Deserialize};
/// use sync_core::{Context, Error, Filter, Result, SyncedModel, sync_handlers};
///
/// #[derive(Clone, Serialize, Deserialize, SyncedModel)]
/// struct Account { id: u64, balance: i64 }
///
/// #[sync_handlers]
/// impl Account {
///     async fn read(_ctx: &Context) -> Result<Filter<Account>> {
///         Ok(Filter::all())
///     }
///
///     #[action]
///     async fn transfer(ctx: &Context, from: u64, to: u64, amount: u32) -> Result<i64> {
///         let (mut from, mut to) = match (ctx.get::<Account>(from).await?, ctx.get::<Account>(to).await?) {
///             (Some(from), Some(to)) if from.id != to.id => (from, to),
///             _ => return Err(Error::not_found()),
///         };
///         from.balance -= i64::from(amount);
///         to.balance += i64::from(amount);
///         if from.balance < 0 {
///             return Err(Error::invalid("amount", "is more than there is"));
///         }
///         ctx.update(&from).await?;
///         ctx.update(&to).await?;
///         Ok(from.balance)
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Context {
    caller: Caller,
    now: SystemTime,
    attempt: u32,
    work: Arc<dyn Work>,
    may: May,
}

/// What may be done with a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum May {
    Write,
    /// It is in so many `read` handlers within each other.
    Look {
        depth: u8,
    },
}

/// How many `read` handlers may ask for each other's scope.
const MAX_DEPTH: u8 = 8;

impl Context {
    pub(crate) fn new(caller: Caller, now: SystemTime, attempt: u32, work: Arc<dyn Work>) -> Self {
        Self { caller, now, attempt, work, may: May::Write }
    }

    /// The same request, for a handler that may look and not write.
    pub(crate) fn looking(&self) -> Self {
        let depth = match self.may {
            May::Write => 1,
            May::Look { depth } => depth.saturating_add(1),
        };
        Self { may: May::Look { depth }, ..self.clone() }
    }

    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The client that asks, if it said `hello`: an id that a browser made for itself. It tells clients apart and proves
    /// nothing about who they are.
    pub fn client(&self) -> Option<Uuid> {
        self.caller.client
    }

    /// The value of the session that asks, as the program's `authenticate` made it; `None` in an anonymous session, where the server does not
    /// authenticate, and (which is logged as an error) where the session's value is of another type. A handler that gives `None` fewer rights
    /// does right in all of these.
    pub fn session<T: Send + Sync + 'static>(&self) -> Option<&T> {
        match self.caller.session.as_ref()?.value() {
            Ok(value) => value,
            Err(error) => {
                tracing::error!("{error}");
                None
            }
        }
    }

    /// The value of the session that asks.
    ///
    /// ```
    /// # use serde::{Serialize, Deserialize};
    /// use sync_core::{Context, Filter, Result, SyncedModel, sync_handlers};
    ///
    /// struct User { name: String }
    ///
    /// #[derive(Clone, Serialize, Deserialize, SyncedModel)]
    /// struct Note { id: u64, text: String, #[sync(server_only, index)] owner: String }
    ///
    /// #[sync_handlers]
    /// impl Note {
    ///     async fn create(ctx: &Context, draft: Note) -> Result<Note> {
    ///         Ok(Note { owner: ctx.require::<User>()?.name.clone(), ..draft })
    ///     }
    ///     async fn read(ctx: &Context) -> Result<Filter<Note>> {
    ///         Ok(Note::OWNER.eq(&ctx.require::<User>()?.name))
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// `unauthenticated` in an anonymous session, and where the server does not authenticate. `internal` where the session's value is of another
    /// type; the log names both.
    pub fn require<T: Send + Sync + 'static>(&self) -> Result<&T> {
        let value = self.caller.session.as_ref().map(|session| session.value()).transpose()?;
        value.flatten().ok_or_else(|| Error::unauthenticated("this needs somebody who is signed in"))
    }

    /// When the request arrived. Use it instead of the clock: it does not change when a handler is run again.
    pub fn now(&self) -> SystemTime {
        self.now
    }

    /// [`now`](Self::now) in milliseconds since 1970, as JavaScript's `Date.now()`; 0 for a clock before that.
    pub fn unix_millis(&self) -> i64 {
        let since = self.now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    /// 1 the first time that a handler is run for this request, then 2, 3 and so on up to 8.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The row of this id, whoever may see it.
    ///
    /// # Errors
    /// When the store does not answer, or when something that was read before has changed: the handler is then run again, whatever it
    /// returns. Hand the error on with `?`.
    pub async fn get<M: SyncedModel>(&self, id: impl Operand<M::Id>) -> Result<Option<M>> {
        let key = id.into_operand().to_key();
        let body = self.work.get(M::NAME, key).await?;
        body.map(|body| handlers::stored(&body)).transpose()
    }

    /// The rows in a filter, **whoever may see them**: in the order of their ids, or as the [`RowQuery`] is told before it is awaited.
    ///
    /// ```
    /// # use serde::{Serialize, Deserialize};
    /// # use sync_core::{Context, Result, SyncedModel};
    /// # #[derive(Clone, Serialize, Deserialize, SyncedModel)]
    /// # struct Todo { id: u64, #[sync(index)] list: String, #[sync(index)] priority: u8 }
    /// # async fn look(ctx: &Context) -> Result<()> {
    /// let all = ctx.query(Todo::LIST.eq("home")).await?;
    /// let urgent = ctx.query(Todo::LIST.eq("home")).order([Todo::PRIORITY.desc()]).limit(20).await?;
    /// let how_many = ctx.query(Todo::LIST.eq("home")).count().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn query<M: SyncedModel>(&self, filter: Filter<M>) -> RowQuery<'_, M> {
        RowQuery::new(self, filter)
    }

    /// Adds a row, and returns it with its id: an integer is assigned whatever the row has; an empty text, or a nil UUID, is replaced by a
    /// new one. The model's `create` is not run.
    ///
    /// # Errors
    /// `already_exists` for a text id that is taken; `too_large`, `invalid` for a row that cannot be stored; and as [`get`](Self::get).
    pub async fn insert<M: SyncedModel>(&self, mut row: M) -> Result<M> {
        self.check_may_write("insert")?;
        let given = handlers::given_key(&row);
        let key = self.work.place(M::NAME, given).await?;
        row.__set_id(handlers::id::<M>(&key)?);
        self.work.put(M::NAME, Row::of(&row)?, true).await?;
        Ok(row)
    }

    /// Stores a row in place of the one that has its id. The model's `update` is not run.
    ///
    /// # Errors
    /// `not_found` if there is none; `too_large`, `invalid` for a row that cannot be stored; and as [`get`](Self::get).
    pub async fn update<M: SyncedModel>(&self, row: &M) -> Result<()> {
        self.check_may_write("update")?;
        self.work.put(M::NAME, Row::of(row)?, false).await
    }

    /// Deletes the row that has this one's id. The model's `delete` is not run.
    ///
    /// # Errors
    /// `not_found` if there is none; and as [`get`](Self::get).
    pub async fn delete<M: SyncedModel>(&self, row: &M) -> Result<()> {
        self.check_may_write("delete")?;
        self.work.remove(M::NAME, row.__id().to_key()).await
    }

    /// The rows of a model that its `read` shows to whoever asks: what an action that must not go beyond them takes into its filter.
    ///
    /// ```
    /// # use serde::{Serialize, Deserialize};
    /// # use sync_core::{Context, Filter, Result, SyncedModel, sync_handlers};
    /// # #[derive(Clone, Serialize, Deserialize, SyncedModel)]
    /// # struct Todo { id: u64, #[sync(index)] list: String, #[sync(index)] completed: bool }
    /// #[sync_handlers]
    /// impl Todo {
    ///     # async fn read(_ctx: &Context) -> Result<Filter<Todo>> { Ok(Filter::all()) }
    ///     #[action]
    ///     async fn clear_completed(ctx: &Context, list: String) -> Result<usize> {
    ///         let mine = ctx.scope::<Todo>().await?;
    ///         let done = ctx.query(mine & Todo::LIST.eq(list) & Todo::COMPLETED.eq(true)).await?;
    ///         for todo in &done {
    ///             ctx.delete(todo).await?;
    ///         }
    ///         Ok(done.len())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// Those of `read`; `method_not_allowed` if the model has none.
    pub async fn scope<M: SyncedModel>(&self) -> Result<Filter<M>> {
        let looking = self.looking();
        if looking.may == (May::Look { depth: MAX_DEPTH }) {
            return Err(Error::internal(format!(
                "the `read` handlers ask for each other's scope without an end; the last was asked for `{}`",
                M::NAME
            )));
        }
        Ok(Filter::from_expr(self.work.scope(M::NAME, looking).await?))
    }

    /// Has a future run once what this handler decides is committed and on disk: a message to others, a cache to clear. It is run at most once,
    /// also where the handler is run several times, and never for a request that was refused. **It may be lost**, if the process ends just
    /// then: what must not be, such as a mail, is written as a row that a background task works off.
    ///
    /// It runs as a task of its own; the client's answer does not wait for it, and a panic in it is logged.
    pub fn after_commit<F: Future<Output = ()> + Send + 'static>(&self, work: F) {
        match self.check_may_write("after_commit") {
            Ok(()) => self.work.after_commit(Box::pin(work)),
            Err(error) => self.work.misused(error),
        }
    }

    fn check_may_write(&self, what: &str) -> Result<()> {
        match self.may {
            May::Write => Ok(()),
            May::Look { .. } => Err(Error::internal(format!(
                "`read` and `read_all` may only look: `ctx.{what}` is for `create`, `update`, `delete` and actions"
            ))),
        }
    }
}

impl RowSource for Context {
    fn rows(&self, model: &'static str, select: Select) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        self.work.select(model, select)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("caller", &self.caller)
            .field("now", &self.now)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// The transaction behind a context, which knows rows as JSON.
pub(crate) trait Work: Send + Sync {
    /// One row.
    fn get(&self, model: &'static str, key: Key) -> BoxFuture<'_, Result<Option<Bytes>>>;

    /// Rows, in order.
    fn select(&self, model: &'static str, select: Select) -> BoxFuture<'_, Result<Vec<Bytes>>>;

    /// The id for a new row: the one that was given for it if it is free, or a new one.
    fn place(&self, model: &'static str, given: Option<Key>) -> BoxFuture<'_, Result<Key>>;

    /// Writes a row, which must be there unless it `is_new`.
    fn put(&self, model: &'static str, row: Row, is_new: bool) -> BoxFuture<'_, Result<()>>;

    /// Deletes a row, which must be there.
    fn remove(&self, model: &'static str, key: Key) -> BoxFuture<'_, Result<()>>;

    /// What `read` of the model returns for this context.
    fn scope(&self, model: &'static str, looking: Context) -> BoxFuture<'_, Result<Expr>>;

    /// To be run when it is committed.
    fn after_commit(&self, work: BoxFuture<'static, ()>);

    /// The handler did what it may not, where it could not be told.
    fn misused(&self, error: Error);
}

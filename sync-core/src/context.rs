//! What a handler knows of the request that it decides.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use uuid::Uuid;

use crate::{Error, Result, authority::Authority};

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

/// The request that a handler decides: the first parameter of every handler.
///
/// A handler may run several times for one request: when another request changed the row meanwhile it is run again with
/// what is there then. It has no outside effects, and what it asks its `Context` is the same in every run.
#[derive(Debug)]
pub struct Context {
    caller: Caller,
    now: SystemTime,
    attempt: u32,
}

impl Context {
    pub(crate) fn new(caller: Caller, now: SystemTime, attempt: u32) -> Self {
        Self { caller, now, attempt }
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
}

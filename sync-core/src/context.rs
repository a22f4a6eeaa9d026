//! What a handler knows of the request that it decides.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

/// Who asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// The client, if it said `hello`.
    pub(crate) client: Option<Uuid>,
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

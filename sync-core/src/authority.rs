//! For whom a connection speaks.

use std::{
    any::{Any, type_name},
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::Notify;

use crate::{Error, Result};

/// Who asks, as the function that is given to `Server::builder().authenticate(…)` finds it out: a value of your own, which handlers have from
/// [`Context::require`](crate::Context::require), a stable name, and how long it holds.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use sync_core::Session;
///
/// struct User { id: u64 }
///
/// let in_an_hour = SystemTime::now() + Duration::from_secs(3600);
/// let session = Session::new(User { id: 7 }).subject("7").expires_at(in_an_hour);
/// let nobody = Session::<User>::anonymous();
/// assert!(session.value().is_some() && nobody.value().is_none());
/// ```
#[must_use]
pub struct Session<T> {
    value: Option<Arc<T>>,
    subject: Option<Arc<str>>,
    expires: Option<SystemTime>,
}

impl<T: Send + Sync + 'static> Session<T> {
    /// A session of somebody. Give it a [`subject`](Self::subject) too.
    pub fn new(value: T) -> Self {
        Self { value: Some(Arc::new(value)), subject: None, expires: None }
    }

    /// A session of nobody in particular: handlers find no value in it, and their `require` refuses.
    pub fn anonymous() -> Self {
        Self { value: None, subject: None, expires: None }
    }

    /// The stable name of who this is, such as the id of the account, the same in every session of theirs. By it sessions are revoked, and
    /// a client's id and its recorded outcomes belong to the first subject that comes with it. Clients do not see it; it is stored, and may
    /// stand in logs, so it is no secret.
    ///
    /// A session without one cannot be revoked, and its client ids belong to whoever knows them.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(Arc::from(subject.into()));
        self
    }

    /// The connection ends at this time, with the close code 4003, and nothing more is decided for it.
    pub fn expires_at(mut self, time: SystemTime) -> Self {
        self.expires = Some(time);
        self
    }

    /// [`expires_at`](Self::expires_at) in milliseconds since 1970, as JavaScript's `Date.now()`. A time before 1970 has passed.
    pub fn expires_at_unix_millis(self, millis: i64) -> Self {
        let since = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        match UNIX_EPOCH.checked_add(since) {
            Some(time) => self.expires_at(time),
            // Beyond all that the clock can say.
            None => self,
        }
    }

    /// The value; `None` in an anonymous session.
    pub fn value(&self) -> Option<&T> {
        self.value.as_deref()
    }

    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "only a server has connections"))]
    pub(crate) fn into_authority(self) -> Authority {
        Authority {
            value: self.value.map(|value| value as _),
            type_name: type_name::<T>(),
            subject: self.subject,
            expires: self.expires,
            ended: AtomicBool::new(false),
            end: Notify::new(),
        }
    }

    /// The session that an authority was made of, if its values are of this type.
    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "only a server has tickets"))]
    pub(crate) fn of_authority(authority: &Authority) -> Option<Self> {
        let value = match &authority.value {
            Some(value) => Some(Arc::clone(value).downcast().ok()?),
            None => None,
        };
        Some(Self { value, subject: authority.subject.clone(), expires: authority.expires })
    }
}

impl<T> Clone for Session<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), subject: self.subject.clone(), expires: self.expires }
    }
}

/// Without the value, which may be anything.
impl<T> fmt::Debug for Session<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("is_anonymous", &self.value.is_none())
            .field("subject", &self.subject)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// A session as the engine has it: of any type, and over at some time.
pub(crate) struct Authority {
    value: Option<Arc<dyn Any + Send + Sync>>,
    type_name: &'static str,
    subject: Option<Arc<str>>,
    expires: Option<SystemTime>,
    ended: AtomicBool,
    end: Notify,
}

impl Authority {
    pub(crate) fn subject(&self) -> Option<&Arc<str>> {
        self.subject.as_ref()
    }

    pub(crate) fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    pub(crate) fn type_name(&self) -> &'static str {
        self.type_name
    }

    /// The value. An error says that it is of another type.
    pub(crate) fn value<T: 'static>(&self) -> Result<Option<&T>> {
        let Some(value) = &self.value else { return Ok(None) };
        match value.downcast_ref() {
            Some(value) => Ok(Some(value)),
            None => Err(Error::internal(format!(
                "the session has a `{}`, and a `{}` was asked for: give `session` and `require` the type that `authenticate` returns",
                self.type_name,
                type_name::<T>()
            ))),
        }
    }

    /// Nothing more is decided or shown under it.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.end.notify_waiters();
    }

    /// By the clock as well, so that it does not depend on a task that may be kept from running.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire) || self.has_expired()
    }

    pub(crate) fn has_expired(&self) -> bool {
        self.expires.is_some_and(|expires| SystemTime::now() >= expires)
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&self) {
        let mut end = pin!(self.end.notified());
        // Enabled before the look, so that an end in between is not missed.
        end.as_mut().enable();
        if !self.has_ended() {
            end.await;
        }
    }
}

/// Without the value, which may be anything.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("type", &self.type_name)
            .field("subject", &self.subject)
            .field("expires", &self.expires)
            .field("ended", &self.has_ended())
            .finish_non_exhaustive()
    }
}

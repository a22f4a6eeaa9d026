//! The error that a handler returns and a client receives.

use std::{borrow::Cow, collections::BTreeMap, fmt, time::Duration};

/// The result of a handler, and of most calls of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request was refused or failed.
///
/// A handler makes one with [`Error::invalid`], [`Error::forbidden`] and the like, and the client that asked receives
/// its [`code`](Error::code), message and fields. Any [`std::error::Error`] turns into an *internal* error with `?`:
/// the client learns a reference number only, and the server's log has the number with the source.
///
/// `Error` does not implement [`std::error::Error`] itself (the conversion above would be ambiguous); it converts
/// into `Box<dyn std::error::Error>`.
///
/// ```
/// use sync_core::{Error, ErrorCode, Result};
///
/// fn parse(text: &str) -> Result<u32> {
///     if text.is_empty() {
///         return Err(Error::invalid("count", "must not be empty"));
///     }
///     Ok(text.parse()?) // a ParseIntError becomes an internal error
/// }
/// assert_eq!(parse("").unwrap_err().code(), ErrorCode::Invalid);
/// assert_eq!(parse("x").unwrap_err().code(), ErrorCode::Internal);
/// ```
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    code: ErrorCode,
    message: Cow<'static, str>,
    fields: BTreeMap<String, String>,
    limit: Option<&'static str>,
    /// Whether it may be sent again, where the code alone does not say.
    retry: Option<bool>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The machine-readable kind of an [`Error`], sent to clients as `code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// Not JSON, or not a message of the protocol.
    BadRequest,
    /// There is no model of that name.
    UnknownModel,
    /// The model does not declare this method.
    MethodNotAllowed,
    /// The row was refused; the fields say why.
    Invalid,
    /// No such row, or not for this client.
    NotFound,
    /// A `create` with an id that is taken.
    AlreadyExists,
    /// The row has changed since.
    Conflict,
    /// Nobody is signed in, or not in a way that counts (any more).
    Unauthenticated,
    /// A handler refused the request.
    Forbidden,
    /// A mutation id that does not follow the last one.
    IdGap,
    /// A mutation id that was used with another content.
    IdConflict,
    /// The server has forgotten this client.
    ClientUnknown,
    /// The client was built for models that are not these.
    SchemaMismatch,
    /// The id of an open subscription.
    SubscriptionExists,
    /// A limit was reached.
    Limit,
    /// The row is larger than the server stores.
    TooLarge,
    /// The server's fault.
    Internal,
    /// An earlier mutation of this client must be sent again first.
    Retry,
    /// The store did not answer: the outcome is unknown.
    Unavailable,
    /// The server is stopping.
    Shutdown,
    /// A handler took longer than [`Limits::handler_timeout`](crate::Limits::handler_timeout).
    Timeout,
}

impl ErrorCode {
    const ALL: [(ErrorCode, &'static str); 21] = [
        (ErrorCode::BadRequest, "bad_request"),
        (ErrorCode::UnknownModel, "unknown_model"),
        (ErrorCode::MethodNotAllowed, "method_not_allowed"),
        (ErrorCode::Invalid, "invalid"),
        (ErrorCode::NotFound, "not_found"),
        (ErrorCode::AlreadyExists, "already_exists"),
        (ErrorCode::Conflict, "conflict"),
        (ErrorCode::Unauthenticated, "unauthenticated"),
        (ErrorCode::Forbidden, "forbidden"),
        (ErrorCode::IdGap, "id_gap"),
        (ErrorCode::IdConflict, "id_conflict"),
        (ErrorCode::ClientUnknown, "client_unknown"),
        (ErrorCode::SchemaMismatch, "schema_mismatch"),
        (ErrorCode::SubscriptionExists, "subscription_exists"),
        (ErrorCode::Limit, "limit"),
        (ErrorCode::TooLarge, "too_large"),
        (ErrorCode::Internal, "internal"),
        (ErrorCode::Retry, "retry"),
        (ErrorCode::Unavailable, "unavailable"),
        (ErrorCode::Shutdown, "shutdown"),
        (ErrorCode::Timeout, "timeout"),
    ];

    /// The code as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(code, _)| *code == self).map_or("internal", |(_, name)| name)
    }

    /// Whether nothing was decided, so that the same request may be sent again. Such an outcome is never recorded.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Retry | Self::Unavailable | Self::Shutdown | Self::Timeout | Self::Limit)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Error {
    /// An error of any kind with a message for the client.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            inner: Box::new(Inner {
                code,
                message: message.into(),
                fields: BTreeMap::new(),
                limit: None,
                retry: None,
                source: None,
            }),
        }
    }

    /// The row is refused because of one field; `field` is its name on the wire.
    ///
    /// More fields can be added with [`Error::and_invalid`].
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        let (field, message) = (field.into(), message.into());
        let mut error = Self::new(ErrorCode::Invalid, format!("{field}: {message}"));
        error.inner.fields.insert(field, message);
        error
    }

    /// Adds what is wrong with another field.
    #[must_use]
    pub fn and_invalid(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        let (field, message) = (field.into(), message.into());
        self.inner.message = format!("{}; {field}: {message}", self.inner.message).into();
        self.inner.fields.insert(field, message);
        self
    }

    /// Nobody is signed in, or not in a way that counts. The message is sent to the client. From
    /// `authenticate` it asks for another token; from a handler it is a refusal like any other.
    pub fn unauthenticated(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Unauthenticated, message)
    }

    /// The client may not do this. The message is sent to it.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Forbidden, message)
    }

    /// There is no such row, as far as this client may know.
    pub fn not_found() -> Self {
        Self::new(ErrorCode::NotFound, "there is no such row")
    }

    /// What was asked does not fit what is there.
    pub fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Conflict, message)
    }

    /// Something that a handler needs does not answer now. Nothing is decided: the client sends the request again later, and its later ones
    /// wait for it.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Unavailable, message)
    }

    /// The server's fault: the client is told a reference number, the log has the number and `message`.
    pub fn internal(message: impl Into<String>) -> Self {
        let mut error = Self::new(ErrorCode::Internal, "internal error");
        error.inner.source = Some(message.into().into());
        error
    }

    pub(crate) fn limit(name: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        let mut error = Self::new(ErrorCode::Limit, message);
        error.inner.limit = Some(name);
        error
    }

    /// A handler was ended after so long.
    pub(crate) fn handler_timeout(limit: Duration) -> Self {
        let mut error = Self::new(
            ErrorCode::Timeout,
            format!("the handler took longer than {limit:?}: nothing was done"),
        );
        error.inner.limit = Some("handler_timeout");
        error
    }

    /// Whether a handler was ended because it took too long: what it would do the next time is no better known.
    pub(crate) fn is_handler_timeout(&self) -> bool {
        self.inner.code == ErrorCode::Timeout && self.inner.limit.is_some()
    }

    /// Nothing was decided, so that the same may be asked again, whatever the code says.
    #[must_use]
    pub(crate) fn and_retry(mut self) -> Self {
        self.inner.retry = Some(true);
        self
    }

    /// Whether nothing was decided, so that the same request may be sent again. Such an outcome is never recorded.
    pub(crate) fn is_retryable(&self) -> bool {
        self.inner.retry.unwrap_or(self.inner.code.is_retryable())
    }

    /// The kind of error.
    pub fn code(&self) -> ErrorCode {
        self.inner.code
    }

    /// What the client is told.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// What is wrong with which field, by its name on the wire.
    pub fn fields(&self) -> &BTreeMap<String, String> {
        &self.inner.fields
    }

    /// What lies behind an internal error. It is logged, never sent.
    pub fn source(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.inner.source.as_deref()
    }

    pub(crate) fn limit_name(&self) -> Option<&'static str> {
        self.inner.limit
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)?;
        let mut source: Option<&(dyn std::error::Error + 'static)> = match &self.inner.source {
            Some(source) => Some(&**source),
            None => None,
        };
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

/// What `main` prints when it returns an error: readable, not the structure.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.inner.code == ErrorCode::Internal {
            write!(f, "{self}")
        } else {
            write!(f, "{}: {self}", self.inner.code)
        }
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(source: E) -> Self {
        let mut error = Self::new(ErrorCode::Internal, "internal error");
        error.inner.source = Some(Box::new(source));
        error
    }
}

/// What [`Error`] is inside a `Box<dyn Error>`.
struct Boxed(Error);

impl fmt::Debug for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Boxed {}

impl From<Error> for Box<dyn std::error::Error + Send + Sync> {
    fn from(error: Error) -> Self {
        Box::new(Boxed(error))
    }
}

impl From<Error> for Box<dyn std::error::Error> {
    fn from(error: Error) -> Self {
        Box::new(Boxed(error))
    }
}

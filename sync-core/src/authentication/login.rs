//! What `authenticate` is given.

use std::{fmt, net::SocketAddr, sync::Arc};

use http::{HeaderMap, header};
use parking_lot::Mutex;

use super::LiveSession;
use crate::{Handle, Session, authority::Authority, protocol::Token};

/// What a client came with, for the function that is given to [`ServerBuilder::authenticate`](crate::ServerBuilder::authenticate).
///
/// Its `Debug` shows neither headers nor tokens.
#[derive(Clone)]
pub struct Login {
    headers: Arc<HeaderMap>,
    address: Option<SocketAddr>,
    token: Option<Token>,
    ticket: Option<Arc<Authority>>,
    handle: Handle,
}

impl Login {
    pub(super) fn new(
        opening: &Opening,
        token: Option<&Token>,
        handle: Handle,
        ticket: Option<Arc<Authority>>,
    ) -> Self {
        let (headers, address) = (opening.headers.clone(), opening.address);
        Self { headers, address, token: token.cloned(), ticket, handle }
    }

    /// The headers of the request that opened the connection. A browser sends a page's cookies, `Origin` and `User-Agent`, and lets the page add
    /// none.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The value of a cookie, as it was sent; of the first, where there are several of that name.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let all = self.headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.into_iter().find(|(this, _)| *this == name).map(|(_, value)| value)
    }

    /// Who the connection comes from: behind a proxy, the proxy, unless it is a
    /// [`trusted_proxy`](crate::ServerBuilder::trusted_proxy): then whom it forwards for, with the port 0 if it names none. `None` where the program serves the routes itself and without
    /// `into_make_service_with_connect_info::<SocketAddr>()`.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The `token` of `hello`: any text that client and program agree on.
    pub fn token(&self) -> Option<&str> {
        self.token.as_ref().map(Token::as_str)
    }

    /// The session that the ticket in the URL stands for, made by [`Running::ticket`](crate::Running::ticket). `None` where the URL had none, or one
    /// that is used, more than 30 seconds old, or revoked; and, which is logged, where it was made for a session of another type.
    ///
    /// A ticket counts for the `hello` that it came with. When its session is revoked it is not asked for again.
    pub fn ticket<T: Send + Sync + 'static>(&self) -> Option<Session<T>> {
        let authority = self.ticket.as_ref()?;
        let session = Session::of_authority(authority);
        if session.is_none() {
            tracing::error!(
                made_for = authority.type_name(),
                "a ticket was made for a session of another type"
            );
        }
        session
    }

    /// The rows, with the server's own authority: to look an account up.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("address", &self.address)
            .field("has_token", &self.token.is_some())
            .field("has_ticket", &self.ticket.is_some())
            .finish_non_exhaustive()
    }
}

/// What a connection was opened with.
pub(crate) struct Opening {
    headers: Arc<HeaderMap>,
    address: Option<SocketAddr>,
    pub(super) ticket: Mutex<TicketUse>,
}

/// How far a connection's ticket is.
#[derive(Default)]
pub(super) struct TicketUse {
    /// As it stood in the URL, until it is looked up.
    pub(super) text: Option<Box<str>>,
    /// What it stood for, until a `hello` has been accepted.
    pub(super) session: Option<LiveSession>,
}

impl Opening {
    /// `query` is that of the URL.
    pub(crate) fn new(headers: HeaderMap, address: Option<SocketAddr>, query: Option<&str>) -> Self {
        let pairs = query.into_iter().flat_map(|query| query.split('&'));
        // A ticket needs no escapes.
        let text = pairs.filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == "ticket");
        let text = text.map(|(_, text)| text.into());
        Self { headers: Arc::new(headers), address, ticket: Mutex::new(TicketUse { text, session: None }) }
    }

    /// A `hello` was accepted: its ticket counts no more.
    pub(crate) fn accepted(&self) {
        let used = std::mem::take(&mut *self.ticket.lock());
        drop(used);
    }
}

/// Neither headers nor the ticket.
impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").field("address", &self.address).finish_non_exhaustive()
    }
}

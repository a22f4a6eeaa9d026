//! Who a client is: what the program's `authenticate` says of it, tickets, and the sessions that are live.
//!
//! A session counts from when it is registered here until it is ended, and what ends it is a flag that everything that is done under it
//! looks at. Nothing here is locked while the program's code runs; what is revoked meanwhile is noted beside it.

#[cfg(feature = "jwt")]
mod jwt;
mod login;
mod tickets;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use tokio::time;

use self::tickets::Tickets;
use crate::{
    Error, ErrorCode, Handle, Result, Session,
    authority::Authority,
    engine::catch_panic,
    handlers::BoxFuture,
    protocol::Token,
    sabotage::{self, Sabotage},
};

#[cfg(feature = "jwt")]
pub use self::jwt::Jwt;
pub(crate) use self::login::Opening;
pub use self::{login::Login, tickets::Ticket};

/// How often `authenticate` is asked for one answer, where what it says is revoked while it says it.
const ATTEMPTS: u32 = 3;

/// The program's `authenticate`.
pub(crate) type Authenticate = Arc<dyn Fn(Login) -> BoxFuture<'static, Result<Authority>> + Send + Sync>;

/// Makes one of a function.
pub(crate) fn erased<F, Fut, T>(authenticate: F) -> Authenticate
where
    F: Fn(Login) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Session<T>>> + Send + 'static,
    T: Send + Sync + 'static,
{
    let authenticate = Arc::new(authenticate);
    Arc::new(move |login| {
        let authenticate = authenticate.clone();
        // Called within the future, where a panic is caught.
        Box::pin(async move { Ok(authenticate(login).await?.into_authority()) })
    })
}

/// What finds out who clients are.
pub(crate) struct Authentication {
    authenticate: Authenticate,
    handle: Handle,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tickets: Tickets,
    /// The live sessions of each subject.
    live: HashMap<Arc<str>, BTreeMap<u64, Arc<Authority>>>,
    /// For each call of `authenticate` that is under way the subjects that were revoked since it began.
    under_way: HashMap<u64, Vec<Arc<str>>>,
    next: u64,
}

impl Authentication {
    pub(crate) fn new(authenticate: Authenticate, handle: Handle, tickets: usize) -> Self {
        let state = State {
            tickets: Tickets::new(tickets),
            live: HashMap::new(),
            under_way: HashMap::new(),
            next: 0,
        };
        Self { authenticate, handle, state: Mutex::new(state) }
    }

    /// Asks who a client is, for at most so long.
    ///
    /// # Errors
    /// What `authenticate` says; `unauthenticated` for a session that is over already; `unavailable` if it takes too long.
    pub(crate) async fn authenticate(
        self: &Arc<Self>,
        opening: &Opening,
        token: Option<&Token>,
        patience: Duration,
    ) -> Result<LiveSession> {
        let asked = async {
            for _ in 0..ATTEMPTS {
                let asking = UnderWay::begin(self);
                let login = Login::new(opening, token, self.handle.clone(), self.redeem(opening));
                let authority = match catch_panic((self.authenticate)(login)).await {
                    Ok(authority) => authority?,
                    Err(panic) => return Err(Error::internal(format!("`authenticate` panicked: {panic}"))),
                };
                if authority.expires().is_some_and(|expires| expires <= SystemTime::now()) {
                    return Err(Error::unauthenticated("the session has expired"));
                }
                // Revoked meanwhile: whatever it had looked at may be out of date.
                if let Some(live) = asking.register(authority) {
                    return Ok(live);
                }
            }
            Err(Error::unavailable("this session is revoked again and again"))
        };
        let answer = time::timeout(patience, asked).await.unwrap_or_else(|_| {
            tracing::warn!(?patience, "`authenticate` did not answer in time");
            Err(Error::unavailable("it took too long to find out who this is"))
        });
        // The program's own failure says nothing about the client, which may ask again.
        answer.map_err(|error| if error.code() == ErrorCode::Internal { error.and_retry() } else { error })
    }

    /// Text that stands for a session once.
    pub(crate) fn ticket(&self, authority: Authority) -> Result<Ticket> {
        self.state.lock().tickets.issue(Arc::new(authority), Instant::now())
    }

    /// Ends all sessions of a subject, and the tickets that were made for it. Returns how many sessions were live.
    pub(crate) fn revoke(&self, subject: &str) -> usize {
        if sabotage::is(Sabotage::RevocationsIgnored) {
            return 0;
        }
        let mut state = self.state.lock();
        state.tickets.revoke(subject);
        for revoked in state.under_way.values_mut() {
            revoked.push(subject.into());
        }
        let live = state.live.get(subject);
        let live: Vec<_> = live.into_iter().flat_map(BTreeMap::values).cloned().collect();
        drop(state);
        for authority in &live {
            authority.end();
        }
        live.len()
    }

    /// The session of the connection's ticket, which is used up by this, if it had one that holds.
    fn redeem(self: &Arc<Self>, opening: &Opening) -> Option<Arc<Authority>> {
        let mut ticket = opening.ticket.lock();
        if let Some(text) = ticket.text.take() {
            let mut state = self.state.lock();
            // Under one lock: a ticket that is not revoked any more is a session that is.
            let redeemed = state.tickets.redeem(&text, Instant::now());
            ticket.session = redeemed.map(|authority| state.register(self, authority));
        }
        ticket.session.as_ref().map(|live| live.authority.clone()).filter(|authority| !authority.has_ended())
    }
}

impl State {
    fn register(&mut self, authentication: &Arc<Authentication>, authority: Arc<Authority>) -> LiveSession {
        self.next += 1;
        let number = self.next;
        if let Some(subject) = authority.subject() {
            self.live.entry(subject.clone()).or_default().insert(number, authority.clone());
        }
        LiveSession { authentication: authentication.clone(), number, authority }
    }
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authentication").finish_non_exhaustive()
    }
}

/// A session that can be revoked, as long as this is kept.
#[derive(Debug)]
pub(crate) struct LiveSession {
    authentication: Arc<Authentication>,
    number: u64,
    pub(crate) authority: Arc<Authority>,
}

impl Drop for LiveSession {
    fn drop(&mut self) {
        let Some(subject) = self.authority.subject() else { return };
        let mut state = self.authentication.state.lock();
        if let Some(of_subject) = state.live.get_mut(subject) {
            of_subject.remove(&self.number);
            if of_subject.is_empty() {
                state.live.remove(subject);
            }
        }
    }
}

/// A call of `authenticate`.
struct UnderWay<'a> {
    authentication: &'a Arc<Authentication>,
    number: u64,
}

impl<'a> UnderWay<'a> {
    fn begin(authentication: &'a Arc<Authentication>) -> Self {
        let mut state = authentication.state.lock();
        state.next += 1;
        let number = state.next;
        state.under_way.insert(number, Vec::new());
        Self { authentication, number }
    }

    /// What it said counts, unless it was revoked while it was said.
    fn register(self, authority: Authority) -> Option<LiveSession> {
        let mut state = self.authentication.state.lock();
        let revoked = state.under_way.get(&self.number);
        let is_revoked = authority.subject().is_some_and(|subject| {
            revoked.is_some_and(|revoked| revoked.iter().any(|revoked| revoked == subject))
        });
        let live = (!is_revoked).then(|| state.register(self.authentication, Arc::new(authority)));
        // Before `self` is dropped, which takes the lock.
        drop(state);
        live
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.authentication.state.lock().under_way.remove(&self.number);
    }
}

//! For whom a connection speaks, from its `hello` to the end of its session.

use std::{
    future::pending,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

use super::Connection;
use crate::{
    Error, Result,
    authentication::{Authentication, LiveSession, Opening},
    authority::Authority,
    context::Caller,
    engine::Claim,
    outbox::{DisconnectReason, Which},
    protocol::{Hello, Token},
};

/// How long a session that was revoked may take to be found good after all, and what was sent under it to leave.
const PATIENCE: Duration = Duration::from_millis(900);

/// How long to sleep at most until a session expires: the clock may be set meanwhile.
const LOOK_AT_THE_CLOCK: Duration = Duration::from_secs(30);

/// How often a `hello` is begun anew whose session is revoked while it is answered.
const ATTEMPTS: u32 = 3;

/// How a connection knows who its client is.
#[derive(Debug)]
pub(crate) struct Identity {
    authentication: Arc<Authentication>,
    opening: Opening,
    known: Mutex<Option<Known>>,
    changed: Notify,
}

#[derive(Debug)]
struct Known {
    session: LiveSession,
    /// To ask again with.
    token: Option<Token>,
}

impl Identity {
    /// Of a connection that says later who it is.
    pub(crate) fn new(authentication: Arc<Authentication>, opening: Opening) -> Self {
        Self { authentication, opening, known: Mutex::new(None), changed: Notify::new() }
    }

    async fn ask(&self, token: Option<&Token>, patience: Duration) -> Result<LiveSession> {
        self.authentication.authenticate(&self.opening, token, patience).await
    }

    fn become_known(&self, session: LiveSession, token: Option<Token>) {
        let before = self.known.lock().replace(Known { session, token });
        // Not under the lock: it is taken off the list of those that are live.
        drop(before);
        self.changed.notify_waiters();
    }

    fn authority(&self) -> Option<Arc<Authority>> {
        self.known.lock().as_ref().map(|known| known.session.authority.clone())
    }

    /// The session that is live; waits for it.
    async fn live(&self) -> Arc<Authority> {
        self.session(|authority| !authority.has_ended()).await
    }

    /// The session once it is of this kind.
    async fn session(&self, is_it: impl Fn(&Authority) -> bool) -> Arc<Authority> {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Enabled before the look, so that no change in between is missed.
            changed.as_mut().enable();
            if let Some(authority) = self.authority().filter(|authority| is_it(authority)) {
                return authority;
            }
            changed.await;
        }
    }
}

impl Connection {
    /// Whether it speaks for somebody, where that must be known.
    pub(super) fn speaks(&self) -> bool {
        let is_live = |authority: Arc<Authority>| !authority.has_ended();
        self.identity.as_ref().is_none_or(|identity| identity.authority().is_some_and(is_live))
    }

    /// Whether the session that it speaks under is over, and there is no other yet.
    pub(super) fn session_has_ended(&self) -> bool {
        let authority = self.identity.as_ref().and_then(Identity::authority);
        authority.is_some_and(|authority| authority.has_ended())
    }

    /// For whom the connection speaks now. Waits while that is being found out.
    pub(super) async fn caller(&self) -> Caller {
        let session = match &self.identity {
            Some(identity) => Some(identity.live().await),
            None => None,
        };
        Caller { client: self.claim.get().map(Claim::id), session }
    }

    /// Finds out who says `hello`, and makes the connection speak for them.
    pub(super) async fn welcome(&self, hello: Hello, now: SystemTime) -> Result<(), Refusal> {
        let Some(identity) = &self.identity else {
            let caller = Caller { client: Some(hello.client), session: None };
            let greeted = self.engine.hello(hello, &caller, &self.outbox, now).await;
            let (claim, welcome) = greeted.map_err(Refusal::of_engine)?;
            self.outbox.answer(welcome);
            // `hello` comes once.
            let _ = self.claim.set(claim);
            return Ok(());
        };
        let patience = self.engine.limits().hello_timeout;
        for _ in 0..ATTEMPTS {
            let session = identity.ask(hello.token.as_ref(), patience).await.map_err(Refusal::of_nobody)?;
            let caller = Caller { client: Some(hello.client), session: Some(session.authority.clone()) };
            let greeted = self.engine.hello(hello.clone(), &caller, &self.outbox, now).await;
            if caller.has_ended() {
                continue;
            }
            let (claim, welcome) = greeted.map_err(Refusal::of_engine)?;
            let _ = self.claim.set(claim);
            self.outbox.answer(welcome);
            identity.opening.accepted();
            identity.become_known(session, hello.token);
            return Ok(());
        }
        Err(Refusal::of_nobody(Error::unavailable("this session is revoked again and again")))
    }

    /// Sees to it that nothing flows under a session that is over. Returns when the connection must end.
    pub(super) async fn guard(&self) -> DisconnectReason {
        let Some(identity) = &self.identity else { return pending().await };
        loop {
            // It may have ended before this looks.
            let authority = identity.session(|_| true).await;
            tokio::select! {
                biased;
                () = authority.ended() => {
                    if authority.has_expired() {
                        authority.end();
                        return DisconnectReason::Expired;
                    }
                    if let Err(reason) = self.renew(identity, &authority).await {
                        return reason;
                    }
                }
                () = reached(authority.expires()) => {
                    authority.end();
                    return DisconnectReason::Expired;
                }
            }
        }
    }

    /// Asks again with what the client came with, after its session was revoked.
    async fn renew(&self, identity: &Identity, old: &Authority) -> Result<(), DisconnectReason> {
        let deadline = Instant::now() + PATIENCE;
        // Stopped first: what was taken out before is of the old session.
        self.outbox.rescope(Which::All, 0);
        let mark = self.outbox.end_authority();
        let token = identity.known.lock().as_ref().and_then(|known| known.token.clone());
        let session = identity.ask(token.as_ref(), PATIENCE).await.map_err(|error| {
            // Only the kind: the text may say of the token what is in it.
            tracing::debug!(code = %error.code(), "a session that was revoked is not renewed");
            DisconnectReason::Revoked
        })?;
        // The client's id, and what is recorded under it, are the old subject's.
        if session.authority.subject() != old.subject() {
            return Err(DisconnectReason::Revoked);
        }
        identity.become_known(session, token);
        // What was sent under the old one has left by then, or does not any more.
        timeout_at(deadline, self.outbox.sent_before(mark)).await.map_err(|_| DisconnectReason::Revoked)
    }
}

/// Why `hello` is refused.
pub(super) struct Refusal {
    pub(super) error: Error,
    /// Nobody knows who says it.
    pub(super) unauthenticated: bool,
}

impl Refusal {
    fn of_nobody(error: Error) -> Self {
        Self { error, unauthenticated: true }
    }

    fn of_engine(error: Error) -> Self {
        Self { error, unauthenticated: false }
    }
}

/// Waits until it is this time.
async fn reached(time: Option<SystemTime>) {
    let Some(time) = time else { return pending().await };
    while let Ok(left) = time.duration_since(SystemTime::now())
        && !left.is_zero()
    {
        sleep(left.min(LOOK_AT_THE_CLOCK)).await;
    }
}

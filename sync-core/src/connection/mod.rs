//! The tokio side of a session: one task a connection, in which six futures take turns.
//!
//! * `read` takes frames from the socket and hands on what the [`Session`] makes of them.
//! * `decide` decides mutations, one after the other.
//! * `load` answers reads and subscribes, a page at a time, when the outbox has room.
//! * `judge` asks `read` again what subscriptions may see that were stopped for that.
//! * `guard` ends the connection with its session, or finds out anew who it speaks for.
//! * `write` sends what the [`Outbox`] has.
//!
//! Most connections are idle, and there are many: what one of them only needs while it does something is boxed, and so there only then.

mod identity;
mod judge;
mod load;

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    time::{self, Instant},
};
use tokio_tungstenite::tungstenite::{
    self, Utf8Bytes,
    error::{CapacityError, Error as SocketError},
    protocol::{CloseFrame, Message, frame::coding::CloseCode},
};

pub(crate) use self::identity::Identity;
use self::{
    identity::Refusal,
    load::{Load, Queue},
};
use crate::{
    Error, Result,
    context::Caller,
    engine::{Asker, Claim, Engine},
    model::Key,
    outbox::{DisconnectReason, Outbox, SubscriptionKey, Which},
    protocol::{
        Mutation, Subject,
        response::{self, ErrorDetail, WireRow},
    },
    registry::Model,
    sabotage::{self, Sabotage},
    session::{Action, Admitted, Session, Tick, earlier_first},
};

/// How many reads and subscribes may wait before no more is read from the socket.
const READS_WAITING: usize = 64;

/// How long the close frame may take to leave where nothing else does any more.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Tells connections that the server stops.
pub(crate) type Stopping = tokio::sync::watch::Receiver<bool>;

/// What is done in the order in which the client sent it.
enum Ordered {
    Mutate(Mutation, Subject, SystemTime),
    /// Of the row that a mutation before it created.
    Read {
        model: Box<str>,
        cid: Box<str>,
        subject: Subject,
    },
}

struct Connection {
    engine: Arc<Engine>,
    outbox: Arc<Outbox>,
    session: Mutex<Session>,
    claim: OnceLock<Claim>,
    /// Where the server authenticates.
    identity: Option<Identity>,
}

/// Serves one socket until it ends.
pub(crate) async fn serve<S>(
    socket: S,
    engine: Arc<Engine>,
    identity: Option<Identity>,
    mut stopping: Stopping,
) -> DisconnectReason
where
    S: Stream<Item = Result<Message, SocketError>> + Sink<Message, Error = SocketError> + Send,
{
    let (mut sink, mut stream) = socket.split();
    let outbox = engine.outbox();
    let session = Mutex::new(Session::new(engine.limits().clone(), identity.is_some(), Instant::now()));
    let connection = Connection { engine, outbox, session, claim: OnceLock::new(), identity };
    // The session lets so many mutations in, so `read` waits here for reads of created rows alone.
    let (to_decide, mutations) = mpsc::channel(connection.engine.limits().in_flight.max(1));
    let (to_load, loads) = mpsc::channel(READS_WAITING);

    let pages = Queue::default();
    let mut decide = std::pin::pin!(connection.decide(mutations));
    let mut write = std::pin::pin!(connection.write(&mut sink));
    let mut guard = std::pin::pin!(connection.guard());
    let end = {
        let mut read = std::pin::pin!(connection.read(&mut stream, to_decide, to_load));
        let mut load = std::pin::pin!(connection.load(loads, &pages));
        let mut judge = std::pin::pin!(connection.judge(&pages));
        let mut decided = false;
        loop {
            // In the order in which one makes work for the next, so that what comes of a message leaves in the same turn; none of them is ready twice.
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => break Err(DisconnectReason::Shutdown),
                reason = &mut guard => break Err(reason),
                reason = &mut read => break Err(reason),
                () = &mut decide, if !decided => decided = true,
                reason = &mut judge => break Err(reason),
                () = &mut load => {}
                reason = &mut write => break Ok(reason),
            }
        }
    };
    let reason = match end {
        Ok(reason) => reason,
        Err(DisconnectReason::Gone) => DisconnectReason::Gone,
        Err(reason) => {
            let limits = connection.engine.limits();
            let last_words = async {
                if reason == DisconnectReason::Shutdown {
                    // `read` is gone, and with it the sender: `decide` ends after what it has.
                    tokio::select! {
                        biased;
                        () = &mut decide => {}
                        reason = &mut write => return reason,
                    }
                }
                connection.outbox.close(reason);
                write.await
            };
            let patience = match reason {
                DisconnectReason::Shutdown => limits.shutdown_timeout,
                _ if reason.is_at_once() => AT_ONCE,
                _ => limits.pong_timeout,
            };
            tokio::select! {
                biased;
                ended = time::timeout(patience, last_words) => ended.unwrap_or(reason),
                reason = &mut guard, if !reason.is_at_once() => reason,
            }
        }
    };
    tracing::debug!(?reason, "connection ended");
    reason
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.engine.hub().disconnect(&self.outbox);
    }
}

impl Connection {
    async fn read<S>(
        &self,
        stream: &mut S,
        to_decide: mpsc::Sender<Box<Ordered>>,
        to_load: mpsc::Sender<Box<Load>>,
    ) -> DisconnectReason
    where
        S: Stream<Item = Result<Message, SocketError>> + Unpin,
    {
        loop {
            self.outbox.room().await;
            let text = match stream.next().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(frame @ (Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => {
                    let is_pong = matches!(frame, Message::Pong(_));
                    {
                        let mut session = self.session.lock();
                        if if is_pong { session.pong() } else { session.heard() } {
                            self.outbox.nudge();
                        }
                    }
                    // Heard first: what keeps a connection alive counts, and waits for nothing.
                    self.allowance().await;
                    continue;
                }
                Some(Ok(Message::Binary(_))) => return DisconnectReason::Binary,
                Some(Ok(Message::Close(_))) => {
                    // Its answer leaves with the next read, which finds the end: without one a browser takes the line for broken.
                    drop(time::timeout(AT_ONCE, stream.next()).await);
                    return DisconnectReason::Gone;
                }
                None => return DisconnectReason::Gone,
                Some(Err(error)) => return reason_of(&error),
            };
            let mut now = SystemTime::now();
            let frame = {
                let mut session = self.session.lock();
                if session.heard() {
                    self.outbox.nudge();
                }
                session.read(&text)
            };
            if frame.is_empty() {
                self.allowance().await;
            }
            for message in frame {
                // Each after the one before it, and only while there is room for its answer.
                self.outbox.room().await;
                if self.allowance().await {
                    now = SystemTime::now();
                }
                let actions = self.session.lock().receive(message);
                for action in actions {
                    if let Err(reason) = self.act(action, now, &to_decide, &to_load).await {
                        return reason;
                    }
                }
            }
        }
    }

    /// Waits until one more message may be taken; whether it had to.
    async fn allowance(&self) -> bool {
        loop {
            let admitted = self.session.lock().admit(Instant::now());
            match admitted {
                Ok(Admitted { was_held }) => {
                    if was_held {
                        self.outbox.nudge();
                    }
                    return was_held;
                }
                Err(at) => time::sleep_until(at).await,
            }
        }
    }

    /// Does what a message calls for, or hands it on. An error ends the connection.
    async fn act(
        &self,
        action: Action,
        now: SystemTime,
        to_decide: &mpsc::Sender<Box<Ordered>>,
        to_load: &mpsc::Sender<Box<Load>>,
    ) -> Result<(), DisconnectReason> {
        let load = match action {
            Action::Hello(hello, subject) => {
                return match Box::pin(self.welcome(hello, now)).await {
                    Ok(()) => Ok(()),
                    Err(Refusal { error, unauthenticated }) => {
                        self.refuse(&subject, &error);
                        let mut session = self.session.lock();
                        session.hello_refused(unauthenticated, Instant::now()).map_or(Ok(()), Err)
                    }
                };
            }
            Action::Mutate(mutation, subject) => {
                let sent = to_decide.send(Box::new(Ordered::Mutate(mutation, subject, now))).await;
                return sent.map_err(|_| DisconnectReason::Gone);
            }
            Action::ReadCreated { model, cid, subject } => {
                let sent = to_decide.send(Box::new(Ordered::Read { model, cid, subject })).await;
                return sent.map_err(|_| DisconnectReason::Gone);
            }
            Action::Acknowledge(ack) => {
                if let Some(claim) = self.claim.get() {
                    self.engine.acknowledge(claim, ack, now);
                }
                return Ok(());
            }
            Action::Answer(message) => {
                self.outbox.answer(message);
                return Ok(());
            }
            Action::Close(reason) => return Err(reason),
            Action::Subscribe(query, subject) => Load::Subscribe(query, subject),
            Action::Unsubscribe(id) => Load::Unsubscribe(id),
            Action::Read { model, key, subject } => Load::Read { model, key, subject },
            Action::ReadAll { model, rows, subject } => Load::ReadAll { model, rows, subject },
        };
        to_load.send(Box::new(load)).await.map_err(|_| DisconnectReason::Gone)
    }

    async fn decide(&self, mut mutations: mpsc::Receiver<Box<Ordered>>) {
        // After one that must be sent again, those that were sent behind it are not decided before it.
        let mut blocked = None;
        while let Some(next) = mutations.recv().await {
            let claim = self.claim.get();
            let (mutation, subject, now) = match *next {
                Ordered::Mutate(mutation, subject, now) => (mutation, subject, now),
                Ordered::Read { subject, .. } if claim.is_some() && blocked.is_some() => {
                    self.refuse(&subject, &earlier_first());
                    continue;
                }
                Ordered::Read { model, cid, subject } => {
                    loop {
                        let (caller, now) = (self.caller().await, SystemTime::now());
                        let read = Box::pin(self.engine.read_created(&caller, &model, &cid, now)).await;
                        if self.answer_row(&caller, &subject, read) {
                            break;
                        }
                    }
                    continue;
                }
            };
            if let (Some(_), Some(id), Some(first)) = (claim, mutation.id, blocked)
                && id > first
                && !sabotage::is(Sabotage::LaterDecidedFirst)
            {
                let error = response::error(&subject, &earlier_first(), &ErrorDetail::default());
                self.outbox.outcome(error, 0);
            } else {
                let asker = Asker { claim, caller: &self.caller().await, outbox: &self.outbox };
                let retry = Box::pin(self.engine.mutate(asker, &mutation, &subject, now)).await;
                blocked =
                    if retry { mutation.id } else { blocked.filter(|first| mutation.id != Some(*first)) };
            }
            self.session.lock().decided();
        }
    }

    async fn write<S>(&self, sink: &mut S) -> DisconnectReason
    where
        S: Sink<Message, Error = SocketError> + Unpin,
    {
        loop {
            let due = self.session.lock().next_tick();
            let ping = tokio::select! {
                biased;
                () = self.outbox.woken() => false,
                () = time::sleep_until(due) => match self.session.lock().tick(Instant::now()) {
                    Some(Tick::Ping) => true,
                    Some(Tick::Close(reason)) => {
                        self.outbox.close(reason);
                        false
                    }
                    None => continue,
                },
            };
            let closing = self.outbox.closing();
            // Read before the session is looked at: what is committed when that has ended is not among it.
            let head = self.engine.hub().head();
            if self.session_has_ended() {
                self.outbox.rescope(Which::All, 0);
            }
            let frames = self.outbox.frames(self.engine.hub(), head, ping && self.speaks());
            let mut messages: Vec<_> = frames.into_iter().map(text).collect();
            if ping {
                messages.push(Message::Ping(Bytes::new()));
            }
            if let Some((code, reason)) = closing.and_then(DisconnectReason::close_frame) {
                let frame =
                    CloseFrame { code: CloseCode::from(code), reason: Utf8Bytes::from_static(reason) };
                messages.push(Message::Close(Some(frame)));
            }
            // Who takes nothing of a frame for so long is gone, or might as well be.
            let limits = self.engine.limits();
            let patience = limits.ping_interval.saturating_add(limits.pong_timeout);
            for message in messages {
                let is_over = self.outbox.closing().is_some_and(DisconnectReason::is_at_once);
                if is_over && !message.is_close() {
                    break;
                }
                let bytes = message.len();
                match time::timeout(patience, sink.send(message)).await {
                    Ok(Ok(())) => self.session.lock().wrote(bytes),
                    Ok(Err(_)) => return DisconnectReason::Gone,
                    Err(_) => return DisconnectReason::Silent,
                }
            }
            self.outbox.written();
            if let Some(reason) = closing {
                return reason;
            }
        }
    }

    fn unsubscribe(&self, key: SubscriptionKey) {
        if let Some(query) = self.outbox.remove(key) {
            self.engine.hub().leave(&query, &self.outbox);
        }
    }

    /// Answers with a row that was read, or why it was not. `false` if the session that it was read for is over: it is to be read again.
    fn answer_row(&self, caller: &Caller, subject: &Subject, read: Result<(&Model, Key, WireRow)>) -> bool {
        let message = match read {
            Ok((model, key, row)) => response::row(model.name(), subject.id.as_ref(), &key, &row),
            Err(error) => response::error(subject, &error, &ErrorDetail::default()),
        };
        self.outbox.answer_if(message, || !caller.has_ended())
    }

    fn refuse(&self, subject: &Subject, error: &Error) {
        self.outbox.answer(response::error(subject, error, &ErrorDetail::default()));
    }
}

/// A text message. What the server encodes is UTF-8.
fn text(frame: Bytes) -> Message {
    Message::Text(Utf8Bytes::try_from(frame).unwrap_or_default())
}

fn reason_of(error: &SocketError) -> DisconnectReason {
    match error {
        SocketError::Capacity(CapacityError::MessageTooLong { .. }) => DisconnectReason::TooLarge,
        SocketError::Utf8(_) => DisconnectReason::InvalidUtf8,
        SocketError::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            DisconnectReason::Gone
        }
        SocketError::Protocol(_) => DisconnectReason::Protocol,
        _ => DisconnectReason::Gone,
    }
}

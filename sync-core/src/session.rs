//! One client's side of the protocol, as a state machine: messages and times in, what is to be done out. No I/O, no clock.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::{
    Error, ErrorCode,
    config::Limits,
    model::Key,
    outbox::DisconnectReason,
    protocol::{
        Frame, Hello, Message, Mutation, Query, Request, RequestId, Rows, Subject, Target, exceeds_depth,
        response::{self, ErrorDetail},
    },
    store::MutationId,
};

/// After so many messages in a row that could not be read the connection is closed: what sends them is no client.
const UNREADABLE: u32 = 16;

/// After so many that were refused on one connection it is closed: what says them is guessing.
const REFUSED_HELLOS: u32 = 16;

/// A client on a slow line that takes so many bytes in each `pong_timeout` is not taken for dead: 13 KB/s by default.
const SLOWEST_BYTES: usize = 128 * 1024;

/// Longer than any connection: a clock that is that far ahead can still be told.
const NEVER: Duration = Duration::from_hours(24 * 365);

/// A connection's state in the protocol.
#[derive(Debug)]
pub(crate) struct Session {
    limits: Limits,
    greeting: Greeting,
    /// Nothing is done before a `hello` that is accepted.
    authenticates: bool,
    /// Until when one must come.
    hello_by: Option<Instant>,
    refused_hellos: u32,
    /// Mutations that are not answered.
    in_flight: usize,
    /// A mutation that was refused to be sent again: no later one is decided before it.
    blocked: Option<MutationId>,
    unreadable: u32,
    heartbeat: Heartbeat,
}

/// Whether `hello` may still come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greeting {
    /// Nothing was said yet.
    Open,
    /// `hello` was said.
    Client,
    /// Something else was said first.
    Anonymous,
    /// `hello` was refused: it must be said again before anything else. What came right behind it was meant to be
    /// done once, which nobody without a `hello` is promised.
    Refused {
        /// Nobody knows who it is.
        unauthenticated: bool,
    },
}

#[derive(Debug)]
struct Heartbeat {
    pinged: Instant,
    /// A ping has had no answer.
    waiting: bool,
    /// What was sent since the last answer to a ping, some of which may still be on its way.
    bytes: usize,
}

/// What a message calls for.
#[derive(Debug)]
pub(crate) enum Action {
    Hello(Hello, Subject),
    Subscribe(Query, Subject),
    Unsubscribe(RequestId),
    Read {
        model: Box<str>,
        key: Key,
        subject: Subject,
    },
    ReadAll {
        model: Box<str>,
        rows: Arc<Rows>,
        subject: Subject,
    },
    /// To be answered when the mutations before it are decided: its row is what one of them created.
    ReadCreated {
        model: Box<str>,
        cid: Box<str>,
        subject: Subject,
    },
    /// To be decided after those before it; then [`Session::decided`].
    Mutate(Mutation, Subject),
    Acknowledge(MutationId),
    Answer(Bytes),
    Close(DisconnectReason),
}

/// What the time calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    Ping,
    Close(DisconnectReason),
}

impl Session {
    /// Where the server `authenticates`, `hello` comes first and in time.
    pub(crate) fn new(limits: Limits, authenticates: bool, now: Instant) -> Self {
        let hello_by = authenticates.then(|| now + limits.hello_timeout.min(NEVER));
        Self {
            authenticates,
            hello_by,
            refused_hellos: 0,
            limits,
            greeting: Greeting::Open,
            in_flight: 0,
            blocked: None,
            unreadable: 0,
            heartbeat: Heartbeat { pinged: now, waiting: false, bytes: 0 },
        }
    }

    /// A text frame came: its messages, each to be given to [`receive`](Self::receive) when what the one before it calls for is done.
    pub(crate) fn read<'a>(&self, text: &'a str) -> Frame<'a> {
        if exceeds_depth(text, self.limits.json_depth) {
            let message = format!("JSON may be nested {} deep", self.limits.json_depth);
            return Frame::refused(Error::limit("json_depth", message));
        }
        Frame::read(text)
    }

    /// One message came.
    pub(crate) fn receive(&mut self, message: Message) -> SmallVec<[Action; 1]> {
        let mut actions = SmallVec::new();
        self.message(message, &mut actions);
        actions
    }

    /// A frame came: the client is there. Returns whether a ping had no answer until now, so that the next is due at another time.
    pub(crate) fn heard(&mut self) -> bool {
        std::mem::take(&mut self.heartbeat.waiting)
    }

    /// The answer to a ping came: the client has taken all that was sent before it.
    pub(crate) fn pong(&mut self) -> bool {
        self.heartbeat.bytes = 0;
        self.heard()
    }

    /// So many bytes were handed to the socket, from where a slow client takes them in its time.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.heartbeat.bytes = self.heartbeat.bytes.saturating_add(bytes);
    }

    /// `hello` was refused; `unauthenticated` because nobody knows who it is. It may be said again, though not for ever.
    pub(crate) fn hello_refused(&mut self, unauthenticated: bool, now: Instant) -> Option<DisconnectReason> {
        self.greeting = Greeting::Refused { unauthenticated };
        if !self.authenticates {
            return None;
        }
        self.hello_by = Some(now + self.limits.hello_timeout.min(NEVER));
        self.refused_hellos += 1;
        (self.refused_hellos >= REFUSED_HELLOS).then_some(DisconnectReason::Refused)
    }

    /// A mutation was answered.
    pub(crate) fn decided(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// When [`tick`](Self::tick) is next due.
    pub(crate) fn next_tick(&self) -> Instant {
        let after = if self.heartbeat.waiting {
            let times =
                u32::try_from(self.heartbeat.bytes / SLOWEST_BYTES).unwrap_or(u32::MAX).saturating_add(1);
            self.limits.pong_timeout.saturating_mul(times)
        } else {
            self.limits.ping_interval
        };
        let heartbeat = self.heartbeat.pinged + after.min(NEVER);
        self.hello_by.map_or(heartbeat, |by| heartbeat.min(by))
    }

    /// It is `now`.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<Tick> {
        if now < self.next_tick() {
            return None;
        }
        if self.hello_by.is_some_and(|by| by <= now) {
            return Some(Tick::Close(DisconnectReason::Unauthenticated));
        }
        if self.heartbeat.waiting {
            return Some(Tick::Close(DisconnectReason::Silent));
        }
        self.heartbeat.pinged = now;
        self.heartbeat.waiting = true;
        Some(Tick::Ping)
    }

    fn message(&mut self, message: Message, actions: &mut SmallVec<[Action; 1]>) {
        let Message { subject, ack, request } = message;
        let request = match request {
            Ok(request) => request,
            Err(error) => {
                // No limit that a message breaks is one that it would not break again.
                let detail = ErrorDetail { retry: Some(false), ..ErrorDetail::default() };
                actions.push(Action::Answer(response::error(&subject, &error, &detail)));
                self.unreadable(actions);
                return;
            }
        };
        self.unreadable = 0;
        if let Request::Hello(hello) = request {
            if matches!(self.greeting, Greeting::Open | Greeting::Refused { .. }) {
                self.greeting = Greeting::Client;
                self.hello_by = None;
                actions.push(Action::Hello(hello, subject));
            } else {
                let error = Error::new(ErrorCode::BadRequest, "`hello` comes first, and once");
                actions.push(refuse(&subject, &error));
            }
            return;
        }
        match self.greeting {
            Greeting::Open if !self.authenticates => self.greeting = Greeting::Anonymous,
            Greeting::Open | Greeting::Refused { unauthenticated: true } => {
                let error = Error::unauthenticated("`hello` comes first, and says who this is");
                // Nothing was decided.
                actions.push(refuse(&subject, &error.and_retry()));
                return;
            }
            Greeting::Refused { unauthenticated: false } => {
                actions.push(refuse(
                    &subject,
                    &Error::new(ErrorCode::Retry, "`hello` was refused: it comes first"),
                ));
                return;
            }
            Greeting::Client | Greeting::Anonymous => {}
        }
        if let Some(ack) = ack {
            actions.push(Action::Acknowledge(ack));
        }
        match request {
            Request::Subscribe(query) => actions.push(Action::Subscribe(query, subject)),
            Request::Unsubscribe(id) => actions.push(Action::Unsubscribe(id)),
            Request::Read { model, target } => actions.push(self.read_target(model, target, subject)),
            Request::Mutate(mutation) => actions.push(self.mutation(mutation, subject)),
            Request::Ack | Request::Hello(_) => {}
        }
    }

    fn read_target(&self, model: Box<str>, target: Target, subject: Subject) -> Action {
        match target {
            Target::All(rows) => Action::ReadAll { model, rows, subject },
            Target::Key(key) => Action::Read { model, key, subject },
            Target::Created(_) if self.blocked.is_some() => refuse(&subject, &earlier_first()),
            Target::Created(cid) => Action::ReadCreated { model, cid, subject },
        }
    }

    fn mutation(&mut self, mutation: Mutation, subject: Subject) -> Action {
        if self.greeting == Greeting::Client
            && let Some(id) = mutation.id
        {
            if self.blocked.is_some_and(|blocked| id > blocked) {
                return refuse(&subject, &earlier_first());
            }
            if self.blocked == Some(id) {
                self.blocked = None;
            }
        }
        if self.in_flight >= self.limits.in_flight {
            if self.greeting == Greeting::Client {
                self.blocked = self.blocked.or(mutation.id);
            }
            let limit = self.limits.in_flight;
            return refuse(&subject, &Error::limit("in_flight", format!("{limit} mutations are undecided")));
        }
        self.in_flight += 1;
        Action::Mutate(mutation, subject)
    }

    fn unreadable(&mut self, actions: &mut SmallVec<[Action; 1]>) {
        self.unreadable += 1;
        if self.unreadable >= UNREADABLE {
            actions.push(Action::Close(DisconnectReason::Unreadable));
        }
    }
}

/// What comes after a mutation that was refused to be sent again is refused like it.
pub(crate) fn earlier_first() -> Error {
    Error::new(ErrorCode::Retry, "an earlier mutation must be sent again first")
}

fn refuse(subject: &Subject, error: &Error) -> Action {
    Action::Answer(response::error(subject, error, &ErrorDetail::default()))
}

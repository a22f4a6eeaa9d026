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
    sabotage::{self, Sabotage},
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
    pace: Pace,
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
    /// Nothing is read until there is allowance: an answer may have come that nobody has seen.
    held: bool,
}

/// How fast messages are read: a bucket that each message fills by its share of a second, and that time empties.
#[derive(Debug)]
struct Pace {
    /// What a message adds.
    share: Duration,
    /// What the bucket holds.
    depth: Duration,
    level: Duration,
    /// When the level was that.
    at: Instant,
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

/// A message may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// It had to wait: the next tick is due at another time.
    pub(crate) was_held: bool,
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
        let pace = Pace::new(&limits, now);
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
            heartbeat: Heartbeat { pinged: now, waiting: false, bytes: 0, held: false },
            pace,
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

    /// A message is to be taken: whether it may be now, or when to ask again. Until then nothing is to be read, and the client is not taken for dead.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<Admitted, Instant> {
        if let Err(at) = self.pace.take(now) {
            self.heartbeat.held = true;
            return Err(at);
        }
        let was_held = std::mem::take(&mut self.heartbeat.held);
        if was_held && self.heartbeat.waiting {
            // The answer has its time from now on.
            self.heartbeat.pinged = now;
        }
        Ok(Admitted { was_held })
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
        let after = if self.heartbeat.waiting && self.heartbeat.held {
            NEVER
        } else if self.heartbeat.waiting {
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
            if self.blocked.is_some_and(|blocked| id > blocked) && !sabotage::is(Sabotage::LaterDecidedFirst)
            {
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

impl Pace {
    fn new(limits: &Limits, now: Instant) -> Self {
        let share = Duration::from_secs(1) / limits.messages_per_second.max(1);
        let depth = share.saturating_mul(limits.message_burst.max(1));
        Self { share, depth, level: Duration::ZERO, at: now }
    }

    /// Counts one message, if there is allowance for it; or else when there is.
    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        self.level = self.level.saturating_sub(now.saturating_duration_since(self.at));
        self.at = self.at.max(now);
        let filled = self.level + self.share;
        if let Some(over) = filled.checked_sub(self.depth).filter(|over| !over.is_zero()) {
            return Err(self.at + over);
        }
        self.level = filled;
        Ok(())
    }
}

/// What comes after a mutation that was refused to be sent again is refused like it.
pub(crate) fn earlier_first() -> Error {
    Error::new(ErrorCode::Retry, "an earlier mutation must be sent again first")
}

fn refuse(subject: &Subject, error: &Error) -> Action {
    Action::Answer(response::error(subject, error, &ErrorDetail::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(set: impl FnOnce(&mut Limits), now: Instant) -> Session {
        let mut limits = Limits::default();
        set(&mut limits);
        Session::new(limits, false, now)
    }

    /// How many messages are admitted at once.
    fn admitted(session: &mut Session, now: Instant) -> usize {
        std::iter::from_fn(|| session.admit(now).ok()).take(10_000).count()
    }

    #[test]
    fn messages_are_read_at_their_pace() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut session = session(|_| {}, start);
        assert_eq!(admitted(&mut session, start), 1_000, "the burst");
        assert_eq!(session.admit(start), Err(after(10)));
        assert_eq!(session.admit(after(9)), Err(after(10)));
        assert_eq!(session.admit(after(10)), Ok(Admitted { was_held: true }));
        assert_eq!(admitted(&mut session, after(10)), 0);
        assert_eq!(admitted(&mut session, after(1_010)), 100, "a second later");
        assert_eq!(admitted(&mut session, after(6_010)), 500);
        assert_eq!(admitted(&mut session, after(60_000)), 1_000, "never more than the burst");
        // A clock that seems to go back gives nothing away, and takes nothing.
        assert_eq!(admitted(&mut session, start), 0);
        assert_eq!(admitted(&mut session, after(60_010)), 1);
    }

    #[test]
    fn any_pace_can_be_set() {
        let start = Instant::now();
        let mut fast = session(|limits| limits.messages_per_second = u32::MAX, start);
        assert_eq!(admitted(&mut fast, start), 10_000, "without limit, that is");
        let mut slow = session(|limits| (limits.messages_per_second, limits.message_burst) = (1, 1), start);
        assert_eq!(admitted(&mut slow, start), 1);
        assert_eq!(slow.admit(start), Err(start + Duration::from_secs(1)));
        let deep = |limits: &mut Limits| (limits.messages_per_second, limits.message_burst) = (1, u32::MAX);
        assert_eq!(admitted(&mut session(deep, start), start), 10_000);
    }

    #[test]
    fn who_is_not_read_is_not_taken_for_dead() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let one = |limits: &mut Limits| (limits.messages_per_second, limits.message_burst) = (1, 1);
        let mut session = session(one, start);
        session.admit(start).unwrap();
        session.admit(start).unwrap_err();
        assert_eq!(session.tick(after(25)), Some(Tick::Ping), "it is still told how far it is");
        assert_eq!(session.tick(after(1_000)), None, "its answer may have come");
        assert_eq!(session.admit(after(1_000)), Ok(Admitted { was_held: true }));
        assert_eq!(session.next_tick(), after(1_010));
        assert_eq!(session.tick(after(1_010)), Some(Tick::Close(DisconnectReason::Silent)));
    }
}

//! What waits for one client: the answers to its own requests, and its places in the shared tails.
//!
//! No I/O and no clock. The connection's writer takes [`frames`](Outbox::frames); its loader does the [`log_work`](Outbox::log_work) that
//! needs the store.

mod authority;
mod cursor;
mod delivery;
mod frames;
mod rescope;
#[cfg(test)]
mod tests;
mod windows;

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;
use uuid::Uuid;

use self::rescope::{Beginning, Held};
pub(crate) use self::{
    authority::Era,
    cursor::Cursor,
    rescope::{Begun, RescopeWork, Which},
    windows::WindowWork,
};
use crate::{
    hub::{Depends, Places, Query, Source},
    protocol::{RequestId, Rows, response},
    sabotage::{self, Sabotage},
    store::Seq,
};

/// The most that one frame holds, in bytes, unless a single message is larger.
pub(crate) const FRAME_BYTES: usize = 256 * 1024;

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DisconnectReason {
    /// The client closed it, or the line broke.
    Gone,
    /// The server stops.
    Shutdown,
    /// A newer connection of the same client took its place.
    Replaced,
    /// It did not take what was sent to it, or did not answer pings.
    Silent,
    /// Too many messages that could not be read.
    Unreadable,
    /// A message over the limit.
    TooLarge,
    /// A binary frame.
    Binary,
    /// Text that is not UTF-8.
    InvalidUtf8,
    /// A violation of the WebSocket protocol.
    Protocol,
    /// Its session is over.
    Expired,
    /// Its session was revoked.
    Revoked,
    /// It did not say in time who it is.
    Unauthenticated,
    /// It said too often who it is, and was not believed.
    Refused,
    /// `read` did not say in time what it may see now.
    Unjudged,
}

impl DisconnectReason {
    /// The close code and reason that the client is sent; `None` where nobody is there to read them.
    pub(crate) fn close_frame(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Gone => None,
            Self::Shutdown => Some((1001, "the server is stopping")),
            Self::Replaced => Some((4000, "replaced by a newer connection of this client")),
            Self::Silent => Some((4001, "did not take what was sent or did not answer pings")),
            Self::Unreadable => Some((4002, "too many messages that could not be read")),
            Self::TooLarge => Some((1009, "message too large")),
            Self::Binary => Some((1003, "only text frames are understood")),
            Self::InvalidUtf8 => Some((1007, "text that is not UTF-8")),
            Self::Protocol => Some((1002, "WebSocket protocol error")),
            Self::Expired => Some((4003, "the session has expired")),
            Self::Revoked => Some((4003, "the session was revoked")),
            Self::Unauthenticated => Some((4003, "no `hello` that was accepted came in time")),
            Self::Refused => Some((4003, "`hello` was refused too often")),
            Self::Unjudged => Some((4004, "what this client may see was not found out in time")),
        }
    }
}

impl DisconnectReason {
    /// Whether nothing of what waits is sent any more.
    pub(crate) fn is_at_once(self) -> bool {
        matches!(self, Self::Expired | Self::Revoked)
    }
}

/// Names a subscription within its outbox; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubscriptionKey(u64);

/// Names one loading of a subscription: what was read for it before it began anew counts no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoadKey {
    pub(crate) key: SubscriptionKey,
    load: u64,
}

/// What waits for one client.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    /// Queries that have something new, by their numbers. Not in the state: the hub must not wait until frames are made.
    marked: Mutex<Vec<u64>>,
    frames_ready: Notify,
    work_ready: Notify,
    room_made: Notify,
    rescope_ready: Notify,
    sent: Notify,
    /// What may wait, in bytes: of its answers, and of each query's changes.
    limit: usize,
    epoch: Uuid,
    number: u64,
}

#[derive(Debug, Default)]
struct State {
    /// What was read for it.
    answers: VecDeque<Answer>,
    /// How its mutations ended, in their order.
    outcomes: VecDeque<Outcome>,
    answer_bytes: usize,
    outcome_bytes: usize,
    /// Mostly there is one.
    subscriptions: SmallVec<[Subscription; 1]>,
    /// By the number of a query: whose it is, and which of theirs. So that who is in hundreds of rooms looks at those that have something.
    queries: HashMap<u64, SmallVec<[(SubscriptionKey, usize); 1]>>,
    /// The numbers of queries in which something stands that was not taken, sorted.
    marked: Vec<u64>,
    next_key: u64,
    next_load: u64,
    /// Whose rows are being found out.
    begun: Vec<Beginning>,
    /// The number of the last hold.
    holds: u64,
    /// Every live subscription has had everything up to here.
    delivered: Seq,
    /// At least what of any subscription's changes waits, in bytes.
    waiting_bytes: u64,
    closing: Option<DisconnectReason>,
    /// Which session it is by now.
    era: Era,
    /// Of the frames that are being sent.
    writing: Option<Era>,
}

/// Something that was read.
#[derive(Debug)]
struct Answer {
    message: Bytes,
    /// For whom, where it may be dropped with it.
    of: Option<LoadKey>,
    /// It does not leave before the changes up to this seq: what a subscription may see is known up to the head, not beyond.
    seq: Seq,
    /// The subscription ends with it.
    is_last: bool,
    era: Era,
}

/// How a mutation ended.
#[derive(Debug)]
struct Outcome {
    message: Bytes,
    /// It leaves with, and after, the changes up to this seq.
    seq: Seq,
    era: Era,
}

/// How a client asked for rows.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Only a `read` of all rows may have none.
    pub(crate) id: Option<RequestId>,
    pub(crate) rows: Arc<Rows>,
    /// At most so many rows come in one message.
    pub(crate) page_rows: usize,
}

#[derive(Debug)]
struct Subscription {
    key: SubscriptionKey,
    load: u64,
    asked: Asked,
    source: Arc<Source>,
    held: Held,
    /// What that depends on which it may see.
    depends: Option<Depends>,
    phase: Phase,
    position: Position,
    /// A `read` of all rows: ends where a subscription becomes live.
    ends_at_live: bool,
    /// The client takes it for live.
    was_live: bool,
    /// That it is not live any more, or begins anew. It leaves before all else: what is told of the others does not say how far this one is.
    word: Option<Bytes>,
}

/// How far a subscription is.
#[derive(Debug)]
enum Phase {
    /// Its pages are being read.
    Loading,
    /// A window: its rows are to be asked for.
    Asking,
    /// A window: its rows are being read for all who look at it.
    Waiting,
    /// A window: its rows could not be read.
    Failed,
    /// All rows are there; once the changes up to this seq are too, it is live.
    Joining { at_least: Seq },
    /// It gets every change.
    Live,
}

/// What changes a subscription has had.
#[derive(Debug)]
enum Position {
    /// Those up to places in the tails; after them, those with a greater seq than this one are new.
    Tail(Places, Seq),
    /// Those up to this seq; the rest must be read from the store's log.
    Log(Seq),
}

/// What the loader is to read from the store.
#[derive(Debug)]
pub(crate) struct LogWork {
    pub(crate) load: LoadKey,
    /// It is a read of all rows.
    pub(crate) is_read: bool,
    /// The last hold of the subscription by then.
    hold: u64,
    pub(crate) asked: Asked,
    pub(crate) source: Arc<Source>,
    /// After this seq.
    pub(crate) after: Seq,
}

impl Outbox {
    pub(crate) fn new(limit: usize, epoch: Uuid, head: Seq) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let state = State { delivered: head, ..State::default() };
        Self {
            state: Mutex::new(state),
            marked: Mutex::default(),
            frames_ready: Notify::new(),
            work_ready: Notify::new(),
            room_made: Notify::new(),
            rescope_ready: Notify::new(),
            sent: Notify::new(),
            limit,
            epoch,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Names it, in the order in which they are made, which is the same in every run.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Puts something that was read in line.
    pub(crate) fn answer(&self, message: Bytes) {
        self.state.lock().answer(message, None, 0, false);
        self.frames_ready.notify_one();
    }

    /// Puts something that was read for a subscription, at `seq`, in line: it leaves when the hub's head is there, which
    /// [`Hub::wake_at`] must tell. Dropped if the subscription has begun anew meanwhile, or ended.
    pub(crate) fn answer_to(&self, load: LoadKey, message: Bytes, seq: Seq) {
        self.put(load, message, seq, false);
    }

    /// As [`answer_to`](Self::answer_to); the subscription ends with it.
    pub(crate) fn last_answer_to(&self, load: LoadKey, message: Bytes, seq: Seq) {
        self.put(load, message, seq, true);
    }

    fn put(&self, load: LoadKey, message: Bytes, seq: Seq, is_last: bool) {
        let mut state = self.state.lock();
        if state.loading(load).is_some() {
            state.answer(message, Some(load), seq, is_last);
        }
        drop(state);
        self.frames_ready.notify_one();
    }

    /// Puts the outcome of a mutation in line: with, and after, the changes up to `seq`; 0 for one that changed nothing.
    ///
    /// For a transaction that is not published yet this must come before it is: then the changes leave with the outcome too.
    pub(crate) fn outcome(&self, message: Bytes, seq: Seq) {
        let mut state = self.state.lock();
        state.outcome(message, seq);
        drop(state);
        self.frames_ready.notify_one();
    }

    /// Waits until there is room for the answer to another request.
    pub(crate) async fn room(&self) {
        self.until(|state| state.answer_bytes + state.outcome_bytes < self.limit).await;
    }

    /// Waits until more may be read for it. Outcomes do not count: they may wait for just what is to be read.
    pub(crate) async fn room_to_load(&self) {
        self.until(|state| state.answer_bytes < self.limit).await;
    }

    async fn until(&self, has_room: impl Fn(&State) -> bool) {
        loop {
            let mut made = pin!(self.room_made.notified());
            // Enabled before the look, so that room made in between is not missed.
            made.as_mut().enable();
            if has_room(&self.state.lock()) {
                return;
            }
            made.await;
        }
    }

    /// Ends the connection once what waits has been sent. The first reason counts.
    pub(crate) fn close(&self, reason: DisconnectReason) {
        self.state.lock().closing.get_or_insert(reason);
        self.frames_ready.notify_one();
        self.work_ready.notify_one();
    }

    pub(crate) fn closing(&self) -> Option<DisconnectReason> {
        self.state.lock().closing
    }

    /// Waits until there may be frames to send.
    pub(crate) async fn woken(&self) {
        self.frames_ready.notified().await;
    }

    /// Waits until there may be work.
    pub(crate) async fn work_woken(&self) {
        self.work_ready.notified().await;
    }

    /// There may be work.
    pub(crate) fn work_nudge(&self) {
        self.work_ready.notify_one();
    }

    /// A query has something new. Called by the hub, before its head is there.
    pub(crate) fn mark(&self, query: &Arc<Query>) {
        self.marked.lock().push(query.number());
    }

    /// Changes of so many bytes are in the tails. Called by the hub; gives up the places of a client that is too far behind, so that what waits for
    /// it can be freed.
    pub(crate) fn wake(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.waiting_bytes = state.waiting_bytes.saturating_add(bytes);
        let limit = self.limit as u64;
        let mut lapsed = false;
        // Mostly there is little: then no tail is looked at.
        if state.waiting_bytes > limit {
            let mut most = 0;
            lapsed = state.lapse(|subscription, places| {
                let bytes = subscription.source.bytes_after(places);
                most = most.max(if bytes > limit { 0 } else { bytes });
                bytes > limit
            });
            state.waiting_bytes = most;
        }
        drop(state);
        self.frames_ready.notify_one();
        if lapsed {
            self.work_ready.notify_one();
        }
    }

    /// There is something to be sent besides changes.
    pub(crate) fn nudge(&self) {
        self.frames_ready.notify_one();
    }

    /// The tails lack what was published: all places are given up.
    pub(crate) fn lapse(&self) {
        self.state.lock().lapse(|_, _| true);
        self.work_ready.notify_one();
    }

    /// Adds a subscription whose pages will be read, with the changes after `position`.
    pub(crate) fn subscribe(
        &self,
        begun: Begun<'_>,
        asked: Asked,
        source: Arc<Source>,
        (places, seq): (Places, Seq),
    ) -> LoadKey {
        self.add(begun, asked, source, Phase::Loading, Position::Tail(places, seq), false)
    }

    /// Adds a read of all rows: a subscription that ends where it would become live.
    pub(crate) fn read_once(
        &self,
        begun: Begun<'_>,
        asked: Asked,
        source: Arc<Source>,
        (places, seq): (Places, Seq),
    ) -> LoadKey {
        self.add(begun, asked, source, Phase::Loading, Position::Tail(places, seq), true)
    }

    /// Adds a subscription that has had everything up to `seq`.
    pub(crate) fn resume(&self, begun: Begun<'_>, asked: Asked, source: Arc<Source>, seq: Seq) {
        self.add(begun, asked, source, Phase::Joining { at_least: seq }, Position::Log(seq), false);
    }

    fn add(
        &self,
        begun: Begun<'_>,
        asked: Asked,
        source: Arc<Source>,
        phase: Phase,
        position: Position,
        ends_at_live: bool,
    ) -> LoadKey {
        let key = begun.key();
        let mut state = self.state.lock();
        let (held, depends) = state.end_of_beginning(key);
        let load = state.new_load();
        let was_live = false;
        let is_held = held.before().is_some();
        state.list(key, &source);
        let subscription = Subscription {
            key,
            load,
            asked,
            source,
            held,
            depends,
            phase,
            position,
            ends_at_live,
            was_live,
            word: None,
        };
        state.subscriptions.push(subscription);
        drop(state);
        drop(begun);
        if is_held {
            self.rescope_ready.notify_one();
        }
        LoadKey { key, load }
    }

    /// How many there are.
    pub(crate) fn subscriptions(&self) -> usize {
        self.state.lock().subscriptions.len()
    }

    /// A subscription that the log cannot continue begins anew, as one to `query`, with the changes after `position`. `None` if it has ended,
    /// or may see other rows by now.
    pub(crate) fn restart(
        &self,
        work: &LogWork,
        source: &Arc<Source>,
        position: (Places, Seq),
    ) -> Option<Restarted> {
        let mut state = self.state.lock();
        state.loading(work.load).filter(|subscription| subscription.held.last() == work.hold)?;
        let restarted = state.restart(work.load.key, source, position, "horizon");
        drop(state);
        self.frames_ready.notify_one();
        restarted
    }

    /// Whether this loading of a subscription still counts.
    pub(crate) fn is_loading(&self, load: LoadKey) -> bool {
        self.state.lock().loading(load).is_some()
    }

    /// All its pages are in line, the newest read at `seq`; it becomes live when the hub's head is there, which
    /// [`Hub::wake_at`] must tell.
    pub(crate) fn loaded(&self, load: LoadKey, seq: Seq) {
        let mut state = self.state.lock();
        if let Some(subscription) = state.loading(load) {
            subscription.phase = Phase::Joining { at_least: seq };
        }
        drop(state);
        self.work_ready.notify_one();
    }

    /// A subscription that must catch up from the log: one whose rows are all there.
    pub(crate) fn log_work(&self) -> Option<LogWork> {
        self.state.lock().subscriptions.iter().find_map(|subscription| {
            match (&subscription.phase, &subscription.position) {
                (Phase::Joining { .. }, Position::Log(after)) => Some(LogWork {
                    load: LoadKey { key: subscription.key, load: subscription.load },
                    is_read: subscription.ends_at_live,
                    hold: subscription.held.last(),
                    asked: subscription.asked.clone(),
                    source: subscription.source.clone(),
                    after: *after,
                }),
                _ => None,
            }
        })
    }

    /// A subscription has had the log up to `seq`; where places are given it goes on in the tails, as with [`loaded`](Self::loaded).
    pub(crate) fn caught_up(&self, load: LoadKey, seq: Seq, places: Option<Places>) {
        let mut state = self.state.lock();
        if let Some(subscription) = state.loading(load) {
            subscription.position = match places {
                Some(places) => {
                    Position::Tail(places, seq + u64::from(sabotage::is(Sabotage::ResumedTooLate)))
                }
                None => Position::Log(seq),
            };
            if let Phase::Joining { at_least } = &mut subscription.phase {
                *at_least = seq.max(*at_least);
            }
        }
    }

    /// Takes a subscription out: its source, to leave it.
    pub(crate) fn remove(&self, key: SubscriptionKey) -> Option<Arc<Source>> {
        let mut state = self.state.lock();
        let at = state.subscriptions.iter().position(|subscription| subscription.key == key)?;
        state.drop_answers(key);
        let source = state.subscriptions.swap_remove(at).source;
        state.unlist(key, &source);
        drop(state);
        // It may have held others up, and what was dropped has left room.
        self.room_made.notify_waiters();
        self.frames_ready.notify_one();
        Some(source)
    }

    /// The subscription of that id.
    pub(crate) fn key_of(&self, id: &RequestId) -> Option<SubscriptionKey> {
        let state = self.state.lock();
        let mut of_subscribe = state.subscriptions.iter().filter(|subscription| !subscription.ends_at_live);
        of_subscribe
            .find(|subscription| subscription.asked.id.as_ref() == Some(id))
            .map(|subscription| subscription.key)
    }

    /// Every subscription's source, to leave them.
    pub(crate) fn clear(&self) -> Vec<Arc<Source>> {
        let mut state = self.state.lock();
        state.answers.clear();
        state.outcomes.clear();
        (state.answer_bytes, state.outcome_bytes) = (0, 0);
        state.queries.clear();
        state.subscriptions.drain(..).map(|subscription| subscription.source).collect()
    }
}

/// A subscription that began anew.
#[derive(Debug)]
pub(crate) struct Restarted {
    pub(crate) load: LoadKey,
    pub(crate) asked: Asked,
    /// Its old source, to leave it.
    pub(crate) left: Arc<Source>,
    pub(crate) ends_at_live: bool,
}

impl State {
    fn answer(&mut self, message: Bytes, of: Option<LoadKey>, seq: Seq, is_last: bool) {
        self.answer_bytes += message.len();
        self.answers.push_back(Answer { message, of, seq, is_last, era: self.era });
    }

    fn outcome(&mut self, message: Bytes, seq: Seq) {
        self.outcome_bytes += message.len();
        self.outcomes.push_back(Outcome { message, seq, era: self.era });
    }

    /// What was read for a subscription is not sent any more.
    fn drop_answers(&mut self, key: SubscriptionKey) {
        let bytes = &mut self.answer_bytes;
        self.answers.retain(|answer| {
            let is_kept = answer.of.is_none_or(|load| load.key != key);
            if !is_kept {
                *bytes -= answer.message.len();
            }
            is_kept
        });
    }

    /// A subscription is to this source.
    fn list(&mut self, key: SubscriptionKey, source: &Source) {
        for (leg, number) in source.numbers().enumerate() {
            self.queries.entry(number).or_default().push((key, leg));
        }
    }

    /// A subscription is not to this source any more.
    fn unlist(&mut self, key: SubscriptionKey, source: &Source) {
        for number in source.numbers() {
            if let Entry::Occupied(mut listed) = self.queries.entry(number) {
                listed.get_mut().retain(|(other, _)| *other != key);
                if listed.get().is_empty() {
                    listed.remove();
                }
            }
        }
    }

    fn new_load(&mut self) -> u64 {
        self.next_load += 1;
        self.next_load
    }

    fn restart(
        &mut self,
        key: SubscriptionKey,
        source: &Arc<Source>,
        (places, seq): (Places, Seq),
        reason: &str,
    ) -> Option<Restarted> {
        let subscription = self.find(key)?;
        let left = std::mem::replace(&mut subscription.source, source.clone());
        subscription.position = Position::Tail(places, seq);
        // In this order: they may have queries in common.
        self.unlist(key, &left);
        self.list(key, source);
        let load = self.begin_anew(key, reason)?;
        let subscription = self.find(key)?;
        let (asked, ends_at_live) = (subscription.asked.clone(), subscription.ends_at_live);
        Some(Restarted { load, asked, left, ends_at_live })
    }

    /// A subscription has had nothing yet: what it is sent replaces all.
    fn begin_anew(&mut self, key: SubscriptionKey, reason: &str) -> Option<LoadKey> {
        let load = self.new_load();
        self.drop_answers(key);
        let subscription = self.find(key)?;
        subscription.load = load;
        subscription.was_live = false;
        if subscription.source.is_window() {
            subscription.phase = Phase::Asking;
            subscription.position = Position::Log(0);
        } else {
            subscription.phase = Phase::Loading;
        }
        subscription.word = Some(response::reset(subscription.asked.id.as_ref(), reason));
        Some(LoadKey { key, load })
    }

    /// Gives up the places that are `too_far` behind. Whether there was one.
    fn lapse(&mut self, mut too_far: impl FnMut(&Subscription, &Places) -> bool) -> bool {
        let mut lapsed = false;
        let mut windows = Vec::new();
        let delivered = self.delivered;
        for subscription in &mut self.subscriptions {
            let Position::Tail(places, after) = &subscription.position else { continue };
            if !too_far(subscription, places) {
                continue;
            }
            lapsed = true;
            if sabotage::is(Sabotage::OverflowSwallowed) {
                subscription.position = Position::Tail(subscription.source.ends(), *after);
                continue;
            }
            if subscription.source.is_window() {
                windows.push(subscription.key);
                continue;
            }
            let had = match subscription.phase {
                Phase::Live => delivered.max(*after),
                _ => *after,
            };
            subscription.position = Position::Log(had);
            if let Phase::Live = subscription.phase {
                subscription.phase = Phase::Joining { at_least: had };
                subscription.word = subscription.asked.id.as_ref().map(response::behind);
            }
        }
        for key in windows {
            // The log does not say which rows fill up a window.
            self.begin_anew(key, "window");
        }
        lapsed
    }

    fn find(&mut self, key: SubscriptionKey) -> Option<&mut Subscription> {
        self.subscriptions.iter_mut().find(|subscription| subscription.key == key)
    }

    fn loading(&mut self, load: LoadKey) -> Option<&mut Subscription> {
        self.find(load.key).filter(|subscription| subscription.load == load.load)
    }
}

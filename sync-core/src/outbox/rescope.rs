//! Re-judging: subscriptions stop where they are until `read` has said again what they may see.

use std::sync::Arc;

use super::{Asked, Outbox, Phase, Restarted, State, Subscription, SubscriptionKey};
use crate::{
    hub::{Depends, Places, Query, Shape, Source},
    store::Seq,
};

/// Which subscriptions of a connection are to be judged again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which<'a> {
    All,
    These(&'a [SubscriptionKey]),
    /// Those that depend on the rows of a filter.
    DependsOn(&'a Arc<Query>),
}

impl Which<'_> {
    fn has(self, key: SubscriptionKey, depends: Option<&Depends>) -> bool {
        match self {
            Self::All => true,
            Self::These(keys) => keys.contains(&key),
            Self::DependsOn(filter) => depends.is_some_and(|depends| depends.on(filter)),
        }
    }
}

/// A subscription whose rows are being found out.
#[derive(Debug)]
pub(super) struct Beginning {
    key: SubscriptionKey,
    pub(super) held: Held,
    pub(super) depends: Option<Depends>,
}

/// Whether a subscription waits to be judged again.
///
/// A judgement that is under way may have looked before a later hold: it counts, but only up to that one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    /// `read` is being asked.
    judging: Option<Hold>,
    /// `read` is to be asked.
    waiting: Option<Hold>,
    /// The number of the last one.
    last: u64,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    number: u64,
    before: Seq,
}

impl Held {
    fn hold(&mut self, number: u64, before: Seq) {
        let hold = self.waiting.get_or_insert(Hold { number, before });
        hold.before = hold.before.min(before);
        self.last = number;
    }

    fn both(&self) -> impl Iterator<Item = Hold> {
        self.judging.into_iter().chain(self.waiting)
    }

    /// What has this seq or a greater one does not leave.
    pub(super) fn before(&self) -> Option<Seq> {
        self.both().map(|hold| hold.before).min()
    }

    fn first(&self) -> Option<u64> {
        self.both().map(|hold| hold.number).min()
    }

    /// The number of its last hold; 0 if it never had one.
    pub(super) fn last(&self) -> u64 {
        self.last
    }
}

/// A subscription that is to be judged again.
#[derive(Debug)]
pub(crate) struct RescopeWork {
    pub(crate) key: SubscriptionKey,
    pub(crate) asked: Asked,
    pub(crate) model: &'static str,
    /// It is a read of all rows.
    pub(crate) is_read: bool,
}

/// A subscription whose rows are being found out: it can be told to be judged again before it is there.
#[derive(Debug)]
pub(crate) struct Begun<'a> {
    outbox: &'a Outbox,
    key: SubscriptionKey,
}

impl Begun<'_> {
    pub(crate) fn key(&self) -> SubscriptionKey {
        self.key
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let _ended = self.outbox.state.lock().end_of_beginning(self.key);
    }
}

impl Outbox {
    /// A subscription begins: to be called before `read` is asked what it may see.
    pub(crate) fn begin(&self) -> Begun<'_> {
        let mut state = self.state.lock();
        let key = SubscriptionKey(state.next_key);
        state.next_key += 1;
        state.begun.push(Beginning { key, held: Held::default(), depends: None });
        Begun { outbox: self, key }
    }

    /// Stops subscriptions: for them nothing that has this seq or a greater one leaves, and no page, until `read` has said again what they may see.
    ///
    /// A change that decides about that must call it before the hub's head is there, as [`Hub::publish`](crate::hub::Hub::publish) can. Live
    /// changes of other subscriptions wait as well: the connection stays at one seq.
    pub(crate) fn rescope(&self, which: Which<'_>, before: Seq) {
        let mut state = self.state.lock();
        state.holds += 1;
        let number = state.holds;
        for Beginning { key, held, depends } in &mut state.begun {
            if which.has(*key, depends.as_ref()) {
                // Nobody knows what `read` has seen by then.
                held.hold(number, 0);
            }
        }
        for Subscription { key, held, depends, .. } in &mut state.subscriptions {
            if which.has(*key, depends.as_ref()) {
                held.hold(number, before);
            }
        }
        drop(state);
        self.rescope_ready.notify_one();
    }

    /// What a subscription may see depends on this from now on, and no more on what it did before.
    pub(crate) fn depend(&self, key: SubscriptionKey, depends: Depends) {
        let mut state = self.state.lock();
        let begun = state.begun.iter_mut().find(|begun| begun.key == key).map(|begun| &mut begun.depends);
        let before = match begun {
            Some(begun) => begun.replace(depends),
            None => state.find(key).and_then(|subscription| subscription.depends.replace(depends)),
        };
        drop(state);
        drop(before);
    }

    /// Waits until subscriptions may have been stopped.
    pub(crate) async fn rescope_woken(&self) {
        self.rescope_ready.notified().await;
    }

    /// The subscriptions about which `read` is to be asked now. Each ends in [`same_scope`](Self::same_scope), [`other_scope`](Self::other_scope)
    /// or [`remove`](Self::remove).
    pub(crate) fn rescope_work(&self) -> Vec<RescopeWork> {
        let mut state = self.state.lock();
        let idle = state.subscriptions.iter_mut().filter(|subscription| subscription.held.judging.is_none());
        idle.filter_map(|subscription| {
            subscription.held.judging = Some(subscription.held.waiting.take()?);
            let (key, asked, model) =
                (subscription.key, subscription.asked.clone(), subscription.source.model());
            Some(RescopeWork { key, asked, model, is_read: subscription.ends_at_live })
        })
        .collect()
    }

    /// The numbers of the oldest hold that still stands, and of the last one.
    pub(crate) fn holds(&self) -> (Option<u64>, u64) {
        let state = self.state.lock();
        let held = state.subscriptions.iter().filter_map(|subscription| subscription.held.first());
        (held.min(), state.holds)
    }

    /// `read` said what a subscription may see: if that is what it has seen, it goes on where it was. Else it still waits, and
    /// `false` is returned.
    pub(crate) fn same_scope(&self, key: SubscriptionKey, shape: &Shape) -> bool {
        let mut state = self.state.lock();
        let Some(subscription) = state.find(key) else { return true };
        if subscription.source.shape() != shape {
            return false;
        }
        subscription.held.judging = None;
        drop(state);
        self.lifted();
        true
    }

    /// `read` said that a subscription may see other rows: it begins anew. `None` if it has ended.
    pub(crate) fn other_scope(
        &self,
        key: SubscriptionKey,
        source: &Arc<Source>,
        position: (Places, Seq),
    ) -> Option<Restarted> {
        let mut state = self.state.lock();
        let restarted = state.restart(key, source, position, "scope")?;
        state.find(key)?.held.judging = None;
        drop(state);
        self.room_made.notify_waiters();
        self.lifted();
        Some(restarted)
    }

    fn lifted(&self) {
        self.frames_ready.notify_one();
        self.work_ready.notify_one();
        // It may have been stopped again meanwhile.
        self.rescope_ready.notify_one();
    }
}

impl State {
    /// Whether it was told meanwhile to be judged again.
    pub(super) fn end_of_beginning(&mut self, key: SubscriptionKey) -> (Held, Option<Depends>) {
        let at = self.begun.iter().position(|begun| begun.key == key);
        let begun = at.map(|at| self.begun.swap_remove(at));
        if self.begun.is_empty() {
            // For a connection that is idle from now on.
            self.begun = Vec::new();
        }
        begun.map(|begun| (begun.held, begun.depends)).unwrap_or_default()
    }

    /// Up to where the connection may go when the hub is at `head`: all that is live goes together.
    pub(super) fn reach(&self, head: Seq) -> Seq {
        let live = self.subscriptions.iter().filter(|subscription| matches!(subscription.phase, Phase::Live));
        let stop = live.filter_map(|subscription| subscription.held.before()).min();
        stop.map_or(head, |before| head.min(before.saturating_sub(1).max(self.delivered)))
    }
}

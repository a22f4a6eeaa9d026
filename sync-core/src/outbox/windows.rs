//! Subscriptions to windows: their rows are asked of the hub, which keeps them.

use std::sync::Arc;

use super::{Asked, Begun, LoadKey, Outbox, Phase, Position, Subscription};
use crate::{
    hub::{Places, Query, Source},
    store::Seq,
};

/// A window whose rows the loader is to ask the hub for.
#[derive(Debug)]
pub(crate) struct WindowWork {
    pub(crate) load: LoadKey,
    pub(crate) asked: Asked,
    pub(crate) source: Arc<Source>,
    /// They could not be read.
    pub(crate) has_failed: bool,
}

impl Outbox {
    /// Adds a subscription to a window, whose rows will be asked for.
    pub(crate) fn watch(&self, begun: Begun<'_>, asked: Asked, source: Arc<Source>) {
        self.add(begun, asked, source, Phase::Asking, Position::Log(0), false);
        self.work_ready.notify_one();
    }

    /// A window whose rows are to be asked for: then [`window_loaded`](Self::window_loaded), or [`window_ready`](Self::window_ready) says
    /// when to ask again.
    pub(crate) fn window_work(&self) -> Option<WindowWork> {
        let mut state = self.state.lock();
        let is_asking =
            |subscription: &&mut Subscription| matches!(subscription.phase, Phase::Asking | Phase::Failed);
        let subscription = state.subscriptions.iter_mut().find(is_asking)?;
        let has_failed = matches!(subscription.phase, Phase::Failed);
        subscription.phase = Phase::Waiting;
        Some(WindowWork {
            load: LoadKey { key: subscription.key, load: subscription.load },
            asked: subscription.asked.clone(),
            source: subscription.source.clone(),
            has_failed,
        })
    }

    /// The rows of a window, as of `seq`, are in line; what comes after the places is new. It becomes live as with
    /// [`loaded`](Self::loaded).
    pub(crate) fn window_loaded(&self, load: LoadKey, places: Places, seq: Seq) {
        let mut state = self.state.lock();
        if let Some(subscription) = state.loading(load) {
            subscription.phase = Phase::Joining { at_least: seq };
            subscription.position = Position::Tail(places, seq);
        }
        drop(state);
        self.frames_ready.notify_one();
    }

    /// The rows of a window are there.
    pub(crate) fn window_ready(&self, query: &Arc<Query>) {
        self.waited(query, || Phase::Asking);
    }

    /// The rows of a window could not be read.
    pub(crate) fn window_failed(&self, query: &Arc<Query>) {
        self.waited(query, || Phase::Failed);
    }

    fn waited(&self, query: &Arc<Query>, phase: fn() -> Phase) {
        for subscription in &mut self.state.lock().subscriptions {
            if matches!(subscription.phase, Phase::Waiting) && subscription.source.has(query) {
                subscription.phase = phase();
            }
        }
        self.work_ready.notify_one();
    }

    /// What was sent of a window is not continued: it begins anew.
    pub(crate) fn reset_window(&self, query: &Arc<Query>) {
        let lapsed = self.state.lock().lapse(|subscription, _| subscription.source.has(query));
        if lapsed {
            self.frames_ready.notify_one();
            self.work_ready.notify_one();
        }
    }
}

//! What windows lack: read from the store while changes go on.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    Dirty, Hub, Places, Query, Source,
    window::{ReadRows, present},
};
use crate::{
    model::{Place, filter::Expr, order::OrderList},
    outbox::Outbox,
    protocol::response::WireRow,
    store::Seq,
};

/// Rows that a window lacks.
#[derive(Clone, Debug)]
pub(crate) struct Refill {
    query: Arc<Query>,
    /// Of the reading.
    number: u64,
    pub(crate) after: Option<Place>,
    pub(crate) rows: usize,
}

impl Refill {
    pub(crate) fn model(&self) -> &'static str {
        self.query.model
    }

    pub(crate) fn filter(&self) -> &Expr {
        &self.query.shape.filter
    }

    pub(crate) fn order(&self) -> OrderList {
        self.query.shape.first.as_ref().map(|first| first.order.clone()).unwrap_or_default()
    }
}

/// What is to be read, and what could not be.
#[derive(Debug, Default)]
pub(super) struct Refills {
    wanted: Mutex<Vec<Refill>>,
    failed: Mutex<Vec<Refill>>,
    ready: Notify,
    /// Windows whose rows are ahead of what is published.
    ahead: Mutex<Vec<Arc<Query>>>,
    ahead_count: AtomicUsize,
}

#[cfg(test)]
impl Refills {
    /// Whether a window lacks rows of which nobody has been told yet.
    pub(super) fn are_wanted(&self) -> bool {
        [&self.wanted, &self.failed].iter().any(|refills| !refills.lock().is_empty())
            || !self.ahead.lock().is_empty()
    }
}

/// The rows of a window.
#[derive(Debug)]
pub(crate) enum Snapshot {
    /// All of them, as of `seq`; what comes after the places is new.
    Rows { rows: Vec<WireRow>, places: Places, seq: Seq },
    /// They are being read: [`Outbox::window_ready`] says when they are there.
    Later,
    /// There is too much of them.
    TooLarge,
}

impl Hub {
    /// Waits for rows that a window lacks.
    pub(crate) async fn refill(&self) -> Refill {
        loop {
            if let Some(refill) = self.wanted() {
                return refill;
            }
            self.refills.ready.notified().await;
        }
    }

    /// Rows that a window lacks, if one does.
    pub(super) fn wanted(&self) -> Option<Refill> {
        self.refills.wanted.lock().pop()
    }

    /// The rows were read.
    pub(crate) fn refilled(&self, refill: &Refill, rows: ReadRows) {
        let mut dirty = Dirty::default();
        {
            let _publishing = self.queries.lock();
            let Some(window) = &refill.query.window else { return };
            let head = self.head();
            let (difference, is_ahead) = {
                let mut window = window.lock();
                let difference = window.read(refill.number, rows, head);
                (difference, window.waits_for().is_some())
            };
            if let Some(difference) = difference {
                dirty.tell(&refill.query, head, &difference);
            }
            if is_ahead {
                let mut ahead = self.refills.ahead.lock();
                ahead.push(refill.query.clone());
                self.refills.ahead_count.store(ahead.len(), Ordering::Relaxed);
            }
            dirty.windows.push(refill.query.clone());
            self.want(&mut dirty);
        }
        dirty.wake();
    }

    /// The rows could not be read now: they are asked for again by [`retry_refills`](Self::retry_refills).
    pub(crate) fn refill_failed(&self, refill: Refill) {
        let waiting = {
            let _publishing = self.queries.lock();
            let Some(window) = &refill.query.window else { return };
            present(&mut window.lock().waiting)
        };
        for outbox in waiting {
            outbox.window_failed(&refill.query);
        }
        self.refills.failed.lock().push(refill);
    }

    /// Asks again for what could not be read; to be called now and then.
    pub(crate) fn retry_refills(&self) {
        let failed = std::mem::take(&mut *self.refills.failed.lock());
        if !failed.is_empty() {
            self.refills.wanted.lock().extend(failed);
            self.refills.ready.notify_one();
        }
    }

    /// The rows of a window, for who has joined it.
    pub(crate) fn snapshot(&self, source: &Source, outbox: &Arc<Outbox>) -> Snapshot {
        let mut dirty = Dirty::default();
        let snapshot = {
            let _publishing = self.queries.lock();
            let [query] = source.legs.as_slice() else { return Snapshot::TooLarge };
            let Some(window) = &query.window else { return Snapshot::TooLarge };
            let mut state = window.lock();
            if state.is_over() {
                return Snapshot::TooLarge;
            }
            if let Some(rows) = state.shown() {
                let rows = rows.iter().map(|row| WireRow { row: row.wire.clone(), seq: row.seq }).collect();
                return Snapshot::Rows { rows, places: source.ends(), seq: self.head() };
            }
            state.waiting.push(Arc::downgrade(outbox));
            drop(state);
            dirty.windows.push(query.clone());
            self.want(&mut dirty);
            Snapshot::Later
        };
        dirty.wake();
        snapshot
    }

    /// At `head`: takes in the rows that were read ahead of it. Under the lock of the queries.
    pub(super) fn arrive(&self, head: Seq, dirty: &mut Dirty) {
        if self.refills.ahead_count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut ahead = self.refills.ahead.lock();
        ahead.retain(|query| {
            let Some(window) = &query.window else { return false };
            let mut window = window.lock();
            let Some(seq) = window.waits_for() else { return false };
            if seq > head {
                return true;
            }
            let difference = window.arrive(head);
            drop(window);
            if let Some(difference) = difference {
                dirty.tell(query, head, &difference);
            }
            dirty.windows.push(query.clone());
            false
        });
        self.refills.ahead_count.store(ahead.len(), Ordering::Relaxed);
    }

    /// Asks for what the windows that have changed lack, and notes who need not wait for them any more. Under the lock of the queries.
    pub(super) fn want(&self, dirty: &mut Dirty) {
        let windows = std::mem::take(&mut dirty.windows);
        for query in windows {
            let Some(window) = &query.window else { continue };
            let mut window = window.lock();
            if let Some((number, after, rows)) = window.wanted() {
                let after = after.or_else(|| query.shape.start());
                self.refills.wanted.lock().push(Refill { query: query.clone(), number, after, rows });
                self.refills.ready.notify_one();
            }
            if window.is_over() {
                dirty.over.push(query.clone());
            }
            if window.is_over() || window.shown().is_some() {
                let waiting = present(&mut window.waiting);
                if !waiting.is_empty() {
                    dirty.ready.push((query.clone(), waiting));
                }
            }
        }
    }
}

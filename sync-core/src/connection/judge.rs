//! Asking `read` again: what subscriptions may see that were stopped for that.

use std::{collections::VecDeque, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};

use super::{
    Connection,
    load::{Pages, Queue, subject},
};
use crate::{
    Result,
    engine::Selection,
    outbox::{DisconnectReason, RescopeWork},
    registry::Model,
};

/// How long a subscription may wait for `read`: nothing flows to it meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

type Judged<'a> = (RescopeWork, Result<(&'a Model, Selection)>);

impl Connection {
    /// Judges subscriptions again, as long as the connection lasts; returns when one was not judged in time.
    pub(super) async fn judge<'a>(&'a self, pages: &Queue<'a>) -> DisconnectReason {
        let mut asked = FuturesUnordered::new();
        let mut deadlines = Deadlines::default();
        loop {
            let (first, last) = self.outbox.holds();
            deadlines.stand(first, last, Instant::now());
            asked.extend(self.outbox.rescope_work().into_iter().map(|work| Box::pin(self.ask(work))));
            let deadline = deadlines.first();
            tokio::select! {
                biased;
                Some(judged) = asked.next() => self.judged(judged, pages),
                () = self.outbox.rescope_woken() => {}
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    return DisconnectReason::Unjudged;
                }
            }
        }
    }

    async fn ask(&self, work: RescopeWork) -> Judged<'_> {
        let selected = self.may_see(work.model, &work.asked.rows).await;
        (work, selected)
    }

    fn judged<'a>(&'a self, (work, selected): Judged<'a>, pages: &Queue<'a>) {
        match selected {
            Ok((model, mut selection)) => {
                // First, so that it stays stopped where that has changed again.
                self.engine.depend(&self.outbox, work.key, &mut selection.dependencies);
                let shape = selection.joined(work.is_read);
                if self.outbox.same_scope(work.key, &shape) {
                    return;
                }
                let hub = self.engine.hub();
                let (source, places, head) = hub.join(model, shape, &self.outbox);
                let Some(restarted) = self.outbox.other_scope(work.key, &source, (places, head)) else {
                    return hub.leave(&source, &self.outbox);
                };
                hub.leave(&restarted.left, &self.outbox);
                if !source.is_window() {
                    pages.lock().push_back(Pages::anew(restarted, model, selection, source, head));
                }
                // `load` waits for it as it does for the log.
                self.outbox.work_nudge();
            }
            Err(error) => {
                self.unsubscribe(work.key);
                self.refuse(&subject(&work.asked, work.model), &error);
            }
        }
    }
}

/// Until when holds must be lifted, by their numbers.
#[derive(Debug, Default)]
struct Deadlines {
    waiting: VecDeque<(u64, Instant)>,
    last: u64,
}

impl Deadlines {
    /// At this time the `first` of all holds up to the `last` still stands.
    fn stand(&mut self, first: Option<u64>, last: u64, now: Instant) {
        if last > self.last {
            self.last = last;
            self.waiting.push_back((last, now + PATIENCE));
        }
        while self.waiting.front().is_some_and(|(number, _)| first.is_none_or(|first| *number < first)) {
            self.waiting.pop_front();
        }
    }

    fn first(&self) -> Option<Instant> {
        self.waiting.front().map(|(_, deadline)| *deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hold_has_its_own_deadline() {
        let (mut deadlines, start) = (Deadlines::default(), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        deadlines.stand(None, 0, after(0));
        assert_eq!(deadlines.first(), None);
        deadlines.stand(Some(1), 1, after(0));
        deadlines.stand(Some(1), 3, after(400));
        assert_eq!(deadlines.first(), Some(after(1000)), "the first still stands");
        deadlines.stand(Some(3), 3, after(900));
        assert_eq!(deadlines.first(), Some(after(1400)));
        deadlines.stand(Some(4), 4, after(1300));
        assert_eq!(deadlines.first(), Some(after(2300)));
        deadlines.stand(None, 4, after(2000));
        assert_eq!(deadlines.first(), None);
    }
}

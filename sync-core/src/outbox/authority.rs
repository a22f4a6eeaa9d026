//! What was put in line under a session that is over: it leaves soon, or not at all.

use std::pin::pin;

use bytes::Bytes;

use super::{Outbox, State};
use crate::store::Seq;

/// Sessions of one connection, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Era(u64);

impl Outbox {
    /// A session is over. What is put in line from now on is of the next one, provided that [`answer_if`](Self::answer_if) and
    /// [`outcome_if`](Self::outcome_if) are told so.
    pub(crate) fn end_authority(&self) -> Era {
        let mut state = self.state.lock();
        state.era.0 += 1;
        state.era
    }

    /// Puts something that was read in line, if its session is not over. Whether it was.
    pub(crate) fn answer_if(&self, message: Bytes, counts: impl FnOnce() -> bool) -> bool {
        let mut state = self.state.lock();
        // Under the lock: a session that ends after this look is one that `end_authority` finds this in line of.
        if !counts() {
            return false;
        }
        state.answer(message, None, 0, false);
        drop(state);
        self.frames_ready.notify_one();
        true
    }

    /// As [`outcome`](Self::outcome), if its session is not over. Whether it was put in line.
    pub(crate) fn outcome_if(&self, message: Bytes, seq: Seq, counts: impl FnOnce() -> bool) -> bool {
        let mut state = self.state.lock();
        if !counts() {
            return false;
        }
        state.outcome(message, seq);
        drop(state);
        self.frames_ready.notify_one();
        true
    }

    /// Everything that was taken out as frames has been sent.
    pub(crate) fn written(&self) {
        self.state.lock().writing = None;
        self.sent.notify_waiters();
    }

    /// Waits until nothing is in line, or being sent, that was put there before `era` and is not a subscription's, which is judged anew.
    pub(crate) async fn sent_before(&self, era: Era) {
        loop {
            let mut sent = pin!(self.sent.notified());
            // Enabled before the look, so that nothing that is sent in between is missed.
            sent.as_mut().enable();
            if !self.state.lock().has_before(era) {
                return;
            }
            sent.await;
        }
    }
}

impl State {
    /// The era of the oldest that is in line; the present one if nothing is.
    pub(super) fn oldest(&self) -> Era {
        let answer = self.answers.front().map(|answer| answer.era);
        let outcome = self.outcomes.front().map(|outcome| outcome.era);
        answer.into_iter().chain(outcome).fold(self.era, Era::min)
    }

    fn has_before(&self, era: Era) -> bool {
        self.writing.is_some_and(|writing| writing < era)
            || self.answers.iter().any(|answer| answer.of.is_none() && answer.era < era)
            || self.outcomes.iter().any(|outcome| outcome.era < era)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use uuid::Uuid;

    use super::*;
    use crate::{hub::Hub, outbox::DisconnectReason};

    #[test]
    fn what_was_put_in_line_before_leaves_first() {
        let (outbox, hub) = (std::sync::Arc::new(Outbox::new(1 << 20, Uuid::nil(), 0)), Hub::new(0, 1 << 20));
        let is_sent = |era| outbox.sent_before(era).now_or_never().is_some();
        let first = outbox.end_authority();
        assert!(is_sent(first), "there is nothing");
        for put in
            [|outbox: &Outbox| outbox.answer("{}".into()), |outbox: &Outbox| outbox.outcome("{}".into(), 0)]
        {
            put(&outbox);
            let era = outbox.end_authority();
            assert!(outbox.answer_if("{}".into(), || true) && outbox.outcome_if("{}".into(), 0, || true));
            assert!(!is_sent(era), "it is in line");
            assert!(!outbox.frames(&hub, hub.head(), false).is_empty());
            assert!(!is_sent(era), "it is being sent");
            outbox.written();
            assert!(is_sent(era));
        }
        // What comes later does not count.
        let era = outbox.end_authority();
        outbox.answer("{}".into());
        assert!(is_sent(era));
        assert!(!outbox.frames(&hub, hub.head(), false).is_empty());
        assert!(is_sent(era));
    }

    #[test]
    fn nothing_is_put_in_line_for_a_session_that_is_over() {
        let (outbox, hub) = (std::sync::Arc::new(Outbox::new(1 << 20, Uuid::nil(), 0)), Hub::new(0, 1 << 20));
        assert!(!outbox.answer_if("{}".into(), || false));
        assert!(!outbox.outcome_if("{}".into(), 0, || false));
        assert!(outbox.frames(&hub, hub.head(), false).is_empty());
    }

    #[test]
    fn a_session_that_is_over_takes_what_waits_with_it() {
        let hub = Hub::new(0, 1 << 20);
        for (reason, frames) in [
            (DisconnectReason::Expired, 0),
            (DisconnectReason::Revoked, 0),
            (DisconnectReason::Replaced, 1),
            (DisconnectReason::Shutdown, 1),
        ] {
            let outbox = std::sync::Arc::new(Outbox::new(1 << 20, Uuid::nil(), 0));
            outbox.answer("{}".into());
            outbox.outcome("{}".into(), 0);
            outbox.close(reason);
            assert_eq!(outbox.frames(&hub, hub.head(), true).len(), frames, "{reason:?}");
        }
    }
}

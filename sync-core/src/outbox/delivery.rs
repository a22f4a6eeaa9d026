//! What leaves for a connection: changes, then answers, then what has become live, then outcomes.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;
use uuid::Uuid;

use super::{
    Asked, Cursor, DisconnectReason, FRAME_BYTES, LoadKey, Outbox, Phase, Position, State,
    frames::{Frames, Parts},
};
use crate::{
    hub::{Hub, Place, Source, TailEntry},
    protocol::response,
    store::Seq,
};

impl Outbox {
    /// Everything that can be sent now, as frames; then [`written`](Self::written) is to be called. They have the changes up to `head`, where the hub's is or was, then the answers, which are thereby never ahead
    /// of the changes that they confirm. `progress` adds word of how far the live subscriptions are.
    pub(crate) fn frames(self: &Arc<Self>, hub: &Hub, head: Seq, progress: bool) -> Vec<Bytes> {
        let mut frames = Frames::default();
        let mut left = Vec::new();
        let made_room;
        {
            let mut state = self.state.lock();
            if state.closing.is_some_and(DisconnectReason::is_at_once) {
                return Vec::new();
            }
            state.writing = Some(state.oldest());
            // One head for the changes and the outcomes: those up to it were in line before it was set.
            let head = state.reach(head);
            // After the head: what is marked later is beyond it.
            state.marked.append(&mut self.marked.lock());
            made_room = state.answer_bytes + state.outcome_bytes >= self.limit;
            for word in state.subscriptions.iter_mut().filter_map(|subscription| subscription.word.take()) {
                frames.push(word, true);
            }
            state.deliver(head, &mut frames);
            if state.subscriptions.iter().all(|subscription| matches!(subscription.phase, Phase::Live)) {
                state.waiting_bytes = 0;
            }
            state.answers(head, &mut frames, &mut left);
            state.go_live(head, self.epoch, &mut frames, &mut left);
            let delivered = state.progress();
            while let Some(outcome) = state.outcomes.pop_front_if(|outcome| outcome.seq <= delivered) {
                state.outcome_bytes -= outcome.message.len();
                frames.push(outcome.message, true);
            }
            if progress {
                frames.push(response::progress(state.progress()), true);
            }
        }
        for source in left {
            hub.leave(&source, self);
        }
        if made_room {
            self.room_made.notify_waiters();
        }
        frames.end()
    }
}

impl State {
    /// Puts what was read and may leave into frames; those that end with it are `left`.
    fn answers(&mut self, head: Seq, frames: &mut Frames, left: &mut Vec<Arc<Source>>) {
        let held = self.subscriptions.iter().filter(|subscription| subscription.held.before().is_some());
        let mut held: SmallVec<[_; 4]> = held.map(|subscription| subscription.key).collect();
        for answer in std::mem::take(&mut self.answers) {
            if answer.seq > head || answer.of.is_some_and(|load| held.contains(&load.key)) {
                // What was read for it later stays behind it.
                held.extend(answer.of.map(|load| load.key));
                self.answers.push_back(answer);
                continue;
            }
            self.answer_bytes -= answer.message.len();
            frames.push(answer.message, true);
            if answer.is_last
                && let Some(LoadKey { key, .. }) = answer.of
                && let Some(at) = self.subscriptions.iter().position(|subscription| subscription.key == key)
            {
                let source = self.subscriptions.swap_remove(at).source;
                self.unlist(key, &source);
                left.push(source);
            }
        }
    }

    /// Up to where every subscription that is live, or was until it fell behind, has had the changes.
    fn progress(&self) -> Seq {
        let behind = self.subscriptions.iter().filter(|subscription| subscription.was_live);
        let had = behind.filter_map(|subscription| match (&subscription.phase, &subscription.position) {
            (Phase::Live, _) => None,
            (_, Position::Tail(_, seq) | Position::Log(seq)) => Some(*seq),
        });
        had.fold(self.delivered, Seq::min)
    }

    /// The changes of the live subscriptions up to `head`, each once, by seq.
    fn deliver(&mut self, head: Seq, frames: &mut Frames) {
        let mut changes = Vec::new();
        let mut marked = std::mem::take(&mut self.marked);
        marked.sort_unstable();
        marked.dedup();
        marked.retain(|number| {
            let mut is_left = false;
            for (key, leg) in self.queries.get(number).into_iter().flatten() {
                let mut subscriptions = self.subscriptions.iter_mut();
                let Some(subscription) = subscriptions.find(|subscription| subscription.key == *key) else {
                    continue;
                };
                match (&subscription.phase, &mut subscription.position) {
                    (Phase::Live, Position::Tail(places, after)) => {
                        let Some(place) = places.get_mut(*leg) else { continue };
                        take(place, *after, head, (&subscription.source, &subscription.asked), &mut changes);
                        is_left |= place.has_next();
                    }
                    // It takes what there is when it goes live, and may leave some.
                    _ => is_left = true,
                }
            }
            is_left
        });
        self.marked = marked;
        merge(&mut changes);
        let mut previous = None;
        for change in changes {
            frames.push(change.message, previous != Some(change.seq) || change.is_more);
            previous = Some(change.seq);
        }
        self.delivered = head;
    }

    /// Subscriptions whose rows and changes are all in line become live; reads of all rows end, and their sources are `left`.
    fn go_live(&mut self, head: Seq, epoch: Uuid, frames: &mut Frames, left: &mut Vec<Arc<Source>>) {
        let mut ended = Vec::new();
        self.subscriptions.retain_mut(|subscription| {
            let Phase::Joining { at_least } = subscription.phase else { return true };
            if subscription.held.before().is_some() {
                return true;
            }
            let Position::Tail(places, after) = &mut subscription.position else { return true };
            if head < at_least {
                return true;
            }
            let (source, asked) = (&subscription.source, &subscription.asked);
            let (model, id) = (source.model(), asked.id.as_ref());
            let mut changes = Vec::new();
            for place in places {
                take(place, *after, head, (source, asked), &mut changes);
            }
            merge(&mut changes);
            if source.is_window() {
                // Its rows are those of `after`.
                frames.push(response::live(model, id, *after, None), true);
                for change in changes {
                    frames.push(change.message, true);
                }
            } else {
                let mut part = Vec::new();
                let mut bytes = 0;
                for of_one in changes.chunk_by(|a, b| a.seq == b.seq) {
                    bytes += of_one.iter().map(|change| change.message.head.len()).sum::<usize>();
                    part.extend(of_one.iter().map(|change| change.message.head.clone()));
                    if bytes > FRAME_BYTES / 2
                        && let Some(last) = of_one.last()
                    {
                        frames.push(response::changes(id, last.seq, &std::mem::take(&mut part)), true);
                        bytes = 0;
                    }
                }
                if !part.is_empty() {
                    frames.push(response::changes(id, head, &part), true);
                }
                if subscription.ends_at_live {
                    frames.push(response::page(model, id, &[], head, false), true);
                    ended.push((subscription.key, source.clone()));
                    return false;
                }
                let cursor = Cursor { epoch, seq: head, hash: source.hash() };
                frames.push(response::live(model, id, head, Some(&cursor.to_string())), true);
            }
            subscription.phase = Phase::Live;
            subscription.was_live = true;
            *after = head;
            true
        });
        for (key, source) in ended {
            self.unlist(key, &source);
            left.push(source);
        }
    }
}

/// A message out of a tail.
#[derive(Debug)]
struct Taken {
    seq: Seq,
    index: Option<usize>,
    is_more: bool,
    is_removal: bool,
    message: Parts,
}

/// Takes what stands after the place, up to `head`.
fn take(
    place: &mut Place,
    after: Seq,
    head: Seq,
    (source, asked): (&Source, &Asked),
    taken: &mut Vec<Taken>,
) {
    while let Some((seq, entries)) = place.advance(head) {
        for entry in entries {
            let message = if entry.index.is_none() {
                // Its place alone says what is new to a window: it may be filled up at the seq that it has come to.
                Parts { head: response::window(source.model(), asked.id.as_ref()), rest: entry.message }
            } else if seq > after {
                entry.message.into()
            } else {
                continue;
            };
            let TailEntry { index, is_more, is_removal, .. } = entry;
            taken.push(Taken { seq, index, is_more, is_removal, message });
        }
    }
}

/// In their order, and of one change in several queries only the row if any of them shows it.
fn merge(taken: &mut Vec<Taken>) {
    if taken.len() < 2 {
        return;
    }
    // What windows hear comes after the changes of its transaction, each for itself.
    taken.sort_by_key(|taken| (taken.seq, taken.index.is_none(), taken.index, taken.is_removal));
    taken.dedup_by(|b, a| a.seq == b.seq && a.index == b.index && a.index.is_some());
}

//! Loading: single reads, snapshots in pages, and catching up from the log, when the outbox has room.

use std::{collections::VecDeque, sync::Arc, time::SystemTime};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::Connection;
use crate::{
    Error, ErrorCode, Result,
    engine::Selection,
    hub::{Snapshot, Source},
    model::{Key, Place},
    outbox::{Asked, FRAME_BYTES, LoadKey, LogWork, Restarted, WindowWork},
    protocol::{
        Query, RequestId, Rows, Subject,
        response::{self, WireRow},
    },
    registry::Model,
    store::Seq,
};

/// What `load` is asked.
pub(super) enum Load {
    Subscribe(Query, Subject),
    Unsubscribe(RequestId),
    Read { model: Box<str>, key: Key, subject: Subject },
    ReadAll { model: Box<str>, rows: Arc<Rows>, subject: Subject },
}

/// What is to be read, in turn.
pub(super) type Queue<'a> = Mutex<VecDeque<Box<Pages<'a>>>>;

/// Pages that are to be read.
pub(super) struct Pages<'a> {
    load: LoadKey,
    subject: Subject,
    model: &'a Model,
    selection: Selection,
    source: Arc<Source>,
    ends_at_live: bool,
    after: Option<Place>,
    is_first: bool,
    /// The newest seq at which a page was read.
    newest: Seq,
}

impl<'a> Pages<'a> {
    /// Those of a subscription that began anew, with the changes after `head`.
    pub(super) fn anew(
        restarted: Restarted,
        model: &'a Model,
        selection: Selection,
        source: Arc<Source>,
        head: Seq,
    ) -> Box<Self> {
        let Restarted { load, asked, ends_at_live, .. } = restarted;
        let subject = subject(&asked, model.name());
        Self::new(load, subject, model, (selection, source), ends_at_live, head)
    }

    fn new(
        load: LoadKey,
        subject: Subject,
        model: &'a Model,
        (selection, source): (Selection, Arc<Source>),
        ends_at_live: bool,
        newest: Seq,
    ) -> Box<Self> {
        let after = selection.start.clone();
        let is_first = true;
        Box::new(Self { load, subject, model, selection, source, ends_at_live, after, is_first, newest })
    }
}

/// Whom an error is about that comes later than the answer to the request.
pub(super) fn subject(asked: &Asked, model: &str) -> Subject {
    Subject { method: Some("subscribe"), id: asked.id.clone(), model: Some(model.into()), cid: None }
}

impl Connection {
    /// Answers reads and subscribes, a page at a time, as long as the connection lasts.
    pub(super) async fn load<'a>(&'a self, mut loads: mpsc::Receiver<Box<Load>>, pages: &Queue<'a>) {
        let next = || pages.lock().pop_front();
        loop {
            self.outbox.room_to_load().await;
            // New requests first, so that one long snapshot does not hold up a short read.
            if let Ok(load) = loads.try_recv() {
                Box::pin(self.begin(*load, pages)).await;
            } else if let Some(next) = next() {
                if let Some(next) = Box::pin(self.load_page(next)).await {
                    pages.lock().push_back(next);
                }
            } else if let Some(work) = self.outbox.log_work() {
                Box::pin(self.catch_up(work, pages)).await;
            } else if let Some(work) = self.outbox.window_work() {
                self.window(&work);
            } else {
                tokio::select! {
                    biased;
                    load = loads.recv() => match load {
                        Some(load) => Box::pin(self.begin(*load, pages)).await,
                        None => return std::future::pending().await,
                    },
                    () = self.outbox.work_woken() => {}
                }
            }
        }
    }

    async fn begin<'a>(&'a self, load: Load, pages: &Queue<'a>) {
        let outcome = match load {
            Load::Unsubscribe(id) => {
                match self.outbox.key_of(&id) {
                    Some(key) => self.unsubscribe(key),
                    None => tracing::debug!("unsubscribe of no subscription"),
                }
                return;
            }
            Load::Subscribe(query, subject) => {
                self.subscribe(&query, &subject).await.map_err(|error| (subject, error))
            }
            Load::Read { model, key, subject } => loop {
                let caller = self.caller().await;
                let read = self.engine.read_one(&model, &key, &caller, SystemTime::now()).await;
                if self.answer_row(&caller, &subject, read) {
                    return;
                }
            },
            Load::ReadAll { model, rows, subject } => {
                self.read_all(&model, rows, &subject).await.map_err(|error| (subject, error))
            }
        };
        match outcome {
            Ok(next) => pages.lock().extend(next),
            Err((subject, error)) => self.refuse(&subject, &error),
        }
    }

    async fn subscribe<'a>(&'a self, query: &Query, subject: &Subject) -> Result<Option<Box<Pages<'a>>>> {
        if self.outbox.key_of(&query.id).is_some() {
            return Err(Error::new(
                ErrorCode::SubscriptionExists,
                "there is an open subscription with this id",
            ));
        }
        let begun = self.outbox.begin();
        let (model, mut selection) = self.select(&query.model, &query.rows).await?;
        self.engine.depend(&self.outbox, begun.key(), &mut selection.dependencies);
        let asked =
            Asked { id: Some(query.id.clone()), rows: query.rows.clone(), page_rows: selection.page_rows };
        let engine = &self.engine;
        let (joined, places, head) = engine.hub().join(model, selection.joined(false), &self.outbox);
        if joined.is_window() {
            if query.since.is_some() {
                self.outbox.answer(response::reset(Some(&query.id), "window"));
            }
            self.outbox.watch(begun, asked, joined);
            return Ok(None);
        }
        if let Some(cursor) = &query.since {
            match engine.resumable(cursor, query.since_seq, &joined) {
                Ok(seq) => {
                    self.outbox.resume(begun, asked, joined, seq);
                    return Ok(None);
                }
                Err(reason) => self.outbox.answer(response::reset(Some(&query.id), reason)),
            }
        }
        let load = self.outbox.subscribe(begun, asked, joined.clone(), (places, head));
        Ok(Some(Pages::new(load, subject.clone(), model, (selection, joined), false, head)))
    }

    async fn read_all<'a>(
        &'a self,
        model: &str,
        rows: Arc<Rows>,
        subject: &Subject,
    ) -> Result<Option<Box<Pages<'a>>>> {
        let begun = self.outbox.begin();
        let (model, mut selection) = self.select(model, &rows).await?;
        self.engine.depend(&self.outbox, begun.key(), &mut selection.dependencies);
        let (joined, places, head) = self.engine.hub().join(model, selection.joined(true), &self.outbox);
        // What changes between the pages follows before the end.
        let asked = Asked { id: subject.id.clone(), rows, page_rows: selection.page_rows };
        let load = self.outbox.read_once(begun, asked, joined.clone(), (places, head));
        Ok(Some(Pages::new(load, subject.clone(), model, (selection, joined), true, head)))
    }

    async fn select(&self, model: &str, rows: &Rows) -> Result<(&Model, Selection)> {
        let limit = self.engine.limits().subscriptions;
        if self.outbox.subscriptions() >= limit {
            return Err(Error::limit(
                "subscriptions",
                format!("a connection has at most {limit} subscriptions"),
            ));
        }
        self.may_see(model, rows).await
    }

    /// What the session may see of a model and asks for.
    pub(super) async fn may_see(&self, model: &str, rows: &Rows) -> Result<(&Model, Selection)> {
        loop {
            let caller = self.caller().await;
            let selected = self.engine.select(model, rows, &caller, SystemTime::now()).await;
            // What was found out for a session that is over holds no more, nor does why it was not.
            if !caller.has_ended() {
                return selected;
            }
        }
    }

    /// Reads one page; what is left to read, if anything.
    async fn load_page<'a>(&self, mut pages: Box<Pages<'a>>) -> Option<Box<Pages<'a>>> {
        if !self.outbox.is_loading(pages.load) {
            return None;
        }
        let is_first = std::mem::take(&mut pages.is_first);
        let wanted = (&*pages.source, pages.newest);
        let page = match self.engine.page(pages.model, &pages.selection, pages.after.take(), wanted).await {
            Ok(page) => page,
            Err(error) => {
                if self.outbox.is_loading(pages.load) {
                    self.unsubscribe(pages.load.key);
                    self.refuse(&pages.subject, &error);
                }
                return None;
            }
        };
        // Where it was read before, it is right up to now.
        pages.newest = pages.newest.max(page.seq);
        let seq = pages.newest;
        let (load, hub) = (pages.load, self.engine.hub());
        let message = |more| {
            let id = pages.subject.id.as_ref();
            response::page(pages.model.name(), id, &page.rows, seq, more)
        };
        let is_limited = pages.selection.shape.first.is_some();
        if page.next.is_some() && !is_limited {
            // A page that has found nothing yet says nothing.
            if !page.rows.is_empty() {
                self.outbox.answer_to(load, message(true), seq);
            }
            hub.wake_at(seq, &self.outbox);
            pages.after.clone_from(&page.next);
            return Some(pages);
        }
        if pages.ends_at_live && is_first {
            // All of it at one seq, or as much as was asked for.
            self.outbox.last_answer_to(load, message(page.next.is_some()), seq);
        } else {
            // A read of all rows ends with a page of its own.
            self.outbox.answer_to(load, message(pages.ends_at_live), seq);
            self.outbox.loaded(load, seq);
        }
        hub.wake_at(seq, &self.outbox);
        None
    }

    /// Sends the rows of a window, if they are there.
    fn window(&self, work: &WindowWork) {
        let (load, model, hub) = (work.load, work.source.model(), self.engine.hub());
        let fail = |error: &Error| {
            if self.outbox.is_loading(load) {
                self.unsubscribe(load.key);
                self.refuse(&subject(&work.asked, model), error);
            }
        };
        if work.has_failed {
            return fail(&Error::unavailable("the store did not answer"));
        }
        let (rows, places, seq) = match hub.snapshot(&work.source, &self.outbox) {
            Snapshot::Rows { rows, places, seq } => (rows, places, seq),
            Snapshot::Later => return,
            Snapshot::TooLarge => {
                let most = self.engine.limits().window_bytes;
                return fail(&Error::limit(
                    "window_bytes",
                    format!("a window has at most {most} bytes of rows"),
                ));
            }
        };
        let mut left = rows.as_slice();
        loop {
            let mut bytes = 0;
            let fits = |row: &&WireRow| {
                bytes += row.row.len();
                bytes <= FRAME_BYTES / 2
            };
            let count =
                left.iter().take(work.asked.page_rows).take_while(fits).count().max(1).min(left.len());
            let (page, rest) = left.split_at(count);
            let id = work.asked.id.as_ref();
            self.outbox.answer_to(load, response::page(model, id, page, seq, !rest.is_empty()), seq);
            left = rest;
            if left.is_empty() {
                break;
            }
        }
        self.outbox.window_loaded(load, places, seq);
    }

    async fn catch_up<'a>(&'a self, work: LogWork, pages: &Queue<'a>) {
        let (load, asked, model) = (work.load, work.asked.clone(), work.source.model());
        let fail = |error: Error| {
            if !self.outbox.is_loading(load) {
                return;
            }
            self.unsubscribe(load.key);
            self.refuse(&subject(&asked, model), &error);
        };
        let work = match self.engine.catch_up_one(&self.outbox, work).await {
            Ok(None) => return,
            Ok(Some(work)) => work,
            Err(error) => return fail(error),
        };
        // The log does not reach back so far: all rows anew, and under the scope of now.
        match self.may_see(model, &asked.rows).await {
            Ok((model, mut selection)) => {
                self.engine.depend(&self.outbox, load.key, &mut selection.dependencies);
                let hub = self.engine.hub();
                let (source, places, head) = hub.join(model, selection.joined(work.is_read), &self.outbox);
                let Some(restarted) = self.outbox.restart(&work, &source, (places, head)) else {
                    return hub.leave(&source, &self.outbox);
                };
                hub.leave(&restarted.left, &self.outbox);
                if !source.is_window() {
                    pages.lock().push_back(Pages::anew(restarted, model, selection, source, head));
                }
            }
            Err(error) => fail(error),
        }
    }
}

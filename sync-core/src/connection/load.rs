//! Loading: single reads, snapshots in pages, and catching up from the log, when the outbox has room.

use std::{collections::VecDeque, sync::Arc, time::SystemTime};

use tokio::sync::mpsc;

use super::Connection;
use crate::{
    Error, ErrorCode, Result,
    engine::Selection,
    model::{Key, Place},
    outbox::{Asked, LogWork, SubscriptionKey},
    protocol::{Query, RequestId, Subject, response},
    registry::Model,
    store::Seq,
};

/// What `load` is asked.
pub(super) enum Load {
    Subscribe(Query, Subject),
    Unsubscribe(RequestId),
    Read { model: Box<str>, key: Key, subject: Subject },
    ReadAll { model: Box<str>, filter: Option<Arc<str>>, subject: Subject },
}

/// Pages that are to be read.
struct Pages<'a> {
    key: SubscriptionKey,
    subject: Subject,
    model: &'a Model,
    selection: Selection,
    ends_at_live: bool,
    after: Option<Place>,
    /// The newest seq at which a page was read.
    newest: Seq,
}

impl Connection {
    /// Answers reads and subscribes, a page at a time, as long as the connection lasts.
    pub(super) async fn load(&self, mut loads: mpsc::Receiver<Load>) {
        let mut pages: VecDeque<Pages<'_>> = VecDeque::new();
        loop {
            self.outbox.room_to_load().await;
            // New requests first, so that one long snapshot does not hold up a short read.
            if let Ok(load) = loads.try_recv() {
                self.begin(load, &mut pages).await;
            } else if let Some(next) = pages.pop_front() {
                if let Some(next) = self.load_page(next).await {
                    pages.push_back(next);
                }
            } else if let Some(work) = self.outbox.log_work() {
                self.catch_up(work, &mut pages).await;
            } else {
                tokio::select! {
                    load = loads.recv() => match load {
                        Some(load) => self.begin(load, &mut pages).await,
                        None => return std::future::pending().await,
                    },
                    () = self.outbox.work_woken() => {}
                }
            }
        }
    }

    async fn begin<'a>(&'a self, load: Load, pages: &mut VecDeque<Pages<'a>>) {
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
            Load::Read { model, key, subject } => {
                match self.engine.read_one(&model, &key, &self.caller(), SystemTime::now()).await {
                    Ok((model, key, row)) => {
                        self.answer_row(model, &subject, &key, &row);
                        Ok(None)
                    }
                    Err(error) => Err((subject, error)),
                }
            }
            Load::ReadAll { model, filter, subject } => {
                self.read_all(&model, filter, &subject).await.map_err(|error| (subject, error))
            }
        };
        match outcome {
            Ok(next) => pages.extend(next),
            Err((subject, error)) => self.refuse(&subject, &error),
        }
    }

    async fn subscribe<'a>(&'a self, query: &Query, subject: &Subject) -> Result<Option<Pages<'a>>> {
        if self.outbox.key_of(&query.id).is_some() {
            return Err(Error::new(
                ErrorCode::SubscriptionExists,
                "there is an open subscription with this id",
            ));
        }
        let (model, selection) = self.select(&query.model, query.filter.as_deref()).await?;
        let asked = Asked { id: Some(query.id.clone()), filter: query.filter.clone() };
        let engine = &self.engine;
        let (joined, place, head) = engine.hub().join(model, &selection.filter, &self.outbox);
        if let Some(cursor) = &query.since {
            match engine.resumable(cursor, query.since_seq, &joined) {
                Ok(seq) => {
                    self.outbox.resume(asked, joined, seq);
                    return Ok(None);
                }
                Err(reason) => self.outbox.answer(response::reset(Some(&query.id), reason)),
            }
        }
        let key = self.outbox.subscribe(asked, joined, (place, head));
        let subject = subject.clone();
        Ok(Some(Pages { key, subject, model, selection, ends_at_live: false, after: None, newest: head }))
    }

    async fn read_all<'a>(
        &'a self,
        model: &str,
        filter: Option<Arc<str>>,
        subject: &Subject,
    ) -> Result<Option<Pages<'a>>> {
        let (model, selection) = self.select(model, filter.as_deref()).await?;
        let hub = self.engine.hub();
        let (joined, place, head) = hub.join(model, &selection.filter, &self.outbox);
        let page = match self.engine.page(model, &selection, None).await {
            Ok(page) => page,
            Err(error) => {
                hub.leave(&joined, &self.outbox);
                return Err(error);
            }
        };
        let more = page.next.is_some();
        let message = response::page(model.name(), subject.id.as_ref(), &page.rows, page.seq, more);
        self.outbox.answer(message);
        if !more {
            // All of it at one seq.
            hub.leave(&joined, &self.outbox);
            return Ok(None);
        }
        // What changes between the pages follows before the end.
        let asked = Asked { id: subject.id.clone(), filter };
        let key = self.outbox.read_once(asked, joined, (place, head));
        let subject = subject.clone();
        Ok(Some(Pages {
            key,
            subject,
            model,
            selection,
            ends_at_live: true,
            after: page.next,
            newest: head.max(page.seq),
        }))
    }

    async fn select(&self, model: &str, filter: Option<&str>) -> Result<(&Model, Selection)> {
        let limit = self.engine.limits().subscriptions;
        if self.outbox.subscriptions() >= limit {
            return Err(Error::limit(
                "subscriptions",
                format!("a connection has at most {limit} subscriptions"),
            ));
        }
        self.engine.select(model, filter, &self.caller(), SystemTime::now()).await
    }

    /// Reads one page; what is left to read, if anything.
    async fn load_page<'a>(&self, mut pages: Pages<'a>) -> Option<Pages<'a>> {
        if !self.outbox.has(pages.key) {
            return None;
        }
        let page = match self.engine.page(pages.model, &pages.selection, pages.after.take()).await {
            Ok(page) => page,
            Err(error) => {
                self.unsubscribe(pages.key);
                self.refuse(&pages.subject, &error);
                return None;
            }
        };
        pages.newest = pages.newest.max(page.seq);
        // A read of all rows ends with a page of its own.
        let more = page.next.is_some() || pages.ends_at_live;
        let id = pages.subject.id.as_ref();
        // A page that found nothing yet says nothing.
        if !page.rows.is_empty() || page.next.is_none() {
            self.outbox.answer(response::page(pages.model.name(), id, &page.rows, page.seq, more));
        }
        if page.next.is_none() {
            self.outbox.loaded(pages.key, pages.newest);
            self.engine.hub().wake_at(pages.newest, &self.outbox);
            return None;
        }
        pages.after = page.next;
        Some(pages)
    }

    async fn catch_up<'a>(&'a self, work: LogWork, pages: &mut VecDeque<Pages<'a>>) {
        let (key, asked, model) = (work.key, work.asked.clone(), work.query.model());
        let subject =
            Subject { method: Some("subscribe"), id: asked.id, model: Some(model.into()), cid: None };
        match self.engine.catch_up_one(&self.outbox, work).await {
            Ok(None) => return,
            Ok(Some(_)) => {}
            Err(error) => {
                self.unsubscribe(key);
                self.refuse(&subject, &error);
                return;
            }
        }
        // The log does not reach back so far: all rows anew, and under the scope of now.
        match self.engine.select(model, asked.filter.as_deref(), &self.caller(), SystemTime::now()).await {
            Ok((model, selection)) => {
                let hub = self.engine.hub();
                let (query, place, head) = hub.join(model, &selection.filter, &self.outbox);
                let Some((old, ends_at_live)) = self.outbox.restart(key, query.clone(), (place, head)) else {
                    return hub.leave(&query, &self.outbox);
                };
                hub.leave(&old, &self.outbox);
                pages.push_back(Pages {
                    key,
                    subject,
                    model,
                    selection,
                    ends_at_live,
                    after: None,
                    newest: head,
                });
            }
            Err(error) => {
                self.unsubscribe(key);
                self.refuse(&subject, &error);
            }
        }
    }
}

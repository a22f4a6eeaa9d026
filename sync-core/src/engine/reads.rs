//! Reading: scopes, single rows, pages, and the log.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};

use super::{
    Engine, pipeline,
    scope::{Dependencies, Scoped},
    shared_pages::PageKey,
    unavailable,
};
use crate::{
    Error, Result,
    context::Caller,
    hub::{First, ReadRows, Refill, Shape, Source, WindowRow},
    model::{Key, Place, filter::Expr, order::OrderList},
    outbox::{FRAME_BYTES, LogWork, Outbox},
    protocol::{
        self, Rows,
        response::{self, WireRow},
    },
    registry::Model,
    sabotage::{self, Sabotage},
    store::{Select, Seq, StoredRow},
};

/// How many windows are read for at once.
const REFILLS: usize = 8;

/// Which rows of a model a request is about.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) shape: Shape,
    /// The order of the pages.
    pub(crate) order: OrderList,
    /// The place after which the first page begins.
    pub(crate) start: Option<Place>,
    /// At most so many rows a page.
    pub(crate) page_rows: usize,
    /// What `read` and `read_all` have looked up to say so.
    pub(crate) dependencies: Dependencies,
}

impl Selection {
    /// What is joined for it: a read of the first rows is no window.
    pub(crate) fn joined(&self, is_read: bool) -> Shape {
        if is_read { Shape::all(self.shape.filter.clone()) } else { self.shape.clone() }
    }
}

/// Rows that a client may see, and where to read on.
#[derive(Debug)]
pub(crate) struct WirePage {
    pub(crate) rows: Vec<WireRow>,
    pub(crate) seq: Seq,
    /// After which there is more.
    pub(crate) next: Option<Place>,
}

/// What the log had for a query.
#[derive(Debug)]
pub(crate) enum CaughtUp {
    /// Messages of the changes up to `seq`.
    To { seq: Seq, messages: Vec<Bytes> },
    /// The log does not reach back so far.
    Horizon,
}

impl Engine {
    /// The rows that a `subscribe`, or a `read` of many rows, is about: those that the client may see and asks for.
    pub(crate) async fn select(
        &self,
        model: &str,
        asked: &Rows,
        caller: &Caller,
        now: SystemTime,
    ) -> Result<(&Model, Selection)> {
        let model = self.model(model)?;
        let Scoped { filter: scope, mut dependencies } = self.scope(model, caller, now).await?;
        let mut parts = vec![scope];
        if let Some(filter) = &asked.filter {
            parts.push(protocol::filter::read(filter, model.name(), model.schema())?);
        }
        let order = asked.order.as_deref().map(|order| protocol::place::order(order, model));
        let mut order = order.transpose()?;
        let (mut limit, mut page_rows) = (asked.limit, self.limits.page_rows);
        if let Some((shaped, looked_up)) = self.shape(model, caller, now).await? {
            parts.push(shaped.filter);
            order = order.or(Some(shaped.order));
            limit = limit.into_iter().chain(shaped.limit).min();
            page_rows = page_rows.min(shaped.page_size.unwrap_or(usize::MAX));
            dependencies = dependencies.and(looked_up);
        }
        let order = order.unwrap_or_default();
        let range = protocol::place::range(asked, &order, model)?;
        let start = range.as_ref().and_then(|range| range.after.clone());
        parts.extend(range.map(protocol::place::within));
        let first = limit.map(|limit| First { order: order.clone(), limit });
        let shape = Shape { filter: Expr::and(parts), first };
        Ok((model, Selection { shape, order, start, page_rows, dependencies }))
    }

    /// One row, for a client that may see it.
    pub(crate) async fn read_one(
        &self,
        model: &str,
        key: &Key,
        caller: &Caller,
        now: SystemTime,
    ) -> Result<(&Model, Key, WireRow)> {
        let model = self.model(model)?;
        let key = model.parse_key(key);
        loop {
            let Scoped { filter: scope, mut dependencies } = self.scope(model, caller, now).await?;
            let key = key.clone().ok_or_else(Error::not_found)?;
            let row = self.store.get(model.name(), &key).await.map_err(|error| unavailable(&error))?;
            // The row may be younger than what was found out about it.
            if self.still_holds(&mut dependencies) {
                let row = row.filter(|row| scope.matches(&row.body)).ok_or_else(Error::not_found)?;
                return Ok((model, key, WireRow { row: model.rewire(&row.body)?, seq: row.seq }));
            }
        }
    }

    /// The next page of the selection's rows, for who has had everything up to `newest` and gets what changes in the source after it. Many
    /// who ask for the same share what was read.
    pub(crate) async fn page(
        &self,
        model: &Model,
        selection: &Selection,
        after: Option<Place>,
        (source, newest): (&Source, Seq),
    ) -> Result<Arc<WirePage>> {
        let key = PageKey {
            model: model.name(),
            filter: selection.shape.filter.clone(),
            order: selection.order.clone(),
            after: after.clone(),
            rows: selection.shape.first.as_ref().map_or(selection.page_rows, |first| first.limit),
        };
        // Read since; or before, and nothing has changed in these rows since. Of what the store has beyond the head nobody was told yet.
        let is_right = |page: &WirePage| {
            page.seq >= newest || (newest <= self.hub.head() && source.changed_at() <= page.seq)
        };
        self.shared_pages.page(key, is_right, self.read_page(model, selection, after)).await
    }

    /// The next page of the selection's rows. It may have none and a `next`: then few rows match, and it was looked for long enough.
    async fn read_page(
        &self,
        model: &Model,
        selection: &Selection,
        after: Option<Place>,
    ) -> Result<WirePage> {
        // Half a frame of stored rows: what clients see of them, with names and seqs, fits one.
        let rows = selection.shape.first.as_ref().map_or(selection.page_rows, |first| first.limit);
        let mut select =
            Select::of(selection.shape.filter.clone()).after(after).limit(rows).max_bytes(FRAME_BYTES / 2);
        select.order.clone_from(&selection.order);
        if selection.shape.first.is_none() {
            select = select.scan_at_most(SCAN_ROWS);
        }
        let page = self.store.page(model.name(), &select).await.map_err(|error| unavailable(&error))?;
        let wire = |stored: &StoredRow| Ok(WireRow { row: model.rewire(&stored.body)?, seq: stored.seq });
        let rows = page.rows.iter().map(wire).collect::<Result<_>>()?;
        Ok(WirePage { rows, seq: page.seq, next: page.next })
    }

    /// Reads what windows lack, for as long as it runs.
    pub(crate) async fn refill(&self) {
        let mut reading = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                refill = self.hub.refill(), if reading.len() < REFILLS => reading.push(self.refill_one(refill)),
                Some(()) = reading.next() => {}
            }
        }
    }

    async fn refill_one(&self, refill: Refill) {
        match self.window_rows(&refill).await {
            Ok(rows) => self.hub.refilled(&refill, rows),
            Err(error) => {
                tracing::error!("rows of a window of `{}` cannot be read now: {error}", refill.model());
                self.hub.refill_failed(refill);
            }
        }
    }

    async fn window_rows(&self, refill: &Refill) -> Result<ReadRows> {
        let model = self.model(refill.model())?;
        let order = refill.order();
        // A part of a frame, as a page: one message may hold all of them.
        let mut select = Select::of(refill.filter().clone())
            .after(refill.after.clone())
            .limit(refill.rows)
            .max_bytes(FRAME_BYTES / 2);
        select.order.clone_from(&order);
        let page = self.store.page(model.name(), &select).await.map_err(|error| unavailable(&error))?;
        let row = |stored: &StoredRow| {
            let place = Place::of_body(&stored.body, stored.key.clone(), &order)
                .ok_or_else(|| Error::internal("a stored row is no JSON object"))?;
            Ok(WindowRow { place, seq: stored.seq, wire: model.rewire(&stored.body)? })
        };
        let rows = page.rows.iter().map(row).collect::<Result<_>>()?;
        Ok(ReadRows { rows, seq: page.seq, more: page.next.is_some() })
    }

    /// Checks a cursor, and how far its client says that it has come since: where a query can be continued from, or why not.
    pub(crate) fn resumable(
        &self,
        cursor: &str,
        since_seq: Option<Seq>,
        source: &Source,
    ) -> Result<Seq, &'static str> {
        let cursor = crate::outbox::Cursor::parse(cursor).ok_or("cursor")?;
        if cursor.epoch != self.epoch {
            return Err("epoch");
        }
        if cursor.hash != source.hash() {
            return Err("scope");
        }
        let seq = cursor.seq.max(since_seq.unwrap_or(0));
        // A head behind a cursor of the same epoch: the store lost what it had confirmed.
        if seq > self.hub.head() { Err("horizon") } else { Ok(seq) }
    }

    /// Reads on in the log for a subscription that is not in the tail.
    pub(crate) async fn catch_up(&self, work: &LogWork) -> Result<CaughtUp> {
        let page = self.store.log(work.after, FRAME_BYTES / 2).await.map_err(|error| unavailable(&error))?;
        if page.horizon > work.after {
            if sabotage::is(Sabotage::HorizonIgnored) {
                return Ok(CaughtUp::To { seq: page.horizon, messages: Vec::new() });
            }
            return Ok(CaughtUp::Horizon);
        }
        let published: Vec<_> =
            page.transactions.iter().map(|entry| pipeline::published_entry(entry, &self.registry)).collect();
        let messages = work.source.messages(&published);
        let seq = page.transactions.last().map_or(work.after, |entry| entry.seq);
        Ok(CaughtUp::To { seq, messages })
    }

    /// Does one piece of catching up for a connection.
    pub(crate) async fn catch_up_one(&self, outbox: &Arc<Outbox>, work: LogWork) -> Result<Option<LogWork>> {
        // Before the log is read: what is published meanwhile is in the log, the tail, or both, and counts once.
        let (places, head) = self.hub.end_of(&work.source);
        match self.catch_up(&work).await? {
            CaughtUp::Horizon => Ok(Some(work)),
            CaughtUp::To { seq, messages } => {
                if !messages.is_empty() {
                    let message = response::changes(work.asked.id.as_ref(), seq, &messages);
                    outbox.answer_to(work.load, message, seq);
                }
                outbox.caught_up(work.load, seq, (seq >= head).then_some(places));
                self.hub.wake_at(seq, outbox);
                Ok(None)
            }
        }
    }
}

/// After so many rows that do not match a page ends, and others have their turn with the store: about 10 ms.
const SCAN_ROWS: usize = 5_000;

//! Reading: scopes, single rows, pages, and the log.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;

use super::{Engine, not_declared, panics::guarded, pipeline, unavailable};
use crate::{
    Context, Error, Result,
    context::Caller,
    hub::{Published, PublishedChange, Query},
    model::{Key, Place, filter::Expr},
    outbox::{FRAME_BYTES, LogWork, Outbox},
    protocol::{
        self,
        response::{self, WireRow},
    },
    registry::Model,
    store::{Select, Seq, StoredRow},
};

/// Which rows of a model a request is about.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) filter: Expr,
    /// At most so many rows a page.
    pub(crate) page_rows: usize,
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
    /// The rows of a model that a client may see.
    pub(super) async fn scope(&self, model: &Model, caller: &Caller, now: SystemTime) -> Result<Expr> {
        let read = model.handlers.read.ok_or_else(|| not_declared(model, "read"))?;
        let context = Context::new(caller.clone(), now, 1);
        Ok(guarded(read(&context)).await?.0)
    }

    /// The rows that a `subscribe`, or a `read` of many rows, is about: those that the client may see and asks for.
    pub(crate) async fn select(
        &self,
        model: &str,
        filter: Option<&str>,
        caller: &Caller,
        now: SystemTime,
    ) -> Result<(&Model, Selection)> {
        let model = self.model(model)?;
        let scope = self.scope(model, caller, now).await?;
        let asked = filter.map(|filter| protocol::filter::read(filter, model.name(), model.schema()));
        let filter = Expr::and([scope].into_iter().chain(asked.transpose()?).collect());
        let mut selection = Selection { filter, page_rows: self.limits.page_rows };
        if let Some(read_all) = model.handlers.read_all {
            let context = Context::new(caller.clone(), now, 1);
            let shaped = guarded(read_all(&context)).await?;
            selection.filter = Expr::and(vec![selection.filter, shaped.filter]);
            selection.page_rows = selection.page_rows.min(shaped.page_size.unwrap_or(usize::MAX));
        }
        Ok((model, selection))
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
        let scope = self.scope(model, caller, now).await?;
        let key = model.parse_key(key).ok_or_else(Error::not_found)?;
        let stored = self.store.get(model.name(), &key).await.map_err(|error| unavailable(&error))?;
        let stored = stored.filter(|row| scope.matches(&row.body)).ok_or_else(Error::not_found)?;
        Ok((model, key, WireRow { row: model.rewire(&stored.body)?, seq: stored.seq }))
    }

    /// The next page of the selection's rows. It may have none and a `next`: then few rows match, and it was looked for long enough.
    pub(crate) async fn page(
        &self,
        model: &Model,
        selection: &Selection,
        after: Option<Place>,
    ) -> Result<WirePage> {
        // Half a frame of stored rows: what clients see of them, with names and seqs, fits one.
        let select = Select::of(selection.filter.clone())
            .after(after)
            .limit(selection.page_rows)
            .max_bytes(FRAME_BYTES / 2)
            .scan_at_most(SCAN_ROWS);
        let page = self.store.page(model.name(), &select).await.map_err(|error| unavailable(&error))?;
        let wire = |stored: &StoredRow| Ok(WireRow { row: model.rewire(&stored.body)?, seq: stored.seq });
        let rows = page.rows.iter().map(wire).collect::<Result<_>>()?;
        Ok(WirePage { rows, seq: page.seq, next: page.next })
    }

    /// Checks a cursor, and how far its client says that it has come since: where a query can be continued from, or why not.
    pub(crate) fn resumable(
        &self,
        cursor: &str,
        since_seq: Option<Seq>,
        query: &Query,
    ) -> Result<Seq, &'static str> {
        let cursor = crate::outbox::Cursor::parse(cursor).ok_or("cursor")?;
        if cursor.epoch != self.epoch {
            return Err("epoch");
        }
        if cursor.hash != query.hash() {
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
            return Ok(CaughtUp::Horizon);
        }
        let published: Vec<_> =
            page.transactions.iter().map(|entry| pipeline::published_entry(entry, &self.registry)).collect();
        let messages = folded(published, work.query.model())
            .into_iter()
            .filter_map(|(seq, change)| work.query.message(&change, seq))
            .collect();
        let seq = page.transactions.last().map_or(work.after, |entry| entry.seq);
        Ok(CaughtUp::To { seq, messages })
    }

    /// Does one piece of catching up for a connection.
    pub(crate) async fn catch_up_one(&self, outbox: &Arc<Outbox>, work: LogWork) -> Result<Option<LogWork>> {
        // Before the log is read: what is published meanwhile is in the log, the tail, or both, and counts once.
        let (place, head) = self.hub.end_of(&work.query);
        match self.catch_up(&work).await? {
            CaughtUp::Horizon => Ok(Some(work)),
            CaughtUp::To { seq, messages } => {
                if !messages.is_empty() {
                    outbox.answer(response::changes(work.asked.id.as_ref(), seq, &messages));
                }
                outbox.caught_up(work.key, seq, (seq >= head).then_some(place));
                self.hub.wake_at(seq, outbox);
                Ok(None)
            }
        }
    }
}

/// After so many rows that do not match a page ends, and others have their turn with the store: about 10 ms.
const SCAN_ROWS: usize = 5_000;

/// Each row of a model once, from what it was before the first of its changes to what it is after the last, in the order of those. What came
/// and went in between is nobody's business any more.
fn folded(transactions: Vec<Published>, model: &str) -> Vec<(Seq, PublishedChange)> {
    let mut rows: Vec<(Seq, PublishedChange)> = Vec::new();
    let mut places: HashMap<Key, usize> = HashMap::new();
    for Published { seq, changes } in transactions {
        for change in changes.into_iter().filter(|change| change.model == model) {
            match places.entry(change.key.clone()) {
                Entry::Vacant(place) => {
                    place.insert(rows.len());
                    rows.push((seq, change));
                }
                Entry::Occupied(place) => {
                    let (last, row) = &mut rows[*place.get()];
                    *last = seq;
                    row.new = change.new;
                    row.wire = change.wire;
                }
            }
        }
    }
    rows.sort_by_key(|(seq, _)| *seq);
    rows
}

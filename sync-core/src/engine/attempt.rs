//! One attempt to decide a request: what it has read, and what it would write.
//!
//! A read takes the rows of the pipeline's overlay, then the store's without any lock, and then looks whether something was submitted
//! meanwhile that touches it, which has it read again, or that touches what the attempt has read before. That dooms the attempt: the
//! read fails, and whatever the handler makes of it, it is run again. So all that a handler gets to see was there at one moment.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    fmt, mem,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::{
    Base,
    panics::guarded,
    pipeline::{Found, Pending, Version, Watch},
    read_set::ReadSet,
    scope::scope_of,
    unavailable,
};
use crate::{
    Context, Error, ErrorCode, Result,
    context::Work,
    handlers::{BoxFuture, Row},
    model::{
        Key, KeyKind, Place,
        filter::{Expr, Range},
    },
    registry::Model,
    store::{Change, Select, StoredRow},
};

/// The rows that an attempt has read and written.
pub(super) struct Attempt {
    base: Arc<Base>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// A handler is at work.
    is_open: bool,
    /// Something that was read has changed.
    is_doomed: bool,
    /// What a handler did that it may not.
    fault: Option<Error>,
    reads: ReadSet,
    /// What was read or written, as it was and as it shall be.
    rows: HashMap<(&'static str, Key), Known>,
    /// What was written, in the order in which it was first.
    written: Vec<(&'static str, Key)>,
    /// What is written, in bytes.
    bytes: usize,
    after: Vec<BoxFuture<'static, ()>>,
    ids: Ids,
    /// From the first read of a handler on.
    watch: Option<Watch>,
}

/// A row that an attempt knows.
struct Known {
    /// As it was found; `None` for a new row whose id nobody else has.
    version: Option<Version>,
    old: Option<Bytes>,
    /// It is among the rows of the read set.
    is_found: bool,
    /// What it shall be, if it was written.
    new: Option<Written>,
}

struct Written {
    /// `None`: it is deleted.
    row: Option<Row>,
    /// The creator's own name for it.
    cid: Option<Box<str>>,
}

impl Known {
    /// As the handler sees it.
    fn body(&self) -> Option<&Bytes> {
        match &self.new {
            Some(written) => written.row.as_ref().map(|row| &row.body),
            None => self.old.as_ref(),
        }
    }
}

/// The ids that were given to new rows: an attempt that follows gets the same ones, in the same order.
#[derive(Debug, Default)]
pub(super) struct Ids {
    /// By model, and whether this attempt has used it.
    given: SmallVec<[(&'static str, Key, bool); 1]>,
    /// All before this one are used.
    from: usize,
}

impl Ids {
    fn next(&mut self, model: &str) -> Option<Key> {
        let unused = self.given.iter_mut().skip(self.from);
        let (_, key, used) = unused.into_iter().find(|(of, _, used)| *of == model && !used)?;
        *used = true;
        let key = key.clone();
        while self.given.get(self.from).is_some_and(|(_, _, used)| *used) {
            self.from += 1;
        }
        Some(key)
    }

    fn add(&mut self, model: &'static str, key: Key) {
        if self.from == self.given.len() {
            self.from += 1;
        }
        self.given.push((model, key, true));
    }

    /// From the first one again.
    fn again(mut self) -> Self {
        self.given.iter_mut().for_each(|(_, _, used)| *used = false);
        self.from = 0;
        self
    }
}

/// What an attempt came to.
#[derive(Default)]
pub(super) struct Ended {
    /// It must be made again, whatever the handler said.
    pub(super) is_doomed: bool,
    /// What a handler did that it may not.
    pub(super) fault: Option<Error>,
    pub(super) reads: ReadSet,
    pub(super) changes: SmallVec<[Change; 1]>,
    /// What clients see of the changes.
    pub(super) wires: SmallVec<[Option<Bytes>; 1]>,
    pub(super) after: Vec<BoxFuture<'static, ()>>,
    /// For the next attempt.
    pub(super) ids: Ids,
    /// It goes on until this is dropped.
    pub(super) _watch: Option<Watch>,
}

impl Attempt {
    pub(super) fn new(base: &Arc<Base>, ids: Ids) -> Arc<Self> {
        let state = State { is_open: true, ids: ids.again(), ..State::default() };
        Arc::new(Self { base: base.clone(), state: Mutex::new(state) })
    }

    /// No handler is at work any more; whoever still has its context gets errors.
    pub(super) fn end(&self) -> Ended {
        let state = mem::take(&mut *self.state.lock());
        let State { is_doomed, fault, mut reads, mut rows, written, after, ids, watch, .. } = state;
        let (mut changes, mut wires) = (SmallVec::new(), SmallVec::new());
        for (model, key) in written {
            let Some(Known { version, old, is_found, new: Some(Written { row, cid }) }) =
                rows.remove(&(model, key.clone()))
            else {
                continue;
            };
            if let Some(version) = version.filter(|_| !is_found) {
                reads.found.push(Found { model, key: key.clone(), version });
            }
            // What came and went again is nobody's business.
            if old.is_none() && row.is_none() {
                continue;
            }
            let (new, wire) = row.map(|row| (row.body, row.wire)).unzip();
            changes.push(Change { model, key, cid, old, new });
            wires.push(wire);
        }
        Ended { is_doomed, fault, reads, changes, wires, after, ids, _watch: watch }
    }

    /// The row as the handler sees it.
    pub(super) async fn row(&self, model: &'static str, key: &Key) -> Result<Option<Bytes>> {
        for _ in 0..TRIES {
            {
                let state = self.state.lock();
                state.check()?;
                if let Some(known) = state.rows.get(&(model, key.clone())) {
                    return Ok(known.body().cloned());
                }
            }
            let (ticket, pending) = self.base.pipeline.pending(model, key);
            let (version, body) = match pending {
                Some(Pending { fate, body }) => (Version::Pending { fate, deleted: body.is_none() }, body),
                None => {
                    let stored =
                        self.base.store.get(model, key).await.map_err(|error| unavailable(&error))?;
                    (Version::Stored(stored.as_ref().map(|row| row.seq)), stored.map(|row| row.body))
                }
            };
            let found = Found { model, key: key.clone(), version: version.clone() };
            let reads = ReadSet::of_row(found, ticket);
            let mut state = self.state.lock();
            if !state.take(&self.base, reads)? {
                continue;
            }
            let known = Known { version: Some(version), old: body.clone(), is_found: true, new: None };
            // Read twice at the same time, it is found twice: both hold.
            state.rows.entry((model, key.clone())).or_insert(known);
            return Ok(body);
        }
        self.gives_up()
    }

    /// The version of a row that was read: what it was before the attempt wrote it.
    pub(super) fn version(&self, model: &'static str, key: &Key) -> Option<Version> {
        self.state.lock().rows.get(&(model, key.clone()))?.version.clone()
    }

    /// Whether the row was written by this attempt.
    pub(super) fn is_written(&self, model: &'static str, key: &Key) -> bool {
        self.state.lock().rows.get(&(model, key.clone())).is_some_and(|known| known.new.is_some())
    }

    /// Whether anything was.
    pub(super) fn has_written(&self) -> bool {
        !self.state.lock().written.is_empty()
    }

    /// What was written of a row: what is stored and what clients see; `None` if it is gone.
    pub(super) fn written(&self, model: &'static str, key: &Key) -> Option<Row> {
        self.state.lock().rows.get(&(model, key.clone()))?.new.as_ref()?.row.clone()
    }

    /// A new id.
    pub(super) async fn new_key(&self, model: &Model) -> Result<Key> {
        let name = model.name();
        let known = self.state.lock().ids.next(name);
        if let Some(key) = known {
            return Ok(key);
        }
        let key = match model.key_kind() {
            KeyKind::Int => {
                Key::Int(self.base.store.allocate_ids(name, 1).await.map_err(|error| unavailable(&error))?)
            }
            KeyKind::Text => model.generate_key().ok_or_else(|| {
                Error::invalid(model.schema().id, "must be chosen: its type makes none of its own")
            })?,
        };
        self.state.lock().ids.add(name, key.clone());
        Ok(key)
    }

    /// Writes a row that was read, or one whose id is new, or deletes it.
    pub(super) fn write(
        &self,
        model: &'static str,
        key: Key,
        row: Option<Row>,
        cid: Option<Box<str>>,
    ) -> Result<()> {
        let mut state = self.state.lock();
        state.check()?;
        let limit = self.base.limits.row_bytes;
        let length = row.as_ref().map_or(0, |row| row.body.len());
        if length > limit {
            let message = format!("a row has at most {limit} bytes of JSON, this one {length}");
            return Err(Error::new(ErrorCode::TooLarge, message));
        }
        // Where rows may be larger, one of them fits all the same.
        let most = self.base.limits.transaction_bytes.max(limit.saturating_add(1024));
        let State { rows, written, bytes, .. } = &mut *state;
        let entry = rows.entry((model, key.clone()));
        let before = match &entry {
            Entry::Occupied(known) => {
                let row =
                    known.get().new.as_ref().map(|new| new.row.as_ref().map_or(0, |row| row.body.len()));
                row.map(|row| row + CHANGE_BYTES + 2 * (model.len() + key_bytes(&key)))
            }
            Entry::Vacant(_) => None,
        };
        let named = CHANGE_BYTES + 2 * (model.len() + key_bytes(&key));
        let total = *bytes - before.unwrap_or(0) + length + named;
        if total > most {
            let message =
                format!("what is written together has at most {most} bytes of JSON: do it in several parts");
            return Err(Error::new(ErrorCode::TooLarge, message));
        }
        *bytes = total;
        let known = entry.or_insert(Known { version: None, old: None, is_found: false, new: None });
        if known.new.is_none() {
            written.push((model, key));
        }
        // A creator's own name for a row stays with it.
        let cid = cid.or_else(|| known.new.take().and_then(|written| written.cid));
        known.new = Some(Written { row, cid });
        Ok(())
    }

    async fn find(&self, model: &'static str, select: Select) -> Result<Vec<Bytes>> {
        for _ in 0..TRIES {
            let own: HashMap<Key, Option<Bytes>> = {
                let state = self.state.lock();
                state.check()?;
                let own = state.rows.iter().filter(|((of, _), known)| *of == model && known.new.is_some());
                own.map(|((_, key), known)| (key.clone(), known.body().cloned())).collect()
            };
            let (ticket, pending) = self.base.pipeline.all_pending(model);
            let hidden: HashSet<&Key> = own.keys().chain(pending.keys()).collect();
            // Each of these may hide one that the store has.
            let more = Select { limit: select.limit.saturating_add(hidden.len()), ..select.clone() };
            let page = self.base.store.page(model, &more).await.map_err(|error| unavailable(&error))?;
            let mut reads = ReadSet { checked: ticket, ..ReadSet::default() };
            let mut rows = Vec::with_capacity(page.rows.len());
            // What the store has, and what was found in its place.
            let mut seen: Vec<(StoredRow, Option<&Pending>)> = Vec::new();
            for row in page.rows {
                if !own.contains_key(&row.key) && !pending.contains_key(&row.key) {
                    rows.push((row.key.clone(), row.body.clone()));
                    seen.push((row, None));
                } else if let Some(pending) = pending.get(&row.key) {
                    seen.push((row, Some(pending)));
                }
            }
            let changed = pending.iter().filter_map(|(key, pending)| Some((key, pending.body.as_ref()?)));
            let changed = changed.filter(|(key, _)| !own.contains_key(key));
            let written = own.iter().filter_map(|(key, body)| Some((key, body.as_ref()?)));
            for (key, body) in changed.chain(written).filter(|(_, body)| select.matches(body)) {
                rows.push((key.clone(), body.clone()));
            }
            let mut rows = in_order(rows, &select);
            rows.truncate(select.limit);
            let filter = self.read_of(model, &select, &rows)?;
            // Those that made it what it is: rows of the filter, and what hides rows of it.
            let shown: HashSet<&Key> = rows.iter().map(|(_, key, _)| key).collect();
            let hides: HashSet<&Key> =
                seen.iter().filter(|(_, pending)| pending.is_some()).map(|(row, _)| &row.key).collect();
            for (key, Pending { fate, body }) in &pending {
                if shown.contains(key) && !own.contains_key(key) || hides.contains(key) {
                    let version = Version::Pending { fate: fate.clone(), deleted: body.is_none() };
                    reads.found.push(Found { model, key: key.clone(), version });
                }
            }
            reads.filters.push((model, filter));
            // What was read beyond those that were asked for is not looked at when this commits.
            seen.retain(|(row, pending)| pending.is_some() || shown.contains(&row.key));
            let mut state = self.state.lock();
            if !state.take(&self.base, reads)? {
                continue;
            }
            for (row, pending) in seen {
                let (version, old, is_found) = match pending {
                    None => (Version::Stored(Some(row.seq)), Some(row.body), false),
                    Some(Pending { fate, body }) => {
                        let fate = fate.clone();
                        (Version::Pending { fate, deleted: body.is_none() }, body.clone(), true)
                    }
                };
                let known = Known { version: Some(version), old, is_found, new: None };
                state.rows.entry((model, row.key)).or_insert(known);
            }
            return Ok(rows.into_iter().map(|(_, _, body)| body).collect());
        }
        self.gives_up()
    }

    /// What is to be read changes faster than it can be.
    fn gives_up<T>(&self) -> Result<T> {
        self.state.lock().is_doomed = true;
        Err(changed())
    }

    /// The filter whose rows were read. Where there are as many as were asked for, what comes after the last does not matter.
    fn read_of(&self, model: &'static str, select: &Select, rows: &[(Place, Key, Bytes)]) -> Result<Expr> {
        let Some((last, ..)) = rows.last().filter(|_| rows.len() >= select.limit) else {
            return Ok(select.filter.clone());
        };
        let id = self.model(model)?.schema().id;
        let range = Range { order: select.order.clone(), id, after: None, until: Some(last.clone()) };
        Ok(Expr::and(vec![select.filter.clone(), Expr::Within(Arc::new(range))]))
    }

    fn model(&self, name: &'static str) -> Result<&Model> {
        self.base.registry.get(name).ok_or_else(|| {
            Error::internal(format!(
                "`{name}` is not a model of this server: name it with `Server::builder().model()`"
            ))
        })
    }

    /// From now on what is submitted is remembered, so that it can be checked against what was read.
    fn looks(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.check()?;
        if state.watch.is_none() {
            state.watch = Some(self.base.pipeline.watch());
        }
        Ok(())
    }
}

impl State {
    /// Whether a handler may go on.
    fn check(&self) -> Result<()> {
        if !self.is_open {
            return Err(Error::internal("this `Context` was used after its request was decided"));
        }
        if self.is_doomed { Err(changed()) } else { Ok(()) }
    }

    /// Adds what was read, if it is still so: it must be read again if not.
    ///
    /// # Errors
    /// When something that was read earlier is not so any more.
    fn take(&mut self, base: &Base, mut reads: ReadSet) -> Result<bool> {
        self.check()?;
        // The first row alone is checked when it commits.
        let is_first = self.reads.is_empty() && reads.filters.is_empty() && self.watch.is_none();
        if !is_first {
            if !base.pipeline.check(&mut reads) {
                return Ok(false);
            }
            if !self.reads.is_empty() && !base.pipeline.check(&mut self.reads) {
                self.is_doomed = true;
                return Err(changed());
            }
        }
        self.reads.add(reads);
        Ok(true)
    }
}

impl Work for Attempt {
    fn get(&self, model: &'static str, key: Key) -> BoxFuture<'_, Result<Option<Bytes>>> {
        Box::pin(async move {
            self.model(model)?;
            self.looks()?;
            self.row(model, &key).await
        })
    }

    fn select(&self, model: &'static str, select: Select) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        Box::pin(async move {
            self.model(model)?;
            self.looks()?;
            self.find(model, select).await
        })
    }

    fn place(&self, model: &'static str, given: Option<Key>) -> BoxFuture<'_, Result<Key>> {
        Box::pin(async move {
            let model = self.model(model)?;
            self.looks()?;
            let key = match given {
                Some(key) => key,
                None => self.new_key(model).await?,
            };
            // A number that the store has just given is nobody's.
            if model.key_kind() == KeyKind::Text && self.row(model.name(), &key).await?.is_some() {
                return Err(Error::new(ErrorCode::AlreadyExists, "there is a row with this id"));
            }
            Ok(key)
        })
    }

    fn put(&self, model: &'static str, row: Row, is_new: bool) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.model(model)?;
            if !is_new {
                self.looks()?;
                self.row(model, &row.key).await?.ok_or_else(Error::not_found)?;
            }
            self.write(model, row.key.clone(), Some(row), None)
        })
    }

    fn remove(&self, model: &'static str, key: Key) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.model(model)?;
            self.looks()?;
            self.row(model, &key).await?.ok_or_else(Error::not_found)?;
            self.write(model, key, None, None)
        })
    }

    fn scope(&self, model: &'static str, looking: Context) -> BoxFuture<'_, Result<Expr>> {
        Box::pin(async move {
            let read = scope_of(self.model(model)?)?;
            Ok(guarded(self.base.limits.handler_timeout, read(&looking)).await?.0)
        })
    }

    fn after_commit(&self, work: BoxFuture<'static, ()>) {
        let mut state = self.state.lock();
        if state.is_open {
            state.after.push(work);
        } else {
            tracing::error!("`after_commit` was called after its request was decided: it is not run");
        }
    }

    fn misused(&self, error: Error) {
        self.state.lock().fault.get_or_insert(error);
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").finish_non_exhaustive()
    }
}

/// Rows with their places, in the order of these.
fn in_order(rows: Vec<(Key, Bytes)>, select: &Select) -> Vec<(Place, Key, Bytes)> {
    let placed = rows.into_iter().filter_map(|(key, body)| {
        let place = select.place(&key, &body)?;
        Some((place, key, body))
    });
    let mut placed: Vec<_> = placed.collect();
    placed.sort_by(|(a, ..), (b, ..)| a.compare(b, select.order_by()));
    placed
}

/// What a handler is told that has seen something which has changed since.
fn changed() -> Error {
    Error::conflict("what this request has read has changed: it is decided again")
}

fn key_bytes(key: &Key) -> usize {
    match key {
        Key::Int(_) => 20,
        Key::Text(id) => id.len(),
    }
}

/// How often something is read anew that has changed while it was read.
const TRIES: u32 = 16;

/// What the message of a change takes besides its row and, twice, the names of model and row.
const CHANGE_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_attempt_has_the_same_ids() {
        let mut ids = Ids::default();
        let order = [("A", 1), ("B", 1), ("A", 2), ("A", 3), ("B", 2)];
        for (model, id) in order {
            assert_eq!(ids.next(model), None);
            ids.add(model, Key::Int(id));
        }
        for order in [order, [("B", 1), ("A", 1), ("A", 2), ("B", 2), ("A", 3)]] {
            ids = ids.again();
            for (model, id) in order {
                assert_eq!(ids.next(model), Some(Key::Int(id)));
            }
            assert_eq!(ids.next("A"), None);
        }
    }
}

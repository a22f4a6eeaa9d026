//! A window: the first rows in an order, and what a change does to them.
//!
//! It keeps the first rows of its filter, some more than the limit, so that one that drops out is mostly followed by one that is known. What it
//! knows is exact at every published seq, up to a place in the order; beyond it rows are read from the store when they are needed,
//! while changes go on.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Weak},
};

use bytes::Bytes;

use super::shape::First;
use crate::{
    model::{Key, OrderBy, Place},
    outbox::Outbox,
    store::Seq,
};

/// The most changes that are kept while rows are read, by row: beyond, they are read anew.
const MAX_CHANGED: usize = 4096;

/// A row that is kept.
#[derive(Clone, Debug)]
pub(crate) struct WindowRow {
    pub(crate) place: Place,
    pub(crate) seq: Seq,
    /// What clients see of it.
    pub(crate) wire: Bytes,
}

/// A change of a row that is in the filter, or was.
#[derive(Clone, Debug)]
pub(super) struct WindowChange {
    pub(super) key: Key,
    /// Where it was, if it was in the filter.
    pub(super) old: Option<Place>,
    /// Where and what it is, if it is in the filter.
    pub(super) new: Option<(Place, Bytes)>,
    /// The creator's own name for it, in a create.
    pub(super) cid: Option<Box<str>>,
}

/// What subscribers are told.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// Rows that came, or changed, in the order of the window; with the cid of those that were created.
    pub(super) ins: Vec<(WindowRow, Option<Box<str>>)>,
    pub(super) outs: Vec<Key>,
    /// Rows that have not changed, and fill free places.
    pub(super) filled: Vec<WindowRow>,
}

impl Difference {
    fn some(self) -> Option<Self> {
        (!self.ins.is_empty() || !self.outs.is_empty() || !self.filled.is_empty()).then_some(self)
    }
}

/// Rows that were read for a window, at one seq.
#[derive(Debug)]
pub(crate) struct ReadRows {
    pub(crate) rows: Vec<WindowRow>,
    pub(crate) seq: Seq,
    /// Whether there are rows beyond.
    pub(crate) more: bool,
}

/// What of the order is known: which rows of the filter there are.
#[derive(Clone, Debug)]
enum Covered {
    Nothing,
    UpTo(Place),
    All,
}

/// Rows that are being read.
#[derive(Debug)]
struct Reading {
    number: u64,
    /// The place after which they come; `None`: from the first on.
    after: Option<Place>,
    /// What has changed since it was begun: each row's last change, and what it is if it comes after the place.
    changed: HashMap<Key, (Seq, Option<WindowRow>)>,
    /// Read, but ahead of what is published.
    read: Option<ReadRows>,
}

/// The state of a window.
#[derive(Debug)]
pub(super) struct Window {
    first: First,
    /// The first rows of the filter, in order.
    rows: Vec<WindowRow>,
    bytes: usize,
    max_bytes: usize,
    covered: Covered,
    reading: Option<Reading>,
    readings: u64,
    /// Its rows take more than may be kept.
    is_over: bool,
    /// Who waits for its rows.
    pub(super) waiting: Vec<Weak<Outbox>>,
}

impl Window {
    pub(super) fn new(first: First, max_bytes: usize) -> Self {
        Self {
            first,
            rows: Vec::new(),
            bytes: 0,
            max_bytes,
            covered: Covered::Nothing,
            reading: None,
            readings: 0,
            is_over: false,
            waiting: Vec::new(),
        }
    }

    fn order(&self) -> &[OrderBy] {
        &self.first.order
    }

    fn slack(&self) -> usize {
        self.first.limit.clamp(16, 128)
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// The rows of the window, if all of them are known.
    pub(super) fn shown(&self) -> Option<&[WindowRow]> {
        let is_known = self.rows.len() >= self.first.limit || matches!(self.covered, Covered::All);
        (is_known && !self.is_over).then(|| self.visible())
    }

    fn visible(&self) -> &[WindowRow] {
        &self.rows[..self.rows.len().min(self.first.limit)]
    }

    /// The place of the last row of the window; `None` if it is not full, and all that are known are in it.
    fn boundary(&self) -> Option<Place> {
        let last = self.first.limit.checked_sub(1).and_then(|last| self.rows.get(last));
        last.map(|row| row.place.clone())
    }

    fn covers(&self, place: &Place) -> bool {
        match &self.covered {
            Covered::Nothing => false,
            Covered::UpTo(end) => place.compare(end, self.order()).is_le(),
            Covered::All => true,
        }
    }

    /// Where the row of this place is, or would be.
    fn find(&self, place: &Place) -> Result<usize, usize> {
        self.rows.binary_search_by(|row| row.place.compare(place, self.order()))
    }

    fn take_out(&mut self, place: &Place) -> bool {
        let Ok(at) = self.find(place) else { return false };
        self.bytes -= self.rows.remove(at).wire.len();
        true
    }

    fn put_in(&mut self, row: WindowRow) {
        self.bytes += row.wire.len();
        match self.find(&row.place) {
            Ok(at) => {
                self.bytes -= self.rows[at].wire.len();
                self.rows[at] = row;
            }
            Err(at) => self.rows.insert(at, row),
        }
    }

    /// Takes in the changes of one transaction.
    pub(super) fn change(&mut self, seq: Seq, changes: Vec<WindowChange>) -> Option<Difference> {
        if self.is_over {
            return None;
        }
        self.note(seq, &changes);
        if let Covered::Nothing = self.covered {
            return None;
        }
        let before = self.boundary();
        // Each row once: whether it was shown before the first of its changes, and where it is after the last.
        let mut touched: Vec<(Key, bool, Option<Place>, Option<Box<str>>)> = Vec::new();
        let mut by_key: HashMap<Key, usize> = HashMap::new();
        for WindowChange { key, old, new, cid } in changes {
            let was_known = old.as_ref().is_some_and(|place| self.take_out(place));
            let place = new.as_ref().map(|(place, _)| place.clone());
            match by_key.entry(key.clone()) {
                Entry::Occupied(at) => touched[*at.get()].2.clone_from(&place),
                Entry::Vacant(at) => {
                    at.insert(touched.len());
                    let was_shown =
                        was_known && old.as_ref().is_some_and(|old| self.is_up_to(old, before.as_ref()));
                    touched.push((key, was_shown, place, cid));
                }
            }
            if let Some((place, wire)) = new
                && self.covers(&place)
            {
                self.put_in(WindowRow { place, seq, wire });
            }
        }
        let after = self.boundary();
        let mut difference = Difference::default();
        for (key, was_shown, place, cid) in &touched {
            let row = place.as_ref().filter(|place| self.is_up_to(place, after.as_ref()));
            match row.and_then(|place| self.find(place).ok()) {
                Some(at) => difference.ins.push((self.rows[at].clone(), cid.clone())),
                None if *was_shown => difference.outs.push(key.clone()),
                None => {}
            }
        }
        // Others came or went because the last place moved.
        let end =
            |boundary: Option<&Place>| self.rows.partition_point(|row| self.is_up_to(&row.place, boundary));
        let (was, is) = (end(before.as_ref()), end(after.as_ref()));
        for row in &self.rows[was.min(is)..was.max(is)] {
            if by_key.contains_key(&row.place.key) {
                continue;
            }
            if was < is {
                difference.filled.push(row.clone());
            } else {
                difference.outs.push(row.place.key.clone());
            }
        }
        let order = self.first.order.clone();
        difference.ins.sort_by(|(a, _), (b, _)| a.place.compare(&b.place, &order));
        self.keep_within_bounds();
        difference.some().filter(|_| !self.is_over)
    }

    fn is_up_to(&self, place: &Place, boundary: Option<&Place>) -> bool {
        boundary.is_none_or(|boundary| place.compare(boundary, self.order()).is_le())
    }

    /// Keeps changes for rows that are being read.
    fn note(&mut self, seq: Seq, changes: &[WindowChange]) {
        let order = &self.first.order;
        let Some(reading) = &mut self.reading else { return };
        for change in changes {
            let beyond = change.new.as_ref().filter(|(place, _)| {
                reading.after.as_ref().is_none_or(|after| place.compare(after, order).is_gt())
            });
            let row = beyond.map(|(place, wire)| WindowRow { place: place.clone(), seq, wire: wire.clone() });
            reading.changed.insert(change.key.clone(), (seq, row));
        }
        if reading.changed.len() > MAX_CHANGED {
            self.reading = None;
        }
    }

    fn keep_within_bounds(&mut self) {
        let most = self.first.limit + self.slack();
        let mut is_cut = false;
        while self.rows.len() > most || (self.rows.len() > self.first.limit && self.bytes > self.max_bytes) {
            let Some(row) = self.rows.pop() else { break };
            self.bytes -= row.wire.len();
            is_cut = true;
        }
        if is_cut && let Some(last) = self.rows.last() {
            self.covered = Covered::UpTo(last.place.clone());
        }
        if self.bytes > self.max_bytes {
            self.forget();
            self.is_over = true;
        }
    }

    /// Nothing is known of its rows any more.
    pub(super) fn forget(&mut self) {
        self.rows.clear();
        self.bytes = 0;
        self.covered = Covered::Nothing;
        self.reading = None;
    }

    /// The next rows, if there are too few: they are to be read now. The number of the reading, the place after which they come, and how many.
    pub(super) fn wanted(&mut self) -> Option<(u64, Option<Place>, usize)> {
        let after = match &self.covered {
            Covered::All => return None,
            Covered::Nothing => None,
            Covered::UpTo(end) => Some(end.clone()),
        };
        // Before the last of them is used up, unless they are large.
        let is_large = self.rows.len() >= self.first.limit && self.bytes * 2 > self.max_bytes;
        let enough = self.first.limit + if is_large { 0 } else { self.slack() / 2 };
        if self.is_over || self.reading.is_some() || self.rows.len() >= enough {
            return None;
        }
        self.readings += 1;
        let number = self.readings;
        self.reading = Some(Reading { number, after: after.clone(), changed: HashMap::new(), read: None });
        Some((number, after, self.first.limit + self.slack() - self.rows.len()))
    }

    /// Rows were read. Those that are ahead of the `head` wait until it is there: the seq.
    pub(super) fn read(&mut self, number: u64, rows: ReadRows, head: Seq) -> Option<Difference> {
        let reading = self.reading.as_mut().filter(|reading| reading.number == number)?;
        reading.read = Some(rows);
        self.arrive(head)
    }

    /// The seq that a reading waits for.
    pub(super) fn waits_for(&self) -> Option<Seq> {
        self.reading.as_ref().and_then(|reading| reading.read.as_ref()).map(|read| read.seq)
    }

    /// The head is there: takes in rows that waited for it.
    pub(super) fn arrive(&mut self, head: Seq) -> Option<Difference> {
        if self.waits_for().is_none_or(|seq| seq > head) {
            return None;
        }
        let Reading { after, changed, read, .. } = self.reading.take()?;
        let ReadRows { mut rows, seq, more } = read?;
        let is_continued = match (&self.covered, &after) {
            (Covered::Nothing, None) => true,
            (Covered::UpTo(end), Some(after)) => end == after,
            // What is known was cut meanwhile: there are enough.
            _ => false,
        };
        if !is_continued {
            return None;
        }
        let was_unknown = matches!(self.covered, Covered::Nothing);
        let order = self.first.order.clone();
        let end = if more { rows.last().map(|row| row.place.clone()) } else { None };
        // They are as of `seq`: what was published since is done to them as well.
        let newer = |key: &Key| changed.get(key).is_some_and(|(changed, _)| *changed > seq);
        rows.retain(|row| !newer(&row.place.key));
        let shown = self.visible().len();
        for row in rows {
            self.put_in(row);
        }
        for (_, row) in changed.into_values().filter(|(changed, _)| *changed > seq) {
            let is_within =
                |row: &WindowRow| end.as_ref().is_none_or(|end| row.place.compare(end, &order).is_le());
            if let Some(row) = row.filter(is_within) {
                self.put_in(row);
            }
        }
        self.covered = match (end, more) {
            (Some(end), _) => Covered::UpTo(end),
            (None, true) => return None,
            (None, false) => Covered::All,
        };
        let filled = self.visible().get(shown..).unwrap_or_default().to_vec();
        self.keep_within_bounds();
        // Whoever shall have the first rows gets them as pages.
        Difference { filled, ..Difference::default() }.some().filter(|_| !was_unknown && !self.is_over)
    }
}

/// Outboxes that are still there.
pub(super) fn present(waiting: &mut Vec<Weak<Outbox>>) -> Vec<Arc<Outbox>> {
    std::mem::take(waiting).iter().filter_map(Weak::upgrade).collect()
}

//! The confirmed rows of one subscription: what `rows.js` of the JavaScript client does, once more.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sync_tests::plain;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Loading,
    Live,
    Stale,
}

/// A seq twice, so that there is one between two: that a row is not to be seen any more counts for less than what else is said of the same change.
type Half = u64;

/// What is known of a row: nothing is in it where it is gone.
type Version = (Half, Option<Value>);

#[derive(Clone, Debug)]
pub(crate) struct Rows {
    pub(crate) shown: BTreeMap<String, (u64, Value)>,
    pub(crate) status: Status,
    pub(crate) cursor: Option<String>,
    /// The rows include every change up to this seq, while they are live.
    pub(crate) reached: Option<u64>,
    pub(crate) epoch: Option<String>,
    tombstones: BTreeMap<String, Half>,
    complete: u64,
    waiting: Option<BTreeMap<String, Version>>,
    whole: bool,
    heard: Option<u64>,
    ready: Option<(u64, Option<String>)>,
}

impl Rows {
    pub(crate) fn new() -> Self {
        Self {
            shown: BTreeMap::new(),
            status: Status::Loading,
            cursor: None,
            reached: None,
            epoch: None,
            tombstones: BTreeMap::new(),
            complete: 0,
            waiting: None,
            whole: true,
            heard: None,
            ready: None,
        }
    }

    /// What is kept of them.
    pub(crate) fn stored(&self) -> Self {
        let kept = self.clone();
        Self {
            status: if kept.status == Status::Loading { Status::Loading } else { Status::Stale },
            complete: kept.reached.unwrap_or(0),
            shown: kept.shown,
            cursor: kept.cursor,
            reached: kept.reached,
            epoch: kept.epoch,
            ..Self::new()
        }
    }

    pub(crate) fn begin(&mut self, epoch: Option<&str>) {
        if self.epoch.as_deref() != epoch {
            self.cursor = None;
            self.reached = None;
            self.complete = 0;
            self.tombstones.clear();
        }
        self.epoch = epoch.map(Into::into);
        self.ready = None;
        self.gather(self.cursor.is_none());
    }

    pub(crate) fn stale(&mut self) {
        self.ready = None;
        self.heard = None;
        if self.status == Status::Live {
            self.status = Status::Stale;
        }
    }

    pub(crate) fn reset(&mut self) {
        self.stale();
        self.gather(true);
    }

    pub(crate) fn page(&mut self, models: &[Value], seqs: &[Value]) {
        self.ready = None;
        for (row, seq) in models.iter().zip(seqs) {
            self.wait(key_of(row), (seq.as_u64().unwrap_or(0) * 2, Some(row.clone())));
        }
    }

    pub(crate) fn catch_up(&mut self, changes: &[Value]) {
        self.ready = None;
        for change in changes {
            self.wait(key_of(&change["model"]), version(change));
        }
    }

    fn gather(&mut self, whole: bool) {
        self.whole = whole;
        self.waiting = Some(BTreeMap::new());
    }

    /// Something that just happened, of any row of the model.
    pub(crate) fn change(&mut self, change: &Value, asked: &Map<String, Value>) {
        let seq = change["seq"].as_u64().unwrap_or(0);
        if asked.contains_key("limit") || seq <= self.complete {
            return;
        }
        let (half, mut row) = version(change);
        row = row.filter(|row| plain::is_asked(asked, row));
        let key = key_of(&change["model"]);
        if let Some((ready, _)) = &mut self.ready {
            *ready = (*ready).max(seq);
            self.wait(key, (half, row));
        } else if self.status == Status::Live {
            self.apply(key, (half, row));
        }
        self.hear(seq);
    }

    pub(crate) fn window(&mut self, message: &Value) {
        let seq = message["seq"].as_u64().unwrap_or(0);
        let rows = list(&message["in"]).iter().zip(list(&message["seqs"]));
        let rows = rows.map(|(row, seq)| (key_of(row), seq.as_u64().unwrap_or(0), row.clone()));
        if let Some(waiting) = &mut self.waiting {
            for out in list(&message["out"]) {
                waiting.remove(&out.to_string());
            }
            waiting.extend(rows.map(|(key, seq, row)| (key, (seq * 2, Some(row)))));
            if let Some((ready, _)) = &mut self.ready {
                *ready = (*ready).max(seq);
            }
        } else if self.status == Status::Live {
            for out in list(&message["out"]) {
                self.shown.remove(&out.to_string());
            }
            self.shown.extend(rows.map(|(key, seq, row)| (key, (seq, row))));
        }
        self.hear(seq);
    }

    fn hear(&mut self, seq: u64) {
        if self.status == Status::Live && self.waiting.is_none() {
            self.heard = self.heard.max(Some(seq));
        }
    }

    /// Whether these rows tell already what the server has done to a row.
    pub(crate) fn tells(&self, key: &str, row: Option<&Value>, seq: u64, asked: &Map<String, Value>) -> bool {
        if self.status != Status::Live || self.waiting.is_some() {
            return false;
        }
        let had = self.shown.get(key).map(|(seq, _)| *seq);
        let is_here = |row: &Value| {
            if asked.contains_key("limit") { had.is_some() } else { plain::is_asked(asked, row) }
        };
        if row.is_some_and(is_here) { had.is_some_and(|had| had >= seq) } else { had.is_none() }
    }

    pub(crate) fn live(&mut self, seq: u64, cursor: Option<&str>) {
        self.ready = Some((seq, cursor.map(Into::into)));
        if self.waiting.is_none() {
            self.gather(false);
        }
    }

    /// A frame has been read: applies what has come.
    pub(crate) fn show(&mut self) {
        self.reached = self.reached.max(self.heard);
        if self.ready.is_none() {
            return;
        }
        let Some(waiting) = self.waiting.take() else { return };
        let Some((seq, cursor)) = self.ready.take() else { return };
        if self.whole {
            self.tombstones.clear();
            self.shown.clear();
            for (key, (half, row)) in waiting {
                match row {
                    Some(row) => drop(self.shown.insert(key, (half.div_ceil(2), row))),
                    None => drop(self.tombstones.insert(key, half)),
                }
            }
        } else {
            for (key, version) in waiting {
                self.apply(key, version);
            }
        }
        self.cursor = cursor;
        self.status = Status::Live;
        self.progress(seq);
    }

    pub(crate) fn progress(&mut self, seq: u64) {
        if let Some((ready, _)) = &mut self.ready {
            *ready = (*ready).max(seq);
        }
        if self.status != Status::Live {
            return;
        }
        self.reached = self.reached.max(Some(seq));
        self.complete = self.complete.max(seq);
        self.tombstones.retain(|_, deleted| *deleted > seq * 2);
    }

    /// Whether all that has come is shown.
    pub(crate) fn is_settled(&self) -> bool {
        self.status == Status::Live && self.waiting.is_none()
    }

    fn wait(&mut self, key: String, version: Version) {
        if self.waiting.is_none() {
            // Not asked for: the server could not keep this client live, and catches it up.
            self.stale();
            self.gather(false);
        }
        let Some(waiting) = &mut self.waiting else { return };
        let is_newer = waiting.get(&key).is_none_or(|(seq, _)| version.0 > *seq);
        if is_newer {
            waiting.insert(key, version);
        }
    }

    fn apply(&mut self, key: String, (half, row): Version) {
        let had = self.shown.get(&key).map(|(seq, _)| seq * 2).or_else(|| self.tombstones.get(&key).copied());
        if half <= had.unwrap_or(0) {
            return;
        }
        if let Some(row) = row {
            self.tombstones.remove(&key);
            self.shown.insert(key, (half / 2, row));
        } else {
            self.shown.remove(&key);
            self.tombstones.insert(key, half);
        }
    }
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn key_of(row: &Value) -> String {
    row["id"].to_string()
}

fn version(change: &Value) -> Version {
    let seq = change["seq"].as_u64().unwrap_or(0) * 2;
    match change["method"].as_str() {
        Some("remove") => (seq - 1, None),
        Some("delete") => (seq, None),
        _ => (seq, Some(change["model"].clone())),
    }
}

//! What really happened: every transaction that the disk has, and what follows from it. What everything else is compared with.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value, json};
use sync_core::store::{Decision, Outcome, Seq, Transaction};
use sync_tests::plain;
use tokio::time::Instant;
use uuid::Uuid;

/// For so long what was said under an old session may still come.
const GRACE: Duration = Duration::from_secs(1);

/// A row of a model: its name, its id as JSON.
pub(crate) type Row = (String, String);

/// How a mutation was decided.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    /// `None`: it was refused.
    pub(crate) seq: Option<Seq>,
}

#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) head: Seq,
    /// Each row's versions, by the seqs at which they came to be.
    versions: BTreeMap<Row, Vec<(Seq, Option<Arc<Value>>)>>,
    /// The rooms of each person, by the seqs at which they changed.
    rooms: BTreeMap<String, Vec<(Seq, BTreeSet<i64>)>>,
    pub(crate) decided: BTreeMap<(Uuid, u64), Decided>,
    last: BTreeMap<Uuid, u64>,
    cids: BTreeSet<String>,
    /// Who is banned, and since when.
    pub(crate) banned: BTreeMap<String, Instant>,
    /// What should not have happened.
    pub(crate) faults: Vec<String>,
}

impl Truth {
    pub(crate) fn commit(&mut self, transaction: &Transaction, decision: Decision) {
        match decision {
            Decision::Committed(seq) => {
                if seq != self.head + 1 {
                    self.faults.push(format!("clause 1: {seq} follows {}", self.head));
                }
                self.head = seq;
            }
            Decision::Recorded => {}
            Decision::Conflict | Decision::OutOfOrder => return,
        }
        for change in &transaction.changes {
            let key = json!(change.key).to_string();
            let row = change.new.as_ref().and_then(|body| serde_json::from_slice::<Value>(body).ok());
            if let Some(cid) = change.cid.as_deref().filter(|_| change.old.is_none())
                && !self.cids.insert(cid.to_owned())
            {
                self.faults.push(format!("clause 3: {cid} was created twice"));
            }
            let seat = row.clone().or_else(|| serde_json::from_slice(change.old.as_ref()?).ok());
            if change.model == "Seat"
                && let Some(seat) = seat
            {
                let person =
                    self.rooms.entry(seat["person"].as_str().unwrap_or_default().into()).or_default();
                let mut rooms = person.last().map_or_else(BTreeSet::new, |(_, rooms)| rooms.clone());
                let room = seat["room"].as_i64().unwrap_or_default();
                if row.is_some() {
                    rooms.insert(room);
                } else {
                    rooms.remove(&room);
                }
                person.push((self.head, rooms));
            }
            let versions = self.versions.entry((change.model.into(), key)).or_default();
            versions.push((self.head, row.map(Arc::new)));
        }
        let Some(write) = &transaction.client else { return };
        let Some(mutation) = &write.mutation else { return };
        let last = self.last.insert(write.client, mutation.id).unwrap_or(0);
        if mutation.id != last + 1 {
            self.faults.push(format!("clause 4: {} of {} follows {last}", mutation.id, write.client));
        }
        let seq = (!matches!(mutation.outcome, Outcome::Rejected(_))).then_some(self.head);
        if self.decided.insert((write.client, mutation.id), Decided { seq }).is_some() {
            self.faults.push(format!("clause 3: {} of {} was decided twice", mutation.id, write.client));
        }
    }

    /// The server writes a frame to somebody.
    pub(crate) fn written(&mut self, person: &str, frame: &str) {
        let since = self.banned.get(person).map(Instant::elapsed);
        // What has a seq tells of rows.
        if since.is_some_and(|since| since > GRACE) && frame.contains("\"seq\":") {
            self.faults.push(format!("clause 11: {person}, banned for {since:?}, is told {frame:.200}"));
        }
    }

    /// A row as it was at a seq, and the seq of that version.
    pub(crate) fn row(&self, row: &Row, at: Seq) -> Option<(Seq, &Arc<Value>)> {
        let versions = self.versions.get(row)?;
        let index = versions.partition_point(|(seq, _)| *seq <= at).checked_sub(1)?;
        versions[index].1.as_ref().map(|row| (versions[index].0, row))
    }

    /// The seqs of a row's versions before one, and those.
    fn earlier(&self, row: &Row, before: Seq) -> impl Iterator<Item = (Seq, &Arc<Value>)> {
        let versions = self.versions.get(row).map_or(&[] as &[_], Vec::as_slice);
        let end = versions.partition_point(|(seq, _)| *seq < before);
        versions[..end].iter().filter_map(|(seq, row)| Some((*seq, row.as_ref()?)))
    }

    /// The rooms that somebody was in at some seq from one to another.
    fn was_in(&self, person: &str, room: &Value, from: Seq, to: Seq) -> bool {
        let Some(room) = room.as_i64() else { return false };
        let all = self.rooms.get(person).map_or(&[] as &[_], Vec::as_slice);
        let first = all.partition_point(|(seq, _)| *seq <= from).saturating_sub(1);
        all[first..].iter().take_while(|(seq, _)| *seq <= to).any(|(_, rooms)| rooms.contains(&room))
    }

    /// Whether somebody could see a version of a row at some time from one seq to another.
    fn sees(&self, person: &str, model: &str, row: &Value, from: Seq, to: Seq) -> bool {
        match model {
            "Seat" => row["person"] == *person,
            _ => row["owner"] == *person || self.was_in(person, &row["room"], from, to),
        }
    }

    /// Checks that a row that somebody was sent is what was there at a seq, and in their sight then or at some time until it was written.
    pub(crate) fn check_row(
        &self,
        person: &str,
        row: &Row,
        shown: &Value,
        at: Seq,
        written: Seq,
    ) -> Result<(), String> {
        let Some((_, truth)) = self.row(row, at) else {
            return Err(format!("clause 7: {person} was sent {shown} for {at}, where it is not"));
        };
        if without_owner(truth) != *shown {
            return Err(format!("clause 1: {person} was sent {shown} for {at}, where it is {truth}"));
        }
        if self.sees(person, &row.0, truth, at, written) {
            return Ok(());
        }
        Err(format!("clause 7: {person} was sent {shown} for {at} by {written}, which is out of sight"))
    }

    /// Checks that somebody who is told that a row is gone could have had it.
    pub(crate) fn check_gone(&self, person: &str, row: &Row, at: Seq, written: Seq) -> Result<(), String> {
        if self.earlier(row, at).any(|(seq, version)| self.sees(person, &row.0, version, seq, written)) {
            return Ok(());
        }
        Err(format!("clause 7: {person} was told at {at} that {row:?} is gone, which was never in sight"))
    }

    /// What an answer is made of rows of one seq and a scope of that or a later one.
    pub(crate) fn answer(&self, person: &str, asked: &Map<String, Value>, at: Seq, scope: Seq) -> Vec<Value> {
        let model = asked["modelname"].as_str().unwrap_or_default();
        let of_model =
            self.versions.range((model.to_owned(), String::new())..).take_while(|(row, _)| row.0 == model);
        let rows = of_model.filter_map(|(row, _)| {
            let (_, version) = self.row(row, at)?;
            self.sees(person, model, version, scope, scope).then(|| without_owner(version))
        });
        plain::answer(asked, rows)
    }

    /// Whether a version of a row is in an answer under the scope of a seq.
    pub(crate) fn is_in_answer(
        &self,
        person: &str,
        asked: &Map<String, Value>,
        row: &Value,
        scope: Seq,
    ) -> bool {
        let model = asked["modelname"].as_str().unwrap_or_default();
        self.sees(person, model, row, scope, scope) && plain::is_asked(asked, row)
    }

    /// The seqs from one to another at which what somebody sees may be another.
    pub(crate) fn scopes(&self, person: &str, from: Seq, to: Seq) -> impl Iterator<Item = Seq> {
        let all = self.rooms.get(person).map_or(&[] as &[_], Vec::as_slice);
        let within = move |seq: &Seq| *seq > from && *seq <= to;
        std::iter::once(from).chain(all.iter().map(|(seq, _)| *seq).filter(within))
    }

    /// The ids of the rows of a model that are there.
    pub(crate) fn ids(&self, model: &str) -> Vec<Value> {
        let of_model =
            self.versions.range((model.to_owned(), String::new())..).take_while(|(row, _)| row.0 == model);
        let there = of_model.filter_map(|(_, versions)| Some(versions.last()?.1.as_ref()?["id"].clone()));
        there.collect()
    }
}

fn without_owner(row: &Value) -> Value {
    let mut row = row.clone();
    if let Some(fields) = row.as_object_mut() {
        fields.remove("owner");
    }
    row
}

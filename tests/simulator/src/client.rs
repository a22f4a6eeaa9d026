//! One client: what the JavaScript client does with its queue, its rows and its line, once more, and what it keeps for after a crash.

use std::{collections::BTreeSet, mem};

use serde_json::{Map, Value, json};
use sync_core::store::Seq;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::{
    bug::{self, Bug},
    dice::Dice,
    line::Line,
    rows::{Rows, Status, key_of, list},
};

/// How many mutations are under way at once.
const IN_FLIGHT: usize = 12;

/// What was handed in, and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Mutation {
    /// Unlike that of any other: the rows that it writes have it.
    pub(crate) text: String,
    /// Without `id` and `ack`.
    request: Value,
    /// Of a create.
    pub(crate) cid: Option<String>,
    id: Option<u64>,
    /// Whether `request` names the row of an earlier one by its cid.
    needs: Option<u64>,
    is_sent: bool,
    is_doubtful: bool,
    /// It is confirmed, and waits until the rows show it.
    seq: Option<Seq>,
    /// The rows that it is about, as its confirm says.
    rows: Vec<(String, String)>,
    /// The subscriptions whose rows told already.
    told: BTreeSet<u64>,
}

/// How a mutation ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Confirmed {
        seq: Seq,
        rows: Vec<(String, String)>,
    },
    Rejected,
    /// It cannot be known.
    Unknown,
}

/// That one ended, for those who check it.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) client: Uuid,
    pub(crate) id: Option<u64>,
    pub(crate) text: String,
    pub(crate) end: End,
}

/// A live query.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) number: u64,
    pub(crate) asked: Map<String, Value>,
    pub(crate) rows: Rows,
    pub(crate) is_refused: bool,
    request: Option<String>,
}

impl Subscription {
    pub(crate) fn is_window(&self) -> bool {
        self.asked.contains_key("limit")
    }

    pub(crate) fn model(&self) -> &str {
        self.asked["modelname"].as_str().unwrap_or_default()
    }
}

/// What a crash leaves.
#[derive(Clone, Debug)]
struct Kept {
    id: Uuid,
    is_welcomed: bool,
    epoch: Option<String>,
    last: u64,
    queue: Vec<Mutation>,
    confirmed: Vec<Mutation>,
    subscriptions: Vec<Subscription>,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) person: &'static str,
    pub(crate) kept: u64,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) ended: Vec<Ended>,
    pub(crate) line: Option<Line>,
    /// It is told that nothing more came up to here.
    pub(crate) progress: Seq,
    state: Kept,
    is_welcome: bool,
    acked: u64,
    is_paused: bool,
    /// Waits until what it says is kept.
    outgoing: Vec<Value>,
    known: u64,
    next: u64,
    stored: Kept,
}

impl Client {
    pub(crate) fn new(person: &'static str, dice: &mut Dice) -> Self {
        let state = Kept {
            id: Uuid::from_u64_pair(dice.next(), dice.next()),
            is_welcomed: false,
            epoch: None,
            last: 0,
            queue: Vec::new(),
            confirmed: Vec::new(),
            subscriptions: Vec::new(),
        };
        Self {
            person,
            kept: 0,
            subscriptions: Vec::new(),
            ended: Vec::new(),
            line: None,
            progress: 0,
            stored: state.clone(),
            state,
            is_welcome: false,
            acked: 0,
            is_paused: false,
            outgoing: Vec::new(),
            known: 0,
            next: 1,
        }
    }

    /// How many mutations have not ended.
    pub(crate) fn pending(&self) -> usize {
        self.state.queue.len() + self.state.confirmed.len()
    }

    /// The texts of the mutations that a crash would not lose.
    pub(crate) fn kept_texts(&self) -> impl Iterator<Item = &str> {
        self.stored.queue.iter().chain(&self.stored.confirmed).map(|mutation| &*mutation.text)
    }

    /// Creates of its own that are not confirmed.
    pub(crate) fn undecided_cids(&self) -> Vec<&str> {
        self.state.queue.iter().filter_map(|mutation| mutation.cid.as_deref()).collect()
    }

    pub(crate) fn is_quiet(&self) -> bool {
        let settled = |subscription: &Subscription| subscription.is_refused || subscription.rows.is_settled();
        self.is_welcome && self.pending() == 0 && self.subscriptions.iter().all(settled)
    }

    /// Of what it waits for, in short.
    pub(crate) fn describe(&self) -> String {
        let subscriptions = self.subscriptions.iter().map(|subscription| {
            let Rows { status, reached, .. } = &subscription.rows;
            format!("\n    {:?}: {status:?} at {reached:?}", subscription.asked)
        });
        let subscriptions: String = subscriptions.collect();
        let Kept { queue, confirmed, .. } = &self.state;
        format!(
            "{} line: {} welcome: {} progress: {} queue: {queue:?} confirmed: {confirmed:?}{subscriptions}",
            self.person,
            self.line.is_some(),
            self.is_welcome,
            self.progress
        )
    }

    pub(crate) fn connect(&mut self, line: Line) {
        self.line = Some(line);
        let ack = self.state.is_welcomed.then_some(self.kept);
        let mut hello = json!({"method": "hello", "client": self.state.id, "token": self.person});
        if let Some(ack) = ack {
            hello["ack"] = ack.into();
        }
        self.send(&hello);
    }

    /// The line is lost.
    pub(crate) fn cut(&mut self) -> Option<Line> {
        self.is_welcome = false;
        self.is_paused = false;
        self.outgoing.clear();
        for mutation in &mut self.state.queue {
            mutation.is_doubtful |= mutation.is_sent;
            mutation.is_sent = false;
        }
        for subscription in &mut self.subscriptions {
            subscription.request = None;
            subscription.rows.stale();
        }
        self.line.take()
    }

    /// The page is gone, and comes back with what was kept.
    pub(crate) fn crash(&mut self) -> Option<Line> {
        let line = self.cut();
        self.state = self.stored.clone();
        self.subscriptions = mem::take(&mut self.state.subscriptions);
        for mutation in &mut self.state.queue {
            mutation.is_doubtful = mutation.id.is_some();
            mutation.is_sent = false;
        }
        self.known = self.known_now();
        self.kept = self.known;
        self.acked = self.known;
        line
    }

    /// All that it has is kept, and what waited for that is sent.
    pub(crate) fn save(&mut self) {
        let subscriptions = self.subscriptions.iter().map(|subscription| Subscription {
            rows: subscription.rows.stored(),
            asked: subscription.asked.clone(),
            request: None,
            ..*subscription
        });
        let mut subscriptions: Vec<_> = subscriptions.collect();
        if bug::is(Bug::CursorBeforeRows) {
            for subscription in &mut subscriptions {
                let mut before = self.stored.subscriptions.iter();
                if let Some(before) = before.find(|before| before.number == subscription.number) {
                    subscription.rows.shown.clone_from(&before.rows.shown);
                }
            }
        }
        self.stored = Kept { subscriptions, ..self.state.clone() };
        self.kept = self.kept.max(self.known);
        for message in mem::take(&mut self.outgoing) {
            self.send(&message);
        }
    }

    pub(crate) fn mutate(&mut self, text: String, request: Value) {
        let cid = request["cid"].as_str().map(Into::into);
        self.state.queue.push(Mutation {
            text,
            request,
            cid,
            id: None,
            needs: None,
            is_sent: false,
            is_doubtful: false,
            seq: None,
            rows: Vec::new(),
            told: BTreeSet::new(),
        });
        self.flush();
    }

    pub(crate) fn subscribe(&mut self, asked: Map<String, Value>) {
        let number = self.next;
        self.next += 1;
        self.subscriptions.push(Subscription {
            number,
            asked,
            rows: Rows::new(),
            is_refused: false,
            request: None,
        });
        if self.is_welcome {
            self.ask(self.subscriptions.len() - 1);
        }
    }

    pub(crate) fn unsubscribe(&mut self, index: usize) {
        let left = self.subscriptions.remove(index);
        if let Some(request) = left.request {
            self.send(&json!({"method": "unsubscribe", "id": request}));
        }
        self.applied();
    }

    pub(crate) fn read(&mut self, model: &str, id: &Value) {
        if self.is_welcome {
            let request = format!("r{}", self.next);
            self.next += 1;
            self.send(&json!({"method": "read", "id": request, "modelname": model, "model": {"id": id}}));
        }
    }

    /// It has waited long enough after a refusal.
    pub(crate) fn resume(&mut self) {
        if self.is_paused {
            self.is_paused = false;
            self.flush();
        }
        for index in 0..self.subscriptions.len() {
            let subscription = &self.subscriptions[index];
            if self.is_welcome && subscription.request.is_none() && !subscription.is_refused {
                self.ask(index);
            }
        }
    }

    pub(crate) fn acknowledge(&mut self) {
        if self.is_welcome && self.acked != self.kept {
            self.acked = self.kept;
            self.send(&json!({"method": "ack", "ack": self.kept}));
        }
    }

    fn send(&mut self, message: &Value) {
        if let Some(line) = &mut self.line {
            line.send(Message::text(message.to_string()));
        }
    }

    fn ask(&mut self, index: usize) {
        let number = self.next;
        self.next += 1;
        let subscription = &mut self.subscriptions[index];
        let request = format!("s{number}");
        subscription.request = Some(request.clone());
        subscription.rows.begin(self.state.epoch.as_deref());
        let mut message = subscription.asked.clone();
        message.insert("method".into(), "subscribe".into());
        message.insert("id".into(), request.into());
        if let Some(cursor) = &subscription.rows.cursor {
            message.insert("since".into(), cursor.as_str().into());
            message.insert("since_seq".into(), subscription.rows.reached.unwrap_or(0).into());
        }
        self.send(&Value::Object(message));
    }

    /// Sends what may be sent.
    fn flush(&mut self) {
        if !self.is_welcome || self.is_paused {
            return;
        }
        let queue = &self.state.queue;
        let Some(first) = queue.iter().position(|mutation| !mutation.is_sent) else { return };
        let end = queue.len().min(IN_FLIGHT);
        if first >= end || queue[first..end].iter().any(|mutation| mutation.is_sent) {
            return;
        }
        for index in first..end {
            if self.state.queue[index].id.is_none()
                || (bug::is(Bug::SentUnderNewId) && self.state.queue[index].is_doubtful)
            {
                self.number(index, end);
            }
            let mutation = &mut self.state.queue[index];
            mutation.is_sent = true;
            let mut message = mutation.request.clone();
            message["id"] = mutation.id.into();
            message["ack"] = self.kept.into();
            self.outgoing.push(message);
        }
        self.acked = self.kept;
    }

    fn number(&mut self, index: usize, end: usize) {
        self.state.last += 1;
        let named = cids_in(&self.state.queue[index].request);
        let creates = self.state.queue[..end].iter().enumerate();
        let needs = creates.filter(|(other, mutation)| {
            *other != index
                && mutation.id.is_some()
                && mutation.cid.as_ref().is_some_and(|cid| named.contains(cid))
        });
        let needs = needs.filter_map(|(_, mutation)| mutation.id).min();
        let mutation = &mut self.state.queue[index];
        mutation.id = Some(self.state.last);
        mutation.needs = needs;
    }

    /// Up to which id all outcomes are known, and not needed any more by what is to be decided.
    fn known_now(&self) -> u64 {
        if bug::is(Bug::AcknowledgedEarly) {
            return self.state.last;
        }
        let numbered = self.state.queue.iter().map_while(|mutation| Some((mutation.id?, mutation.needs)));
        numbered
            .map(|(id, needs)| needs.unwrap_or(id) - 1)
            .min()
            .unwrap_or(self.state.last)
            .min(self.state.last)
    }

    /// A frame came. Gives the messages that have rows back to those who check them.
    pub(crate) fn frame(&mut self, text: &str) -> Vec<Value> {
        let frame = match serde_json::from_str(text) {
            Ok(Value::Array(messages)) => messages,
            Ok(message) => vec![message],
            Err(error) => panic!("the server sent what is not JSON: {error}: {text}"),
        };
        let id = self.state.id;
        for message in &frame {
            self.message(message);
            if self.state.id != id {
                break;
            }
        }
        self.applied();
        frame
    }

    fn message(&mut self, message: &Value) {
        let seq = message["seq"].as_u64().unwrap_or(0);
        let id = message["id"].as_str();
        let asked = id.and_then(|id| {
            self.subscriptions.iter().position(|subscription| subscription.request.as_deref() == Some(id))
        });
        let rows = asked.map(|index| &mut self.subscriptions[index].rows);
        match message["method"].as_str().unwrap_or_default() {
            "welcome" => self.welcome(message),
            "confirm" => self.decide(message),
            "create" | "update" | "delete" | "remove" => {
                for subscription in &mut self.subscriptions {
                    if message["modelname"] == *subscription.model() {
                        subscription.rows.change(message, &subscription.asked);
                    }
                }
            }
            "window" => {
                let query = message["query"].as_str();
                let of = |subscription: &&mut Subscription| subscription.request.as_deref() == query;
                if let Some(subscription) = self.subscriptions.iter_mut().find(of) {
                    subscription.rows.window(message);
                }
            }
            "read" => {
                if let Some(rows) = rows {
                    rows.page(list(&message["models"]), list(&message["seqs"]));
                }
            }
            "changes" => {
                if let Some(rows) = rows {
                    rows.catch_up(list(&message["changes"]));
                }
            }
            "behind" => {
                if let Some(rows) = rows.filter(|_| !bug::is(Bug::BehindUnheard)) {
                    rows.stale();
                }
            }
            "reset" => {
                if let Some(rows) = rows.filter(|_| !bug::is(Bug::ResetUnheard)) {
                    rows.reset();
                }
            }
            "live" => {
                if let Some(rows) = rows {
                    rows.live(seq, message["cursor"].as_str());
                    rows.show();
                }
            }
            "progress" => {
                self.progress = self.progress.max(seq);
                for subscription in &mut self.subscriptions {
                    subscription.rows.progress(seq);
                }
            }
            "error" => self.error(message, asked),
            method => panic!("the server said `{method}`"),
        }
    }

    fn error(&mut self, message: &Value, asked: Option<usize>) {
        match message["code"].as_str().unwrap_or_default() {
            "client_unknown" | "id_gap" => return self.renew(),
            _ if message["request"] == "hello" => {
                self.is_welcome = false;
                return;
            }
            _ if message["id"].is_u64() => return self.decide(message),
            _ => {}
        }
        if let Some(index) = asked {
            let subscription = &mut self.subscriptions[index];
            subscription.request = None;
            subscription.rows.stale();
            if message["retry"] != true {
                subscription.is_refused = true;
            }
        }
    }

    fn welcome(&mut self, welcome: &Value) {
        let epoch = welcome["epoch"].as_str().map(str::to_owned);
        if self.state.epoch != epoch {
            self.state.epoch = epoch;
            for mutation in &mut self.state.confirmed {
                mutation.seq = Some(0);
            }
        }
        self.state.is_welcomed = true;
        let last = welcome["last"].as_u64().unwrap_or(0);
        if last < self.known_now() {
            return self.renew();
        }
        self.acked = self.kept;
        for mutation in &mut self.state.queue {
            // More was sent than is kept.
            if mutation.id.is_none() && self.state.last < last {
                self.state.last += 1;
                mutation.id = Some(self.state.last);
            }
        }
        for outcome in list(&welcome["outcomes"]) {
            self.decide(outcome);
        }
        while let Some(index) =
            self.state.queue.iter().position(|mutation| mutation.id.is_some_and(|id| id <= last))
        {
            let mutation = self.state.queue.remove(index);
            self.end(mutation, End::Unknown);
        }
        self.state.last = self.state.last.max(last);
        self.known = self.known.max(self.known_now());
        // What is left goes now, and nothing before all outcomes are known.
        self.is_welcome = true;
        self.flush();
        for index in 0..self.subscriptions.len() {
            if !self.subscriptions[index].is_refused {
                self.ask(index);
            }
        }
    }

    /// The server does not know this client: what it may have decided stays unknown, the rest goes under a new name.
    fn renew(&mut self) {
        let line = self.cut();
        if let Some(mut line) = line {
            line.end();
        }
        let (doubtful, rest) =
            mem::take(&mut self.state.queue).into_iter().partition(|mutation| mutation.is_doubtful);
        self.state.queue = rest;
        for mutation in &mut self.state.queue {
            mutation.id = None;
            mutation.needs = None;
        }
        let old: Vec<Mutation> = doubtful;
        for mutation in old {
            self.end(mutation, End::Unknown);
        }
        let (high, low) = self.state.id.as_u64_pair();
        self.state.id = Uuid::from_u64_pair(high, low.wrapping_add(1));
        self.state.is_welcomed = false;
        self.state.last = 0;
        self.known = 0;
        self.kept = 0;
        self.acked = 0;
    }

    fn decide(&mut self, outcome: &Value) {
        let Some(index) = self
            .state
            .queue
            .iter()
            .position(|mutation| mutation.id.is_some() && mutation.id == outcome["id"].as_u64())
        else {
            return;
        };
        if outcome["method"] == "error" && outcome["retry"] == true {
            if bug::is(Bug::RetryForgotten) {
                return;
            }
            let mutation = &mut self.state.queue[index];
            mutation.is_sent = false;
            mutation.is_doubtful |= outcome["code"] == "unavailable";
            self.is_paused = true;
            return;
        }
        let mut mutation = self.state.queue.remove(index);
        if outcome["method"] == "error" {
            if !bug::is(Bug::RejectionForgotten) {
                self.end(mutation, End::Rejected);
            }
        } else {
            let seq = outcome["seq"].as_u64().unwrap_or(0);
            mutation.seq = Some(seq);
            let results =
                outcome.get("results").map_or(std::slice::from_ref(outcome), |results| list(results));
            let mut told = Vec::new();
            for result in results {
                if result["action"].is_string() || result["model"].is_null() {
                    continue;
                }
                let model = result["modelname"].as_str().unwrap_or_default();
                let is_row = result["model"].as_object().is_some_and(|row| row.len() > 1);
                let key = key_of(&result["model"]);
                mutation.rows.push((model.into(), key.clone()));
                told.push((
                    model,
                    key,
                    is_row.then(|| &result["model"]),
                    result["row_seq"].as_u64().unwrap_or(seq),
                ));
            }
            for Subscription { number, asked, rows, .. } in &self.subscriptions {
                let tells = |(model, key, row, seq): &(&str, String, Option<&Value>, u64)| {
                    *model != asked["modelname"] || rows.tells(key, *row, *seq, asked)
                };
                if !told.is_empty() && told.iter().all(tells) {
                    mutation.told.insert(*number);
                }
            }
            if let (Some(cid), Some((_, _, row, _))) = (&mutation.cid, told.first())
                && let Some(row) = row
            {
                // What is not numbered yet names the row by its id.
                for other in self.state.queue.iter_mut().filter(|other| other.id.is_none()) {
                    settle(&mut other.request, cid, &row["id"]);
                }
            }
            self.state.confirmed.push(mutation);
        }
        self.known = self.known.max(self.known_now());
        self.flush();
    }

    fn end(&mut self, mutation: Mutation, end: End) {
        self.ended.push(Ended { client: self.state.id, id: mutation.id, text: mutation.text, end });
    }

    /// A frame is read: what has come is shown, and the mutations end that the rows show.
    fn applied(&mut self) {
        for subscription in &mut self.subscriptions {
            subscription.rows.show();
        }
        let epoch = &self.state.epoch;
        let is_shown = |mutation: &Mutation| {
            bug::is(Bug::MutationEndsEarly)
                || self.subscriptions.iter().all(|Subscription { number, rows, is_refused, .. }| {
                    *is_refused
                        || mutation.told.contains(number)
                        || (rows.epoch == *epoch && rows.reached >= mutation.seq)
                })
        };
        let (shown, rest) = mem::take(&mut self.state.confirmed).into_iter().partition(is_shown);
        let shown: Vec<Mutation> = shown;
        self.state.confirmed = rest;
        for mut mutation in shown {
            let rows = mem::take(&mut mutation.rows);
            let seq = mutation.seq.unwrap_or(0);
            self.end(mutation, End::Confirmed { seq, rows });
        }
    }

    /// Its subscriptions that are not windows, and have rows to show.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Subscription> {
        let is_shown = |subscription: &&Subscription| !subscription.is_refused && !subscription.is_window();
        self.subscriptions.iter().filter(is_shown)
    }

    /// Its live subscriptions.
    pub(crate) fn live(&self) -> impl Iterator<Item = &Subscription> {
        self.subscriptions
            .iter()
            .filter(|subscription| !subscription.is_refused && subscription.rows.status == Status::Live)
    }
}

/// The names of rows in a request.
fn cids_in(request: &Value) -> BTreeSet<String> {
    match request {
        Value::Object(fields) => {
            if let Some(Value::String(cid)) = fields.get("$cid") {
                return BTreeSet::from([cid.clone()]);
            }
            fields.values().flat_map(cids_in).collect()
        }
        Value::Array(items) => items.iter().flat_map(cids_in).collect(),
        _ => BTreeSet::new(),
    }
}

/// Puts an id in the place of a name.
fn settle(request: &mut Value, cid: &str, id: &Value) {
    match request {
        Value::Object(fields) if fields.get("$cid").is_some_and(|name| name == cid) => *request = id.clone(),
        Value::Object(fields) => fields.values_mut().for_each(|value| settle(value, cid, id)),
        Value::Array(items) => items.iter_mut().for_each(|value| settle(value, cid, id)),
        _ => {}
    }
}

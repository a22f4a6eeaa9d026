//! A client that keeps rows as the protocol says that a client does, in the plainest way: what it has is what any right client has.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};
use uuid::Uuid;

use crate::plain::{self, Place};

/// What a client shows, and what it has sent and has no answer to.
#[derive(Debug)]
pub struct Mirror {
    /// Its id for the server.
    pub client: Uuid,
    /// What it says hello with.
    pub token: String,
    /// Its subscriptions, by their ids.
    pub subscriptions: BTreeMap<String, Subscription>,
    /// Every message that had a row, for those who check who saw what: the row's model, the seq of the message, the row or the id.
    pub seen: Vec<Seen>,
    /// Tells the last seq of the store, for those who check who saw what.
    pub clock: Arc<AtomicU64>,
    /// How its mutations ended, by number.
    pub outcomes: BTreeMap<u64, Value>,
    /// Why the server closed the connection, each time that it did.
    pub closed: Vec<u16>,
    socket: Option<WebSocketStream<TcpStream>>,
    is_welcome: bool,
    next_id: u64,
    next_subscription: u64,
    unanswered: VecDeque<(u64, Value)>,
    reached: u64,
}

/// A row that was sent.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Of which model.
    pub model: String,
    /// The message that had it.
    pub method: String,
    /// At which seq the message says that it is so.
    pub seq: u64,
    /// The row, or its id alone.
    pub row: Value,
    /// The last seq of the store when it came.
    pub at: u64,
}

/// A live query.
#[derive(Debug)]
pub struct Subscription {
    /// What was asked: `modelname`, `where`, `order`, `limit`, `after`, `until`.
    pub asked: Map<String, Value>,
    /// Its rows by their ids, each with its seq.
    pub rows: BTreeMap<String, (u64, Value)>,
    /// Whether the server says that it has all.
    pub is_live: bool,
    /// Why the server ended it.
    pub error: Option<Value>,
    /// What is to be applied at `live`.
    loading: Option<Loading>,
    cursor: Option<String>,
    reached: u64,
}

#[derive(Debug, Default)]
struct Loading {
    /// All rows come: what is not among them is gone.
    is_whole: bool,
    rows: BTreeMap<String, (u64, Option<Value>)>,
}

impl Loading {
    fn put(&mut self, key: String, seq: u64, row: Option<Value>) {
        let entry = self.rows.entry(key).or_insert((0, None));
        if seq >= entry.0 {
            *entry = (seq, row);
        }
    }
}

impl Subscription {
    /// Whether it has a limit.
    pub fn is_window(&self) -> bool {
        self.asked.contains_key("limit")
    }

    fn model(&self) -> &str {
        self.asked["modelname"].as_str().unwrap()
    }

    /// Whether a row belongs to it, as far as that can be seen from the row.
    fn holds(&self, row: &Value) -> bool {
        plain::is_asked(&self.asked, row)
    }

    fn live(&mut self, seq: u64, cursor: Option<&str>) {
        if let Some(loading) = self.loading.take() {
            if loading.is_whole {
                self.rows.clear();
            }
            for (key, (seq, row)) in loading.rows {
                if self.rows.get(&key).is_some_and(|(had, _)| *had > seq) {
                    continue;
                }
                match row {
                    Some(row) => drop(self.rows.insert(key, (seq, row))),
                    None => drop(self.rows.remove(&key)),
                }
            }
        }
        self.is_live = true;
        self.cursor = cursor.map(Into::into);
        self.reached = seq;
    }
}

impl Mirror {
    /// A client that is not connected yet.
    pub fn new(client: Uuid, token: &str) -> Self {
        Self {
            client,
            token: token.into(),
            subscriptions: BTreeMap::new(),
            seen: Vec::new(),
            clock: Arc::default(),
            outcomes: BTreeMap::new(),
            closed: Vec::new(),
            socket: None,
            is_welcome: false,
            next_id: 1,
            next_subscription: 1,
            unanswered: VecDeque::new(),
            reached: 0,
        }
    }

    /// Whether there is a line.
    pub fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// Whether all that it has sent is decided, and all that it asked for is there.
    pub fn is_quiet(&self) -> bool {
        let is_settled = |subscription: &Subscription| subscription.is_live || subscription.error.is_some();
        self.is_welcome && self.unanswered.is_empty() && self.subscriptions.values().all(is_settled)
    }

    /// What it waits for, in short.
    pub fn state(&self) -> String {
        let subscriptions = self.subscriptions.iter().map(|(id, subscription)| {
            let Subscription { asked, is_live, error, loading, reached, .. } = subscription;
            let asked = Value::Object(asked.clone());
            format!(
                "\n  {id}: {asked} live: {is_live} loading: {} error: {error:?} reached: {reached}",
                loading.is_some()
            )
        });
        let subscriptions: String = subscriptions.collect();
        let Self { is_welcome, unanswered, closed, reached, .. } = self;
        format!(
            "welcome: {is_welcome} closed: {closed:?} reached: {reached} unanswered: {unanswered:?}{subscriptions}"
        )
    }

    /// How many of its mutations are not answered.
    pub fn pending(&self) -> usize {
        self.unanswered.len()
    }

    /// Has had every change up to here.
    pub fn reached(&self) -> u64 {
        self.reached
    }

    /// Connects and says hello.
    pub async fn connect(&mut self, address: std::net::SocketAddr) {
        let request = format!("ws://{address}/sync").into_client_request().unwrap();
        let (socket, _) = client_async(request, TcpStream::connect(address).await.unwrap()).await.unwrap();
        self.socket = Some(socket);
        self.is_welcome = false;
        let mut hello = json!({"method": "hello", "client": self.client, "token": self.token});
        if self.next_id > 1 || !self.outcomes.is_empty() || self.reached > 0 {
            hello["ack"] = self.outcomes.keys().next_back().copied().unwrap_or(0).into();
        }
        self.send(&hello).await;
    }

    /// The line breaks, without a word.
    pub fn cut(&mut self) {
        self.socket = None;
        self.is_welcome = false;
        for subscription in self.subscriptions.values_mut() {
            subscription.is_live = false;
            subscription.loading = None;
        }
    }

    /// Subscribes to what is `asked`, and names it.
    pub async fn subscribe(&mut self, asked: Map<String, Value>) -> String {
        let id = format!("s{}", self.next_subscription);
        self.next_subscription += 1;
        let subscription = Subscription {
            asked,
            rows: BTreeMap::new(),
            is_live: false,
            error: None,
            loading: None,
            cursor: None,
            reached: 0,
        };
        self.subscriptions.insert(id.clone(), subscription);
        if self.is_welcome {
            self.ask(&id).await;
        }
        id
    }

    /// Ends a subscription.
    pub async fn unsubscribe(&mut self, id: &str) {
        self.subscriptions.remove(id);
        self.send(&json!({"method": "unsubscribe", "id": id})).await;
    }

    /// Sends a mutation, now or when there is a line; its number.
    pub async fn mutate(&mut self, mut mutation: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        mutation["id"] = id.into();
        mutation["ack"] = self.unanswered.front().map_or(id, |(first, _)| *first).saturating_sub(1).into();
        self.unanswered.push_back((id, mutation.clone()));
        if self.is_welcome {
            self.send(&mutation).await;
        }
        id
    }

    /// Applies what has come by now, without waiting for more.
    pub async fn pump(&mut self, most: usize) {
        for _ in 0..most {
            let Some(socket) = &mut self.socket else { return };
            let Some(frame) = socket.next().now_or_never() else { return };
            self.frame(frame).await;
        }
    }

    /// Waits for the next frame, and applies it.
    pub async fn wait(&mut self) {
        let Some(socket) = &mut self.socket else { return };
        let frame = socket.next().await;
        self.frame(frame).await;
    }

    async fn frame(&mut self, frame: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>) {
        match frame {
            Some(Ok(Message::Text(text))) => {
                let messages = match serde_json::from_str(&text).unwrap() {
                    Value::Array(messages) => messages,
                    message => vec![message],
                };
                for message in messages {
                    self.message(&message).await;
                }
            }
            Some(Ok(Message::Close(frame))) => {
                self.closed.push(frame.map_or(1005, |frame| frame.code.into()));
                self.cut();
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => self.cut(),
        }
    }

    async fn send(&mut self, message: &Value) {
        if let Some(socket) = &mut self.socket
            && socket.send(Message::text(message.to_string())).await.is_err()
        {
            self.cut();
        }
    }

    /// Sends the request of a subscription: from where it was, if it has been anywhere.
    async fn ask(&mut self, id: &str) {
        let Some(subscription) = self.subscriptions.get_mut(id) else { return };
        let mut request = subscription.asked.clone();
        request.insert("method".into(), "subscribe".into());
        request.insert("id".into(), id.into());
        let mut loading = Loading { is_whole: true, ..Loading::default() };
        if let Some(cursor) = subscription.cursor.clone().filter(|_| !subscription.is_window()) {
            request.insert("since".into(), cursor.into());
            request.insert("since_seq".into(), subscription.reached.into());
            loading.is_whole = false;
        }
        subscription.loading = Some(loading);
        subscription.is_live = false;
        self.send(&Value::Object(request)).await;
    }

    fn see(&mut self, message: &Value, row: &Value, seq: u64) {
        self.seen.push(Seen {
            model: message["modelname"].as_str().unwrap_or_default().into(),
            method: message["method"].as_str().unwrap_or_default().into(),
            seq,
            row: row.clone(),
            at: self.clock.load(Ordering::SeqCst),
        });
    }

    async fn message(&mut self, message: &Value) {
        let seq = message["seq"].as_u64().unwrap_or(0);
        match message["method"].as_str().unwrap() {
            "welcome" => {
                self.is_welcome = true;
                for outcome in message["outcomes"].as_array().unwrap() {
                    self.outcome(outcome);
                }
                let again: Vec<_> = self.unanswered.iter().map(|(_, mutation)| mutation.clone()).collect();
                for mutation in again {
                    self.send(&mutation).await;
                }
                for id in self.subscriptions.keys().cloned().collect::<Vec<_>>() {
                    self.ask(&id).await;
                }
            }
            "read" => {
                let id = message["id"].as_str().unwrap_or_default().to_owned();
                let rows = message["models"].as_array().cloned().unwrap_or_default();
                for (row, row_seq) in rows.iter().zip(message["seqs"].as_array().unwrap()) {
                    self.see(message, row, seq);
                    if let Some(loading) = self.loading(&id) {
                        loading.put(row["id"].to_string(), row_seq.as_u64().unwrap(), Some(row.clone()));
                    }
                }
            }
            "changes" => {
                let id = message["id"].as_str().unwrap_or_default().to_owned();
                for change in message["changes"].as_array().unwrap() {
                    let (row, seq) = (&change["model"], change["seq"].as_u64().unwrap());
                    let is_shown = matches!(change["method"].as_str(), Some("create" | "update"));
                    self.see(&json!({"method": "changes", "modelname": change["modelname"]}), row, seq);
                    let Some(subscription) = self.subscriptions.get_mut(&id) else { continue };
                    subscription.is_live = false;
                    let loading = subscription.loading.get_or_insert_default();
                    loading.put(row["id"].to_string(), seq, is_shown.then(|| row.clone()));
                }
            }
            "live" => {
                if let Some(subscription) = self.subscriptions.get_mut(message["id"].as_str().unwrap()) {
                    subscription.live(seq, message["cursor"].as_str());
                }
            }
            "behind" => {
                if let Some(subscription) = self.subscriptions.get_mut(message["id"].as_str().unwrap()) {
                    assert!(subscription.is_live, "it falls behind before it is live: {message}");
                    subscription.is_live = false;
                }
            }
            "reset" => {
                if let Some(subscription) = self.subscriptions.get_mut(message["id"].as_str().unwrap()) {
                    subscription.loading = Some(Loading { is_whole: true, ..Loading::default() });
                    subscription.is_live = false;
                    subscription.cursor = None;
                }
            }
            method @ ("create" | "update" | "delete" | "remove") => {
                let (row, is_shown) = (&message["model"], matches!(method, "create" | "update"));
                self.see(message, row, seq);
                let key = row["id"].to_string();
                for subscription in self.subscriptions.values_mut() {
                    if !subscription.is_live
                        || subscription.is_window()
                        || Some(subscription.model()) != message["modelname"].as_str()
                    {
                        continue;
                    }
                    subscription.reached = subscription.reached.max(seq);
                    if is_shown && subscription.holds(row) {
                        subscription.rows.insert(key.clone(), (seq, row.clone()));
                    } else {
                        subscription.rows.remove(&key);
                    }
                }
            }
            "window" => {
                for (row, row_seq) in
                    message["in"].as_array().unwrap().iter().zip(message["seqs"].as_array().unwrap())
                {
                    self.see(message, row, row_seq.as_u64().unwrap().max(seq));
                }
                let id = message["query"].as_str().unwrap();
                let Some(subscription) = self.subscriptions.get_mut(id) else { return };
                assert!(subscription.is_live, "a window changes before it is live: {message}");
                for out in message["out"].as_array().unwrap() {
                    let was = subscription.rows.remove(&out.to_string());
                    assert!(was.is_some(), "what was not in the window drops out of it: {message}");
                }
                for (row, row_seq) in
                    message["in"].as_array().unwrap().iter().zip(message["seqs"].as_array().unwrap())
                {
                    subscription.rows.insert(row["id"].to_string(), (row_seq.as_u64().unwrap(), row.clone()));
                }
                let limit = subscription.asked["limit"].as_u64().unwrap();
                assert!(
                    subscription.rows.len() as u64 <= limit,
                    "a window has more than its limit: {message}"
                );
            }
            "confirm" => {
                for result in message["results"].as_array().into_iter().flatten().chain([message]) {
                    if let Some(row) =
                        result.get("model").filter(|row| row.as_object().is_some_and(|row| row.len() > 1))
                    {
                        let model = result["modelname"].as_str().unwrap_or_default().to_owned();
                        let method = "confirm".to_owned();
                        self.seen.push(Seen {
                            model,
                            method,
                            seq,
                            row: row.clone(),
                            at: self.clock.load(Ordering::SeqCst),
                        });
                    }
                }
                self.outcome(message);
            }
            "error" => {
                if message["id"].is_u64() {
                    if message["retry"] == true {
                        // To be sent again, and all after it.
                        let again: Vec<_> =
                            self.unanswered.iter().map(|(_, mutation)| mutation.clone()).collect();
                        if self.unanswered.front().is_some_and(|(id, _)| message["id"] == *id) {
                            for mutation in again {
                                self.send(&mutation).await;
                            }
                        }
                    } else {
                        self.outcome(message);
                    }
                } else if let Some(subscription) =
                    message["id"].as_str().and_then(|id| self.subscriptions.get_mut(id))
                {
                    subscription.error = Some(message.clone());
                    subscription.rows.clear();
                    subscription.loading = None;
                } else {
                    panic!("refused: {message}");
                }
            }
            "progress" => {
                self.reached = self.reached.max(seq);
                for subscription in
                    self.subscriptions.values_mut().filter(|subscription| subscription.is_live)
                {
                    subscription.reached = subscription.reached.max(seq);
                }
            }
            other => panic!("an unknown method `{other}`"),
        }
    }

    fn loading(&mut self, id: &str) -> Option<&mut Loading> {
        self.subscriptions.get_mut(id)?.loading.as_mut()
    }

    fn outcome(&mut self, message: &Value) {
        let id = message["id"].as_u64().unwrap();
        let earlier = self.outcomes.insert(id, message.clone());
        if let Some(earlier) = earlier {
            let end = |message: &Value| {
                (message["method"].clone(), message["code"].clone(), message["seq"].clone())
            };
            assert_eq!(end(&earlier), end(message), "a mutation ended twice");
        }
        self.unanswered.retain(|(other, _)| *other != id);
    }
}

/// Rows in their order, as a subscription would show them.
pub fn in_order(subscription: &Subscription) -> Vec<Value> {
    let order = plain::order(&subscription.asked);
    let mut rows: Vec<_> = subscription.rows.values().map(|(_, row)| row.clone()).collect();
    rows.sort_by(|a, b| Place::of(a, &order).cmp_in(&Place::of(b, &order), &order));
    rows
}

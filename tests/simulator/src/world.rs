//! A world: people at their pages, lines that break, a disk that fails, a server that crashes; all as one seed has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sync_core::{
    Error, Filter, Limits, Login, Running, Server, Session,
    store::{MemoryStore, Seq},
};
use tokio::{
    runtime::Runtime,
    time::{Instant, sleep},
};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::{
    Options, bug,
    client::{Client, End, Ended, Subscription},
    dice::{self, Dice},
    disk::Disk,
    line::{Line, Socket},
    models::{Me, Memo, Seat},
    panics,
    rows::{key_of, list},
    truth::Truth,
};

const PEOPLE: [&str; 4] = ["anna", "bela", "cleo", "dora"];
const ROOMS: u64 = 4;

/// How far back the log goes, in transactions.
const LOG: u64 = 120;

/// In how many rounds, of 5 ms each, all must be well once nothing goes wrong any more.
const PATIENCE: usize = 4_000;

/// In how many rounds on end nothing more happens.
const SETTLED: usize = 12;

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// What clients did: writes, queries, reads, cuts, returns, crashes.
    pub operations: u64,
    /// Transactions that the store took.
    pub transactions: u64,
    /// Frames that clients read.
    pub frames: u64,
    /// Crashes of the server.
    pub crashes: u64,
    /// Quiet points at which everything was compared.
    pub quiet_points: u64,
}

impl Figures {
    /// With those of another run.
    pub fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.transactions += other.transactions;
        self.frames += other.frames;
        self.crashes += other.crashes;
        self.quiet_points += other.quiet_points;
    }
}

/// A clause that does not hold, in words.
type Checked<T = ()> = Result<T, String>;

struct Process {
    runtime: Runtime,
    running: Running,
}

impl Process {
    fn start(disk: Disk) -> Self {
        let truth = disk.truth.clone();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let mut limits = Limits::default();
        limits.ping_interval = Duration::from_millis(50);
        limits.pong_timeout = Duration::from_millis(400);
        limits.hello_timeout = Duration::from_millis(500);
        limits.outbox_bytes = 4 * 1024;
        limits.page_rows = 4;
        limits.in_flight = 10;
        limits.unacknowledged = 24;
        let server = Server::builder().custom_store(disk).limits(limits).authenticate(move |login: Login| {
            let truth = truth.clone();
            async move {
                let name = login.token().ok_or_else(|| Error::unauthenticated("say who you are"))?.to_owned();
                if truth.lock().banned.contains_key(&name) {
                    return Err(Error::unauthenticated("is banned"));
                }
                Ok(Session::new(Me(name.clone())).subject(name))
            }
        });
        let running = runtime.block_on(async { server.build().unwrap().start().await.unwrap() });
        Self { runtime, running }
    }

    /// So much time passes for the server, with all that it has to do in it.
    fn pass(&self, milliseconds: u64) {
        self.runtime.block_on(async { sleep(Duration::from_millis(milliseconds)).await });
    }

    fn now(&self) -> Instant {
        let _inside = self.runtime.enter();
        Instant::now()
    }

    fn serve(&self, socket: Socket) {
        let running = self.running.clone();
        self.runtime.spawn(async move { running.serve_socket(socket).await });
    }
}

/// What was handed in, and how it must end.
#[derive(Debug, Default)]
struct HandedIn {
    client: usize,
    ended: bool,
}

pub(crate) struct World {
    dice: Dice,
    process: Process,
    store: Arc<MemoryStore>,
    shape: u64,
    truth: Arc<Mutex<Truth>>,
    clients: Vec<Client>,
    slow: BTreeSet<usize>,
    /// Lines that clients have given up, on which something may still arrive.
    ghosts: Vec<Line>,
    mutations: BTreeMap<String, HandedIn>,
    figures: Figures,
    trace: Option<String>,
}

macro_rules! trace {
    ($world:expr, $($what:tt)*) => {
        if let Some(trace) = &mut $world.trace {
            let _ = writeln!(trace, $($what)*);
        }
    };
}

impl World {
    pub(crate) fn new(seed: u64, options: &Options, trace: bool) -> Self {
        dice::begin(seed);
        dice::calm(false);
        bug::begin(options.bug);
        let mut dice = Dice::new(seed);
        let epoch = Uuid::from_u64_pair(dice.next(), dice.next());
        let store = Arc::new(MemoryStore::with_epoch(epoch).log_retention(LOG));
        let truth = Arc::<Mutex<Truth>>::default();
        let disk = Disk { inner: store.clone(), truth: truth.clone(), shape: 0 };
        let clients = (0..6).map(|index| Client::new(PEOPLE[index % PEOPLE.len()], &mut dice)).collect();
        Self {
            dice,
            process: Process::start(disk),
            store,
            shape: 0,
            truth,
            clients,
            slow: BTreeSet::new(),
            ghosts: Vec::new(),
            mutations: BTreeMap::new(),
            figures: Figures::default(),
            trace: trace.then(String::new),
        }
    }

    /// Runs until so many operations are done, or a clause does not hold.
    pub(crate) fn run(&mut self, operations: u64) -> Checked<Figures> {
        let mut quiet_at = 60 + self.dice.below(120);
        while self.figures.operations < operations {
            self.step();
            for index in 0..self.clients.len() {
                self.check_ends(index)?;
            }
            self.turn()?;
            if self.figures.operations >= quiet_at {
                self.quiet()?;
                quiet_at = self.figures.operations + 40 + self.dice.below(160);
            }
        }
        self.quiet()?;
        self.figures.transactions = self.truth.lock().head;
        Ok(self.figures)
    }

    pub(crate) fn take_trace(&mut self) -> String {
        self.trace.take().unwrap_or_default()
    }

    /// One thing happens.
    fn step(&mut self) {
        let index = self.dice.index(self.clients.len());
        self.figures.operations += 1;
        match self.dice.below(100) {
            0..=3 => {
                let asked = self.random_query();
                trace!(self, "{index} subscribes to {asked:?}");
                if self.clients[index].subscriptions.len() < 5 {
                    self.clients[index].subscribe(asked);
                }
            }
            4 => {
                let client = &mut self.clients[index];
                if client.subscriptions.len() > 1 {
                    let left = self.dice.index(client.subscriptions.len());
                    trace!(self, "{index} unsubscribes from {left}");
                    client.unsubscribe(left);
                }
            }
            5..=7 => self.toggle_line(index),
            8 => {
                let id = self.random_id(index);
                self.clients[index].read("Memo", &id);
            }
            9 => self.revoke(),
            10 | 11 => self.interfere(),
            12 => {
                if !self.slow.remove(&index) {
                    self.slow.insert(index);
                }
                trace!(self, "slow: {:?}", self.slow);
            }
            13 => {
                trace!(self, "{index} crashes");
                self.crash_client(index);
            }
            14 if self.dice.once_in(3) => self.crash_server(),
            _ => {
                if self.clients[index].pending() < 16 {
                    self.mutate(index);
                }
            }
        }
    }

    fn toggle_line(&mut self, index: usize) {
        match self.clients[index].cut() {
            Some(line) => {
                trace!(self, "{index} is cut off");
                self.give_up(line);
            }
            None => self.connect(index),
        }
    }

    fn connect(&mut self, index: usize) {
        trace!(self, "{index} connects");
        let (line, socket) = Line::new(self.clients[index].person, self.truth.clone());
        self.process.serve(socket);
        self.clients[index].connect(line);
    }

    fn give_up(&mut self, mut line: Line) {
        if self.dice.once_in(2) {
            line.end();
        } else {
            line.abandon();
            self.ghosts.push(line);
        }
    }

    fn crash_client(&mut self, index: usize) {
        if let Some(line) = self.clients[index].crash() {
            self.give_up(line);
        }
        // What was not kept is lost, and nobody was told otherwise.
        let kept: BTreeSet<_> = self.clients[index].kept_texts().map(str::to_owned).collect();
        self.mutations.retain(|text, handed_in| {
            let is_kept = kept.contains(text);
            if handed_in.client == index && is_kept {
                // It is told again, to the page that comes after.
                handed_in.ended = false;
            }
            handed_in.client != index || handed_in.ended || is_kept
        });
    }

    fn crash_server(&mut self) {
        self.figures.crashes += 1;
        if self.dice.once_in(4) {
            self.shape = self.dice.next();
        }
        trace!(self, "the server crashes at {}, models {:x}", self.truth.lock().head, self.shape);
        let disk = Disk { inner: self.store.clone(), truth: self.truth.clone(), shape: self.shape };
        self.process = Process::start(disk);
        // On the clock of the new process.
        let now = self.process.now();
        self.truth.lock().banned.values_mut().for_each(|since| *since = now);
        self.ghosts.clear();
    }

    fn revoke(&mut self) {
        let person = *self.dice.one(&PEOPLE);
        match self.dice.below(3) {
            0 => {
                let now = self.process.now();
                self.truth.lock().banned.entry(person.into()).or_insert(now);
            }
            1 => drop(self.truth.lock().banned.remove(person)),
            _ => {}
        }
        trace!(self, "{person} is revoked, banned: {:?}", self.truth.lock().banned.keys());
        self.process.running.revoke(person);
    }

    /// The server itself moves things about: to another owner, and people in and out of rooms.
    fn interfere(&mut self) {
        let (id, to) = (self.known_id(), *self.dice.one(&PEOPLE));
        let room = i64::try_from(self.dice.below(ROOMS)).unwrap_or(0);
        let enters = self.dice.once_in(2);
        trace!(self, "the server gives {id} to {to}, who enters {room}: {enters}");
        let handle = self.process.running.handle();
        self.process.runtime.spawn(async move {
            let done = handle.transaction(|ctx| async move {
                if let Some(memo) = ctx.get::<Memo>(id).await? {
                    ctx.update(&Memo { owner: to.into(), ..memo }).await?;
                }
                // Not too many, all in all: the oldest go together.
                let memos = ctx.query(Filter::<Memo>::all()).await?;
                for memo in memos.iter().take(memos.len().saturating_sub(40)) {
                    ctx.delete(memo).await?;
                }
                let seat = Seat::of(to, room);
                match ctx.get::<Seat>(seat.key()).await? {
                    Some(seat) if !enters => ctx.delete(&seat).await,
                    None if enters => ctx.insert(seat).await.map(drop),
                    _ => Ok(()),
                }
            });
            // The disk may fail, or others may have been before it too often.
            let _ = done.await;
        });
    }

    fn known_id(&mut self) -> u64 {
        let ids = self.truth.lock().ids("Memo");
        if ids.is_empty() { 1 } else { self.dice.one(&ids).as_u64().unwrap_or(1) }
    }

    fn random_id(&mut self, index: usize) -> Value {
        let cids = self.clients[index].undecided_cids();
        if !cids.is_empty() && self.dice.once_in(3) {
            return json!({"$cid": *self.dice.one(&cids)});
        }
        if self.dice.once_in(12) {
            return (1 + self.dice.below(200)).into();
        }
        self.known_id().into()
    }

    fn random_query(&mut self) -> Map<String, Value> {
        let dice = &mut self.dice;
        if dice.once_in(6) {
            return Map::from_iter([("modelname".to_owned(), "Seat".into())]);
        }
        let mut asked = Map::from_iter([("modelname".to_owned(), Value::from("Memo"))]);
        let filter = match dice.below(5) {
            0 | 1 => json!({}),
            2 => json!({"room": dice.below(ROOMS)}),
            3 => json!({"room": {"in": [dice.below(ROOMS), dice.below(ROOMS)]}}),
            _ => json!({"rank": {"gte": 3}}),
        };
        asked.insert("where".into(), filter);
        if dice.once_in(4) {
            asked.insert("order".into(), json!(["-rank"]));
            asked.insert("limit".into(), (1 + dice.below(6)).into());
        }
        asked
    }

    fn random_change(&mut self, index: usize, text: &str) -> Value {
        let room = self.dice.below(ROOMS);
        let rank = if self.dice.once_in(4) { Value::Null } else { self.dice.below(10).into() };
        let id = self.random_id(index);
        match self.dice.below(8) {
            0..=3 => {
                let cid = Uuid::from_u64_pair(self.dice.next(), self.dice.next());
                let padding = " ".repeat(self.dice.index(300));
                json!({"method": "create", "modelname": "Memo", "cid": cid, "model": {"room": room, "rank": rank, "text": format!("{text}{padding}")}})
            }
            4 => {
                json!({"method": "patch", "modelname": "Memo", "model": {"id": id, "room": room, "text": text}})
            }
            5 | 6 => {
                json!({"method": "patch", "modelname": "Memo", "model": {"id": id, "rank": rank, "text": text}})
            }
            _ => json!({"method": "delete", "modelname": "Memo", "model": {"id": id}}),
        }
    }

    fn mutate(&mut self, index: usize) {
        let text = format!("m{}", self.figures.operations);
        let room = self.dice.below(ROOMS);
        let request = match self.dice.below(12) {
            0 | 1 => {
                json!({"method": "action", "modelname": "Seat", "action": "enter", "args": {"room": room}})
            }
            2 => json!({"method": "action", "modelname": "Seat", "action": "leave", "args": {"room": room}}),
            3 => {
                let to = self.dice.below(ROOMS);
                json!({"method": "action", "modelname": "Memo", "action": "carry", "args": {"from": room, "to": to}})
            }
            4 => {
                let parts: Vec<_> =
                    (0..2 + self.dice.below(2)).map(|_| self.random_change(index, &text)).collect();
                json!({"method": "batch", "requests": parts})
            }
            _ => self.random_change(index, &text),
        };
        trace!(self, "{index} {text}: {request}");
        self.mutations.insert(text.clone(), HandedIn { client: index, ended: false });
        self.clients[index].mutate(text, request);
    }

    /// Time passes: some of what is on its way arrives.
    fn turn(&mut self) -> Checked {
        for index in 0..self.clients.len() {
            let throw = self.dice.below(64);
            let client = &mut self.clients[index];
            if throw & 0b11 != 0 {
                client.save();
            }
            if throw & 0b1100 == 0 {
                client.acknowledge();
            }
            if throw & 0b11_0000 == 0 {
                client.resume();
            }
            let frames = self.dice.index(4);
            if let Some(line) = &mut client.line {
                line.deliver(frames);
            }
        }
        for ghost in &mut self.ghosts {
            ghost.deliver(self.dice.index(3));
            if self.dice.once_in(8) {
                ghost.end();
            }
        }
        self.ghosts.retain(Line::is_served);
        if self.dice.once_in(80) {
            self.wait()?;
        }
        let time = if self.dice.once_in(12) { self.dice.below(60) } else { self.dice.below(4) };
        self.process.pass(time);
        for index in 0..self.clients.len() {
            if !self.slow.contains(&index) {
                let frames = self.dice.index(4);
                self.receive(index, frames, false)?;
            }
        }
        self.check_faults()
    }

    /// More than a second passes, in which nothing but the lines works.
    fn wait(&mut self) -> Checked {
        trace!(self, "a second passes");
        for _ in 0..24 {
            for line in self.clients.iter_mut().filter_map(|client| client.line.as_mut()) {
                line.deliver(usize::MAX);
            }
            self.process.pass(50);
            for index in 0..self.clients.len() {
                if !self.slow.contains(&index) {
                    self.receive(index, usize::MAX, false)?;
                }
            }
        }
        Ok(())
    }

    fn check_faults(&self) -> Checked {
        if let Some(panic) = panics::take() {
            return Err(format!("the server panicked: {panic}"));
        }
        match self.truth.lock().faults.pop() {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    /// A client reads so many frames.
    fn receive(&mut self, index: usize, frames: usize, is_quiet: bool) -> Checked {
        for _ in 0..frames {
            let client = &mut self.clients[index];
            let Some(line) = &mut client.line else { return Ok(()) };
            let (message, written) = match line.receive() {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                Err(()) => {
                    trace!(self, "{index} has lost its line");
                    self.clients[index].cut();
                    return Ok(());
                }
            };
            match message {
                Message::Text(text) => {
                    trace!(self, "{index} hears, of {written}: {text}");
                    self.figures.frames += 1;
                    let messages = client.frame(&text);
                    let person = client.person;
                    for message in &messages {
                        self.check_sight(person, message, written)?;
                    }
                    self.check_ends(index)?;
                    if is_quiet || self.dice.once_in(4) {
                        self.check_rows(index)?;
                    }
                }
                Message::Ping(_) => line.send(Message::Pong(message.into_data())),
                Message::Close(frame) => {
                    trace!(self, "{index} is closed: {frame:?}");
                    if let Some(mut line) = client.cut() {
                        line.end();
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What somebody was told was in their sight, and is true.
    fn check_sight(&self, person: &str, message: &Value, written: Seq) -> Checked {
        let truth = self.truth.lock();
        let seq = message["seq"].as_u64().unwrap_or(0);
        let row_of = |message: &Value, row: &Value| {
            (message["modelname"].as_str().unwrap_or_default().to_owned(), key_of(row))
        };
        let check_all = |rows: &Value, seqs: Option<&Value>| {
            list(rows).iter().enumerate().try_for_each(|(index, row)| {
                let at = seqs.map_or(seq, |seqs| seqs[index].as_u64().unwrap_or(0).max(seq));
                truth.check_row(person, &row_of(message, row), row, at, written)
            })
        };
        let is_row = |row: &Value| row.as_object().is_some_and(|row| row.len() > 1);
        match message["method"].as_str().unwrap_or_default() {
            "create" | "update" => {
                truth.check_row(person, &row_of(message, &message["model"]), &message["model"], seq, written)
            }
            "delete" | "remove" => {
                truth.check_gone(person, &row_of(message, &message["model"]), seq, written)
            }
            "read" if message["models"].is_array() => check_all(&message["models"], None),
            "read" => {
                let row = row_of(message, &message["model"]);
                truth.check_row(person, &row, &message["model"], seq, written)
            }
            "window" => check_all(&message["in"], None),
            "changes" => list(&message["changes"])
                .iter()
                .try_for_each(|change| Self::check_change(&truth, person, change, written)),
            "confirm" => {
                let results =
                    message.get("results").map_or(std::slice::from_ref(message), |results| list(results));
                results.iter().filter(|result| is_row(&result["model"])).try_for_each(|result| {
                    let at = result["row_seq"].as_u64().unwrap_or(seq);
                    truth.check_row(person, &row_of(result, &result["model"]), &result["model"], at, written)
                })
            }
            _ => Ok(()),
        }
    }

    fn check_change(truth: &Truth, person: &str, change: &Value, written: Seq) -> Checked {
        let row = &change["model"];
        let (model, seq) =
            (change["modelname"].as_str().unwrap_or_default(), change["seq"].as_u64().unwrap_or(0));
        let key = (model.to_owned(), key_of(row));
        if matches!(change["method"].as_str(), Some("create" | "update")) {
            truth.check_row(person, &key, row, seq, written)
        } else {
            truth.check_gone(person, &key, seq, written)
        }
    }

    /// Looks at the mutations of a client that have just ended.
    fn check_ends(&mut self, index: usize) -> Checked {
        let ended = std::mem::take(&mut self.clients[index].ended);
        ended.iter().try_for_each(|ended| self.check_end(index, ended))
    }

    /// A mutation ends once, as it was decided, and not before the rows show it.
    fn check_end(&mut self, index: usize, ended: &Ended) -> Checked {
        let Ended { client, id, text, end } = ended;
        trace!(self, "{index} {text} has ended: {end:?}");
        let Some(handed_in) = self.mutations.get_mut(text) else {
            return Err(format!("clause 9: {text} was lost, and has ended: {end:?}"));
        };
        if std::mem::replace(&mut handed_in.ended, true) {
            return Err(format!("clause 9: {text} has ended twice"));
        }
        let truth = self.truth.lock();
        let decided = id.and_then(|id| truth.decided.get(&(*client, id)));
        match (end, decided.map(|decided| decided.seq)) {
            (End::Confirmed { seq, rows }, Some(Some(decided))) => {
                if *seq != decided {
                    return Err(format!(
                        "clause 2: {text} is confirmed at {seq}, and was decided at {decided}"
                    ));
                }
                for subscription in self.clients[index].shown() {
                    for row in rows.iter().filter(|(model, _)| model == subscription.model()) {
                        self.check_shown(&truth, index, subscription, row, *seq)?;
                    }
                }
                Ok(())
            }
            (End::Rejected, Some(None)) => Ok(()),
            (End::Unknown, _) => Err(format!("clause 3: nobody forgot {text}, and it has ended unknown")),
            (end, decided) => {
                Err(format!("clause 2: {text} has ended as {end:?}, and was decided as {decided:?}"))
            }
        }
    }

    /// A row is shown as it was at a seq or later.
    fn check_shown(
        &self,
        truth: &Truth,
        index: usize,
        subscription: &Subscription,
        row: &(String, String),
        from: Seq,
    ) -> Checked {
        let shown = subscription.rows.shown.get(&row.1).map(|(seq, _)| *seq);
        if shown.is_some_and(|shown| shown >= from) {
            return Ok(());
        }
        let person = self.clients[index].person;
        let is_so = (from..=truth.head).any(|at| {
            let version = truth.row(row, at);
            truth.scopes(person, at, truth.head).any(|scope| {
                let is_in = |version: &Value| truth.is_in_answer(person, &subscription.asked, version, scope);
                version.filter(|(_, version)| is_in(version)).map(|(seq, _)| seq) == shown
            })
        });
        if is_so {
            return Ok(());
        }
        Err(format!(
            "clause 9: {index} does not show {row:?} as of {from}, where its mutation has ended: it has {shown:?}"
        ))
    }

    /// At the end of a frame live rows are those of one seq.
    fn check_rows(&self, index: usize) -> Checked {
        let client = &self.clients[index];
        for subscription in
            client.live().filter(|subscription| !subscription.is_window() && subscription.rows.is_settled())
        {
            self.compare(client.person, index, subscription, subscription.rows.reached.unwrap_or(0), false)?;
        }
        Ok(())
    }

    fn compare(
        &self,
        person: &str,
        index: usize,
        subscription: &Subscription,
        at: Seq,
        is_quiet: bool,
    ) -> Checked {
        let truth = self.truth.lock();
        let mut shown: Vec<_> = subscription.rows.shown.values().map(|(_, row)| row.clone()).collect();
        shown = sync_tests::plain::answer(&subscription.asked, shown);
        let scopes: Vec<_> = if is_quiet { vec![at] } else { truth.scopes(person, at, truth.head).collect() };
        if scopes.iter().any(|scope| truth.answer(person, &subscription.asked, at, *scope) == shown)
            && shown.len() == subscription.rows.shown.len()
        {
            return Ok(());
        }
        let expected = truth.answer(person, &subscription.asked, at, at);
        let without = |a: &[Value], b: &[Value]| {
            a.iter().filter(|row| !b.contains(row)).map(ToString::to_string).collect::<Vec<_>>()
        };
        let (more, less) = (without(&shown, &expected), without(&expected, &shown));
        Err(format!(
            "clause {}: {index} ({person}) at {at} of {}, {:?}: has {more:?} too many, lacks {less:?}",
            if is_quiet { 8 } else { 5 },
            truth.head,
            subscription.asked
        ))
    }

    /// Nothing goes wrong any more, all lines are good; then everybody has what they are to have.
    fn quiet(&mut self) -> Checked {
        trace!(self, "quiet");
        self.figures.quiet_points += 1;
        dice::calm(true);
        self.truth.lock().banned.clear();
        self.slow.clear();
        for mut ghost in std::mem::take(&mut self.ghosts) {
            ghost.deliver(usize::MAX);
            ghost.end();
        }
        // What was refused is asked for again.
        for client in &mut self.clients {
            client.subscriptions.retain(|subscription| !subscription.is_refused);
        }
        let mut settled_for = 0;
        for _ in 0..PATIENCE {
            for index in 0..self.clients.len() {
                if self.clients[index].line.is_none() {
                    self.connect(index);
                }
                let client = &mut self.clients[index];
                client.resume();
                client.save();
                client.acknowledge();
                if let Some(line) = &mut client.line {
                    line.deliver(usize::MAX);
                }
            }
            self.process.pass(5);
            for index in 0..self.clients.len() {
                self.receive(index, usize::MAX, true)?;
            }
            self.check_faults()?;
            let head = self.truth.lock().head;
            let is_settled = self.clients.iter().all(|client| client.is_quiet() && client.progress >= head);
            // For a while: what was under way within the server has come, too.
            settled_for = if is_settled { settled_for + 1 } else { 0 };
            if settled_for == SETTLED {
                break;
            }
        }
        if settled_for < SETTLED {
            let waiting: Vec<_> =
                self.clients.iter().filter(|client| !client.is_quiet()).map(Client::describe).collect();
            return Err(format!(
                "clause 8: not everything is answered at {}: {}",
                self.truth.lock().head,
                waiting.join("\n  ")
            ));
        }
        let head = self.truth.lock().head;
        for (index, client) in self.clients.iter().enumerate() {
            for subscription in client.live() {
                self.compare(client.person, index, subscription, head, true)?;
            }
        }
        if let Some((text, _)) = self.mutations.iter().find(|(_, handed_in)| !handed_in.ended) {
            return Err(format!("clause 9: {text} has not ended, and nothing is pending"));
        }
        self.mutations.clear();
        dice::calm(false);
        Ok(())
    }
}

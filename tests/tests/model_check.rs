//! Who sees what, at random: clients with scopes that depend on other rows, filters, windows, pages, rows that move between owners and rooms, members who
//! come and go, revoked sessions, cut lines and slow readers. After each quiet moment each client has exactly the rows that a plain evaluation over all
//! rows gives it; and nothing that was ever sent was out of the session's sight at the seq that it was sent for.
//!
//! `CHECK_SEED=…` runs one world, `CHECK_CHANGES=…` says how many changes it makes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sync_core::{
    Context, Error, Filter, Limits, Login, Query, Result, Running, Server, Session, SyncedModel,
    store::{
        ClientRecord, Decision, LogPage, MemoryStore, Opened, Page, Select, Seq, Store, StoreFuture,
        StoredRow, Table, Transaction,
    },
    sync_handlers,
};
use sync_tests::{
    TestServer,
    mirror::{Mirror, in_order},
    plain,
};
use tokio::time::timeout;
use uuid::Uuid;

/// Who is asking.
struct Me(String);

/// That somebody is in a room.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Seat {
    id: String,
    #[sync(index)]
    person: String,
    #[sync(index)]
    room: i64,
}

#[sync_handlers]
impl Seat {
    async fn read(ctx: &Context) -> Result<Filter<Seat>> {
        Ok(Seat::PERSON.eq(&ctx.require::<Me>()?.0))
    }

    #[action]
    async fn enter(ctx: &Context, room: i64) -> Result<bool> {
        let seat = Seat::of(&ctx.require::<Me>()?.0, room);
        if ctx.get::<Seat>(seat.id.clone()).await?.is_some() {
            return Ok(false);
        }
        ctx.insert(seat).await?;
        Ok(true)
    }

    #[action]
    async fn leave(ctx: &Context, room: i64) -> Result<bool> {
        let seat = Seat::of(&ctx.require::<Me>()?.0, room);
        match ctx.get::<Seat>(seat.id).await? {
            Some(seat) => ctx.delete(&seat).await.map(|()| true),
            None => Ok(false),
        }
    }
}

impl Seat {
    fn of(person: &str, room: i64) -> Self {
        Self { id: format!("{person}/{room}"), person: person.into(), room }
    }
}

/// What is in a room, or somebody's own wherever it is.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Doc {
    id: u64,
    #[sync(index)]
    room: i64,
    #[serde(default)]
    #[sync(index)]
    rank: Option<i64>,
    #[serde(default)]
    #[sync(index)]
    tag: String,
    #[serde(default)]
    text: String,
    #[sync(server_only, index)]
    owner: String,
}

#[sync_handlers]
impl Doc {
    async fn create(ctx: &Context, draft: Doc) -> Result<Doc> {
        let me = &ctx.require::<Me>()?.0;
        if ctx.get::<Seat>(Seat::of(me, draft.room).id).await?.is_none() {
            return Err(Error::invalid("room", "is none of yours"));
        }
        Ok(Doc { owner: me.clone(), ..draft })
    }

    async fn update(_ctx: &Context, _current: &Doc, next: Doc) -> Result<Doc> {
        Ok(next)
    }

    async fn delete(_ctx: &Context, _current: &Doc) -> Result<()> {
        Ok(())
    }

    async fn read(ctx: &Context) -> Result<Filter<Doc>> {
        let me = &ctx.require::<Me>()?.0;
        let seats = ctx.query(Seat::PERSON.eq(me)).await?;
        Ok(Doc::ROOM.one_of(seats.iter().map(|seat| seat.room)) | Doc::OWNER.eq(me))
    }

    async fn read_all(_ctx: &Context, query: Query<Doc>) -> Result<Query<Doc>> {
        Ok(query.page_size(5))
    }

    /// Several rows at once: all or none.
    #[action]
    async fn carry(ctx: &Context, from: i64, to: i64) -> Result<usize> {
        let docs = ctx.query(ctx.scope::<Doc>().await? & Doc::ROOM.eq(from)).limit(5).await?;
        for doc in &docs {
            ctx.update(&Doc { room: to, ..doc.clone() }).await?;
        }
        Ok(docs.len())
    }
}

/// A store that remembers every transaction.
#[derive(Clone, Debug, Default)]
struct Remembering {
    inner: Arc<MemoryStore>,
    history: Arc<Mutex<Vec<(Seq, Transaction)>>>,
    clock: Arc<AtomicU64>,
}

impl Store for Remembering {
    fn open<'a>(&'a self, tables: &'a [Table]) -> StoreFuture<'a, Opened> {
        self.inner.open(tables)
    }
    fn allocate_ids<'a>(&'a self, model: &'a str, count: u32) -> StoreFuture<'a, i64> {
        self.inner.allocate_ids(model, count)
    }
    fn commit(&self, batch: Vec<Transaction>) -> StoreFuture<'_, Vec<Decision>> {
        Box::pin(async move {
            let decisions = self.inner.commit(batch.clone()).await?;
            let committed = decisions
                .iter()
                .zip(batch)
                .filter_map(|(decision, transaction)| Some((decision.seq()?, transaction)));
            let mut history = self.history.lock();
            history.extend(committed);
            if let Some((seq, _)) = history.last() {
                self.clock.store(*seq, Ordering::SeqCst);
            }
            Ok(decisions)
        })
    }
    fn get<'a>(&'a self, model: &'a str, key: &'a sync_core::Key) -> StoreFuture<'a, Option<StoredRow>> {
        self.inner.get(model, key)
    }
    fn page<'a>(&'a self, model: &'a str, select: &'a Select) -> StoreFuture<'a, Page> {
        self.inner.page(model, select)
    }
    fn log(&self, after: Seq, max_bytes: usize) -> StoreFuture<'_, LogPage> {
        self.inner.log(after, max_bytes)
    }
    fn client(&self, client: Uuid) -> StoreFuture<'_, Option<ClientRecord>> {
        self.inner.client(client)
    }
    fn forget_clients(&self, before: i64) -> StoreFuture<'_, u64> {
        self.inner.forget_clients(before)
    }
    fn close(&self) -> StoreFuture<'_, ()> {
        self.inner.close()
    }
}

/// All rows at one seq, and who sees which: the rules once more, in the plainest way.
#[derive(Clone, Default)]
struct Rows {
    docs: BTreeMap<String, Value>,
    seats: BTreeMap<String, Value>,
}

impl Rows {
    fn apply(&mut self, transaction: &Transaction) {
        for change in &transaction.changes {
            let rows = if change.model == "Doc" { &mut self.docs } else { &mut self.seats };
            match &change.new {
                Some(body) => {
                    let row: Value = serde_json::from_slice(body).unwrap();
                    rows.insert(row["id"].to_string(), row);
                }
                None => drop(rows.remove(&json!(change.key).to_string())),
            }
        }
    }

    fn of(&self, model: &str) -> &BTreeMap<String, Value> {
        if model == "Doc" { &self.docs } else { &self.seats }
    }

    /// The rows that a transaction will change, as they are; and all seats.
    fn before(&self, transaction: &Transaction) -> Self {
        let keys = transaction.changes.iter().filter(|change| change.model == "Doc");
        let docs = keys.filter_map(|change| {
            let key = json!(change.key).to_string();
            Some((key.clone(), self.docs.get(&key)?.clone()))
        });
        Self { docs: docs.collect(), seats: self.seats.clone() }
    }

    fn sees(&self, person: &str, model: &str, row: &Value) -> bool {
        let is_mine = |seat: &Value| seat["person"] == *person;
        match model {
            "Seat" => is_mine(row),
            _ => {
                row["owner"] == *person
                    || self.seats.values().any(|seat| is_mine(seat) && seat["room"] == row["room"])
            }
        }
    }

    /// What somebody may see of a model, as it is sent.
    fn seen_by(&self, person: &str, model: &str) -> Vec<Value> {
        let seen = self.of(model).values().filter(|row| self.sees(person, model, row));
        seen.map(|row| {
            let mut row = row.clone();
            row.as_object_mut().unwrap().remove("owner");
            row
        })
        .collect()
    }
}

/// A small random number generator, the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

const PEOPLE: [&str; 5] = ["anna", "bela", "cleo", "dora", "emil"];
const ROOMS: u64 = 6;
const TAGS: [&str; 4] = ["", "a", "ab", "b"];

struct World {
    seed: u64,
    dice: Dice,
    server: TestServer,
    running: Running,
    address: SocketAddr,
    history: Arc<Mutex<Vec<(Seq, Transaction)>>>,
    clients: Vec<(&'static str, Mirror)>,
    sent: BTreeMap<&'static str, u64>,
    slow: BTreeSet<usize>,
    past: Past,
}

impl World {
    async fn new(seed: u64) -> Self {
        let store = Remembering::default();
        let (history, clock) = (store.history.clone(), store.clock.clone());
        let mut limits = Limits::default();
        limits.ping_interval = Duration::from_millis(20);
        // Slow clients are soon too slow.
        limits.outbox_bytes = 4 * 1024;
        limits.page_rows = 7;
        let server = TestServer::on(Server::builder().custom_store(store).limits(limits).authenticate(
            |login: Login| async move {
                let name = login.token().ok_or_else(|| Error::unauthenticated("say who you are"))?.to_owned();
                Ok(Session::new(Me(name.clone())).subject(name))
            },
        ))
        .await;
        let (running, address) = (server.running().clone(), server.address);
        let mut world = Self {
            seed,
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            server,
            running,
            address,
            history,
            clients: Vec::new(),
            sent: BTreeMap::new(),
            slow: BTreeSet::new(),
            past: Past::default(),
        };
        for index in 0..8 {
            let person = PEOPLE[index % PEOPLE.len()];
            let client = Uuid::from_u64_pair(seed, index as u64 + 1);
            let mut mirror = Mirror::new(client, person);
            mirror.clock = clock.clone();
            world.clients.push((person, mirror));
        }
        for (_, client) in &mut world.clients {
            client.connect(address).await;
        }
        world
    }

    fn random_where(&mut self) -> Value {
        let room = |dice: &mut Dice| i64::try_from(dice.below(ROOMS)).unwrap();
        let dice = &mut self.dice;
        match dice.below(9) {
            0 => json!({}),
            1 => json!({"room": room(dice)}),
            2 => json!({"room": {"in": [room(dice), room(dice), room(dice)]}}),
            3 => json!({"rank": {"gte": dice.below(10), "lt": 8}}),
            4 => json!({"tag": {"prefix": "a"}}),
            5 => json!({"or": [{"rank": null}, {"tag": dice.one(&TAGS)}], "room": {"ne": room(dice)}}),
            6 => json!({"not": {"room": {"in": [room(dice), room(dice)]}}}),
            7 => json!({"room": {"in": [room(dice), room(dice)]}, "tag": {"in": ["a", "ab"]}}),
            _ => json!({"and": [{"room": {"gt": 1}}, {"not": {"tag": "b"}}]}),
        }
    }

    fn random_query(&mut self) -> Map<String, Value> {
        let mut asked = Map::new();
        if self.dice.below(12) == 0 {
            asked.insert("modelname".into(), "Seat".into());
            return asked;
        }
        asked.insert("modelname".into(), "Doc".into());
        let filter = self.random_where();
        asked.insert("where".into(), filter);
        if self.dice.below(2) == 0 {
            return asked;
        }
        let order =
            [&[] as &[&str], &["rank"], &["-rank"], &["tag", "-rank"], &["-id"], &["-room", "tag", "rank"]];
        let order = *self.dice.one(&order);
        if !order.is_empty() {
            asked.insert("order".into(), order.into());
        }
        let place = |dice: &mut Dice| {
            let value = |name: &str, dice: &mut Dice| match name.trim_start_matches('-') {
                "rank" if dice.below(4) == 0 => Value::Null,
                "tag" => (*dice.one(&TAGS)).into(),
                "id" => (1 + dice.below(60)).into(),
                _ => dice.below(10).into(),
            };
            let mut place: Vec<_> = order.iter().map(|name| value(name, dice)).collect();
            place.push((1 + dice.below(60)).into());
            Value::Array(place)
        };
        if self.dice.below(3) == 0 {
            asked.insert("after".into(), place(&mut self.dice));
        }
        if self.dice.below(4) == 0 {
            asked.insert("until".into(), place(&mut self.dice));
        }
        if self.dice.below(4) > 0 {
            asked.insert("limit".into(), (1 + self.dice.below(6)).into());
        }
        asked
    }

    /// Some row that somebody knows of, or perhaps none.
    fn random_id(&mut self) -> u64 {
        let newest = self.made() as u64 / 3;
        (newest.saturating_sub(100) + self.dice.below(140)).max(1)
    }

    fn random_change(&mut self) -> Value {
        let room = self.dice.below(ROOMS);
        let rank = if self.dice.below(4) == 0 { Value::Null } else { self.dice.below(10).into() };
        let tag = *self.dice.one(&TAGS);
        match self.dice.below(9) {
            0..=2 => {
                let row = json!({"room": room, "rank": rank, "tag": tag, "text": "x".repeat(usize::try_from(self.dice.below(200)).unwrap())});
                json!({"method": "create", "modelname": "Doc", "cid": Uuid::from_u64_pair(self.dice.next(), self.dice.next()), "model": row})
            }
            3 => {
                json!({"method": "patch", "modelname": "Doc", "model": {"id": self.random_id(), "room": room}})
            }
            4 => {
                json!({"method": "patch", "modelname": "Doc", "model": {"id": self.random_id(), "rank": rank, "tag": tag}})
            }
            5 => {
                json!({"method": "update", "modelname": "Doc", "model": {"id": self.random_id(), "room": room, "rank": rank, "tag": tag, "text": ""}})
            }
            _ => json!({"method": "delete", "modelname": "Doc", "model": {"id": self.random_id()}}),
        }
    }

    fn random_mutation(&mut self) -> Value {
        let room = self.dice.below(ROOMS);
        match self.dice.below(12) {
            0 | 1 => {
                json!({"method": "action", "modelname": "Seat", "action": "enter", "args": {"room": room}})
            }
            2 => json!({"method": "action", "modelname": "Seat", "action": "leave", "args": {"room": room}}),
            3 => {
                let to = self.dice.below(ROOMS);
                json!({"method": "action", "modelname": "Doc", "action": "carry", "args": {"from": room, "to": to}})
            }
            4 => {
                let requests: Vec<_> = (0..2 + self.dice.below(3)).map(|_| self.random_change()).collect();
                json!({"method": "batch", "requests": requests})
            }
            _ => self.random_change(),
        }
    }

    /// One thing happens.
    async fn step(&mut self) {
        let index = usize::try_from(self.dice.below(self.clients.len() as u64)).unwrap();
        match self.dice.below(100) {
            0..=1 => {
                let asked = self.random_query();
                let (_, client) = &mut self.clients[index];
                if client.subscriptions.len() < 6 {
                    client.subscribe(asked).await;
                }
            }
            2 => {
                let ids: Vec<_> = self.clients[index].1.subscriptions.keys().cloned().collect();
                if ids.len() > 2 {
                    let id = self.dice.one(&ids).clone();
                    self.clients[index].1.unsubscribe(&id).await;
                }
            }
            3 => {
                let (_, client) = &mut self.clients[index];
                if client.is_connected() {
                    client.cut();
                } else {
                    client.connect(self.address).await;
                }
            }
            4 => {
                self.running.revoke(PEOPLE[usize::try_from(self.dice.below(5)).unwrap()]);
            }
            5 => {
                // The server itself moves things about: to another owner, and people in and out of rooms.
                let (id, to) = (self.random_id(), *self.dice.one(&PEOPLE));
                let (room, enters) =
                    (i64::try_from(self.dice.below(ROOMS)).unwrap(), self.dice.below(2) == 0);
                let handle = self.running.handle();
                handle
                    .transaction(|ctx| async move {
                        if let Some(doc) = ctx.get::<Doc>(id).await? {
                            ctx.update(&Doc { owner: to.into(), ..doc }).await?;
                        }
                        // Not too many, all in all: the oldest go together.
                        let docs = ctx.query(Filter::<Doc>::all()).await?;
                        for doc in docs.iter().take(docs.len().saturating_sub(120)) {
                            ctx.delete(doc).await?;
                        }
                        let seat = Seat::of(to, room);
                        match ctx.get::<Seat>(seat.id.clone()).await? {
                            Some(seat) if !enters => ctx.delete(&seat).await,
                            None if enters => ctx.insert(seat).await.map(drop),
                            _ => Ok(()),
                        }
                    })
                    .await
                    .unwrap();
            }
            6 => {
                // Somebody does not read for a while.
                if !self.slow.remove(&index) {
                    self.slow.insert(index);
                }
            }
            _ => {
                let mutation = self.random_mutation();
                let (_, client) = &mut self.clients[index];
                if client.pending() < 20 {
                    client.mutate(mutation).await;
                }
            }
        }
        if self.dice.below(4) == 0 {
            tokio::task::yield_now().await;
            for (index, (_, client)) in self.clients.iter_mut().enumerate() {
                if !self.slow.contains(&index) {
                    client.pump(8).await;
                }
            }
        }
    }

    /// All lines are good, and all that was asked is answered: everybody has what they are to have.
    async fn quiet(&mut self) {
        self.slow.clear();
        let settled = timeout(Duration::from_mins(1), async {
            loop {
                let mut all = true;
                for (_, client) in &mut self.clients {
                    if !client.is_connected() {
                        client.connect(self.address).await;
                    }
                    client.pump(64).await;
                    all &= client.is_quiet();
                }
                if all {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        assert!(settled.await.is_ok(), "seed {}: not everything is answered: {:#?}", self.seed, self.stuck());
        let (rows, head) = self.rows();
        for (person, client) in &mut self.clients {
            let converged = timeout(Duration::from_secs(20), async {
                loop {
                    let wrong = wrong(&rows, person, client);
                    // Nothing more can come that makes it wrong again.
                    if wrong.is_none() && client.reached() >= head {
                        return;
                    }
                    client.wait().await;
                    if !client.is_connected() {
                        client.connect(self.address).await;
                    }
                }
            });
            assert!(
                converged.await.is_ok(),
                "seed {}: {person} at {} of {head}: {}",
                self.seed,
                client.reached(),
                wrong(&rows, person, client).unwrap_or_default()
            );
        }
        self.check_sight();
    }

    fn stuck(&self) -> Vec<String> {
        let clients = self.clients.iter().filter(|(_, client)| !client.is_quiet());
        clients.map(|(person, client)| format!("{person}: {}", client.state())).collect()
    }

    /// How many transactions there were.
    fn made(&self) -> usize {
        self.past.transactions + self.history.lock().len()
    }

    /// All rows now, and the last seq.
    fn rows(&self) -> (Rows, Seq) {
        let mut rows = self.past.rows.clone();
        let history = self.history.lock();
        for (_, transaction) in history.iter() {
            rows.apply(transaction);
        }
        (rows, history.last().map_or(self.past.seq, |(seq, _)| *seq))
    }

    /// Nothing was sent that the session could not see at the seq that it was sent for. What is sent of the past, after a cut or in a second answer, is judged
    /// by what the session sees by then: that must not have been out of sight ever since.
    fn check_sight(&mut self) {
        let history = std::mem::take(&mut *self.history.lock());
        let mut seen: Vec<_> = Vec::new();
        for (person, client) in &mut self.clients {
            let person = *person;
            seen.extend(client.seen.drain(..).map(|seen| (person, seen)));
        }
        seen.sort_by_key(|(_, seen)| seen.seq);
        for (seq, transaction) in &history {
            self.past.remember(*seq, transaction);
        }
        let Past { rows, seq: reached, transactions, seats, owned } = &mut self.past;
        *transactions += history.len();
        let mut history = history.iter().peekable();
        let mut before = Rows::default();
        for (person, seen) in seen {
            while let Some((seq, transaction)) = history.next_if(|(seq, _)| *seq <= seen.seq) {
                before = rows.before(transaction);
                rows.apply(transaction);
                *reached = *seq;
            }
            let is_row = seen.row.as_object().is_some_and(|row| row.len() > 1);
            *self.sent.entry(if is_row { "rows" } else { "ids" }).or_default() += 1;
            let key = seen.row["id"].to_string();
            // Of a row that is gone, the room that it was in.
            let row_then = if is_row { Some(&seen.row) } else { before.of(&seen.model).get(&key) };
            let room = row_then.map_or(Value::Null, |row| row["room"].clone()).to_string();
            let room = seats.get(&(person.to_owned(), room)).map_or(&[] as &[_], Vec::as_slice);
            // Whether it was in sight at this seq, or again by the time that it came.
            let was_in =
                |at: Seq| room.iter().rev().find(|(seq, _)| *seq <= at).is_some_and(|(_, is_in)| *is_in);
            let came_in = room.iter().any(|(seq, is_in)| *is_in && *seq > seen.seq && *seq <= seen.at);
            let was_owner = owned.contains(&(person, key.clone()));
            let is_seen = match seen.method.as_str() {
                // What is told of the past may be in sight for another reason by now.
                "changes" | "confirm" => !is_row || was_owner || was_in(seen.seq) || came_in,
                _ if is_row => {
                    came_in
                        || rows
                            .of(&seen.model)
                            .get(&key)
                            .is_some_and(|row| rows.sees(person, &seen.model, row))
                }
                // Only who saw it hears that it is gone.
                "delete" | "remove" if *reached == seen.seq => {
                    came_in
                        || before
                            .of(&seen.model)
                            .get(&key)
                            .is_some_and(|row| before.sees(person, &seen.model, row))
                }
                _ => true,
            };
            let row = rows.of(&seen.model).get(&key);
            let seed = self.seed;
            assert!(
                is_seen,
                "seed {seed}: {person} was sent what is out of sight: {seen:?}, which is {row:?}"
            );
        }
        for (seq, transaction) in history {
            rows.apply(transaction);
            *reached = *seq;
        }
    }
}

/// What was, up to the last quiet moment.
#[derive(Default)]
struct Past {
    rows: Rows,
    seq: Seq,
    transactions: usize,
    /// When somebody entered a room, and left it.
    seats: BTreeMap<(String, String), Vec<(Seq, bool)>>,
    /// Who has had which document.
    owned: BTreeSet<(&'static str, String)>,
}

impl Past {
    fn remember(&mut self, seq: Seq, transaction: &Transaction) {
        for change in &transaction.changes {
            let row: Value =
                serde_json::from_slice(change.new.as_ref().or(change.old.as_ref()).unwrap()).unwrap();
            if change.model == "Seat" {
                let seat = (row["person"].as_str().unwrap().to_owned(), row["room"].to_string());
                self.seats.entry(seat).or_default().push((seq, change.new.is_some()));
            } else if let Some(owner) = PEOPLE.iter().find(|person| row["owner"] == **person) {
                self.owned.insert((owner, row["id"].to_string()));
            }
        }
    }
}

/// What a client has that it should not have, or has not.
fn wrong(rows: &Rows, person: &str, client: &Mirror) -> Option<String> {
    for (id, subscription) in &client.subscriptions {
        let model = subscription.asked["modelname"].as_str().unwrap();
        let expected = plain::answer(&subscription.asked, rows.seen_by(person, model));
        let got = in_order(subscription);
        if got != expected {
            let without = |a: &[Value], b: &[Value]| -> Vec<Value> {
                a.iter().filter(|row| !b.contains(row)).cloned().collect()
            };
            let (more, less) = (without(&got, &expected), without(&expected, &got));
            let asked = Value::Object(subscription.asked.clone());
            return Some(format!("{id} {asked}: has {more:?} too many, lacks {less:?}; {}", client.state()));
        }
    }
    None
}

async fn run(seed: u64, changes: usize) -> (usize, BTreeMap<&'static str, u64>) {
    let mut world = World::new(seed).await;
    let mut next = 200;
    loop {
        world.step().await;
        let made = world.made();
        if made >= next {
            world.quiet().await;
            next = made + 50 + usize::try_from(world.dice.below(300)).unwrap();
        }
        if made >= changes {
            world.quiet().await;
            let sent = world.sent.clone();
            world.server.stop().await;
            return (made, sent);
        }
    }
}

#[tokio::test]
async fn everybody_has_what_they_may_see() {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let changes = number("CHECK_CHANGES").unwrap_or(1_500);
    let changes = usize::try_from(changes).unwrap();
    match number("CHECK_SEED") {
        Some(seed) => println!("{:?}", run(seed, changes).await),
        None => {
            for seed in 1..=3 {
                println!("seed {seed}: {:?}", run(seed, changes).await);
            }
        }
    }
}

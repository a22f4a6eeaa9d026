//! Windows against a plain evaluation, while the store is ahead, reads are late and clients slow.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::*;
use crate::{
    model::{
        OrderBy, Place, Value,
        filter::{Expr, Range, Relation},
        order::OrderList,
    },
    outbox::{Asked, LoadKey},
    protocol::{RequestId, response::WireRow},
};

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    /// Whether it happens, one time in so many.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())].clone()
    }
}

type Table = BTreeMap<i64, (Seq, Bytes)>;

/// What a client has of one subscription.
#[derive(Default)]
struct View {
    pages: Vec<(i64, (Seq, Json))>,
    rows: HashMap<i64, (Seq, Json)>,
    is_live: bool,
}

struct Client {
    outbox: Arc<Outbox>,
    shapes: Vec<Shape>,
    views: HashMap<String, View>,
    resets: usize,
    windows: usize,
    progress: Seq,
}

/// A store, the hub behind it, and clients.
struct World {
    random: Random,
    hub: Hub,
    store: Table,
    store_seq: Seq,
    /// Committed, and not published.
    ahead: VecDeque<Published>,
    /// What is published.
    published: Table,
    log: Vec<Published>,
    clients: Vec<Client>,
    /// Reads that were asked for, and those that have an answer.
    asked: Vec<Refill>,
    answered: Vec<(Refill, ReadRows)>,
}

const LISTS: [&str; 4] = ["a", "b", "c", "d"];

fn shape_of(random: &mut Random) -> Shape {
    let list = |list: &str| Expr::Eq("list", Value::Text(list.into()));
    let filter = match random.below(5) {
        0 => Expr::And(Vec::new()),
        1 => list("a"),
        2 => Expr::or(vec![list("a"), list("c")]),
        3 => Expr::Compare("n", Relation::Less, Value::Int(3)),
        _ => {
            Expr::and(vec![Expr::or(LISTS[1..].iter().map(|name| list(name)).collect()), list("d").negated()])
        }
    };
    let fields = [("n", false), ("n", true), ("list", false), ("id", true)];
    let mut order = OrderList::new();
    for _ in 0..random.below(3) {
        let (field, descending) = random.of(&fields);
        if order.iter().all(|by| by.field != field) {
            order.push(OrderBy { field, descending });
        }
    }
    let filter = if random.once_in(3) {
        let values = order.iter().map(|by| match by.field {
            "list" => Value::Text("b".into()),
            "id" => Value::Int(20),
            _ => Value::Int(1),
        });
        let after = Some(Place { values: values.collect(), key: Key::Int(20) });
        let range = Range { order: order.clone(), id: "id", after, until: None };
        Expr::and(vec![filter, Expr::Within(Arc::new(range))])
    } else {
        filter
    };
    Shape { filter, first: Some(First { order, limit: random.of(&[1, 2, 5, 9]) }) }
}

/// The rows of a shape, in order.
fn evaluated(table: &Table, shape: &Shape) -> Vec<(Place, Seq, Bytes)> {
    let order = shape.first.as_ref().map(|first| first.order.clone()).unwrap_or_default();
    let rows = table.iter().filter(|(_, (_, body))| shape.filter.matches(body));
    let place = |id: &i64, body: &Bytes| Place::of_body(body, Key::Int(*id), &order).unwrap();
    let mut rows: Vec<_> = rows.map(|(id, (seq, body))| (place(id, body), *seq, body.clone())).collect();
    rows.sort_by(|(a, ..), (b, ..)| a.compare(b, &order));
    rows
}

fn id_of(place: &Place) -> i64 {
    let Key::Int(id) = place.key else { panic!() };
    id
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            hub: Hub::new(0, 1 << 20),
            store: Table::new(),
            store_seq: 0,
            ahead: VecDeque::new(),
            published: Table::new(),
            log: Vec::new(),
            clients: Vec::new(),
            asked: Vec::new(),
            answered: Vec::new(),
        }
    }

    fn commit(&mut self) {
        let random = &mut self.random;
        self.store_seq += 1;
        // Bursts delete, so that windows run dry, or create, so that they overflow.
        let burst = random.of(&[None, None, None, None, None, None, Some(true), Some(false)]);
        let count = if burst.is_some() { 25 } else { 1 + random.below(3) };
        let mut changes = SmallVec::new();
        for _ in 0..count {
            let id = 1 + i64::try_from(random.below(50)).unwrap();
            let old = self.store.get(&id).map(|(_, body)| body.clone());
            let is_deleted = old.is_some() && (burst == Some(true) || random.once_in(4));
            let new = (!is_deleted).then(|| {
                let n = random.of(&[
                    json!(null),
                    json!(-1),
                    json!(1),
                    json!(1.5),
                    json!(2),
                    json!(3),
                    json!("x"),
                ]);
                Bytes::from(json!({"id": id, "list": random.of(&LISTS), "n": n}).to_string())
            });
            // A transaction changes a row once.
            let is_known = changes.iter().any(|change: &PublishedChange| change.key == Key::Int(id));
            if is_known || burst.is_some_and(|deletes| deletes != old.is_some()) {
                continue;
            }
            match &new {
                Some(body) => self.store.insert(id, (self.store_seq, body.clone())),
                None => self.store.remove(&id),
            };
            let cid = old.is_none().then(|| format!("c{id}").into());
            let (wire, key) = (new.clone(), Key::Int(id));
            changes.push(PublishedChange { model: "Task", id_name: "id", key, cid, old, new, wire });
        }
        self.ahead.push_back(Published { seq: self.store_seq, changes });
    }

    fn publish(&mut self, count: usize) {
        let count = count.min(self.ahead.len());
        let batch: Vec<_> = self.ahead.drain(..count).collect();
        for Published { seq, changes } in &batch {
            for change in changes {
                let Key::Int(id) = change.key else { panic!() };
                match &change.new {
                    Some(body) => self.published.insert(id, (*seq, body.clone())),
                    None => self.published.remove(&id),
                };
            }
        }
        self.hub.publish(&batch);
        self.log.extend(batch);
    }

    fn read(&mut self) {
        if let Some(refill) = self.hub.wanted() {
            self.asked.push(refill);
        }
        if self.asked.is_empty() {
            return;
        }
        let at = self.random.below(self.asked.len());
        let refill = self.asked.swap_remove(at);
        if self.random.once_in(6) {
            self.hub.refill_failed(refill);
            return;
        }
        let shape =
            Shape { filter: refill.filter().clone(), first: Some(First { order: refill.order(), limit: 1 }) };
        let rows = evaluated(&self.store, &shape);
        let is_after = |place: &Place| {
            refill.after.as_ref().is_none_or(|after| place.compare(after, &refill.order()).is_gt())
        };
        let mut rows: Vec<_> = rows.into_iter().filter(|(place, ..)| is_after(place)).collect();
        // Now and then the bytes of a page are fewer.
        let most = if self.random.once_in(3) { 1 + self.random.below(3) } else { refill.rows };
        let more = rows.len() > most;
        rows.truncate(most);
        let rows = rows.into_iter().map(|(place, seq, wire)| WindowRow { place, seq, wire }).collect();
        self.answered.push((refill, ReadRows { rows, seq: self.store_seq, more }));
    }

    fn answer(&mut self) {
        if !self.answered.is_empty() {
            let at = self.random.below(self.answered.len());
            let (refill, rows) = self.answered.swap_remove(at);
            self.hub.refilled(&refill, rows);
        }
    }

    fn subscribe(&mut self) {
        let limit = self.random.of(&[600, 1 << 20]);
        let outbox = Arc::new(Outbox::new(limit, Uuid::nil(), self.hub.head()));
        let mut client =
            Client { outbox, shapes: Vec::new(), views: HashMap::new(), resets: 0, windows: 0, progress: 0 };
        for number in 0..=self.random.below(2) {
            let shape = shape_of(&mut self.random);
            let begun = client.outbox.begin();
            let (source, ..) = self.hub.join_rows("Task", 0, shape.clone(), &client.outbox);
            client.outbox.watch(begun, asked(number), source);
            client.shapes.push(shape);
        }
        // And one to all rows of some lists, which is several queries.
        let number = client.shapes.len();
        let shape = Shape::all(Expr::or(
            LISTS[..3].iter().map(|list| Expr::Eq("list", Value::Text((*list).into()))).collect(),
        ));
        let begun = client.outbox.begin();
        let (source, places, head) = self.hub.join_rows("Task", 0, shape.clone(), &client.outbox);
        assert_eq!(source.legs.len(), 3);
        let load = client.outbox.subscribe(begun, asked(number), source, (places, head));
        let rows = evaluated(&self.store, &shape);
        let rows: Vec<_> = rows.into_iter().map(|(_, seq, row)| WireRow { row, seq }).collect();
        page(&client.outbox, load, &asked(number), &rows, self.store_seq);
        client.outbox.loaded(load, self.store_seq);
        client.shapes.push(shape);
        self.clients.push(client);
    }

    /// What the loader of a connection does.
    fn load(&mut self, client: usize) {
        let outbox = self.clients[client].outbox.clone();
        if let Some(work) = outbox.window_work() {
            if work.has_failed {
                // A client is told; here it goes on.
                let query = &work.source.legs[0];
                outbox.window_ready(query);
                return;
            }
            if let Snapshot::Rows { rows, places, seq } = self.hub.snapshot(&work.source, &outbox) {
                page(&outbox, work.load, &work.asked, &rows, seq);
                outbox.window_loaded(work.load, places, seq);
            }
        } else if let Some(work) = outbox.log_work() {
            let (places, head) = self.hub.end_of(&work.source);
            let missed = self.log.iter().filter(|published| published.seq > work.after);
            let messages = work.source.messages(missed);
            if !messages.is_empty() {
                let message = response::changes(work.asked.id.as_ref(), head, &messages);
                outbox.answer_to(work.load, message, head);
            }
            outbox.caught_up(work.load, head, Some(places));
        }
    }

    /// A client takes what there is for it, and is compared.
    fn take(&mut self, client: usize) {
        let frames = {
            let client = &self.clients[client];
            client.outbox.frames(&self.hub, self.hub.head(), true)
        };
        let client = &mut self.clients[client];
        for frame in frames {
            let messages = match serde_json::from_slice(&frame).unwrap() {
                Json::Array(messages) => messages,
                message => vec![message],
            };
            for message in &messages {
                client.apply(message);
            }
        }
        let refills = &self.hub.refills;
        let is_reading = !(self.asked.is_empty() && self.answered.is_empty()) || refills.are_wanted();
        client.compare(&self.published, self.hub.head(), is_reading);
    }

    fn is_quiet(&self) -> bool {
        self.asked.is_empty() && self.answered.is_empty() && self.ahead.is_empty()
    }
}

fn asked(number: usize) -> Asked {
    Asked { id: Some(RequestId::Text(number.to_string().into())), rows: Arc::default(), page_rows: 500 }
}

fn page(outbox: &Outbox, load: LoadKey, asked: &Asked, rows: &[WireRow], seq: Seq) {
    outbox.answer_to(load, response::page("Task", asked.id.as_ref(), rows, seq, false), seq);
}

impl Client {
    fn apply(&mut self, message: &Json) {
        let id = message["id"].as_str().or(message["query"].as_str()).unwrap_or_default().to_owned();
        let all = (self.shapes.len() - 1).to_string();
        match message["method"].as_str().unwrap() {
            "reset" => {
                self.resets += 1;
                self.views.insert(id, View::default());
            }
            "read" => {
                let view = self.views.entry(id).or_default();
                let rows =
                    message["models"].as_array().unwrap().iter().zip(message["seqs"].as_array().unwrap());
                view.pages.extend(
                    rows.map(|(row, seq)| {
                        (row["id"].as_i64().unwrap(), (seq.as_u64().unwrap(), row.clone()))
                    }),
                );
            }
            "live" => {
                let view = self.views.get_mut(&id).unwrap();
                // Pages and `changes` are merged by seq, as they came.
                view.rows.extend(std::mem::take(&mut view.pages));
                view.rows.retain(|_, (_, row)| !row.is_null());
                view.is_live = true;
            }
            "changes" => {
                let view = self.views.get_mut(&id).unwrap();
                for change in message["changes"].as_array().unwrap() {
                    let (id, seq) =
                        (change["model"]["id"].as_i64().unwrap(), change["seq"].as_u64().unwrap());
                    let is_there = matches!(change["method"].as_str(), Some("create" | "update"));
                    let row = if is_there { change["model"].clone() } else { Json::Null };
                    let known = view.pages.iter().rev().find(|(known, _)| *known == id);
                    if known.is_none_or(|(_, (known, _))| *known < seq) {
                        view.pages.push((id, (seq, row)));
                    }
                }
            }
            "window" => {
                self.windows += 1;
                let view = self.views.get_mut(&id).unwrap();
                assert!(view.is_live, "{message}");
                for id in message["out"].as_array().unwrap() {
                    assert!(view.rows.remove(&id.as_i64().unwrap()).is_some(), "it was not there: {message}");
                }
                let (rows, seqs) = (message["in"].as_array().unwrap(), message["seqs"].as_array().unwrap());
                assert_eq!(rows.len(), seqs.len());
                for (at, (row, seq)) in rows.iter().zip(seqs).enumerate() {
                    let (id, seq) = (row["id"].as_i64().unwrap(), seq.as_u64().unwrap());
                    let before = view.rows.insert(id, (seq, row.clone()));
                    assert!(before.is_none_or(|(before, _)| before < seq), "nothing new: {message}");
                    let cid = &message["cids"][at];
                    assert!(cid.is_null() || *cid == format!("c{id}"), "{message}");
                    assert!(cid.is_null() || seq == message["seq"].as_u64().unwrap(), "{message}");
                }
            }
            "create" | "update" => {
                let view = self.views.get_mut(&all).unwrap();
                let id = message["model"]["id"].as_i64().unwrap();
                view.rows.insert(id, (message["seq"].as_u64().unwrap(), message["model"].clone()));
            }
            "remove" | "delete" => {
                let view = self.views.get_mut(&all).unwrap();
                assert!(view.rows.remove(&message["model"]["id"].as_i64().unwrap()).is_some(), "{message}");
            }
            "progress" => self.progress = message["seq"].as_u64().unwrap(),
            _ => {}
        }
    }

    /// A window has the first rows of those that there are by now; all of them once nothing is being read.
    fn compare(&self, published: &Table, head: Seq, is_reading: bool) {
        for (number, shape) in self.shapes.iter().enumerate() {
            // Who is too slow is sent what it lacks out of the log, later.
            if shape.first.is_none() && self.progress < head {
                continue;
            }
            let Some(view) = self.views.get(&number.to_string()).filter(|view| view.is_live) else {
                continue;
            };
            let all = evaluated(published, shape);
            let expected: HashMap<_, _> = all
                .into_iter()
                .take(shape.first.as_ref().map_or(usize::MAX, |first| {
                    if is_reading { view.rows.len().min(first.limit) } else { first.limit }
                }))
                .map(|(place, seq, body)| (id_of(&place), (seq, serde_json::from_slice(&body).unwrap())))
                .collect();
            assert_eq!(view.rows, expected, "{shape:?}");
        }
    }

    fn is_full(&self, published: &Table) -> bool {
        self.shapes.iter().enumerate().all(|(number, shape)| {
            let most = shape.first.as_ref().map_or(usize::MAX, |first| first.limit);
            let rows = evaluated(published, shape).len().min(most);
            self.views.get(&number.to_string()).is_some_and(|view| view.is_live && view.rows.len() == rows)
        })
    }
}

/// Whoever asks when, whatever is read late or not at all: at every published seq a client has the first rows.
#[test]
fn windows_are_what_a_plain_evaluation_says() {
    let (mut resets, mut messages) = (0, 0);
    for seed in 0..4 {
        let mut world = World::new(seed);
        for _ in 0..40 {
            world.commit();
        }
        world.publish(40);
        for _ in 0..800 {
            let clients = world.clients.len();
            match world.random.below(12) {
                0..=2 => world.commit(),
                3..=4 => {
                    let count = 1 + world.random.below(3);
                    world.publish(count);
                }
                5 => world.read(),
                6 => world.answer(),
                7 if clients < 6 && world.random.once_in(4) => world.subscribe(),
                8 if world.random.once_in(4) => world.hub.retry_refills(),
                9 if clients > 2 && world.random.once_in(40) => {
                    let client = world.random.below(clients);
                    world.hub.disconnect(&world.clients.swap_remove(client).outbox);
                }
                _ if clients > 0 => {
                    let client = world.random.below(clients);
                    // Some take less often than others.
                    if world.random.below(6) >= client {
                        world.load(client);
                        world.take(client);
                    }
                }
                _ => {}
            }
        }
        for _ in 0..200 {
            world.publish(usize::MAX);
            world.hub.retry_refills();
            world.read();
            world.answer();
            for client in 0..world.clients.len() {
                world.load(client);
                world.take(client);
            }
        }
        assert!(world.is_quiet());
        for client in &world.clients {
            assert!(client.is_full(&world.published), "{seed}: {:?}", client.shapes);
            resets += client.resets;
            messages += client.windows;
        }
        for client in std::mem::take(&mut world.clients) {
            world.hub.disconnect(&client.outbox);
        }
        assert!(world.hub.queries.lock().is_empty());
    }
    assert!(resets > 5 && messages > 200, "{resets} {messages}");
}

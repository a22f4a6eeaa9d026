//! The server is killed again and again while clients write: every confirmed row is there, none twice, and seqs have no gap.
//!
//! `KILLS=2000 cargo test --release -p sync-tests --test kill -- --nocapture` kills it more often, over 100,000 rows; the figures are printed.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sync_tests::{Client, ServerProcess};
use tokio::{net::TcpStream, sync::mpsc, time};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};
use uuid::Uuid;

const CLIENTS: u64 = 8;
/// Mutations that a client has under way at a time.
const WINDOW: usize = 16;

/// How often the server is killed, and how many rows are written meanwhile.
fn plan() -> (u64, u64) {
    let kills = std::env::var("KILLS").map_or(20, |kills| kills.parse().unwrap());
    let rows = (kills * 50).max(10_000);
    (kills, rows - rows % CLIENTS)
}

/// A client that does not give up: it numbers its writes, and sends what has no answer again after each reconnect.
struct Writer {
    id: Uuid,
    name: u64,
    welcomed: bool,
    acked: u64,
    /// Sent or to be sent, without an answer, in order.
    pending: VecDeque<u64>,
    next: u64,
    confirmed: HashMap<u64, u64>,
    repeats: u64,
}

impl Writer {
    fn request(&self, id: u64) -> Value {
        let title = format!("{}-{id}", self.name);
        json!({"method":"create","id":id,"modelname":"Todo","cid":title,"model":{"title":title},"ack":self.acked})
    }

    async fn run(
        mut self,
        address: SocketAddr,
        share: u64,
        progress: Arc<AtomicU64>,
        confirmed: mpsc::UnboundedSender<()>,
    ) -> Self {
        while self.confirmed.len() < usize::try_from(share).unwrap() {
            // An error is a cut line: the server is being killed.
            let _ = self.connected(address, share, &progress, &confirmed).await;
            tokio::task::yield_now().await;
        }
        self
    }

    /// Until the line is cut.
    async fn connected(
        &mut self,
        address: SocketAddr,
        share: u64,
        progress: &AtomicU64,
        confirmed: &mpsc::UnboundedSender<()>,
    ) -> Option<()> {
        let Ok(stream) = TcpStream::connect(address).await else {
            time::sleep(Duration::from_millis(2)).await; // nobody listens: the next process is on its way
            return None;
        };
        let (mut socket, _) = client_async(format!("ws://{address}/sync"), stream).await.ok()?;
        let mut hello = json!({"method":"hello","client":self.id});
        if self.welcomed {
            hello["ack"] = self.acked.into();
        }
        socket.send(Message::text(hello.to_string())).await.ok()?;
        let welcome = Self::receive(&mut socket).await?.into_iter().next()?;
        assert_eq!(welcome["method"], "welcome", "{welcome}");
        self.welcomed = true;
        for outcome in welcome["outcomes"].as_array().unwrap() {
            self.outcome(outcome, progress, confirmed);
        }
        let last = welcome["last"].as_u64().unwrap();
        assert!(self.pending.iter().all(|id| *id > last), "decided, but not among the outcomes");
        for id in self.pending.clone() {
            self.repeats += 1;
            socket.send(Message::text(self.request(id).to_string())).await.ok()?;
        }
        loop {
            while self.pending.len() < WINDOW && self.next <= share {
                let request = self.request(self.next);
                self.pending.push_back(self.next);
                self.next += 1;
                socket.send(Message::text(request.to_string())).await.ok()?;
            }
            if self.pending.is_empty() {
                return Some(());
            }
            for message in Self::receive(&mut socket).await? {
                self.outcome(&message, progress, confirmed);
            }
        }
    }

    async fn receive(socket: &mut WebSocketStream<TcpStream>) -> Option<Vec<Value>> {
        loop {
            match socket.next().await?.ok()? {
                Message::Text(text) => {
                    return Some(match serde_json::from_str(&text).unwrap() {
                        Value::Array(messages) => messages,
                        message => vec![message],
                    });
                }
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    fn outcome(&mut self, message: &Value, progress: &AtomicU64, confirmed: &mpsc::UnboundedSender<()>) {
        if message["method"] == "progress" {
            return;
        }
        assert_eq!(message["method"], "confirm", "{message}");
        let id = message["id"].as_u64().unwrap();
        assert_eq!(self.pending.pop_front(), Some(id), "answers come in order");
        assert_eq!(self.confirmed.insert(id, message["seq"].as_u64().unwrap()), None, "answered twice");
        self.acked = id;
        progress.fetch_add(1, Ordering::SeqCst);
        let _ = confirmed.send(());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn confirmed_rows_survive_sigkill() {
    let (kills, rows) = plan();
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("kill.db");
    let program = env!("CARGO_BIN_EXE_sync-test-server");
    let begun = Instant::now();
    let mut server = ServerProcess::start(program, "127.0.0.1:0".parse().unwrap(), &database);
    let address = server.address;
    let progress = Arc::new(AtomicU64::new(0));
    let (confirm, mut confirms) = mpsc::unbounded_channel();
    let writers: Vec<_> = (0..CLIENTS)
        .map(|name| {
            let writer = Writer {
                id: Uuid::new_v4(),
                name,
                welcomed: false,
                acked: 0,
                pending: VecDeque::new(),
                next: 1,
                confirmed: HashMap::new(),
                repeats: 0,
            };
            tokio::spawn(writer.run(address, rows / CLIENTS, progress.clone(), confirm.clone()))
        })
        .collect();
    drop(confirm);

    // Killed after a number of confirms that nobody chose: in the middle of flushes, batches and frames.
    let mut slowest_start = Duration::ZERO;
    for kill in 1..=kills {
        let each = rows / (kills + 1);
        let jitter = Uuid::new_v4().as_u128() % u128::from(each / 2);
        let at = kill * each + u64::try_from(jitter).unwrap();
        while progress.load(Ordering::SeqCst) < at && confirms.recv().await.is_some() {}
        server.kill();
        let start = Instant::now();
        server = ServerProcess::start(program, address, &database);
        slowest_start = slowest_start.max(start.elapsed());
    }
    let (mut expected, mut repeats) = (HashMap::new(), 0);
    for writer in writers {
        let writer = writer.await.unwrap();
        repeats += writer.repeats;
        expected.extend(writer.confirmed.iter().map(|(id, seq)| (format!("{}-{id}", writer.name), *seq)));
    }
    assert_eq!(expected.len() as u64, rows);

    let mut reader = Client::connect(address).await;
    let (found, live) = reader.subscribe("Todo").await;
    assert_eq!(live["seq"], rows, "one seq a row, and no other");
    assert_eq!(found.len() as u64, rows, "none lost, none doubled");
    let pages = reader.frames.iter().flatten().filter(|message| message["method"] == "read");
    let seqs =
        pages.flat_map(|page| page["seqs"].as_array().unwrap().iter().map(|seq| seq.as_u64().unwrap()));
    let mut seqs: Vec<_> = seqs.collect();
    for (row, seq) in found.iter().zip(&seqs) {
        assert_eq!(expected.get(row["title"].as_str().unwrap()), Some(seq), "confirmed at this seq: {row}");
    }
    seqs.sort_unstable();
    assert!(seqs.iter().copied().eq(1..=rows), "gapless");
    println!(
        "{rows} rows by {CLIENTS} clients, {kills} kills, {repeats} mutations sent again, slowest start {slowest_start:?}, {:?} in all",
        begun.elapsed()
    );
}

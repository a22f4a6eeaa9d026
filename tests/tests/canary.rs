//! Nothing that a client may not see gets out, whatever it does: every byte that is sent, and every line of the log, is searched for what should
//! not be there.
//!
//! Values of rows begin with `cny`, who may see them, and until which phase of their rights; a `server_only` field with `cny-secret`, tokens, cookies
//! and tickets with what is searched for as they are. `CANARY_SEED` runs one seed again.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, SystemTime},
};

use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sync_core::{Context, Error, Filter, Handle, Login, Result, Server, Session, SyncedModel, sync_handlers};
use sync_tests::TestServer;
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);
const USERS: usize = 4;
const STEPS: usize = 600;

/// Who is signed in.
#[derive(Clone)]
struct User {
    name: String,
    /// Whose rows they see.
    sees: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Vault {
    id: String,
    #[sync(index)]
    list: String,
    text: String,
    /// Seen by everybody.
    #[serde(default)]
    #[sync(index)]
    public: bool,
    #[sync(server_only)]
    secret: String,
    #[sync(server_only, index)]
    owner: String,
}

fn secret() -> String {
    format!("cny-secret-{}", Uuid::new_v4().simple())
}

#[sync_handlers(crud)]
impl Vault {
    async fn create(ctx: &Context, draft: Vault) -> Result<Vault> {
        let user = ctx.require::<User>()?;
        match &*draft.list {
            "invalid" => Err(Error::invalid("list", "is not what it should be")),
            "forbidden" => Err(Error::forbidden("not this one")),
            "internal" => Err("x".parse::<u8>().unwrap_err().into()),
            "panic" => panic!("as asked"),
            _ => Ok(Vault { owner: user.name.clone(), secret: secret(), public: false, ..draft }),
        }
    }

    async fn update(_ctx: &Context, current: &Vault, next: Vault) -> Result<Vault> {
        // What everybody sees is no canary.
        let text = if current.public { "public".into() } else { next.text };
        Ok(Vault { secret: secret(), public: current.public, text, ..next })
    }

    async fn read(ctx: &Context) -> Result<Filter<Vault>> {
        let sees = ctx.session::<User>().map(|user| user.sees.clone()).unwrap_or_default();
        Ok(Vault::OWNER.one_of(sees) | Vault::PUBLIC.eq(true))
    }

    #[action]
    async fn count(ctx: &Context, list: String) -> Result<usize> {
        let mine = ctx.scope::<Vault>().await?;
        ctx.query(mine & Vault::LIST.eq(list)).count().await
    }
}

/// What is logged, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .init();
        log
    })
}

/// A sequence of numbers that a seed tells.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Everything that a connection was sent, as it came.
#[derive(Default)]
struct Heard {
    frames: Vec<String>,
    is_over: bool,
}

/// One client, over its connections.
struct Tap {
    user: usize,
    client: Uuid,
    welcomed: bool,
    next: u64,
    sent: Vec<Value>,
    sink: SplitSink<WebSocketStream<TcpStream>, Message>,
    heard: watch::Receiver<Heard>,
    /// Of the connections before.
    before: Vec<String>,
    subscriptions: usize,
}

impl Tap {
    async fn connect(
        world: &World,
        user: usize,
        dice: &mut Dice,
    ) -> (SplitSink<WebSocketStream<TcpStream>, Message>, watch::Receiver<Heard>, Option<String>) {
        let name = name(user);
        let way = dice.below(3);
        let path = match way {
            0 => {
                let ticket = world.server.running().ticket(world.session(&name)).unwrap();
                world.hidden.lock().unwrap().push(ticket.to_string());
                format!("/sync?ticket={ticket}")
            }
            _ => "/sync".into(),
        };
        let mut request = format!("ws://{}{path}", world.server.address).into_client_request().unwrap();
        let token = world.tokens[user].clone();
        if way == 1 {
            let cookie = HeaderValue::from_str(&format!("theme=dark; session={token}")).unwrap();
            request.headers_mut().insert("cookie", cookie);
        }
        let stream = TcpStream::connect(world.server.address).await.unwrap();
        let (socket, _) = client_async(request, stream).await.unwrap();
        let (sink, mut stream) = socket.split();
        let (sender, heard) = watch::channel(Heard::default());
        tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                match message {
                    Message::Text(text) => sender.send_modify(|heard| heard.frames.push(text.to_string())),
                    Message::Close(frame) => {
                        sender.send_modify(|heard| heard.frames.push(format!("{frame:?}")));
                    }
                    _ => {}
                }
            }
            sender.send_modify(|heard| heard.is_over = true);
        });
        (sink, heard, (way == 2).then_some(token))
    }

    async fn new(world: &World, user: usize, dice: &mut Dice) -> Self {
        let (sink, heard, token) = Self::connect(world, user, dice).await;
        let mut tap = Self {
            user,
            client: Uuid::new_v4(),
            welcomed: false,
            next: 1,
            sent: Vec::new(),
            sink,
            heard,
            before: Vec::new(),
            subscriptions: 0,
        };
        tap.hello(token).await;
        tap
    }

    /// Comes again, on a new connection.
    async fn again(&mut self, world: &World, dice: &mut Dice) {
        let (sink, heard, token) = Self::connect(world, self.user, dice).await;
        let old = std::mem::replace(&mut self.heard, heard);
        self.sink = sink;
        let frames = old.borrow().frames.clone();
        self.before.extend(frames);
        self.hello(token).await;
    }

    async fn hello(&mut self, token: Option<String>) {
        let mut hello = json!({"method":"hello","client":self.client});
        if let Some(token) = token {
            hello["token"] = token.into();
        }
        if self.welcomed {
            hello["ack"] = 0.into();
        }
        self.send(&hello.to_string()).await;
        self.until(|frame| frame.contains("\"method\":\"welcome\"")).await;
        let welcome = self.heard.borrow().frames.iter().find(|frame| frame.contains("\"welcome\"")).cloned();
        let welcome: Value = serde_json::from_str(&welcome.expect("nobody was welcome")).unwrap();
        self.next = welcome["last"].as_u64().unwrap() + 1;
        self.welcomed = true;
    }

    /// Sends it, if the connection is there.
    async fn send(&mut self, text: &str) {
        let _ = self.sink.send(Message::text(text)).await;
    }

    /// Waits until a frame has come, or the connection is over.
    async fn until(&mut self, is_it: impl Fn(&str) -> bool) {
        let has_come = |heard: &Heard| heard.is_over || heard.frames.iter().any(|frame| is_it(frame));
        timeout(PATIENCE, self.heard.wait_for(has_come)).await.expect("nothing comes").unwrap();
    }

    /// Waits until what was sent before is answered.
    async fn settle(&mut self) {
        let id = Uuid::new_v4().to_string();
        self.send(&json!({"method":"read","id":id,"modelname":"Vault","model":{"id":"none"}}).to_string())
            .await;
        self.until(|frame| frame.contains(&id)).await;
    }

    fn is_over(&self) -> bool {
        self.heard.borrow().is_over
    }

    fn all(&self) -> Vec<String> {
        self.before.iter().cloned().chain(self.heard.borrow().frames.iter().cloned()).collect()
    }

    fn cursor(&self) -> Option<String> {
        let frames = self.all();
        let text = frames.iter().rev().find_map(|frame| frame.split("\"cursor\":\"").nth(1))?;
        text.split('"').next().map(Into::into)
    }
}

fn name(user: usize) -> String {
    format!("user{user}")
}

struct World {
    server: TestServer,
    handle: Handle,
    sees: Arc<Mutex<HashMap<String, Vec<String>>>>,
    tokens: Vec<String>,
    /// Tokens and tickets.
    hidden: Mutex<Vec<String>>,
    /// How often the first user's rights were changed.
    phase: usize,
    rows: Vec<(usize, String)>,
}

impl World {
    async fn new() -> Self {
        let tokens: Vec<_> = (0..USERS).map(|_| format!("token-{}", Uuid::new_v4().simple())).collect();
        let sees: HashMap<_, _> = (0..USERS).map(|user| (name(user), vec![name(user)])).collect();
        let sees = Arc::new(Mutex::new(sees));
        let by_token: Arc<HashMap<_, _>> =
            Arc::new(tokens.iter().enumerate().map(|(user, token)| (token.clone(), name(user))).collect());
        let builder = Server::builder().store("memory:").authenticate({
            let sees = sees.clone();
            move |login: Login| {
                let (by_token, sees) = (by_token.clone(), sees.clone());
                async move {
                    assert!(!format!("{login:?}").contains("token-"));
                    if let Some(session) = login.ticket::<User>() {
                        return Ok(session);
                    }
                    let token = login.token().or_else(|| login.cookie("session"));
                    let name = token.and_then(|token| by_token.get(token));
                    let name = name.ok_or_else(|| Error::unauthenticated("who is that?"))?;
                    Ok(session(&sees, name))
                }
            }
        });
        let server = TestServer::on(builder).await;
        let handle = server.running().handle();
        let hidden = Mutex::new(tokens.clone());
        Self { server, handle, sees, tokens, hidden, phase: 0, rows: Vec::new() }
    }

    fn session(&self, name: &str) -> Session<User> {
        session(&self.sees, name)
    }

    /// Text that only this user, and who may see their rows in this phase, may ever be sent.
    fn canary(&self, user: usize) -> String {
        format!("cny-user{user}-p{}-{}", self.phase, Uuid::new_v4().simple())
    }

    async fn insert(&mut self, user: usize, dice: &mut Dice) {
        // The id too: nobody else learns that there is such a row.
        // But for those of rows that come into everybody's view, and leave it.
        let id = if dice.below(3) == 0 { format!("open-{}", Uuid::new_v4()) } else { self.canary(user) };
        let list = (*dice.of(&["a", "b", "c"])).to_owned();
        let row = Vault {
            id: id.clone(),
            list,
            text: self.canary(user),
            public: false,
            secret: secret(),
            owner: name(user),
        };
        self.handle.insert(row).await.unwrap();
        self.rows.push((user, id));
    }

    async fn change(&mut self, dice: &mut Dice) {
        if self.rows.is_empty() {
            return;
        }
        let (user, id) = dice.of(&self.rows).clone();
        let (text, list) = (self.canary(user), *dice.of(&["a", "b", "c"]));
        let _ = self
            .handle
            .transaction(|context| {
                let (id, text) = (id.clone(), text.clone());
                async move {
                    if let Some(row) = context.get::<Vault>(id).await? {
                        let public = row.id.starts_with("open-") && !row.public;
                        let text = if public { "public".into() } else { text };
                        context
                            .update(&Vault { text, list: list.into(), public, secret: secret(), ..row })
                            .await?;
                    }
                    Ok(())
                }
            })
            .await;
    }
}

fn session(sees: &Mutex<HashMap<String, Vec<String>>>, name: &str) -> Session<User> {
    let sees = sees.lock().unwrap()[name].clone();
    Session::new(User { name: name.into(), sees })
        .subject(name)
        .expires_at(SystemTime::now() + Duration::from_mins(10))
}

fn filter(dice: &mut Dice) -> Value {
    match dice.below(9) {
        0 => json!({}),
        1 => json!({"list": "a"}),
        2 => json!({"list": {"in": ["a", "b"]}}),
        3 => json!({"not": {"list": "a"}}),
        4 => json!({"or": [{"list": "a"}, {"public": false}]}),
        5 => json!({"id": {"prefix": "cny-"}}),
        6 => json!({"owner": "user1"}),
        7 => json!({"secret": {"prefix": "cny"}}),
        _ => json!({"list": {"gt": ""}}),
    }
}

fn mutation(world: &World, user: usize, dice: &mut Dice) -> Value {
    // Of anybody: who knows an id knows no more than that.
    // Of who sees it: the first user may write to the second's rows.
    let (owner, id) = match dice.below(5) {
        0 => (user, "none".into()),
        1 => (user, "cny-secret-guess".into()),
        _ => world.rows.get(dice.below(world.rows.len().max(1))).cloned().unwrap_or_default(),
    };
    let list = *dice.of(&["a", "a", "b", "c", "invalid", "forbidden", "internal", "panic"]);
    let text = world.canary(user);
    match dice.below(9) {
        0..3 => {
            json!({"method":"create","modelname":"Vault","cid":format!("c{}", dice.below(50)),"model":{"id":world.canary(user),"list":list,"text":text}})
        }
        3 => json!({"method":"create","modelname":"Vault","model":{"list":list,"text":text,"secret":"mine"}}),
        4 => {
            json!({"method":"update","modelname":"Vault","model":{"id":id,"list":list,"text":world.canary(owner)}})
        }
        5 => {
            json!({"method":"patch","modelname":"Vault","model":{"id":id,"text":world.canary(owner)},"if_seq":dice.below(9)})
        }
        6 => {
            json!({"method":"patch","modelname":"Vault","model":{"id":{"$cid":format!("c{}", dice.below(50))},"text":text}})
        }
        7 => json!({"method":"delete","modelname":"Vault","model":{"id":id}}),
        _ => json!({"method":"action","modelname":"Vault","action":"count","args":{"list":list}}),
    }
}

async fn step(tap: &mut Tap, world: &mut World, dice: &mut Dice) {
    if tap.is_over() {
        return tap.again(world, dice).await;
    }
    match dice.below(20) {
        0..2 => {
            tap.subscriptions += 1;
            let id = format!("s{}", tap.subscriptions);
            let mut subscribe =
                json!({"method":"subscribe","id":id,"modelname":"Vault","where":filter(dice)});
            if dice.below(3) == 0 {
                subscribe["order"] = json!([*dice.of(&["list", "-list"])]);
                subscribe["limit"] = (1 + dice.below(5)).into();
            }
            if let (Some(cursor), 0) = (tap.cursor(), dice.below(2)) {
                subscribe["since"] = cursor.into();
            }
            tap.send(&subscribe.to_string()).await;
        }
        2 => {
            let id = format!("s{}", dice.below(tap.subscriptions + 1));
            tap.send(&json!({"method":"unsubscribe","id":id}).to_string()).await;
        }
        3 => {
            tap.send(&json!({"method":"read","id":"r","modelname":"Vault","where":filter(dice)}).to_string())
                .await;
        }
        4..6 => {
            let id = world
                .rows
                .get(dice.below(world.rows.len().max(1)))
                .map_or_else(String::new, |(_, id)| id.clone());
            tap.send(&json!({"method":"read","id":"r","modelname":"Vault","model":{"id":id}}).to_string())
                .await;
        }
        6..13 => {
            let mut mutation = if dice.below(6) == 0 {
                let requests: Vec<_> = (0..=dice.below(3)).map(|_| mutation(world, tap.user, dice)).collect();
                json!({"method":"batch","requests":requests})
            } else {
                mutation(world, tap.user, dice)
            };
            mutation["id"] = tap.next.into();
            tap.next += 1;
            tap.sent.push(mutation.clone());
            tap.send(&mutation.to_string()).await;
        }
        13 if !tap.sent.is_empty() => {
            let again = dice.of(&tap.sent).to_string();
            tap.send(&again).await;
        }
        14 => {
            tap.send(dice.of::<&str>(&[
                "{",
                "[]",
                "{\"method\":\"steal\"}",
                "{\"method\":\"read\",\"owner\":1}",
            ]))
            .await;
        }
        15 => {
            tap.settle().await;
            tap.again(world, dice).await;
        }
        16 => {
            // Another's name.
            let id = Uuid::new_v4();
            tap.send(&json!({"method":"hello","client":id}).to_string()).await;
        }
        17 => drop(world.server.running().revoke(&name(tap.user))),
        18 => world.insert(dice.below(USERS), dice).await,
        _ => world.change(dice).await,
    }
}

/// What this client was sent and may not have been.
fn leaks(tap: &Tap, allowed: &[String]) -> Vec<String> {
    let mut leaks = Vec::new();
    for frame in tap.all() {
        for (at, _) in frame.match_indices("cny-") {
            if !allowed.iter().any(|allowed| frame[at..].starts_with(allowed)) {
                leaks.push(frame[at..].chars().take(60).collect());
            }
        }
    }
    leaks
}

async fn run(seed: u64) {
    println!("CANARY_SEED={seed}");
    let log = log();
    let mut dice = Dice(seed);
    let mut world = World::new().await;
    // The first sees the second's rows too, until that ends.
    world.sees.lock().unwrap().insert(name(0), vec![name(0), name(1)]);
    for user in 0..USERS {
        for _ in 0..5 {
            world.insert(user, &mut dice).await;
        }
    }
    let mut taps = Vec::new();
    for user in (0..USERS).chain(0..USERS) {
        taps.push(Tap::new(&world, user, &mut dice).await);
    }
    for number in 0..STEPS {
        if number == STEPS / 2 {
            // From now on the second's rows are not the first's to see.
            let first: Vec<_> = taps.iter().map(|tap| tap.user == 0).collect();
            for (tap, _) in taps.iter_mut().zip(&first).filter(|(_, first)| **first) {
                if tap.is_over() {
                    tap.again(&world, &mut dice).await;
                }
                tap.send(&json!({"method":"subscribe","id":"end","modelname":"Vault"}).to_string()).await;
                tap.until(|frame| frame.contains("\"method\":\"live\"") && frame.contains("\"id\":\"end\""))
                    .await;
            }
            world.sees.lock().unwrap().insert(name(0), vec![name(0)]);
            world.server.running().revoke(&name(0));
            for (tap, _) in taps.iter_mut().zip(&first).filter(|(_, first)| **first) {
                tap.until(|frame| frame.contains("\"reason\":\"scope\"") && frame.contains("\"id\":\"end\""))
                    .await;
            }
            world.phase = 1;
            for _ in 0..5 {
                world.insert(1, &mut dice).await;
            }
        }
        let at = dice.below(taps.len());
        step(&mut taps[at], &mut world, &mut dice).await;
        if dice.below(8) == 0 {
            taps[at].settle().await;
        }
        if dice.below(40) == 0 {
            // Another's client id, with one's own token.
            let (client, thief) = (taps[at].client, (taps[at].user + 1) % USERS);
            let mut stranger = Tap::connect(&world, thief, &mut dice).await;
            let hello = json!({"method":"hello","client":client,"token":world.tokens[thief],"ack":0});
            stranger.0.send(Message::text(hello.to_string())).await.unwrap();
            let answered = timeout(PATIENCE, stranger.1.wait_for(|heard| !heard.frames.is_empty()));
            let frames = answered.await.expect("nothing comes").unwrap().frames.clone();
            assert!(frames[0].contains("client_unknown"), "{}", frames[0]);
        }
    }
    for tap in &mut taps {
        if tap.is_over() {
            tap.again(&world, &mut dice).await;
        }
        tap.settle().await;
    }

    let mut seen = 0;
    for tap in &taps {
        let mut allowed = vec![format!("cny-user{}-", tap.user)];
        if tap.user == 0 {
            allowed.push("cny-user1-p0-".into());
        }
        assert_eq!(leaks(tap, &allowed), [] as [String; 0], "user {} of seed {seed}", tap.user);
        seen += tap.all().iter().filter(|frame| frame.contains(&allowed[0])).count();
    }
    for method in [
        "\"remove\"",
        "\"update\"",
        "\"conflict\"",
        "\"not_found\"",
        "\"internal\"",
        "\"changes\"",
        "\"window\"",
    ] {
        println!(
            "{method}: {}",
            taps.iter().flat_map(Tap::all).filter(|frame| frame.contains(method)).count()
        );
    }
    assert!(seen > 50, "the search finds what may be seen: {seen}");
    let first = taps.iter().filter(|tap| tap.user == 0);
    assert!(first.into_iter().any(|tap| tap.all().iter().any(|frame| frame.contains("cny-user1-p0-"))));

    let hidden = world.hidden.lock().unwrap().clone();
    world.server.stop().await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("connection ended"), "it is logged at every level");
    let line = |what: &str| log.lines().find(|line| line.contains(what)).map(ToOwned::to_owned);
    assert_eq!(line("cny-"), None, "seed {seed}");
    for secret in &hidden {
        assert_eq!(line(secret), None, "seed {seed}");
    }
}

#[tokio::test]
async fn nothing_gets_out_that_a_client_may_not_see() {
    let seed = std::env::var("CANARY_SEED").ok().map(|seed| seed.parse().unwrap());
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let fresh = u64::try_from(now % u128::from(u64::MAX)).unwrap() | 1;
    for seed in seed.map_or_else(|| vec![1, 2, fresh], |seed| vec![seed]) {
        run(seed).await;
    }
}

//! More of what no client sends, beside `attack`: closes and floods, every kind of frame that is none, and JSON with something wrong in each place
//! that is read. Each is answered or ends its connection with the right code, and takes nothing from who is connected beside it.
//!
//! Client and server share a thread here, so that its CPU time, printed for each attack, is at least what the server needed.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sync_core::{SyncedModel, sync_handlers};
use sync_tests::{
    Client, TestServer,
    raw::{CLOSE, CONTINUATION, FIN, PING, PONG, RESERVED, Raw, Received, TEXT, frame, header, text},
};
use uuid::Uuid;

/// How often each is done: its CPU time is the mean.
const TIMES: u32 = 10;

/// How often as much an attack may cost as an honest message of its size.
const MOST: f64 = 2.0;

/// Takes everything that JSON can be.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub struct Anything {
    /// Assigned by the server.
    pub id: u64,
    /// A number.
    #[serde(default)]
    pub number: f64,
    /// Names and values of the client's own.
    #[serde(default)]
    pub map: BTreeMap<String, Value>,
}

#[sync_handlers(crud)]
impl Anything {
    async fn create(_ctx: &sync_core::Context, _draft: Anything) -> sync_core::Result<Anything> {
        Err(sync_core::Error::forbidden("it was understood"))
    }

    #[action]
    async fn say(_ctx: &sync_core::Context, map: BTreeMap<String, Value>) -> sync_core::Result<usize> {
        Ok(map.len())
    }
}

/// What is to come of it.
enum Expected {
    /// An error of this code with this in its message or its fields; the connection goes on.
    Error(&'static str, &'static str),
    /// A message of this method; the connection goes on.
    Message(&'static str),
    /// A pong with this in it; the connection goes on.
    Pong(&'static [u8]),
    /// Nothing; the connection goes on.
    Nothing,
    /// The end, with this close code.
    Closed(u16),
}

use Expected::{Closed, Error, Message, Nothing, Pong};

struct Attack {
    name: String,
    bytes: Vec<u8>,
    expected: Expected,
}

fn attack(name: impl Into<String>, bytes: Vec<u8>, expected: Expected) -> Attack {
    Attack { name: name.into(), bytes, expected }
}

/// What the thread has used.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds come first");
    Duration::from_nanos(nanos)
}

/// What it has used since it had used so much.
fn cpu_since(begun: Duration) -> Duration {
    cpu().saturating_sub(begun)
}

/// Who is connected beside, and somebody whose rows it is to hear of.
struct Bystander {
    author: Client,
    reader: Client,
    written: u64,
}

impl Bystander {
    async fn new(server: &TestServer) -> Self {
        let (author, _) = Client::hello(server.address, Uuid::new_v4(), None).await;
        let mut reader = server.client().await;
        assert!(reader.subscribe("Todo").await.0.is_empty());
        Self { author, reader, written: 0 }
    }

    /// A row is written and heard of, and nothing else was before it.
    async fn is_well(&mut self, after: &str) {
        self.written += 1;
        let id = self.written;
        let create = json!({"method":"create","id":id,"ack":id - 1,"modelname":"Todo","cid":id.to_string(),"model":{"title":after}});
        assert_eq!(self.author.ask(&create).await["method"], "confirm", "after {after}");
        assert_eq!(self.reader.next("create").await["model"]["title"], after);
    }

    /// Nothing was lost, and nothing doubled.
    async fn ends_well(self, server: TestServer) {
        let rows = server.client().await.subscribe("Todo").await.0;
        assert_eq!(rows.len() as u64, self.written);
        server.stop().await;
    }
}

/// Does it as often as it takes to know what it costs, which it returns; or how it went wrong.
async fn cost(server: &TestServer, attack: &Attack) -> Result<Duration, String> {
    let begun = cpu();
    for _ in 0..TIMES {
        once(server, attack).await.map_err(|wrong| format!("{}: {wrong}", attack.name))?;
    }
    Ok(cpu_since(begun) / TIMES)
}

async fn once(server: &TestServer, Attack { bytes, expected, .. }: &Attack) -> Result<(), String> {
    let mut line = Raw::connect(server.address).await;
    // A server that has heard enough may close the line meanwhile.
    let sent = line.send(bytes).await;
    match expected {
        Closed(code) => loop {
            match line.receive().await {
                Received::Closed(closed) if closed == *code => return Ok(()),
                // What was refused before the last of it.
                Received::Messages(messages)
                    if messages.iter().all(|message| message["method"] == "error") => {}
                other => return Err(format!("{other:?} instead of the close code {code}; {sent:?}")),
            }
        },
        Error(code, what) => {
            let answer = line.message().await.map_err(|other| format!("{other:?}"))?;
            let said = format!("{} {}", answer["message"].as_str().unwrap_or_default(), answer["fields"]);
            if answer["code"] != *code || !said.contains(what) {
                return Err(format!("{answer} instead of `{code}` with {what}"));
            }
            let length = answer.to_string().len();
            if length > 2_000 {
                return Err(format!("the answer is of {length} bytes"));
            }
        }
        Message(method) => {
            let answer = line.message().await.map_err(|other| format!("{other:?}"))?;
            if answer["method"] != *method {
                return Err(format!("{answer} instead of a `{method}`"));
            }
        }
        Pong(payload) => {
            let answer = line.receive().await;
            if answer != Received::Pong(payload.to_vec()) {
                return Err(format!("{answer:?} instead of a pong"));
            }
        }
        Nothing => {}
    }
    line.send(&read("after")).await.map_err(|error| error.to_string())?;
    match line.message().await {
        Ok(answer) if answer["id"] == "after" => Ok(()),
        other => Err(format!("{other:?} instead of the answer to the next request")),
    }
}

/// A `read` that is answered shortly.
fn read(id: &str) -> Vec<u8> {
    text(&format!(r#"{{"method":"read","id":"{id}","modelname":"Anything","limit":1}}"#))
}

async fn all(attacks: Vec<Attack>) {
    let server = TestServer::memory().await;
    let mut bystander = Bystander::new(&server).await;
    // As large as a message may be, and much to decode: refused by the handler alone.
    let names: Vec<_> = (0..6_000).map(|name| format!(r#""{name}":0"#)).collect();
    let dearest =
        format!(r#"{{"method":"create","modelname":"Anything","model":{{"map":{{{}}}}}}}"#, names.join(","));
    let honest = attack("the dearest honest message", text(&dearest), Error("forbidden", "understood"));
    cost(&server, &honest).await.unwrap();
    let honest_cost = cost(&server, &honest).await.unwrap();
    println!("{honest_cost:>10.2?}  {}", honest.name);
    let mut wrong = Vec::new();
    for attack in &attacks {
        match cost(&server, attack).await {
            Ok(cost) => {
                println!("{cost:>10.2?}  {}", attack.name);
                if cost > honest_cost.mul_f64(MOST) {
                    wrong.push(format!("{}: {cost:?}, more than {MOST} times {honest_cost:?}", attack.name));
                }
            }
            Err(error) => wrong.push(error),
        }
        bystander.is_well(&attack.name).await;
    }
    bystander.ends_well(server).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `open` and `close`, so often, around `inner`.
fn nested(open: &str, inner: &str, close: &str, times: usize) -> String {
    [&open.repeat(times), inner, &close.repeat(times)].concat()
}

#[tokio::test]
async fn json_that_is_made_to_hurt() {
    let message = |fields: &str| text(&format!("{{{fields}}}"));
    let create =
        |fields: &str| message(&format!(r#""method":"create","modelname":"Anything","model":{{{fields}}}"#));
    let names = |count: usize| (0..count).map(|name| format!(r#""{name}":0"#)).collect::<Vec<_>>().join(",");
    let bad = |what| Error("bad_request", what);
    let deep = || Error("limit", "nested 32 deep");
    all(vec![
        // Depth.
        attack("lists in lists that end", text(&nested("[", "", "]", 30_000)), deep()),
        attack("objects in objects", text(&nested(r#"{"a":"#, "0", "}", 9_000)), deep()),
        attack("lists in a row", create(&format!(r#""map":{{"a":{}}}"#, nested("[", "", "]", 30_000))), deep()),
        attack("as deep as may be", create(&format!(r#""map":{{"a":{}}}"#, nested("[", "", "]", 29))), Error("forbidden", "understood")),
        attack("one deeper", create(&format!(r#""map":{{"a":{}}}"#, nested("[", "", "]", 30))), deep()),
        attack("brackets in a string", create(&format!(r#""map":{{"a":"{}"}}"#, "[".repeat(60_000))), Error("forbidden", "understood")),
        attack("`not` in `not`", message(&format!(r#""method":"read","modelname":"Task","where":{}"#, nested(r#"{"not":"#, "{}", "}", 7_000))), deep()),
        // Size.
        attack("spaces around a message", text(&format!("{}{{\"method\":\"read\",\"modelname\":\"Anything\"}}{}", " ".repeat(30_000), " ".repeat(30_000))), Message("read")),
        attack("a name of 60,000 bytes", message(&format!(r#""{}":0"#, "n".repeat(60_000))), bad("method")),
        attack("an unknown field of 60,000 bytes", message(&format!(r#""method":"read","{}":0"#, "n".repeat(60_000))), bad("nnn…")),
        attack("a method of 60,000 bytes", message(&format!(r#""method":"{}""#, "m".repeat(60_000))), bad("mmm…")),
        attack("a model of 60,000 bytes", message(&format!(r#""method":"read","modelname":"{}""#, "m".repeat(60_000))), Error("unknown_model", "")),
        attack("an id of 60,000 bytes", message(&format!(r#""method":"read","modelname":"Anything","id":"{}""#, "i".repeat(60_000))), bad("`id`")),
        attack("an id of 60,000 digits", message(&format!(r#""method":"read","modelname":"Anything","id":{}"#, "1".repeat(60_000))), bad("`id`")),
        attack("a cid of 60,000 bytes", message(&format!(r#""method":"create","modelname":"Anything","cid":"{}","model":{{}}"#, "c".repeat(60_000))), bad("`cid`")),
        attack("a number of 60,000 digits", create(&format!(r#""number":{}"#, "1".repeat(60_000))), Error("invalid", "number")),
        attack("a fraction of 60,000 digits", create(&format!(r#""number":0.{}"#, "1".repeat(60_000))), Error("forbidden", "understood")),
        attack("6,000 names in a message", message(&names(6_000)), bad("512 fields")),
        attack("6,000 names in a row", create(&names(6_000)), Error("invalid", "512 fields")),
        attack("20,000 messages that are none", text(&format!("[0{}]", ",0".repeat(20_000))), Closed(4002)),
        attack("a batch of 20,000", message(&format!(r#""method":"batch","requests":[0{}]"#, ",0".repeat(20_000))), bad("1 to 100 requests")),
        attack("a filter of 3,000 parts", message(&format!(r#""method":"read","modelname":"Task","where":{{"or":[{{}}{}]}}"#, ",{}".repeat(3_000))), Message("read")),
        attack("a filter of 60,000 bytes", message(&format!(r#""method":"read","modelname":"Task","where":{{"list":"{}"}}"#, "l".repeat(60_000))), bad("`where`")),
        attack("a filter of 600 values", message(&format!(r#""method":"read","modelname":"Task","where":{{"priority":{{"in":[0{}]}}}}"#, ",0".repeat(600))), bad("256 values")),
        attack("a token of 60,000 bytes", message(&format!(r#""method":"hello","client":"{}","token":"{}""#, Uuid::nil(), "t".repeat(60_000))), bad("`token`")),
        // Names given twice.
        attack("the model twice", message(r#""method":"create","modelname":"Anything","model":{},"model":{}"#), bad("`model`")),
        attack("a field twice in a list of messages", text(r#"[{"method":"create","modelname":"Anything","model":{"number":1,"number":1}}]"#), bad("`number`")),
        attack("a name twice in a map", create(r#""map":{"a":1,"b":2,"a":3}"#), bad("`a`")),
        attack("a field twice in a patch", message(r#""method":"patch","modelname":"Todo","model":{"id":1,"title":"a","title":"b"}"#), bad("`title`")),
        attack("the id twice in an update", message(r#""method":"update","modelname":"Todo","model":{"id":1,"id":2,"title":"a"}"#), bad("`id`")),
        attack("the id twice in a delete", message(r#""method":"delete","modelname":"Todo","model":{"id":1,"id":2}"#), bad("`id`")),
        attack("the id twice in a read", message(r#""method":"read","modelname":"Todo","model":{"id":1,"id":2}"#), bad("`id`")),
        attack("a reference twice", message(r#""method":"delete","modelname":"Todo","model":{"id":{"$cid":"a","$cid":"b"}}"#), bad("`$cid`")),
        attack("a name twice in a map in `args`", message(r#""method":"action","modelname":"Anything","action":"say","args":{"map":{"a":1,"a":2}}"#), bad("`a`")),
        attack("a field twice in a batch", message(r#""method":"batch","requests":[{"method":"create","modelname":"Anything","model":{"number":1,"number":2}}]"#), bad("`number`")),
        attack("the method twice in a batch", message(r#""method":"batch","requests":[{"method":"create","method":"delete"}]"#), bad("`method`")),
        attack("an operator twice in `where`", message(r#""method":"subscribe","id":1,"modelname":"Task","where":{"not":{"list":{"eq":"a","eq":"b"}}}"#), bad("`eq`")),
        // Text that is no Unicode, numbers that are none, and what is no JSON.
        attack("the other half", create(r#""map":{"a":"\udc00"}"#), Error("invalid", "surrogate")),
        attack("half a pair in a name of a map", create(r#""map":{"\ud800":1}"#), Error("invalid", "hex escape")),
        attack("half a pair in a field's name", create(r#""\ud800":1"#), Error("invalid", "hex escape")),
        attack("half a pair in a message's name", message(r#""\ud800":1"#), bad("hex escape")),
        attack("half a pair in the method", message(r#""method":"\ud800""#), bad("`method`")),
        attack("half a pair in an id", message(r#""method":"read","modelname":"Anything","id":"\ud800""#), bad("`id`")),
        attack("half a pair in a model", message(r#""method":"read","modelname":"\ud800""#), bad("`modelname`")),
        attack("half a pair in a cid", message(r#""method":"create","modelname":"Anything","cid":"\ud800","model":{}"#), bad("`cid`")),
        attack("half a pair in a filter", message(r#""method":"read","modelname":"Task","where":{"list":"\ud800"}"#), bad("hex escape")),
        attack("half a pair in a row's id", message(r#""method":"read","modelname":"Note","model":{"key":"\ud800"}"#), bad("`id`")),
        attack("a pair and a null", create(r#""map":{"a":"\ud83d\ude00\u0000"}"#), Error("forbidden", "understood")),
        attack("1e400", create(r#""number":1e400"#), Error("invalid", "number")),
        attack("-1e400 in a map", create(r#""map":{"a":[-1e400]}"#), Error("invalid", "map")),
        attack("1e400 as a limit", message(r#""method":"read","modelname":"Task","limit":1e400"#), bad("`limit`")),
        attack("1e400 as `ack`", message(r#""method":"ack","ack":1e400"#), bad("`ack`")),
        attack("1e-400", create(r#""number":1e-400"#), Error("forbidden", "understood")),
        attack("an exponent of 60,000 digits", create(&format!(r#""number":1e{}"#, "9".repeat(60_000))), Error("invalid", "number")),
        attack("not a number", create(r#""number":NaN"#), bad("not a message")),
        attack("2^64 in a map", create(r#""map":{"a":18446744073709551616}"#), Error("invalid", "map")),
        attack("2^53 in a filter", message(r#""method":"read","modelname":"Task","where":{"priority":9007199254740993}"#), Error("invalid", "")),
        attack("a comment", text("/**/{}"), bad("not a message")),
        attack("a byte order mark", text("\u{feff}{}"), bad("not a message")),
        attack("a control character in a string", create("\"map\":{\"a\":\"\u{1}\"}"), bad("not a message")),
        attack("two messages without a list", text("{}{}"), bad("not a message")),
        attack("a message in lists", text(r#"[[{"method":"ack"}]]"#), bad("not a message")),
        attack("a string", text(r#""hello""#), bad("not a message")),
        attack("nothing", text(""), bad("not a message")),
        attack("an empty list", text("[]"), Nothing),
    ])
    .await;
}

#[tokio::test]
async fn frames_that_are_none() {
    let fragments = |parts: &[&[u8]]| {
        let count = parts.len();
        let frames = parts.iter().enumerate().map(|(place, part)| {
            let fin = if place + 1 == count { FIN } else { 0 };
            frame(fin | if place == 0 { TEXT } else { CONTINUATION }, part)
        });
        frames.collect::<Vec<_>>().concat()
    };
    let request = br#"{"method":"read","modelname":"Anything"}"#;
    let bytes: Vec<_> = request.chunks(1).collect();
    let ack = br#"{"method":"ack"}"#;
    let ping_between =
        [frame(TEXT, &ack[..9]), frame(FIN | PING, b"?"), frame(FIN | CONTINUATION, &ack[9..])].concat();
    let thousand = [b" ".as_slice(); 1_000];
    let mut unmasked = vec![FIN | TEXT, 2];
    unmasked.extend(b"{}");
    let mut attacks = vec![
        // Fragments.
        attack("a message byte by byte", fragments(&bytes), Message("read")),
        attack("fragments of nothing", fragments(&[b"", request, b"", b""]), Message("read")),
        attack("a ping between fragments", ping_between, Pong(b"?")),
        attack("a thousand fragments of spaces", fragments(&thousand), Error("bad_request", "not a message")),
        attack(
            "ten thousand fragments of nothing",
            [frame(TEXT, b""), frame(CONTINUATION, b"").repeat(10_000), frame(FIN | CONTINUATION, request)]
                .concat(),
            Message("read"),
        ),
        attack(
            "fragments of two megabytes",
            [frame(TEXT, b""), frame(CONTINUATION, &[b' '; 60_000]).repeat(35)].concat(),
            Closed(1009),
        ),
        attack(
            "binary in fragments",
            [frame(2, b"{"), frame(FIN | CONTINUATION, b"}")].concat(),
            Closed(1003),
        ),
        attack("a continuation of nothing", frame(FIN | CONTINUATION, b"{}"), Closed(1002)),
        attack("a message within a message", [frame(TEXT, b"{"), text("{}")].concat(), Closed(1002)),
        // Control frames.
        attack("the largest ping", frame(FIN | PING, &[7; 125]), Pong(&[7; 125])),
        attack("a ping too large", frame(FIN | PING, &[7; 126]), Closed(1002)),
        attack("a pong too large", frame(FIN | PONG, &[7; 126]), Closed(1002)),
        attack("a ping larger than messages", frame(FIN | PING, &[7; 100_000]), Closed(1009)),
        attack("a ping in fragments", frame(PING, b"?"), Closed(1002)),
        attack("a pong in fragments", frame(PONG, b"?"), Closed(1002)),
        attack("an end in fragments", frame(CLOSE, &1000_u16.to_be_bytes()), Closed(1002)),
        attack("a pong that nobody asked for", frame(FIN | PONG, b"!"), Nothing),
        // The end.
        attack("an end", frame(FIN | CLOSE, &1000_u16.to_be_bytes()), Closed(1000)),
        attack("an end without a code", frame(FIN | CLOSE, b""), Closed(1005)),
        attack(
            "an end and more",
            [frame(FIN | CLOSE, &1000_u16.to_be_bytes()), read("late")].concat(),
            Closed(1000),
        ),
        attack("half a close code", frame(FIN | CLOSE, b"\x03"), Closed(1002)),
        attack("a reason that is not UTF-8", frame(FIN | CLOSE, b"\x03\xe8\xff"), Closed(1007)),
        attack("a reason too long", frame(FIN | CLOSE, &[b'x'; 126]), Closed(1002)),
        // What frames say of themselves.
        attack("a frame without a mask", unmasked, Closed(1002)),
        attack("binary", frame(FIN | 2, b"{}"), Closed(1003)),
        attack("a frame of 2^63 bytes", header(FIN | TEXT, 1 << 63), Closed(1009)),
        attack("a frame of 2^64 - 1 bytes", header(FIN | TEXT, u64::MAX), Closed(1009)),
        attack("a ping of 2^40 bytes", header(FIN | PING, 1 << 40), Closed(1009)),
        attack("a byte more than may be", text(&" ".repeat(65_537)), Closed(1009)),
        // Text.
        attack("a byte that is not UTF-8", frame(FIN | TEXT, b"{\"\xff\":0}"), Closed(1007)),
        attack("a surrogate in UTF-8", frame(FIN | TEXT, b"\"\xed\xa0\x80\""), Closed(1007)),
        attack("a letter in too many bytes", frame(FIN | TEXT, b"\"\xc1\xa1\""), Closed(1007)),
        attack("beyond Unicode", frame(FIN | TEXT, b"\"\xf4\x90\x80\x80\""), Closed(1007)),
        attack("half a letter", frame(FIN | TEXT, b"\"\xe2\x82"), Closed(1007)),
        attack("half a letter in fragments", fragments(&[b"\"\xe2", b"\x82", b"\""]), Closed(1007)),
        attack(
            "a letter in fragments",
            fragments(&[b"\"\xe2", b"\x82", b"\xac\""]),
            Error("bad_request", "not a message"),
        ),
        attack("60,000 bytes that are not UTF-8", frame(FIN | TEXT, &[0xff; 60_000]), Closed(1007)),
        attack("what is no frame at all", b"GET / HTTP/1.1\r\nhost: test\r\n\r\n".repeat(100), Closed(1002)),
    ];
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX] {
        attacks.push(attack(
            format!("the close code {code}"),
            frame(FIN | CLOSE, &code.to_be_bytes()),
            Closed(1002),
        ));
    }
    for bit in RESERVED {
        attacks.push(attack(
            format!("the reserved bit {bit:#x}"),
            frame(FIN | bit | TEXT, b"{}"),
            Closed(1002),
        ));
        attacks.push(attack(
            format!("the reserved bit {bit:#x} of a ping"),
            frame(FIN | bit | PING, b""),
            Closed(1002),
        ));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        attacks.push(attack(format!("the opcode {opcode}"), frame(FIN | opcode, b"{}"), Closed(1002)));
    }
    all(attacks).await;
}

/// All these requests at once, until so many answers have come: how often each did.
async fn flood(
    server: &TestServer,
    name: &str,
    requests: impl Iterator<Item = String>,
    count: usize,
    answer_of: impl Fn(&Value) -> Option<String>,
) -> BTreeMap<String, usize> {
    let begun = cpu();
    let mut line = Raw::connect(server.address).await;
    let requests: Vec<_> = requests.map(|request| text(&request)).collect();
    let mut answers = BTreeMap::new();
    let mut left = count;
    let is_last = |received: Received| {
        let Received::Messages(messages) = received else { panic!("{name}: {received:?}") };
        for answer in messages.iter().filter_map(&answer_of) {
            *answers.entry(answer).or_default() += 1;
            left = left.checked_sub(1).expect("an answer too many");
        }
        left == 0
    };
    line.flood(&requests.concat(), is_last).await;
    println!(
        "{:>10.2?}  each of {} {name}",
        cpu_since(begun) / u32::try_from(requests.len()).unwrap(),
        requests.len()
    );
    answers
}

#[tokio::test]
async fn floods() {
    const COUNT: usize = 2_000;
    // More than all of a flood: so that each is taken as fast as it comes, and not at the pace of `messages_per_second`.
    let mut limits = sync_core::Limits::default();
    limits.message_burst = 100_000;
    let server = TestServer::start("memory:", limits).await;
    let mut bystander = Bystander::new(&server).await;
    let brief = |answer: &Value| match answer["method"].as_str() {
        Some("progress") => None,
        Some("error") if answer["code"] == "limit" => {
            Some(format!("limit {}", answer["limit"].as_str().unwrap()))
        }
        Some("error") => {
            Some(format!("{} {}", answer["code"].as_str().unwrap(), answer["message"].as_str().unwrap()))
        }
        method => method.map(Into::into),
    };
    let counts = |counts: &[(&str, usize)]| -> BTreeMap<String, usize> {
        counts.iter().map(|(answer, count)| ((*answer).to_owned(), *count)).collect()
    };

    let open = sync_core::Limits::default().subscriptions;
    let subscribe = |id| format!(r#"{{"method":"subscribe","id":{id},"modelname":"Anything"}}"#);
    let answers = flood(&server, "subscribes", (0..COUNT).map(subscribe), COUNT + open, brief).await;
    let expected = [("live", open), ("read", open), ("limit subscriptions", COUNT - open)];
    assert_eq!(answers, counts(&expected), "subscribes");
    bystander.is_well("subscribes").await;

    let hello = format!(r#"{{"method":"hello","client":"{}"}}"#, Uuid::new_v4());
    let answers = flood(&server, "hellos", std::iter::repeat_n(hello, COUNT), COUNT, brief).await;
    let refused = "bad_request `hello` comes first, and once";
    assert_eq!(answers, counts(&[("welcome", 1), (refused, COUNT - 1)]), "hellos");
    bystander.is_well("hellos").await;

    let create = |_| r#"{"method":"create","modelname":"Feedback","model":{"text":"!"}}"#.to_owned();
    let answers = flood(&server, "creates", (0..COUNT).map(create), COUNT, brief).await;
    assert_eq!(answers["confirm"] + answers.get("limit in_flight").unwrap_or(&0), COUNT, "{answers:?}");
    bystander.is_well("creates").await;

    let unknown = |_| r#"{"method":"read","modelname":"Anything","model":{"id":1}}"#.to_owned();
    let answers = flood(&server, "reads", (0..COUNT).map(unknown), COUNT, brief).await;
    assert!(
        answers.len() == 1 && answers.keys().all(|answer| answer.starts_with("not_found ")),
        "{answers:?}"
    );
    bystander.is_well("reads").await;

    // Nobody reads the pongs: the server does not wait with them, and does not keep them.
    let begun = cpu();
    let mut line = Raw::connect(server.address).await;
    let pings = u32::try_from(10 * COUNT).unwrap();
    line.send(&frame(FIN | PING, &[7; 125]).repeat(10 * COUNT)).await.unwrap();
    line.send(&read("last")).await.unwrap();
    let mut pongs = 0;
    loop {
        match line.receive().await {
            Received::Pong(payload) => {
                assert_eq!(payload, [7; 125]);
                pongs += 1;
            }
            Received::Messages(messages) if messages.iter().any(|message| message["id"] == "last") => break,
            other => panic!("{other:?}"),
        }
    }
    println!("{:>10.2?}  each of {pings} pings, {pongs} of them answered", cpu_since(begun) / pings);
    assert!(pongs > 0 && pongs <= pings);
    bystander.is_well("pings").await;

    // Each takes the place of the one before.
    let client = Uuid::new_v4();
    let mut before: Option<Client> = None;
    for _ in 0..100 {
        let (next, _) = Client::hello(server.address, client, None).await;
        if let Some(mut before) = before.replace(next) {
            assert_eq!(before.closed().await.0, 4000);
        }
    }
    bystander.is_well("connections of one client").await;
    bystander.ends_well(server).await;
}

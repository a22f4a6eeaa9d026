//! What a client may send to hurt: each is refused with the right code, costs little, and a bystander loses nothing.

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sync_tests::{Client, ServerProcess};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How often each is done, to average what it costs.
const TIMES: u32 = 10;

/// The most CPU time of the server that one may take, with the connection that it comes on. What is not optimized takes some times as much.
const MOST: Duration = Duration::from_millis(if cfg!(debug_assertions) { 40 } else { 5 });

/// What the server says.
#[derive(Debug, PartialEq)]
enum Said {
    /// An `error` with this code, and this in its message.
    Error(String, String),
    /// The connection is closed with this code.
    Closed(u16),
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(first, payload.len() as u64);
    frame.extend(payload.iter().zip(b"mask".iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// The head of a masked frame.
fn head(first: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..126), _) => head.push(0x80 | length),
        (_, Ok(length)) => {
            head.push(0xfe);
            head.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            head.push(0xff);
            head.extend_from_slice(&length.to_be_bytes());
        }
    }
    head.extend_from_slice(b"mask");
    head
}

fn text(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

fn create(model: &str) -> Vec<u8> {
    text(&format!(r#"{{"method":"create","id":1,"modelname":"Todo","model":{model}}}"#))
}

/// Everything, by name: what is sent, and what is said to it.
fn attacks() -> Vec<(&'static str, Vec<u8>, Said)> {
    let error = |code: &str, message: &str| Said::Error(code.into(), message.into());
    let bad = |message: &str| error("bad_request", message);
    let many: Vec<_> = (0..5000).map(|name| format!("\"n{name}\":1")).collect();
    let list = vec!["{\"method\":\"ack\"}"; 3000].join(",");
    let fragments = |part: &[u8], times: usize| {
        let mut all = frame(0x01, part);
        all.extend((0..times).flat_map(|_| frame(0x00, part)));
        all
    };
    vec![
        ("nested 40 deep", create(&["[".repeat(40), "]".repeat(40)].concat()), error("limit", "32 deep")),
        ("nested 60,000 deep", text(&"[".repeat(60_000)), error("limit", "32 deep")),
        ("64 KiB of spaces", text(&" ".repeat(65_536)), bad("not a message")),
        ("a megabyte of spaces", text(&" ".repeat(1_000_000)), Said::Closed(1009)),
        (
            "a name twice in a message",
            text(r#"{"method":"ack","ack":1,"ack":2}"#),
            bad("`ack` is given twice"),
        ),
        ("a name twice in a row", create(r#"{"title":"a","title":"b"}"#), bad("`title` is given twice")),
        (
            "a name twice, with an escape",
            create(r#"{"title":"a","\u0074itle":"b"}"#),
            bad("`title` is given twice"),
        ),
        (
            "a name twice deep in a row",
            create(r#"{"title":[{"x":{"y":1,"y":1}}]}"#),
            bad("`y` is given twice"),
        ),
        (
            "a name twice in arguments",
            text(r#"{"method":"action","id":1,"modelname":"Closed","action":"knock","args":{"a":1,"a":1}}"#),
            bad("`a` is given twice"),
        ),
        (
            "a name twice in a batch",
            text(
                r#"{"method":"batch","id":1,"requests":[{"method":"delete","modelname":"Todo","model":{"id":1,"id":2}}]}"#,
            ),
            bad("`id` is given twice"),
        ),
        (
            "a name twice in a filter",
            text(r#"{"method":"read","id":1,"modelname":"Task","where":{"or":[{"list":"a","list":"b"}]}}"#),
            bad("`list` is given twice"),
        ),
        (
            "a name twice in a schema",
            text(
                r#"{"method":"hello","client":"0192f0c1-7a5e-7cc3-98c4-dc0c0c07398f","schema":{"Todo":"a:1 r","Todo":""}}"#,
            ),
            bad("`Todo` is given twice"),
        ),
        ("5,000 fields in a row", create(&format!("{{{}}}", many.join(","))), error("invalid", "")),
        (
            "5,000 fields in a field",
            create(&format!("{{\"title\":{{{}}}}}", many.join(","))),
            error("invalid", "title"),
        ),
        (
            "5,000 fields, the last twice",
            create(&format!("{{\"title\":{{{},\"n4999\":1}}}}", many.join(","))),
            bad("`n4999` is given twice"),
        ),
        ("3,000 messages in a frame", text(&format!("[{list},7]")), bad("not a message")),
        ("half a surrogate", create(r#"{"title":"\ud800"}"#), error("invalid", "hex escape")),
        ("half a surrogate as a name", create(r#"{"\udc00":1}"#), error("invalid", "")),
        (
            "1e400 as an id",
            text(r#"{"method":"create","id":1e400,"modelname":"Todo","model":{}}"#),
            bad("`id` must be"),
        ),
        ("1e400 in a row", create(r#"{"title":1e400}"#), error("invalid", "")),
        (
            "1e400 in a filter",
            text(r#"{"method":"read","id":1,"modelname":"Task","where":{"priority":1e400}}"#),
            bad("out of range"),
        ),
        ("not UTF-8", frame(0x81, b"\"\xff\""), Said::Closed(1007)),
        (
            "not UTF-8, in fragments",
            [frame(0x01, b"\"\xe2"), frame(0x80, b"\"")].concat(),
            Said::Closed(1007),
        ),
        ("half a letter at the end", frame(0x81, b"\"\xe2\x82"), Said::Closed(1007)),
        ("a binary frame", frame(0x82, b"{}"), Said::Closed(1003)),
        ("a long ping", frame(0x89, &[b'x'; 126]), Said::Closed(1002)),
        ("a fragmented ping", frame(0x09, b"x"), Said::Closed(1002)),
        ("a reserved bit", frame(0xc1, b"{}"), Said::Closed(1002)),
        ("a reserved opcode", frame(0x83, b"{}"), Said::Closed(1002)),
        ("a frame without a mask", b"\x81\x02{}".to_vec(), Said::Closed(1002)),
        ("a continuation of nothing", frame(0x80, b"{}"), Said::Closed(1002)),
        ("a message within a message", [frame(0x01, b"{"), frame(0x81, b"{}")].concat(), Said::Closed(1002)),
        ("2^62 bytes, by its head", head(0x81, 1 << 62), Said::Closed(1009)),
        ("a megabyte in fragments", fragments(&[b' '; 1000], 1000), Said::Closed(1009)),
        (
            "fragments of a byte",
            [fragments(b"[", 2000), frame(0x80, b"[")].concat(),
            error("limit", "32 deep"),
        ),
        (
            "2,000 fragments of nothing",
            [fragments(b"", 2000), frame(0x80, b"[")].concat(),
            bad("not a message"),
        ),
        ("500 pings", [frame(0x89, b"x").repeat(500), text("[")].concat(), bad("not a message")),
    ]
}

/// Opens a connection, sends the bytes, and waits for the first `error` or the close frame.
async fn attack(address: SocketAddr, bytes: &[u8]) -> Said {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /sync HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let (mut reader, mut writer) = stream.into_split();
    // The server may hang up before it has read all of it.
    let write = async {
        let _ = writer.write_all(bytes).await;
        std::future::pending::<Said>().await
    };
    let read = async {
        loop {
            let (first, length) = (reader.read_u8().await.unwrap(), reader.read_u8().await.unwrap());
            let length = match length {
                126 => u64::from(reader.read_u16().await.unwrap()),
                127 => reader.read_u64().await.unwrap(),
                length => u64::from(length),
            };
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            reader.read_exact(&mut payload).await.unwrap();
            if first == 0x88 {
                return Said::Closed(u16::from_be_bytes([payload[0], payload[1]]));
            }
            if first != 0x81 {
                continue;
            }
            let messages = match serde_json::from_slice(&payload).unwrap() {
                Value::Array(messages) => messages,
                message => vec![message],
            };
            if let Some(error) = messages.iter().find(|message| message["method"] == "error") {
                let text = |name: &str| error[name].as_str().unwrap().to_owned();
                return Said::Error(text("code"), text("message"));
            }
        }
    };
    timeout(Duration::from_secs(20), async {
        tokio::select! {
            said = read => said,
            said = write => said,
        }
    })
    .await
    .expect("nothing is said")
}

fn check(name: &str, said: &Said, expected: &Said) {
    let is_right = match (said, expected) {
        (Said::Error(code, message), Said::Error(expected, words)) => {
            code == expected && message.contains(words)
        }
        (said, expected) => said == expected,
    };
    assert!(is_right, "{name}: {said:?} and not {expected:?}");
}

/// The CPU time of all threads of a process.
fn cpu(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let nanoseconds = threads.map(|thread| {
        let path = thread.unwrap().path().join("schedstat");
        let stat = fs::read_to_string(path).unwrap();
        stat.split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    Duration::from_nanos(nanoseconds.sum())
}

fn p99(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// Writes a row and waits until it is confirmed, so many times.
async fn write(client: &mut Client, count: u64, next: &mut u64) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        *next += 1;
        let row = json!({"method": "create", "id": *next, "ack": *next - 1, "modelname": "Todo", "model": {"title": next.to_string()}});
        assert_eq!(client.ask(&row).await["method"], "confirm");
        times.push(begun.elapsed());
    }
    times
}

#[tokio::test]
async fn each_attack_is_refused_and_costs_little() {
    let folder = tempfile::tempdir().unwrap();
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let server = ServerProcess::start(
        env!("CARGO_BIN_EXE_sync-test-server"),
        anywhere,
        &folder.path().join("test.db"),
    );
    let attacks = attacks();
    let mut dear = Vec::new();
    for (name, bytes, expected) in &attacks {
        check(name, &attack(server.address, bytes).await, expected);
        let before = cpu(server.id());
        for _ in 0..TIMES {
            check(name, &attack(server.address, bytes).await, expected);
        }
        let cost = cpu(server.id()).checked_sub(before).unwrap() / TIMES;
        println!("{name}: {cost:?} of CPU");
        if cost > MOST {
            dear.push((name, cost));
        }
    }
    assert!(dear.is_empty(), "these cost too much: {dear:?}");

    // A bystander writes and sees what it writes, all the same.
    let mut client = bystander(server.address).await;
    let mut next = 0;
    let mut calm = write(&mut client, 200, &mut next).await;
    let attacking = tokio::spawn({
        let address = server.address;
        async move {
            for (name, bytes, expected) in &attacks {
                check(name, &attack(address, bytes).await, expected);
            }
        }
    });
    let mut busy = Vec::new();
    while !attacking.is_finished() {
        busy.extend(write(&mut client, 1, &mut next).await);
    }
    attacking.await.unwrap();
    let (calm, busy) = (p99(&mut calm), p99(&mut busy));
    println!(
        "p99 of a bystander: {:.1} times ({calm:?}, then {busy:?})",
        busy.as_secs_f64() / calm.as_secs_f64()
    );
    let (rows, _) = bystander(server.address).await.subscribe("Todo").await;
    let mine = rows.iter().map(|row| row["title"].as_str().unwrap().parse::<u64>().unwrap());
    assert!(mine.eq(1..=next), "a row of the bystander is missing, or one is there twice");
}

async fn bystander(address: SocketAddr) -> Client {
    Client::hello(address, uuid::Uuid::new_v4(), None).await.0
}

//! The head of a request, and what follows it on the line: any bytes get answers that are HTTP, or frames that are WebSocket, and the connection ends.

use std::cell::RefCell;

use arbitrary::{Result, Unstructured};
use sync_core::{Limits, Running, store::MemoryStore};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Runtime,
    time::timeout,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::{Notes, line};

/// The head of a good request.
const HEAD: &str = "GET /sync HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

/// What is worth putting into a request.
pub const WORDS: &[&str] = &[
    HEAD,
    "\r\n",
    "\r\n\r\n",
    "\n",
    ": ",
    "GET ",
    "POST ",
    "HEAD ",
    "OPTIONS * ",
    "/sync",
    "/sync/client.js",
    "/sync/models.js",
    "/sync/vendor/",
    "?ticket=",
    "..%2f..",
    "%00",
    " HTTP/1.1",
    " HTTP/1.0",
    "host: localhost\r\n",
    "origin: http://localhost\r\n",
    "origin: null\r\n",
    "connection: upgrade\r\n",
    "connection: keep-alive, Upgrade\r\n",
    "connection: close\r\n",
    "upgrade: websocket\r\n",
    "upgrade: h2c\r\n",
    "sec-websocket-version: 13\r\n",
    "sec-websocket-version: 8\r\n",
    "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
    "sec-websocket-protocol: sync.v1\r\n",
    "sec-websocket-protocol: chat\r\n",
    "sec-websocket-extensions: permessage-deflate\r\n",
    "content-length: 5\r\n",
    "content-length: -1\r\n",
    "transfer-encoding: chunked\r\n",
    "expect: 100-continue\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "x-a: \u{e9}\r\n",
    "x-fold: a\r\n b\r\n",
    "\0",
];

/// What a server says of a request. 500 is not among it.
const STATUSES: [u16; 15] = [100, 101, 200, 304, 400, 403, 404, 405, 411, 413, 414, 421, 426, 431, 501];

/// How connections end, by the protocol's text.
const CLOSE_CODES: [u16; 8] = [1000, 1001, 1002, 1003, 1007, 1009, 4001, 4002];

struct World {
    runtime: Runtime,
    server: Running,
}

/// Tries what a client sends.
pub fn run(input: &[u8], notes: &mut Notes) {
    thread_local! {
        // One for all inputs: what one of them does must not change what the next one gets.
        static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
    }
    WORLD.with_borrow_mut(|world| {
        let world = world.get_or_insert_with(|| {
            let runtime = line::runtime();
            let server = runtime.block_on(line::server(MemoryStore::new(), Limits::default()));
            World { runtime, server }
        });
        let said = world.runtime.block_on(talk(&world.server, input));
        check(&said, notes);
    });
}

/// Sends all of it, then nothing, and reads until the server ends the connection.
async fn talk(server: &Running, input: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(line::open(server));
    let mut said = Vec::new();
    let ended = timeout(line::PATIENCE, async {
        let write = async {
            // The server may have hung up before.
            let _ = writer.write_all(input).await;
        };
        let (read, ()) = tokio::join!(reader.read_to_end(&mut said), write);
        read.map(drop)
    });
    assert!(ended.await.is_ok(), "the server does not end the connection");
    said
}

/// What the server said is HTTP, then WebSocket.
fn check(said: &[u8], notes: &mut Notes) {
    let mut rest = said;
    while !rest.is_empty() {
        let end = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a whole head") + 4;
        let head = std::str::from_utf8(&rest[..end]).expect("a head is text");
        rest = &rest[end..];
        let status = head.strip_prefix("HTTP/1.1 ").or_else(|| head.strip_prefix("HTTP/1.0 "));
        let status = status.and_then(|rest| rest.get(..3)).expect("a status line").parse().expect("a status");
        assert!(STATUSES.contains(&status), "status {status}: {head}");
        notes.add(format!("status {status}"));
        let header = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.filter(|(other, _)| *other == name).map(|(_, value)| value).next()
        };
        if status == 101 {
            assert_eq!(header("sec-websocket-accept").map(str::len), Some(derive_accept_key(b"").len()));
            return frames(rest, notes);
        }
        let length = header("content-length").map_or(0, |length| length.parse().expect("a length"));
        // The answer to a `HEAD` has the length and not the body.
        if rest.starts_with(b"HTTP/") || rest.is_empty() {
            continue;
        }
        rest = rest.get(length..).expect("a whole body");
    }
}

fn frames(mut rest: &[u8], notes: &mut Notes) {
    let mut is_closed = false;
    while let Some((&[first, second], after)) = rest.split_first_chunk::<2>() {
        assert!(!is_closed, "a frame after the close frame");
        assert_eq!(second & 0x80, 0, "a server does not mask");
        let (length, after) = match second & 0x7f {
            126 => {
                let (length, after) = after.split_first_chunk::<2>().expect("a whole length");
                (usize::from(u16::from_be_bytes(*length)), after)
            }
            127 => {
                let (length, after) = after.split_first_chunk::<8>().expect("a whole length");
                (usize::try_from(u64::from_be_bytes(*length)).expect("a length"), after)
            }
            length => (usize::from(length), after),
        };
        let payload = after.get(..length).expect("a whole frame");
        rest = &after[length..];
        match first {
            0x81 => {
                let text: serde_json::Value = serde_json::from_slice(payload).expect("a frame is JSON");
                let messages = text.as_array().cloned().unwrap_or_else(|| vec![text]);
                for message in messages {
                    assert_ne!(message["code"], "internal", "{message}");
                    notes.add(format!("{} {}", message["method"], message["code"]));
                }
            }
            0x88 => {
                is_closed = true;
                // A close without a code is answered without one.
                let Some((code, reason)) = payload.split_first_chunk::<2>() else {
                    notes.add("closed without a code");
                    continue;
                };
                let code = u16::from_be_bytes(*code);
                std::str::from_utf8(reason).expect("a reason is text");
                notes.add(format!("closed {}", if CLOSE_CODES.contains(&code) { code } else { 0 }));
            }
            0x89 => notes.add("ping"),
            0x8a => notes.add("pong"),
            other => panic!("a frame that begins with {other:#x}"),
        }
    }
    assert!(rest.is_empty(), "half a frame");
}

/// Makes a request, mostly a good one with frames behind it.
pub fn generate(random: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if random.ratio(2, 3)? {
        bytes.extend_from_slice(HEAD.as_bytes());
        for _ in 0..random.int_in_range(0..=6)? {
            frame(random, &mut bytes)?;
        }
        return Ok(bytes);
    }
    for _ in 0..random.int_in_range(1..=3)? {
        bytes.extend_from_slice(
            random.choose(&["GET /sync", "GET /sync/client.js", "HEAD /sync", "POST /sync"])?.as_bytes(),
        );
        bytes.extend_from_slice(b" HTTP/1.1\r\n");
        for _ in 0..random.int_in_range(0..=9)? {
            bytes.extend_from_slice(random.choose(&WORDS[18..37])?.as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
    }
    Ok(bytes)
}

/// Appends a frame, mostly one that is right.
fn frame(random: &mut Unstructured<'_>, into: &mut Vec<u8>) -> Result<()> {
    let payload = match random.int_in_range(0..=4)? {
        0 => {
            let length = usize::from(random.int_in_range(0..=130_u8)?).min(random.len());
            random.bytes(length)?.to_vec()
        }
        1 => vec![b' '; random.int_in_range(0..=70_000)?],
        2 => random
            .choose(&[&b"\x03\xe8"[..], b"\x03", b"", b"\x00\x00", b"\x0f\xa0bye", b"\x03\xe8\xff"])?
            .to_vec(),
        _ => super::messages::generate(random)?,
    };
    into.push(
        *random
            .choose(&[0x81, 0x81, 0x81, 0x01, 0x00, 0x80, 0x82, 0x88, 0x89, 0x8a, 0x09, 0xc1, 0x83, 0x8b])?,
    );
    let mask = if random.ratio(15, 16)? { 0x80_u8 } else { 0 };
    match u16::try_from(payload.len()) {
        Ok(length @ 0..126) => into.push(mask | u8::try_from(length).unwrap_or(0)),
        Ok(length) => {
            into.push(mask | 0x7e);
            into.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            into.push(mask | 0x7f);
            into.extend_from_slice(&u64::try_from(payload.len()).unwrap_or(u64::MAX).to_be_bytes());
        }
    }
    if mask == 0 {
        into.extend_from_slice(&payload);
    } else {
        let key: [u8; 4] = random.arbitrary()?;
        into.extend_from_slice(&key);
        into.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    }
    Ok(())
}

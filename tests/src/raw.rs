//! A WebSocket client of bytes: what no library would send, a test can.

use std::{io, net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long anything may take before a test fails: far more than it does.
const PATIENCE: Duration = Duration::from_secs(20);

/// The last frame of a message, or the only one.
pub const FIN: u8 = 0x80;
/// The bits that only extensions use.
pub const RESERVED: [u8; 3] = [0x40, 0x20, 0x10];
/// The opcode of a frame that goes on with a message.
pub const CONTINUATION: u8 = 0;
/// The opcode of text.
pub const TEXT: u8 = 1;
/// The opcode of the end.
pub const CLOSE: u8 = 8;
/// The opcode of a ping.
pub const PING: u8 = 9;
/// The opcode of the answer to a ping.
pub const PONG: u8 = 10;

/// The bytes of a client's frame: masked, its length in as few bytes as it needs.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A frame of text, whole.
pub fn text(text: &str) -> Vec<u8> {
    frame(FIN | TEXT, text.as_bytes())
}

/// What comes before the payload of a client's frame that says to be of this length.
pub fn header(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..126), _) => bytes.push(0x80 | length),
        (_, Ok(length)) => {
            bytes.push(0x80 | 0x7e);
            bytes.extend(length.to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 0x7f);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes
}

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What a server sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// The messages of a text frame.
    Messages(Vec<Value>),
    /// What a ping had in it comes back.
    Pong(Vec<u8>),
    /// The close code, 1005 if there is none.
    Closed(u16),
    /// The end, without a word.
    End,
}

/// A connection.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
}

impl Raw {
    /// Connects, and makes a WebSocket of it.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET /sync HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, stream.read_u8()).await.expect("no answer").unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        Self { stream }
    }

    /// Sends bytes. A server that has heard enough may close the line meanwhile.
    ///
    /// # Errors
    /// When it has.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the server takes nothing")
    }

    /// Sends bytes while it takes what comes, until that `is_last`.
    ///
    /// # Panics
    /// When the line breaks, or nothing comes.
    pub async fn flood(&mut self, bytes: &[u8], mut is_last: impl FnMut(Received) -> bool) {
        let (mut reader, mut writer) = self.stream.split();
        let write =
            async { timeout(PATIENCE, writer.write_all(bytes)).await.expect("nothing is taken").unwrap() };
        let read = async { while !is_last(receive(&mut reader).await) {} };
        tokio::join!(write, read);
    }

    /// The next frame; pings are passed over.
    ///
    /// # Panics
    /// When nothing comes, or no frame of a server.
    pub async fn receive(&mut self) -> Received {
        receive(&mut self.stream).await
    }

    /// The next message that is no word of how far the client is, or what came instead of one.
    ///
    /// # Panics
    /// When nothing comes, or several messages in one frame.
    pub async fn message(&mut self) -> Result<Value, Received> {
        loop {
            match self.receive().await {
                Received::Messages(mut messages) => {
                    messages.retain(|message| message["method"] != "progress");
                    if let Some(message) = messages.pop() {
                        assert!(messages.is_empty(), "before {message} there are {messages:?}");
                        return Ok(message);
                    }
                }
                other => return Err(other),
            }
        }
    }
}

async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Received {
    loop {
        let read = timeout(PATIENCE, read(stream)).await.expect("nothing comes");
        let Ok((first, payload)) = read else { return Received::End };
        assert_eq!(first & 0xf0, FIN, "a server's frames are whole, and no extension's");
        match first & 0x0f {
            TEXT => {
                return Received::Messages(match serde_json::from_slice(&payload).unwrap() {
                    Value::Array(messages) => messages,
                    message => vec![message],
                });
            }
            PING => {}
            PONG => return Received::Pong(payload),
            CLOSE => {
                let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                return Received::Closed(code);
            }
            other => panic!("a frame of the opcode {other}"),
        }
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let first = stream.read_u8().await?;
    let length = match stream.read_u8().await? {
        126 => u64::from(stream.read_u16().await?),
        127 => stream.read_u64().await?,
        length => {
            assert!(length < 126, "a server masks nothing");
            u64::from(length)
        }
    };
    assert!(length <= 2 * 1024 * 1024, "a frame of {length} bytes");
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).await?;
    Ok((first, payload))
}

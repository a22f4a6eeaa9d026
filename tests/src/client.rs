//! A client that types at the socket: it sends what a test says, and shows what comes.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest, http},
};
use uuid::Uuid;

/// How long anything may take before a test fails: far more than it does.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection.
#[derive(Debug)]
pub struct Client {
    socket: WebSocketStream<TcpStream>,
    messages: VecDeque<Value>,
    /// The frames that came, each as its messages.
    pub frames: Vec<Vec<Value>>,
}

impl Client {
    /// Connects to `/sync`.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address, &[]).await.unwrap()
    }

    /// Connects with more headers.
    pub async fn try_connect(address: SocketAddr, headers: &[(&'static str, &str)]) -> Result<Self, Error> {
        Self::try_connect_to(address, "/sync", headers).await
    }

    /// Connects to this path, with more headers.
    pub async fn try_connect_to(
        address: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Error> {
        let mut request = format!("ws://{address}{path}").into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, http::HeaderValue::from_str(value)?);
        }
        let (socket, _) = client_async(request, TcpStream::connect(address).await?).await?;
        Ok(Self { socket, messages: VecDeque::new(), frames: Vec::new() })
    }

    /// Connects and says `hello` as a new client; its `welcome`.
    pub async fn hello(address: SocketAddr, client: Uuid, ack: Option<u64>) -> (Self, Value) {
        let mut connection = Self::connect(address).await;
        let mut hello = json!({"method": "hello", "client": client});
        if let Some(ack) = ack {
            hello["ack"] = ack.into();
        }
        connection.send(&hello).await;
        let welcome = connection.next("welcome").await;
        (connection, welcome)
    }

    /// Sends a message, or an array of them.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string()).await;
    }

    /// Sends any text.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn send_text(&mut self, text: &str) {
        timeout(PATIENCE, self.socket.send(Message::text(text))).await.unwrap().unwrap();
    }

    /// Sends any WebSocket message.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send_raw(&mut self, message: Message) -> Result<(), Error> {
        self.socket.send(message).await
    }

    /// The next message.
    ///
    /// # Panics
    /// When the connection ends, or nothing comes.
    pub async fn receive(&mut self) -> Value {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return message;
            }
            let frame = timeout(PATIENCE, self.socket.next()).await.expect("nothing comes");
            match frame.expect("the connection ended").expect("the connection broke") {
                Message::Text(text) => {
                    assert!(text.len() <= 300 * 1024, "a frame of {} bytes", text.len());
                    let messages = match serde_json::from_str(&text).unwrap() {
                        Value::Array(messages) => messages,
                        message => vec![message],
                    };
                    self.messages.extend(messages.iter().cloned());
                    self.frames.push(messages);
                }
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// The next message, which must be of this method; `progress` is passed over.
    ///
    /// # Panics
    /// When it is another.
    pub async fn next(&mut self, method: &str) -> Value {
        loop {
            let message = self.receive().await;
            if message["method"] == "progress" && method != "progress" {
                continue;
            }
            assert_eq!(message["method"], method, "{message}");
            return message;
        }
    }

    /// Sends a request and waits for what answers it, passing over everything else.
    ///
    /// # Panics
    /// When nothing does.
    pub async fn ask(&mut self, request: &Value) -> Value {
        self.send(request).await;
        self.answer(&request["id"]).await
    }

    /// Waits for the `confirm`, `error` or `read` with this id, passing over everything else.
    ///
    /// # Panics
    /// When nothing comes.
    pub async fn answer(&mut self, id: &Value) -> Value {
        loop {
            let message = self.receive().await;
            let is_answer = matches!(message["method"].as_str(), Some("confirm" | "error" | "read"));
            if is_answer && message["id"] == *id {
                return message;
            }
        }
    }

    /// Waits for the close frame: its code and reason.
    ///
    /// # Panics
    /// When none comes.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            let frame = timeout(PATIENCE, self.socket.next()).await.expect("nothing comes");
            match frame {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(Message::Text(text))) => match serde_json::from_str(&text).unwrap() {
                    Value::Array(messages) => self.messages.extend(messages),
                    message => self.messages.push_back(message),
                },
                Some(Ok(_)) => {}
                other => panic!("no close frame: {other:?}"),
            }
        }
    }

    /// What came and was not looked at.
    pub fn left(&self) -> &VecDeque<Value> {
        &self.messages
    }

    /// Subscribes to all rows of a model; the rows at `live`, and the cursor.
    ///
    /// # Panics
    /// When anything else comes.
    pub async fn subscribe(&mut self, model: &str) -> (Vec<Value>, Value) {
        self.send(&json!({"method": "subscribe", "id": model, "modelname": model})).await;
        let mut rows = Vec::new();
        loop {
            let message = self.receive().await;
            match message["method"].as_str() {
                Some("read") => rows.extend(message["models"].as_array().unwrap().iter().cloned()),
                Some("live") => return (rows, message),
                Some("progress") => {}
                _ => panic!("{message}"),
            }
        }
    }
}

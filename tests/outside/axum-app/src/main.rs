#![forbid(unsafe_code)]
#![deny(warnings)]

use axum::{Router, routing::get};
use serde::{Deserialize, Serialize};
use sync_core::{Running, Server, SyncedModel, sync_handlers};

#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Message {
    id: u64,
    text: String,
}

#[sync_handlers(crud)]
impl Message {}

/// The app that was there before, with the sync routes in it.
fn app(sync: &Running) -> Router {
    Router::new().route("/health", get(|| async { "fine" })).merge(sync.router())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sync = Server::builder().store("memory:").build()?.start().await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let app = app(&sync);
    let stop = async move {
        let _ = tokio::signal::ctrl_c().await;
        sync.stop().await;
    };
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_tungstenite::tungstenite::Message as Frame;

    use super::*;

    #[tokio::test]
    async fn both_kinds_of_routes_work() {
        let sync = Server::builder().store("memory:").build().unwrap().start().await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = axum::serve(listener, app(&sync)).with_graceful_shutdown(sync.stopping());
        let serving = tokio::spawn(async move { serving.await.unwrap() });

        let mut http = tokio::net::TcpStream::connect(address).await.unwrap();
        http.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        http.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("fine"), "{answer}");

        let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/sync")).await.unwrap();
        let create = r#"{"method":"create","id":1,"modelname":"Message","model":{"text":"hi"}}"#;
        socket.send(Frame::text(create)).await.unwrap();
        let confirmed = socket.next().await.unwrap().unwrap().into_text().unwrap();
        assert!(confirmed.contains(r#""model":{"id":1,"text":"hi"}"#), "{confirmed}");

        sync.stop().await;
        let Some(Ok(Frame::Close(Some(close)))) = socket.next().await else { panic!("no close frame") };
        assert_eq!(u16::from(close.code), 1001);
        serving.await.unwrap();
    }
}

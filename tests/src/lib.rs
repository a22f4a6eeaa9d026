//! What the tests share: models, a server of them, and a client that types at the socket.
#![allow(clippy::missing_panics_doc, reason = "what a test uses panics when the test fails")]

pub mod client;
pub mod gate;
pub mod http;
pub mod mirror;
pub mod models;
pub mod plain;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod strace;

use std::net::SocketAddr;

use sync_core::{Handle, Limits, Running, Server, ServerBuilder};
use tokio::{net::TcpListener, task::JoinHandle};

pub use client::Client;
pub use process::ServerProcess;

/// A server in this process, on a free port.
#[derive(Debug)]
pub struct TestServer {
    /// Where it listens.
    pub address: SocketAddr,
    running: Running,
    serving: JoinHandle<()>,
}

impl TestServer {
    /// With its rows in memory.
    pub async fn memory() -> Self {
        Self::start("memory:", Limits::default()).await
    }

    /// With its rows in `store`, and these limits.
    pub async fn start(store: &str, limits: Limits) -> Self {
        Self::on(Server::builder().store(store).limits(limits)).await
    }

    /// Of this making.
    pub async fn on(builder: ServerBuilder) -> Self {
        let running = builder.build().unwrap().start().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn({
            let running = running.clone();
            async move { running.serve(listener).await.unwrap() }
        });
        Self { address, running, serving }
    }

    /// What handlers say of what may be seen has changed.
    pub fn scopes_changed(&self) {
        self.running.scopes_changed();
    }

    /// The rows, for code outside of handlers.
    pub fn handle(&self) -> Handle {
        self.running.handle()
    }

    /// A new connection.
    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// The server itself.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// Begins to stop, without waiting.
    pub fn begin_stop(&self) -> JoinHandle<()> {
        let running = self.running.clone();
        tokio::spawn(async move { running.stop().await })
    }

    /// Stops, and waits until all is done.
    pub async fn stop(self) {
        self.running.stop().await;
        self.serving.await.unwrap();
    }
}

//! A line to a server in this process: no socket, no clock. Time stands still while anything can be done and jumps when nothing can, so that what does not
//! come is known not to come at once.

use std::time::Duration;

use sync_core::{Limits, Running, Server, ServerBuilder, fuzzing, store::MemoryStore};
use tokio::{
    io::DuplexStream,
    runtime::{Builder, Runtime},
};

/// How long anything may take, by the clock that jumps.
pub const PATIENCE: Duration = Duration::from_mins(5);

/// How much either end may send ahead, in bytes.
pub const AHEAD: usize = 64 * 1024;

/// A runtime whose clock jumps.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

/// A server with its rows in `store`.
pub async fn server(store: MemoryStore, limits: Limits) -> Running {
    built(Server::builder().custom_store(store).limits(limits)).await
}

async fn built(builder: ServerBuilder) -> Running {
    builder.build().expect("the models fit together").start().await.expect("the store opens")
}

/// A connection to it, from which nothing is read.
pub fn open(server: &Running) -> DuplexStream {
    let (near, far) = tokio::io::duplex(AHEAD);
    let server = server.clone();
    tokio::spawn(async move { fuzzing::serve(&server, far).await });
    near
}

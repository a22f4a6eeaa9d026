#![forbid(unsafe_code)]
#![deny(warnings)]

use sync_core::{Result, Server, ServerBuilder};

fn server() -> ServerBuilder {
    // Naming the model links its crate; without it nothing is registered.
    Server::builder().model::<models::Page>()
}

#[tokio::main]
async fn main() -> Result<()> {
    server().build()?.run().await
}

//! A server of the tests' models as a process of its own, to be killed.

use sync_core::{Result, Server};

#[tokio::main]
async fn main() -> Result<()> {
    Server::builder().model::<sync_tests::models::Todo>().build()?.run().await
}

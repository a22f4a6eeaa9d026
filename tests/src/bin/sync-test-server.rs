//! A server of the tests' models as a process of its own, to be killed.

use serde::{Deserialize, Serialize};
use sync_core::{Result, Server, SyncedModel, sync_handlers};

/// TypeScript does not know all of it.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Parcel {
    id: u64,
    content: Vec<Content>,
    #[serde(with = "shouted")]
    street: String,
    #[serde(with = "shouted")]
    #[sync(ts = "string")]
    town: String,
    #[sync(server_only)]
    secret: Content,
}

#[sync_handlers(crud)]
impl Parcel {}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Content;

mod shouted {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text.to_uppercase())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        String::deserialize(deserializer)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    Server::builder().model::<sync_tests::models::Todo>().build()?.run().await
}

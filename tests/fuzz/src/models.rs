//! The models of the targets.

use serde::{Deserialize, Serialize};
use sync_core::{SyncedModel, sync_handlers};

/// What filters are about: its fields may hold anything in a store.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub struct Row {
    /// Assigned by the test.
    pub id: u64,
    /// Anything.
    #[serde(default)]
    #[sync(index)]
    pub a: Option<i64>,
    /// Anything.
    #[serde(default)]
    #[sync(index)]
    pub b: Option<String>,
    /// Anything.
    #[serde(default)]
    #[sync(index)]
    pub c: Option<bool>,
    /// Not for questions.
    #[serde(default)]
    pub d: Option<bool>,
    /// Not for clients.
    #[sync(server_only, index)]
    pub e: i64,
}

#[sync_handlers(crud)]
impl Row {}

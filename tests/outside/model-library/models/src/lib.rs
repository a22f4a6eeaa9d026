//! The models of an application.
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs)]

use serde::{Deserialize, Serialize};
use sync_core::{SyncedModel, sync_handlers};

/// A page of a book.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub struct Page {
    /// Assigned by the server.
    pub id: u32,
    /// What it says.
    pub text: String,
}

#[sync_handlers(crud)]
impl Page {}

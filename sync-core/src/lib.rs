//! Models that stay in sync, in real time.

// Without the server nothing reads what models register.
#![cfg_attr(not(feature = "server"), allow(dead_code))]

#[cfg(test)]
extern crate self as sync_core;

mod context;
mod draft;
mod error;
mod handlers;
mod model;
mod probes;
mod query;
mod registry;
pub mod store;

#[cfg(feature = "server")]
mod config;
#[cfg(feature = "server")]
mod connection;
#[cfg(feature = "server")]
mod engine;
#[cfg(feature = "server")]
mod hub;
#[cfg(feature = "server")]
mod outbox;
#[cfg(feature = "server")]
mod protocol;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "server")]
mod session;

pub use self::{
    context::Context,
    error::{Error, ErrorCode, Result},
    model::{Field, Filter, Filterable, Indexed, Key, KeyKind, ModelId, NotIndexed, Operand, SyncedModel, Value},
    query::Query,
};
#[cfg(feature = "server")]
pub use self::{
    config::Limits,
    server::{BuildError, Running, Server, ServerBuilder},
};
pub use sync_derive::{SyncedModel, sync_handlers};

/// What generated code names. Not for people: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        draft::{decode as decode_draft, overlay as overlay_draft},
        handlers::{BoxFuture, CreateInput, DeleteInput, HandlerTable, Row, Scope, UpdateInput, query, scope, shaped},
        model::{Access, Field, FieldSchema, Indexed, NotIndexed, Schema, SyncedModel, field::encode_plain},
        probes::*,
        registry::{HandlerRegistration, ModelRegistration},
    };
    pub use inventory;
    pub use serde;
    pub use std::boxed::Box;
}

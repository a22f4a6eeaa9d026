//! Models that stay in sync, in real time, between a server and all its clients.
//!
//! Derive [`SyncedModel`](macro@SyncedModel) on a struct, write the rules of that model in an impl under [`#[sync_handlers]`](sync_handlers), and `cargo run`
//! of your program is the server: it stores the rows durably, serves them over WebSocket, and keeps every client that
//! looks at them up to date. It is a library in your own process, beside your axum routes and on your own database.
//!
//! ```no_run
//! use serde::{Deserialize, Serialize};
//! use sync_core::{Result, Server, SyncedModel, sync_handlers};
//!
//! #[derive(Clone, Serialize, Deserialize, SyncedModel)]
//! struct Todo {
//!     id: u64,
//!     title: String,
//!     #[serde(default)]
//!     completed: bool,
//! }
//!
//! #[sync_handlers(crud)]
//! impl Todo {}
//!
//! #[tokio::main]
//! async fn main() -> Result<()> {
//!     Server::builder().build()?.run().await
//! }
//! ```
//!
//! * [The guide](docs::guide): your first model, step by step.
//! * [The protocol](docs::protocol): what goes over the wire.
//! * [`store`]: where rows are kept, and how to keep them elsewhere.
//!
//! # Features
//!
//! The first two are on by default. A crate that only defines models needs none.
//!
//! * `server`: [`Server`] with its WebSocket endpoint, axum router and command line.
//! * `sqlite`: the SQLite store, with SQLite itself compiled in.
//! * `jwt`: `Jwt`, which authenticates by JSON Web Tokens.

// Nothing that comes from the network may panic.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::panic, clippy::unreachable))]
// Without the server nothing reads what models register.
#![cfg_attr(not(feature = "server"), allow(dead_code))]

mod arguments;
mod authority;
mod context;
mod draft;
mod error;
mod handlers;
pub mod integer_string;
mod json;
mod model;
mod object;
mod position;
mod probes;
mod query;
mod registry;
mod row_query;
mod safe_integer;
pub mod store;
mod types;

#[cfg(feature = "server")]
mod authentication;
#[cfg(feature = "server")]
mod config;
#[cfg(feature = "server")]
mod connection;
#[cfg(feature = "server")]
mod engine;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "server")]
mod hub;
#[cfg(feature = "server")]
mod outbox;
#[cfg(feature = "server")]
mod protocol;
/// For this project's simulator alone: it changes without notice.
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod sabotage;
#[cfg(all(feature = "server", not(feature = "simulation")))]
#[expect(unreachable_pub, reason = "public for the simulator")]
mod sabotage;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "server")]
mod session;

#[cfg(feature = "server")]
pub use self::{
    authentication::{Login, Ticket},
    config::Limits,
    server::{BuildError, Handle, Running, Server, ServerBuilder},
};
pub use self::{
    authority::Session,
    context::Context,
    error::{Error, ErrorCode, Result},
    model::{
        Field, Filter, Filterable, Indexed, Key, KeyKind, ModelId, NotIndexed, Nullable, Operand, Order,
        SyncedModel, Textual, Value,
    },
    position::{InvalidPosition, Position},
    query::Query,
    row_query::RowQuery,
    types::SyncType,
};
pub use sync_derive::{SyncType, SyncedModel, sync_handlers};

#[cfg(feature = "jwt")]
pub use self::authentication::Jwt;

#[cfg(feature = "server")]
pub mod docs {
    //! The guide and the protocol, as chapters: nothing but text.

    #[doc = include_str!("../docs/guide.md")]
    pub mod guide {}

    #[doc = include_str!("../docs/protocol.md")]
    pub mod protocol {}
}

/// What generated code names. Not for people: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        arguments::{Arguments, given},
        draft::{decode as decode_draft, overlay as overlay_draft},
        handlers::{
            Action, ActionInput, Argument, BoxFuture, CreateInput, DeleteInput, HandlerTable, Row, Scope,
            UpdateInput, query, scope, shaped,
        },
        integer_string::describe as describe_integer_string,
        model::{
            Access, Field, FieldSchema, FieldType, Indexed, NotIndexed, Schema, SyncedModel,
            field::encode_plain,
        },
        probes::*,
        registry::{HandlerRegistration, ModelRegistration},
        types::{Describe, Presence, Property, SyncType, Type, Types, Variant},
    };
    pub use inventory;
    pub use serde;
    pub use std::{boxed::Box, vec::Vec};
}

//! Models that stay in sync, in real time.

extern crate self as sync_core;

mod context;
mod draft;
mod error;
mod handlers;
mod model;
mod query;
mod probes;
mod registry;
pub mod store;

pub use self::{
    context::Context,
    error::{Error, ErrorCode, Result},
    model::{Field, Filter, Filterable, Indexed, Key, KeyKind, ModelId, NotIndexed, Operand, SyncedModel, Value},
    query::Query,
};
pub use sync_derive::{SyncedModel, sync_handlers};

/// What generated code names. Not for people: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        handlers::{
            BoxFuture, CreateInput, DeleteInput, HandlerTable, Row, Scope, UpdateInput, plain, query, scope, shaped,
        },
        model::{Access, FieldSchema, Schema, field::encode_plain},
        probes::*,
        registry::{HandlerRegistration, ModelRegistration},
    };
    pub use inventory;
    pub use serde;
    pub use std::boxed::Box;
}



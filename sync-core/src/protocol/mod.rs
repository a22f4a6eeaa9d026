//! The wire protocol: what messages are, and how they are read and written. No I/O, no state.

mod depth;
mod duplicates;
pub(crate) mod filter;
pub(crate) mod place;
pub(crate) mod reference;
pub(crate) mod request;
pub(crate) mod response;

use std::fmt;

use serde::{Serialize, Serializer};

use crate::model::Key;

pub(crate) use self::{
    depth::exceeds_depth,
    request::{
        Content, Frame, Hello, Message, Method, Mutation, Query, Request, Rows, Step, Subject, Target, Token,
    },
};

/// The WebSocket subprotocol.
#[cfg(feature = "server")]
pub(crate) const SUBPROTOCOL: &str = "sync.v1";

/// The channel of a model's rows, or of one of them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Channel<'a> {
    /// `sync:Todo`
    Collection(&'a str),
    /// `sync:Todo:7`
    Row(&'a str, &'a Key),
    /// `sync:Todo:<cid>`, where a creator hears of the row that it calls so.
    Created(&'a str, &'a str),
}

impl fmt::Display for Channel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Collection(model) => write!(f, "sync:{model}"),
            Self::Row(model, key) => write!(f, "sync:{model}:{key}"),
            Self::Created(model, cid) => write!(f, "sync:{model}:{cid}"),
        }
    }
}

impl Serialize for Channel<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The id of a `subscribe` or `read`: comes back as it was sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub(crate) enum RequestId {
    Number(u64),
    Text(Box<str>),
}

//! What an action or a batch came to, as it is recorded: JSON that only this module reads.

use serde::{Deserialize, Serialize};

use super::pipeline::{Confirmed, ConfirmedStep};
use crate::{Error, Result, model::Key, protocol::Method};

/// What the requests of a mutation came to.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Results {
    /// They were those of a batch, or the one alone.
    pub(super) is_batch: bool,
    pub(super) steps: Vec<Recorded>,
}

/// What one request came to.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Recorded {
    /// A row, to be looked up when it is told again.
    Row {
        model: String,
        key: RecordedKey,
        /// It was asked to be deleted.
        deleted: bool,
        /// In a create, where it was given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cid: Option<Box<str>>,
    },
    /// `result` is JSON.
    Action { model: String, action: String, result: String },
}

/// A [`Key`] that can be read.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum RecordedKey {
    Int(i64),
    Text(String),
}

impl Recorded {
    /// The row's id.
    pub(super) fn key(&self) -> Option<Key> {
        match self {
            Self::Row { key, .. } => Some(key.key()),
            Self::Action { .. } => None,
        }
    }
}

impl RecordedKey {
    pub(super) fn key(&self) -> Key {
        match self {
            Self::Int(id) => Key::Int(*id),
            Self::Text(id) => Key::Text(id.as_str().into()),
        }
    }
}

impl Results {
    /// As it is recorded.
    pub(super) fn of(confirmed: &Confirmed) -> Self {
        let step = |step: &ConfirmedStep| match step {
            ConfirmedStep::Row(row) => Recorded::Row {
                model: row.model.to_owned(),
                key: match &row.key {
                    Key::Int(id) => RecordedKey::Int(*id),
                    Key::Text(id) => RecordedKey::Text(id.as_ref().to_owned()),
                },
                deleted: row.method == Method::Delete,
                cid: row.cid.clone(),
            },
            ConfirmedStep::Action { model, action, result } => Recorded::Action {
                model: (*model).to_owned(),
                action: (*action).to_owned(),
                result: result.clone(),
            },
        };
        match confirmed {
            Confirmed::One(one) => Self { is_batch: false, steps: vec![step(one)] },
            Confirmed::Batch(steps) => Self { is_batch: true, steps: steps.iter().map(step).collect() },
        }
    }

    pub(super) fn write(&self) -> Result<Box<str>> {
        Ok(serde_json::to_string(self)?.into())
    }

    pub(super) fn read(recorded: &str) -> Result<Self> {
        serde_json::from_str(recorded)
            .map_err(|error| Error::internal(format!("recorded results do not decode: {error}")))
    }
}

//! References by `cid`: where a client names its own earlier create, the id that the create was given is put.
//!
//! What a cid names stands in the client's mutation records, which outlive a restart. They go with the acknowledgement of
//! the create: until then a client may name it.

use std::{borrow::Cow, time::SystemTime};

use uuid::Uuid;

use super::{Engine, plan::id_field, unavailable};
use crate::{
    Error, ErrorCode, Result,
    context::Caller,
    model::Key,
    object::shown,
    protocol::{Method, reference, request::MutationContent, response::WireRow},
    registry::Model,
    store::{MutationRecord, Outcome},
};

impl Engine {
    /// The same content with ids in place of its references.
    pub(super) async fn resolve<'a>(
        &self,
        content: &'a MutationContent,
        client: Option<Uuid>,
    ) -> Result<Cow<'a, MutationContent>> {
        let references = reference::find(&content.row)?;
        if references.is_empty() {
            return Ok(Cow::Borrowed(content));
        }
        let creates = self.creates(client).await?;
        let target = self.target(content)?;
        let (mut row, mut copied) = (String::with_capacity(content.row.len()), 0);
        for reference in &references {
            if reference.span == (0..content.row.len()) {
                let message = "`model` is a row: its fields may be references, not the whole of it";
                return Err(Error::new(ErrorCode::BadRequest, message));
            }
            let of = if target.as_ref() == Some(&reference.cid) { Some(&*content.model) } else { None };
            let key = creates.key(&reference.cid, of)?;
            row.push_str(content.row.get(copied..reference.span.start).unwrap_or_default());
            row.push_str(&serde_json::to_string(key)?);
            copied = reference.span.end;
            // No handler is given what grew far beyond the message that it came in.
            if row.len() > content.row.len().saturating_add(self.limits.row_bytes) {
                let limit = self.limits.row_bytes;
                let message = format!("a row has at most {limit} bytes of JSON, and its ids alone are more");
                return Err(Error::new(ErrorCode::TooLarge, message));
            }
        }
        row.push_str(content.row.get(copied..).unwrap_or_default());
        Ok(Cow::Owned(MutationContent { row: row.into(), ..content.clone() }))
    }

    /// The row that a client created under a cid, if it may see it. Everything that it sent before must be decided.
    pub(crate) async fn read_created(
        &self,
        caller: &Caller,
        model: &str,
        cid: &str,
        now: SystemTime,
    ) -> Result<(&Model, Key, WireRow)> {
        let model = self.model(model)?;
        let key = self.creates(caller.client).await?.key(cid, Some(model.name()))?.clone();
        self.read_one(model.name(), &key, caller, now).await
    }

    /// What the id of a row that is to be changed refers to: that must be a row of the same model. A new row's id may be any other's.
    fn target<'a>(&self, content: &'a MutationContent) -> Result<Option<Cow<'a, str>>> {
        let Some(model) = self.registry.get(&content.model).filter(|_| content.method != Method::Create)
        else {
            return Ok(None);
        };
        id_field(model, &content.row)?.map_or(Ok(None), reference::of)
    }

    async fn creates(&self, client: Option<Uuid>) -> Result<Creates> {
        let Some(client) = client else {
            let message = "a `$cid` names an earlier create of the same client: say `hello` first";
            return Err(Error::new(ErrorCode::BadRequest, message));
        };
        let record = self.store.client(client).await.map_err(|error| unavailable(&error))?;
        Ok(Creates(record.unwrap_or_default().mutations))
    }
}

/// What a client has had decided and not acknowledged, its creates among it.
struct Creates(Vec<MutationRecord>);

impl Creates {
    /// The id that a create was given, which was one of the model `of` where that is said.
    fn key(&self, cid: &str, of: Option<&str>) -> Result<&Key> {
        // A cid that was refused may be used again: the last counts.
        let created = self.0.iter().rev().find_map(|record| match &record.outcome {
            Outcome::Confirmed { model, key, cid: Some(own), .. } if **own == *cid => Some((model, key)),
            Outcome::Confirmed { .. } | Outcome::Rejected(_) => None,
        });
        match (created, of) {
            (None, _) => Err(not_found(format!(
                "no create with the cid `{}` is known: it was refused, acknowledged, or never sent",
                shown(cid)
            ))),
            (Some((model, _)), Some(of)) if **model != *of => {
                Err(not_found(format!("the cid `{}` names a row of `{model}`, not of `{of}`", shown(cid))))
            }
            (Some((_, key)), _) => Ok(key),
        }
    }
}

fn not_found(message: String) -> Error {
    Error::new(ErrorCode::NotFound, message)
}
